"""No goal in two splits: what a model was trained on is not what it is measured on.

A goal's plain form and all its wrapped forms belong to one split. A file that splits rows instead
of goals puts the same request on both sides, and every figure on its test half is too good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from theodolite.data.prompts import Prompt, PromptSet, shown
from theodolite.errors import DataError

SHOWN = 3


class Placed(NamedTuple):
    """An item of data, what it asks for, and the split it stands in; None where not stated."""

    id: str
    goal_id: str | None
    split: str | None


def goals_in_two_splits(items: Iterable[Placed]) -> dict[str, tuple[str, ...]]:
    """Return the goals that stand in more than one split, with those splits, in order of items.

    Items without a goal or a split are passed over.
    """
    found: dict[str, dict[str, None]] = {}
    for item in items:
        if item.goal_id is not None and item.split is not None:
            found.setdefault(item.goal_id, {})[item.split] = None
    return {goal: tuple(splits) for goal, splits in found.items() if len(splits) > 1}


def refuse_goals_in_two_splits(items: Iterable[Placed], what: str) -> None:
    """Refuse data in which a goal stands in two splits.

    Args:
        items: the rows.
        what: what holds them, for the message, e.g. a file or the name of a set.

    Raises:
        DataError: says how many goals do, and names the first.
    """
    leaked = goals_in_two_splits(items)
    if not leaked:
        return
    named = "; ".join(f"{shown(g)} in {' and '.join(s)}" for g, s in list(leaked.items())[:SHOWN])
    more = f"; and {len(leaked) - SHOWN} more" if len(leaked) > SHOWN else ""
    raise DataError(
        f"{what}: {len(leaked)} {'goal stands' if len(leaked) == 1 else 'goals stand'} in more "
        f"than one split ({named}{more}).",
        fix="Split by goal: all forms of a goal belong to one split.",
    )


def refuse_leaking_prompts(prompts: PromptSet | Sequence[Prompt]) -> None:
    """Refuse prompts in which a goal stands in two splits (see `refuse_goals_in_two_splits`).

    Raises: DataError: says how many goals do.
    """
    what = "The prompts"
    if isinstance(prompts, PromptSet):
        what = f"The prompt set {shown(prompts.name)}"
    placed = (Placed(p.id, p.goal_id, p.split) for p in prompts)
    refuse_goals_in_two_splits(placed, what)
