"""Whitening and erasing: equal to their definitions, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.mechanism.planted import shifted
from tests.oracles.causality import leace
from theodolite.errors import DataError
from theodolite.mechanism.probes.whitening import Eraser, Whitener

LABELS = np.arange(40) % 2


def correlated(n: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return shifted(np.arange(n) % 2, width, 1.5) @ rng.standard_normal((width, width)) + 3.0


def test_whitened_states_have_no_covariance_left() -> None:
    x = correlated(200, 6)
    white = Whitener.of(x, shrinkage=0.0).apply(x)
    assert white.T @ white / 200 == pytest.approx(np.eye(6), abs=1e-9)
    assert white.mean(0) == pytest.approx(np.zeros(6), abs=1e-9)


@pytest.mark.parametrize("width", [6, 90])
def test_the_root_is_that_of_the_shrunk_covariance(width: int) -> None:
    x = correlated(40, width)
    centred = x - x.mean(0)
    covariance = centred.T @ centred / 40
    shrunk = 0.7 * covariance + 0.3 * np.trace(covariance) / width * np.eye(width)
    values, vectors = np.linalg.eigh(shrunk)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    assert Whitener.of(x, shrinkage=0.3).root(np.eye(width)) == pytest.approx(root, rel=1e-6)


def test_none_is_the_identity() -> None:
    x = correlated(5, 3)
    assert (Whitener.none(3).apply(x) == x).all()


def test_too_few_states_cannot_be_whitened_unshrunk() -> None:
    with pytest.raises(DataError, match="every direction"):
        Whitener.of(correlated(4, 6), shrinkage=0.0)
    with pytest.raises(DataError, match="every direction"):
        Whitener.of(np.ones((5, 3)))


@pytest.mark.parametrize(("width", "shrinkage"), [(6, 0.0), (6, 0.4), (90, 0.4)])
def test_the_eraser_equals_its_definition(width: int, shrinkage: float) -> None:
    x, others = correlated(40, width), correlated(7, width) * 2
    eraser = Eraser.of(x, LABELS, shrinkage=shrinkage)
    assert eraser.apply(others) == pytest.approx(leace(x, LABELS, shrinkage)(others), rel=1e-6)


@pytest.mark.parametrize("width", [6, 90])
def test_after_erasing_no_linear_probe_can_read_the_classes(width: int) -> None:
    x = correlated(40, width)

    def weights_and_accuracy(states: np.ndarray) -> tuple[float, float]:
        probe = LogisticRegression(C=10.0, max_iter=5000).fit(states, LABELS)
        return float(np.abs(probe.coef_).max()), float(probe.score(states, LABELS))

    erased = Eraser.of(x, LABELS).apply(x)
    assert erased[LABELS == 1].mean(0) == pytest.approx(erased[LABELS == 0].mean(0), abs=1e-9)
    assert weights_and_accuracy(x)[1] > 0.65
    assert weights_and_accuracy(erased) == (pytest.approx(0.0, abs=1e-6), 0.5)


def test_an_eraser_changes_states_less_than_any_other_that_erases() -> None:
    """Least in the metric of the covariance: against oblique projections that erase as well."""
    x = correlated(200, 6)
    labels = np.arange(200) % 2
    best = Eraser.of(x, labels, shrinkage=0.0)
    rng = np.random.default_rng(0)
    least = ((best.apply(x) - x) ** 2).sum()
    for _ in range(20):
        reads = best.reads + 0.3 * rng.standard_normal(6) * np.abs(best.reads).max()
        other = Eraser(best.centre, best.along, reads / (reads @ best.along))
        assert ((other.apply(x) - x) ** 2).sum() > least


def test_without_two_classes_that_differ_there_is_nothing_to_erase() -> None:
    x = correlated(40, 6)
    with pytest.raises(DataError, match="missing"):
        Eraser.of(x, np.ones(40, np.int64))
    with pytest.raises(DataError, match="nothing to erase"):
        Eraser.of(np.repeat(x[:20], 2, axis=0), LABELS)
