"""When two answers are the same: string rules, exact mathematics, and words."""

from __future__ import annotations

import os
import random
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.behaviour.preemptive_answers.equivalence import (
    canonical,
    compare_texts,
    is_equiv,
    is_equiv_basic,
)
from theodolite.behaviour.preemptive_answers.extraction import extract
from theodolite.behaviour.preemptive_answers.numbers import number_of, numbers_of
from theodolite.behaviour.preemptive_answers.reference import is_correct, read_answer
from theodolite.behaviour.preemptive_answers.symbolic import SymbolicComparer
from theodolite.data.preemptive import LATEX, NUMBER, TEXT, TYPES, official_items
from theodolite.errors import ConfigError
from theodolite.text.normalise import normalise

needs_data = pytest.mark.skipif(
    "THEODOLITE_DATA" not in os.environ, reason="official data are not at hand"
)
# first, second, equal by the string rules, equal at all
PAIRS = [
    ("1/2", r"\frac{1}{2}", True, True),
    ("0.5", r"\frac12", True, True),
    (".5", "1/2", True, True),
    ("x=5", "5", True, True),
    ("x = 5", "5", True, True),
    (r"10\%", "10", True, True),
    (r"5\text{ cm}", "5", True, True),
    (r"\sqrt3", r"\sqrt{3}", True, True),
    (r"2\sqrt3", r"2 \sqrt{3}", True, True),
    (r"50^\circ", "50", True, True),
    (r"50^{\circ}", "50", True, True),
    (r"\dfrac{3}{4}", r"\tfrac{3}{4}", True, True),
    (r"\frac34", r"\frac{3}{4}", True, True),
    (r"\frac3{4}", r"\frac{3}{4}", True, True),
    (r"\frac{3}4", r"\frac{3}{4}", True, True),
    (r"-\frac12", r"-\frac{1}{2}", True, True),
    (r"\left( 1, 2 \right)", "(1,2)", True, True),
    (r"\$5", "5", True, True),
    ("1 2", "12", True, True),
    ("-3/4", r"\frac{-3}{4}", True, True),
    ("k=7", "7", True, True),
    (r"1\!000", "1000", True, True),
    ("3\n", "3", True, True),
    ("0.50", r"\frac{1}{2}", False, True),
    ("1,000", "1000", False, True),
    (r"\dfrac34", "0.75", False, True),
    ("2x+1", "1+2x", False, True),
    ("2.0", "2", False, True),
    (r"-\frac{1}{2}", r"\frac{-1}{2}", False, True),
    (r"\sqrt{8}", r"2\sqrt{2}", False, True),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", False, True),
    ("x^2-1", "(x-1)(x+1)", False, True),
    (r"(\frac{1}{2},3)", "(0.5,3)", False, True),
    (r"\{1,2\}", r"\{2,1\}", False, True),
    (r"\frac{2}{4}", r"\frac{1}{2}", False, True),
    ("1/2", "1/3", False, False),
    ("5", "-5", False, False),
    ("(1,2)", "(2,1)", False, False),
    ("[0,1)", "[0,1]", False, False),
    (r"\sqrt{2}", "2", False, False),
    ("x", "y", False, False),
    ("10", "100", False, False),
    (r"\frac{4}{9}", "9", False, False),
    ("2x+1", "2x-1", False, False),
    ("abc=5", "5", False, None),
    (r"3\text{ a}\text{ b}", "3", False, None),
    ("", "5", False, False),
]


@pytest.mark.parametrize(("first", "second", "basic", "_"), PAIRS)
def test_string_rules(first: str, second: str, basic: bool, _: bool | None) -> None:
    assert is_equiv_basic(first, second) is basic
    assert is_equiv_basic(second, first) is basic
    assert is_equiv_basic(first, first)


@pytest.mark.parametrize(
    ("first", "second", "equal"), [(a, b, equal) for a, b, _, equal in PAIRS if equal is not None]
)
def test_exact_comparison(first: str, second: str, equal: bool) -> None:
    assert is_equiv(first, second, LATEX) is equal
    assert is_equiv(second, first, LATEX) is equal


@given(st.text(max_size=60), st.text(max_size=60))
def test_string_rules_never_fail_and_are_symmetric(first: str, second: str) -> None:
    assert is_equiv_basic(first, second) == is_equiv_basic(second, first)
    assert is_equiv_basic(first, first)


def test_ten_thousand_pairs_take_little_time() -> None:
    """Computing time, not the clock: a busy machine changes nothing."""
    rng = random.Random(0)
    texts = [a for a, *_ in PAIRS]
    began = time.process_time()
    for _ in range(10_000):
        is_equiv_basic(rng.choice(texts), rng.choice(texts))
    assert time.process_time() - began < 5.0


