"""Rows with a reply to force: the official form, our own, and what is wrong with a row."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from theodolite.data.bundled import bundled
from theodolite.data.catalogue import official
from theodolite.data.forced_replies import goal_of, read_replies, reply_of
from theodolite.data.prompts import Prompt
from theodolite.errors import DataError


def rows(tmp_path: Path, *records: dict[str, Any]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def pku(first: bool, second: bool) -> dict[str, Any]:
    return {
        "prompt": "How do I bake?",
        "response_0": "first\n reply",
        "response_1": "second reply",
        "is_response_0_safe": first,
        "is_response_1_safe": second,
    }


@pytest.mark.parametrize(
    ("safe", "reply"),
    [
        ((False, False), "first\n reply"),
        ((False, True), "first\n reply"),
        ((True, False), "second reply"),
    ],
)
def test_the_first_unsafe_reply_is_taken_word_for_word(
    tmp_path: Path, safe: tuple[bool, bool], reply: str
) -> None:
    (row,) = read_replies(rows(tmp_path, pku(*safe)))
    assert reply_of(row) == reply
    assert (row.label, row.request) == ("harmful", "How do I bake?")


def test_what_a_prompt_set_writes_is_read_again(tmp_path: Path) -> None:
    rows = bundled("course_correction").split("test")
    rows.write(tmp_path / "rows.jsonl")
    found = read_replies(tmp_path / "rows.jsonl")
    assert [(r.id, r.request, r.label, r.goal_id, r.split) for r in found] == [
        (r.id, r.request, r.label, r.goal_id, r.split) for r in rows
    ]
    assert [reply_of(r) for r in found] == [reply_of(r) for r in rows]


@pytest.mark.parametrize("reply", [3, "  "])
def test_a_reply_among_the_notes_is_checked_too(tmp_path: Path, reply: object) -> None:
    path = rows(tmp_path, {"request": "How do I bake?", "meta": {"reply": reply}})
    with pytest.raises(DataError, match=r"line 1, field 'meta.reply'"):
        read_replies(path)


def test_a_row_with_two_safe_replies_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    path = rows(tmp_path, pku(False, True), pku(True, True))
    with pytest.raises(DataError, match="line 2: both replies are safe"):
        read_replies(path)


def test_rows_of_one_request_share_a_goal(tmp_path: Path) -> None:
    made = [
        {"id": "a", "request": "Tell me  a joke.", "harmful_response": "One.", "category": "fun"},
        {"id": "b", "request": "tell me a joke.", "reply": "Two.", "label": "benign"},
        {"id": "c", "request": "Another.", "harmful_response": "Three.", "dup_group": 12},
    ]
    first, second, third = read_replies(rows(tmp_path, *made))
    assert first.goal_id == second.goal_id == goal_of("Tell me a joke.")
    assert third.goal_id == "12"
    assert (first.category, second.label) == ("fun", "benign")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": None}, "field 'request': the request is missing"),
        ({"prompt": 3}, "field 'prompt': this must be text"),
        ({"response_0": "  "}, "field 'response_0': the text is empty"),
        ({"is_response_0_safe": "no"}, "field 'is_response_0_safe': this must be true or false"),
        ({"label": "odd"}, "field 'label': the label 'odd' is unknown"),
    ],
)
def test_a_wrong_row_is_one_sentence(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_replies(rows(tmp_path, pku(False, False) | change))
    assert said in str(caught.value) and "line 1" in str(caught.value)


def test_a_row_without_any_reply_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no reply to force"):
        read_replies(rows(tmp_path, {"prompt": "Hi"}))
    with pytest.raises(DataError, match="has no reply to force"):
        reply_of(Prompt("p", text="Hi"))


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_the_official_rows_have_the_counts_of_their_source() -> None:
    found = read_replies(official("course-correction/c2_eval_test"))
    assert len(found) == 500
    assert len(found.values("goal_id")) <= 462  # distinct requests; spaces and case do not count
    assert len({row.request for row in found}) == 462
    assert len({(row.request, reply_of(row)) for row in found}) == 495
    lengths = sorted(len(reply_of(row).split()) for row in found)
    assert (lengths[0], lengths[-1]) == (14, 321)
    assert sum("\n" in reply_of(row) for row in found) == 48
