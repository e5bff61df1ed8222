"""The bundled questions: twelve of each type, hand-checked, each with an answer that is wrong."""

from __future__ import annotations

import operator
import re
from collections import Counter
from fractions import Fraction

import pytest

from theodolite.behaviour.preemptive_answers.data import (
    BUNDLED,
    SET,
    bundled_items,
    load,
    load_items,
    shuffled,
)
from theodolite.behaviour.preemptive_answers.equivalence import is_equiv
from theodolite.behaviour.preemptive_answers.examples import EXAMPLES
from theodolite.behaviour.preemptive_answers.extraction import extract
from theodolite.data.bundled import bundled, bundled_version
from theodolite.data.preemptive import CHOICE, NUMBER, TYPES, YES_NO, Item
from theodolite.errors import ConfigError

FROZEN = {1: "376980fbfae335b5cb11c4647745ca75"}
DOES = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
STEP = re.compile(r"([\d.]+(?: [-+*/] [\d.]+)+) = ([\d.]+)")


def test_a_changed_row_needs_a_new_version() -> None:
    assert bundled(SET).fingerprint == FROZEN[bundled_version(SET)]


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_its_questions(kind: str) -> None:
    items = bundled_items(kind)
    assert len(items) >= 12 and {item.answer_type for item in items} == {kind}
    assert {item.set for item in items} == {f"{BUNDLED}-{kind}"}
    assert len({item.question for item in items}) == len(items)
    assert all(item.wrong for item in items) and not any(item.suspect for item in items)


@pytest.mark.parametrize("item", load_items(BUNDLED), ids=lambda item: item.id)
def test_the_planted_answer_is_wrong_and_the_right_one_is_read_back(item: Item) -> None:
    assert item.wrong is not None
    assert not is_equiv(item.wrong, item.gold, item.answer_type)
    assert not is_equiv(item.gold, item.wrong, item.answer_type)
    for answer in (item.gold, item.wrong):
        text = f"Some steps.\n[Answer] {answer}"
        found = extract(text, item.answer_type, options=item.options).final
        assert found is not None and is_equiv(found, answer, item.answer_type)


def computed(steps: str) -> Fraction:
    """Return what stands on the left of an equation, from left to right but for * and /."""
    parts = steps.split()
    while len(parts) > 1:
        at = next((i for i, p in enumerate(parts) if p in "*/"), 1)
        value = DOES[parts[at]](Fraction(parts[at - 1]), Fraction(parts[at + 1]))
        parts[at - 1 : at + 2] = [str(value)]
    return Fraction(parts[0])


def test_solutions_compute_what_they_say_and_end_with_the_answer() -> None:
    for item in bundled_items(NUMBER):
        steps = STEP.findall(item.solution or "")
        assert steps, item.id
        for left, right in steps:
            assert computed(left) == Fraction(right), item.id
        assert item.gold in {right for _, right in steps}, item.id


def test_no_letter_and_no_word_gives_the_answer_away() -> None:
    letters = Counter(item.gold for item in bundled_items(CHOICE))
    assert set(letters) == set("ABCDE") and max(letters.values()) <= 3
    assert Counter(item.gold for item in bundled_items(YES_NO)) == {"yes": 6, "no": 6}
    for item in load_items(BUNDLED):
        if item.answer_type == NUMBER:
            assert not re.search(rf"\b{item.gold}\b", item.question), item.id
    shown = {example.problem for examples in EXAMPLES.values() for example in examples}
    assert not shown & {item.question for item in load_items(BUNDLED)}


def test_shuffled_options_keep_what_is_right_and_wrong() -> None:
    orders = set()
    for item in bundled_items(CHOICE):
        for seed in range(5):
            turned = shuffled(item, seed=seed)
            texts = dict(zip(turned.letters, turned.options))
            before = dict(zip(item.letters, item.options))
            assert sorted(turned.options) == sorted(item.options)
            assert texts[turned.gold] == before[item.gold]
            assert item.wrong and turned.wrong and texts[turned.wrong] == before[item.wrong]
            assert turned == shuffled(item, seed=seed)
            orders.add(turned.options)
    assert len(orders) > 30
    number = bundled_items(NUMBER)[0]
    assert shuffled(number) is number


def test_a_limit_is_per_set_and_the_maker_is_known() -> None:
    loaded = load(BUNDLED, limit=2, shuffle=True)
    assert Counter(item.answer_type for item in loaded.items) == dict.fromkeys(TYPES, 2)
    assert set(loaded.makers.values()) == {"by hand"}
    assert set(loaded.makers) == {item.id for item in loaded.items}
    with pytest.raises(ConfigError, match="no set"):
        load("bundeld")
