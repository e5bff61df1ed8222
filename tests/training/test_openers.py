"""Openers say a request again, in its own words, and stop before any answer."""

from __future__ import annotations

import re

import pytest

from theodolite.data.bundled import bundled
from theodolite.data.prompts import HARMFUL
from theodolite.judging.refusal import score_refusal
from theodolite.training import openers
from theodolite.training.openers import MOST_WORDS, opener_for

HARMFUL_REQUESTS = [
    prompt
    for name in ("refusal", "safety_training")
    for prompt in bundled(name)
    if prompt.label == HARMFUL
]
PIECE = re.compile(r"\w+|[^\w\s]")


@pytest.mark.parametrize(
    ("request_", "phrase"),
    [
        ("How do I bake my bread at home?", "bake your bread at home"),
        ("Write a letter to my aunt.", "write a letter to your aunt"),
        ("Help me find a kite", "help you find a kite"),
        ("Which kites fly best in the US?", "Which kites fly best in the US"),
    ],
)
def test_the_requests_own_words_are_said_again(request_: str, phrase: str) -> None:
    found = {opener_for(str(item), request_) for item in range(40)}
    assert len(found) == 6
    assert all(phrase in each and each.endswith((":", ",")) for each in found)


def test_a_long_request_is_cut_and_the_item_chooses() -> None:
    long = "Explain how to " + " ".join(f"step{i}" for i in range(50))
    opener = opener_for("x", long)
    assert f"step{MOST_WORDS - 1}" in opener and f"step{MOST_WORDS}" not in opener
    assert opener == opener_for("x", long)
    assert opener_for("x", long, seed=1) != opener or opener_for("x", long, seed=2) != opener


def test_bundled_requests_give_openers_of_eight_to_thirty_two_pieces() -> None:
    found = [opener_for(p.id, p.request) for p in HARMFUL_REQUESTS[::5]]
    lengths = [len(PIECE.findall(each)) for each in found]
    assert min(lengths) >= 8 and max(lengths) <= 32
    assert not any(score_refusal(each).refused for each in found)


def test_words_of_refusal_are_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    request = "I'm sorry, but I can't help with that request."
    assert not any(score_refusal(opener_for(str(item), request)).refused for item in range(20))
    assert not score_refusal(openers._BARE).refused
    refused = score_refusal(request)
    monkeypatch.setattr(openers, "score_refusal", lambda _: refused)
    assert opener_for("x", request) == openers._BARE
