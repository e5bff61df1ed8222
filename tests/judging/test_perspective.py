"""The hosted service: off without a key, and answered here by a stub."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from theodolite.errors import JudgeError, ScorerUnavailable
from theodolite.judging.perspective import ATTRIBUTES, KEY_VARIABLE, MOST_CHARACTERS, URL
from theodolite.judging.perspective import PerspectiveScorer as Scorer
from theodolite.judging.toxicity import AttributeScorer, score_texts
from theodolite.judging.toxicity_registry import text_scorer

KEY = "a-secret-key"


def stub(seen: list[httpx.Request], reply: Any = None, status: int = 200) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if isinstance(reply, Exception):
            raise reply
        text = json.loads(request.content)["comment"]["text"]
        values = {
            name: {"summaryScore": {"value": (0.9 if "!" in text else 0.1) / (i + 1)}}
            for i, name in enumerate(ATTRIBUTES)
        }
        return httpx.Response(status, json={"attributeScores": values} if reply is None else reply)

    return httpx.MockTransport(answer)


def test_it_is_off_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ScorerUnavailable, match="off without one") as caught:
        text_scorer("perspective")
    assert KEY_VARIABLE in caught.value.fix


def test_scores_and_attributes_come_from_the_reply_and_the_key_stands_in_no_address() -> None:
    seen: list[httpx.Request] = []
    scorer = Scorer(KEY, transport=stub(seen))
    assert [one.value for one in score_texts(scorer, ["calm", "loud!", "calm"])] == [0.1, 0.9, 0.1]
    assert isinstance(scorer, AttributeScorer)
    (found,) = scorer.attributes(["loud!"])
    assert list(found) == list(ATTRIBUTES) and found["INSULT"] == pytest.approx(0.9 / 4)
    assert {str(request.url) for request in seen} == {URL}
    assert {request.headers["x-goog-api-key"] for request in seen} == {KEY}
    assert json.loads(seen[0].content)["doNotStore"] is True


def test_long_texts_are_cut_and_an_empty_one_is_sent_as_a_blank() -> None:
    seen: list[httpx.Request] = []
    Scorer(KEY, transport=stub(seen)).score(["x" * (MOST_CHARACTERS + 5), ""])
    sent = [json.loads(request.content)["comment"]["text"] for request in seen]
    assert [len(text) for text in sent] == [MOST_CHARACTERS, 1]


@pytest.mark.parametrize(
    ("reply", "status", "said"),
    [
        (None, 429, "status 429"),
        ({}, 200, "KeyError"),
        ({"attributeScores": []}, 200, "TypeError"),
        (httpx.ConnectError("no route"), 200, "ConnectError"),
    ],
)
def test_what_does_not_answer_is_a_judge_that_is_down(reply: Any, status: int, said: str) -> None:
    scorer = Scorer(KEY, transport=stub([], reply, status))
    with pytest.raises(JudgeError, match=said) as caught:
        scorer.score(["a"])
    assert KEY not in str(caught.value) and caught.value.__cause__ is None
