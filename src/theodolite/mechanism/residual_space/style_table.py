"""Does a direction read the request, or the wrapper it comes in? The style x harm table.

Every style goes around harmful requests and around their benign twins alike. So the variance of a
projection splits into what harm explains, what style explains, and what only both together do. A
direction that was learnt as "harm" and has a spurious index near 1 reads the wrapper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from theodolite.errors import DataError
from theodolite.measure.bootstrap import expanded_tail, resample_weights
from theodolite.measure.closed_form import Clusters
from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.residual_space.scores import areas
from theodolite.mechanism.residual_space.style_cells import Cells, Floats, Split, StyleDesign
from theodolite.mechanism.residual_space.themes import (
    RESAMPLES,
    Bounded,
    quantile_ends,
    ranked,
    themes_of,
)
from theodolite.text.hashing import item_seed

METHOD_VERSION: Final = 2
SHUFFLES: Final = 200
# A floor is what chance exceeds once in twenty draws.
FLOOR: Final = 0.95
METHOD: Final = "expanded percentile bootstrap"


@dataclass(frozen=True, eq=False)
class StyleTable:
    """What explains the projections on some directions: harm, style, or both together.

    Args:
        design: which prompts were looked at.
        names, hidden_indices: of the directions.
        harm, style, both: shares of variance (eta squared), axis (direction).
        spurious: style / (harm + style), axis (direction).
        means: of the projections, axes (class: benign and harmful, style, direction).
        contrast: how far a style lies above the others, in standard deviations within a cell, the
            mean of both classes; axes (style, direction).
        by_class: the same in each class, axes (class, style, direction).
        harm_auroc: how often a harmful prompt lies further to its side than a benign one in the
            same style, the mean over styles; axis (direction).
        harm_by_style: the same in each style, axes (style, direction).
        auroc: how often a prompt in a style projects higher than one of its class in another
            style, axes (style, direction).
        p: chance of such a contrast under shuffled styles, over all styles and directions at once
            (max-T); axes (style, direction).
        shuffled: `style` that shuffled styles exceed once in twenty draws, axis (direction).
        random: what random directions of the same depth reach, by name of the figure, axis
            (direction): the 95th percentile, for `spurious` the median, for `harm_auroc` whichever
            way they point; empty without draws.
        n_random, n_shuffles: draws behind the floors.
        level: of the intervals.
    """

    design: StyleDesign
    names: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    harm: Bounded
    style: Bounded
    both: Bounded
    spurious: Bounded
    means: Floats
    contrast: Bounded
    by_class: Floats
    harm_auroc: Bounded
    harm_by_style: Floats
    auroc: Bounded
    p: Floats
    shuffled: Floats
    random: Mapping[str, Floats]
    n_random: int
    n_shuffles: int
    level: float

    def place(self, name: str) -> int:
        """Return where a direction stands.

        Raises: DataError: the table has no such direction.
        """
        if name not in self.names:
            raise DataError(
                f"The style table has no direction {name}.", fix="Ask for one of its names."
            )
        return self.names.index(name)

    def measurements(self, name: str) -> list[Measurement]:
        """Return the shares of one direction with their floors."""
        at = self.place(name)
        shared: dict[str, Any] = {
            "n": len(self.design),
            "n_clusters": len(set(self.design.clusters)),
            "level": self.level,
            "range": (0.0, 1.0),
        }
        return [
            _measurement(f"residual_space/{name}/{words}", found, at, self._floor(key, at), shared)
            for key, words, found in (
                ("harm", "variance by harm", self.harm),
                ("style", "variance by style", self.style),
                ("both", "variance by harm and style together", self.both),
                ("spurious", "spurious index", self.spurious),
                ("harm_auroc", "harmful_auroc_within_styles", self.harm_auroc),
            )
        ]

    def _floor(self, key: str, at: int) -> Floor | None:
        if key not in self.random:
            return None
        value = float(self.random[key][at])
        what = "median" if key == "spurious" else "95th percentile"
        words = f"random directions of the same depth, {what}"
        return Floor(words, value) if np.isfinite(value) else None

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per direction."""
        return [
            {
                "direction": name,
                "hidden_index": self.hidden_indices[at],
                **_bounded("eta2_harm", self.harm, at),
                **_bounded("eta2_style", self.style, at),
                **_bounded("eta2_both", self.both, at),
                **_bounded("spurious_index", self.spurious, at),
                **_bounded("harm_auroc", self.harm_auroc, at),
                "style_floor_shuffled": _number(self.shuffled[at]),
                **{
                    f"{key}_floor_random": _number(values[at])
                    for key, values in self.random.items()
                },
            }
            for at, name in enumerate(self.names)
        ]

    def contrasts(self) -> list[dict[str, Any]]:
        """Return one row per direction and style."""
        rows = []
        for at, name in enumerate(self.names):
            for s, style in enumerate(self.design.styles):
                row = {
                    "direction": name,
                    "hidden_index": self.hidden_indices[at],
                    "style": style,
                    "held_out": style in self.design.held_out,
                    "mean_harmful": _number(self.means[1, s, at]),
                    "mean_benign": _number(self.means[0, s, at]),
                    **_bounded("contrast", self.contrast, (s, at)),
                    "contrast_harmful": _number(self.by_class[1, s, at]),
                    "contrast_benign": _number(self.by_class[0, s, at]),
                    **_bounded("auroc", self.auroc, (s, at)),
                    "harm_auroc": _number(self.harm_by_style[s, at]),
                    "p_adjusted": _number(self.p[s, at]),
                }
                if "contrast" in self.random:
                    row["contrast_floor_random"] = _number(self.random["contrast"][at])
                rows.append(row)
        return rows


