"""What stands behind the marker is found, whatever stands around it; nothing is scored silently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.text.completion_marker import MARKER, parse_completion, reference_parse

PROMPT = "The man at the door was"

CASES = [
    ("Completion: hello there", "hello there", "same_line", 0),
    ("completion: hello", "hello", "same_line", 0),
    ("COMPLETION : hello", "hello", "same_line", 0),
    ("Completion:hello", "hello", "same_line", 0),
    ("Completion：hello", "hello", "same_line", 0),
    ("Completion:\nhello", "hello", "next_line", 0),
    ("Completion:\n\n  hello\n", "hello", "next_line", 0),
    ("Completion: hello\nand more", "hello\nand more", "same_line", 0),
    ("Sure, here it is.\n\nCompletion: hello", "hello", "same_line", 1),
    ("Completion: one\nCompletion: two", "two", "same_line", 1),
    ("Completion: one\nmore\n\nCompletion:\ntwo", "two", "next_line", 2),
    ("Completion: one\nCompletion:", "", "next_line", 1),
    ("**Completion:** hello", "hello", "same_line", 0),
    ("**Completion**: hello", "hello", "same_line", 0),
    ("**Completion: hello**", "hello", "same_line", 0),
    ("__Completion:__ hello", "hello", "same_line", 0),
    ("*Completion:* hello", "hello", "same_line", 0),
    ("**Completion:**\nhello", "hello", "next_line", 0),
    ("Completion: **hello**", "hello", "same_line", 0),
    ("Completion: **a** and **b**", "**a** and **b**", "same_line", 0),
    ("Completion: what the f**", "what the f**", "same_line", 0),
    ("- Completion: hello", "hello", "same_line", 0),
    ("> Completion: hello", "hello", "same_line", 0),
    ("`Completion: hello`", "hello", "same_line", 0),
    ("```\nCompletion: hello\n```", "hello", "same_line", 0),
    ("```text\nCompletion:\nhello\n```\nDone.", "hello\nDone.", "next_line", 0),
    ('Completion: "hello"', "hello", "same_line", 0),
    ("Completion: 'I don't know'", "I don't know", "same_line", 0),
    ("Completion: “hello”", "hello", "same_line", 0),
    ("Completion: „hello“", "hello", "same_line", 0),
    ('Completion: "a" and "b"', '"a" and "b"', "same_line", 0),
    ('Completion: "He said "no" and left"', 'He said "no" and left', "same_line", 0),
    ('Completion: "cut off', '"cut off', "same_line", 0),
    ('Completion: ""', "", "same_line", 0),
    (f"Completion: {PROMPT} tall", "tall", "same_line", 0),
    ("Completion: the man, at the DOOR was: tall", ": tall", "same_line", 0),
    (f'Completion: "{PROMPT} tall"', "tall", "same_line", 0),
    (f'Completion: "{PROMPT}" tall', "tall", "same_line", 0),
    (f"Completion: {PROMPT}", "", "same_line", 0),
    (f"Completion: {PROMPT}te tall", f"{PROMPT}te tall", "same_line", 0),
    ("Completion: The man was tall", "The man was tall", "same_line", 0),
    ("Completion: {S} and {prompt} {0}", "{S} and {prompt} {0}", "same_line", 0),
    ("Completion: hello\r\nthere", "hello\nthere", "same_line", 0),
    ("Completion: :)", ":)", "same_line", 0),
    ("hello there", "hello there", "no_marker", 0),
    (f"{PROMPT} tall", "tall", "no_marker", 0),
    ("My completion: hello", "My completion: hello", "no_marker", 0),
    ("I gave a completion.", "I gave a completion.", "no_marker", 0),
    ("Completion:", "", "next_line", 0),
    ("", "", "no_marker", 0),
    (" \n ", "", "no_marker", 0),
]


@pytest.mark.parametrize(("text", "body", "rule", "dropped"), CASES)
def test_table(text: str, body: str, rule: str, dropped: int) -> None:
    found = parse_completion(text, PROMPT)
    assert (found.body, found.rule, found.dropped_lines) == (body, rule, dropped)
    assert found.ok == bool(body)


def test_the_first_of_several_ends_at_the_next() -> None:
    text = "Completion: one\nand on\n\nCompletion: two\nmore"
    assert parse_completion(text, first=True).body == "one\nand on"
    assert parse_completion(text, first=True).dropped_lines == 2
    assert parse_completion(text).body == "two\nmore"


def test_the_published_rule_scores_a_colon_where_ours_reads_the_words() -> None:
    assert reference_parse("Completion:\nhello") == ":"
    assert parse_completion("Completion:\nhello").body == "hello"


@pytest.mark.parametrize(
    ("text", "scored"),
    [
        ("Completion: a\nb", ": a"),
        ("completion: a Completion: b", ": b"),
        ("a completion of it\nb", "of it"),
        ("nothing\nof the kind", "nothing\nof the kind"),
        ("", ""),
    ],
)
def test_reference(text: str, scored: str) -> None:
    assert reference_parse(text) == scored


def test_what_has_no_body_is_scored_whole() -> None:
    assert parse_completion("Completion: a").scored("Completion: a") == "a"
    assert parse_completion("Completion:").scored("Completion:") == "Completion:"


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            ["Completion", ":", "\n", " ", "**", "```", '"', "'", "“", "”", "__", "a", "The man"]
        ),
        st.text(st.characters(), max_size=4),
    ),
    max_size=14,
).map("".join)


@given(PIECES, st.none() | PIECES, st.booleans())
def test_a_body_is_part_of_the_answer(text: str, prompt: str | None, first: bool) -> None:
    found = parse_completion(text, prompt, first=first)
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    if "```" not in text and "~~~" not in text:
        assert found.body in lines
    assert found.body == found.body.strip()
    assert found.ok == bool(found.body)
    assert 0 <= found.dropped_lines <= lines.count("\n") + 1
    assert isinstance(reference_parse(text), str)


WORDS = st.text(st.sampled_from("abc XYZ."), min_size=1, max_size=20).filter(
    lambda text: text.strip(" .") != ""
)


@given(WORDS, st.sampled_from(["", "Well.\n", "```\n", "Completion: before\n"]))
def test_words_behind_the_marker_come_back(words: str, before: str) -> None:
    for marker in (f"{MARKER} ", f"**{MARKER}** ", f"{MARKER}\n"):
        assert parse_completion(f"{before}{marker}{words}").body == words.strip()


@given(WORDS, WORDS)
def test_an_echoed_prompt_is_cut_off(prompt: str, words: str) -> None:
    body = parse_completion(f"{MARKER} {prompt} {words}", prompt).body
    assert body.lstrip(". ") == words.strip().lstrip(". ")


@pytest.mark.parametrize(
    "piece", ["*", "_", "\n", "> ", "```\n", '"', "completion", "Completion: "]
)
def test_long_answers_take_linear_time(piece: str) -> None:
    found = parse_completion(piece * 20_000, "a" * 1000)
    assert (found.rule == "no_marker") == (piece != "Completion: ")
