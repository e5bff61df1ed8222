"""The prompts of a selection: to make candidates from, to choose by, and to test the chosen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.engine import next_token
from theodolite.errors import DataError
from theodolite.mechanism.directions.contrast import TEST, TRAIN, VAL, split_by_goal
from theodolite.mechanism.directions.effects import Sides
from theodolite.mechanism.states import encode_for_states
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.directions.effects import Reader
    from theodolite.mechanism.items import Items
    from theodolite.models.chat import Encoded

_FEWEST = 2
_AT_ONCE = 256  # prompts


@dataclass(frozen=True, eq=False)
class SelectionPrompts:
    """Prompts that are left after filtering and drawing.

    Args:
        items: harmful and benign ones.
        splits: of the items.
        encoded: the items, as the model sees them.
        counts: "<class> <split>" -> "<kept> of <all>".
    """

    items: Items
    splits: tuple[str, ...]
    encoded: tuple[Encoded, ...]
    counts: Mapping[str, str]

    @classmethod
    def of(
        cls,
        items: Items,
        reader: Reader,
        *,
        template: str,
        most: Mapping[str, int],
        filtered: bool,
        seed: int,
    ) -> Self:
        """Encode prompts, leave out those whose answer is not that of their class, and draw.

        Source: arXiv:2406.11717.

        Args:
            items: two classes.
            reader: says what the intact model does.
            template: as for `read_states`.
            most: split -> prompts of a class kept at most.
            filtered: only harmful prompts that are refused, and benign ones that are not.
            seed: of the split and the draw.

        Raises: DataError: fewer than two prompts of a class are left to make candidates from or to
            choose by.
        """
        splits = split_by_goal(items, seed=seed)
        encoded = encode_for_states(reader.model, items.prompts, template=template)
        right = np.ones(len(items), bool)
        if filtered:
            right = (_refusal_scores(reader, encoded) > 0) == items.positive
        order = sorted(range(len(items)), key=lambda i: item_seed(seed, "drawn", items.ids[i]))
        kept: list[int] = []
        counts = {}
        for split, limit in most.items():
            for positive in (True, False):
                own = [i for i in order if splits[i] == split and items.positive[i] == positive]
                usable = [i for i in own if right[i]][:limit]
                _check_enough(items, split, positive, len(usable), len(own), filtered)
                kept += usable
                counts[f"{_class(items, positive)} {split}"] = f"{len(usable)} of {len(own)}"
        kept.sort()
        return cls(
            items=items.select(kept),
            splits=tuple(splits[i] for i in kept),
            encoded=tuple(encoded[i] for i in kept),
            counts=counts,
        )

    def sides(self, split: str) -> Sides:
        """Return the prompts of a split by class; of `val` the training ones where it is empty."""
        rows = np.array(self.splits) == split
        if split == VAL and not rows.any():
            rows = np.array(self.splits) == TRAIN
        harmful, benign = rows & self.items.positive, rows & ~self.items.positive
        return Sides(
            harmful=self._chosen(harmful),
            benign=self._chosen(benign),
            harmful_goals=self._goals(harmful),
            benign_goals=self._goals(benign),
        )

    def _chosen(self, rows: NDArray[np.bool_]) -> tuple[Encoded, ...]:
        return tuple(self.encoded[i] for i in np.flatnonzero(rows))

    def _goals(self, rows: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(self.items.groups[i] for i in np.flatnonzero(rows))


def _refusal_scores(reader: Reader, encoded: Sequence[Encoded]) -> NDArray[np.float64]:
    """Return the refusal score of every prompt; whole distributions are held of a few at a time."""
    return np.concatenate(
        [
            reader.scores(next_token(reader.model, encoded[start : start + _AT_ONCE]))
            for start in range(0, len(encoded), _AT_ONCE)
        ]
    )


def _check_enough(
    items: Items, split: str, positive: bool, kept: int, known: int, filtered: bool
) -> None:
    if kept >= _FEWEST or (split in (VAL, TEST) and known == 0):
        return
    name = _class(items, positive)
    if filtered and known >= _FEWEST:
        does = "are refused" if positive else "are not refused"
        raise DataError(
            f"Of {known} {name} prompts in {split} {kept} {does} by the model.",
            fix="Use a model that refuses, or filtered=False.",
        )
    raise DataError(f"There are {known} {name} prompts in {split}.", fix="Give more goals.")


def _class(items: Items, positive: bool) -> str:
    place = int(items.labels[items.positive == positive][0])
    return items.classes[place]
