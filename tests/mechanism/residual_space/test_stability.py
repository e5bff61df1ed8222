"""Stability: equal to decomposing every resample anew, and low where components are alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.mechanism.residual_space.made import made_paired
from tests.oracles import residual_space as oracle
from theodolite.measure.bootstrap import resample_weights
from theodolite.measure.closed_form import Clusters
from theodolite.mechanism.residual_space.space import ResidualSpace
from theodolite.mechanism.residual_space.spectrum import spectrum
from theodolite.mechanism.residual_space.stability import NOT_IDENTIFIED, stability
from theodolite.runs.run import Run


def rows(sizes: tuple[float, ...], n: int = 60, width: int = 20, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.standard_normal((width, len(sizes))))[0].T
    noise = 0.05 * random.standard_normal((n, width))
    return (random.standard_normal((n, len(sizes))) * sizes) @ basis + noise + 1.0


def test_equal_to_decomposing_every_resample() -> None:
    x, goals = rows((4.0, 2.0, 1.0)), [f"g{i // 3}" for i in range(60)]
    found = spectrum(x - x.mean(0))
    own = stability(x, found, goals, center=True, judged=3, resamples=12, seed=5)
    groups = Clusters.of(goals, 60)
    draws = [
        [goal for goal in dict.fromkeys(goals) for _ in range(int(w[goals.index(goal)]))]
        for chunk in resample_weights(groups, seed=5, resamples=12)
        for w in chunk
    ]
    wanted = oracle.stability(x, found.components[:3], goals, draws)
    np.testing.assert_allclose(own.components, wanted, atol=1e-6)
    again = []
    for draw in draws:
        taken = np.concatenate([np.flatnonzero(np.array(goals) == goal) for goal in draw])
        centred = x[taken] - x[taken].mean(0)
        again.append(np.linalg.svd(centred, full_matrices=False)[2][:3])
    spans = [
        np.mean([((found.components[:k] @ one[:k].T) ** 2).sum() / k for one in again])
        for k in (1, 2, 3)
    ]
    np.testing.assert_allclose(own.subspaces, spans, atol=1e-6)


def test_a_span_is_steady_where_its_components_are_not(tmp_path: Path) -> None:
    x, goals = rows((3.0,) * 5), [f"g{i}" for i in range(60)]
    found = stability(x, spectrum(x - x.mean(0)), goals, center=True, judged=5)
    assert found.components.min() < 0.8 < 0.95 < found.subspaces[4]
    shift = x[:, None]
    space = ResidualSpace.fit(made_paired(np.zeros_like(shift), shift), quality=False)
    (row,) = space.layer_frame()
    assert row["subspace_5_stability"] > 0.9 and row["subspace_5_chance"] == 5 / 20
    with Run.begin("test", "model", out=tmp_path / "run", config={}, seed=0) as run:
        space.save(run)
        assert ResidualSpace.load(run).layer_frame() == [row]


def test_equal_sizes_are_not_individually_identified() -> None:
    goals = [f"g{i}" for i in range(60)]
    apart = stability(x := rows((6.0, 2.0)), spectrum(x - x.mean(0)), goals, center=True, judged=2)
    assert apart.components.min() > 0.95
    alike = stability(x := rows((3.0,) * 6), spectrum(x - x.mean(0)), goals, center=True, judged=6)
    assert alike.components.min() < 0.8
    shift = rows((3.0,) * 6)[:, None]
    space = ResidualSpace.fit(made_paired(np.zeros_like(shift), shift), quality=False)
    notes = {row["name"]: row["note"] for row in space.frame()}
    assert NOT_IDENTIFIED in notes.values()
    layer = space.layer(0)
    for k in range(1, 11):
        assert (notes[f"L0-C{k}"] == NOT_IDENTIFIED) == (layer.identified(k) is False)
    assert layer.identified(11) is None


def test_one_goal_tells_nothing() -> None:
    x = rows((4.0, 2.0))
    found = stability(x, spectrum(x), ["one"] * 60, center=False, judged=2)
    assert np.isnan(found.components).all() and np.isnan(found.subspaces).all()


def test_seeds_decide() -> None:
    x, goals = rows((4.0, 3.5, 3.0)), [f"g{i}" for i in range(60)]
    first, again, other = (
        stability(x, spectrum(x), goals, center=False, resamples=10, seed=s).components
        for s in (0, 0, 1)
    )
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    assert pytest.approx(first, abs=0.2) == other
