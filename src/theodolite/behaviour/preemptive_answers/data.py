"""Which questions are asked: official sets or a user's file, each with an answer to plant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from theodolite.behaviour.preemptive_answers.equivalence import is_equiv
from theodolite.behaviour.preemptive_answers.planting import (
    PLANTED,
    PLANTED_GOLD,
    PLANTED_LATE,
    PLANTED_RANDOM,
)
from theodolite.behaviour.preemptive_answers.wrong import make_wrong, unrelated
from theodolite.data.preemptive import SETS, Item, official_items, read_items
from theodolite.data.prompts import shown
from theodolite.data.records import Place
from theodolite.errors import ConfigError, DataError
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

ALL: Final = "all"


def load_items(
    source: str | Path, *, limit: int | None = None, seed: int = 0, generate: bool = True
) -> tuple[Item, ...]:
    """Return items in file order, each with a wrong answer.

    Args:
        source: a set, several joined by commas, `all`, or a user's file.
        limit: so many of each set; a smaller limit takes a part of a larger one.
        seed: of the choice under a limit and of generated answers.
        generate: make a wrong answer where there is none; else such a row is an error.

    Raises:
        ConfigError: a set is unknown, or the limit leaves nothing.
        DataError: a file cannot be used, or a user's wrong answer is right; names file and line.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"A limit of {limit} leaves no question.", fix="Give 1 or more.")
    if isinstance(source, Path) or source.endswith((".jsonl", ".json", ".csv", ".parquet")):
        path = Path(source)
        items = read_items(path)
        return _drawn([_checked(path, item, items, seed, generate) for item in items], limit, seed)
    names = list(SETS) if source == ALL else [name.strip() for name in source.split(",")]
    found: list[Item] = []
    for name in names:
        if name not in SETS:
            raise ConfigError(f"There is no set {shown(name)}.", fix=did_you_mean(name, SETS))
        rows = official_items(name)
        # A damaged gold gives no wrong answer that means anything; the row stays out anyway.
        filled = [
            replace(row, wrong=make_wrong(row, seed=seed, others=rows))
            if row.wrong is None and not row.suspect
            else row
            for row in rows
        ]
        found += _drawn(filled, limit, seed)
    return tuple(found)


def planted_answer(
    item: Item, condition: str, *, seed: int = 0, others: Sequence[Item] = ()
) -> str | None:
    """Return what a condition plants into an item: wrong, right, unrelated, or nothing."""
    if condition in (PLANTED, PLANTED_LATE):
        return item.wrong
    if condition == PLANTED_GOLD:
        return item.gold
    return unrelated(item, seed=seed, others=others) if condition == PLANTED_RANDOM else None


def _checked(path: Path, item: Item, items: Sequence[Item], seed: int, generate: bool) -> Item:
    place = Place(path, item.line, "wrong_answer")
    if item.wrong is None:
        if not generate:
            raise place.error("there is no answer to plant.", "Add it, or let one be made.")
        try:
            return replace(item, wrong=make_wrong(item, seed=seed, others=items))
        except DataError as error:
            problem = error.message[:1].lower() + error.message[1:]
            raise place.error(problem, error.fix) from None
    if is_equiv(item.wrong, item.gold, item.answer_type):
        raise place.error("the answer to plant is right.", "Give a wrong one.")
    return item


def _drawn(items: Sequence[Item], limit: int | None, seed: int) -> tuple[Item, ...]:
    if limit is None or limit >= len(items):
        return tuple(items)
    ranked = sorted(items, key=lambda item: item_seed(seed, "limit", item.id))
    kept = {item.id for item in ranked[:limit]}
    return tuple(item for item in items if item.id in kept)
