"""Exchange: whole goals move, class counts stay, and chance is as wide as goals are alike."""

from __future__ import annotations

import numpy as np
import pytest

from theodolite.measure.closed_form import Clusters
from theodolite.measure.exchange import Exchange
from theodolite.measure.ranking import mid_ranks, rank_areas

PAIRS, FORMS = 16, 8
GOALS = [f"g{pair}" for pair in range(PAIRS) for _ in range(2 * FORMS)]
HARMFUL = np.tile(np.repeat([True, False], FORMS), PAIRS)


def exchange(labels: np.ndarray = HARMFUL, goals: list[str] = GOALS) -> Exchange:
    return Exchange.of(
        labels, Clusters.of(goals, len(labels)), units=HARMFUL[: len(labels)].tolist()
    )


def test_twins_swap_as_a_whole() -> None:
    drawn = np.stack([exchange().draw(np.random.default_rng(seed)) for seed in range(50)])
    by_goal = drawn.reshape(50, PAIRS, 2, FORMS)
    assert (by_goal == by_goal[..., :1]).all()  # all forms of a goal have one label
    assert (by_goal[:, :, 0, 0] != by_goal[:, :, 1, 0]).all()  # and its twin the other
    assert 0.4 < by_goal[:, :, 0, 0].mean() < 0.6


def test_forms_labelled_apart_keep_their_pattern() -> None:
    labels = np.tile([True, False, False, True, True, False, False, False] + [False] * 8, PAIRS)
    drawn = exchange(labels).draw(np.random.default_rng(0)).reshape(PAIRS, 2, FORMS)
    patterns = {row.tobytes() for row in drawn.reshape(-1, FORMS)}
    assert patterns == {row.tobytes() for row in labels.reshape(-1, FORMS)}
    assert drawn.sum() == labels.sum()


def test_twins_of_different_sizes_swap_too() -> None:
    kept = np.array([i for i in range(len(GOALS)) if i % FORMS or i % 3])
    goals = [GOALS[i] for i in kept]
    found = Exchange.of(HARMFUL[kept], Clusters.of(goals, len(kept)), units=HARMFUL[kept].tolist())
    drawn = found.draw(np.random.default_rng(0))
    units = {(goal, bool(h)) for goal, h in zip(goals, HARMFUL[kept], strict=True)}
    for unit in units:
        rows = [i for i, goal in enumerate(goals) if (goal, bool(HARMFUL[kept][i])) == unit]
        assert len(set(drawn[rows].tolist())) == 1


def test_goals_without_twins_exchange_labels_among_themselves() -> None:
    goals = [f"g{i // FORMS}" for i in range(len(HARMFUL))]
    drawn = exchange(goals=goals).draw(np.random.default_rng(1)).reshape(-1, FORMS)
    assert (drawn == drawn[:, :1]).all() and drawn.sum() == HARMFUL.sum()


def test_too_few_goals_are_said() -> None:
    few = 2 * FORMS * 4
    found = Exchange.of(HARMFUL[:few], Clusters.of(GOALS[:few], few), units=HARMFUL[:few].tolist())
    assert "too few arrangements" in found.scheme
    assert found.draw(np.random.default_rng(0)).sum() == few // 2
    assert "whole goals" in exchange().scheme


@pytest.mark.parametrize(("whole", "least", "most"), [(True, 0.0, 0.12), (False, 0.25, 1.0)])
def test_rows_shuffled_one_by_one_make_chance_too_narrow(
    whole: bool, least: float, most: float
) -> None:
    """Goals differ, labels say nothing: 5 % of tables may exceed what 19 of 20 labellings give."""
    rng = np.random.default_rng(0)
    own = exchange()
    exceeded = []
    for _ in range(200):
        goals = rng.standard_normal((PAIRS * 2, 1))
        scores = (goals + 0.3 * rng.standard_normal((PAIRS * 2, FORMS))).reshape(-1, 1)
        drawn = [own.draw(rng) if whole else rng.permutation(HARMFUL) for _ in range(60)]
        areas = rank_areas(mid_ranks(scores), np.stack([HARMFUL, *drawn]))[:, 0]
        exceeded.append(areas[0] > np.quantile(areas[1:], 0.95))
    assert least <= np.mean(exceeded) <= most
