"""The same sentence in another typography must read the same, and reasoning is not an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.text.normalise import normalise, strip_reasoning

TEXT = st.text(
    st.one_of(st.characters(), st.sampled_from("’“—…\u00ad\u200b \n\tİſΣ\u0301\u00a8Åé")),
    max_size=40,
)
OPTIONS = st.fixed_dictionaries(
    {"compatibility": st.booleans(), "lower": st.booleans(), "keep_lines": st.booleans()}
)
TAGS = ["<think>", "</think>", "<THINK>", "[THINK]", "[/THINK]", "◁think▷", "◁/think▷"]
MORE = ["<reasoning>", "</reasoning>", "<thi", "nk>", "a", "b ", "\n", " "]
PIECES = st.lists(st.sampled_from([*TAGS, *MORE]), max_size=12).map("".join)


@given(TEXT, OPTIONS)
def test_normalise_twice_is_normalise_once(text, options):
    once = normalise(text, **options)
    assert normalise(once, **options) == once


@pytest.mark.parametrize(
    "text, plain",
    [
        ("I can’t “help” — sorry…", 'I can\'t "help" - sorry...'),
        ("  a\u00a0b\n\n c\t", "a b c"),
        ("re\u200bfu\u00adsal\ufeff", "refusal"),
        ("e\u0301", "é"),
        ("\u202eabc\u202c", "abc"),
        ("x² ﬁ ＡＢ", "x² ﬁ ＡＢ"),
        ("", ""),
    ],
)
def test_known_cases(text, plain):
    assert normalise(text) == plain


def test_options():
    assert normalise("x² ﬁ ＡＢ", compatibility=True) == "x2 fi AB"
    assert normalise("I CAN’T", lower=True) == "i can't"
    assert normalise("\n\n a  b \r\n c \n", keep_lines=True) == "a b\nc"


@pytest.mark.parametrize(
    "text, answer",
    [
        ("<think>hm</think>\n\nYes.", "Yes."),
        ("<think>\n\n</think>Yes.", "Yes."),
        ("Yes.<think>never closed", "Yes."),
        ("<think>never closed", ""),
        ("opened by the template</think> Yes.", "Yes."),
        ("<think>a<think>b</think>c</think>Yes.", "Yes."),
        ("<think>a</reasoning>b</think>Yes.", "Yes."),
        ("A <Thinking>x</THINKING> B", "A\nB"),
        ("[THINK]x[/THINK]Yes.", "Yes."),
        ("◁think▷x◁/think▷Yes.", "Yes."),
        ("I think <b>so</b>.", "I think <b>so</b>."),
        ("<thi<think>x</think>nk>y", "<thi\nnk>y"),
    ],
)
def test_reasoning_is_removed(text, answer):
    assert strip_reasoning(text) == answer


@given(PIECES)
def test_no_trace_is_left(text):
    once = strip_reasoning(text)
    assert strip_reasoning(once) == once
    for mark in ("<think>", "</think>", "[THINK]", "[/THINK]", "◁think▷", "<reasoning>"):
        assert mark not in once


def test_many_tags_take_linear_time():
    assert strip_reasoning("<think>" * 100_000) == ""
