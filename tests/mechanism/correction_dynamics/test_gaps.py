"""The trigger gap is what a hand computes, and the phrases are tokenised where they stand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.mechanism.correction_dynamics.made_replies import made, opened
from tests.oracles import correction_dynamics as oracle
from theodolite.data.correction_lists import REFUSING_STARTS, TRIGGERS
from theodolite.mechanism.correction_dynamics.gaps import gap, trigger_gaps
from theodolite.mechanism.correction_dynamics.openings import (
    PHRASES,
    opening_tokens,
    tokens_after,
    trigger_tokens,
)
from theodolite.mechanism.correction_dynamics.replies import encode_replies

FEW = {"a": "But wait", "b": "I cannot go on"}


def test_a_gap_is_a_difference_of_means_per_token() -> None:
    turning = [[-1.0, -3.0], [-4.0]]
    assert gap(turning, [-1.0, -2.0, -9.0]) == pytest.approx(((-2 + 1.5) + (-4 + 1)) / 2)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_gaps_equal_one_forward_per_token(family: str) -> None:
    model, rows, cuts = opened(family), made(), (0, 3, 7)
    replies = encode_replies(model, rows)
    triggers = trigger_tokens(model, rows[0], FEW)
    found = trigger_gaps(model, replies, cuts, triggers, batch_tokens=300)
    for row, one in enumerate(replies[:2]):
        for column, cut in enumerate(cuts):
            last = model.tokenizer.decode([one.reply[cut - 1]]) if cut else ""
            before = (*one.head, *one.reply[:cut])
            expected = oracle.gap(model.module, before, one.reply[cut:], triggers.after(last))
            assert found[row, column] == pytest.approx(expected, abs=1e-4)


def test_a_cut_near_the_end_of_a_reply_has_no_gap() -> None:
    model, rows = opened("llama"), made()
    replies = encode_replies(model, rows)
    triggers = trigger_tokens(model, rows[0], FEW)
    left = len(replies[0].reply) - triggers.longest
    found = trigger_gaps(model, replies[:1], (left, left + 1), triggers)
    assert np.isnan(found).tolist() == [[False, True]]
    assert np.isnan(trigger_gaps(model, replies[2:3], (0,), trigger_tokens(model, rows[0]))).all()


def test_triggers_are_tokenised_behind_what_they_follow() -> None:
    model, rows = opened("llama"), made()
    found = trigger_tokens(model, rows[0])
    decode = model.tokenizer.decode
    for place, words in enumerate(TRIGGERS.values()):
        assert decode(found.opening[place]) == words
        assert decode(found.after_word[place]) == f" {words}"
        assert decode(found.after_space[place]) == words
    assert found.after("") is found.opening
    assert found.after("lake") is found.after_word
    assert found.after("lake.\n") is found.after_space


def test_the_list_holds_the_first_token_of_every_phrase_in_every_place() -> None:
    model = opened("llama")
    found = opening_tokens(model)
    assert set(PHRASES) == {*TRIGGERS.values(), *REFUSING_STARTS}
    assert found.ids == tuple(sorted(set(found.ids)))
    for phrase in PHRASES:
        for before in ("", "x ", "\n"):
            first = tokens_after(model.tokenizer, before, phrase)[0]
            assert phrase in found.phrases[found.ids.index(first)]
            assert phrase.startswith(model.tokenizer.decode([first]).strip())
    table = found.frame()
    assert [row["token_id"] for row in table] == list(found.ids)
    assert {row["list"] for row in table} == {"lists/v1"}
