"""Cells of style x harm: who stands in which, and how a number's variance splits over them.

Every cell weighs the same, however many prompts it holds, so that an unbalanced table does not mix
the two factors; in a balanced one the shares are the eta squared of a two-way analysis of variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, shown
from theodolite.data.styles import PLAIN
from theodolite.errors import DataError
from theodolite.measure.closed_form import Clusters
from theodolite.text.hashing import item_seed

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Bools = NDArray[np.bool_]

_CHUNK = 2_000_000  # resampled cell means held at once: 16 MB


@dataclass(frozen=True, eq=False)
class StyleDesign:
    """Which prompts stand in which cell, and which of them belong to one goal.

    Args:
        prompts: harmful and benign ones; each style goes around both.
        styles: the names of the styles, in order of appearance.
        style: the style of each prompt, int64, axis (prompt).
        harmful: axis (prompt).
        clusters: the goal (with its benign twin) of each prompt.
        held_out: styles that nothing was fitted on.
    """

    prompts: tuple[Prompt, ...]
    styles: tuple[str, ...]
    style: Rows
    harmful: Bools
    clusters: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        prompts: Sequence[Prompt],
        *,
        goals: Sequence[str] | None = None,
        held_out: Sequence[str] = (),
    ) -> StyleDesign:
        """Lay prompts out by style and harm.

        Args:
            prompts: labelled; bare ones count as the style "plain".
            goals: the group of each prompt; None takes its pair, or its goal.
            held_out: styles that nothing was fitted on; those that do not occur are left out.

        Raises: DataError: a prompt has no label, there are fewer than two styles, or a style goes
            around one class only.
        """
        names = tuple(prompt.style or PLAIN for prompt in prompts)
        styles = tuple(dict.fromkeys(names))
        if len(styles) < 2:
            raise DataError(
                f"The prompts stand in {len(styles)} style, and two or more are compared.",
                fix="Wrap them with `styled`.",
            )
        for prompt in prompts:
            if prompt.label not in (HARMFUL, BENIGN):
                raise DataError(
                    f"The prompt {shown(prompt.id)} is labelled neither harmful nor benign.",
                    fix="Label every prompt.",
                )
        filled = {(name, prompt.label) for name, prompt in zip(names, prompts, strict=True)}
        for name in styles:
            for label in (HARMFUL, BENIGN):
                if (name, label) not in filled:
                    raise DataError(
                        f"The style {shown(name)} goes around no {label} prompt, so what it adds "
                        "cannot be told from harm.",
                        fix="Put harmful requests and their benign twins into every style.",
                    )
        return cls(
            prompts=tuple(prompts),
            styles=styles,
            style=np.array([styles.index(name) for name in names], np.int64),
            harmful=np.array([prompt.label == HARMFUL for prompt in prompts]),
            clusters=tuple(goals or (p.pair_id or p.goal_id or p.id for p in prompts)),
            held_out=tuple(name for name in styles if name in set(held_out)),
        )

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def cell(self) -> Rows:
        """The cell of each prompt: benign ones by style, then harmful ones; axis (prompt)."""
        return np.asarray(self.harmful * len(self.styles) + self.style, np.int64)

    @property
    def fitted(self) -> Bools:
        """Whether a prompt stands in a style that fits may see; axis (prompt)."""
        return np.array([self.styles[s] not in self.held_out for s in self.style])

    def shuffled(self, seed: int, number: int) -> StyleDesign:
        """Return the design with styles exchanged among the prompts of one goal and class.

        Where each goal stands in one style only, they are exchanged among all of a class.
        """
        own = [f"{c}/{h}" for c, h in zip(self.clusters, self.harmful, strict=True)]
        blocks = Clusters.of(own, len(self))
        index = blocks.index if (blocks.sizes > 1).any() else self.harmful.astype(np.int64)
        drawn = np.random.default_rng(item_seed(seed, "styles", number)).random(len(self))
        style = self.style.copy()
        style[np.argsort(index, kind="stable")] = self.style[np.lexsort((drawn, index))]
        return replace(self, style=style)


@dataclass(frozen=True, eq=False)
class Split:
    """Shares of variance and means by cell; the leading axis is (resample), then (direction).

    Args:
        harm, style, both: share of the variance that harm, style and their interaction explain.
        means: of the projections, axes (resample, class: benign and harmful, style, direction).
        spread: standard deviation within a cell, all cells alike.
    """

    harm: Floats
    style: Floats
    both: Floats
    means: Floats
    spread: Floats

    @property
    def spurious(self) -> Floats:
        """What style explains of all that harm and style explain; NaN where they explain nothing.

        Source: ours; it asks whether a direction reads the request or its wrapper.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.style / (self.harm + self.style))

    @property
    def by_class(self) -> Floats:
        """How far each style lies above the mean of the others, in standard deviations.

        Returns: axes (resample, class, style, direction).
        """
        count = self.means.shape[2]
        others = (self.means.sum(2, keepdims=True) - self.means) / (count - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((self.means - others) / self.spread[:, None, None, :])

    @property
    def contrast(self) -> Floats:
        """The mean of `by_class` over both classes; axes (resample, style, direction)."""
        with np.errstate(invalid="ignore"):  # a resample of one goal has no spread
            return np.asarray(self.by_class.mean(1))


class Cells:
    """Sums of projections per goal and cell, from which any resample of the goals is split.

    Args:
        design: of the prompts.
        projections: axes (direction, prompt).

    Raises: DataError: they do not fit, or a projection is not finite.
    """

    def __init__(self, design: StyleDesign, projections: Floats) -> None:
        values = np.atleast_2d(np.asarray(projections, np.float64))
        if values.shape[1] != len(design):
            raise DataError(
                f"There are projections of {values.shape[1]} prompts, and {len(design)} prompts.",
                fix="Give one projection per direction and prompt.",
            )
        broken = np.argwhere(~np.isfinite(values))
        if len(broken):
            raise DataError(
                f"The projection of {shown(design.prompts[broken[0][1]].id)} is not finite.",
                fix="Leave the prompt out, or read its states again.",
            )
        self.groups = Clusters.of(design.clusters, len(design))
        self.directions, self.styles = len(values), len(design.styles)
        # A constant is no news; without it squares do not drown what varies.
        centred = values - values.mean(1, keepdims=True)
        self._offset = values.mean(1)
        place = self.groups.index * 2 * self.styles + design.cell
        self._counts = self._gathered(place, np.ones((1, len(design))))[..., 0]
        self._sums = self._gathered(place, centred)
        self._squares = self._gathered(place, centred**2)

    def _gathered(self, place: Rows, values: Floats) -> Floats:
        """Return sums per goal and cell, axes (goal, cell, direction)."""
        size = len(self.groups) * 2 * self.styles
        sums = np.stack([np.bincount(place, weights=row, minlength=size) for row in values], 1)
        shape = (len(self.groups), 2 * self.styles, len(values))
        return np.asarray(sums, np.float64).reshape(shape)

    def split(self, weights: Floats | None = None) -> Split:
        """Return the split of the goals as they are, or as often as weights say.

        Args:
            weights: how often each goal counts, axes (resample, goal). A resample that leaves a
                cell empty is NaN.
        """
        if weights is None:
            weights = np.ones((1, len(self.groups)))
        room = max(1, _CHUNK // (2 * self.styles * self.directions))
        parts = [self._part(weights[i : i + room]) for i in range(0, len(weights), room)]
        joined = (np.concatenate([getattr(p, name) for p in parts]) for name in _FIELDS)
        return Split(*joined)

    def _part(self, weights: Floats) -> Split:
        counts = weights @ self._counts
        with np.errstate(invalid="ignore", divide="ignore"):
            means, squares = (
                np.tensordot(weights, sums, axes=1) / counts[..., None]
                for sums in (self._sums, self._squares)
            )
        within = np.maximum(squares - means**2, 0.0).mean(1)
        table = means.reshape(len(weights), 2, self.styles, self.directions)
        grand = table.mean((1, 2))
        by_harm = ((table.mean(2) - grand[:, None]) ** 2).mean(1)
        by_style = ((table.mean(1) - grand[:, None]) ** 2).mean(1)
        between = ((table - grand[:, None, None]) ** 2).mean((1, 2))
        total = between + within
        with np.errstate(invalid="ignore", divide="ignore"):
            return Split(
                harm=by_harm / total,
                style=by_style / total,
                both=np.maximum(between - by_harm - by_style, 0.0) / total,
                means=table + self._offset,
                spread=np.sqrt(within),
            )


_FIELDS = ("harm", "style", "both", "means", "spread")
