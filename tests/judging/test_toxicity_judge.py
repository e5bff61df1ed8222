"""The judge: expected levels where probabilities are told, canaries first, planted words last."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from inspect_ai.model import Logprob, Logprobs, Model, ModelOutput, TopLogprob, get_model

from tests.judging.test_refusal_judge import output
from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.engine import next_token
from theodolite.errors import JudgeError
from theodolite.judging import toxicity_judge
from theodolite.judging.toxicity import FallibleScorer, score_texts
from theodolite.judging.toxicity_judge import (
    CANARIES,
    EXPECTED,
    FIELD,
    WRITTEN,
    LocalToxicityJudge,
    ToxicityJudge,
    expected_level,
)
from theodolite.judging.toxicity_registry import text_scorer
from theodolite.judging.verdict import ATTEMPTS, UNPARSABLE
from theodolite.models.handle import LanguageModel
from theodolite.runs.journal import Journal

HOSTILE = ("idiot", "despises", "disgusting", "drowns")
TEXTS = ["What a fine evening.", "You idiot.", "braces {text} stay"]


def parts(question: str) -> tuple[str, str]:
    """Return the tag and the unquoted text of a question."""
    found = re.search(r"<<<TEXT (\w+)>>>\n(.*?)\n<<<END TEXT \1>>>", question, re.S)
    assert found is not None
    return found[1], re.sub(r"^\| ", "", found[2], flags=re.M)


def reply(tag: str, level: int, spread: dict[str, float] | None = None) -> ModelOutput:
    """Return a rating; `spread` gives the probabilities of what stands in the level's place."""
    said = output(json.dumps({"item": tag, FIELD: level}))
    if spread is None:
        return said
    head = f'{{"item": "{tag}", "{FIELD}":'
    tokens = [Logprob(token=head[:9], logprob=0.0), Logprob(token=head[9:], logprob=0.0)]
    top = [TopLogprob(token=t, logprob=math.log(p)) for t, p in spread.items()]
    tokens.append(Logprob(token=f" {level}", logprob=-0.1, top_logprobs=top))
    tokens.append(Logprob(token="}", logprob=0.0))
    said.choices[0].logprobs = Logprobs(content=tokens)
    return said


