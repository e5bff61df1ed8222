"""Hostile text must not steer a terminal: no control, bidi or invisible character gets through."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.text.display import escape, truncate

ANY_TEXT = st.text(st.characters(), max_size=60)
NASTY = st.text(
    st.sampled_from(
        "ab\\\x1b\x00\x7f\x9b\n\r\t\u202e\u2066\u200b\u200d\ufeff\u2028\ud800\U000e0041 "
    ),
    max_size=40,
)
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(st.one_of(ANY_TEXT, NASTY))
def test_nothing_invisible_is_left(text):
    assert FORBIDDEN.isdisjoint(map(unicodedata.category, escape(text)))


@given(st.one_of(ANY_TEXT, NASTY), st.integers(1, 30), st.booleans())
def test_a_limit_holds_and_never_cuts_an_escape(text, limit, keep):
    whole, cut = escape(text, keep_newlines=keep), escape(text, limit, keep_newlines=keep)
    assert len(cut) <= limit
    if len(whole) <= limit:
        assert cut == whole
    else:
        kept = cut.removesuffix("…")
        assert cut.endswith("…") and whole.startswith(kept)
        assert any(escape(text[:i], keep_newlines=keep) == kept for i in range(len(text) + 1))


@given(st.one_of(ANY_TEXT, NASTY))
def test_escaping_twice_changes_nothing_more(text):
    assert escape(escape(text)) == escape(text)


def test_every_character_of_unicode():
    """Visible characters and spaces stay as they are; every other one becomes plain ASCII.

    Planes 4 to 13 are unassigned; one character of each stands for them.
    """
    planes = range(0x40000, 0xE0000, 0x10000)
    for code in (*range(0x40000), *planes, *range(0xE0000, 0xE0400), sys.maxunicode):
        shown = escape(chr(code))
        assert shown == chr(code) or (shown.isascii() and shown.startswith("\\"))
        if unicodedata.category(chr(code)) in FORBIDDEN:
            assert shown != chr(code)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain text, naïve 汉字 😀", "plain text, naïve 汉字 😀"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("ab\u202ecd", "ab\\u202ecd"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("a\u2028b\u200b", "a\\u2028b\\u200b"),
        ("lone \ud83d half", "lone \\ud83d half"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("variation \ufe0f, blank \u2800", "variation \\ufe0f, blank \\u2800"),
        ("wide\u3000space\u00a0here", "wide\u3000space\u00a0here"),
        ("", ""),
    ],
)
def test_known_cases(text, shown):
    assert escape(text) == shown


def test_newlines_are_kept_on_request_only():
    assert escape("a\r\nb\u2029c", keep_newlines=True) == "a\\r\nb\\u2029c"


def test_truncate():
    assert truncate("abcdef", 6) == "abcdef"
    assert truncate("abcdef", 4) == "abc…"
    assert truncate("abcdef", 0) == "…"


def test_a_long_text_with_a_limit_is_not_read_to_its_end():
    assert escape("\x00" * 50_000_000, 12) == "\\u0000…"
