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
    jailbreak_styles,
    pressure_styles,
    style,
    style_names,
    styled,
)
from theodolite.errors import DataError
from theodolite.text.hashing import content_key

# The ten styles of version 1 have kept their wording.
FROZEN_V1 = "33b7b069a16a3c07f78ecfa38a351583"
FROZEN = {2: "115dda38715b0016d343c13b7f12d6fc"}


def test_changed_wording_needs_a_new_version() -> None:
    first = [[s.name, s.template, s.kind == "held_out"] for s in STYLES if s.kind != "pressure"]
    assert content_key(first) == FROZEN_V1
    rows = [[s.name, s.family, s.kind, s.sha256] for s in STYLES]
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
    pressure = [s.name for s in pressure_styles()]
    assert pressure == [
        "nested_story",
        "persona_without_rules",
        "opening_phrase",
        "no_refusal_words",
        "split_request",
        "long_preamble",
    ]
    assert [s.name for s in jailbreak_styles()] == [*names[1:], *pressure]
    assert len({s.name for s in STYLES}) == len(STYLES) == 16


def test_groups_of_styles_by_name() -> None:
    for group, members in (
        ("all", STYLES),
        ("benchmark", benchmark_styles()),
        ("held_out", held_out_styles()),
        ("pressure", pressure_styles()),
        ("jailbreak", jailbreak_styles()),
    ):
        assert style_names(group) == [s.name for s in members]
    assert style_names("quiz, plain,quiz") == ["quiz", "plain"]
    assert style_names(["code", "pressure"])[:2] == ["code", "nested_story"]
    with pytest.raises(DataError, match="Did you mean `split_request`"):
        style_names("split_requests")


def test_families_and_hashes() -> None:
    assert len({s.family for s in jailbreak_styles()}) >= 6
    assert style("nested_story").family == style("hypothetical_story").family
    assert style("split_request").family not in {
        s.family for s in STYLES if s.name != "split_request"
    }
    assert len({s.sha256 for s in STYLES}) == len(STYLES)
    assert Style("a", "x {request}").sha256 == Style("b", "x {request}", kind="pressure").sha256
    assert Style("a", "{request}").sha256 != Style("a", "{request}", joint=" | ").sha256
    # Of the file `x {request}`: the hash that any other tool gives.
    known = "ce3e278df68820c89126b587884f2d8d1719164b4c9077634d4bd57d777dbf14"
    assert Style("a", "x {request}").sha256 == known


@given(st.text(max_size=40))
def test_the_request_stands_in_the_wrapper_as_it_is(request_text) -> None:
    for wrapper in STYLES:
        before, after = wrapper.template.split("{request}")
        wrapped = wrapper.wrap(request_text)
        if wrapper.joint is None:
            assert wrapped == before + request_text + after
        else:
            inside = wrapped.removeprefix(before).removesuffix(after)
            without = inside.replace(wrapper.joint, " ", 1)
            assert without.split() == request_text.split()


@pytest.mark.parametrize(
    ("request_text", "halves"),
    [
        ("How do I bake bread?", ("How do I", "bake bread?")),
        ("one two", ("one", "two")),
        ("a incomprehensibility", ("a", "incomprehensibility")),
        ("two  spaces", ("two", "spaces")),
        ("  led and trailed  ", ("  led and", "trailed  ")),
        ("single", ("single", "")),
        (" single ", (" single ", "")),
        ("", ("", "")),
    ],
)
def test_a_split_request_is_cut_at_the_word_border_nearest_its_middle(request_text, halves) -> None:
    half = Style("half", "<{request}>", joint="|")
    assert half.wrap(request_text) == f"<{halves[0]}|{halves[1]}>"


def test_the_long_preamble_is_long_and_the_others_are_not() -> None:
    words = {s.name: len(s.template.split()) for s in STYLES}
    assert words.pop("long_preamble") > 150
    assert max(words.values()) < 60


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
