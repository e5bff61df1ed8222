"""Small questions with a planted answer, made up for the tests."""

from __future__ import annotations

import random

from theodolite.data.preemptive import Item

OPTIONS = ("a boat", "a lake", "a city", "the weather")


def questions(count: int = 6, *, reasoned: bool = False) -> list[Item]:
    """Return questions of both types whose golds and wrong answers are balanced."""
    dice, found = random.Random(1), []
    for i in range(count):
        choice = i % 2 == 0
        gold, wrong = dice.sample(["A", "B", "C", "D"] if choice else ["yes", "no"], 2)
        found.append(
            Item(
                id=f"q{i}",
                set="made",
                question=f"The question number {i}?",
                gold=gold,
                wrong=wrong,
                answer_type="choice" if choice else "yesno",
                options=OPTIONS if choice else (),
                solution=f"The boat is on lake {i}. It is quiet there.\nSo it goes."
                if reasoned
                else None,
            )
        )
    return found
