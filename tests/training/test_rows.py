"""Rows are read strictly, and no goal stands in two splits (also where the words are equal)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.made_rows import made_row, made_rows
from theodolite.data.bundled import bundled
from theodolite.data.goal_splits import Placed, goals_in_two_splits, refuse_leaking_prompts
from theodolite.data.prompts import Prompt, PromptSet
from theodolite.errors import DataError
from theodolite.training.rows import TrainingRow, read_rows, rows_of, write_rows


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: bool(text.strip())
)


@given(text=WORDS, target=WORDS, source=WORDS, goal=WORDS, split=st.sampled_from(("train", "val")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_what_is_written_is_read(
    tmp_path: Path, text: str, target: str, source: str, goal: str, split: str
) -> None:
    row = TrainingRow("a", goal, split, "benign", "plain", source, text, target)
    assert read_rows(write_rows(tmp_path / "rows.jsonl", [row])) == [row]


def test_columns_of_other_names_and_a_csv_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(
        "prompt,chosen,rejected,harmful,goal_id,split,method,chars\n"
        "Wreck it,No.,Sure,true,7,training,pair,8\n"
    )
    (row,) = read_rows(path)
    assert row == TrainingRow(
        "r/0", "7", "train", "harmful", "pair", "r", "Wreck it", "No.", "Sure"
    )


GOOD = made_row(0, harmful=False).to_json()
WRONG = {
    "label": ({**GOOD, "label": "spicy"}, "field 'label'"),
    "split": ({**GOOD, "split": "later"}, "field 'split'"),
    "no goal": ({k: v for k, v in GOOD.items() if k != "goal_id"}, "field 'goal_id'"),
    "empty text": ({**GOOD, "text": " "}, "text' is empty"),
    "number": ({**GOOD, "text": 3}, "must be text"),
    "misspelt": ({**{k: v for k, v in GOOD.items() if k != "target"}, "taget": "x"}, "'target'"),
    "turn": ({**GOOD, "turn": "ajar"}, "'ajar'"),
    "chat": ({**GOOD, "messages": []}, "chat"),
    "twice": (GOOD, "already used on line 1"),
}
RANKED = {**{k: v for k, v in GOOD.items() if k not in ("target", "rejected")}, "id": "r"}
WRONG |= {
    "begun": ({**GOOD, "begun": " "}, "'begun' is empty"),
    "no list": ({**RANKED, "ranked": "a"}, "must be a list of answers"),
    "no text": ({**RANKED, "ranked": ["a", 3]}, "must be text"),
    "empty answer": ({**RANKED, "ranked": ["a", " "]}, "'ranked' is empty"),
    "one answer": ({**RANKED, "ranked": ["a"]}, "at least two answers"),
    "equal answers": ({**RANKED, "ranked": ["a", "b", "a"]}, "no two of them equal"),
}


@pytest.mark.parametrize(("record", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_row_names_file_line_and_field(record: object, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", GOOD, record)
    with pytest.raises(DataError) as refused:
        read_rows(path)
    assert says in str(refused.value) and "rows.jsonl, line 2" in str(refused.value)


BEGUN = {**GOOD, "id": "s", "begun": "Sure, take"}
UNFIT = {
    "listwise": (GOOD, "row 'b0' has no ranked answers, and listwise needs them"),
    "ssft-chat": ({**RANKED, "ranked": ["a", "b"]}, "has ranked answers, and ssft-chat has no use"),
    "dpo": ({**RANKED, "ranked": ["a", "b"]}, "has ranked answers, and dpo has no use"),
    "ssft-label": (BEGUN, "has a begun turn"),
}


@pytest.mark.parametrize("method", UNFIT)
def test_a_row_that_a_method_cannot_use_names_file_and_line(method: str, tmp_path: Path) -> None:
    record, says = UNFIT[method]
    path = write(tmp_path / "rows.jsonl", record)
    with pytest.raises(DataError) as refused:
        read_rows(path, method)
    assert says in str(refused.value) and "rows.jsonl, line 1" in str(refused.value)
    assert len(read_rows(path)) == 1  # where no method is named, it is a row like any other


def test_begun_and_ranked_are_written_and_read(tmp_path: Path) -> None:
    rows = [
        replace(made_row(0, harmful=False), begun=" Sure,\n", ranked=(" a", "b ", "c")),
        replace(made_row(1, harmful=True), begun="Take"),
    ]
    assert read_rows(write_rows(tmp_path / "rows.jsonl", rows)) == rows
    listed = {"ranked": ["a", "b"], "begun": "c"}
    prompt = Prompt("a", "text", label="benign", goal_id="g", split="train", meta=listed)
    (row,) = rows_of(PromptSet("few", (prompt,)))
    assert row.ranked == ("a", "b") and row.begun == "c"


def test_a_goal_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = [*made_rows(), made_row(0, harmful=True, split="val", id="x", text="other words")]
    with pytest.raises(DataError, match=r"1 goal stands in more than one split.*goal-0"):
        read_rows(write_rows(tmp_path / "rows.jsonl", rows))


def test_equal_words_in_two_splits_are_refused_under_other_goals_too(tmp_path: Path) -> None:
    first = made_row(0, harmful=True)
    again = replace(first, id="x", goal_id="y", split="test", text=first.text.upper() + " ")
    with pytest.raises(DataError, match="also that of row 'h0'"):
        read_rows(write_rows(tmp_path / "rows.jsonl", [first, again]))


def test_the_detector_passes_what_is_split_by_goal_and_names_what_is_not() -> None:
    kept = [Placed("a", "g", "train"), Placed("b", "g", "train"), Placed("c", "h", "test")]
    assert goals_in_two_splits(kept) == {}
    assert goals_in_two_splits([*kept, Placed("d", None, "val"), Placed("e", "g", None)]) == {}
    assert goals_in_two_splits([*kept, Placed("d", "g", "test")]) == {"g": ("train", "test")}


def test_prompt_sets_go_through_the_same_detector() -> None:
    refuse_leaking_prompts(bundled("refusal"))
    leak = [
        Prompt(str(i), f"text {i}", goal_id="g", split=s) for i, s in enumerate(("val", "test"))
    ]
    with pytest.raises(DataError, match="prompt set 'leaky': 1 goal"):
        refuse_leaking_prompts(PromptSet("leaky", tuple(leak)))


def test_bundled_prompts_become_rows_and_incomplete_ones_do_not() -> None:
    rows = rows_of(bundled("refusal"))
    assert len(rows) == 240 and {row.split for row in rows} == {"train", "val", "test"}
    assert all((row.hazard is not None) == row.harmful for row in rows)
    with pytest.raises(DataError, match="has no goal_id"):
        rows_of(PromptSet("few", (Prompt("a", "text", label="benign", split="train"),)))
