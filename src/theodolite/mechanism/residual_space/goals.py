"""Goals: what a split must keep together, and which side of it each prompt is on.

A goal in its plain form, its wrapped forms and its benign twin share their words. Whoever fits on
one and tests on another measures memory, so everything here goes by goals, never by rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import Prompt
from theodolite.errors import DataError
from theodolite.mechanism.items import make_items
from theodolite.mechanism.requests import TEST, TRAIN
from theodolite.text.hashing import item_seed

Rows = NDArray[np.int64]
UNLABELLED = "unlabelled"


def goal_groups(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """Return the group of each prompt: one goal, one pair or nearly one wording share it.

    Raises: DataError: the prompts are of one class only, or an id occurs twice.
    """
    classes: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        classes.setdefault(prompt.label or UNLABELLED, []).append(prompt)
    items = make_items(classes, dedupe=False)
    found = dict(zip(items.ids, items.groups, strict=True))
    return tuple(found[prompt.id] for prompt in prompts)


def parts_of(prompts: Sequence[Prompt], groups: Sequence[str]) -> tuple[str | None, ...]:
    """Return the part of each prompt: "train", "test", or None where it may be in neither.

    Groups that name a split keep it (`val` counts as train); the others are parted half and half,
    whatever their order. A train prompt whose group holds a test prompt is in neither part.
    """
    named: dict[str, set[str]] = {group: set() for group in groups}
    for prompt, group in zip(prompts, groups, strict=True):
        if prompt.split is not None:
            named[group].add(TEST if prompt.split == TEST else TRAIN)
    parts: list[str | None] = []
    for prompt, group in zip(prompts, groups, strict=True):
        if not named[group]:
            parts.append(TEST if item_seed(0, "part", group) % 2 else TRAIN)
        elif TEST not in named[group]:
            parts.append(TRAIN)
        else:
            parts.append(TEST if prompt.split in (None, TEST) else None)
    return tuple(parts)


def goal_folds(groups: Sequence[str], folds: int, *, seed: int) -> list[tuple[Rows, Rows]]:
    """Cut rows into folds by goal, of as equal size as goals allow.

    Args:
        groups: the group of each row.
        folds: fewer are made where there are fewer groups.
        seed: a group's fold depends on it, on its name and on the groups' sizes.

    Returns: (training, held-out) rows per fold; each row is held out once.

    Raises: DataError: there are not two groups.
    """
    names, member, sizes = np.unique(
        np.asarray(groups, dtype=object), return_inverse=True, return_counts=True
    )
    if len(names) < 2:
        raise DataError(
            "All prompts are of one goal, so none can be held out.", fix="Give other goals too."
        )
    folds = min(folds, len(names))
    # Large groups first, so that small ones can even the folds out; hashes break ties.
    order = sorted(
        range(len(names)), key=lambda g: (-sizes[g], item_seed(seed, "goal fold", names[g]))
    )
    filled, home = np.zeros(folds), np.zeros(len(names), np.int64)
    for group in order:
        home[group] = int(np.argmin(filled))
        filled[home[group]] += sizes[group]
    fold = home[member]
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(folds)]