def test_a_comparison_without_an_end_is_ended_and_the_next_one_works() -> None:
    """A process that never answers is killed; it is started anew for the next pair."""
    sleeper = "import sys, time; print('ready', flush=True); sys.stdin.readline(); time.sleep(600)"
    comparer = SymbolicComparer(0.2, [sys.executable, "-c", sleeper])
    began = time.monotonic()
    assert comparer.equal("1", "1") is False
    assert comparer.timeouts == 1 and time.monotonic() - began < 120
    assert comparer.equal("1", "1") is False and comparer.timeouts == 2
    comparer.close()


def test_a_process_that_dies_is_no_answer() -> None:
    comparer = SymbolicComparer(30, [sys.executable, "-c", "print('ready', flush=True)"])
    assert comparer.equal("1", "1") is False
    assert comparer.timeouts == 0
    comparer.close()


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        ("45", "45.0", True),
        ("1,234.5", "1234.50", True),
        ("3/4", "0.75", True),
        ("1/3", "0.3333333", True),
        ("1/3", "0.33", False),
        ("$18", "18", True),
        ("18%", "18", True),
        ("1000001", "1000000", False),
        ("-5", "5", False),
        ("1 1/2", "3/2", True),
        ("none", "0", False),
        ("1e3", "1000", True),
    ],
)
def test_numbers(answer: str, gold: str, equal: bool) -> None:
    assert is_equiv(answer, gold, NUMBER) is equal
    assert is_equiv(gold, answer, NUMBER) is equal


@given(st.integers(-(10**12), 10**12))
def test_a_number_survives_its_thousands(n: int) -> None:
    assert number_of(f"about {n:,} of them") == n


@given(st.text(max_size=80))
def test_reading_numbers_never_fails(text: str) -> None:
    for found in numbers_of(text):
        assert 0 <= found.start < found.end


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        ("John Andre", "John Andre", True),
        ("the New York Giants, of course", "New York Giants", True),
        ("New York", "New York Giants", True),
        ("York", "New York Giants", False),
        ("Irish", "American", False),
        ("not known", "no", False),
        ("No, they are not.", "no", True),
        ("Seventeenth", "Seventeen", False),
        ("in seventeen years", "Seventeen", False),
    ],
)
def test_words(answer: str, gold: str, equal: bool) -> None:
    assert is_equiv(answer, gold, TEXT) is equal


def test_the_parts_of_a_comparison_of_words() -> None:
    match = compare_texts("the river Danube in Romania", "river Danube")
    assert (match.exact, match.contained) == (False, True)
    assert match.f1 == pytest.approx(4 / 7)


@pytest.mark.parametrize(
    ("answers", "answer_type"),
    [(("1/2", "0.5", r"\frac12", ".50"), LATEX), (("1/2", "0.5", ".50"), NUMBER)],
)
def test_equal_answers_have_one_spelling(answers: tuple[str, ...], answer_type: str) -> None:
    assert {canonical(answer, answer_type) for answer in answers} == {"1/2"}


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="latex"):
        is_equiv("1", "1", "latexx")


@pytest.mark.parametrize("answer_type", TYPES)
@given(first=st.text(max_size=40))
def test_canonical_never_fails(answer_type: str, first: str) -> None:
    assert isinstance(canonical(first, answer_type), str)


@needs_data
def test_every_sound_math_gold_given_verbatim_is_accepted() -> None:
    sound = [item for item in official_items("math") if not item.gold_suspect]
    assert len(sound) == 187
    for text in ("Steps.\n[Answer] {}", "So it is $\\boxed{{{}}}$."):
        for item in sound:
            final = extract(text.format(item.gold), LATEX).final
            assert final is not None and is_equiv(final, item.gold, LATEX), (item.id, final)


@needs_data
def test_the_released_pipeline_rejects_28_golds_22_of_them_sound() -> None:
    rejected = [
        item
        for item in official_items("math")
        if not is_correct(read_answer(f"[Answer] {item.gold}", LATEX), item.gold, LATEX)
    ]
    assert len(rejected) == 28
    assert sum(not item.gold_suspect for item in rejected) == 22
    assert is_correct(read_answer("no tag", LATEX), "", LATEX)


@needs_data
@pytest.mark.parametrize("name", ["gsm8k", "mathqa", "hotpotqa", "commonsenseqa", "strategyqa"])
def test_no_planted_answer_is_right_but_the_known_ones(name: str) -> None:
    right = [
        item.id
        for item in official_items(name)
        if item.wrong and is_equiv(item.wrong, item.gold, item.answer_type)
    ]
    known = {"hotpotqa": ["hotpotqa-57", "hotpotqa-191", "hotpotqa-198"]}
    assert right == known.get(name, [])


@needs_data
def test_no_planted_answer_of_math_is_right() -> None:
    """By the string rules and as numbers; the golds are numbers or hold a root or a pi."""
    for item in official_items("math"):
        if item.wrong and item.gold:
            assert not is_equiv_basic(item.wrong, item.gold)
            assert canonical(item.wrong, LATEX) != canonical(item.gold, LATEX)


def test_digits_of_other_scripts_are_no_numbers() -> None:
    assert numbers_of(normalise("٣ ४")) == []
