"""The linear map of the shift: equal to its definition, recovered where it is planted, honest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mechanism.residual_space.made import made_paired
from tests.oracles import residual_space as oracle
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.residual_space.goals import goal_folds
from theodolite.mechanism.residual_space.shift import (
    GRID,
    chosen_penalty,
    fit_shift_map,
    held_out_errors,
)
from theodolite.mechanism.residual_space.space import ResidualSpace


def rows(n: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, width)) + 1.5
    return x, 0.3 * x @ random.standard_normal((width, width)) + random.standard_normal((n, width))


def planted(n: int, width: int = 128, noise: float = 0.02) -> tuple[np.ndarray, ...]:
    """Return states, a shift of rank two, and its read and write directions."""
    random = np.random.default_rng(5)
    read, write = (np.linalg.qr(random.standard_normal((width, 2)))[0].T for _ in range(2))
    x = random.standard_normal((n, width))
    shift = (x @ read.T) * [2.0, 1.4] @ write + 0.4 + noise * random.standard_normal((n, width))
    return x, shift, read, write


@given(st.integers(3, 25), st.integers(2, 25), st.floats(1e-3, 1e3), st.booleans())
@settings(max_examples=30)
def test_both_sides_give_the_defined_map(n: int, width: int, penalty: float, center: bool) -> None:
    x, d = rows(n, width)
    xc, dc = (x - x.mean(0), d - d.mean(0)) if center else (x, d)
    wanted = oracle.ridge_by_rows(xc, dc, penalty)
    scale = max(1.0, float(np.abs(wanted).max()))
    by_coordinates = oracle.ridge_by_coordinates(xc, dc, penalty)
    np.testing.assert_allclose(by_coordinates, wanted, atol=1e-8 * scale)
    for side in ("rows", "coordinates"):
        found = fit_shift_map(x, d, ridge=penalty, center=center, side=side)
        np.testing.assert_allclose(found.inner @ found.outer, wanted, atol=1e-8 * scale)


def test_prediction_is_the_mean_plus_the_map() -> None:
    x, d = rows(20, 30)
    found = fit_shift_map(x, d, ridge=0.7)
    a = oracle.ridge_by_rows(x - x.mean(0), d - d.mean(0), 0.7)
    b = d.mean(0) - x.mean(0) @ a
    np.testing.assert_allclose(found.predict(x), x @ a + b, atol=1e-9)


def test_a_huge_penalty_leaves_the_mean() -> None:
    x, d = rows(20, 30)
    found = fit_shift_map(x, d, ridge=1e12)
    assert np.abs(found.outer).max() < 1e-8
    np.testing.assert_allclose(found.predict(x), np.broadcast_to(d.mean(0), d.shape), atol=1e-7)


@pytest.mark.parametrize("center", [True, False])
def test_the_minimum_norm_map_interpolates(center: bool) -> None:
    x, d = rows(30, 80)
    found = fit_shift_map(x, d, ridge="min_norm", center=center)
    assert np.linalg.norm(found.predict(x) - d) < 1e-10 * np.linalg.norm(d)
    target = d if not center else d - d.mean(0)
    wanted = np.linalg.pinv(x - x.mean(0) if center else x) @ target
    np.testing.assert_allclose(found.inner @ found.outer, wanted, atol=1e-9)
    # Negative: a ridge does not interpolate.
    ridge = fit_shift_map(x, d, ridge=5.0, center=center)
    assert np.linalg.norm(ridge.predict(x) - d) > 1e-3 * np.linalg.norm(d)


def test_reference_preset_spans_the_shift_itself() -> None:
    x, d = rows(24, 60)
    paired = made_paired(x[:, None], d[:, None])
    space = ResidualSpace.fit(paired, preset="reference", resamples=0)
    shift = paired.shift(0, "prompt_last")
    exact = np.linalg.svd(shift, full_matrices=False)[2]
    layer = space.layer(0)
    assert (space.basis, space.center, space.ridge) == ("shift", False, "min_norm")
    for k in (1, 5, 24):
        angles = np.arccos(np.clip(oracle.principal_cosines(layer.components[:k], exact[:k]), 0, 1))
        assert angles.max() < 1e-6


@pytest.mark.parametrize("n", [60, 1000])
def test_planted_write_directions_are_found(n: int) -> None:
    x, d, read, write = planted(n)
    quality, place = held_out_errors(x, d, ridge="cv", seed=1)
    found = fit_shift_map(x, d, ridge=chosen_penalty(x, d, "cv", place, center=True))
    reads, sigma, writes = found.singular(4)
    assert oracle.principal_cosines(writes[:2], write).min() > 0.99
    shift = d - d.mean(0)
    assert (
        oracle.principal_cosines(np.linalg.svd(shift, full_matrices=False)[2][:2], write).min()
        > 0.99
    )
    assert sigma[1] > 5 * sigma[2]
    if n == 1000:
        assert oracle.principal_cosines(reads[:2], read).min() > 0.99
        assert quality.r2 is not None
        assert quality.r2 > 0.98
    else:  # too few rows to tell what is read, which is why it is hidden
        assert oracle.principal_cosines(reads[:2], read).min() < 0.9


def test_read_directions_are_hidden_where_rows_are_few() -> None:
    for n, shown in ((60, False), (1000, True)):
        x, d, read, write = planted(n)
        fit = ResidualSpace.fit
        if shown:
            space = fit(made_paired(x[:, None], d[:, None]), ridge=1.0, resamples=0)
            found = space.layer(0).read
            assert found is not None
            assert oracle.principal_cosines(found[:2], read).min() > 0.99
            assert not space.warnings
        else:
            space = fit(made_paired(x[:, None], d[:, None]), resamples=0)
            assert space.layer(0).read is None
            assert "Read directions are hidden" in space.warnings[0]
        assert oracle.principal_cosines(space.layer(0).components[:2], write).min() > 0.99


def test_read_rows_of_a_component_are_what_the_map_reads() -> None:
    x, d = rows(90, 12)
    found = fit_shift_map(x, d, ridge=0.5)
    reads, sigma, writes = found.singular(12)
    a = oracle.ridge_by_coordinates(x - x.mean(0), d - d.mean(0), 0.5)
    u, s, v = np.linalg.svd(a)
    np.testing.assert_allclose(sigma, s, rtol=1e-6)
    assert np.abs((writes[:6] * v[:6]).sum(1)).min() > 1 - 1e-6
    assert np.abs((reads[:6] * u.T[:6]).sum(1)).min() > 1 - 1e-6
    np.testing.assert_allclose(found.reads(writes[:6]), reads[:6], atol=1e-6)
    np.testing.assert_allclose(
        (reads[:6].T * sigma[:6]) @ writes[:6] @ writes[:6].T, a @ writes[:6].T, atol=1e-6
    )


@pytest.mark.parametrize("ridge", ["cv", "gcv", 2.0, "min_norm"])
@pytest.mark.parametrize("center", [True, False])
def test_held_out_errors_are_those_of_refits(ridge: str | float, center: bool) -> None:
    x, d = rows(30, 8 if ridge != "min_norm" else 40, seed=2)
    goals = [f"g{i // 3}" for i in range(30)]
    quality, _ = held_out_errors(x, d, ridge=ridge, center=center, goals=goals, seed=4)
    folds = goal_folds(goals, 5, seed=4)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(30))
    for train, test in folds:
        assert not {goals[i] for i in train} & {goals[i] for i in test}
        xc = x[train] - x[train].mean(0) if center else x[train]
        unit = (xc**2).sum() / len(train)
        found = [fit_shift_map(x[train], d[train], ridge=g * unit, center=center) for g in GRID]
        if ridge in (2.0, "min_norm"):
            found = [fit_shift_map(x[train], d[train], ridge=ridge, center=center)]
        errors = [((m.predict(x[test]) - d[test]) ** 2).sum(1) for m in found]
        matches = [np.allclose(e, quality.error[test], rtol=1e-6) for e in errors]
        assert any(matches)
        np.testing.assert_allclose(
            quality.constant[test], ((d[test] - d[train].mean(0)) ** 2).sum(1)
        )


def test_quality_figures_follow_their_definitions() -> None:
    x, d = rows(40, 6)
    quality, _ = held_out_errors(x, d, seed=0)
    spread = ((d - d.mean(0)) ** 2).sum()
    assert quality.r2 == pytest.approx(1 - quality.error.sum() / spread)
    assert quality.constant_r2 is not None
    assert -0.2 < quality.constant_r2 < 0
    mse, size = quality.error.sum() / d.size, (d**2).sum() / len(d)
    assert quality.paper_ratio == pytest.approx(mse / size)
    assert quality.unexplained == pytest.approx(6 * mse / size)
    figure = quality.measurement("r2")
    assert figure.floor is not None
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < figure.value < figure.high  # type: ignore[operator]
    assert figure.floor.value == pytest.approx(quality.constant_r2)


def test_noise_is_predicted_no_better_than_by_the_mean() -> None:
    random = np.random.default_rng(3)
    x, d = random.standard_normal((50, 40)), random.standard_normal((50, 40))
    quality, _ = held_out_errors(x, d, seed=0)
    assert quality.r2 is not None
    assert quality.r2 < 0.05
    assert held_out_errors(x, np.zeros_like(d))[0].r2 is None


@pytest.mark.parametrize("ridge", ["cv", "gcv"])
def test_the_chosen_penalty_is_the_fit_s(ridge: str) -> None:
    x, d = rows(40, 6)
    _, place = held_out_errors(x, d, ridge=ridge, seed=0)
    wanted = fit_shift_map(x, d, ridge=ridge, seed=0).penalty
    assert chosen_penalty(x, d, ridge, place, center=True) == pytest.approx(wanted)


def test_generalised_cross_validation_by_its_definition() -> None:
    x, d = rows(25, 10)
    xc, dc = x - x.mean(0), d - d.mean(0)
    unit = (xc**2).sum() / 25
    scores = []
    for step in GRID:
        hat = xc @ np.linalg.solve(xc.T @ xc + step * unit * np.eye(10), xc.T)
        left = ((dc - hat @ dc) ** 2).sum()
        scores.append(left / (25 - np.trace(hat) - 1) ** 2)
    wanted = GRID[int(np.argmin(scores))] * unit
    assert fit_shift_map(x, d, ridge="gcv").penalty == pytest.approx(wanted)


def test_bad_options_are_refused() -> None:
    x, d = rows(12, 4)
    with pytest.raises(ConfigError, match="There is no ridge 'cvv'"):
        fit_shift_map(x, d, ridge="cvv")
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="not possible"):
            fit_shift_map(x, d, ridge=wrong)
    with pytest.raises(DataError, match="do not match"):
        fit_shift_map(x, d[:-1])
    with pytest.raises(DataError, match="one goal"):
        held_out_errors(x, d, goals=["one"] * 12)
