"""Spectra: exact on closed forms, equal to a plain SVD on either side, and honest about rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import residual_space as oracle
from theodolite.errors import DataError
from theodolite.mechanism.residual_space import spectrum as module
from theodolite.mechanism.residual_space.spectrum import (
    effective_rank,
    entropy_rank,
    participation_ratio,
    spectrum,
)

SQUARES = (4.0, 3.0, 2.0, 1.0)


def drawn(rows: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)) * np.linspace(2, 0.1, width)


@pytest.mark.parametrize(("tau", "rank"), [(0.4, 1), (0.7, 2), (0.9, 3), (0.6, 2), (1.0, 4)])
def test_effective_rank_of_a_known_spectrum(tau: float, rank: int) -> None:
    assert effective_rank(SQUARES, tau) == rank == oracle.effective_rank(SQUARES, tau)


def test_a_share_that_is_reached_exactly_is_reached() -> None:
    assert effective_rank([0.7, 0.2, 0.1], 0.9) == 2
    assert effective_rank([0.1] * 10, 0.3) == 3
    # In floats eight tenths add up to 0.7999999999999999, short of 0.8 by rounding alone ...
    assert effective_rank([0.1] * 10, 0.8) == 8
    # ... and a share that is short by more than rounding is not reached.
    assert effective_rank([0.8 - 1e-9, 0.2 + 1e-9], 0.8) == 2


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12), st.floats(0.05, 1.0))
def test_effective_rank_equals_adding_up(values: list[float], tau: float) -> None:
    squares = sorted(values, reverse=True)
    rank = effective_rank(squares, tau)
    assert rank == oracle.effective_rank(squares, tau)
    assert rank == effective_rank([7.0 * s for s in squares], tau)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_ranks_of_equal_values(k: int) -> None:
    assert entropy_rank([3.0] * k) == pytest.approx(k, rel=1e-12)
    assert participation_ratio([3.0] * k) == pytest.approx(k, rel=1e-12)


def test_nothing_has_rank_zero() -> None:
    found = spectrum(np.zeros((12, 5)))
    assert (found.effective_rank(0.9), found.entropy_rank, found.participation_ratio) == (0, 0, 0)
    assert found.components.shape == (0, 5)
    assert np.isfinite(found.gaps).all()


@pytest.mark.parametrize(("n", "rank"), [(40, 40), (90, 12), (64, 3), (50, 0)])
def test_leading_vectors_are_those_of_a_full_decomposition(n: int, rank: int) -> None:
    rows = drawn(n, rank) @ drawn(rank, n + 9, seed=1)
    gram = rows @ rows.T
    values, vectors = module._leading_of_gram(gram.copy(), 8)
    whole, _ = module.decompose_gram(gram)
    scale = max(float(whole[0]), 1.0)
    np.testing.assert_allclose(values, whole, atol=1e-12 * scale)
    np.testing.assert_allclose(gram @ vectors, vectors * values[:8], atol=1e-12 * scale)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(8), atol=1e-11)


@pytest.mark.parametrize(("rows", "width"), [(20, 50), (50, 20), (30, 30), (1, 8)])
def test_equal_to_a_plain_svd(rows: int, width: int) -> None:
    x = drawn(rows, width)
    found = spectrum(x)
    _, sigma, v = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(found.sigma[: len(sigma)], sigma, rtol=1e-9)
    cosines = np.abs((found.components * v).sum(1))
    assert cosines.min() > 1 - 1e-9
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(len(v)), atol=1e-12)
    assert found.total == pytest.approx((sigma**2).sum())
    np.testing.assert_allclose(found.energy[: len(sigma)], sigma**2 / max(rows - 1, 1))


def test_gaps_are_shares_of_the_singular_value() -> None:
    found = spectrum(np.diag([4.0, 3.0, 1.0]))
    np.testing.assert_allclose(found.gaps, [0.25, 2 / 3, 1.0])


def test_small_directions_stay_orthonormal() -> None:
    x = drawn(40, 60) * np.logspace(0, -6, 60)
    found = spectrum(x)
    size = len(found.components)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(size), atol=1e-10)
    exact = np.linalg.svd(x, full_matrices=False)[2]
    assert np.abs((found.components[:20] * exact[:20]).sum(1)).min() > 1 - 1e-6


@pytest.mark.parametrize("shape", [(60, 90), (90, 60)])
def test_the_largest_directions_alone(shape: tuple[int, int]) -> None:
    x = drawn(*shape)
    whole, some = spectrum(x), spectrum(x, kept=7)
    assert len(some.components) == 7
    assert some.complete
    np.testing.assert_allclose(some.sigma, whole.sigma, rtol=1e-10)
    assert np.abs((some.components * whole.components[:7]).sum(1)).min() > 1 - 1e-9


def test_random_projection_of_large_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn(120, 150) * np.exp(-np.arange(150) / 6)
    whole = spectrum(x)
    monkeypatch.setattr(module, "_EXACT", 100)
    some = spectrum(x, kept=12, seed=3)
    np.testing.assert_allclose(some.sigma, whole.sigma[:12], rtol=1e-6)
    assert np.abs((some.components * whole.components[:12]).sum(1)).min() > 1 - 1e-6
    assert some.effective_rank(0.9) == whole.effective_rank(0.9)
    assert some.effective_rank(1.0) is None  # more directions than were computed
    assert (some.entropy_rank, some.participation_ratio) == (None, None)
    again = spectrum(x, kept=12, seed=3)
    assert again.components.tobytes() == some.components.tobytes()


@pytest.mark.parametrize("rows", [np.zeros((0, 4)), np.ones(4), np.array([[1.0, np.nan]])])
def test_what_is_no_matrix_is_refused(rows: np.ndarray) -> None:
    with pytest.raises(DataError, match="finite values"):
        spectrum(rows)