def style_table(
    design: StyleDesign,
    projections: Floats,
    names: Sequence[str],
    hidden_indices: Sequence[int],
    *,
    random: Mapping[int, Floats] | None = None,
    sides: Floats | None = None,
    seed: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    shuffles: int = SHUFFLES,
) -> StyleTable:
    """Split what projects on each direction into harm, style and both, with floors.

    Source: ours.

    Args:
        design: of the prompts; every style goes around harmful and benign ones.
        projections: axes (direction, prompt), in the order of the design's prompts.
        names, hidden_indices: of the directions.
        random: projections on random directions by hidden_index, axes (draw, prompt); None leaves
            these floors out.
        sides: 1 or -1, on which side of each direction harmful prompts lie, as other prompts say;
            axis (direction). None: they project higher.
        seed: of resamples and shuffles.
        level: of the intervals, which are clustered by goal.
        resamples, shuffles: how many.

    Returns: shares and contrasts; NaN where the projection is constant, or too few goals speak.

    Raises: DataError: projections do not fit or are not finite.

    Note: shares of variance are above 0 by chance alone; `shuffled` and `random` say by how much.
        Styles are shuffled among the prompts of one goal and class, so that neither topics nor
        harm are.
    """
    values = np.atleast_2d(np.asarray(projections, np.float64))
    cells = Cells(design, values)
    own = cells.split()
    draws, tail = _resampled(cells, seed, level, resamples)
    by_chance = [Cells(design.shuffled(seed, i), values).split() for i in range(shuffles)]
    turned = values if sides is None else values * np.asarray(sides)[:, None]
    harm_auroc, auroc = _ranked(design, turned, values, seed, level, resamples)
    depths = np.asarray(hidden_indices)
    return StyleTable(
        design=design,
        names=tuple(names),
        hidden_indices=tuple(int(h) for h in hidden_indices),
        harm=_with_ends(own.harm, draws.harm, tail),
        style=_with_ends(own.style, draws.style, tail),
        both=_with_ends(own.both, draws.both, tail),
        spurious=_with_ends(own.spurious, draws.spurious, tail),
        means=own.means[0],
        contrast=_with_ends(own.contrast, draws.contrast, tail),
        by_class=own.by_class[0],
        harm_auroc=harm_auroc,
        harm_by_style=within_styles(design, turned),
        auroc=auroc,
        p=_adjusted(own.contrast[0], np.stack([one.contrast[0] for one in by_chance])),
        shuffled=np.quantile(np.stack([one.style[0] for one in by_chance]), FLOOR, axis=0),
        random=_random_floors(design, random, depths),
        n_random=0 if not random else min(len(drawn) for drawn in random.values()),
        n_shuffles=shuffles,
        level=level,
    )


