"""Figures of head scores: the map of all heads, those that lead it, and how few hold how much."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from theodolite.runs.figures import (
    FloorLine,
    IntervalRow,
    Series,
    curve_by_layer,
    grouped_rates,
    heatmap,
    interval_bars,
)
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.mechanism.heads.asr_result import AsrResult

Row = Mapping[str, Any]
# A long tail: most heads do next to nothing, and a few a hundred times as much.
DECADES: Final = 3
LEADING: Final = 10
POINTS: Final = 60
# Cells of a larger map tell less, so that the report stays small.
DETAILED: Final = 2000
FRAME_COLOUR: Final = "#e0317f"  # no cell has it
MARK: Final = "□ and more so than under benign ones"


@dataclass(frozen=True)
class Score:
    """What a map of heads shows.

    Args:
        column: of the table `head_scores`.
        heading: over the figure.
        title: over the colours.
        unit: of the values.
        meaning: one sentence for the caption.
        details: what else a cell tells when pointed at: by column its words and its unit.
    """

    column: str
    heading: str
    title: str
    unit: str
    meaning: str
    details: Mapping[str, tuple[str, str]]


KL: Final = Score(
    "kl",
    "What each head changes",
    "change of the next token under harmful requests",
    "nats",
    "The score is the divergence from the intact model's next token, mean over harmful requests.",
    {
        "kl": ("harmful", "nats"),
        "kl_benign": ("benign", "nats"),
        "specificity": ("harmful minus benign", "nats"),
        "top_frequency": ("requests with it in their top 10", "share"),
    },
)
ANGLE: Final = Score(
    "angle_r1",
    "How far each head turns what harmful requests share",
    "turn of what all harmful requests share",
    "degrees",
    "The score is the angle between the leading directions, over requests, of the final states of "
    "the intact and the ablated model.",
    {"angle_r1": ("turn", "degrees"), "kl": ("change of the next token", "nats")},
)


def head_map(
    rows: Sequence[Row],
    score: Score = KL,
    *,
    how: str,
    unit: str = "head",
    noise: float | None = None,
    name: str = "heads",
    framed: Collection[tuple[int, int]] | None = None,
    mark: str = MARK,
    note: str | None = None,
) -> Figure:
    """Return the map of all heads, layers across.

    Args:
        rows: one per head, with `layer`, `head` and the columns of the score.
        how: the ablation in words.
        unit: what the rows of a layer are, "head" or "kv_group".
        noise: what rounding alone gives.
        name: of the figure.
        framed: heads to mark; None marks those shown to be specific to harm.
        mark: what the frames mean.
        note: a sentence for the end of the caption; None says what the benign control shows.
    """
    layers = sorted({row["layer"] for row in rows})
    heads = sorted({row["head"] for row in rows})
    by_head = {(row["layer"], row["head"]): row for row in rows}
    if framed is None:
        framed = [place for place, row in by_head.items() if row.get("shown_specific")]

    def grid(column: str) -> list[list[Any]]:
        return [[by_head.get((at, head), {}).get(column) for at in layers] for head in heads]

    told = _details(rows, score.details)
    spec = heatmap(
        grid(score.column),
        x=layers,
        y=heads,
        x_title="layer",
        y_title=unit,
        value_title="score",
        unit=score.unit,
        decades=DECADES,
        details={column: [grid(part) for part in parts] for column, parts in told.items()},
    )
    spec["data"][0]["hovertemplate"] = _hover(unit, score, told)
    words = f"{score.title} ({score.unit})" + (f"<br>{mark}" if framed else "")
    spec["data"][0]["colorbar"]["title"]["text"] = words
    spec["layout"]["shapes"] = [_frame(place) for place in framed]
    rounding = "" if noise is None else f"Rounding alone gives up to {noise:.2g} {score.unit}. "
    caption = (
        f"One {unit} taken out at a time ({how}); colours by powers of ten. {score.meaning} "
        f"{rounding}{_control(rows) if note is None else note}"
    )
    return Figure(name, score.heading, caption.strip(), spec, "head_scores")


def _details(rows: Sequence[Row], columns: Collection[str]) -> dict[str, list[str]]:
    """Return the columns that a cell tells: each with those of its interval, if few heads."""
    found = {}
    for column in columns:
        parts = [column]
        if len(rows) <= DETAILED:
            parts += [f"{column}_low", f"{column}_high"]
        known = [name for name in parts if any(row.get(name) is not None for row in rows)]
        if column in known:
            found[column] = known
    return found


def _hover(unit: str, score: Score, told: Mapping[str, Sequence[str]]) -> str:
    """Return what a cell says when pointed at: where it is, and its numbers with their units."""
    lines, place = [f"layer %{{x}}<br>{unit} %{{y}}"], 0
    for column, parts in told.items():
        words, measure = score.details[column]
        # Three digits; tiny numbers come as 1.3e-11.
        form, after = (".0%", "") if measure == "share" else (".3~g", f" {measure}")
        shown = [f"%{{customdata[{place + i}]:{form}}}" for i in range(len(parts))]
        ends = f", 95 % [{', '.join(shown[1:])}]" if shown[1:] else ""
        lines.append(f"{words} {shown[0]}{after}{ends}")
        place += len(parts)
    return "<br>".join(lines) + "<extra></extra>"


def _control(rows: Sequence[Row]) -> str:
    if any(row.get("shown_specific") for row in rows):
        return "Frames: the difference to benign requests lies above 0, all heads taken together."
    if any(row.get("specificity") is not None for row in rows):
        return (
            "No head is framed: for none the difference to benign requests is shown to lie above "
            "0, all heads taken together."
        )
    return (
        "Without benign requests nothing says whether a head is about harm: a head that changes "
        "anything scores high."
    )


def _frame(place: tuple[int, int]) -> dict[str, Any]:
    layer, head = place
    return {
        "type": "rect",
        "x0": layer - 0.5,
        "x1": layer + 0.5,
        "y0": head - 0.5,
        "y1": head + 0.5,
        "line": {"color": FRAME_COLOUR, "width": 2},
    }


def leading_heads(rows: Sequence[Row], score: Score = KL, *, count: int = LEADING) -> Figure:
    """Return the highest heads with their intervals, beside benign requests where there are any.

    Args:
        rows: as for `head_map`.
        score: what the heads are ordered by; the bars are of the change of the next token.
        count: so many heads.
    """
    first = sorted(rows, key=lambda row: _rank(row, score.column))[:count]
    sides = {"harmful requests": _side(first, "kl")}
    if any(row.get("kl_benign") is not None for row in first):
        sides["benign requests"] = _side(first, "kl_benign")
    spec = grouped_rates(
        [row["name"] for row in first], sides, unit="nats", axis_title="change of the next token"
    )
    spec["layout"]["xaxis"]["exponentformat"] = "e"
    order = "" if score is KL else f"In the order of the {score.title}, highest first. "
    caption = (
        f"{order}Heads are named layer-head, from 0. Bars: 95 % intervals, requests drawn again, "
        "one head at a time. A head whose two intervals lie together is not shown to be about harm."
    )
    title = "The heads that change most" if score is KL else "What the heads that turn most change"
    return Figure("heads_leading", title, caption, spec, "head_scores")


def _side(rows: Sequence[Row], column: str) -> list[IntervalRow | None]:
    return [
        None
        if row.get(column) is None
        else IntervalRow(
            row["name"], row[column], row.get(f"{column}_low"), row.get(f"{column}_high")
        )
        for row in rows
    ]


def concentration(rows: Sequence[Row]) -> Figure:
    """Return how much of the summed score the highest heads hold."""
    scores = [row["kl"] for row in sorted(rows, key=_rank) if row["kl"] is not None]
    total = sum(scores) or 1.0
    steps = {round(i * len(scores) / POINTS) for i in range(POINTS + 1)}
    xs = sorted(steps | set(range(min(LEADING, len(scores)) + 1)))
    spec = curve_by_layer(
        [Series("this model", xs, [sum(scores[:x]) / total for x in xs])],
        y_title="share of the summed score",
        x_title="so many heads, highest first",
        floors=[FloorLine("all heads alike", [x / max(len(scores), 1) for x in xs])],
        y_range=(0.0, 1.0),
    )
    caption = (
        "The steeper the curve begins, the fewer heads the next token hangs on. A single head's "
        "score misses what later heads make up for, so shares are of single ablations. The order "
        "comes from the same requests, which makes the curve steeper."
    )
    return Figure("heads_share", "Few heads, or many?", caption, spec, "head_scores")


def _rank(row: Row, column: str = "kl") -> tuple[float, int, int]:
    """Return the key of the order: highest score, then lowest layer, then lowest head."""
    score = row[column]
    return (0.0 if score is None else -score, row["layer"], row["head"])


def success_rates(result: AsrResult) -> Figure:
    """Return how many harmful requests are answered under each condition."""
    rows = [IntervalRow.of(result.rate(name), name) for name in result.names]
    intact = rows[0].value
    beside = [replace(row, floor=intact, floor_name=result.names[0]) for row in rows[1:]]
    spec = interval_bars([rows[0], *beside], axis_title="harmful requests answered")
    groups = [c for c in result.conditions[1:] if c.kind == "group" and not c.per_prompt]
    named = "; ".join(f"{c.name}: {c.shown}" for c in groups if c.name != c.shown)
    caption = (
        f"{len(result.prompt_ids)} requests, judged by refusing keywords; 95 % intervals. Random "
        f"groups hold as many heads as the others. {named}"
    )
    return Figure("heads_asr", "Harmful requests answered", caption.strip(), spec, "heads_asr")
