"""Figures of many columns at once: equal to counting pairs and trying every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import residual_space as oracle
from theodolite.errors import DataError
from theodolite.mechanism.probes import calibration
from theodolite.mechanism.residual_space import scores as column

Case = tuple[np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(4, 16))
    # Few distinct values, so that ties are common.
    values = st.lists(st.integers(-3, 3), min_size=n, max_size=n)
    x = np.array([draw(values) for _ in range(3)], float).T
    labels = np.array(draw(st.permutations([True, False, *(i % 3 == 0 for i in range(n - 2))])))
    return x, labels


def distinct(n: int = 41, columns: int = 5, seed: int = 0) -> Case:
    random = np.random.default_rng(seed)
    labels = random.random(n) < 0.4
    labels[:2] = [True, False]
    return random.standard_normal((n, columns)) + labels[:, None] * np.linspace(
        0, 2, columns
    ), labels


@given(cases())
@settings(max_examples=40)
def test_areas_count_pairs(case: Case) -> None:
    x, labels = case
    wanted = [oracle.auroc(c, labels) for c in x.T]
    np.testing.assert_allclose(column.areas(x, labels), wanted, atol=1e-12)


@given(cases())
@settings(max_examples=40)
def test_average_precision_equals_the_library(case: Case) -> None:
    from sklearn.metrics import average_precision_score

    x, labels = case
    wanted = [average_precision_score(labels, c) for c in x.T]
    np.testing.assert_allclose(column.average_precisions(x, labels), wanted, atol=1e-12)


@given(cases())
@settings(max_examples=40)
def test_best_threshold_is_the_best_of_all(case: Case) -> None:
    x, labels = case
    limits = column.best_thresholds(x, labels)
    found = column.balanced_accuracies(x, labels, limits)
    for c, limit, value in zip(x.T, limits, found, strict=True):
        assert value == pytest.approx(oracle.balanced_accuracy(c, labels, limit))
        everything = (labels.sum() > 0) * 0.5  # the cut below all rows is left out
        assert value == pytest.approx(max(oracle.best_balanced_accuracy(c, labels), everything))


@given(st.integers(0, 200), st.floats(0.01, 50))
@settings(max_examples=40)
def test_the_paper_s_rule_calls_as_many_as_there_are(seed: int, scale: float) -> None:
    x, labels = distinct(n=17 + seed % 9, seed=seed)
    limits = column.base_rate_thresholds(x, labels)
    called, _ = zip(*(oracle.threshold_rule(c, labels) for c in x.T))
    assert ((x > limits).sum(0) == labels.sum()).all()
    assert set(called) == {int(labels.sum())}
    found = column.accuracies(x, labels, limits)
    wanted = [oracle.threshold_rule(c, labels)[1] for c in x.T]
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    scaled = column.accuracies(scale * x, labels, column.base_rate_thresholds(scale * x, labels))
    np.testing.assert_allclose(scaled, found, atol=1e-12)
    # Errors come in pairs: each missed positive is one negative called positive.
    assert ((found * len(x)).round().astype(int) % 2 == len(x) % 2).all()


def test_rates_at_one_percent_equal_the_probes() -> None:
    x, labels = distinct(n=400, columns=3)
    wanted = [calibration.tpr_at_fpr(c, labels, 0.01) for c in x.T]
    np.testing.assert_allclose(column.rates_at(x, labels), wanted)
    assert np.isnan(column.rates_at(x[:60], labels[:60])).all()


def test_correlation_and_margin() -> None:
    x, labels = distinct()
    wanted = [np.corrcoef(c, labels)[0, 1] for c in x.T]
    np.testing.assert_allclose(column.correlations(x, labels), wanted)
    signs = 2.0 * labels - 1
    margins = [((c - c.mean()) * signs).mean() for c in x.T]
    np.testing.assert_allclose(column.margins(x, labels), margins)


def test_a_constant_projection_says_nothing() -> None:
    labels = np.array([True, False] * 6)
    x = np.full((12, 1), 3.3)
    assert column.areas(x, labels) == pytest.approx(0.5)
    assert np.isnan(column.correlations(x, labels)).all()
    assert column.calibrated_losses(x, labels, x, labels) == pytest.approx(np.log(2))


def test_calibrated_loss_equals_an_optimiser() -> None:
    from scipy.optimize import minimize

    x, labels = distinct(n=60, columns=4, seed=3)
    other, truth = distinct(n=50, columns=4, seed=4)
    found = column.calibrated_losses(x, labels, other, truth)
    ones, zeros = labels.sum(), (~labels).sum()
    target = np.where(labels, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    for c, o, loss in zip(x.T, other.T, found, strict=True):

        def fit_loss(p: np.ndarray, c: np.ndarray = c) -> float:
            logits = p[0] * c + p[1]
            return float((np.logaddexp(0, logits) - target * logits).sum())

        best = minimize(fit_loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9}).x
        logits = best[0] * o + best[1]
        wanted = np.logaddexp(0, np.where(truth, -logits, logits)).mean()
        assert loss == pytest.approx(wanted, abs=1e-5)


def test_scores_without_an_error_have_a_finite_loss() -> None:
    labels = np.array([True] * 8 + [False] * 8)
    x = np.where(labels, 5.0, -5.0)[:, None] * [[1.0, 1e6, 1e-6]]
    loss = column.calibrated_losses(x, labels, x, labels)
    assert (loss > 0).all()
    assert (loss < 0.2).all()
    np.testing.assert_allclose(loss, loss[0])


def test_intervals_hold_whole_goals_and_shrink_with_them() -> None:
    x, labels = distinct(n=120, columns=3)
    alone = [f"g{i}" for i in range(120)]
    few = [f"g{i // 12}" for i in range(120)]
    low, high = column.area_intervals(x, labels, alone, seed=0, resamples=300)
    assert ((low < column.areas(x, labels)) & (column.areas(x, labels) < high)).all()
    again = column.area_intervals(x, labels, alone, seed=0, resamples=300)
    assert again[0].tobytes() == low.tobytes()
    wide = column.area_intervals(np.repeat(x[:10], 12, 0), np.repeat(labels[:10], 12), few, seed=0)
    assert (wide[1] - wide[0]).mean() > (high - low).mean()
    assert np.isnan(column.area_intervals(x, labels, ["one"] * 120, seed=0)[0]).all()


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="two classes"):
        column.areas(np.zeros((4, 1)), np.ones(4))
    with pytest.raises(DataError, match="one label per row"):
        column.areas(np.zeros((4, 1)), [True, False])
