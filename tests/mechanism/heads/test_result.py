"""What is said of heads over prompts: order, intervals, the control, and nothing invented."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.mechanism.heads.made_scores import made_scores, turned
from theodolite.measure.measurement import Floor
from theodolite.mechanism.heads.result import HeadScores
from theodolite.runs.run import Run


def test_a_head_about_harm_is_told_from_a_head_about_everything() -> None:
    scores = made_scores({(1, 2): 2.0, (3, 0): 1.0}, {(1, 2): 2.0})
    rows = {row["name"]: row for row in scores.scores()}
    assert scores.ranking()[:2] == [(1, 2), (3, 0)]
    assert rows["3-0"]["shown_specific"] and not rows["1-2"]["shown_specific"]
    assert rows["3-0"]["specificity_low"] > 0
    assert rows["1-2"]["specificity_low"] < 0 < rows["1-2"]["specificity_high"]
    assert rows["1-2"]["kl_low"] < rows["1-2"]["kl"] < rows["1-2"]["kl_high"]
    found = {one.name: one for one in scores.measurements()}
    assert found["heads/specific_heads"].value == 1
    top = found["heads/head 1-2/kl"]
    assert top.value == pytest.approx(rows["1-2"]["kl"]) and top.floor == Floor("rounding", 1e-9)
    assert found["heads/head 1-2/specificity"].floor == Floor("no change", 0.0)
    assert not [name for name in found if "top/" in name or "noise" in name]


def test_without_benign_prompts_nothing_is_said_of_harm() -> None:
    scores = made_scores({(1, 2): 2.0})
    row = scores.scores()[0]
    assert row["kl_benign"] is None and row["shown_specific"] is None
    found = {one.name: one for one in scores.measurements()}
    assert found["heads/specific_heads"].status == "not_measured"
    assert found["heads/head 1-2/specificity"].status == "not_measured"


def test_heads_that_were_not_scored_are_in_no_table_and_no_ranking() -> None:
    scores = made_scores({(1, 2): 2.0}, {}, scored=[(1, 2), (0, 0), (4, 1)])
    assert set(scores.ranking()) == {(1, 2), (0, 0), (4, 1)}
    assert {(row["layer"], row["head"]) for row in scores.frame()} == set(scores.ranking())
    assert len(scores.scores()) == 3


def test_each_prompt_has_an_order_of_its_own() -> None:
    scores = made_scores({(1, 2): 2.0})
    scores.kl[4, 0, 1] = 9.0
    assert scores.top(4, 2) == [(0, 1), (1, 2)]
    assert scores.top(0, 1) == [(1, 2)]


def test_one_prompt_gives_no_interval() -> None:
    row = made_scores({(1, 2): 2.0}, prompts=1).scores()[0]
    assert row["kl"] > 1 and row["kl_low"] is None and row["kl_high"] is None
    assert row["top_probability"] is None
    assert made_scores({(1, 2): 2.0}, prompts=2).scores()[0]["top_probability"] == 1.0


def test_the_angle_orders_rows_and_names_the_highest_head() -> None:
    scores = turned()
    assert [row["name"] for row in scores.scores("angle_r1")][:2] == ["4-0", "1-2"]
    assert scores.scores()[0]["name"] == "1-2"
    found = {one.name: one for one in scores.measurements(by="angle_r1")}
    turn = found["heads/head 4-0/angle_r1"]
    assert (turn.value, turn.unit, turn.floor) == (90.0, "degrees", Floor("rounding", 1e-6))
    assert found["heads/head 4-0/kl"].value == pytest.approx(scores.map()[4, 0])
    assert not [name for name in found if "1-2" in name]
    assert "heads/head 4-0/angle_r1" not in {one.name for one in scores.measurements()}


@pytest.mark.parametrize(("prompts", "known"), [(11, False), (12, True)])
def test_few_requests_give_shares_without_an_interval(prompts: int, known: bool) -> None:
    found = {m.name: m for m in made_scores({(1, 2): 2.0}, prompts=prompts).measurements()}
    share = found["heads/share of the top 1"]
    assert share.value is not None and share.floor is not None
    assert (share.low is not None) == known
    assert known or "biased" in (share.reason or "")


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    scores = made_scores({(1, 2): 2.0}, {(0, 0): 1.0}, scored=[(1, 2), (0, 0)])
    with Run.create("test", "made", out=tmp_path / "run") as run:
        scores.save(run)
        again = HeadScores.load(run)
    assert np.array_equal(again.kl, scores.kl, equal_nan=True)
    assert _same(again, scores)
    assert again.ablation.key == scores.ablation.key
    assert (again.labels, again.prompt_ids) == (scores.labels, scores.prompt_ids)


def _same(first: HeadScores, second: HeadScores) -> bool:
    """Whether two tables hold the same values (NaN equals NaN)."""

    def plain(value: object) -> object:
        return "nan" if isinstance(value, float) and math.isnan(value) else value

    rows = [[{k: plain(v) for k, v in row.items()} for row in s.scores()] for s in (first, second)]
    return rows[0] == rows[1]
