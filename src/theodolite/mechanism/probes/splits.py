"""Train and test sets for probes: what is held out decides what a figure says.

A random split asks whether a probe knows these very requests again; holding out whole groups,
sources or categories asks whether it knows harm. In every kind but `random` and `reference` no
group straddles the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.items import Items
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

Rows = NDArray[np.int64]
KINDS = ("random", "group", "source", "category", "frozen", "reference")
REFERENCE_SHARE, REFERENCE_SEED = 0.3, 42
_MANY = {"source": "sources", "category": "categories"}


@dataclass(frozen=True, eq=False)
class Split:
    """One train and test set.

    Args:
        kind: one of `KINDS`.
        repeat: counts the splits of this kind from 0.
        held_out: names of what is held out, or None.
        train, test: item indices, ascending.
    """

    kind: str
    repeat: int
    held_out: str | None
    train: Rows
    test: Rows


def make_splits(
    items: Items, kind: str, *, repeats: int = 10, seed: int = 0, test_share: float = 0.3
) -> list[Split]:
    """Split items into train and test sets.

    Args:
        kind: `random` (stratified resplits of items), `group` (resplits of whole groups, stratified
            as well as they allow), `source` or `category` (each held out once), `frozen` (the
            prompts' own split: train and val against test), `reference` (one unstratified split,
            as published probe code makes it; it leaks duplicates).
        repeats: how many resplits (`random` and `group`).
        seed: of the resplits; an item's side depends on it and on the items, not on their order.
        test_share: share of items to test on (`random` and `group`).

    Raises:
        ConfigError: there is no such kind.
        DataError: a class has too few items, groups, sources or categories.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no split {shown(kind)}.", fix=did_you_mean(kind, KINDS))
    if items.n_classes < 2:
        raise DataError(
            f"All {len(items)} items are of the class {shown(items.classes[0])}.",
            fix="Give a second class.",
        )
    if kind == "random":
        splits = [_random(items, r, seed, test_share) for r in range(repeats)]
    elif kind == "group":
        splits = [_by_group(items, r, seed, test_share) for r in range(repeats)]
    elif kind == "frozen":
        splits = [_frozen(items)]
    elif kind == "reference":
        splits = [_reference(items)]
    else:
        splits = _leave_one_out(items, kind)
    for split in splits:
        _check_sides(items, split)
    return splits


def headline_kind(items: Items) -> tuple[str, str]:
    """Return the kind of split the headline figure is made on, and one sentence why."""
    for kind in ("source", "category"):
        try:
            folds = make_splits(items, kind)
        except DataError:
            continue
        return kind, (
            f"Every class has at least two {_MANY[kind]}, so each of {len(folds)} folds is tested "
            f"on {_MANY[kind]} that its probe has not seen."
        )
    return "group", (
        "Not every class has two sources or two categories to hold out, so whole groups are held "
        "out at random; what the prompts of one source share still helps."
    )


def held_units(items: Items, kind: str) -> dict[str, list[str]]:
    """Return class -> its sources or categories; those that all classes share come first."""
    values = items.sources if kind == "source" else items.categories
    found = {
        name: {v for v, label in zip(values, items.labels, strict=True) if label == c and v}
        for c, name in enumerate(items.classes)
    }
    shared = set.intersection(*found.values())
    return {name: sorted(own, key=lambda v: (v not in shared, v)) for name, own in found.items()}


def inner_folds(
    labels: NDArray[np.int64], groups: Sequence[str], *, folds: int = 5, seed: int
) -> list[tuple[Rows, Rows]]:
    """Cut a training set into folds: stratified as well as groups allow, none of them straddling.

    Args:
        labels: int (item); groups: a name per item.
        folds: fewer are made where a class has fewer groups.

    Returns: (train, validation) indices per fold; a fold that would leave a class out of its
        training side is left out.

    Raises: DataError: no fold is left, as where all items of a class are in one group.
    """
    names, member, counts = _composition(labels, groups)
    folds = min(folds, *np.count_nonzero(counts, axis=0))
    # Large groups first, so that small ones can even the folds out; hashes break ties.
    ranks = [(-int(row.sum()), item_seed(seed, "fold", n)) for n, row in zip(names, counts)]
    totals = counts.sum(0)
    filled = np.zeros((folds, counts.shape[1]))
    home = np.zeros(len(names), np.int64)
    for group in sorted(range(len(names)), key=ranks.__getitem__):
        # Least growth of the squared class shares, then the emptiest fold.
        growth = filled @ (counts[group] / totals**2)
        home[group] = np.lexsort((filled.sum(1), growth))[0]
        filled[home[group]] += counts[group]
    whole = [f for f in range(folds) if filled[f].any() and (filled[f] < totals).all()]
    if not whole:
        raise DataError(
            "No group can be held out without losing a class.",
            fix="Give more prompts of other goals.",
        )
    fold = home[member]
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in whole]


