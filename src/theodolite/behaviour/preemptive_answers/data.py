"""Which questions are asked: official sets, ours or a user's file, with an answer to plant."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.preemptive_answers.equivalence import is_equiv
from theodolite.behaviour.preemptive_answers.planting import (
    PLANTED,
    PLANTED_GOLD,
    PLANTED_LATE,
    PLANTED_RANDOM,
)
from theodolite.behaviour.preemptive_answers.wrong import make_wrong, unrelated
from theodolite.data.bundled import bundled
from theodolite.data.preemptive import (
    CHOICE,
    LETTERS,
    SETS,
    TYPES,
    Item,
    official_items,
    read_items,
)
from theodolite.data.prompts import Prompt, shown
from theodolite.data.records import Place
from theodolite.errors import ConfigError, DataError
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

ALL: Final = "all"
BUNDLED: Final = "bundled"
SET: Final = "preemptive_answers"
MADE: Final = "made here"
_FILES: Final = (".jsonl", ".json", ".csv", ".parquet")
# Who made the answers to plant of the published sets.
_MAKERS: Final[Mapping[str, str]] = {
    "gsm8k": "a model",
    "math": "a model",
    "hotpotqa": "a model",
    "mathqa": "another option",
    "commonsenseqa": "another option",
    "strategyqa": "the opposite",
}


@dataclass(frozen=True)
class Loaded:
    """Items, and who made the answers that are planted.

    Args:
        items: in order.
        makers: item id -> what made its wrong answer; attack success differs by it.
        pools: set -> all of its items, also those that a limit leaves out; unrelated answers are
            taken from them.
    """

    items: tuple[Item, ...]
    makers: Mapping[str, str]
    pools: Mapping[str, tuple[Item, ...]]


def load_items(
    source: str | Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    generate: bool = True,
    shuffle: bool = False,
) -> tuple[Item, ...]:
    """Return items in file order, each with a wrong answer; arguments as for `load`."""
    return load(source, limit=limit, seed=seed, generate=generate, shuffle=shuffle).items


def load(
    source: str | Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    generate: bool = True,
    shuffle: bool = False,
) -> Loaded:
    """Return items in file order, each with a wrong answer.

    Args:
        source: a set, `bundled`, several joined by commas, `all` (the published ones), or a user's
            file.
        limit: so many of each set; a smaller limit takes a part of a larger one.
        seed: of the choice under a limit, of generated answers, and of shuffled options.
        generate: make a wrong answer where there is none; else such a row is an error.
        shuffle: put the options of a choice in another order, the same in every condition.

    Raises:
        ConfigError: a set is unknown, or the limit leaves nothing.
        DataError: a file cannot be used, or a user's wrong answer is right; names file and line.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"A limit of {limit} leaves no question.", fix="Give 1 or more.")
    found: list[Item] = []
    makers: dict[str, str] = {}
    pools: dict[str, tuple[Item, ...]] = {}
    for name, rows in _groups(source):
        filled = [_filled(row, rows, name, seed, generate) for row in rows]
        found += _drawn(filled, limit, seed)
        makers |= {row.id: _maker(row) for row in rows}
        for row in filled:
            pools[row.set] = (*pools.get(row.set, ()), row)
    items = tuple(shuffled(item, seed=seed) if shuffle else item for item in found)
    return Loaded(items, {item.id: makers[item.id] for item in items}, pools)


def shuffled(item: Item, *, seed: int = 0) -> Item:
    """Return an item whose options stand in another order; anything but a choice stays as it is.

    The order hangs on the seed and the question, so it is one order in every condition.
    """
    if item.answer_type != CHOICE:
        return item
    order = list(range(len(item.options)))
    random.Random(item_seed(seed, "options", item.cluster)).shuffle(order)
    letter = {LETTERS[old]: LETTERS[new] for new, old in enumerate(order)}
    return replace(
        item,
        options=tuple(item.options[old] for old in order),
        gold=letter[item.gold],
        wrong=None if item.wrong is None else letter[item.wrong],
    )


@cache
def bundled_items(answer_type: str) -> tuple[Item, ...]:
    """Return our own questions with answers of a type."""
    return tuple(map(_of_bundled, bundled(SET).filter(category=answer_type)))


def planted_answer(
    item: Item, condition: str, *, seed: int = 0, others: Sequence[Item] = ()
) -> str | None:
    """Return what a condition plants into an item: wrong, right, unrelated, or nothing."""
    if condition in (PLANTED, PLANTED_LATE):
        return item.wrong
    if condition == PLANTED_GOLD:
        return item.gold
    return unrelated(item, seed=seed, others=others) if condition == PLANTED_RANDOM else None


def _groups(source: str | Path) -> list[tuple[Path | None, tuple[Item, ...]]]:
    """Return the sets of a source; a user's comes with its file."""
    if isinstance(source, Path) or source.endswith(_FILES):
        return [(Path(source), read_items(source))]
    names = list(SETS) if source == ALL else [name.strip() for name in source.split(",")]
    found: list[tuple[Path | None, tuple[Item, ...]]] = []
    for name in dict.fromkeys(names):
        if name == BUNDLED:
            found += [(None, bundled_items(answer_type)) for answer_type in TYPES]
        elif name in SETS:
            found.append((None, official_items(name)))
        else:
            known = [BUNDLED, ALL, *SETS]
            raise ConfigError(f"There is no set {shown(name)}.", fix=did_you_mean(name, known))
    return found


def _of_bundled(row: Prompt) -> Item:
    meta: Mapping[str, Any] = row.meta
    return Item(
        id=row.id,
        set=f"{BUNDLED}-{meta['answer_type']}",
        question=row.request,
        gold=meta["answer"],
        wrong=meta["wrong_answer"],
        answer_type=meta["answer_type"],
        options=tuple(meta.get("options", ())),
        solution=meta.get("solution"),
    )


def _maker(row: Item) -> str:
    """Return what made the wrong answer of a row as it stands in its file."""
    if row.wrong is None:
        return MADE
    return _MAKERS.get(row.set, "by hand" if row.set.startswith(BUNDLED) else "the file")


def _filled(
    item: Item, items: Sequence[Item], path: Path | None, seed: int, generate: bool
) -> Item:
    """Return an item with an answer to plant; of ours and the published ones, none is checked."""
    if path is not None:
        return _checked(path, item, items, seed, generate)
    # A damaged gold gives no wrong answer that means anything; the row stays out anyway.
    if item.wrong is None and not item.suspect:
        return replace(item, wrong=make_wrong(item, seed=seed, others=items))
    return item


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
