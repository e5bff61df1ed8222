"""Styles: one slot, the request untouched, and a full goal x style x harm design."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.data.bundled import bundled
from theodolite.data.prompts import Message, Prompt, PromptSet
from theodolite.data.styles import (
    PLAIN,
    STYLES,
    STYLES_VERSION,
    Style,
    benchmark_styles,
    held_out_styles,
    style,
    styled,
)
from theodolite.errors import DataError
from theodolite.text.hashing import content_key

FROZEN = {1: "33b7b069a16a3c07f78ecfa38a351583"}


def test_changed_wording_needs_a_new_version() -> None:
    rows = [[s.name, s.template, s.held_out] for s in STYLES]
    assert content_key(rows) == FROZEN[STYLES_VERSION]


def test_the_list() -> None:
    names = [s.name for s in benchmark_styles()]
    assert names == [
        PLAIN,
        "role_play",
        "hypothetical_story",
        "academic",
        "code",
        "translation",
    ]
    assert len(held_out_styles()) == 4
    assert len({s.name for s in STYLES}) == len(STYLES) == 10


@given(st.text(max_size=40))
def test_the_request_stands_in_the_wrapper_as_it_is(request_text) -> None:
    for wrapper in STYLES:
        before, after = wrapper.template.split("{request}")
        assert wrapper.wrap(request_text) == before + request_text + after


def test_the_plain_style_changes_nothing() -> None:
    assert style(PLAIN).wrap("Why {request}?") == "Why {request}?"


def test_the_design_is_complete() -> None:
    test = bundled("refusal").split("test")
    cross = styled(test)
    assert len(cross) == 96 * 6
    for name in cross.values("style"):
        in_style = cross.filter(style=name)
        assert [p.goal_id for p in in_style] == [p.goal_id for p in test]
        assert [p.label for p in in_style] == [p.label for p in test]
        assert [p.pair_id for p in in_style] == [p.pair_id for p in test]
    assert cross["weapons-04/code"].request == style("code").wrap(test["weapons-04"].request)
    assert [p.text for p in cross.filter(style=PLAIN)] == [p.text for p in test]


def test_chosen_styles_and_chats() -> None:
    turns = (Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Why?", {"k": 1}))
    rows = PromptSet("chat", (Prompt("a", messages=turns),))
    cross = styled(rows, ["quiz", Style("shout", "{request}!!!")])
    assert cross.ids == ("a/quiz", "a/shout")
    assert cross["a/shout"].messages == (*turns[:2], Message("user", "Why?!!!", {"k": 1}))
    assert cross["a/shout"].goal_id == "a"


def test_what_is_refused() -> None:
    rows = PromptSet("s", (Prompt("a", "x", style="quiz"),))
    with pytest.raises(DataError, match="'a' already stands in the style 'quiz'"):
        styled(rows)
    bare = PromptSet("s", (Prompt("a", "x"),))
    with pytest.raises(DataError, match="Did you mean `role_play`"):
        styled(bare, ["roleplay"])
    with pytest.raises(DataError, match="repeats the id 'a/quiz'"):
        styled(bare, ["quiz", "quiz"])
    with pytest.raises(DataError, match="exactly once"):
        Style("none", "no slot")
    with pytest.raises(DataError, match="exactly once"):
        Style("two", "{request} {request}")
    no_user = PromptSet("s", (Prompt("a", messages=(Message("system", "x"),)),))
    with pytest.raises(DataError, match="'a' has no user turn"):
        styled(no_user)
