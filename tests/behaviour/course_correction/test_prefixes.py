"""Prefixes: counted in tokens or words, nested, cut at borders, and honest about saturation."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.behaviour.course_correction.made import made_rows
from tests.models.tiny import tiny_model
from tests.oracles.course_correction import prefix_words
from theodolite.behaviour.course_correction.prefixes import KS, make_prefixes
from theodolite.data.catalogue import official
from theodolite.data.correction_lists import OPENERS
from theodolite.data.forced_replies import read_replies, reply_of
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError
from theodolite.models.chat import encode_all

MODEL = tiny_model("llama")
TOKENIZER = MODEL.tokenizer
texts = st.text(st.sampled_from("ab é🙂.\n\t"), min_size=1, max_size=60).filter(str.strip)


def row(reply: str, name: str = "p") -> Prompt:
    return Prompt(name, text="How?", label="harmful", meta={"reply": reply})


@settings(max_examples=80)
@given(texts, st.sampled_from(["none", "o01", "seeded"]), st.sampled_from(["token", "word"]))
def test_prefixes_are_nested_and_end_in_something(reply: str, opener: str, unit: Any) -> None:
    found = make_prefixes(
        [row(reply)], (1, 2, 3, 5, 8, 60), unit=unit, tokenizer=TOKENIZER, opener=opener
    )
    begun = "" if found[0].opener_id is None else f"{OPENERS[found[0].opener_id]} "
    for short, long in pairwise(found):
        assert long.text.startswith(short.text)
        assert short.saturated <= long.saturated
    for one in found:
        assert one.text == one.text.rstrip() and one.text
        assert one.text + one.rest == begun + reply
    assert found[-1].saturated or found[-1].rest.strip()


@pytest.mark.parametrize("opener", ["none", "o03"])
@pytest.mark.parametrize("k", [1, 5, 10, 39, 40, 41, 80])
def test_words_are_those_of_the_oracle(opener: str, k: int) -> None:
    for prompt in made_rows():
        (one,) = make_prefixes([prompt], (k,), unit="word", opener=opener)
        words = prefix_words(OPENERS.get(opener), reply_of(prompt), k)
        assert one.text.split() == words.split()


def test_tokens_count_the_reply_alone_and_end_at_their_borders() -> None:
    for prompt in made_rows():
        whole = TOKENIZER(reply_of(prompt), add_special_tokens=False)["input_ids"]
        for one in make_prefixes([prompt], (1, 4, 9), tokenizer=TOKENIZER):
            assert one.text == TOKENIZER.decode(whole[: one.k]).rstrip()
        bare = make_prefixes([prompt], (4,), tokenizer=TOKENIZER)[0].text
        begun = make_prefixes([prompt], (4,), tokenizer=TOKENIZER, opener="o05")[0].text
        assert begun == f"{OPENERS['o05']} {bare}"  # the opener is not counted


def test_a_row_has_one_opener_for_all_depths_whatever_stands_beside_it() -> None:
    rows = list(made_rows())
    seeded = {
        p.prompt.id: p.opener_id
        for p in make_prefixes(rows, KS, unit="word", opener="seeded", seed=3)
    }
    for prefix in make_prefixes(rows[::-1], (5,), unit="word", opener="seeded", seed=3):
        assert prefix.opener_id == seeded[prefix.prompt.id]
    assert len(set(seeded.values())) > 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ks": (10, 10)}, "do not increase"),
        ({"ks": (0, 10)}, "forces nothing"),
        ({"ks": ()}, "There are 0 depths"),
        ({"ks": tuple(range(1, 70))}, "There are 69 depths"),
        ({"opener": "o99"}, "no opener 'o99'"),
        ({"unit": "line"}, "The unit is 'line'"),
        ({"unit": "token", "tokenizer": None}, "needs the tokenizer"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], said: str) -> None:
    chosen: dict[str, Any] = {"ks": (5,), "unit": "word"} | options
    with pytest.raises(ConfigError, match=said):
        make_prefixes([row("a b c")], **chosen)


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_saturation_on_the_official_rows_is_what_an_independent_count_gives() -> None:
    """Words with an opener of seven words, as the published code counts depth."""
    rows = list(read_replies(official("course-correction/c2_eval_test")))
    seven = "o10"  # six words of ours ...
    extra = len(OPENERS[seven].split())
    found = make_prefixes(rows, (50, 60, 70, 80), unit="word", opener=seven)
    for k in (50, 60, 70, 80):
        expected = sum(extra + len(reply_of(r).split()) <= k for r in rows)
        assert sum(p.saturated for p in found if p.k == k) == expected
    # The bounds stated for openers of 7 to 10 words.
    for k, low, high in ((50, 25, 27), (60, 41, 52), (70, 69, 78), (80, 114, 116)):
        counts = [sum(n + len(reply_of(r).split()) <= k for r in rows) for n in (7, 8)]
        assert low - 2 <= min(counts) and max(counts) <= high + 8


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_token_ids_of_prefixes_are_nested_on_the_official_rows() -> None:
    """What sharing one pass rests on; a prefix of other ids simply runs alone."""
    from theodolite.models import open_model

    model = open_model("smollm2")
    rows = list(read_replies(official("course-correction/c2_eval_test")))[::10]
    for unit in ("word", "token"):
        found = make_prefixes(rows, KS, unit=unit, tokenizer=model.tokenizer)
        ids = [e.ids for e in encode_all(model, [chat(p) for p in found], continue_final=True)]
        longest = {p.prompt.id: own for p, own in zip(found, ids)}
        apart = sum(longest[p.prompt.id][: len(own)] != own for p, own in zip(found, ids))
        assert apart <= (0 if unit == "word" else 4)


def chat(prefix: Any) -> list[dict[str, str]]:
    turns = (("user", prefix.prompt.request), ("assistant", prefix.text))
    return [{"role": role, "content": content} for role, content in turns]