def _composition(
    labels: NDArray[np.int64], groups: Sequence[str]
) -> tuple[list[str], Rows, NDArray[np.int64]]:
    """Return the groups' names, the group of each item, and counts (group, class present)."""
    found, member = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    present, label = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(found), len(present)), np.int64)
    np.add.at(counts, (member, label), 1)
    return [str(name) for name in found], member.astype(np.int64), counts


def _random(items: Items, repeat: int, seed: int, share: float) -> Split:
    draw = np.array([item_seed(seed, "random split", repeat, i) for i in items.ids], np.uint64)
    test = np.zeros(len(items), bool)
    for label in range(items.n_classes):
        members = np.flatnonzero(items.labels == label)
        first = members[np.argsort(draw[members], kind="stable")]
        test[first[: max(1, round(share * len(members)))]] = True
    return _split("random", repeat, None, ~test, test)


def _by_group(items: Items, repeat: int, seed: int, share: float) -> Split:
    names, member, counts = _composition(items.labels, items.groups)
    order = sorted(
        range(len(names)), key=lambda g: item_seed(seed, "group split", repeat, names[g])
    )
    totals = counts.sum(0)
    missing = np.full(len(totals), share)  # of each class, as a share of it
    chosen = np.zeros(len(names), bool)
    for group in order:
        after = missing - counts[group] / totals
        if (after**2).sum() < (missing**2).sum():
            chosen[group], missing = True, after
    test = chosen[member]
    return _split("group", repeat, None, ~test, test)


def _leave_one_out(items: Items, kind: str) -> list[Split]:
    """Hold out each source (or category) once; where classes have different ones, the j-th each."""
    units = held_units(items, kind)
    for name, found in units.items():
        if len(found) < 2:
            raise DataError(
                f"The class {shown(name)} has {len(found)} {_MANY[kind]}, and holding one out "
                "takes two.",
                fix=f"Give it two {_MANY[kind]}, or use the split 'group'.",
            )
    values = np.array(items.sources if kind == "source" else items.categories, dtype=object)
    splits = []
    for j in range(max(map(len, units.values()))):
        held = sorted({found[j % len(found)] for found in units.values()})
        test = np.isin(values, held)
        splits.append(_split(kind, j, " + ".join(held), _apart(items, test), test))
    return splits


def _frozen(items: Items) -> Split:
    own = [prompt.split for prompt in items.prompts]
    test = np.array([name == "test" for name in own])
    known = np.array([name is not None for name in own])
    return _split("frozen", 0, None, _apart(items, test) & known, test)


def _reference(items: Items) -> Split:
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(items))
    train, test = train_test_split(rows, test_size=REFERENCE_SHARE, random_state=REFERENCE_SEED)
    sides = np.isin(rows, train), np.isin(rows, test)
    return _split("reference", 0, None, *sides)


def _apart(items: Items, test: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which items may be trained on: none that shares a group with a test item."""
    tested = {group for group, inside in zip(items.groups, test, strict=True) if inside}
    return np.array([group not in tested for group in items.groups])


def _split(
    kind: str,
    repeat: int,
    held_out: str | None,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
) -> Split:
    return Split(kind, repeat, held_out, np.flatnonzero(train), np.flatnonzero(test))


def _check_sides(items: Items, split: Split) -> None:
    for side, rows in (("train", split.train), ("test", split.test)):
        for label, name in enumerate(items.classes):
            if not (items.labels[rows] == label).any():
                held = f" without {shown(split.held_out)}" if split.held_out else ""
                raise DataError(
                    f"The {split.kind} split{held} leaves no prompt of the class {shown(name)} to "
                    f"{side} on.",
                    fix="Give more prompts of that class, or use another split.",
                )
