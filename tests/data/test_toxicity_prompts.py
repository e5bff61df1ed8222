"""The official sentence beginnings: counts, groups, duplicates, and what is wrong with a row."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from theodolite.data.prompts import Prompt, PromptSet
from theodolite.data.toxicity_prompts import groups_of, read_bold, read_rtp_hard
from theodolite.errors import DataError

official = pytest.mark.skipif(
    "THEODOLITE_DATA" not in os.environ, reason="official data are not set (THEODOLITE_DATA)"
)
HARD = {"id": 3, "prompt": "The old man said", "response": "Completion: x", "score": 0.5}
BOLD = {"id": 4, "prompt": "She is a ", "domain": "gender", "category": "women"}


def rows(tmp_path: Path, *records: Any) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


@official
def test_the_official_toxic_beginnings() -> None:
    prompts = read_rtp_hard()
    assert len(prompts) == 1604
    assert prompts.ids == tuple(f"rtp-hard/{i}" for i in range(1604))
    scores = [prompt.meta["score"] for prompt in prompts]
    assert scores == sorted(scores, reverse=True)
    assert (round(min(scores), 4), round(max(scores), 4)) == (0.3014, 0.9029)
    assert sum(score > 0.5 for score in scores) == 473
    assert len(prompts.distinct()) == 1601
    assert all(set(prompt.meta) == {"score"} for prompt in prompts)  # no earlier completions


@official
def test_the_official_beginnings_about_groups() -> None:
    prompts = read_bold()
    assert prompts.ids == tuple(f"bold-1.5k/{i}" for i in range(1, 1501))
    assert Counter((p.meta["domain"], p.category) for p in prompts) == {
        ("gender", "American_actors"): 309,
        ("gender", "American_actresses"): 191,
        ("race", "European_Americans"): 599,
        ("race", "African_Americans"): 214,
        ("race", "Asian_Americans"): 187,
    }
    assert len(prompts.distinct()) == 1485
    assert [len(groups) for groups in groups_of(prompts).values()] == [2, 3]
    assert all(prompt.request.endswith(" ") for prompt in prompts)  # kept as they stand


@official
@pytest.mark.parametrize("read", [read_rtp_hard, read_bold])
def test_equal_texts_share_a_goal(read) -> None:
    prompts = read()
    goals: dict[str, set[str]] = {}
    for prompt in prompts:
        goals.setdefault(prompt.request, set()).add(prompt.goal_id)
    assert {len(found) for found in goals.values()} == {1}
    assert len(prompts.values("goal_id")) <= len(goals) < len(prompts)


def test_rows_of_a_file_keep_id_text_and_what_is_said_of_them(tmp_path: Path) -> None:
    (hard,) = read_rtp_hard(rows(tmp_path, HARD))
    assert (hard.id, hard.request, hard.meta) == ("rtp-hard/3", HARD["prompt"], {"score": 0.5})
    twin = BOLD | {"id": 5, "prompt": "she is  a", "category": "men"}
    first, second = read_bold(rows(tmp_path, BOLD, twin))
    assert (first.request, first.category, first.meta) == ("She is a ", "women", BOLD_META)
    assert first.goal_id == second.goal_id


BOLD_META = {"domain": "gender"}


@pytest.mark.parametrize(
    ("read", "row", "change", "said"),
    [
        (read_rtp_hard, HARD, {"prompt": ...}, "row 1, field 'prompt': the prompt of id 3 is miss"),
        (read_rtp_hard, HARD, {"prompt": 7}, "id 3: The field 'prompt' must be text"),
        (read_rtp_hard, HARD, {"prompt": " "}, "the prompt of id 3 is empty or too long"),
        (read_rtp_hard, HARD, {"score": "high"}, "the score of id 3 must be a number"),
        (read_rtp_hard, HARD, {"score": 1.5}, "the score of id 3 must be a number"),
        (read_rtp_hard, HARD, {"id": "3"}, "row 1, field 'id': the id must be a whole number"),
        (read_rtp_hard, HARD, {"id": True}, "the id must be a whole number"),
        (read_bold, BOLD, {"category": ...}, "the category of id 4 is missing"),
        (read_bold, BOLD, {"domain": None}, "id 4: The field 'domain' must be text"),
    ],
)
def test_a_wrong_row_is_named_by_its_place_and_id(tmp_path: Path, read, row, change, said) -> None:
    wrong = {key: value for key, value in (row | change).items() if value is not ...}
    with pytest.raises(DataError) as caught:
        read(rows(tmp_path, row | {"id": 1}, wrong))
    assert said in str(caught.value)


def test_ids_that_occur_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="repeats the id"):
        read_bold(rows(tmp_path, BOLD, BOLD))


def test_a_prompt_without_a_group_is_refused() -> None:
    prompts = PromptSet("made", (Prompt("a", text="It is", category="x"),))
    with pytest.raises(DataError, match="'a' belongs to no group"):
        groups_of(prompts)
