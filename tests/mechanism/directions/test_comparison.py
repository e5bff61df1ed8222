"""Estimators side by side: figures equal to plain ones, floors that hold, pairs that differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.mechanism.directions.made_contrasts import gaussian_contrast
from tests.oracles import directions as oracle
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.comparison import compare_estimators
from theodolite.mechanism.directions.comparison_result import EstimatorComparison
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.directions.estimator import estimator
from theodolite.mechanism.directions.given import GivenDirections
from theodolite.mechanism.directions.overlap import (
    angle,
    chance_cosine,
    chance_overlap,
    leading_components,
    overlap,
)
from theodolite.mechanism.probes.calibration import auroc, tpr_at_fpr

QUICK = ("difference_in_means", "leace", "som")


@pytest.fixture(scope="module")
def compared() -> EstimatorComparison:
    contrast = gaussian_contrast(720, loud=3.0)
    return compare_estimators(contrast, QUICK, draws=50, shuffles=6, seed=2)


def test_figures_are_those_of_the_test_prompts(compared: EstimatorComparison) -> None:
    contrast = gaussian_contrast(720, loud=3.0)
    tested = contrast.rows_of("test")
    for name in QUICK:
        for h in contrast.hidden_indices:
            fitted = estimator(name).fit(contrast, seed=2)
            scores = contrast.at(h)[tested] @ fitted.leading(h).vector
            area, rate = compared.auroc(name, h), compared.tpr(name, h)
            assert area.value == pytest.approx(auroc(scores, contrast.labels[tested]))
            assert rate.value == pytest.approx(tpr_at_fpr(scores, contrast.labels[tested], 0.01))
            assert area.low is not None and area.high is not None and area.value is not None
            assert area.low <= area.value <= area.high
            assert area.n == 240 and area.n_clusters == 120


def test_an_auroc_hides_what_few_false_alarms_show(compared: EstimatorComparison) -> None:
    rows = {r["estimator"]: r for r in compared.frame() if r["hidden_index"] == 1}
    first, second = rows["leace"], rows["difference_in_means"]
    assert first["auroc"] - second["auroc"] < 0.25 < first["tpr"] - second["tpr"]


def test_floors_lie_where_they_must(compared: EstimatorComparison) -> None:
    assert compared.random.shape == (2, 50)
    assert (compared.random_floor > 0.5).all() and (compared.random_floor < 0.9).all()
    assert compared.shuffled.shape == (3, 2, 6)
    assert np.abs(compared.shuffled.mean(2) - 0.5).max() < 0.2
    for row in compared.frame():
        if row["estimator"] == "leace":  # the others follow what is loud, harm or not
            assert row["auroc"] > row["random_floor"] and row["auroc"] > row["shuffled_high"]


def test_where_nothing_is_planted_nothing_passes_its_floor() -> None:
    contrast = gaussian_contrast(480, apart=0.0, depths=1)
    found = compare_estimators(contrast, ("difference_in_means", "leace"), draws=50, shuffles=20)
    for row in found.frame():
        assert row["auroc_low"] < 0.5 < row["auroc_high"]
        assert row["auroc"] < max(row["random_floor"], row["shuffled_high"])
        assert abs(row["reliability"]) < 3 * chance_cosine(24)


def test_angles_and_overlaps_equal_the_slow_ones(compared: EstimatorComparison) -> None:
    for row in compared.pairs():
        h = row["hidden_index"]
        first, second = (compared.estimates[row[side]] for side in ("first", "second"))
        bases = first.basis(h), second.basis(h)
        assert row["overlap"] == pytest.approx(oracle.overlap(*bases), abs=1e-9)
        cosine = first.leading(h).vector @ second.leading(h).vector
        assert row["cosine"] == pytest.approx(cosine)
        assert np.cos(np.radians(row["degrees"])) == pytest.approx(cosine, abs=1e-9)
        ranks = len(bases[0]), len(bases[1])
        assert row["overlap_floor"] == chance_overlap(*ranks, 24)
    assert len(compared.pairs()) == 2 * 3
    # The reading direction and the difference in means are far from each other here.
    pair = next(r for r in compared.pairs() if r["second"] == "leace")
    assert pair["degrees"] > 20 and pair["overlap"] < 0.9


def test_chance_levels_hold_in_simulation() -> None:
    rng = np.random.default_rng(0)
    cosines = np.abs(
        [np.dot(*oracle.random_basis(rng, 2, 40, orthogonal=False)) for _ in range(4000)]
    )
    assert (cosines < chance_cosine(40)).mean() == pytest.approx(0.95, abs=0.015)
    found = [
        overlap(oracle.random_basis(rng, 3, 20), oracle.random_basis(rng, 5, 20))
        for _ in range(400)
    ]
    assert np.mean(found) == pytest.approx(chance_overlap(3, 5, 20), rel=0.05)
    inside = np.eye(6)
    assert overlap(inside[:2], inside[:4]) == 1.0 and overlap(inside[:2], inside[2:4]) == 0.0
    assert angle(0.0) == pytest.approx(90.0)
    with pytest.raises(DataError, match="do not share a space"):
        overlap(np.eye(3)[:1], np.eye(4)[:1])


def test_leading_components_are_those_of_the_svd() -> None:
    x = np.random.default_rng(0).standard_normal((12, 40)) + 5.0
    for centred in (True, False):
        wanted = np.linalg.svd(x - x.mean(0) if centred else x)[2][:4]
        found = leading_components(x, 4, centred=centred)
        assert np.abs((found * wanted).sum(1)) == pytest.approx(np.ones(4), abs=1e-9)
    assert len(leading_components(np.ones((5, 3)), 2)) == 0


def test_few_benign_prompts_leave_the_rate_unmeasured() -> None:
    found = compare_estimators(
        gaussian_contrast(120, depths=1), ("difference_in_means",), draws=5, shuffles=0
    )
    rate = found.tpr("difference_in_means", 1)
    assert rate.value is None and "it takes 100" in (rate.reason or "")
    assert found.frame()[0]["shuffled"] is None
    coarse = compare_estimators(
        gaussian_contrast(120, depths=1), ("difference_in_means",), fpr=0.1, draws=5, shuffles=0
    )
    assert coarse.tpr("difference_in_means", 1).value is not None


def test_measurements_stand_at_the_depth_that_val_prompts_choose() -> None:
    contrast = gaussian_contrast(480, depths=3)
    states = contrast.states.copy()
    states[:, 1, 0] += 4 * contrast.labels  # the second depth parts them best
    found = compare_estimators(replace(contrast, states=states), QUICK[:2], draws=5, shuffles=1)
    assert found.chosen("leace") == 2
    measured = {m.name: m for m in found.measurements()}
    assert len(measured) == 6
    area = measured["directions/leace/auroc"]
    assert area.floor is not None and area.floor.name.endswith("random directions")
    assert area.reason == "hidden_index 2 at prompt_last" or "hidden_index 2" in (area.reason or "")
    assert measured["directions/leace/reliability"].value == pytest.approx(1.0, abs=0.1)
    assert [r["hidden_index"] for r in found.frame() if r["chosen"]] == [2, 2]


def test_given_directions_stand_beside_fitted_ones() -> None:
    contrast = gaussian_contrast(240)
    axis, other = (Direction(f"axis {k}", 7, np.eye(24)[k]) for k in (0, 5))
    given = GivenDirections("given", [axis.turned(), other])
    found = compare_estimators(contrast, ("difference_in_means", given), draws=5, shuffles=2)
    rows = [row for row in found.frame() if row["estimator"] == "given"]
    assert [row["hidden_index"] for row in rows] == [1, 2]
    for row in rows:
        assert row["auroc"] < 0.1 and row["rank"] == 2  # it keeps its sign
        assert row["shuffled"] is None and row["reliability"] is None
        assert row["gap"] == pytest.approx(-3.0, abs=0.4)
    known = {m.name: m for m in found.measurements()}["directions/given/reliability"]
    assert known.status == "not_measured"
    with pytest.raises(DataError, match="3, and the states 24 wide"):
        GivenDirections("x", [Direction("x", 0, np.ones(3))]).fit(contrast, seed=0)
    with pytest.raises(DataError, match="not there"):
        GivenDirections("x", []).fit(contrast, seed=0)


def test_the_same_seed_gives_the_same_figures() -> None:
    contrast = gaussian_contrast(120, depths=1)
    first, again = (
        compare_estimators(contrast, ("logistic",), draws=5, shuffles=2, seed=4) for _ in range(2)
    )
    assert first.frame() == again.frame() and first.pairs() == again.pairs()


def test_a_comparison_needs_estimators_and_test_prompts() -> None:
    contrast = gaussian_contrast(120, depths=1)
    with pytest.raises(ConfigError, match="each once"):
        compare_estimators(contrast, ("lda", "lda"))
    with pytest.raises(ConfigError, match="no direction estimator"):
        compare_estimators(contrast, ("ldaa",))
    with pytest.raises(DataError, match="'test' does not hold"):
        compare_estimators(replace(contrast, splits=("train",) * len(contrast)), ("lda",))
