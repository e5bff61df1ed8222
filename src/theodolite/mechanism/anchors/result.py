"""What a planted answer's path looks like: arrays by pair, and the figures made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement

NAME: Final = "anchors"
LEAST_EFFECT: Final = 0.1
"""Nats between both chats below which a share of the effect means nothing."""
SMALL: Final = f"the plant moves the slot by less than {LEAST_EFFECT} nats"
_FIXED: Final = "chosen on the very questions they are reported on: there are too few for halves"

Floats = NDArray[np.float64]
Shares = Sequence[float | None]


@dataclass(frozen=True, eq=False)
class AnchorResult:
    """Gaps (logit of gold less logit of the planted answer, nats) of every pair.

    Args:
        ids, clusters: of the pairs.
        fitted: whether heads and the direction were chosen on the pair; the others report them.
        lens: float64 (pair, chat, hidden_index); chat 0 is neutral, 1 attacked; the last
            hidden_index is the model's own gap.
        whole, later: (pair), all edges to the span cut, from the slot and from every later token.
        layers, single: (pair, layer), (pair, layer, head), edges from the slot cut.
        patches: (pair, layer, place), the neutral stream put into the attacked chat.
        mass, step_mass: float32 (pair, chat, layer, head), attention to the span.
        chosen: heads that do most when cut alone, strongest first.
        together: (pair), they are cut at once.
        random_heads, random_keys, random_keys_all: (pair, draw), controls of the same size.
        moved: float32 (pair, layer, d_model), attacked minus neutral stream at the prompt's end.
        patched_places: names of the place axis.
        least_mass: heads below it were not cut alone.
        left_out: why questions gave no pair.
    """

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    fitted: tuple[bool, ...]
    lens: Floats
    whole: Floats
    later: Floats
    layers: Floats
    single: Floats
    patches: Floats
    mass: NDArray[np.float32]
    step_mass: NDArray[np.float32]
    chosen: tuple[tuple[int, int], ...]
    together: Floats
    random_heads: Floats
    random_keys: Floats
    random_keys_all: Floats
    moved: NDArray[np.float32]
    patched_places: tuple[str, ...]
    least_mass: float
    left_out: Mapping[str, int]

    @property
    def neutral(self) -> Floats:
        """The model's gap with the filler, axis (pair)."""
        return self.lens[:, 0, -1]

    @property
    def attacked(self) -> Floats:
        """The model's gap with the wrong answer planted, axis (pair)."""
        return self.lens[:, 1, -1]

    @property
    def effect(self) -> Floats:
        """Neutral less attacked, axis (pair): above 0 the plant draws the slot to itself."""
        return np.asarray(self.neutral - self.attacked)

    @property
    def halves(self) -> bool:
        """Whether heads are reported on other questions than they were chosen on."""
        return not all(self.fitted)

    @property
    def reported(self) -> NDArray[np.bool_]:
        """The pairs that report what was chosen, axis (pair)."""
        return ~np.array(self.fitted) if self.halves else np.ones(len(self.ids), bool)

    @property
    def skipped(self) -> float:
        """The share of heads that were not cut one by one."""
        return float((self.mass[:, 1] < self.least_mass).mean())

    def shares(self, gap: Floats) -> Shares:
        """Return the normalised effect of each pair: 0 attacked, 1 neutral; None where too small.

        Args:
            gap: axis (pair), after something was done to the attacked chat.
        """
        return [
            float((value - attacked) / effect) if abs(effect) >= LEAST_EFFECT else None
            for value, attacked, effect in zip(gap, self.attacked, self.effect)
        ]

    def share(
        self, name: str, gap: Floats, floor: Floor | None = None, *, held_out: bool = False
    ) -> Measurement:
        """Return the mean normalised effect.

        Args:
            held_out: over the pairs that nothing was chosen on.
        """
        rows = self.reported if held_out else np.ones(len(self.ids), bool)
        values = [value for value, own in zip(self.shares(gap), rows) if own]
        return mean(
            f"{NAME}/{name}",
            values,
            clusters=[one for one, own in zip(self.clusters, rows) if own],
            unit="share of the effect",
            floor=floor,
            reasons=[SMALL if value is None else None for value in values],
            reason=_FIXED if held_out and not self.halves else None,
        )

    def control(self, name: str, gap: Floats, *, held_out: bool = False) -> Floor | None:
        """Return the mean normalised effect over draws as a floor; axes (pair, draw)."""
        if not gap.shape[1]:
            return None
        rows = self.reported if held_out else np.ones(len(self.ids), bool)
        values = [
            value
            for draw in gap.T
            for value, own in zip(self.shares(draw), rows)
            if own and value is not None
        ]
        return Floor(name, float(np.mean(values))) if values else None

    def measurements(self) -> list[Measurement]:
        """Return the effect of the plant and what carries it."""
        none = Floor("a plant that moves nothing", 0.0)
        draws = self.random_heads.shape[1]
        return [
            mean(
                f"{NAME}/effect",
                self.effect.tolist(),
                clusters=self.clusters,
                unit="nats",
                floor=none,
            ),
            self.share(
                "cut/all_heads",
                self.whole,
                self.control(
                    f"all heads cut from as many tokens at random ({draws} draws)",
                    self.random_keys_all,
                ),
            ),
            self.share("cut/all_later_tokens", self.later, Floor("nothing cut", 0.0)),
            self.share(
                "cut/chosen_heads",
                self.together,
                self.control(
                    f"as many heads at random ({draws} draws)", self.random_heads, held_out=True
                ),
                held_out=True,
            ),
            self.share(
                "cut/chosen_heads_beyond_place",
                self.together - self._mean_draw(self.random_keys) + self.attacked,
                Floor("no more than cutting tokens at random", 0.0),
                held_out=True,
            ),
            self.parting(),
            self.agreement(),
        ]

    def _mean_draw(self, gap: Floats) -> Floats:
        return gap.mean(1) if gap.shape[1] else self.attacked

    def parted(self) -> list[int | None]:
        """Return the first hidden_index from which both chats keep different winners, or None.

        Note: a lens reads noise in early blocks, so the sign has to differ up to the end.
        """
        differ = np.sign(self.lens[:, 0]) != np.sign(self.lens[:, 1])
        found: list[int | None] = []
        for row in differ:
            same = np.flatnonzero(~row)
            first = int(same[-1]) + 1 if len(same) else 0
            found.append(first if first < len(row) else None)
        return found

    def parting(self) -> Measurement:
        """Return the mean hidden_index from which the winner at the slot differs."""
        values = self.parted()
        return mean(
            f"{NAME}/lens/parting",
            [None if value is None else float(value) for value in values],
            clusters=self.clusters,
            unit="hidden_index",
            range=(0.0, float(self.lens.shape[2] - 1)),
            reasons=["both chats end with the same winner" if v is None else None for v in values],
            reason="a depth has no trivial floor",
        )

    def direction(self) -> tuple[int, Floats]:
        """Return the layer and the unit direction along which plants move the prompt's end.

        The mean of attacked minus neutral stream over the fitted pairs, after the block where their
        differences agree most (length of the mean by mean length).
        """
        own = self.moved[np.array(self.fitted)].astype(np.float64)
        middle = own.mean(0)
        length = np.linalg.norm(own, axis=2).mean(0)
        agree = np.linalg.norm(middle, axis=1) / np.maximum(length, 1e-12)
        layer = int(agree.argmax())
        vector = middle[layer]
        return layer, vector / max(float(np.linalg.norm(vector)), 1e-12)

    def agreement(self) -> Measurement:
        """Return the mean cosine of the other pairs' differences with the direction."""
        layer, unit = self.direction()
        rows = self.moved[self.reported, layer].astype(np.float64)
        cosines = rows @ unit / np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
        return mean(
            f"{NAME}/direction/agreement",
            np.clip(cosines, -1.0, 1.0).tolist(),
            clusters=[one for one, own in zip(self.clusters, self.reported) if own],
            unit="cosine",
            range=(-1.0, 1.0),
            floor=Floor("a random direction", 0.0),
            reason=None if self.halves else _FIXED,
        )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by pair, for the run folder."""
        names = ("lens", "whole", "later", "layers", "single", "patches", "mass", "step_mass")
        more = ("together", "random_heads", "random_keys", "random_keys_all", "moved")
        return {name: np.ascontiguousarray(getattr(self, name)) for name in (*names, *more)}
