"""Figures of a residual space: ranks, detectors, styles, and who writes a direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from theodolite.mechanism.relevance.adjacent import AdjacentTable
from theodolite.mechanism.residual_space.dynamics import WRITERS, Dynamics
from theodolite.mechanism.residual_space.probe_result import ProbeTable
from theodolite.mechanism.residual_space.space import ShiftSpace
from theodolite.mechanism.residual_space.style_table import StyleTable
from theodolite.runs.figures import (
    FloorLine,
    IntervalRow,
    Series,
    curve_by_layer,
    grouped_rates,
    heatmap,
    interval_bars,
    number,
)
from theodolite.runs.panel import Figure

Row = Mapping[str, Any]
TAUS: Final = (0.9, 0.7)
ENERGY_ROWS: Final = 10
HELD_OUT: Final = "*"


def rank_figure(space: ShiftSpace) -> Figure:
    """Return how many directions hold most of the shift, layer by layer."""
    depths = list(space.hidden_indices)
    series = [
        Series(f"{tau:.0%} of the energy", depths, list(space.effective_rank(tau).values()))
        for tau in TAUS
    ]
    caption = (
        f"How many directions it takes to hold a share of {space.what}, on {space.n} prompts of "
        f"{space.n_goals} goals. No interval: resampled prompts repeat rows, which lowers a rank."
    )
    spec = curve_by_layer(series, y_title="effective rank", unit="directions")
    return Figure("residual_rank", "How many directions", caption, spec, "residual_layers")


def energy_figure(space: ShiftSpace) -> Figure:
    """Return the share of the shift's energy along each leading direction."""
    depths = [layer.hidden_index for layer in space.layers]
    shares = [
        [
            float(layer.sigma[k] ** 2 / layer.spectrum.total) if k < len(layer.sigma) else None
            for layer in space.layers
        ]
        for k in range(ENERGY_ROWS)
    ]
    spec = heatmap(
        shares,
        x=depths,
        y=[f"C{k + 1}" for k in range(ENERGY_ROWS)],
        x_title="hidden index (0 = embeddings)",
        y_title="direction",
        value_title="share of the energy",
    )
    caption = f"The spectrum of the shift: what each direction holds of {space.what}."
    return Figure("residual_spectrum", "Spectrum", caption, spec, "residual_components")


def detector_figure(table: ProbeTable, words: float | None) -> Figure:
    """Return the first direction as a detector, layer by layer, beside probes and floors."""
    rows = [row for row in table.frame() if row["component"] == 1]
    depths = [row["hidden_index"] for row in rows]
    series = [
        Series("C1", depths, *([row[key] for row in rows] for key in ("auroc", "low", "high")))
    ]
    series += [Series(b.name, depths, b.areas.tolist()) for b in table.baselines]
    floors = [FloorLine("19 of 20 random directions", [row["random_high"] for row in rows])]
    if words is not None:
        floors.append(FloorLine("the words alone", words))
    spec = curve_by_layer(series, y_title=f"{table.label} told", unit="auroc", floors=floors)
    caption = (
        f"How well the first direction, and probes fitted to the labels, tell {table.label} from "
        f"other prompts of {len(set(table.test_goals))} test goals in all styles together "
        f"({len(table.test_labels)} prompts). Band: 95 % interval by goal."
    )
    name, title = f"residual_{table.label}", f"Does the first direction tell {table.label} prompts?"
    return Figure(name, title, caption, spec, f"residual_probes_{table.label}")


def within_figure(styles: StyleTable) -> Figure:
    """Return how well the first direction tells harm within a style, layer by layer."""
    first, floors = _first(styles, "harm_auroc", "19 of 20 random directions")
    spec = curve_by_layer([first], y_title="harmful told", unit="auroc", floors=floors)
    caption = (
        "The same, where a harmful prompt is compared with benign ones in its own style only, mean "
        "of all styles: styles move prompts along every direction and would hide the rest."
    )
    return Figure("residual_within", "And within a style?", caption, spec)


def _first(styles: StyleTable, key: str, floor: str) -> tuple[Series, list[FloorLine]]:
    """Return a figure of the first direction by layer, and that of random directions."""
    firsts = [i for i, name in enumerate(styles.names) if name.endswith("-C1")]
    depths = [styles.hidden_indices[i] for i in firsts]
    bounds = ([number(end[i]) for i in firsts] for end in getattr(styles, key))
    if key not in styles.random:
        return Series("C1", depths, *bounds), []
    usual = [number(styles.random[key][i]) for i in firsts]
    return Series("C1", depths, *bounds), [FloorLine(floor, usual)]


