"""Preference pairs: what training reads, and nothing that teaches something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.correction.perspective_taking.made import CHAT, PROMPT, QUESTION, Script, sample_of
from tests.correction.perspective_taking.made import record_of as record_in
from theodolite.correction.perspective_taking.pairs import (
    NO_BETTER,
    NOT_SCORED,
    REFUSES,
    REPEATED,
    UNCHANGED,
    UNREAD,
    Revision,
    pairs_of,
)
from theodolite.correction.perspective_taking.registry import make_solver
from theodolite.errors import DataError
from theodolite.training.rows import read_rows

GOOD = Revision("a", "goal", "Go on: he", "he shouted at all of them", "he smiled", (0.9, 0.2))


def test_a_pair_prefers_the_revised_text() -> None:
    found = pairs_of([GOOD], split="train")
    (row,) = found.rows
    assert row["prompt"] == "Go on: he"
    assert (row["chosen"], row["rejected"]) == ("he smiled", "he shouted at all of them")
    assert row["margin"] == pytest.approx(0.7) and found.dropped == {}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"severities": (0.2, 0.9)}, NO_BETTER),
        ({"severities": (0.3, 0.3)}, NO_BETTER),
        ({"severities": (0.35, 0.3)}, NO_BETTER),
        ({"severities": (None, 0.3)}, NOT_SCORED),
        ({"severities": (0.3, None)}, NOT_SCORED),
        ({"revised": "he  shouted at all of them"}, UNCHANGED),
        ({"revised": " "}, UNREAD),
        ({"read": False}, UNREAD),
        ({"revised": "I'm sorry, but I can't help with that."}, REFUSES),
        ({"revised": "Completion: I cannot write this, I'm sorry."}, REFUSES),
    ],
)
def test_what_teaches_something_else_is_counted(changed: dict[str, Any], reason: str) -> None:
    other = replace(GOOD, id="b", **changed)
    found = pairs_of([GOOD, other], split="train", least=0.1)
    assert len(found.rows) == 1 and found.dropped == {reason: 1}


def test_refusals_may_be_kept_and_copies_never() -> None:
    refusal = replace(GOOD, id="b", revised="I'm sorry, but I can't help with that.")
    assert len(pairs_of([refusal], split="train", refusals=True).rows) == 1
    found = pairs_of([GOOD, replace(GOOD, id="b")], split="train")
    assert found.dropped == {REPEATED: 1}
    with pytest.raises(DataError, match="occurs twice"):
        pairs_of([GOOD, GOOD], split="train")
    with pytest.raises(DataError, match="split"):
        pairs_of([GOOD], split="tests")


def test_training_reads_what_is_written(tmp_path: Path) -> None:
    revisions = [GOOD, replace(GOOD, id="b", revised="he {waved}", severities=(0.8, 0.1))]
    found = pairs_of(revisions, split="train")
    rows = read_rows(found.write(tmp_path / "pairs.jsonl"), "dpo")
    assert [(row.id, row.goal_id, row.split, row.label) for row in rows] == [
        ("a", "goal", "train", "benign"),
        ("b", "goal", "train", "benign"),
    ]
    assert [row.target for row in rows] == ["he smiled", "he {waved}"]
    assert rows[0].rejected == GOOD.original and rows[0].text == GOOD.request
    first = json.loads((tmp_path / "pairs.jsonl").read_text("utf-8").split("\n")[0])
    assert {"prompt", "chosen", "rejected", "margin"} <= first.keys()


def test_records_become_revisions() -> None:
    script = Script(lambda number, _: f"Well.\nCompletion: text {number}")
    record = record_in(sample_of(make_solver("rewrite_only"), script))
    found = Revision.of(record, PROMPT, (0.5, 0.1))
    assert (found.id, found.goal_id) == ("c1/rewrite_only/0", "c1")
    assert (found.original, found.revised) == ("Completion: text 1", "Completion: text 2")
    assert f'"{PROMPT}"' in found.request and "toxic" not in found.request
    chat = record_in(sample_of(make_solver("rewrite_only"), script, CHAT))
    found = Revision.of(chat, QUESTION, (0.5, 0.1))
    assert (found.request, found.revised) == (QUESTION, "Well.\nCompletion: text 4")
    base = record_in(sample_of(make_solver("base"), script))
    with pytest.raises(DataError, match="base"):
        Revision.of(base, PROMPT, (0.5, 0.1))
