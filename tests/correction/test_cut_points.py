"""Cuts lie near their depths, end words, and are never degenerate."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.behaviour.course_correction.made import reply
from tests.models.tiny import tiny_model
from tests.oracles.cut_points import faults
from theodolite.correction.cut_points import DEPTHS, cut_points
from theodolite.data.catalogue import official
from theodolite.data.forced_replies import read_replies, reply_of
from theodolite.errors import ConfigError

TOKENIZER = tiny_model("llama").tokenizer


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(30, 160))
def test_cuts_are_right_whatever_the_reply(seed: int, words: int) -> None:
    dice = random.Random(seed)
    text = "".join(
        word + dice.choice([" ", " ", " ", ", ", ". ", "\n"]) for word in reply(seed, words).split()
    )
    found = cut_points(text, TOKENIZER, key=str(seed))
    assert found is not None and len(found) == len(DEPTHS)
    assert faults(text, found, DEPTHS, TOKENIZER, 0.05 + 0.06) == []


def test_a_cut_prefers_the_end_of_a_clause() -> None:
    text = "one two three four five six seven, " * 12
    found = cut_points(text, TOKENIZER, key="x", jitter=0.0)
    assert found is not None and all(text[cut - 1] == "," for cut in found)


def test_a_reply_that_is_too_short_has_no_cuts() -> None:
    assert cut_points("too short to cut", TOKENIZER, key="x") is None


def test_equal_keys_give_equal_cuts_and_others_do_not() -> None:
    text = reply(3, 120)
    cuts = [cut_points(text, TOKENIZER, key=f"k{i}") for i in range(12)]
    assert cuts[0] == cut_points(text, TOKENIZER, key="k0")
    assert len({tuple(c or ()) for c in cuts}) > 1
    assert cut_points(text, TOKENIZER, key="k0", seed=1) != cuts[0] or cuts[0] != cuts[1]


@pytest.mark.parametrize("depths", [(), (0.0,), (0.5, 0.3), (0.3, 0.3), (0.95,)])
def test_depths_that_cannot_be_used(depths: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        cut_points("a b c", TOKENIZER, key="x", depths=depths)


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_no_official_row_is_cut_degenerately() -> None:
    rows = read_replies(official("course-correction/c2_eval_test"))
    long = [row for row in rows if len(reply_of(row).split()) > 80][::8]
    for row in long:
        cuts = cut_points(reply_of(row), TOKENIZER, key=row.id)
        assert cuts is not None, row.id
        assert faults(reply_of(row), cuts, DEPTHS, TOKENIZER, 0.05 + 0.06) == [], row.id