def component_figure(table: ProbeTable) -> Figure:
    """Return the accuracy of every direction at every layer."""
    rows = table.frame()
    depths = sorted({row["hidden_index"] for row in rows})
    components = sorted({row["component"] for row in rows})
    by_place = {(row["component"], row["hidden_index"]): row for row in rows}

    def grid(column: str) -> list[list[float | None]]:
        return [[by_place[k, h][column] for h in depths] for k in components]

    random = [row["random_high"] for row in rows if row["random_high"] is not None]
    spec = heatmap(
        grid("auroc"),
        x=depths,
        y=[f"C{k}" for k in components],
        x_title="hidden index",
        y_title="direction",
        value_title=f"{table.label} prompts told",
        unit="auroc",
        floor=FloorLine("19 of 20 random directions at any depth", max(random)) if random else None,
        details={
            "AUROC": [grid("auroc"), grid("low"), grid("high")],
            "balanced accuracy": [grid("balanced_accuracy")],
            "share found at 1 % false alarms": [grid("tpr_at_1")],
        },
    )
    caption = (
        f"Directions across layers as detectors of {table.label} prompts on test goals; "
        "orientation and threshold were chosen on training goals."
    )
    name = f"residual_components_{table.label}"
    return Figure(name, f"Which directions tell {table.label} prompts", caption, spec)


def style_figure(styles: StyleTable, names: Sequence[str]) -> Figure:
    """Return which styles some directions read, as a heat map."""
    places = [styles.place(name) for name in names]
    marked = [
        f"{style}{HELD_OUT if style in styles.design.held_out else ''}"
        for style in styles.design.styles
    ]

    def grid(values: Any) -> list[list[float | None]]:
        return [[number(values[s, at]) for at in places] for s in range(len(marked))]

    spec = heatmap(
        grid(styles.contrast.value),
        x=list(names),
        y=marked,
        x_title="direction",
        y_title="style",
        value_title="above the other styles",
        unit="standard deviations",
        centre=0.0,
        details={
            "contrast": [grid(each) for each in styles.contrast],
            "harmful alone": [grid(styles.by_class[1])],
            "benign alone": [grid(styles.by_class[0])],
            "AUROC of the style": [grid(each) for each in styles.auroc],
            "AUROC of harm in it": [grid(styles.harm_by_style)],
        },
    )
    _untitled(spec)
    floor = ""
    if "contrast" in styles.random and places:
        usual = float(styles.random["contrast"][places[0]])
        floor = f" One random direction in twenty reaches {usual:.2g} in its strongest style."
    caption = (
        "How far prompts in a style project above the same goals in other styles, harmful and "
        "benign ones alike, in standard deviations within a cell. Nothing was fitted on the styles "
        f"marked {HELD_OUT}.{floor}"
    )
    title = "Which styles each direction reads"
    return Figure("residual_styles", title, caption, spec, "residual_contrasts")


def share_figure(styles: StyleTable, names: Sequence[str]) -> Figure:
    """Return what harm and what style explain of some directions."""
    cells = {
        title: [_row(styles, key, title, styles.place(name)) for name in names]
        for key, title in (
            ("harm", "harm"),
            ("style", "style"),
            ("spurious", "spurious index"),
        )
    }
    spec = grouped_rates(list(names), cells, axis_title="share")
    caption = (
        "What harm and what style explain of the variance of each projection (eta squared), and "
        "the spurious index: style over style plus harm. Grey ticks: random directions of the same "
        f"depth ({styles.n_random} drawn), of which shares are exceeded once in twenty, the index "
        "by every second one."
    )
    return Figure("residual_shares", "Request or wrapper?", caption, spec, "residual_shares")


def _row(styles: StyleTable, key: str, title: str, at: int) -> IntervalRow:
    found = getattr(styles, key)
    value, low, high = (number(end[at]) for end in found)
    floor = number(styles.random[key][at]) if key in styles.random else None
    name = "random directions"
    return IntervalRow(title, value, low, high, floor, name, n=len(styles.design))


