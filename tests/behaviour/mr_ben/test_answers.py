"""What is read of an answer, ours and as the released scripts read it; nothing makes it fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.behaviour.mr_ben.made import program, sample
from theodolite.behaviour.mr_ben.answers import parse_critique, read_correctness, read_step
from theodolite.behaviour.mr_ben.code_lines import match_line
from theodolite.behaviour.mr_ben.reference import reference_outcome, reference_split
from theodolite.behaviour.mr_ben.rows import grade


def said(correctness: str = "incorrect", step: str = "Step 2", reason: str = "r") -> str:
    return (
        f"Solution Analysis: a\nSolution Correctness: {correctness}\n"
        f"First Error Step: {step}\nError Reason: {reason}"
    )


TWICE = said("correct", "N/A") + "\nIn short:\n" + said("incorrect", "Step 2")
WRONG, RIGHT, NONE = False, True, None
# Answer, what we read (verdict, step), what the released scripts make of it on a solution whose
# second step is wrong: verdict right, sent to the judge, credit for the step.
FULL, VERDICT, SENT, MISS = (1, 1, 1), (1, 0, 0), (1, 1, 0), (0, 0, 0)
TABLE = [
    (said(), WRONG, 2, FULL),
    (said(step="Step 3"), WRONG, 3, VERDICT),
    (said(step="2"), WRONG, 2, SENT),
    (said(step="2."), WRONG, 2, VERDICT),
    (said(step="Step 2."), WRONG, 2, FULL),
    (said(step="**Step 2**"), WRONG, 2, FULL),
    (said(step="step 2"), WRONG, 2, FULL),
    (said(step="STEP 2"), WRONG, 2, FULL),
    (said(step="Step 2:"), WRONG, 2, FULL),
    (said(step="Step 4: sign flipped"), WRONG, 4, VERDICT),
    (said(step="Step 2: the sum is 8"), WRONG, 2, VERDICT),
    (said(step="Step 4: contradicts Step 2"), WRONG, 4, VERDICT),
    (said(step="Steps 2 and 5"), WRONG, 2, VERDICT),
    (said(step="Steps 5, 2"), WRONG, 2, VERDICT),
    (said(step="Step 5 or Step 2"), WRONG, 2, VERDICT),
    (said(step="Step #2"), WRONG, 2, FULL),
    (said(step="Step-2"), WRONG, 2, VERDICT),
    (said(step="[Step 2]"), WRONG, 2, FULL),
    (said(step="(2)"), WRONG, 2, VERDICT),
    (said(step="Step two"), WRONG, 2, VERDICT),
    (said(step="the second step"), WRONG, 2, VERDICT),
    (said(step="Second"), WRONG, 2, VERDICT),
    (said(step="2nd step"), WRONG, 2, VERDICT),
    (said(step="The error is in step 2"), WRONG, 2, VERDICT),
    (said(step="Step 30"), WRONG, 30, VERDICT),
    (said(step="Step ２"), WRONG, 2, VERDICT),
    (said(step="Step 99999999999"), WRONG, NONE, VERDICT),
    (said(step="N/A"), WRONG, NONE, VERDICT),
    (said(step="None"), WRONG, NONE, VERDICT),
    (said(step="Not applicable"), WRONG, NONE, VERDICT),
    (said(step=""), WRONG, NONE, VERDICT),
    (said(step="no idea"), WRONG, NONE, VERDICT),
    (said("Incorrect."), WRONG, 2, FULL),
    (said("INCORRECT"), WRONG, 2, FULL),
    (said("**incorrect**"), WRONG, 2, FULL),
    (said("'incorrect'"), WRONG, 2, FULL),
    (said("[incorrect]"), WRONG, 2, FULL),
    (said("incorrect because of step 2"), WRONG, 2, (0, 1, 0)),
    (said("not correct"), WRONG, 2, MISS),
    (said("not entirely correct"), WRONG, 2, MISS),
    (said("isn’t correct"), WRONG, 2, MISS),
    (said("wrong"), WRONG, 2, MISS),
    (said("false"), WRONG, 2, MISS),
    (said("The solution is incorrect"), WRONG, 2, (0, 1, 0)),
    (said("not incorrect"), RIGHT, 2, (0, 1, 0)),
    (said("correct"), RIGHT, 2, MISS),
    (said("Right", "N/A"), RIGHT, NONE, MISS),
    (said("True", "N/A"), RIGHT, NONE, MISS),
    (said("correct, not incorrect", "N/A"), RIGHT, NONE, (0, 0, 0)),
    (said("correct | incorrect"), NONE, 2, (0, 1, 0)),
    (said("unsure"), NONE, 2, MISS),
    (said("uncorrectable"), NONE, 2, MISS),
    (said("", "Step 2"), NONE, 2, MISS),
    (TWICE, WRONG, 2, MISS),
    (said() + "\nSolution Correctness: correct", WRONG, 2, FULL),
    (said().replace("Solution Correctness:", "**Solution Correctness:**"), WRONG, 2, FULL),
    (said().replace("First Error Step:", "**First Error Step**:"), WRONG, 2, FULL),
    (said().replace("Solution Correctness:", "## Solution Correctness\n"), WRONG, 2, FULL),
    (said().lower(), WRONG, 2, MISS),
    (said().upper(), WRONG, 2, MISS),
    (said().replace(":", "："), WRONG, 2, FULL),
    (said().replace("First Error Step", "First_Error_Step"), WRONG, 2, MISS),
    (said().replace("\n", " "), WRONG, 2, FULL),
    ("<think>" + said("correct", "N/A") + "</think>" + said(), WRONG, 2, MISS),
    ("<think>" + said(), NONE, NONE, FULL),
    ('{"solution_correctness":"incorrect","first_error_step":2,"x":"y"}', WRONG, 2, MISS),
    ('```json\n{"Solution Correctness": false, "First Error Step": "Step 2"}\n```', WRONG, 2, MISS),
    ('{"solution_correctness":"correct","first_error_step":null}', RIGHT, NONE, MISS),
    ('{"solution_correctness": ', NONE, NONE, MISS),
    ("", NONE, NONE, MISS),
    ("   \n", NONE, NONE, MISS),
    ("The solution is incorrect at step 2.", NONE, NONE, MISS),
    ("Solution Correctness: incorrect", WRONG, NONE, MISS),
    ("Solution Correctness: incorrect\nFirst Error Step: Step 2", WRONG, 2, VERDICT),
]  # fmt: skip


@pytest.mark.parametrize(("text", "correct", "step", "reference"), TABLE)
def test_the_table(text, correct, step, reference) -> None:
    found = parse_critique(text)
    assert (found.correct, found.step) == (correct, step)
    their = reference_outcome(sample(), reference_split(text), "Correct")
    assert (their.right, their.reviewed, their.step) == tuple(map(bool, reference))
    assert their.reason == their.step


def test_the_table_is_long() -> None:
    assert len({row[0] for row in TABLE}) >= 60


def test_flags() -> None:
    assert parse_critique(said(step="Steps 2 and 5")).flags == ("multi_step",)
    assert parse_critique(said("correct")).flags == ("inconsistent",)
    assert parse_critique(said(step="N/A")).flags == ("no_step",)
    assert parse_critique("").flags == ("no_output",)
    assert parse_critique("nothing of the kind").flags == ("unparsed",)
    assert parse_critique(said("correct", "N/A", "N/A")).flags == ()
    assert parse_critique(said("correct", "N/A", "N/A.")).reason == ""


def test_the_last_complete_block_is_read_whole() -> None:
    cut = TWICE + "\nSolution Correctness: correct\nFirst Error Step: N/A"
    assert (parse_critique(cut).correct, parse_critique(cut).step) == (False, 2)
    assert parse_critique(TWICE).reason == "r"


LINES = ["def f(x):", "    y = x + 1  # one more", "    y = x + 1", "    return   y", "    pass"]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("def f(x):", 0),
        ("```python\n    return y\n```", 3),
        ("Line 4: return y", 3),
        ("`return y`", 3),
        ("y = x + 1  # one more", 1),
        ("def f(x) :", 0),
        ("return z + 1", None),
        ("", None),
        ("y = x + 1  # something else", None),
        ("N/A", None),
    ],
)
def test_lines_of_code(text: str, index: int | None) -> None:
    assert match_line(text, LINES) == index


def test_code_is_graded_by_the_judge_and_not_by_the_line() -> None:
    elsewhere = parse_critique(said(step="def f(x):"), coding=True)
    row = grade(program(), elsewhere, accepted=True)
    assert (row.line, row.step_credit, row.reason_credit) == (False, True, True)
    there = parse_critique(said(step="return x + 1"), coding=True)
    assert grade(program(), there, accepted=False).line is True
    assert not grade(program(), there, accepted=False).step_credit
    assert grade(program(gold_line="   "), there).line is None


HEADINGS = st.sampled_from(
    ["Solution Correctness", "First Error Step:", "error reason：", "{", "}", "<think>", "\n", ":",
     "not", "correct", "incorrect", "Step", "2", " ", "²", "**", '"', "\ud800", "\x00"]
)  # fmt: skip


@given(st.lists(HEADINGS | st.text(max_size=12), max_size=30).map("".join), st.booleans())
def test_reading_never_raises(text: str, coding: bool) -> None:
    found = parse_critique(text, coding=coding)
    assert found.correct in (True, False, None)
    assert found.step is None or 0 <= found.step <= 9999
    assert grade(program() if coding else sample(), found).step_credit in (True, False)
    assert reference_outcome(sample(), reference_split(text)).right in (True, False)


@given(st.text(max_size=40))
def test_small_readers_never_raise(text: str) -> None:
    assert read_correctness(text) in (True, False, None)
    assert read_step(text)[1] in (True, False)
    assert match_line(text, [*LINES, text]) is None or match_line(text, LINES) != -1


@given(step=st.integers(0, 9999), correct=st.booleans())
def test_our_own_format_is_read_back(step: int, correct: bool) -> None:
    found = parse_critique(said("correct" if correct else "incorrect", f"Step {step}"))
    assert (found.correct, found.step, found.reason) == (correct, step, "r")
