"""The bundled solutions: frozen, balanced, and right where they say so."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from theodolite.behaviour.mr_ben.answers import parse_critique
from theodolite.behaviour.mr_ben.data import load_demos, load_rows
from theodolite.behaviour.mr_ben.judging import same_words
from theodolite.behaviour.mr_ben.prompts import demo_answer
from theodolite.behaviour.mr_ben.reason_judge import reason_prompt
from theodolite.data.bundled import FOLDERS, bundled_folder
from theodolite.data.mr_ben import official_mr_ben
from theodolite.data.step_critique import CritiqueSample
from theodolite.errors import DataError
from theodolite.text.normalise import normalise

ROWS = load_rows("bundled")
FROZEN = {1: "183b58e077f4fe705aea04dcf9b3912b"}
RIGHT = {
    "math-1": 8 * 3 * 0.9, "math-2": 180 / 2.25,
    "math-3": sum(a + b >= 10 for a in range(1, 7) for b in range(1, 7)) / 36,
    "math-4": 360 / (180 - 140), "math-5": sum(n % 4 == 0 or n % 6 == 0 for n in range(1, 101)),
    "physics-1": 0.5 * 10 * 3**2, "physics-2": 12 / 6 + 12 / 3, "physics-3": 2 * 3 / (2 + 4),
    "physics-4": 0.5 * 4.2 * (60 - 20), "physics-5": 1 / (1 / 10 - 1 / 30),
    "biology-1": 1 / 4, "biology-4": 100 * 2 ** (120 // 20),
}  # fmt: skip
CASES: dict[str, list[tuple[Any, Any]]] = {
    "coding-1": [([], 0.0), ([1, 2], 1.5), ([3], 3.0), ([-1, 0], -0.5)],
    "coding-2": [("Anna", True), ("A man, a plan: Panama!", False), ("", True), ("Ab", False),
                 ("Was it a car or a cat I saw?", True)],
    "coding-3": [([5, 5, 3], 3), ([1], None), ([], None), ([2, 2], None), ([1, 9, 4], 4)],
    "coding-4": [([1, 3, 2], [1, 3, 3]), ([-3, -1], [-3, -1]), ([], [])],
    "coding-5": [("a B a", {"a": 2, "b": 1}), ("", {})],
}  # fmt: skip


def program(row: CritiqueSample, lines: list[str] | None = None) -> Callable[[Any], Any]:
    """Return the one function that a program of ours defines."""
    space: dict[str, Any] = {}
    exec("\n".join(row.lines if lines is None else lines), space)
    return next(v for k, v in space.items() if callable(v) and k != "__builtins__")


def passes(work: Callable[[Any], Any], key: str) -> bool:
    return all(work(given) == wanted for given, wanted in CASES[key])


def test_a_changed_row_needs_a_new_version() -> None:
    folder, version = bundled_folder("mr_ben")
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.json")))
    assert sha256(content).hexdigest()[:32] == FROZEN[version]
    assert list(FOLDERS) == ["mr_ben"]
    with pytest.raises(DataError, match="no bundled folder"):
        bundled_folder("mr-ben")


def test_counts_and_balance() -> None:
    assert (len(ROWS), ROWS.skipped, dict(ROWS.oddities)) == (40, (), {})
    counts = Counter((row.subject, row.gold_correct) for row in ROWS)
    assert counts == {(s, right): 5 for s in ("biology", "physics", "math", "coding")
                      for right in (True, False)}  # fmt: skip
    for subject in ("biology", "physics", "math"):
        steps = [row.gold_step for row in ROWS if row.subject == subject and not row.gold_correct]
        assert sorted(s for s in steps if s) == [1, 2, 3, 4, 5]
        assert sum(row.process_only is True for row in ROWS if row.subject == subject) == 1
    pairs = [ROWS.samples[i : i + 2] for i in range(0, 40, 2)]
    for one, other in pairs:
        assert one.key == other.key and one.gold_correct is not other.gold_correct
        assert len(one.lines) == len(other.lines), one.key  # length tells nothing
        assert {one.source_model, other.source_model} == {"theodolite-a", "theodolite-b"}
    assert sum(first.gold_correct for first, _ in pairs) == 10


def test_every_wrong_solution_is_explained_twice() -> None:
    for row in ROWS:
        wrong = not row.gold_correct
        assert len(row.reasons) == len(row.fixes) == 2 * wrong and len(set(row.reasons)) in (0, 2)
        if wrong and not row.coding:
            assert row.gold_step in row.labels and row.labels == tuple(
                range(1, len(row.labels) + 1)
            )
            assert all(fix.startswith(f"Step {row.gold_step}: ") for fix in row.fixes)
        if wrong and row.coding:
            assert row.lines.count(row.gold_line) == 1
        for text in (row.question, row.options, *row.lines, *row.reasons, *row.fixes):
            assert text.isascii() and "\t" not in text
        assert "{" not in row.question + row.options


def test_right_and_wrong_steps_of_a_pair_part_at_the_marked_one() -> None:
    """Up to the first error, the wrong solution says what the right one could say."""
    for row in ROWS:
        if row.gold_correct or row.coding:
            continue
        twin = next(r for r in ROWS if r.key == row.key and r.gold_correct)
        before = [step.text for step in row.steps if (step.label or 99) < (row.gold_step or 0)]
        marked = next(step.text for step in row.steps if step.label == row.gold_step)
        assert marked not in twin.lines, row.id
        assert sum(line in twin.lines for line in before) >= len(before) - 1, row.id


@pytest.mark.parametrize("key", RIGHT)
def test_answers_are_what_one_computes(key: str) -> None:
    row = next(r for r in ROWS if r.key == key and r.gold_correct)
    listed = dict(line.split(": ") for line in row.options.split("\n"))
    said = listed[str(row.final_choice)].split()[0].replace(",", "")
    top, _, below = said.partition("/")
    assert math.isclose(float(top) / float(below or 1), RIGHT[key])


@pytest.mark.parametrize("key", CASES)
def test_programs_are_right_or_wrong_as_marked_and_each_fix_mends_them(key: str) -> None:
    for row in (r for r in ROWS if r.key == key):
        assert passes(program(row), key) is row.gold_correct, row.id
        for fix in row.fixes:
            mended = [fix if line == row.gold_line else line for line in row.lines]
            assert passes(program(row, mended), key), fix


def test_examples_answer_as_their_solution_is_marked() -> None:
    demos = load_demos("bundled")
    assert set(demos) == {row.sub_subject for row in ROWS}
    asked = {normalise(row.question, lower=True) for row in ROWS}
    for name, listed in demos.items():
        assert [d.sample.gold_correct for d in listed] == [False, True, False], name
        for demo in listed:
            said = parse_critique(demo_answer(demo), coding=demo.sample.coding)
            assert said.correct is demo.sample.gold_correct and said.flags == ()
            assert demo.sample.coding or said.step == demo.sample.gold_step
            assert normalise(demo.sample.question, lower=True) not in asked
            if demo.sample.coding:
                work = program(demo.sample)
                given = {"square": 3, "last": [1, 2], "is_even": 4}[work.__name__]
                assert (work(given) == {"square": 9, "last": 2, "is_even": True}[
                    work.__name__]) is demo.sample.gold_correct  # fmt: skip


def test_one_experts_reason_is_no_copy_of_the_other() -> None:
    for row in ROWS:
        for text in row.reasons:
            assert same_words(row, text)
            assert text in reason_prompt(row, "x").replace("\n| ", "\n")


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_no_question_is_taken_from_the_official_files() -> None:
    theirs = {frozenset(normalise(r.question, lower=True).split()) for r in official_mr_ben()}
    for row in ROWS:
        own = frozenset(normalise(row.question, lower=True).split())
        assert max(len(own & other) / len(own | other) for other in theirs) < 0.6, row.id
