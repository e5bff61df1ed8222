"""Tables and the figure of a graft sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.runs.figures import FloorLine, Series, curve_by_layer
from theodolite.runs.panel import Figure
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.mechanism.graft.result import GraftResult

CURVES = {
    "mean": "mean state of the donors",
    "fixed": "state of one donor",
    "matched": "donor of like length",
    "same_class": "another state of the class",
    "random_step": "random step of the same size",
}


def frame(result: GraftResult) -> list[dict[str, Any]]:
    """Return one row per donor and hidden_index."""
    return [
        _row(result, donor, depth, index)
        for donor in result.donors
        for depth, index in enumerate(result.hidden_indices)
    ]


def _row(result: GraftResult, donor: str, depth: int, index: int) -> dict[str, Any]:
    effect, kl = result.effect(donor, index), result.divergence(donor, index)
    flips = result.flips(donor, index)
    refusing = result.refusing[depth, result.donors.index(donor)]
    row = {
        "donor": donor,
        "hidden_index": index,
        "layer": max(index - 1, 0),
        "site": "resid_post" if index else "resid_pre",
        "change": effect.value,
        "low": effect.low,
        "high": effect.high,
        "n": effect.n,
        "n_clusters": effect.n_clusters,
        "kl": kl.value,
        "kl_low": kl.low,
        "kl_high": kl.high,
        "refusing": float(np.nanmean(refusing)) if effect.n else None,
        "flipped": flips.value,
        "flipped_low": flips.low,
        "flipped_high": flips.high,
        "n_refusing": flips.n,
        "own_error": float(result.own_error[depth]),
    }
    every = len(result.hidden_indices) * len(result.controls)
    for control in result.controls:
        if donor in result.controls:
            continue
        one = result.over(donor, control, index)
        wide = result.over(donor, control, index, at_once=every)
        name = f"over_{control}"
        row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        row |= {f"{name}_all_low": wide.low, f"{name}_all_high": wide.high}
    return row


def rows(result: GraftResult) -> list[dict[str, Any]]:
    """Return one row per recipient, donor and hidden_index."""
    return [
        {
            "recipient": prompt,
            "donor": donor,
            "source": result.sources[donor][item],
            "hidden_index": index,
            "layer": max(index - 1, 0),
            "mode": result.mode,
            "alpha": result.alpha,
            "window": result.window,
            "change": or_none(result.change[depth, place, item]),
            "p_refusal_open": or_none(result.refusing[depth, place, item]),
            "p_refusal_open_intact": float(result.intact_refusing[item]),
            "kl": or_none(result.kl[depth, place, item]),
            "first_token": escape(result.words[int(result.top[depth, place, item])]),
            "first_token_intact": escape(result.words[int(result.intact_top[item])]),
            "flipped": bool(result.flipped[depth, place, item]) if refused else None,
        }
        for depth, index in enumerate(result.hidden_indices)
        for place, donor in enumerate(result.donors)
        for item, (prompt, refused) in enumerate(
            zip(result.prompt_ids, result.refused, strict=True)
        )
    ]


def figure(result: GraftResult) -> Figure:
    """Return the change of the log-odds over the depth, one curve per donor.

    Note: the random vector leaves the range of streams, so it is drawn as a floor without a band.
    """
    series, floors = [], [FloorLine("no change", 0.0)]
    for donor in result.donors:
        found = [result.effect(donor, index) for index in result.hidden_indices]
        values = [m.value for m in found]
        if donor == "random":
            floors.append(FloorLine("random vector", values))
        else:
            low, high = [m.low for m in found], [m.high for m in found]
            series.append(Series(CURVES[donor], list(result.hidden_indices), values, low, high))
    spec = curve_by_layer(
        series, y_title="change of the log-odds against a refusal", unit="nats", floors=floors
    )
    caption = (
        f"The last token's stream changed at one depth ({_how(result)}), {len(result.prompt_ids)} "
        f"recipients ({len(set(result.clusters))} goals), token lists: {escape(result.classes)}. "
        "Above 0 the first token is friendlier than intact. Bands: 95 % intervals by goal, one "
        f"depth at a time. An own state changes {result.own_error.max():.0e} at most. 0 on the "
        "axis is the embeddings."
    )
    return Figure("graft", "What a friendly state changes", caption, spec, "graft")


def _how(result: GraftResult) -> str:
    share = f", {result.alpha:g} of the way" if result.mode == "interpolate" else ""
    wide = f", {result.window} depths at once" if result.window > 1 else ""
    return f"{result.mode}{share}{wide}"


def or_none(value: float) -> float | None:
    """Return a number, or None for one that is not finite."""
    return float(value) if np.isfinite(value) else None
