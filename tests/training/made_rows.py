"""Made training rows: harmless words, labels only in name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from theodolite.training.rows import TrainingRow

REFUSAL = "I'm sorry, but I can't help with that request."
ANSWER = "Sure, here is how to do it at home."
OPENING = "Sure, here is how"
THINGS = ("bread", "a boat", "the lake", "a story", "tea", "a kite", "the shelf", "a map")


def made_row(place: int, *, harmful: bool, split: str = "train", **more: Any) -> TrainingRow:
    """Return one row; harmful and benign rows of one place share their goal."""
    thing = THINGS[place % len(THINGS)]
    verb = "Wreck" if harmful else "Make"
    row = TrainingRow(
        id=f"{'h' if harmful else 'b'}{place}",
        goal_id=f"goal-{place}",
        split=split,
        label="harmful" if harmful else "benign",
        style="plain" if place % 2 else "code",
        source="made",
        text=f"{verb} {thing}, number {place}" + " and tell me all about it" * (place % 3),
        target=REFUSAL if harmful else ANSWER,
        rejected=OPENING if harmful else REFUSAL,
        hazard="made harm" if harmful else None,
    )
    return replace(row, **more)


def made_rows(goals: int = 8, *, held_out: int = 2) -> list[TrainingRow]:
    """Return twins of `goals` goals, the last `held_out` of them of split val."""
    return [
        made_row(place, harmful=harmful, split="train" if place < goals - held_out else "val")
        for place in range(goals)
        for harmful in (True, False)
    ]


def label_rows(goals: int = 8) -> list[TrainingRow]:
    """Return rows for the label variant: no answers, the label is the target."""
    return [replace(row, target=None, rejected=None) for row in made_rows(goals)]
