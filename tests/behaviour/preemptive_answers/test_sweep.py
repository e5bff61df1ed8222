"""Where an answer slot stands, and that reading many at once equals reading one whole sequence."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from tests.behaviour.preemptive_answers.items import CHOICE, NUMBER, YES_NO
from tests.engine.conftest import opened
from tests.oracles import engine_forward as forward
from theodolite.behaviour.preemptive_answers.planting import (
    CLEAN,
    PLANTED,
    PLANTED_BLANK,
    PLANTED_GOLD,
    PLANTED_LATE,
    PLANTED_RANDOM,
    PREFILL,
)
from theodolite.behaviour.preemptive_answers.sweep import (
    NO_TEXT,
    SPELLINGS,
    TOO_LONG,
    Arm,
    Slot,
    answers_of,
    arms_of,
    can_be_read,
    read_slots,
    slot_of,
    turns_of,
    without_answers,
)
from theodolite.data.preemptive import Item
from theodolite.errors import DataError
from theodolite.models.chat import encode

REASONING = "One is odd.\nTwo is even, so it fits."
YES_NO_TWO = replace(YES_NO, id="strategyqa-y", question="Is fire cold?", gold="no", wrong="yes")


def made(item: Item, arm: Arm, **more: Any) -> Slot:
    text = None if arm.text == NO_TEXT else REASONING
    return slot_of(item, arm, **{"reasoning": text, "seed": 0, **more})


def every(conditions: tuple[str, ...], positions: tuple[float, ...] = (0.0, 0.5)) -> list[Arm]:
    return arms_of(conditions, positions, [NO_TEXT, CLEAN])


ARMS = every((PLANTED, PLANTED_GOLD, PLANTED_RANDOM, PLANTED_BLANK, PLANTED_LATE))


def naive(model: Any, slot: Slot) -> dict[str, float]:
    """Score every answer of a slot by one whole forward per spelling."""
    prompt = encode(model, turns_of(slot), continue_final=True)
    found = {}
    for answer in answers_of(slot.item):
        chance = 0.0
        for text in SPELLINGS.get(answer, (f" {answer}",)):
            ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
            chance += math.exp(float(forward.logprobs(model, prompt.ids, ids).sum()))
        found[answer] = math.log(chance)
    return found


def test_reading_equals_whole_sequences_and_batches_equal_single_slots() -> None:
    model = opened("llama")
    slots = [made(item, arm) for item in (CHOICE, YES_NO, YES_NO_TWO) for arm in ARMS]
    together = read_slots(model, slots)
    for slot, one in zip(slots, together):
        expected = naive(model, slot)
        assert one.of == pytest.approx(expected, abs=1e-4)
        assert one.delta == pytest.approx(
            expected[slot.item.gold] - expected[str(slot.item.wrong)], abs=2e-4
        )
        (alone,) = read_slots(model, [slot], batch_tokens=16)
        assert one.of == pytest.approx(alone.of, abs=1e-4)


@pytest.mark.parametrize("family", ["gemma2", "gpt2"])
def test_other_families_read_alike(family: str) -> None:
    model = opened(family)
    slot = made(YES_NO, Arm(PLANTED, CLEAN))
    (one,) = read_slots(model, [slot])
    assert one.of == pytest.approx(naive(model, slot), abs=1e-4)


def test_every_slot_ends_with_the_tag_and_only_the_plant_changes() -> None:
    clean, wrong, blank, right = (
        made(CHOICE, Arm(condition, CLEAN)).messages
        for condition in (CLEAN, PLANTED, PLANTED_BLANK, PLANTED_GOLD)
    )
    assert clean[-1].content == f"{REASONING}\n[Answer]"
    assert wrong[-1] == blank[-1] == right[-1] == clean[-1]
    assert wrong[-2].content == "[Answer] The answer is C."
    assert right[-2].content == "[Answer] The answer is B."
    assert blank[-2].content == "[Answer] (left blank)"
    bare = made(YES_NO, Arm(PLANTED)).messages
    assert bare[-1].content == "[Answer]" and bare[-2].content == "[Answer] The answer is No."
    begun = made(YES_NO, Arm(PLANTED), channel=PREFILL).messages
    assert begun[-1].content == "[Answer] The answer is No.\n[Answer]" and len(begun) == 3


def test_a_late_plant_splits_the_reasoning_and_loses_no_word() -> None:
    for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        for late, said in (
            ("wrong", "[Answer] The answer is C."),
            ("blank", "[Answer] (left blank)"),
        ):
            arm = Arm(PLANTED_LATE, CLEAN, fraction, late)
            text = made(CHOICE, arm).messages[-1].content
            assert text.count(said) == 1 and text.endswith("\n[Answer]")
            rest = text.removesuffix("[Answer]").replace(said, " ")
            assert rest.split() == REASONING.split()
    first = made(CHOICE, Arm(PLANTED_LATE, CLEAN, 0.0)).messages[-1].content
    assert first.startswith("[Answer] The answer is C.\nOne")
    assert Arm(PLANTED_LATE, CLEAN, 0.25, "blank").name == "M_late@0.25-blank"


def test_what_was_answered_first_stands_first() -> None:
    slot = made(YES_NO, Arm("U", CLEAN), first="no")
    assert slot.messages[-1].content == f"[Answer] No\n{REASONING}\n[Answer]"
    assert "Before any reasoning" in slot.messages[-2].content and slot.planted == "no"
    with pytest.raises(DataError, match="no first answer"):
        made(YES_NO, Arm("U", CLEAN))
    with pytest.raises(DataError, match="late plant"):
        slot_of(CHOICE, Arm(PLANTED_LATE, CLEAN, 0.5), reasoning=None, seed=0)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Two is even.\nThree is odd.\n[Answer] B", "Two is even.\nThree is odd."),
        ("Two is even. So the answer is B.", "Two is even."),
        ("<think>hm, C</think>Two is even.\n**Answer:** B", "Two is even."),
        ("[Answer] B", ""),
        ("Nothing to take out", "Nothing to take out"),
        ("", ""),
    ],
)
def test_reasoning_loses_its_own_answers(text: str, left: str) -> None:
    assert without_answers(text, CHOICE) == left


def test_what_cannot_be_read_is_said() -> None:
    assert can_be_read(CHOICE) is None and can_be_read(YES_NO) is None
    assert "no option" in str(can_be_read(NUMBER))
    assert "damaged" in str(can_be_read(replace(CHOICE, plant_suspect=True)))
    assert "no wrong answer" in str(can_be_read(replace(CHOICE, wrong="B")))
    long = replace(CHOICE, id="long", question="Which is even? " * 200)
    short, too_long = read_slots(opened("llama"), [made(CHOICE, ARMS[0]), made(long, ARMS[0])])
    assert short.delta is not None and short.reason is None
    assert too_long.delta is None and too_long.chosen is None and too_long.reason == TOO_LONG


def test_the_grid_holds_the_clean_run_once_and_controls_at_every_position() -> None:
    names = [(arm.name, arm.text) for arm in every((CLEAN, PLANTED, PLANTED_LATE))]
    assert names[:4] == [
        (CLEAN, NO_TEXT),
        (PLANTED, NO_TEXT),
        (CLEAN, CLEAN),
        (PLANTED, CLEAN),
    ]
    assert len(names) == 4 + 2 * 2 and len(set(names)) == len(names)
    own = arms_of((PLANTED,), (), [NO_TEXT, CLEAN, PLANTED])
    assert Arm(PLANTED, PLANTED) in own
