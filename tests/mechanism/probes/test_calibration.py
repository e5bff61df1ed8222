"""Calibration and ranking figures equal their definitions, and are None where not defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tests.oracles import calibration as oracle
from theodolite.errors import DataError
from theodolite.mechanism.probes.calibration import (
    auroc,
    balanced_accuracy,
    brier,
    confusion,
    ece,
    macro_f1,
    probabilities,
    temperature,
    tpr_at_fpr,
)

few = settings(max_examples=40, deadline=None)
scored = st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 1)), min_size=1, max_size=40).map(
    lambda rows: (np.array([s for s, _ in rows], float), np.array([y for _, y in rows]))
)
certain = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60).map(
    lambda rows: (np.array([p for p, _ in rows]), np.array([y for _, y in rows]))
)


@few
@given(scored)
def test_auroc_counts_pairs(rows) -> None:  # type: ignore[no-untyped-def]
    scores, labels = rows
    expected = oracle.auroc(scores.tolist(), labels.tolist())
    assert auroc(scores, labels) == (None if expected is None else pytest.approx(expected))


@few
@given(scored)
def test_auroc_knows_order_only(rows) -> None:  # type: ignore[no-untyped-def]
    scores, labels = rows
    area = auroc(scores, labels)
    if area is not None:
        assert auroc(-scores, labels) == pytest.approx(1 - area)
        assert auroc(scores, 1 - labels) == pytest.approx(1 - area)
        assert auroc(np.exp(scores), labels) == pytest.approx(area)
        assert area == pytest.approx(metrics.roc_auc_score(labels, scores))


def test_equal_scores_rank_nothing() -> None:
    assert auroc(np.zeros(9), np.arange(9) % 2) == 0.5


@few
@given(scored, st.sampled_from([0.05, 0.1, 0.25, 0.5, 1.0]))
def test_tpr_at_fpr_tries_all_thresholds(rows, fpr) -> None:  # type: ignore[no-untyped-def]
    scores, labels = rows
    expected = oracle.tpr_at_fpr(scores.tolist(), labels.tolist(), fpr)
    assert tpr_at_fpr(scores, labels, fpr) == (
        None if expected is None else pytest.approx(expected)
    )


def test_one_percent_needs_a_hundred_negatives() -> None:
    scores = np.arange(120.0)
    assert tpr_at_fpr(scores, scores >= 99, 0.01) is None
    assert tpr_at_fpr(scores, scores >= 100, 0.01) == 1.0
    assert tpr_at_fpr(np.ones(120), scores >= 100, 0.01) == 0.0


@few
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 5))
def test_ece_equals_its_definition(seed: int, bins: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    chances, labels = rng.random(bins * size), rng.integers(0, 2, bins * size)
    expected = oracle.ece(chances.tolist(), labels.tolist(), bins)
    assert ece(chances, labels, bins) == pytest.approx(expected)


@few
@given(certain, st.randoms(use_true_random=False))
def test_ece_is_bounded_and_blind_to_order(rows, random) -> None:  # type: ignore[no-untyped-def]
    chances, labels = rows
    order = list(range(len(chances)))
    random.shuffle(order)
    error = ece(chances, labels)
    assert error == pytest.approx(ece(chances[order], labels[order]))
    assert abs(chances.mean() - labels.mean()) - 1e-9 <= error <= 1
    assert ece(np.full(len(labels), labels.mean()), labels) == pytest.approx(0, abs=1e-12)
    assert ece(labels, labels) == 0


def test_ece_of_several_classes_is_about_the_largest() -> None:
    chances = np.array([[0.6, 0.3, 0.1]] * 5)
    assert ece(chances, [0, 0, 0, 1, 2]) == pytest.approx(0)
    assert ece(chances, [1, 1, 1, 1, 1]) == pytest.approx(0.6)


@few
@given(certain)
def test_brier_splits_into_its_parts(rows) -> None:  # type: ignore[no-untyped-def]
    """Reliability minus resolution plus uncertainty, over the distinct probabilities."""
    chances, labels = rows
    base = labels.mean()
    reliability = resolution = 0.0
    for p in np.unique(chances):
        own = labels[chances == p]
        reliability += len(own) * (p - own.mean()) ** 2
        resolution += len(own) * (own.mean() - base) ** 2
    expected = (reliability - resolution) / len(labels) + base * (1 - base)
    assert brier(chances, labels) == pytest.approx(expected)
    both = np.stack([1 - chances, chances], axis=1)
    assert brier(both, labels) == pytest.approx(2 * brier(chances, labels))


def overlapping(seed: int, n: int = 400, size: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw scores that are log-odds times `size`."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=n) * 2
    return size * odds, (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)


def test_temperature_is_the_best_there_is() -> None:
    scores, labels = overlapping(0)
    found = temperature(scores, labels)
    assert found == pytest.approx(3.0, rel=0.25)
    loss = oracle.log_loss(scores, labels, found)
    for other in found * np.array([0.5, 0.9, 0.99, 1.01, 1.1, 2.0]):
        assert oracle.log_loss(scores, labels, other) > loss


def test_temperature_follows_the_unit_of_the_scores() -> None:
    scores, labels = overlapping(1)
    found = temperature(scores, labels)
    assert temperature(7 * scores, labels) == pytest.approx(7 * found, rel=1e-6)
    both = np.stack([np.zeros_like(scores), scores], axis=1)
    assert temperature(both, labels) == pytest.approx(found, rel=1e-6)
    assert probabilities(both, found)[:, 1] == pytest.approx(probabilities(scores, found))


def test_temperature_calibrates() -> None:
    scores, labels = overlapping(2, n=4000)
    before = ece(probabilities(scores), labels)
    after = ece(probabilities(scores, temperature(scores, labels)), labels)
    assert after < 0.03 < 0.1 < before


def test_temperature_without_an_end_stays_finite() -> None:
    scores = np.array([-2.0, -1, 1, 2])
    assert temperature(scores, [0, 0, 1, 1]) == pytest.approx(1.5e-3 / 2, rel=0.01)
    assert temperature(scores, [1, 1, 0, 0]) == pytest.approx(1.5e3 / 2, rel=0.01)
    assert temperature(np.zeros(4), [0, 1, 0, 1]) == 1.0


@few
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_class_figures(pairs) -> None:  # type: ignore[no-untyped-def]
    predicted, labels = [p for p, _ in pairs], [y for _, y in pairs]
    assert (
        confusion(predicted, labels, 3).tolist()
        == metrics.confusion_matrix(labels, predicted, labels=[0, 1, 2]).tolist()
    )
    assert macro_f1(predicted, labels, 3) == pytest.approx(oracle.macro_f1(predicted, labels))
    if set(labels) == {0, 1, 2}:
        expected = metrics.balanced_accuracy_score(labels, predicted)
        assert balanced_accuracy(predicted, labels, 3) == pytest.approx(expected)
    else:
        assert balanced_accuracy(predicted, labels, 3) is None


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: auroc([1.0, 2.0], [0]), "2 for 1 labels"),
        (lambda: auroc([1.0, np.nan], [0, 1]), "item 1 are not finite"),
        (lambda: auroc(np.ones((2, 3)), [0, 1]), "one score per item"),
        (lambda: auroc([1.0, 2.0], [0, 2]), "Label 2"),
        (lambda: ece([0.5, 1.5], [0, 1]), "1.5"),
        (lambda: brier([], []), "for 0 labels"),
        (lambda: temperature(np.ones((2, 2)), [0, 2]), "Label 2"),
    ],
)
def test_bad_input_is_named(call, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=said):
        call()