def spurious_figure(styles: StyleTable) -> Figure:
    """Return the spurious index of the first direction, layer by layer."""
    first, floors = _first(styles, "spurious", "median of random directions")
    spec = curve_by_layer([first], y_title="spurious index", floors=floors, y_range=(0.0, 1.0))
    caption = (
        "What style explains of all that style and harm explain along the first direction. Near 0 "
        "it reads the request, near 1 the wrapper. Band: 95 % interval by goal."
    )
    title = "Request or wrapper, layer by layer"
    return Figure("residual_spurious", title, caption, spec)


def writers_figure(found: Dynamics) -> Figure:
    """Return what every block's attention and MLP add to the gap between the classes."""
    layers = list(range(found.added.mean.shape[1]))
    rows = [
        (f"{name} {site.removesuffix('_out')}", d, w)
        for d, name in enumerate(found.names)
        for w, site in enumerate(WRITERS)
    ]

    def grid(values: Any) -> list[list[float | None]]:
        return [[number(values[d, layer, w]) for layer in layers] for _, d, w in rows]

    spec = heatmap(
        grid(found.added.mean),
        x=layers,
        y=[label for label, _, _ in rows],
        x_title="layer (block)",
        y_title="direction and writer",
        value_title="added to the gap",
        unit="stream units",
        centre=0.0,
        details={"added": [grid(v) for v in (found.added.mean, found.added.low, found.added.high)]},
    )
    _untitled(spec)
    caption = (
        "What attention and MLP of each block add along a direction on harmful prompts beyond "
        "benign ones, at the last prompt token. Above 0 they push the classes apart, below 0 they "
        f"take it back. Parts add up to the stream (off by {found.error:.0e})."
    )
    title = "Which blocks write the directions"
    return Figure("residual_writers", title, caption, spec, "residual_dynamics")


def _untitled(spec: dict[str, Any]) -> None:
    """Leave out the title of the lines: long labels would lie under it."""
    spec["layout"]["yaxis"]["title"] = {"text": ""}


def intervention_figure(rows: Sequence[Row], tokens: int) -> Figure:
    """Return what taking directions out does to the first token, as bars.

    Args:
        rows: of the table `residual_interventions`.
        tokens: how many tokens count as refusing.
    """
    bars = [
        IntervalRow(
            row["edit"],
            row["effect"],
            row["effect_low"],
            row["effect_high"],
            row["random"],
            "random directions",
            n=row["n"],
        )
        for row in rows
    ]
    spec = interval_bars(bars, unit="nats", axis_title="change of refusing against other tokens")
    caption = (
        f"How far the log-odds of {tokens} refusing tokens, as the first of the answer, move on "
        "harmful test prompts when directions are taken out everywhere. Grey ticks: the same with "
        "random directions. Drift on benign prompts stands in the table."
    )
    title = "What happens without a direction"
    return Figure(
        "residual_interventions", title, caption, spec, "residual_interventions", show_table=True
    )


def flow_figure(tables: Sequence[AdjacentTable]) -> Figure:
    """Return how much of each direction's relevance comes from the same one a layer earlier."""
    depths = [table.hidden_index for table in tables]
    count = max(len(table.targets) for table in tables)
    kept = [
        [float(table.shares[k, k]) if k < min(table.shares.shape) else None for table in tables]
        for k in range(count)
    ]
    spec = heatmap(
        kept,
        x=depths,
        y=[f"C{k + 1}" for k in range(count)],
        x_title="hidden index",
        y_title="direction",
        value_title="from the same direction one layer earlier",
    )
    caption = (
        "Of the relevance that speaks for a direction, the share that comes from the direction of "
        "the same number one layer earlier, over all positions of bare test requests. The rest "
        "comes from other directions; the table has all of them."
    )
    title = "Where a direction comes from"
    return Figure("residual_flow", title, caption, spec, "residual_flow")


def estimator_figure(rows: Sequence[Row]) -> Figure:
    """Return estimators of the same direction side by side.

    Args:
        rows: of the table `residual_estimators`.
    """
    bars = [
        IntervalRow(
            row["estimator"],
            row["auroc"],
            row["auroc_low"],
            row["auroc_high"],
            row["random_floor"],
            "19 of 20 random directions",
            n=row["n"],
        )
        for row in rows
        if row["chosen"]
    ]
    spec = interval_bars(bars, unit="auroc", axis_title="harmful told")
    caption = (
        "Directions found in different ways on the same states, on test goals. An equal AUROC does "
        "not make them the same direction: the cosines are in the table of pairs."
    )
    title = "Estimators side by side"
    return Figure("residual_estimators", title, caption, spec, "residual_estimators")
