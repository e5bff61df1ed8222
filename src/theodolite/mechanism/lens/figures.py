"""Figures of the logit lens: tokens per layer and class, e_l by class, and the gap between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from theodolite.mechanism.lens.consistency import NO_TOKEN, topk_consistency
from theodolite.runs.figures import FloorLine, Series, curve_by_layer, heatmap, plain
from theodolite.runs.panel import Figure
from theodolite.text.display import escape, truncate

if TYPE_CHECKING:
    from theodolite.mechanism.lens.emotion_curve import EmotionCurve
    from theodolite.mechanism.lens.logit_lens import LensResult

_TOKENS_SHOWN = 3
_TOKEN_WIDTH = 12
_MOST_ROWS = 44
_ROW_HEIGHT = 17
# Signs, not colours: the colour already says how many prompts show the token.
_SIGNS = {"positive": "+ ", "negative": "− ", None: "", "neutral": ""}


def lens_map(lenses: Mapping[str, LensResult]) -> Figure:
    """Return the tokens that most prompts of each class point to, per layer.

    Args:
        lenses: class -> lens on its prompts, all put at the same layers.

    Note: layers run upwards and tokens sideways, where words have room; deep networks show every
        second or third layer, counted from the last.
    """
    anyone = next(iter(lenses.values()))
    step = -(-len(anyone.hidden_indices) // _MOST_ROWS)
    shown = range(len(anyone.hidden_indices))[::-1][::step][::-1]
    k, top = anyone.k, min(_TOKENS_SHOWN, anyone.k)
    columns: list[str] = []
    shares: list[list[float | None]] = [[] for _ in shown]
    words: list[list[str]] = [[] for _ in shown]
    for name, lens in lenses.items():
        found = topk_consistency(lens, layers=lens.hidden_indices, k=k, top=top)
        columns += [f"{name}, {rank + 1}" for rank in range(top)]
        for row, h in enumerate(shown):
            for token, count in zip(found.tokens[h].tolist(), found.counts[h].tolist()):
                known = token != NO_TOKEN
                shares[row].append(count / len(lens.prompt_ids) if known else None)
                words[row].append(_word(lens, token) if known else "")
    spec = heatmap(
        shares,
        x=columns,
        y=[anyone.hidden_indices[h] for h in shown],
        x_title="class and rank",
        y_title="hidden index (0 = embeddings)",
        value_title=f"share of the class's prompts with the token among their first {k}",
    )
    spec["data"][0] |= {"text": words, "texttemplate": "%{text}", "textfont": {"size": 10}}
    spec["data"][0]["hovertemplate"] = (
        "%{x}<br>hidden index %{y}<br>%{text}: %{z:.1%}<extra></extra>"
    )
    spec["layout"]["height"] = 150 + _ROW_HEIGHT * max(len(shown), 6)
    counted = ", ".join(f"{name} {len(lens.prompt_ids)}" for name, lens in lenses.items())
    caption = (
        f"The {top} tokens that most prompts of a class point to at {_words(anyone.position)}, "
        f"read off each layer as if the network ended there (prompts: {escape(counted)}). + opens "
        "a friendly answer, − a refusal; ␣ is a space, # the id of a token that is part of a "
        "character."
    )
    return Figure("lens_map", "What the states point to", caption, spec, "lens")


def _word(lens: LensResult, token: int) -> str:
    """Return a token as a cell shows it, with the sign of its class."""
    return plain(_SIGNS[lens.classes.class_of(token)] + truncate(lens.label(token), _TOKEN_WIDTH))


def emotion_figure(curve: EmotionCurve) -> Figure:
    """Return e_l by class over layers, with intervals of one layer at a time."""
    series = [
        Series(
            name,
            curve.hidden_indices,
            *(a[c].tolist() for a in (curve.means, curve.low, curve.high)),
        )
        for c, name in enumerate(curve.classes)
    ]
    spec = curve_by_layer(
        series,
        y_title="friendly against refusing tokens",
        unit="nats",
        floors=[FloorLine("every token alike", curve.even)],
    )
    counts = ", ".join(
        f"{name} {int((curve.labels == c).sum())}" for c, name in enumerate(curve.classes)
    )
    caption = (
        f"Log-odds of friendly against refusing tokens (mean; prompts: {escape(counts)} in "
        f"{len(set(curve.groups))} groups). Bands: {curve.level:.0%} intervals by group, one layer "
        f"at a time. {_conversion(curve)}"
    )
    return Figure(
        "lens_emotion", "Friendly or refusing, layer by layer", caption, spec, "lens_emotion"
    )


def gap_figure(curve: EmotionCurve) -> Figure:
    """Return the gap between two classes with its simultaneous band.

    Args:
        curve: one whose gap is defined.
    """
    assert curve.gap is not None  # noqa: S101 - the caller asks only where there is a gap
    assert curve.gap_low is not None and curve.gap_high is not None  # noqa: S101 - given with gap
    first, second = curve.sides or ("", "")
    series = Series(
        f"{first} minus {second}",
        curve.hidden_indices,
        curve.gap.tolist(),
        curve.gap_low.tolist(),
        curve.gap_high.tolist(),
    )
    spec = curve_by_layer(
        [series],
        y_title="gap of friendly against refusing tokens",
        unit="nats",
        floors=[FloorLine("no difference between the classes", 0.0)],
    )
    caption = (
        f"How much friendlier the states of {escape(first)} prompts read than those of "
        f"{escape(second)} ones. The band holds at {curve.level:.0%} for all layers at once. "
        f"{_conversion(curve)}"
    )
    return Figure("lens_gap", "From where on the classes part", caption, spec, "lens_emotion")


def _conversion(curve: EmotionCurve) -> str:
    """Say where harm turns into refusing words, or why nowhere."""
    if curve.conversion_index is None:
        return f"No conversion layer: {curve.reason}."
    first, second = curve.sides or ("", "")
    return (
        f"Conversion layer: hidden index {curve.conversion_index}, from which {escape(first)} and "
        f"{escape(second)} prompts stay apart to the end."
    )


def _words(position: str) -> str:
    return escape(position.replace("_", " "))
