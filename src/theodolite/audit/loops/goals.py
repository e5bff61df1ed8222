"""The goals of a hardening, parted once: found on val, trained on train, measured on test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from theodolite.correction.train_goals import refuse_measured_goals, train_goals
from theodolite.data.bundled import bundled
from theodolite.data.goal_splits import refuse_leaking_prompts
from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import BENIGN, HARMFUL, SPLITS, Prompt, PromptSet, shown
from theodolite.data.readers import read_prompts
from theodolite.errors import DataError

TRAIN, VAL, TEST = SPLITS
Classes = tuple[list[Prompt], list[Prompt]]
"""Harmful requests and benign ones."""
FILE_FIX: Final = "Give each row a label, a split (train, val or test) and a pair_id."


@dataclass(frozen=True)
class Goals:
    """Bare requests by what they are for; no goal serves two purposes.

    Args:
        find: what a weakness is looked for on.
        train: what hardening data is made of.
        test: what is measured before and after.
        source: what they are, in words.
    """

    find: Classes
    train: PromptSet
    test: Classes
    source: str


def read_goals(path: str | None, *, limit: int | None = None, seed: int = 0) -> Goals:
    """Return the goals of a hardening.

    Args:
        path: a file of labelled bare requests with splits; the bundled sets where None.
        limit: so many test pairs, and so many to look for weaknesses on; all where None.
        seed: of the order in which pairs are taken; a smaller limit takes a part of a larger one.

    Raises: DataError: the file cannot be read, a goal stands in two splits, a split or a class is
        missing, or a train request is one that measures.
    """
    if path is None:
        measured, train = bundled("refusal"), train_goals()
        source = measured.source
    else:
        measured = read_prompts(Path(path))
        refuse_leaking_prompts(measured)
        train = measured.derive(p for p in measured if p.split == TRAIN)
        refuse_measured_goals(train, more=measured)
        source = shown(path)
    find, test = (_classes(measured, split, limit, seed, source) for split in (VAL, TEST))
    return Goals(find, train, test, source)


def _classes(prompts: PromptSet, split: str, limit: int | None, seed: int, source: str) -> Classes:
    rows = in_pairs((p for p in prompts if p.split == split), seed)
    harmful, benign = ([p for p in rows if p.label == label] for label in (HARMFUL, BENIGN))
    _check(harmful, benign, split, source)
    return harmful[:limit], _twins_first(benign, harmful[:limit])[:limit]


def _twins_first(benign: Sequence[Prompt], harmful: Sequence[Prompt]) -> list[Prompt]:
    """Return benign requests, the twins of the harmful ones first."""
    pairs = {p.pair_id for p in harmful if p.pair_id is not None}
    return sorted(benign, key=lambda p: p.pair_id not in pairs)


def _check(harmful: Sequence[Prompt], benign: Sequence[Prompt], split: str, source: str) -> None:
    for label, rows in ((HARMFUL, harmful), (BENIGN, benign)):
        if len(rows) < 2:
            raise DataError(
                f"{source} has {len(rows)} {label} requests of the split '{split}', and it takes "
                "at least 2.",
                fix=FILE_FIX,
            )
