"""Continuations made elsewhere: read as own ones, and refused with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.behaviour.continuing.made import prompt
from theodolite.behaviour.continuing.answers import Answer
from theodolite.behaviour.continuing.responses import GIVEN, read_answers
from theodolite.data.prompts import PromptSet
from theodolite.errors import DataError
from theodolite.text.completion_marker import MARKER

KNOWN = PromptSet("made", (prompt("a"), prompt("b", "She went on and")))


def written(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_are_read_with_or_without_the_marker(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": "a", "completion": "Sure.\nCompletion: smiled."},
        {"id": "a", "completion": "smiled.", "sample": 1, "method": "base"},
        {"prompt_id": "b", "response": "", "method": "base"},
        {"id": "x", "completion": "left.", "prompt": "They", "group": "g", "domain": "d"},
    )
    first, second, third, own = read_answers(path, KNOWN)
    assert (first.text, first.method, first.sample, first.lines_dropped) == ("smiled.", GIVEN, 0, 1)
    assert (second.text, second.method, second.place) == ("smiled.", "base", ("a", 1))
    assert third.parsed is False and third.said.empty
    assert (own.prompt.category, own.prompt.meta["domain"]) == ("g", "d")
    assert own.prompt.goal_id is not None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "a"}, "field 'completion'"),
        ({"completion": "x"}, "field 'id'"),
        ({"id": "z", "completion": "x"}, "no prompt 'z'"),
        ({"id": "a", "completion": "x", "prompt": "Another"}, "has another text"),
        ({"id": "a", "completion": 3}, "must be text"),
        ({"id": "a", "completion": "x", "sample": -1}, "not a count"),
        ({"id": "a", "completion": "x", "method": "../up"}, "cannot name a method"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = written(tmp_path, {"id": "b", "completion": "fine"}, row)
    with pytest.raises(DataError, match=said) as caught:
        read_answers(path, KNOWN)
    assert "answers.jsonl" in str(caught.value) and "line 2" in str(caught.value)


def test_an_answer_stands_there_once(tmp_path: Path) -> None:
    row = {"id": "a", "completion": "x", "method": "base"}
    with pytest.raises(DataError, match="already on line 1"):
        read_answers(written(tmp_path, row, row), KNOWN)
    assert len(read_answers(written(tmp_path, row, {**row, "method": "raw"}), KNOWN)) == 2


@given(st.text(max_size=60), st.integers(0, 9))
def test_any_text_is_read_and_what_is_marked_is_found(text: str, sample: int) -> None:
    found = Answer.of_text(text, prompt(), "base", sample)
    assert found.sample == sample and found.said.words == len(found.text.split())
    plain = " ".join(text.split())
    if plain.isalpha() and plain.isascii() and plain.lower() != "completion":
        marked = Answer.of_text(f"{MARKER} {plain}", prompt(), "base", sample)
        assert marked.text == plain and marked.rule == "same_line"
