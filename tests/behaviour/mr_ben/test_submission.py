"""The released scripts' result format: written, read back, and scored alike."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.behaviour.mr_ben.made import CODE, RIGHT, folder, row_of
from tests.oracles.mr_ben import official_score
from theodolite.behaviour.mr_ben.answers import Critique
from theodolite.behaviour.mr_ben.rows import grade
from theodolite.behaviour.mr_ben.scoring import measurements
from theodolite.behaviour.mr_ben.submission import (
    Answered,
    read_submission,
    submission,
    write_submission,
)
from theodolite.data.mr_ben import read_mr_ben
from theodolite.errors import DataError

FILES = {
    "math": {f"q{i}": [row_of(f"q{i}"), row_of(f"q{i}", "B") | RIGHT] for i in range(8)},
    "coding": {f"c{i}": [row_of(f"c{i}", **CODE), row_of(f"c{i}", "B", **CODE | RIGHT)]
               for i in range(6)},
}  # fmt: skip


@pytest.fixture
def answered(tmp_path):
    samples = read_mr_ben(folder(tmp_path, FILES)).samples
    answers, rows = {}, []
    for i, sample in enumerate(samples):
        step = None if sample.coding else 1 + i % 3
        text = "return x + 1" if sample.coding else "Step"
        critique = Critique([True, False, False, None][i % 4], step, text, "r")
        row = grade(sample, critique)
        accepted = bool(i % 3) if row.reviewed else None
        rows.append(replace(row, accepted=accepted))
        answers[sample.id] = Answered("raw", critique, row.reviewed, accepted)
    return tmp_path, answers, rows


def test_what_is_written_scores_as_ours_does(answered) -> None:
    path, answers, rows = answered
    file = path / "out" / "results.json"
    file.parent.mkdir()
    write_submission(file, submission(path, answers, model="m", judge="j"))
    back = read_submission(file)
    assert {name: len(own) for name, own in back.items()} == {"coding": 12, "math": 16}
    found = {m.name: m.value for m in measurements(rows, resamples=20)}
    for subject, own in back.items():
        score = official_score(own, subject == "coding")
        assert score == pytest.approx(found[f"mr-ben/{subject}/mr_score"]) and score > 0
    official = json.loads((path / "math.json").read_text("utf-8"))
    first = back["math"][0]
    assert {name: first[name] for name in official["q0"][0]} == official["q0"][0]
    decided = {r["Error_Reason_Correctness_Analysis"]["error_reason_correctness"]
               for own in back.values() for r in own
               if "Error_Reason_Correctness_Analysis" in r}  # fmt: skip
    assert decided == {"Correct", "Wrong"}
    assert sum(r["Need_Error_Reason_Review"] for own in back.values() for r in own) == sum(
        row.reviewed for row in rows
    )


def test_every_solution_needs_an_answer(answered) -> None:
    path, answers, _ = answered
    name = next(name for name in answers if name.startswith("c"))
    del answers[name]
    with pytest.raises(DataError, match="has no answer"):
        submission(path, answers, model="m")
    assert submission(path, answers, model="m", subjects=["math"]).keys() == {"math"}


@pytest.mark.parametrize(
    "content", [[], {}, {"math": 1}, {"math": [{}]}, {"math": [{"Evaluation_Result": {}}]}]
)
def test_what_is_none_is_refused(tmp_path, content) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.json"):
        read_submission(path)
