"""The prompts that are asked: of one split, each with a goal, and no more than a limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from theodolite.behaviour.continuing.options import ALL, TRAIN, Asking
from theodolite.data.forced_replies import goal_of
from theodolite.data.prompts import Prompt, PromptSet, shown
from theodolite.data.readers import read_prompts
from theodolite.errors import ConfigError, DataError
from theodolite.text.hashing import item_seed

NEVER_TRAINED: Final = (
    "Preference pairs are trained on, and {name} is {split}: nothing that is measured on may be "
    "trained on."
)


def read_beginnings(path: Path | str, split: str) -> PromptSet:
    """Return the prompts of a file, those of a split where its rows state theirs.

    Args:
        split: train, val, test, or `all`.

    Raises: DataError: the file cannot be read, a prompt is a chat, or the split has no row.
    """
    rows = read_prompts(path)
    chat = next((row for row in rows if row.text is None), None)
    if chat is not None:
        raise DataError(
            f"The prompt {shown(chat.id)} of {shown(rows.name)} is a chat and no text to go on "
            "with.",
            fix="Give every row one text.",
        )
    return of_split(with_goals(rows), split)


def of_split(rows: PromptSet, split: str) -> PromptSet:
    """Return the rows of a split; all of them where they state none, or `all` is asked for."""
    return rows if split == ALL or not rows.values("split") else rows.split(split)


def with_goals(rows: PromptSet) -> PromptSet:
    """Return rows that all have a goal: equal texts share one."""
    return rows.derive(
        row if row.goal_id is not None else replace(row, goal_id=goal_of(row.request))
        for row in rows
    )


def drawn(rows: PromptSet, limit: int | None, *, seed: int, within: str | None = None) -> PromptSet:
    """Return so many prompts; a smaller limit takes a part of a larger one.

    Args:
        limit: of prompts, of each group where there are groups; None takes all.
        seed: of the choice.
        within: the field that names the groups. Matched prompts (`pair_id`) are drawn together, so
            groups stay matched.
    """
    if limit is None:
        return rows
    groups: dict[object, list[Prompt]] = {}
    for row in rows:
        groups.setdefault(within and getattr(row, within), []).append(row)
    kept: set[str] = set()
    for own in groups.values():
        order = sorted(own, key=lambda row: (item_seed(seed, "drawn", _drawn_by(row)), row.id))
        kept |= {row.id for row in order[:limit]}
    return rows.derive(row for row in rows if row.id in kept)


def _drawn_by(row: Prompt) -> str:
    return row.pair_id or row.id


def check_trainable(options: Asking, rows: PromptSet) -> None:
    """Refuse to export pairs of prompts that are not there to be trained on.

    Raises: ConfigError: they are test or val prompts, or state no split.
    """
    if options.pairs is None:
        return
    measured = next((row for row in rows if row.split != TRAIN), None)
    if measured is not None or options.split != TRAIN:
        split = options.split if measured is None else measured.split or "of no stated split"
        raise ConfigError(
            NEVER_TRAINED.format(name=shown(rows.name), split=split),
            fix="Give a file of your own prompts whose rows state `split` train, as in -T "
            "source=FILE -T split=train.",
        )
    folder = Path(options.pairs).resolve().parent
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder {shown(folder)} for the preference pairs.", fix="Make it first."
        )