def within_styles(design: StyleDesign, values: Floats) -> Floats:
    """Return the AUROC for harm in each style, axes (style, direction).

    Args:
        values: projections, axes (direction, prompt).
    """
    rows = [np.flatnonzero(design.style == s) for s in range(len(design.styles))]
    return np.stack([areas(values[:, own].T, design.harmful[own]) for own in rows])


def _resampled(cells: Cells, seed: int, level: float, resamples: int) -> tuple[Split, float | None]:
    """Return the splits of resampled goals, and the tail at which intervals end."""
    goals = len(cells.groups)
    weights = resample_weights(
        Clusters.of(None, goals), seed=item_seed(seed, "style table"), resamples=resamples
    )
    tail = expanded_tail(cells.groups, level) if goals > 1 else None
    return cells.split(np.concatenate(list(weights))), tail


def _ranked(
    design: StyleDesign, turned: Floats, values: Floats, seed: int, level: float, resamples: int
) -> tuple[Bounded, Bounded]:
    """Return the AUROCs for harm, axis (direction), and for each style, axes (style, direction).

    Args:
        turned, values: projections, axes (direction, prompt); for harm turned to its side.
    """
    harm, *styles = [
        ranked(
            *(theme, turned if theme.kind == "harm" else values, design.clusters),
            seed=item_seed(seed, theme.kind, theme.name),
            level=level,
            resamples=resamples,
        )
        for theme in themes_of(design)
        if theme.kind != "category"
    ]
    return harm, Bounded(*(np.stack([one[i] for one in styles]) for i in range(3)))


def _with_ends(value: Floats, draws: Floats, tail: float | None) -> Bounded:
    own = np.asarray(value[0], np.float64)
    if tail is None:
        return Bounded(own, np.full_like(own, np.nan), np.full_like(own, np.nan))
    return Bounded(own, *quantile_ends(draws, tail))


def _adjusted(contrast: Floats, shuffled: Floats) -> Floats:
    """Return how often the largest shuffled contrast reaches each of the real ones.

    Args:
        contrast: axes (style, direction).
        shuffled: axes (shuffle, style, direction).
    """
    largest = np.nanmax(np.abs(np.nan_to_num(shuffled)), axis=(1, 2))
    reached = (largest[:, None, None] >= np.abs(contrast) - 1e-12).sum(0)
    p = (1 + reached) / (1 + len(largest))
    return np.asarray(np.where(np.isfinite(contrast), p, np.nan))


def _random_floors(
    design: StyleDesign, random: Mapping[int, Floats] | None, depths: Floats
) -> dict[str, Floats]:
    """Return what random directions reach at the depth of each direction, axis (direction)."""
    if not random:
        return {}
    by_depth = {}
    for depth in np.unique(depths):
        drawn = random[int(depth)]
        own, told = Cells(design, drawn).split(), within_styles(design, drawn).mean(0)
        largest = np.abs(own.contrast[0]).max(0)
        by_depth[int(depth)] = {
            "harm": np.nanquantile(own.harm, FLOOR),
            "style": np.nanquantile(own.style, FLOOR),
            "both": np.nanquantile(own.both, FLOOR),
            "spurious": np.nanmedian(own.spurious),
            "contrast": np.nanquantile(largest, FLOOR),
            "harm_auroc": 0.5 + np.quantile(np.abs(told - 0.5), FLOOR),
        }
    names = next(iter(by_depth.values()))
    return {name: np.array([float(by_depth[int(h)][name]) for h in depths]) for name in names}


def _measurement(
    name: str, found: Bounded, at: int, floor: Floor | None, shared: Mapping[str, Any]
) -> Measurement:
    value, low, high = (_number(end[at]) for end in found)
    if value is None:
        return Measurement(
            name,
            None,
            "share",
            shared["n"],
            status="not_measured",
            reason="every prompt projects alike on the direction",
        )
    missing = None if floor else "no floor: no random directions were drawn"
    return Measurement(
        name,
        value,
        "auroc" if "auroc" in name else "share",
        low=low,
        high=high,
        method=None if low is None else METHOD,
        floor=floor,
        reason=missing if low is not None else "no interval: too few goals, or resamples alike",
        **shared,
    )


def _bounded(name: str, found: Bounded, at: int | tuple[int, int]) -> dict[str, float | None]:
    ends = (_number(end[at]) for end in found)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends))


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
