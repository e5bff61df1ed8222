"""The quick fits of all folds score held-out rows as exact fits do, fold by fold."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from theodolite.mechanism.probes import classifiers, logistic_folds
from theodolite.mechanism.probes.classifiers import STRENGTHS, Design, fit
from theodolite.mechanism.probes.logistic import Rows, solve
from theodolite.mechanism.probes.logistic_folds import Basis, held_out
from theodolite.mechanism.probes.threads import one_blas_thread


def drawn(seed: int, n: int, width: int, shift: float) -> tuple[Design, np.ndarray, list]:  # type: ignore[type-arg]
    """Draw a design of two classes, their labels and five folds of uneven size."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    x = rng.normal(size=(n, width)) * rng.gamma(0.3, 1, width)
    x[:, 0] += shift * labels
    return Design.of(x, x[:5]), labels, list(KFold(5, shuffle=True, random_state=0).split(x))


def exact(design: Design, target: np.ndarray, folds: list) -> np.ndarray:  # type: ignore[type-arg]
    """Return held-out scores of single fits; axes (strength, row)."""
    scores = np.empty((len(STRENGTHS), len(target)))
    for train, val in folds:
        rows = Rows(design.gram[np.ix_(train, train)], None)
        for s, strength in enumerate(STRENGTHS):
            found = solve(rows, target[train].astype(float), strength)
            scores[s, val] = design.gram[np.ix_(val, train)] @ found.dual + found.bias
    return scores


@pytest.mark.parametrize("n, width", [(62, 150), (83, 20)])
@pytest.mark.parametrize("shift", [0.0, 2.0, 30.0])
def test_scores_are_those_of_single_fits(n: int, width: int, shift: float) -> None:
    """For noise, overlapping classes and classes far apart."""
    design, labels, folds = drawn(0, n, width, shift)
    found = held_out(design.basis, labels == 1, folds, STRENGTHS)
    expected = exact(design, labels == 1, folds)
    size = np.abs(expected).max(1, keepdims=True)
    assert found.scores / size == pytest.approx(expected / size, abs=0.02)
    assert ((found.scores > 0) == (expected > 0)).mean() > 0.99


def test_the_mean_of_the_folds_is_near_the_fit_of_all_rows() -> None:
    design, labels, folds = drawn(1, 80, 150, 2.0)
    starts = held_out(design.basis, labels == 1, folds, STRENGTHS).starts
    for strength, start in zip(STRENGTHS, starts, strict=True):
        right = solve(design.rows, labels.astype(float), strength)
        assert start is not None
        scores = design.gram @ right.dual + right.bias
        guess = design.gram @ start.dual + start.bias
        assert np.corrcoef(scores, guess)[0, 1] > 0.98


def test_a_row_in_no_fold_has_no_score() -> None:
    design, labels, folds = drawn(2, 60, 30, 1.0)
    scores = held_out(design.basis, labels == 1, folds[:2], STRENGTHS).scores
    seen = np.isin(np.arange(60), np.concatenate([val for _, val in folds[:2]]))
    assert (np.isfinite(scores) == seen).all()


def test_fits_that_do_not_end_are_made_the_safe_way(monkeypatch: pytest.MonkeyPatch) -> None:
    design, labels, folds = drawn(3, 60, 150, 1.0)
    usual = fit("logistic", design, labels, inner=folds)
    monkeypatch.setattr(logistic_folds, "_MOST_STEPS", 4)
    broken = held_out(design.basis, labels == 1, folds, STRENGTHS)
    assert np.isnan(broken.scores).any() and None in broken.starts
    found = classifiers._logistic_search(design, labels == 1, folds)
    assert found.scores == pytest.approx(exact(design, labels == 1, folds), rel=0.02, abs=0.02)
    again = fit("logistic", design, labels, inner=folds)
    assert again.strength == usual.strength
    assert again.test_scores == pytest.approx(usual.test_scores, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("n, width", [(40, 90), (90, 12)])
def test_the_basis_keeps_inner_products(n: int, width: int) -> None:
    design, _, _ = drawn(4, n, width, 1.0)
    basis = Basis.of(design.gram)
    size = np.abs(design.gram).max()
    assert basis.rows @ basis.rows.T / size == pytest.approx(design.gram / size, abs=1e-5)
    assert (np.diff(basis.values) <= 0).all()
    assert basis.rows.shape[1] <= min(n, width)


def test_rows_that_are_all_alike_leave_the_class_shares() -> None:
    labels = np.arange(40) % 4 == 0
    folds = list(KFold(5).split(labels))
    scores = held_out(Basis.of(np.zeros((40, 40))), labels, folds, STRENGTHS).scores
    for train, val in folds:
        share = labels[train].mean()
        assert scores[:, val] == pytest.approx(np.log(share / (1 - share)), abs=1e-5)


def test_all_folds_at_once_are_much_faster_than_one_after_the_other() -> None:
    """A ratio, timed side by side on labels without a pattern, as every control has them."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(200, 576)) @ np.diag(rng.gamma(0.2, 1, 576)), np.arange(200) % 2
    folds = list(KFold(5, shuffle=True, random_state=0).split(x))

    def library() -> None:
        scaled = StandardScaler().fit_transform(x)
        for strength in STRENGTHS:
            for train, val in folds:
                model = LogisticRegression(C=strength, max_iter=1000)
                model.fit(scaled[train], labels[train]).decision_function(scaled[val])

    def took(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    def ours() -> object:
        return fit("logistic", Design.of(x, x[:5]), labels, inner=folds)

    with one_blas_thread():
        ours(), library()
        ratios = [took(library) / took(ours) for _ in range(5)]
    assert sorted(ratios)[2] > 2.5