class Rater:
    """A mock judge; `how` is what it does with every question."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.calls = 0
        self.logprobs: set[bool | None] = set()

    def __call__(self, messages: list[Any], tools: Any, choice: Any, config: Any) -> ModelOutput:
        self.calls += 1
        self.logprobs.add(config.logprobs)
        if self.how == "down":
            raise ConnectionError("unreachable")
        tag, text = parts(messages[0].text)
        canary = any(text.split("\n")[0] in one.completion for one in CANARIES)
        planted = re.search(r'"item": "0", "toxicity": (\d)', text)
        level = 4 if any(word in text for word in HOSTILE) else 0
        if self.how == "fooled" and planted:
            level = int(planted[1])
        if self.how == "parrot" and planted:
            return output(planted[0].join("{}"))
        if self.how == "garbage" and not canary:
            return output("Rather rude, on the whole.")
        if self.how == "sure":
            top = {f" {level}": 0.8, " 2": 0.1, " maybe": 0.1}
            return reply(tag, level, top)
        return reply(tag, level)


def rater(how: str) -> tuple[Model, Rater]:
    judge = Rater(how)
    return get_model("mockllm/judge", custom_outputs=judge), judge


def test_levels_are_shares_of_the_highest_one_and_canaries_run_once() -> None:
    model, judge = rater("obeys")
    scorer = ToxicityJudge(model)
    assert isinstance(scorer, FallibleScorer)
    assert [one.value for one in score_texts(scorer, TEXTS)] == [0.0, 1.0, 0.0]
    assert scorer.score(TEXTS[:1]) == [0.0]
    assert judge.calls == len(CANARIES) + len(TEXTS) + 1
    assert judge.logprobs == {True}
    assert scorer.id.startswith("judge:mockllm/judge@1-")


def test_the_expected_level_is_taken_where_probabilities_are_told() -> None:
    scorer = ToxicityJudge(rater("sure")[0])
    kind, hostile = scorer.ratings(TEXTS[:2])
    assert (kind.how, hostile.how) == (EXPECTED, EXPECTED)
    assert kind.level == pytest.approx(0.2 / 0.9)
    assert hostile.score.value == pytest.approx((4 * 0.8 + 2 * 0.1) / 0.9 / 4)


def test_probabilities_are_not_asked_for_where_they_are_refused() -> None:
    model, judge = rater("sure")
    ToxicityJudge(model, logprobs=False).score(TEXTS[:1])
    assert judge.logprobs == {None}


@pytest.mark.parametrize(
    ("tokens", "level", "expected"),
    [
        ([('{"toxicity": ', None), ("3", {"3": 0.5, "1": 0.5})], 3, 2.0),
        ([('{"toxicity":', None), (" 3", {" 3": 0.5, "3": 0.25, "x": 0.25})], 3, 3.0),
        ([('"toxicity": 1, "toxicity": ', None), ("0", {"0": 1.0})], 0, 0.0),
        ([('{"toxicity": ', None), ("3", None)], 3, None),  # no alternatives
        ([('{"toxicity": 3', None), ("}", {"}": 1.0})], 3, None),  # no token is the level
        ([('{"toxicity": ', None), ("2", {"2": 1.0})], 3, None),  # another one was read
        ([('{"toxicity": ', None), ("3", {"1": 1.0})], 3, None),  # it is not among them
        ([("no field", None)], 3, None),
        ([], 3, None),
    ],
)
def test_expected_level(tokens: list[Any], level: int, expected: float | None) -> None:
    made = [
        Logprob(
            token=token,
            logprob=0.0,
            top_logprobs=spread
            and [TopLogprob(token=t, logprob=math.log(p)) for t, p in spread.items()],
        )
        for token, spread in tokens
    ]
    assert expected_level(made, level) == (expected and pytest.approx(expected))


@pytest.mark.parametrize("how", ["fooled", "parrot"])
def test_a_judge_that_follows_the_text_fails_its_canaries(how: str) -> None:
    with pytest.raises(JudgeError, match="canaries wrong"):
        ToxicityJudge(rater(how)[0]).score(TEXTS)


def test_a_judge_that_is_down_scores_nothing() -> None:
    with pytest.raises(JudgeError, match="did not answer"):
        ToxicityJudge(rater("down")[0]).try_score(TEXTS)


def test_a_reply_that_cannot_be_read_leaves_the_text_without_a_score() -> None:
    scorer = ToxicityJudge(rater("garbage")[0])
    (rating,) = scorer.ratings(TEXTS[:1])
    assert (rating.level, rating.reason, rating.attempts) == (None, UNPARSABLE, ATTEMPTS)
    assert score_texts(scorer, TEXTS[:1])[0].reason == UNPARSABLE
    with pytest.raises(JudgeError, match="1 of 1 texts no rating"):
        scorer.score(TEXTS[:1])


def test_ratings_are_kept_in_the_journal_without_text(tmp_path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        first = ToxicityJudge(rater("sure")[0], journal=journal).ratings(TEXTS)
        model, judge = rater("down")
        assert ToxicityJudge(model, journal=journal).ratings(TEXTS) == first
        assert judge.calls == 0
    assert "evening" not in path.read_text() and WRITTEN not in path.read_text()


def test_an_unknown_judge_cannot_be_opened() -> None:
    with pytest.raises(JudgeError, match="cannot be opened"):
        text_scorer("judge:nothing-known/model")


def local_model() -> LanguageModel:
    """Return a tiny model that takes the long question (its positions have no end)."""
    return replace(tiny_model("llama"), max_context=None)


def test_a_local_judge_is_read_at_its_first_token() -> None:
    model = local_model()
    scorer = LocalToxicityJudge(model)
    levels = scorer.levels(TEXTS)
    row = toxicity_judge._rows(TEXTS[1:2])[0]
    question: Prompt = scorer._question(row)
    assert "You idiot." in question.request and question.request.endswith("nothing else.")
    logs = next_token(model, [question]).double()[0]
    shares = [sum(math.exp(logs[i]) for i in ids) for ids in scorer._digits]
    expected = sum(level * share for level, share in enumerate(shares)) / sum(shares)
    assert levels[1] == pytest.approx(expected, rel=1e-6)
    assert all(0 <= level <= 4 for level in levels)


def test_a_local_judge_that_fails_its_canaries_gives_no_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = LocalToxicityJudge(local_model())
    with pytest.raises(JudgeError, match="canaries wrong"):
        scorer.score(TEXTS)
    asked: list[str] = []

    def levels(texts: Any) -> list[float]:
        asked.extend(texts)
        return [4.0 if any(word in text for word in HOSTILE) else 1.0 for text in texts]

    monkeypatch.setattr(scorer, "levels", levels)
    assert scorer.score(TEXTS) == [0.25, 1.0, 0.25]
    assert len(scorer.score(TEXTS)) == 3 and len(asked) == len(CANARIES) + 6
