"""Whitening: equal to its definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage

from tests.mechanism.planted import shifted
from theodolite.errors import DataError
from theodolite.mechanism.probes.whitening import Whitener


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


@pytest.mark.parametrize("width", [6, 90])
def test_the_shrinkage_is_that_of_ledoit_and_wolf(width: int) -> None:
    x = correlated(40, width)
    share = float(ledoit_wolf_shrinkage(x))
    found, wanted = Whitener.of(x), Whitener.of(x, shrinkage=share)
    assert 0 < share < 1
    assert found.root(np.eye(width)) == pytest.approx(wanted.root(np.eye(width)), rel=1e-9)


def test_none_is_the_identity() -> None:
    x = correlated(5, 3)
    assert (Whitener.none(3).apply(x) == x).all()


def test_too_few_states_cannot_be_whitened_unshrunk() -> None:
    with pytest.raises(DataError, match="every direction"):
        Whitener.of(correlated(4, 6), shrinkage=0.0)
    with pytest.raises(DataError, match="every direction"):
        Whitener.of(np.ones((5, 3)))
