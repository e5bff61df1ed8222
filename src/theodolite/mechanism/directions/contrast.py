"""Two classes of states with their labels, goals and splits: all that an estimator sees.

Traps this file exists for:
  - a goal in two splits lets a direction be tested on what it was fitted on; such a table is
    refused, and a split that is drawn keeps whole groups together;
  - an estimator reads `train`, chooses on `val` and never sees `test`: the parts travel with the
    states, so nobody has to remember.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.data.goal_splits import Placed, refuse_goals_in_two_splits
from theodolite.data.prompts import SPLITS, shown
from theodolite.errors import ConfigError, DataError, NumericsError
from theodolite.mechanism.probes.splits import make_splits
from theodolite.mechanism.states import read_states
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.items import Items
    from theodolite.mechanism.states import States
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
TRAIN, VAL, TEST = SPLITS
FEWEST: Final = 10
TEST_SHARE: Final = 0.3
VAL_SHARE: Final = 0.25  # of what is not tested


@dataclass(frozen=True, eq=False)
class Contrast:
    """States of a positive and a negative class at one position and several depths.

    Args:
        states: axes (prompt, hidden_index, d_model); float32 as they were read.
        labels: 1 for the positive class, else 0; axis (prompt).
        goals: what each prompt asks for; intervals are clustered by it.
        splits: train, val or test per prompt; a goal stands in one of them.
        prompt_ids: one per prompt.
        hidden_indices: of the states' axis; 0 is the embeddings.
        position: where the states were read.
        classes: names of the negative and the positive class.
        model: fingerprint of the model.
        shift: states of a tuned model less those of this one, axes as `states`; None without one.

    Raises:
        DataError: shapes do not fit, fewer than 10 prompts, one class alone, or a goal in two
            splits.
        NumericsError: a state is not finite.
    """

    states: NDArray[np.floating]
    labels: Labels
    goals: tuple[str, ...]
    splits: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    position: str = "prompt_last"
    classes: tuple[str, str] = ("negative", "positive")
    model: str = ""
    shift: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        _check_shapes(self)
        if len(self) < FEWEST or len(set(self.labels.tolist())) != 2:
            counts = np.bincount(self.labels, minlength=2)
            raise DataError(
                f"A contrast needs at least {FEWEST} prompts of two classes, and there are "
                f"{counts[1]} {shown(self.classes[1])} and {counts[0]} {shown(self.classes[0])}.",
                fix="Give more prompts, of both classes.",
            )
        placed = map(Placed, self.prompt_ids, self.goals, self.splits)
        refuse_goals_in_two_splits(placed, "The contrast")
        for values in (self.states, self.shift):
            if values is not None:
                _check_finite(values, self.prompt_ids, self.hidden_indices)

    @classmethod
    def of(
        cls,
        states: States,
        items: Items,
        *,
        position: str = "prompt_last",
        hidden_indices: Sequence[int] | None = None,
        tuned: States | None = None,
        splits: Sequence[str] | None = None,
        seed: int = 0,
    ) -> Self:
        """Take the states of two classes of items at one position.

        Args:
            states: must hold every item.
            items: of two classes; harmful ones (else the second class) are positive.
            hidden_indices: depths (default: all that were read, but those where all prompts have
                one state, as the embedding of a template's token).
            tuned: states of the tuned model on the same prompts, for the paired shift.
            splits: of the items (default: see `split_by_goal`).
            seed: of the split, where the prompts name none.

        Raises:
            ConfigError: the position or a depth was not read.
            DataError: see `Contrast`; or tuned and base states do not belong together.
        """
        positive = items.positive
        rows = states.rows(items.ids)
        wanted = _varying(rows, position) if hidden_indices is None else tuple(hidden_indices)
        values = _place(rows, wanted, position)
        shift = None
        if tuned is not None:
            _check_pair(states, tuned)
            shift = _place(tuned.rows(items.ids), wanted, position) - values
        first = int(items.labels[~positive][0]) if (~positive).any() else 0
        return cls(
            states=values,
            labels=positive.astype(np.int64),
            goals=items.groups,
            splits=split_by_goal(items, seed=seed) if splits is None else tuple(splits),
            prompt_ids=items.ids,
            hidden_indices=wanted,
            position=position,
            classes=(items.classes[first], items.classes[1 - first]),
            model=states.fingerprint,
            shift=shift,
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def d_model(self) -> int:
        """Width of the states."""
        return int(self.states.shape[2])

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Which prompts are of the positive class."""
        return np.asarray(self.labels == 1)

    def at(self, hidden_index: int) -> Floats:
        """Return the states at one depth, float64, axes (prompt, d_model)."""
        return np.asarray(self.states[:, self._place(hidden_index)], np.float64)

    def shift_at(self, hidden_index: int) -> Floats:
        """Return tuned less base states at one depth, float64, axes (prompt, d_model).

        Raises: DataError: there is no tuned model.
        """
        if self.shift is None:
            raise DataError(
                "This contrast holds one model, and a shift takes a base and a tuned one.",
                fix="Give the tuned model's states: Contrast.of(..., tuned=...).",
            )
        return np.asarray(self.shift[:, self._place(hidden_index)], np.float64)

    def has(self, split: str) -> bool:
        """Return whether a split holds prompts of both classes."""
        rows = np.array(self.splits) == split
        return len(set(self.labels[rows].tolist())) == 2

    def rows_of(self, split: str) -> NDArray[np.bool_]:
        """Return which prompts are in a split.

        Raises: DataError: it lacks a class.
        """
        if not self.has(split):
            raise DataError(
                f"The split {shown(split)} does not hold prompts of both classes.",
                fix="Give more goals, or other splits.",
            )
        return np.asarray(np.array(self.splits) == split)

    @property
    def fitting(self) -> NDArray[np.bool_]:
        """Which prompts an estimator may read: those of `train`."""
        return self.rows_of(TRAIN)

    @property
    def choosing(self) -> NDArray[np.bool_]:
        """Which prompts it may choose on: those of `val`, and of `train` where there are none."""
        return self.rows_of(VAL if self.has(VAL) else TRAIN)

    def halves(self, *, seed: int) -> tuple[Contrast, Contrast]:
        """Return two contrasts whose training goals are one half each of these.

        What the other half holds is out of reach, as `test` is: how far two estimates of one kind
        lie apart is how well one of them is known.

        Args:
            seed: of the draw; a goal's half does not depend on the others' order.
        """
        fitted = {goal for goal, split in zip(self.goals, self.splits) if split == TRAIN}
        order = sorted(fitted, key=lambda goal: item_seed(seed, "half", goal))
        first, second = (
            replace(
                self,
                splits=tuple(
                    TEST if split == TRAIN and goal not in half else split
                    for goal, split in zip(self.goals, self.splits, strict=True)
                ),
            )
            for half in (set(order[::2]), set(order[1::2]))
        )
        return first, second

    def relabelled(self, labels: Labels) -> Contrast:
        """Return the same states under other labels, e.g. shuffled ones."""
        return replace(self, labels=np.asarray(labels, np.int64))

    def narrowed(self, hidden_indices: Sequence[int]) -> Contrast:
        """Return the contrast at some of its depths.

        Raises: ConfigError: one was not read.
        """
        places = [self._place(hidden_index) for hidden_index in hidden_indices]
        return replace(
            self,
            states=self.states[:, places],
            shift=None if self.shift is None else self.shift[:, places],
            hidden_indices=tuple(hidden_indices),
        )

    def _place(self, hidden_index: int) -> int:
        if hidden_index not in self.hidden_indices:
            raise ConfigError(
                f"The contrast holds no hidden_index {hidden_index}.",
                fix=f"There is {', '.join(map(str, self.hidden_indices))}.",
            )
        return self.hidden_indices.index(hidden_index)


def read_contrasts(
    model: LanguageModel,
    items: Items,
    *,
    positions: Sequence[str] = ("prompt_last",),
    template: str = "auto",
    hidden_indices: Sequence[int] | None = None,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> dict[str, Contrast]:
    """Read the states of two classes once, and return a contrast for each position.

    Args:
        model: an open local model; active interventions act.
        items: of two classes.
        positions, template, hidden_indices, journal, progress: as for `read_states`.
        seed: of the split, where the prompts name none.

    Returns: position -> contrast, in the order asked.
    """
    states = read_states(
        model,
        items.prompts,
        positions=positions,
        template=template,
        hidden_indices=hidden_indices,
        journal=journal,
        progress=progress,
    )
    return {place: Contrast.of(states, items, position=place, seed=seed) for place in positions}


def split_by_goal(items: Items, *, seed: int = 0) -> tuple[str, ...]:
    """Return the split of each item: the prompts' own, or one drawn by whole groups.

    Args:
        seed: of the draw.

    Raises: DataError: some prompts name a split and others none, or too few groups are there.
    """
    named = [prompt.split for prompt in items.prompts]
    known = [split for split in named if split is not None]
    if len(known) == len(named):
        return tuple(known)
    if known:
        raise DataError(
            f"{len(known)} of {len(named)} prompts name a split.",
            fix="Give every prompt a split, or none.",
        )
    whole = make_splits(items, "group", repeats=1, seed=seed, test_share=TEST_SHARE)[0]
    found = np.full(len(items), TRAIN, dtype=object)
    found[whole.test] = TEST
    try:
        inner = make_splits(
            items.select(whole.train),
            "group",
            repeats=1,
            seed=item_seed(seed, "val"),
            test_share=VAL_SHARE,
        )[0]
        found[whole.train[inner.test]] = VAL
    except DataError:
        pass  # too few groups for a third part: what would be chosen on val is chosen on train
    return tuple(str(split) for split in found)


def _place(states: States, hidden_indices: Sequence[int], position: str) -> NDArray[np.float32]:
    """Return states at one position, axes (prompt, hidden_index, d_model)."""
    for hidden_index in hidden_indices:
        states.at(hidden_index, position)  # says what was not read
    layers = [states.hidden_indices.index(hidden_index) for hidden_index in hidden_indices]
    return states.values[:, layers, states.positions.index(position)]


def _varying(states: States, position: str) -> tuple[int, ...]:
    """Return the depths at which the prompts differ."""
    values = _place(states, states.hidden_indices, position)
    moving = (values != values[:1]).any((0, 2))
    return tuple(h for h, moves in zip(states.hidden_indices, moving, strict=True) if moves)


def _check_pair(base: States, tuned: States) -> None:
    for what, first, second in (
        ("template", base.template, tuned.template),
        ("width", str(base.values.shape[-1]), str(tuned.values.shape[-1])),
    ):
        if first != second:
            raise DataError(
                f"The {what} of {shown(base.model)} is {shown(first)}, and that of "
                f"{shown(tuned.model)} is {shown(second)}.",
                fix="A shift takes a base and a tuned model that read the same tokens.",
            )


def _check_shapes(contrast: Contrast) -> None:
    n = len(contrast.labels)
    shape = (n, len(contrast.hidden_indices))
    rows = {len(contrast.goals), len(contrast.splits), len(contrast.prompt_ids), n}
    tables = [t for t in (contrast.states, contrast.shift) if t is not None]
    if len(rows) != 1 or any(t.ndim != 3 or t.shape[:2] != shape for t in tables):
        raise DataError(
            f"The states of shape {contrast.states.shape} do not go with {n} labels, "
            f"{len(contrast.goals)} goals and {shape[1]} depths.",
            fix="Give states with axes (prompt, hidden_index, d_model), and one label per prompt.",
        )


def _check_finite(
    values: NDArray[np.floating], ids: Sequence[str], hidden_indices: Sequence[int]
) -> None:
    bad = np.argwhere(~np.isfinite(values).all(2))
    if len(bad):
        row, place = bad[0]
        raise NumericsError(
            f"The state of prompt {shown(ids[row])} at hidden_index {hidden_indices[place]} is not "
            "finite.",
            fix="Use dtype bfloat16 or float32, and read the states again.",
        )
