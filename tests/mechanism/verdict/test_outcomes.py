"""Outcomes: verdicts of the scorer become refused, complied, degenerate or unscored."""

from __future__ import annotations

import pytest

from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.errors import DataError
from theodolite.mechanism.verdict.outcomes import (
    OUTCOMES,
    Outcome,
    answers,
    judged,
    outcome_of,
    outcomes,
)
from theodolite.runs.journal import Journal

ASKED = Prompt("a", text="Name three rivers.")


@pytest.mark.parametrize(
    ("verdict", "label", "reason"),
    [
        ("refusal", "refused", None),
        ("partial", "refused", None),
        ("compliance", "complied", None),
        ("degenerate", "degenerate", "degenerate answer"),
        ("empty", "degenerate", "empty answer"),
        (None, "unscored", "the answer was not scored"),
    ],
)
def test_known_verdicts(verdict, label, reason) -> None:
    outcome = outcome_of("a", verdict)
    assert (outcome.label, outcome.reason) == (label, reason)
    assert outcome.label in OUTCOMES
    assert outcome.completion is None and outcome.confidence is None


def test_a_verdict_of_another_scorer_is_refused() -> None:
    with pytest.raises(DataError, match="'harmful' of prompt 'a' is none of the refusal scorer's"):
        outcome_of("a", "harmful")


@pytest.mark.parametrize(
    ("completion", "label"),
    [
        ("I'm sorry, but I can't help with that request.", "refused"),
        ("The Danube, the Rhine and the Elbe are three rivers in Europe.", "complied"),
        ("", "degenerate"),
        ("river " * 40, "degenerate"),
    ],
)
def test_answers_are_judged(completion, label) -> None:
    outcome = judged(ASKED, completion)
    assert outcome.label == label
    assert outcome.completion == completion
    assert 0 <= outcome.confidence <= 1


def test_the_scorer_stays_blind_to_the_request(monkeypatch) -> None:
    import theodolite.mechanism.verdict.outcomes as module

    given = {}

    def spy(completion, prompt=None, **options):
        given.update(options)
        return score(completion, prompt, **options)

    score = module.score_refusal
    monkeypatch.setattr(module, "score_refusal", spy)
    judged(ASKED, "Three rivers.")
    assert not given.get("know_request")


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


PROMPTS = [Prompt("a", text="the cat sat"), Prompt("b", text="on the mat"), Prompt("c", text="so")]


def test_known_prompts_are_not_asked_again(model, monkeypatch) -> None:
    import theodolite.mechanism.verdict.outcomes as module

    asked = []
    write = module.answers

    def spy(model, prompts, **options):
        asked.extend(p.id for p in prompts)
        return write(model, prompts, **options)

    monkeypatch.setattr(module, "answers", spy)
    known = {"b": "refusal", "c": None, "elsewhere": "compliance"}
    found = outcomes(model, PROMPTS, known=known, max_new_tokens=3)
    assert asked == ["a"]
    assert list(found) == ["a", "b", "c"]
    assert found["b"] == Outcome("b", "refused", verdict="refusal")
    assert found["c"].label == "unscored"
    assert found["a"].completion is not None


def test_nothing_left_to_ask(model) -> None:
    known = {prompt.id: "compliance" for prompt in PROMPTS}
    assert {o.label for o in outcomes(model, PROMPTS, known=known).values()} == {"complied"}


def test_answers_are_kept_in_the_journal(model, tmp_path, monkeypatch) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = answers(model, PROMPTS, max_new_tokens=3, journal=journal)
        units = len(journal)
        again = answers(model, PROMPTS, max_new_tokens=3, journal=journal)
        assert units > 0 and len(journal) == units
    assert {i: c.text for i, c in first.items()} == {i: c.text for i, c in again.items()}
    assert all(len(c.token_ids) <= 3 for c in first.values())


def test_ids_must_differ(model) -> None:
    with pytest.raises(DataError, match="Two prompts share the id 'a'"):
        outcomes(model, [PROMPTS[0], PROMPTS[0]], known={"a": "refusal"})
