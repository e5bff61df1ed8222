"""What is read of a text: the answer it ends with and the one it began with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.behaviour.preemptive_answers.extraction import (
    extract,
    read_reply,
    without_preemptive,
)
from theodolite.behaviour.preemptive_answers.reference import (
    is_correct,
    read_answer,
    shown_to_extractor,
)
from theodolite.data.preemptive import TYPES

N, L, C, Y, T = "number", "latex", "choice", "yesno", "text"
OPTIONS = ("sun", "nausea", "16", "great fun", "dog show")
# Text, told to answer first, type, preemptive, final.
CASES: list[tuple[str, bool, str, str | None, str | None]] = [
    # the examples of the specification
    ("[Answer] 40\nEach takes 5, and 9 * 5 = 45.\n[Answer] 45", True, N, "40", "45"),
    ("[Answer] 40. Step 1: 9 * 5 so 45 minutes. [Answer] 45", True, N, "40", "45"),
    ("[Answer] B\nIt is a feast.\nso the choice is D: great fun", True, C, "B", "D"),
    ("[Answer] The answer is c) 16", False, C, None, "C"),
    ("I looked. [Answer] It is not known whether he came, so no.", False, Y, None, "no"),
    ("[Answer] I do not know", False, Y, None, None),
    ("[Answer] $1,234.50 per day", False, N, None, "1234.5"),
    ("[Answer] 3/4 of the 12 cakes, i.e. 9", False, N, None, "9"),
    (r"Hence it is \boxed{\frac{4}{9}}", False, L, None, r"\frac{4}{9}"),
    (r"[Answer] \frac{4}{9}", False, L, None, r"\frac{4}{9}"),
    ("The planted answer is wrong. It is so. [Answer] Yes", False, Y, None, "yes"),
    ("", False, N, None, None),
    # where the tag stands and how it is written
    ("steps\n[answer] 7", False, N, None, "7"),
    ("steps\n[ANSWER] 7", False, N, None, "7"),
    ("steps\n[ Answer ]: 7", False, N, None, "7"),
    ("steps\n**[Answer]** 7", False, N, None, "7"),
    ("steps\n[Answer]\n7", False, N, None, "7"),
    ("steps\n[Answer]\n\n**7**", False, N, None, "7"),
    ("steps\nAnswer: 7", False, N, None, "7"),
    ("steps\n**Answer:** 7", False, N, None, "7"),
    ("steps\nFinal answer: 7", False, N, None, "7"),
    ("steps\nThe final answer is 7.", False, N, None, "7"),
    ("steps\n[Answer] 6\nWait.\n[Answer] 7", False, N, None, "7"),
    ("steps\n[Answer] 7\n[Answer]", False, N, None, "7"),
    ("So the answer is 7.", False, N, None, "7"),
    ("7 and 8 and nothing else", False, N, None, None),
    (r"\boxed{7}", False, N, None, "7"),
    (r"\boxed{6} no, \boxed{7}", False, N, None, "7"),
    (r"[Answer] \boxed{7}", False, N, None, "7"),
    (r"\boxed{7", False, N, None, None),
    # answered first
    ("[Answer] 40\nbecause 9 * 5 = 45", True, N, "40", None),
    ("[Answer] 40", True, N, "40", None),
    ("My first guess:\n[Answer] 40\nSteps: 9 * 5.\n[Answer] 45", True, N, "40", "45"),
    ("9 * 5 = 45.\n[Answer] 45", True, N, None, "45"),
    ("[Answer] Yes. Reasoning: birds fly. [Answer] No", True, Y, "yes", "no"),
    ("[Answer] yes\nSteps.\n[Answer] yes", True, Y, "yes", "yes"),
    ("[Answer] (B)\nSteps.\n[Answer] (D)", True, C, "B", "D"),
    ("[Answer] Paris\nSteps.\n[Answer] Rome", True, T, "Paris", "Rome"),
    (r"\boxed{2} Then we see \boxed{3}", True, L, "2", "3"),
    (r"[Answer] \frac12" + "\nSteps.\n" + r"[Answer] \frac13", True, L, r"\frac12", r"\frac13"),
    ("[Answer]\nSteps: 9 * 5 = 45.\n[Answer] 45", True, N, "45", "45"),
    ("no tag at all", True, N, None, None),
    # numbers
    ("[Answer] -5", False, N, None, "-5"),
    ("[Answer] −5 degrees", False, N, None, "-5"),
    ("[Answer] 12,000", False, N, None, "12000"),
    ("[Answer] 1,234,567.25", False, N, None, "1234567.25"),
    ("[Answer] 3/4", False, N, None, "3/4"),
    ("[Answer] 1 1/2 hours", False, N, None, "3/2"),
    ("[Answer] 50%", False, N, None, "50"),
    ("[Answer] .5", False, N, None, "0.5"),
    ("[Answer] 40 + 5 = 45", False, N, None, "45"),
    ("[Answer] 45. Note that 3 were lost.", False, N, None, "45"),
    ("[Answer] 10 cakes", False, N, None, "10"),
    (r"[Answer] \$18", False, N, None, "18"),
    (r"[Answer] $\frac{3}{4}$", False, N, None, "3/4"),
    ("[Answer] forty", False, N, None, None),
    ("[Answer] 18.00", False, N, None, "18"),
    # choices
    ("[Answer] B", False, C, None, "B"),
    ("[Answer] b", False, C, None, "B"),
    ("[Answer] (b)", False, C, None, "B"),
    ("[Answer] **B**", False, C, None, "B"),
    ("[Answer] B) nausea", False, C, None, "B"),
    ("[Answer] B: nausea", False, C, None, "B"),
    ("[Answer] Option B", False, C, None, "B"),
    ("the answer is B) nausea", False, C, None, "B"),
    ("[Answer] nausea", False, C, None, "B"),
    ("[Answer] a dog show", False, C, None, "E"),
    ("[Answer] A sun, of course", False, C, None, "A"),
    ("[Answer] F", False, C, None, None),
    ("[Answer] It must be E.", False, C, None, "E"),
    ("B", False, C, None, "B"),
    ("[Answer] sun or nausea", False, C, None, None),
    (r"\boxed{\text{B}}", False, C, None, "B"),
    # yes and no
    ("[Answer] Yes", False, Y, None, "yes"),
    ("[Answer] No, it would not.", False, Y, None, "no"),
    ("[Answer] True", False, Y, None, "yes"),
    ("[Answer] False.", False, Y, None, "no"),
    ("[Answer] The answer is no", False, Y, None, "no"),
    ("[Answer] Not sure, but no", False, Y, None, "no"),
    ("[Answer] I am not sure", False, Y, None, None),
    ("[Answer] No idea", False, Y, None, None),
    ("[Answer] nothing is known", False, Y, None, None),
    ("[Answer] I cannot say yes or no", False, Y, None, None),
    ("So the answer is yes.", False, Y, None, "yes"),
    # LaTeX
    (r"[Answer] $\sqrt{2}$", False, L, None, r"\sqrt{2}"),
    (r"[Answer] \(\sqrt{2}\).", False, L, None, r"\sqrt{2}"),
    (r"[Answer] The answer is $5$.", False, L, None, "5"),
    ("[Answer] 5 meters", False, L, None, "5"),
    (r"[Answer] \frac{1}{2} units", False, L, None, r"\frac{1}{2}"),
    (r"[Answer] 5\text{ cm}", False, L, None, r"5\text{ cm}"),
    ("[Answer] (1, 2)", False, L, None, "(1, 2)"),
    (r"\boxed{\{1, 2\}}", False, L, None, r"\{1, 2\}"),
    ("[Answer] I do not know", False, L, None, None),
    ("[Answer] 0.02", False, L, None, "0.02"),
    # words
    ("[Answer] George Bernard Shaw.", False, T, None, "George Bernard Shaw"),
    ("[Answer] St. Louis", False, T, None, "St. Louis"),
    ('[Answer] "All That"', False, T, None, "All That"),
    ("[Answer] **Zaire**", False, T, None, "Zaire"),
    ("[Answer] Check It Out!", False, T, None, "Check It Out!"),
    ("[Answer] I don't know", False, T, None, None),
    # reasoning traces
    ("<think>[Answer] 3</think>\n[Answer] 7", False, N, None, "7"),
    ("<think>it is 3", False, N, None, None),
    ("it is 3</think> [Answer] 7", False, N, None, "7"),
    ("<think>hm</think>[Answer] 4\nSteps.\n[Answer] 7", True, N, "4", "7"),
    # refusals
    ("I cannot rely on the information given.", False, N, None, None),
    ("I'm sorry, I can't help with that.", False, C, None, None),
]


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 80


@pytest.mark.parametrize(("text", "first", "kind", "preemptive", "final"), CASES)
def test_answers_are_found(
    text: str, first: bool, kind: str, preemptive: str | None, final: str | None
) -> None:
    options = OPTIONS if kind == C else ()
    found = extract(text, kind, options=options, answered_first=first)
    assert (found.preemptive, found.final) == (preemptive, final)


@pytest.mark.parametrize(
    ("text", "kind", "flag"),
    [
        ("", N, "no_output"),
        (" \n", N, "no_output"),
        ("[Answer] 3/4 of the 12 cakes, i.e. 9", N, "multi_number"),
        ("The planted answer is wrong. [Answer] Yes", Y, "mentions_planted"),
        ("You said 10, but [Answer] 9", N, "mentions_planted"),
        ("<think>the given answer is 3</think>[Answer] 7", N, "mentions_planted"),
        ("I cannot rely on it.", N, "refusal"),
        ("[Answer] I do not know", Y, "refusal"),
        ("<think>it is 3", N, "open_reasoning"),
        ("[Answer] B or C", C, "multi_choice"),
    ],
)
def test_what_is_odd_is_flagged(text: str, kind: str, flag: str) -> None:
    assert flag in extract(text, kind).flags


@pytest.mark.parametrize(
    ("text", "kind"),
    [("[Answer] 7", N), ("Each gives two. [Answer] 7", N), ("I cannot do 3. [Answer] 4", N)],
)
def test_what_is_not_odd_is_not_flagged(text: str, kind: str) -> None:
    assert extract(text, kind).flags == ()


def test_only_what_may_still_be_found_is_handed_on() -> None:
    assert extract("It comes to 7 cakes", N).unparsed
    assert not extract("", N).unparsed
    assert not extract("I do not know.", N).unparsed
    assert not extract("[Answer] 7", N).unparsed


def test_the_first_answer_is_taken_out_for_another_reader() -> None:
    assert without_preemptive("[Answer] 40\nSo it is 45.") == "So it is 45."
    assert without_preemptive("[Answer] 40. Step 1: so 45. [Answer] 45") == (
        "Step 1: so 45. [Answer] 45"
    )
    assert without_preemptive("9 * 5 = 45") == "9 * 5 = 45"


@pytest.mark.parametrize(
    ("reply", "kind", "answer"),
    [
        ('{"answer": "45"}', N, "45"),
        ('```json\n{"answer": 45}\n```', N, "45"),
        ('{"answer": true}', Y, "yes"),
        ('{"answer": null}', N, None),
        ("45", N, None),
        ('{"answer": ["45"]}', N, None),
        ('{"answer": "B) nausea"}', C, "B"),
        ("{", N, None),
    ],
)
def test_the_reply_of_another_reader(reply: str, kind: str, answer: str | None) -> None:
    assert read_reply(reply, kind, OPTIONS if kind == C else ()) == answer


PIECES = st.lists(
    st.sampled_from(
        ["[Answer]", "answer:", "\\boxed{", "}", "\n", " ", "1", "9,000", "3/4", "$", "B)", "yes",
         "<think>", "</think>", "The answer is", "no", "\\frac{1}{0}", "-", ".", "Step"]
    )
    | st.text(max_size=6)
).map("".join)  # fmt: skip


@given(text=PIECES, kind=st.sampled_from(TYPES), first=st.booleans())
def test_extraction_never_fails(text: str, kind: str, first: bool) -> None:
    found = extract(text, kind, options=OPTIONS, answered_first=first)
    assert found.final is None or found.final.strip()
    if not first:
        assert found.preemptive is None
    without_preemptive(text)
    read_reply(text, kind, OPTIONS)


@pytest.mark.parametrize(
    ("reply", "kind", "read"),
    [
        ("[Answer] b", C, "B"),
        ("[Answer] the answer is b", C, "T"),
        ("[Answer] I do not know", Y, "no"),
        ("[Answer] yes, not no", Y, "yes"),
        (r"[Answer] \frac{4}{9}", L, "9"),
        (r"[Answer] \sqrt{2}", L, "2"),
        (r"[Answer] \boxed{\frac{4}{9}}", L, r"\frac{4}{9}"),
        ("[Answer] 3 or 4", N, ["3", "4"]),
        ("no tag", Y, ""),
    ],
)
def test_the_released_rules_with_their_quirks(reply: str, kind: str, read: Any) -> None:
    assert read_answer(reply, kind) == read


def test_the_released_verdicts() -> None:
    assert is_correct(["3", "4"], "4", N)
    assert is_correct(" it is not known", "no", T)
    assert shown_to_extractor("[Answer] 40\nSteps", answered_first=True) == "steps"
    one_line = "[Answer] 40. Steps [Answer] 45"
    assert shown_to_extractor(one_line, answered_first=True) == one_line.lower()
