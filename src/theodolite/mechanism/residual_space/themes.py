"""Themes: what prompts have in common that a direction may read, and how well it tells them apart.

A theme is harm, a style, or a category. It is compared stratum by stratum with everything else
held alike: harm within each style, a style within each class, a category within each style and
class. So a direction that reads harm does not seem to read the styles, and the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.bootstrap import expanded_tail, resample_weights
from theodolite.measure.closed_form import Clusters
from theodolite.mechanism.residual_space.style_cells import Bools, Floats, Rows, StyleDesign
from theodolite.text.hashing import item_seed

Kind = Literal["harm", "style", "category"]

RESAMPLES: Final = 1000
# A category of fewer goals says more of these goals than of the category.
_FEWEST_GOALS: Final = 2


class Bounded(NamedTuple):
    """Numbers with the ends of their intervals; NaN where there is none."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class Theme:
    """What some prompts have in common.

    Args:
        kind: harm, style or category.
        name: of the style or category; "harm" for harm.
        inside: which prompts have it, axis (prompt).
        strata: prompts are compared with those of their own stratum only, int64, axis (prompt).
    """

    kind: Kind
    name: str
    inside: Bools
    strata: Rows

    @property
    def words(self) -> str:
        """What prompts of the theme are called."""
        return {"harm": "harmful", "style": self.name, "category": self.name}[self.kind]

    def parts(self) -> list[tuple[Rows, Rows]]:
        """Return the prompts inside and outside of each stratum that has both."""
        found = []
        for stratum in np.unique(self.strata):
            own = self.strata == stratum
            inside, outside = np.flatnonzero(own & self.inside), np.flatnonzero(own & ~self.inside)
            if len(inside) and len(outside):
                found.append((inside, outside))
        return found


def themes_of(design: StyleDesign) -> list[Theme]:
    """Return harm, every style and every category of the prompts."""
    harm = Theme("harm", "harm", design.harmful, design.style)
    by_class = design.harmful.astype(np.int64)
    styles = [
        Theme("style", name, np.asarray(design.style == i), by_class)
        for i, name in enumerate(design.styles)
    ]
    return [harm, *styles, *_categories(design)]


def _categories(design: StyleDesign) -> list[Theme]:
    own = [prompt.category for prompt in design.prompts]
    goals: dict[str, set[str]] = {}
    for name, cluster in zip(own, design.clusters, strict=True):
        if name is not None:
            goals.setdefault(name, set()).add(cluster)
    names = [name for name, found in goals.items() if len(found) >= _FEWEST_GOALS]
    if len(goals) < 2:
        return []
    return [
        Theme("category", name, np.array([other == name for other in own]), design.cell)
        for name in names
    ]


def standardised(themes: Sequence[Theme], projections: Floats, spread: Floats) -> Floats:
    """Return how far the prompts of each theme lie above the others of their strata.

    Args:
        projections: axes (direction, prompt).
        spread: standard deviation within a cell, axis (direction).

    Returns: the mean over strata of the difference of means, in standard deviations; axes
        (theme, direction).
    """
    weights = np.stack([_differences(theme) for theme in themes])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(weights @ projections.T / spread)


def _differences(theme: Theme) -> Floats:
    """Return the weights under which a sum over prompts is the mean difference, axis (prompt)."""
    parts = theme.parts()
    weights = np.zeros(len(theme.inside))
    for inside, outside in parts:
        weights[inside] += 1 / (len(inside) * len(parts))
        weights[outside] -= 1 / (len(outside) * len(parts))
    return weights


def ranked(
    theme: Theme,
    projections: Floats,
    clusters: Sequence[str],
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Bounded:
    """Return how often a prompt of the theme projects higher than another one of its stratum.

    Args:
        projections: axes (direction, prompt).
        clusters: the goal of each prompt; whole goals are drawn, both prompts of a pair alike.
        seed, level, resamples: of the bootstrap.

    Returns: the AUROC, the mean over strata, equal projections counting half; axis (direction).
        NaN where no stratum has prompts of both kinds.

    Note: pairs are counted once per pair of goals, so all resamples of a direction and stratum cost
        one product of matrices.
    """
    groups = Clusters.of(clusters, len(clusters))
    parts = theme.parts()
    if not parts:
        nothing = np.full(len(projections), np.nan)
        return Bounded(nothing, nothing, nothing)
    chunks = resample_weights(
        Clusters.of(None, len(groups)), seed=item_seed(seed, "ranked"), resamples=resamples
    )
    # The goals as they are come first.
    weights = np.concatenate([np.ones((1, len(groups))), *chunks])
    found = np.stack([_shares(row, parts, groups, weights) for row in projections], 1)
    if len(groups) < 2:
        nothing = np.full(len(projections), np.nan)
        return Bounded(found[0], nothing, nothing)
    return Bounded(found[0], *quantile_ends(found[1:], expanded_tail(groups, level)))


def _shares(
    row: Floats, parts: Sequence[tuple[Rows, Rows]], groups: Clusters, weights: Floats
) -> Floats:
    """Return the share of pairs won, the mean over strata, under weights of goals.

    Args:
        row: projections, axis (prompt).
        weights: how often each goal counts, axes (resample, goal).

    Returns: axis (resample); strata that a resample leaves without prompts of a kind do not count.
    """
    shares = []
    for inside, outside in parts:
        above = np.sign(row[inside][:, None] - row[outside][None]) / 2 + 0.5
        first, second = _members(inside, groups), _members(outside, groups)
        won, count = first.T @ above @ second, np.outer(first.sum(0), second.sum(0))
        wins, pairs = (((weights @ table) * weights).sum(1) for table in (won, count))
        with np.errstate(invalid="ignore", divide="ignore"):
            shares.append(wins / pairs)
    table = np.stack(shares)
    known = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, table, 0.0).sum(0) / known.sum(0))


def _members(rows: Rows, groups: Clusters) -> Floats:
    """Return which prompt belongs to which goal, 0 or 1, axes (prompt, goal)."""
    found = np.zeros((len(rows), len(groups)))
    found[np.arange(len(rows)), groups.index[rows]] = 1.0
    return found


def quantile_ends(draws: NDArray[np.float64], tail: float) -> tuple[Floats, Floats]:
    """Return the ends of intervals over the first axis of resamples, NaN where they do not vary."""
    known = np.isfinite(draws)
    enough = known.mean(0) >= 0.9
    filled = np.where(known, draws, np.nan)
    with np.errstate(invalid="ignore"):
        low = np.full(draws.shape[1:], np.nan)
        high = low.copy()
        if enough.any():
            ends = np.nanquantile(filled[:, enough], (tail, 1 - tail), axis=0)
            low[enough], high[enough] = ends
    flat = ~(high > low)
    low[flat] = high[flat] = np.nan
    return low, high
