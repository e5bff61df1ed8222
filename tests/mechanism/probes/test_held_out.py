"""Held-out scores: what they are made of, and figures that are what they must be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.mechanism.planted import shifted
from theodolite.mechanism.probes.classifiers import Design, fit
from theodolite.mechanism.probes.held_out import cross_fitted, figures, smoothed_temperature, spread
from theodolite.mechanism.probes.splits import inner_folds

LABELS = np.arange(60) % 2


def test_every_row_is_scored_by_a_probe_that_saw_neither_it_nor_its_group() -> None:
    """Against refitting by hand: nearest class mean of the rows of other folds."""
    x = shifted(LABELS, 5, 1.5)
    groups = [str(i // 4) for i in range(60)]
    folds = inner_folds(LABELS, groups, folds=4, seed=1)
    scores = cross_fitted("difference_of_means", x, LABELS, groups, folds)
    for train, test in folds:
        assert not {groups[i] for i in train} & {groups[i] for i in test}
        z = (x - x[train].mean(0)) / x[train].std(0)
        first, second = (z[[i for i in train if LABELS[i] == k]].mean(0) for k in (0, 1))
        for i in test:
            nearer = np.linalg.norm(z[i] - second) < np.linalg.norm(z[i] - first)
            assert (scores[i] > 0) == nearer


def test_a_temperature_never_says_more_than_the_items_can() -> None:
    """n items of each class without a mistake: the odds are n + 1 to 1, not infinite."""
    for n in (3, 20):
        labels = np.repeat([0, 1], n)
        scores = np.where(labels == 1, 2.0, -2.0)
        assert smoothed_temperature(scores, labels) == pytest.approx(2.0 / math.log(n + 1))


def test_a_temperature_undoes_a_scale() -> None:
    rng = np.random.default_rng(0)
    logits = 2.0 * rng.standard_normal(4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    once, tenfold = (smoothed_temperature(f * logits, labels) for f in (1.0, 10.0))
    assert tenfold == pytest.approx(10 * once, rel=1e-6)
    assert once == pytest.approx(1.0, abs=0.12)


def test_figures_of_a_perfect_and_of_a_blind_score() -> None:
    groups = [str(i // 2) for i in range(60)]
    sure = np.where(LABELS == 1, 1.0, -1.0)
    found = figures("d", sure, LABELS.astype(float), LABELS, groups, seed=0)
    assert [found[k].value for k in ("accuracy", "auroc", "ece", "brier")] == [1.0, 1.0, 0.0, 0.0]
    blind = figures("d", np.ones(60), np.full(60, 0.5), LABELS, groups, seed=0)
    assert [blind[k].value for k in ("accuracy", "auroc", "brier")] == [0.5, 0.5, 0.25]
    assert blind["ece"].value == pytest.approx(0.0)
    for figure in (*found.values(), *blind.values()):
        assert figure.n == 60 and figure.n_clusters == 30 and figure.floor is not None


def test_calibration_errors_are_set_against_what_chance_alone_adds() -> None:
    rng = np.random.default_rng(3)
    chances = rng.random(300)
    labels = (rng.random(300) < chances).astype(np.int64)
    groups = [str(i) for i in range(300)]
    honest = figures("d", chances - 0.5, chances, labels, groups, seed=0)["ece"]
    assert honest.floor is not None and honest.value is not None and honest.low is None
    assert honest.value < 1.6 * honest.floor.value
    proud = figures("d", chances - 0.5, np.round(chances), labels, groups, seed=0)["ece"]
    assert proud.value is not None and proud.floor is not None
    assert proud.value > 0.15 > proud.floor.value == 0.0


def test_a_probe_of_constant_states_has_a_spread() -> None:
    fitted = fit(
        "difference_of_means", Design.of(np.ones((6, 2)), np.ones((1, 2))), LABELS[:6], inner=[]
    )
    assert spread(fitted) == 1.0
