"""Paired states: the same prompts read by a model before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.data.goal_splits import refuse_leaking_prompts
from theodolite.data.prompts import HARMFUL, Prompt, shown
from theodolite.errors import DataError, NumericsError
from theodolite.mechanism.residual_space.goals import goal_groups, parts_of
from theodolite.mechanism.states import States, read_states
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.models.pair import ModelPair
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

Floats = NDArray[np.float64]
LEAST_PROMPTS = 10
RESIDUAL = "residual"


@dataclass(frozen=True, eq=False)
class PairedStates:
    """States of the same prompts under two conditions; what differs is the shift.

    Args:
        base: states before (of the base model); axes as in `States`.
        aligned: states after, rows and places in the same order.
        prompts: of the rows.
        goals: the group of each row, which no split may cut (see `goal_groups`).
        kind: "residual" for a model before and after training; a contrast within one model says
            which (see `contrast`).

    Raises:
        DataError: rows, positions, layers or templates of the two do not match, or a residual
            shift is of other prompts on one side.
        NumericsError: a state is not finite; names the layer and the prompt.
    """

    base: States
    aligned: States
    prompts: tuple[Prompt, ...]
    goals: tuple[str, ...]
    kind: str = RESIDUAL

    def __post_init__(self) -> None:
        one, other = self.base, self.aligned
        same = (
            one.values.shape == other.values.shape
            and one.positions == other.positions
            and one.hidden_indices == other.hidden_indices
            and len(self.prompts) == len(self.goals) == len(one.values)
        )
        if not same:
            raise DataError(
                "The two sets of states do not match in prompts, positions or layers.",
                fix="Read both at the same places.",
            )
        _check_alike(one, other, self.prompts if self.kind == RESIDUAL else None)
        for states in (one, other):
            _check_finite(states)

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def positions(self) -> tuple[str, ...]:
        """Names of the positions that were read."""
        return self.base.positions

    @property
    def hidden_indices(self) -> tuple[int, ...]:
        """The depths that were read; 0 is the embeddings."""
        return self.base.hidden_indices

    @property
    def prompt_ids(self) -> tuple[str, ...]:
        """The id of each row."""
        return tuple(prompt.id for prompt in self.prompts)

    @property
    def key(self) -> str:
        """Content key of all values."""
        return content_key("paired", self.kind, self.base.key, self.aligned.key, self.goals)

    @cached_property
    def harmful(self) -> NDArray[np.bool_]:
        """Which rows are of harmful prompts."""
        return np.array([prompt.label == HARMFUL for prompt in self.prompts])

    @cached_property
    def parts(self) -> tuple[str | None, ...]:
        """ "train", "test" or None (in neither) for each row."""
        return parts_of(self.prompts, self.goals)

    def shift(self, hidden_index: int, position: str) -> Floats:
        """Return aligned minus base at one place, float64, axes (prompt, d_model).

        Raises: ConfigError: the place was not read.
        """
        return self.aligned.at(hidden_index, position) - self.base.at(hidden_index, position)

    def part(self, name: str) -> PairedStates:
        """Return the rows to fit on (`train`) or to test on (`test`), goals kept whole.

        Raises: DataError: no row is in it.
        """
        chosen = [i for i, part in enumerate(self.parts) if part == name]
        if not chosen:
            raise DataError(
                f"No prompt is in the part {shown(name)}.", fix="Give prompts of more goals."
            )
        return self.select(chosen)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> PairedStates:
        """Return some rows, in the order given; goals stay as they were found among all."""
        chosen = [int(i) for i in rows]
        return replace(
            self,
            base=self.base.rows([self.base.prompt_ids[i] for i in chosen]),
            aligned=self.aligned.rows([self.aligned.prompt_ids[i] for i in chosen]),
            prompts=tuple(self.prompts[i] for i in chosen),
            goals=tuple(self.goals[i] for i in chosen),
        )

    def save(self, run: Run, name: str = "paired") -> None:
        """Write both sets of states, and facts of the prompts without their words."""
        self.base.save(run, f"{name}_base")
        self.aligned.save(run, f"{name}_aligned")
        rows = zip(self.prompts, self.goals, self.parts, strict=True)
        run.save_table(
            f"{name}_prompts",
            [
                {
                    "prompt_id": p.id,
                    "words": content_key(p.to_json()),
                    "label": p.label,
                    "style": p.style,
                    "goal": goal,
                    "part": part,
                    "kind": self.kind,
                }
                for p, goal, part in rows
            ],
        )

    @classmethod
    def load(cls, run: Run, prompts: Sequence[Prompt], name: str = "paired") -> Self:
        """Read what `save` wrote; the prompts' words come from the caller.

        Raises: DataError: the prompts are not those that were read.
        """
        rows = run.load_table(f"{name}_prompts")
        if [row["words"] for row in rows] != [content_key(p.to_json()) for p in prompts]:
            raise DataError(
                f"The prompts are not those whose states are stored as {shown(name)}.",
                fix="Give the same prompts in the same order, or collect again.",
            )
        return cls(
            base=States.load(run, f"{name}_base"),
            aligned=States.load(run, f"{name}_aligned"),
            prompts=tuple(prompts),
            goals=tuple(row["goal"] for row in rows),
            kind=rows[0]["kind"],
        )


def collect_pair(
    pair: ModelPair,
    prompts: Sequence[Prompt],
    *,
    positions: Sequence[str] = ("prompt_last",),
    template: str = "auto",
    hidden_indices: Sequence[int] | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> PairedStates:
    """Read the states of prompts in both models of a pair.

    Args:
        pair: two open models; active interventions act.
        prompts: labelled; at least 10, of two classes.
        positions: `prompt_last` reads refusal best, `instruction_last` harm (see `read_states`).
        template, hidden_indices, journal, progress: as for `read_states`.

    Returns: states of both; below the first adapted layer they are equal to the last bit.

    Raises:
        DataError: too few prompts, one class only, a goal in two splits, a prompt that is longer
            than the context, or an id that occurs twice.
        CapabilityError, ConfigError, NumericsError: as for `read_states`.

    Note: one pass over the base and one over the aligned model, none of them deeper than the
        deepest place asked for; the second is spared where nothing asked for was adapted.
    """
    rows = tuple(prompts)
    if len(rows) < LEAST_PROMPTS:
        raise DataError(
            f"There are {len(rows)} prompts, and a space needs {LEAST_PROMPTS}.",
            fix="Give more prompts.",
        )
    refuse_leaking_prompts(rows)
    goals = goal_groups(rows)

    def read(model: LanguageModel, indices: Sequence[int] | None) -> States:
        return read_states(
            model,
            rows,
            positions=positions,
            template=template,
            hidden_indices=indices,
            journal=journal,
            progress=progress,
        )

    base = read(pair.base, hidden_indices)
    deeper = [h for h in base.hidden_indices if h > pair.same_until]
    aligned = replace(
        base,
        model=pair.aligned.name,
        fingerprint=pair.aligned.fingerprint,
        key=content_key("states shared", base.key, pair.aligned.fingerprint),
    )
    if deeper:
        own = read(pair.aligned, deeper)
        same = base.values[:, : len(base.hidden_indices) - len(deeper)]
        values = np.concatenate([same, own.values], axis=1) if same.size else own.values
        key = content_key("states joined", aligned.key, own.key)
        aligned = replace(aligned, values=values, key=key)
    return PairedStates(base, aligned, rows, goals)


def _check_alike(one: States, other: States, prompts: Sequence[Prompt] | None) -> None:
    """Refuse states of other renderings, or, where both are of the same prompts, of other ones.

    Raises: DataError: names both sides.
    """
    if one.template != other.template:
        raise DataError(
            f"The states of {shown(one.model)} were read with the template choice "
            f"{shown(one.template)}, those of {shown(other.model)} with {shown(other.template)}.",
            fix="Read both with the same template.",
        )
    if prompts is None:
        return
    for row, (first, second, prompt) in enumerate(
        zip(one.prompt_ids, other.prompt_ids, prompts, strict=True)
    ):
        if not first == second == prompt.id:
            raise DataError(
                f"Row {row} is prompt {shown(first)} in the states of {shown(one.model)}, "
                f"{shown(second)} in those of {shown(other.model)}, and {shown(prompt.id)} among "
                "the prompts.",
                fix="Read both models on the same prompts, in the same order.",
            )


def _check_finite(states: States) -> None:
    """Refuse NaN and infinity.

    Raises: NumericsError: names the layer and the prompt.
    """
    good = np.isfinite(states.values).all(axis=(2, 3))
    if not good.all():
        row, layer = np.argwhere(~good)[0]
        raise NumericsError(
            f"The state of prompt {shown(states.prompt_ids[row])} at hidden_index "
            f"{states.hidden_indices[layer]} of {shown(states.model)} is not finite.",
            fix="Use dtype bfloat16 or float32, and check the adapter.",
        )
