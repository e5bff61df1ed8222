"""Closed-form leave-one-out equals leaving one out; permutation p-values mean what they say."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from tests.oracles.probe_fits import ridge_left_out
from theodolite.errors import DataError
from theodolite.mechanism.probes.gram import RidgeGram, permutation_test

LAMBDAS = (0.1, 3.0, 500.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 14), st.integers(1, 20))
def test_left_out_scores_are_exact(seed: int, n: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, width)) + 3, rng.choice([-1.0, 1.0], (2, n))
    found = RidgeGram.of(x).loo_scores(y, LAMBDAS)
    assert found.shape == (2, 3, n)
    for labelling, own in zip(y, found, strict=True):
        for penalty, scores in zip(LAMBDAS, own, strict=True):
            assert scores == pytest.approx(ridge_left_out(x, labelling, penalty), abs=1e-7)


@pytest.mark.parametrize("width", [5, 80])
def test_planted_classes_are_significant_and_noise_is_not(width: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    noise = rng.normal(size=(3, 60, width))
    planted = noise.copy()
    planted[1] += 1.0 * labels[:, None]
    result = permutation_test(planted, labels, None, permutations=99, seed=0)
    assert result.p[1] == result.family_wise[1] == 0.01
    assert (result.p[[0, 2]] > 0.05).all() and (result.family_wise >= result.p - 1e-12).all()
    assert result.statistic[1] > 0.3 > result.statistic[0]
    assert result.scheme == "labels over all rows"
    again = permutation_test(planted, labels, None, permutations=99, seed=0)
    assert (again.p == result.p).all()


def p_values(groups_of, draw, *, runs: int = 200, seed: int = 0) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Return the p of each run under the null, axis (run); the grid is 0.01 wide."""
    values = []
    for run in range(runs):
        x, labels, groups = draw(np.random.default_rng(seed + run))
        test = permutation_test(
            x[None], labels, groups if groups_of else None, permutations=99, seed=run
        )
        values.append(test.p[0])
    return np.array(values)


def independent(rng):  # type: ignore[no-untyped-def]
    return rng.normal(size=(24, 4)), rng.permutation(np.arange(24) % 2), None


def wrapped(rng):  # type: ignore[no-untyped-def]
    """Draw 12 goals of one class each, four wordings of each that read nearly the same."""
    groups = np.repeat(np.arange(14), 4)
    labels = np.repeat(rng.permutation(np.arange(14) % 2), 4)
    return (
        rng.normal(size=(14, 4))[groups] + 0.1 * rng.normal(size=(56, 4)),
        labels,
        groups.tolist(),
    )


def twins(rng):  # type: ignore[no-untyped-def]
    """Draw 12 pairs on one topic, one of each class."""
    groups = np.repeat(np.arange(14), 2)
    labels = np.stack([rng.permutation(2) for _ in range(14)]).ravel()
    return (
        rng.normal(size=(14, 4))[groups] + 0.5 * rng.normal(size=(28, 4)),
        labels,
        groups.tolist(),
    )


@pytest.mark.parametrize("draw", [independent, wrapped, twins])
def test_p_is_uniform_where_there_is_nothing(draw) -> None:  # type: ignore[no-untyped-def]
    values = p_values(draw is not independent, draw)
    assert kstest(values - 0.005, "uniform").pvalue > 0.001


def test_groups_that_are_not_named_make_p_lie() -> None:
    """Four wordings of a goal are not four goals: shuffled one by one they find what is not."""
    values = p_values(False, wrapped, runs=60)
    assert (values <= 0.05).mean() > 0.5


def test_the_best_of_many_layers_is_not_news() -> None:
    """Twelve layers of noise: the smallest p is below 0.05 half the time, the family's is not."""
    single, family = [], []
    for run in range(150):
        rng = np.random.default_rng(run)
        labels = rng.permutation(np.arange(20) % 2)
        result = permutation_test(
            rng.normal(size=(12, 20, 3)), labels, None, permutations=59, seed=run
        )
        single.append(result.p.min() <= 0.05)
        family.append(result.family_wise.min() <= 0.05)
    assert np.mean(single) > 0.3
    assert np.mean(family) < 0.05 + 3.29 * np.sqrt(0.05 * 0.95 / 150)


def schemes(labels: list[int], groups: list[int]) -> str:
    x = np.random.default_rng(0).normal(size=(1, len(labels), 3))
    return permutation_test(x, labels, groups, permutations=5, seed=0).scheme


def test_the_scheme_is_told() -> None:
    inside = "labels within mixed groups, and between one-class groups of one size"
    pairs = np.repeat(np.arange(12), 2).tolist()
    assert schemes([0, 1] * 12, pairs) == inside
    assert schemes([0, 0, 1, 1] * 8, np.repeat(np.arange(16), 2).tolist()) == inside
    stuck = schemes([0, 1] * 3, np.repeat(np.arange(3), 2).tolist())
    assert stuck == "labels over all rows, as the groups leave too few arrangements"


def test_states_that_are_all_alike_are_never_significant() -> None:
    result = permutation_test(np.ones((2, 20, 3)), np.arange(20) % 2, None, seed=0)
    assert (result.p == 1).all() and (result.family_wise == 1).all()


def test_a_hundred_shuffles_cost_less_than_two_fits() -> None:
    """A ratio, timed side by side: one eigendecomposition serves them all."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(3, 300, 400)), np.arange(300) % 2

    def took(permutations: int) -> float:
        began = time.perf_counter()
        permutation_test(x, labels, None, permutations=permutations, seed=0)
        return time.perf_counter() - began

    took(1)
    ratios = [took(100) / took(1) for _ in range(5)]
    assert sorted(ratios)[2] < 2


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: RidgeGram.of(np.full((4, 2), np.nan)), "finite values"),
        (lambda: RidgeGram.of(np.ones((1, 2))), "at least two rows"),
        (lambda: RidgeGram.of(np.eye(4)).loo_scores(np.ones((1, 3)), [1.0]), "3 rows, but 4"),
        (lambda: RidgeGram.of(np.eye(4)).loo_scores(np.ones((1, 4)), [0.0]), "not above 0"),
        (lambda: permutation_test(np.ones((1, 4, 2)), [0, 0, 0, 0], None, seed=0), "both present"),
        (lambda: permutation_test(np.ones((1, 4, 2)), [0, 1, 0], None, seed=0), "4 rows, but 3"),
        (lambda: permutation_test(np.ones((1, 2, 2)), [0, 1], [1], seed=0), "1 clusters for 2"),
    ],
)
def test_bad_input_is_named(call, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=said):
        call()
