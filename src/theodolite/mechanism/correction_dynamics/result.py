"""What was read along replies: curves by position, gaps by cut, and the tables made of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.correction_dynamics.figures import figures
from theodolite.mechanism.correction_dynamics.kinds import (
    BASE,
    GAP,
    KINDS,
    KL,
    MODEL,
    NAME,
    QUANTITIES,
    Floats,
    known,
)
from theodolite.mechanism.correction_dynamics.measures import band_frame, measurements, outcomes
from theodolite.mechanism.correction_dynamics.openings import OpeningTokens

if TYPE_CHECKING:
    from theodolite.runs.panel import Figure
    from theodolite.runs.run import Run

# The bands over which positions are averaged: the first words, the opening, the body.
EDGES: Final = (0, 5, 20, 100)


@dataclass(frozen=True, eq=False)
class Curves:
    """What one model says along the replies; NaN behind a reply's end and where a cut has no gap.

    Args:
        refusal_mass: probability of the first tokens of the listed refusals and triggers, summed;
            axes (row, position).
        reply_probability: of the reply's own next token, axes (row, position).
        log_odds: log P(best listed token) - log P(the reply's own), nats, axes (row, position).
        rank: tokens that are likelier than the best listed one, axes (row, position).
        gap: log P(trigger) less log P(the reply's next tokens), both per token, mean over
            triggers, nats, axes (row, cut).
    """

    refusal_mass: Floats
    reply_probability: Floats
    log_odds: Floats
    rank: Floats
    gap: Floats


@dataclass(frozen=True, eq=False)
class CorrectionDynamics:
    """Token-level dynamics along forced replies.

    Args:
        ids, labels, goals: one per row; labels are harmful and benign, rows of one request share a
            goal.
        lengths: tokens of each reply that were followed, axis (row).
        length: tokens that were to be followed; position t is what the model predicts given the
            request and t tokens of the reply, t = 0 to length - 1.
        cuts: tokens forced where the gap was read; index of the cut axis.
        longest: tokens of the longest trigger; a cut with fewer tokens left has no gap.
        names: of the model and, where there is one, of the base.
        model, base: what each says; base is None for one model.
        kl: KL(model || base) in nats, axes (row, position); None for one model.
        tokens: the listed tokens.
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    goals: tuple[str, ...]
    lengths: NDArray[np.int64]
    length: int
    cuts: tuple[int, ...]
    longest: int
    names: tuple[str, ...]
    model: Curves
    base: Curves | None
    kl: Floats | None
    tokens: OpeningTokens

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that have rows, harmful first."""
        return tuple(label for label in (HARMFUL, BENIGN) if label in self.labels)

    @property
    def bands(self) -> tuple[tuple[int, int], ...]:
        """The bands of positions, each from a first one up to and without a last one."""
        edges = [edge for edge in EDGES if edge < self.length] + [self.length]
        return tuple(pairwise(edges))

    def rows(self, label: str) -> list[int]:
        """Return the rows of a class."""
        return [row for row, own in enumerate(self.labels) if own == label]

    def of(self, who: str, quantity: str) -> Floats | None:
        """Return what the model or the base says, axes (row, position or cut); None without."""
        if quantity == KL:
            return self.kl if who == MODEL else None
        curves = self.model if who == MODEL else self.base
        found: Floats | None = None if curves is None else getattr(curves, quantity)
        return found

    def measurements(self) -> list[Measurement]:
        """Return means over rows in bands of positions and at some positions and cuts."""
        return measurements(self)

    def figures(self) -> list[Figure]:
        """Return the curves over position, with intervals, and the gap over cuts."""
        return figures(self)

    @cached_property
    def curves(self) -> dict[tuple[str, str, str], list[Measurement]]:
        """Mean by place, as (class, model or base, quantity) -> one per position or cut.

        Intervals are clustered by goal and hold one place at a time.
        """
        found = {}
        for label in self.classes:
            rows = self.rows(label)
            for who in (MODEL, BASE):
                for quantity in (*QUANTITIES, GAP, KL):
                    values = self.of(who, quantity)
                    if values is not None:
                        key = (label, who, quantity)
                        found[key] = self._curve(quantity, values[rows], rows)
        return found

    def _curve(self, quantity: str, values: Floats, rows: list[int]) -> list[Measurement]:
        kind, clusters = KINDS[quantity], [self.goals[row] for row in rows]
        return [
            mean(quantity, known(column), clusters=clusters, unit=kind.unit, range=kind.range)
            for column in values.T
        ]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per class, model and position: means over the replies that reach it."""
        return [
            {
                "class": label,
                "who": who,
                "position": position,
                "n": self.curves[label, who, "refusal_mass"][position].n,
                **self._cells(label, who, (*QUANTITIES, KL), position),
            }
            for label in self.classes
            for who in self._who()
            for position in range(self.length)
        ]

    def gap_frame(self) -> list[dict[str, Any]]:
        """Return one row per class, model and cut."""
        return [
            {
                "class": label,
                "who": who,
                "cut": cut,
                "n": self.curves[label, who, GAP][place].n,
                **self._cells(label, who, (GAP,), place),
            }
            for label in self.classes
            for who in self._who()
            for place, cut in enumerate(self.cuts)
        ]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return the tables of the report; they hold ids and numbers, no word of a reply."""
        return {
            f"{NAME}_bands": band_frame(self),
            NAME: self.frame(),
            f"{NAME}_gap": self.gap_frame(),
            f"{NAME}_tokens": self.tokens.frame(),
            f"{NAME}_outcomes": outcomes(self),
        }

    def _who(self) -> tuple[str, ...]:
        return (MODEL,) if self.base is None else (MODEL, BASE)

    def _cells(
        self, label: str, who: str, quantities: tuple[str, ...], place: int
    ) -> dict[str, float | None]:
        """Return value and interval of each quantity at one place."""
        cells: dict[str, float | None] = {}
        for quantity in quantities:
            curve = self.curves.get((label, who, quantity))
            one = curve[place] if curve is not None else None
            for end, name in (("value", ""), ("low", "_low"), ("high", "_high")):
                cells[f"{quantity}{name}"] = None if one is None else getattr(one, end)
        return cells

    def save(self, run: Run, name: str = NAME) -> None:
        """Write the arrays, the rows they belong to, the facts and the list into the run folder."""
        arrays: dict[str, Any] = {"lengths": self.lengths}
        for who, curves in ((MODEL, self.model), (BASE, self.base)):
            if curves is not None:
                arrays |= {f"{who}.{one}": getattr(curves, one) for one in (*QUANTITIES, GAP)}
        if self.kl is not None:
            arrays[KL] = self.kl
        run.save_tensors(name, arrays)
        rows = zip(self.ids, self.labels, self.goals, strict=True)
        run.save_table(f"{name}_rows", [dict(zip(("id", "label", "goal"), row)) for row in rows])
        facts = {fact: getattr(self, fact) for fact in _FACTS}
        tokens = {part: getattr(self.tokens, part) for part in _TOKENS}
        run.save_table(f"{name}_facts", [{**facts, "tokens": tokens}])

    @classmethod
    def load(cls, run: Run, name: str = NAME) -> Self:
        """Read what `save` wrote."""
        arrays = {key: np.asarray(value) for key, value in run.load_tensors(name).items()}
        rows = run.load_table(f"{name}_rows")
        (facts,) = run.load_table(f"{name}_facts")
        listed = facts["tokens"]
        curves = {
            who: Curves(**{one: arrays[f"{who}.{one}"] for one in (*QUANTITIES, GAP)})
            for who in (MODEL, BASE)
            if f"{who}.{GAP}" in arrays
        }
        return cls(
            ids=tuple(row["id"] for row in rows),
            labels=tuple(row["label"] for row in rows),
            goals=tuple(row["goal"] for row in rows),
            lengths=arrays["lengths"],
            length=facts["length"],
            cuts=tuple(facts["cuts"]),
            longest=facts["longest"],
            names=tuple(facts["names"]),
            model=curves[MODEL],
            base=curves.get(BASE),
            kl=arrays.get(KL),
            tokens=OpeningTokens(
                ids=tuple(listed["ids"]),
                texts=tuple(listed["texts"]),
                phrases=tuple(tuple(one) for one in listed["phrases"]),
                version=listed["version"],
            ),
        )


_FACTS: Final = ("length", "cuts", "longest", "names")
_TOKENS: Final = ("ids", "texts", "phrases", "version")
