"""Which heads are out while answers are written: named groups, random ones, and none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import ArrayLike

from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.heads.ablation import Head, HeadAblation, check_head, head_name
from theodolite.text.display import escape
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy

INTACT: Final = "intact"
SIZES: Final = (1, 2, 3, 4, 5)

Group = Sequence[Head] | Sequence[Sequence[Head]]
"""The heads taken out for all prompts, or one list of heads for each prompt."""
Groups = Mapping[str, Group] | Sequence[Head]
"""Groups by name; bare heads are one group named after them."""


@dataclass(frozen=True)
class Condition:
    """One state of the model under which answers are written.

    Args:
        name: in tables and reports.
        kind: "intact", "group" or "random".
        heads: (layer, unit) pairs: one tuple for all prompts, or one for each.
    """

    name: str
    kind: str
    heads: tuple[tuple[Head, ...], ...]

    def of(self, place: int) -> tuple[Head, ...]:
        """Return the heads that are out for one prompt."""
        return self.heads[place if self.per_prompt else 0]

    @property
    def per_prompt(self) -> bool:
        """Whether prompts differ in their heads."""
        return len(self.heads) > 1

    @property
    def size(self) -> int:
        """Heads that are out at once."""
        return max(map(len, self.heads))

    @property
    def shown(self) -> str:
        """The heads in words."""
        if self.per_prompt:
            return f"{self.size} of each prompt's own"
        return " ".join(head_name(head) for head in self.heads[0])


def conditions_of(
    anatomy: Anatomy,
    groups: Groups,
    ablation: HeadAblation,
    *,
    prompts: int,
    random_groups: int = 0,
    seed: int = 0,
) -> list[Condition]:
    """Return what is compared: the intact model, the groups, and random groups of their sizes.

    Args:
        groups: see `Groups`.
        prompts: how many prompts there are.
        random_groups: random groups for each size that occurs.
        seed: of the random groups.

    Raises:
        ConfigError: a head the model does not have, an empty group, a group that names heads for
            another number of prompts, a name that is taken, or too few heads for a random group.
    """
    ablation.check(anatomy)
    named = groups if isinstance(groups, Mapping) else {_name_of(groups): groups} if groups else {}
    found = [Condition(INTACT, INTACT, ((),))]
    for name, group in named.items():
        heads = _heads(name, group, prompts)
        for head in {head for row in heads for head in row}:
            check_head(anatomy, head, ablation.units(anatomy))
        if name == INTACT:
            raise ConfigError(f"A group of heads is named {INTACT}.", fix="Name it otherwise.")
        found.append(Condition(name, "group", heads))
    sizes = sorted({condition.size for condition in found[1:]})
    for size in sizes if random_groups else ():
        every = _without(anatomy, ablation, found, size)
        for draw in range(random_groups):
            drawn = _draw(every, size, item_seed(seed, "random heads", size, draw))
            found.append(Condition(f"random {size}/{draw + 1}", "random", (drawn,)))
    return found


def _name_of(heads: Sequence[Head]) -> str:
    return " ".join(head_name(head) for head in heads)


def _heads(name: str, group: Group, prompts: int) -> tuple[tuple[Head, ...], ...]:
    """Return a group as one tuple of heads for all prompts, or one for each."""
    shared = all(len(row) == 2 and isinstance(row[0], int | np.integer) for row in group)
    rows = [cast("Sequence[Head]", group)] if shared else cast("Sequence[Sequence[Head]]", group)
    heads = tuple(tuple(sorted({(int(a), int(b)) for a, b in row})) for row in rows)
    if not shared and len(heads) != prompts:
        raise ConfigError(
            f"The group '{escape(name, 60)}' has heads for {len(heads)} prompts, and there are "
            f"{prompts}.",
            fix="Give one list of heads for each prompt, or one for all.",
        )
    if not all(heads) or not heads:
        raise ConfigError(
            f"The group '{escape(name, 60)}' has no heads.", fix="Name at least one head."
        )
    return heads


def _without(
    anatomy: Anatomy, ablation: HeadAblation, found: Sequence[Condition], size: int
) -> list[Head]:
    """Return the heads that stand in no group of this size, ascending."""
    taken = {
        head
        for c in found
        if c.size == size and not c.per_prompt
        for row in c.heads
        for head in row
    }
    every = [
        (layer, unit)
        for layer in range(anatomy.n_layers)
        for unit in range(ablation.units(anatomy))
        if (layer, unit) not in taken
    ]
    if len(every) < size:
        raise ConfigError(
            f"A random group needs {size} heads outside the groups, and {len(every)} are left.",
            fix="Ask for no random groups, or for smaller groups.",
        )
    return every


def _draw(every: Sequence[Head], size: int, seed: int) -> tuple[Head, ...]:
    places = np.random.default_rng(seed).choice(len(every), size, replace=False)
    return tuple(sorted(every[int(place)] for place in places))


def own_top_heads(
    scores: ArrayLike, sizes: Sequence[int] = SIZES, *, level: str = "query"
) -> dict[str, list[tuple[Head, ...]]]:
    """Return groups "query/1", "query/2", ...: for each prompt its own heads of highest score.

    Source: arXiv:2410.13708, section 4 (query level). Ties go to the lowest layer, then head.

    Args:
        scores: axes (prompt, layer, unit); NaN where a head was not scored.
        sizes: of the groups.
        level: the first word of the names.

    Raises:
        DataError: the scores have other axes, or a prompt has too few scored heads.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 3:
        raise DataError(
            f"Scores of heads have the axes (prompt, layer, unit), and these have {array.ndim}."
        )
    flat = array.reshape(len(array), -1)
    fewest = int(np.isfinite(flat).sum(1).min()) if flat.size else 0
    if fewest < max(sizes):
        raise DataError(
            f"A prompt has {fewest} scored heads, and its first {max(sizes)} are wanted.",
            fix="Score all heads, or ask for smaller groups.",
        )
    order = np.argsort(-np.where(np.isfinite(flat), flat, -np.inf), axis=1, kind="stable")
    units = array.shape[2]
    ranked = [[(int(i) // units, int(i) % units) for i in row] for row in order[:, : max(sizes)]]
    return {f"{level}/{size}": [tuple(row[:size]) for row in ranked] for size in sizes}


def first_heads(
    heads: Sequence[Head], sizes: Sequence[int] = SIZES, *, level: str = "dataset"
) -> dict[str, tuple[Head, ...]]:
    """Return groups "dataset/1", "dataset/2", ...: the first heads of a list, for all prompts.

    Source: arXiv:2410.13708, section 4 (dataset level).

    Args:
        heads: best first, e.g. of a greedy search; sizes beyond their number are left out.
        sizes: of the groups.
        level: the first word of the names.
    """
    return {f"{level}/{size}": tuple(heads[:size]) for size in sizes if size <= len(heads)}
