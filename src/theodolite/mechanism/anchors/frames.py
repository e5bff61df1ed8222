"""Tables and figures of a planted answer's path."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.measure.display import ends
from theodolite.measure.intervals import mean
from theodolite.mechanism.anchors.result import NAME, AnchorResult
from theodolite.runs.figures import FloorLine, Series, curve_by_layer, heatmap
from theodolite.runs.panel import Figure

LENS, HEADS, LAYERS, PATCHES, PAIRS = (
    f"{NAME}_{name}" for name in ("lens", "heads", "layers", "patches", "pairs")
)


def lens_rows(result: AnchorResult) -> list[dict[str, Any]]:
    """Return the mean gap of either chat by depth, with intervals by question."""
    rows = []
    for index in range(result.lens.shape[2]):
        row: dict[str, Any] = {"hidden_index": index}
        for chat, name in enumerate(("neutral", "attacked")):
            m = mean(
                name, result.lens[:, chat, index].tolist(), clusters=result.clusters, unit="nats"
            )
            row |= {name: m.value, f"{name}_low": m.low, f"{name}_high": m.high}
        rows.append(row)
    return rows


def head_rows(result: AnchorResult) -> list[dict[str, Any]]:
    """Return attention and effect of every head, those chosen marked; effects as shares."""
    rows = []
    for layer in range(result.single.shape[1]):
        for head in range(result.single.shape[2]):
            m = result.share("head", result.single[:, layer, head])
            fit, held = _by_half(result, layer, head)
            mass = result.mass[:, :, layer, head].mean(0)
            rows.append(
                {
                    "name": f"{layer}-{head}",
                    "layer": layer,
                    "head": head,
                    "mass": float(mass[1]),
                    "mass_neutral": float(mass[0]),
                    "mass_steps": float(result.step_mass[:, 1, layer, head].mean()),
                    "effect": m.value,
                    **{f"effect_{side}": getattr(m, side) for side in ("low", "high")},
                    "effect_nats_fitted": fit,
                    "effect_nats_reported": held,
                    "chosen": (layer, head) in result.chosen,
                    "exact": bool((result.mass[:, 1, layer, head] >= result.least_mass).all()),
                }
            )
    return rows


def _by_half(result: AnchorResult, layer: int, head: int) -> tuple[float, float]:
    moved = result.single[:, layer, head] - result.attacked
    return float(moved[np.array(result.fitted)].mean()), float(moved[result.reported].mean())


def layer_rows(result: AnchorResult) -> list[dict[str, Any]]:
    """Return what cutting all heads of a block does, as shares of the effect."""
    return [
        {"layer": layer} | ends("effect", result.share("layer", result.layers[:, layer]))
        for layer in range(result.layers.shape[1])
    ]


def patch_rows(result: AnchorResult) -> list[dict[str, Any]]:
    """Return what the neutral stream does at a depth and place, as shares of the effect."""
    return [
        {"layer": layer, "site": "resid_pre", "hidden_index": layer, "place": name}
        | ends("effect", result.share("patch", result.patches[:, layer, place]))
        for layer in range(result.patches.shape[1])
        for place, name in enumerate(result.patched_places)
    ]


def pair_rows(result: AnchorResult) -> list[dict[str, Any]]:
    """Return the gaps of every question."""
    return [
        {
            "id": id,
            "cluster": cluster,
            "chosen_on": own,
            "neutral": float(neutral),
            "attacked": float(attacked),
            "cut_all_heads": float(whole),
            "cut_chosen_heads": float(together),
            "parting": parting,
        }
        for id, cluster, own, neutral, attacked, whole, together, parting in zip(
            result.ids,
            result.clusters,
            result.fitted,
            result.neutral,
            result.attacked,
            result.whole,
            result.together,
            result.parted(),
        )
    ]


def tables(result: AnchorResult) -> dict[str, list[dict[str, Any]]]:
    """Return all tables by name."""
    return {
        LENS: lens_rows(result),
        HEADS: head_rows(result),
        LAYERS: layer_rows(result),
        PATCHES: patch_rows(result),
        PAIRS: pair_rows(result),
    }


def figures(result: AnchorResult, found: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    """Return the lens curve, the map of heads and the map of patches."""
    return [_lens(found[LENS]), _heads(result, found[HEADS]), _patches(result, found[PATCHES])]


def _lens(rows: list[dict[str, Any]]) -> Figure:
    xs = [row["hidden_index"] for row in rows]
    series = [
        Series(name, xs, *([row[f"{name}{end}"] for row in rows] for end in ("", "_low", "_high")))
        for name in ("neutral", "attacked")
    ]
    return Figure(
        name=LENS,
        title="Gold against the planted answer, read at the slot by depth",
        caption="Logit of the gold answer less that of the planted one through the final norm and "
        "the output layer; bands are 95 % intervals by question, one depth at a time.",
        spec=curve_by_layer(
            series,
            y_title="gold less planted",
            unit="nats",
            floors=[FloorLine("neither preferred", 0.0)],
        ),
        table=LENS,
    )


def _heads(result: AnchorResult, rows: list[dict[str, Any]]) -> Figure:
    layers, heads = result.single.shape[1:]
    cells = [
        [rows[layer * heads + head]["effect"] for head in range(heads)] for layer in range(layers)
    ]
    mass = [
        [rows[layer * heads + head]["mass"] for head in range(heads)] for layer in range(layers)
    ]
    return Figure(
        name=HEADS,
        title="What cutting one head's view of the plant brings back",
        caption="Share of the plant's effect that is gone when the slot no longer sees the planted "
        "value through this head; 1 brings back the neutral chat.",
        spec=heatmap(
            cells,
            x=list(range(heads)),
            y=list(range(layers)),
            x_title="head",
            y_title="layer",
            value_title="share of the effect",
            unit="share",
            centre=0.0,
            details={"share of the effect": [cells], "attention to the span": [mass]},
        ),
        table=HEADS,
    )


def _patches(result: AnchorResult, rows: list[dict[str, Any]]) -> Figure:
    places = list(result.patched_places)
    cells = [
        [rows[layer * len(places) + place]["effect"] for place in range(len(places))]
        for layer in range(result.patches.shape[1])
    ]
    return Figure(
        name=PATCHES,
        title="What the neutral chat's stream brings back, by depth and place",
        caption="Share of the plant's effect that is gone when the stream entering a block is that "
        "of the neutral chat; span: the planted value; slot: where the answer comes.",
        spec=heatmap(
            cells,
            x=places,
            y=list(range(len(cells))),
            x_title="place",
            y_title="layer",
            value_title="share of the effect",
            unit="share",
            centre=0.0,
        ),
        table=PATCHES,
    )
