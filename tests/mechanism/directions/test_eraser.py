"""Erasers: equal to their definitions, and what they promise on states they have not seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from tests.mechanism.planted import shifted
from tests.oracles.causality import leace
from theodolite.errors import DataError
from theodolite.mechanism.directions.eraser import Eraser, orthonormal

LABELS = np.arange(40) % 2


def correlated(n: int, width: int, seed: int = 0) -> np.ndarray:
    """Return Gaussians of two classes under one random mixing of the coordinates."""
    mixing = np.random.default_rng(1).standard_normal((width, width))
    return shifted(np.arange(n) % 2, width, 1.5, seed=seed) @ mixing + 3.0


@pytest.mark.parametrize(("width", "shrinkage"), [(6, 0.0), (6, 0.4), (90, 0.4)])
def test_the_eraser_equals_its_definition(width: int, shrinkage: float) -> None:
    x, others = correlated(40, width), correlated(7, width) * 2
    eraser = Eraser.leace(x, LABELS, shrinkage=shrinkage)
    assert eraser.apply(others) == pytest.approx(leace(x, LABELS, shrinkage)(others), rel=1e-6)


@pytest.mark.parametrize("width", [6, 90])
def test_after_erasing_no_linear_probe_can_read_the_classes(width: int) -> None:
    x = correlated(40, width)

    def weights_and_accuracy(states: np.ndarray) -> tuple[float, float]:
        probe = LogisticRegression(C=10.0, max_iter=5000).fit(states, LABELS)
        return float(np.abs(probe.coef_).max()), float(probe.score(states, LABELS))

    erased = Eraser.leace(x, LABELS).apply(x)
    assert erased[LABELS == 1].mean(0) == pytest.approx(erased[LABELS == 0].mean(0), abs=1e-9)
    assert weights_and_accuracy(x)[1] > 0.65
    assert weights_and_accuracy(erased) == (pytest.approx(0.0, abs=1e-6), 0.5)


def test_an_eraser_changes_states_less_than_any_other_that_erases() -> None:
    """Least in the metric of the covariance: against oblique projections that erase as well."""
    x = correlated(200, 6)
    labels = np.arange(200) % 2
    best = Eraser.leace(x, labels, shrinkage=0.0)
    rng = np.random.default_rng(0)
    least = ((best.apply(x) - x) ** 2).sum()
    for _ in range(20):
        reads = best.reads + 0.3 * rng.standard_normal((1, 6)) * np.abs(best.reads).max()
        other = Eraser(best.centre, best.along, reads / (reads @ best.along.T))
        assert ((other.apply(x) - x) ** 2).sum() > least


def test_without_two_classes_that_differ_there_is_nothing_to_erase() -> None:
    x = correlated(40, 6)
    with pytest.raises(DataError, match="missing"):
        Eraser.leace(x, np.ones(40, np.int64))
    with pytest.raises(DataError, match="nothing to erase"):
        Eraser.leace(np.repeat(x[:20], 2, axis=0), LABELS)


def test_erased_gaussians_leave_a_probe_at_chance_also_where_they_are_new() -> None:
    labels = np.arange(2000) % 2
    x, new = correlated(2000, 12), correlated(4000, 12, seed=7)
    eraser = Eraser.leace(x, labels)
    erased = eraser.apply(x)
    assert np.abs(erased[labels == 1].mean(0) - erased[labels == 0].mean(0)).max() < 1e-6
    probe = LogisticRegression(max_iter=2000).fit(erased, labels)
    assert abs(probe.score(erased, labels) - 0.5) <= 0.03
    fresh, truth = eraser.apply(new), np.arange(4000) % 2
    probe = LogisticRegression(max_iter=2000).fit(fresh[:2000], truth[:2000])
    assert abs(probe.score(fresh[2000:], truth[2000:]) - 0.5) <= 0.03
    # The states themselves give the classes away, as does an eraser fitted on shuffled labels.
    assert LogisticRegression(max_iter=2000).fit(x, labels).score(new, truth) > 0.7
    wrong = Eraser.leace(x, np.random.default_rng(0).permutation(labels)).apply(x)
    assert LogisticRegression(max_iter=2000).fit(wrong, labels).score(wrong, labels) > 0.7


def test_several_classes_lose_all_their_differences_and_no_more() -> None:
    labels = np.arange(300) % 4
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 9)) @ rng.standard_normal((9, 9))
    x[:, 0] += labels
    x[:, 3] += labels == 2
    eraser = Eraser.leace(x, labels)
    assert eraser.rank == 3
    erased = eraser.apply(x)
    for label in range(1, 4):
        apart = erased[labels == label].mean(0) - erased[labels == 0].mean(0)
        assert apart == pytest.approx(np.zeros(9), abs=1e-9)
    assert eraser.apply(erased) == pytest.approx(erased, abs=1e-9)
    assert eraser.reads @ eraser.along.T == pytest.approx(np.eye(3), abs=1e-9)


def test_an_affine_edit_leaves_its_centre_alone_and_a_projection_the_origin() -> None:
    x = correlated(40, 6)
    basis = np.array([[1.0, 2.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0]])
    centre = x[LABELS == 0].mean(0)
    affine, plain = Eraser.projection(basis, centre), Eraser.projection(basis)
    assert affine.apply(centre) == pytest.approx(centre)
    assert plain.apply(np.zeros(6)) == pytest.approx(np.zeros(6))
    assert plain.apply(x)[:, :2] == pytest.approx(np.zeros((40, 2)), abs=1e-12)
    assert affine.apply(x)[:, :2] == pytest.approx(np.tile(centre[:2], (40, 1)))
    assert affine.apply(x)[:, 2:] == pytest.approx(x[:, 2:])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(1, 5))
def test_a_projection_applied_twice_is_applied_once(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    basis, x = rng.standard_normal((rank, 7)), rng.standard_normal((4, 7))
    eraser = Eraser.projection(basis, rng.standard_normal(7))
    once = eraser.apply(x)
    assert eraser.apply(once) == pytest.approx(once, abs=1e-9)
    assert (once - eraser.centre) @ basis.T == pytest.approx(np.zeros((4, rank)), abs=1e-8)


def test_a_basis_keeps_the_leading_vector_and_drops_repeats() -> None:
    vectors = np.array([[0.0, 2.0, 0.0], [0.0, -4.0, 0.0], [1.0, 1.0, 0.0]])
    assert orthonormal(vectors) == pytest.approx(np.array([[0, 1.0, 0], [1.0, 0, 0]]))
    with pytest.raises(DataError, match="No vector has a length"):
        orthonormal(np.zeros((2, 3)))
