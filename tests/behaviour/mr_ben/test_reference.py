"""The released scripts' quirks, each by name, and what ours makes of the same answer."""

from __future__ import annotations

import pytest

from tests.behaviour.mr_ben.made import program, sample
from tests.behaviour.mr_ben.test_answers import TWICE, said
from theodolite.behaviour.mr_ben.answers import parse_critique
from theodolite.behaviour.mr_ben.reason_judge import parse_decision
from theodolite.behaviour.mr_ben.reference import (
    UNREAD,
    ReferenceAnswer,
    reference_decision,
    reference_outcome,
    reference_score,
    reference_split,
)

JUDGED = "Step-by-Step Reasoning: a\nStudent Error Reason Analysis: b\nFinal Decision: {}"


def outcome(step: str, decision: str | None = "Correct", correctness: str = "incorrect"):
    return reference_outcome(sample(), ReferenceAnswer(correctness, step, "r"), decision)


def test_digits_with_space_around_are_judged_and_scored_as_a_miss() -> None:
    assert outcome("2").step
    found = outcome(" 2\n")
    assert (found.reviewed, found.step, found.reason) == (True, False, False)
    assert parse_critique(said(step="2")).step == 2


@pytest.mark.parametrize("step", ["Step 2: the sum", "Steps 2 and 3", "Step 30"])
def test_only_a_bare_step_below_30_is_read(step: str) -> None:
    assert not outcome(step).step


def test_a_reasoned_verdict_is_judged_and_scored_as_wrong() -> None:
    found = outcome("Step 2", correctness="incorrect because of it")
    assert (found.right, found.reviewed, found.step) == (False, True, False)


@pytest.mark.parametrize(
    ("decision", "accepted"),
    [("Correct", True), ("Incorrect", True), ("not correct", True), ("Wrong", False)],
)
def test_whatever_contains_correct_accepts(decision: str, accepted: bool) -> None:
    assert outcome("Step 2", decision).reason is accepted
    assert parse_decision(f"Final Decision: {decision}") is (decision == "Correct")


def test_an_unread_decision_is_silently_wrong() -> None:
    assert reference_decision("I accept.") == UNREAD
    assert not outcome("Step 2", UNREAD).reason
    assert reference_decision(JUDGED.format("Correct")) == "Correct"
    assert parse_decision("I accept.") is None


def test_an_empty_line_of_code_gives_free_credit() -> None:
    answer = ReferenceAnswer("incorrect", "some line", "r")
    found = reference_outcome(program(gold_line=""), answer, "Wrong")
    assert (found.step, found.reason) == (True, False)
    assert not reference_outcome(program(gold_line="    "), answer, "Wrong").step
    assert not reference_outcome(program(), answer, "Wrong").step
    accepted = reference_outcome(program(), answer, "Correct")
    assert (accepted.step, accepted.reason) == (True, True)


def test_a_missing_review_is_told_and_not_raised() -> None:
    assert outcome("Step 2", None).missing_review
    assert not outcome("Step 3", None).missing_review
    code = reference_outcome(program(), ReferenceAnswer("incorrect", "x"), None)
    assert code.missing_review and not code.step


def test_a_repeated_heading_loses_the_later_fields() -> None:
    assert reference_split(TWICE).correctness.strip().startswith("correct")
    assert reference_split(said()).reason.strip() == "r"
    assert reference_split("Solution Correctness: x\nFirst Error Step: y") == ReferenceAnswer(
        " x\n"
    )
    assert reference_split("nothing") == ReferenceAnswer()


def test_scores_per_subject() -> None:
    right = sample(id="r", key="r", gold_correct=True, gold_step=None, reasons=(), fixes=())
    samples = [sample(), right, program()]
    answers = {"q1/A/0": said(), "r": said("correct", "N/A"), "p1/A/0": said(step="x")}
    found = reference_score(samples, answers, {"q1/A/0": "Correct", "p1/A/0": "Wrong"})
    assert found["math"].mr_score == pytest.approx(1.0)
    assert found["coding"].mr_score == 0.0
    assert reference_score(samples, {})["math"].mr_score == 0.0
