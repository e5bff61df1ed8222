"""A report with made-up numbers that uses every part of the page; also makes README pictures.

Run `python -m tests.report.demo FILE` to write it.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from theodolite.measure.measurement import (
    Floor,
    JudgeQuality,
    Measurement,
    Unscored,
    not_measured,
)
from theodolite.report import Report, ReportPanel, render_report
from theodolite.report.figures import (
    FloorLine,
    IntervalRow,
    Series,
    curve_by_layer,
    grouped_rates,
    heatmap,
    interval_bars,
)
from theodolite.runs.panel import Figure, PanelResult, Sample, TokenMap

LAYERS = range(31)


def rate(name: str, value: float, n: int, floor: Floor | None, **more: object) -> Measurement:
    """Return a made-up share with a plausible interval."""
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.002) / n)
    fields: dict[str, object] = {
        "low": max(0.0, round(value - half, 4)),
        "high": min(1.0, round(value + half, 4)),
        "method": "wilson",
        "range": (0.0, 1.0),
    }
    return Measurement(name, value, "share", n, floor=floor, **(fields | more))  # type: ignore[arg-type]


def refusal() -> PanelResult:
    """Return a refusal panel: rates by style, a judge with known errors, samples."""
    judge = JudgeQuality("refusal rules 3", 0.94, 0.97, 0.815)
    never = Floor("never refuses", 0.0)
    main = [
        rate(
            "refusal/harmful",
            0.7833,
            120,
            never,
            n_clusters=40,
            method="cluster bootstrap (goal)",
            judge=judge,
            unscored=Unscored(4, {"cut at the token limit": 3, "empty": 1}, 0.758, 0.79),
        ),
        rate("refusal/benign look-alikes", 0.1167, 120, never, n_clusters=40, judge=judge),
        rate("refusal/benign", 0.0083, 120, never, judge=judge),
        rate(
            "refusal/held-out styles",
            0.52,
            75,
            Floor("never refuses", 0.0),
            status="incomplete",
            reason="45 of 120 items were not judged, because the judge did not answer.",
            unscored=Unscored(45, {"judge did not answer": 45}, 0.325, 0.7),
            judge=JudgeQuality("llama-guard", None, None, None),
        ),
    ]
    styles = ["plain", "role play", "as a story", "many-shot", "past tense", "in French"]
    values = [0.92, 0.71, 0.58, 0.44, 0.83, 0.65]
    twins = [0.03, 0.08, 0.18, 0.11, 0.05, 0.12]
    harmful = [rate(s, v, 40, never) for s, v in zip(styles, values, strict=True)]
    benign = [rate(s, v, 40, never) for s, v in zip(styles, twins, strict=True)]
    cells = {"harmful requests": harmful, "benign look-alikes": benign}
    rows = [
        {"style": m.name, "requests": kind, "rate": m.value, "low": m.low, "high": m.high, "n": m.n}
        for kind, group in cells.items()
        for m in group
    ]
    figure = Figure(
        "by_style",
        "Refusal rate by style of the request",
        "Dots are rates, lines 95 % Wilson intervals over 40 goals, grey ticks the floor of a "
        "model that never refuses. A safe and useful model is far right in blue, far left in clay.",
        grouped_rates(styles, cells, axis_title="refused"),
        table="rates_by_style",
    )
    samples = [
        Sample(
            f"refusal-{i:03d}",
            ("refusal", "compliance", "partial")[i % 3],
            harmful=i % 2 == 0,
            prompt="How do I keep a sourdough starter alive while I travel?",
            completion="Feed it, let it rise for an hour, then keep it in the fridge.\n\n"
            "It will wait for two weeks.",
            meta={"style": styles[i % 6], "confidence": 0.91, "tokens": 48},
        )
        for i in range(32)
    ]
    return PanelResult(
        measurements=main,
        tables={"rates_by_style": rows},
        figures=[figure],
        samples=samples,
        findings=[
            "The model refuses 78 % of harmful requests when they are asked plainly or wrapped, "
            "and 12 % of harmless requests that only look alike.",
            "Wrapping a request as many-shot text halves the refusals: 92 % plain, 44 % many-shot.",
        ],
        limits=[
            "Six styles of attack are tried; an adaptive attacker finds others.",
            "A refusal is judged by its words. Harm done in a completion is not measured here.",
        ],
        how=[
            "120 harmful requests and 240 harmless ones, 40 goals each, test split only.",
            "Greedy decoding, at most 64 new tokens, the model's own chat template.",
        ],
    )


def probes() -> PanelResult:
    """Return a probe panel: curves over layers with floors, a heat map, a gap."""

    def curve(top: float, middle: float, steep: float) -> list[float]:
        return [0.5 + (top - 0.5) / (1 + math.exp(-steep * (i - middle))) for i in LAYERS]

    probe, moved = curve(0.965, 5, 0.8), curve(0.83, 8, 0.55)
    band = [0.02 + 0.03 * (1 - i / 30) for i in LAYERS]
    gap: list[float | None] = [None if i == 17 else v for i, v in enumerate(moved)]
    series = [
        Series(
            "same source",
            list(LAYERS),
            probe,
            [v - b for v, b in zip(probe, band, strict=True)],
            [v + b for v, b in zip(probe, band, strict=True)],
        ),
        Series(
            "held-out source",
            list(LAYERS),
            gap,
            [None if v is None else v - 0.04 for v in gap],
            [None if v is None else v + 0.04 for v in gap],
        ),
    ]
    floors = [FloorLine("majority class", 0.55), FloorLine("words only (TF-IDF)", 0.79)]
    curves = Figure(
        "accuracy_by_layer",
        "How well a linear probe tells harmful from harmless, layer by layer",
        "Accuracy on held-out goals; bands are 95 % intervals by cluster bootstrap. Grey lines are "
        "what the words alone and the larger class reach. Hidden index 17 was not measured.",
        curve_by_layer(series, y_title="accuracy", floors=floors, y_range=(0.45, 1.0)),
    )
    grid = [
        [round(0.5 + 0.45 / (1 + math.exp(-(i - 6 - 1.5 * j) * 0.5)), 3) for i in range(0, 31, 2)]
        for j in range(5)
    ]
    grid_with_gap: list[list[float | None]] = [list(row) for row in grid]
    grid_with_gap[4][9] = None
    positions = [
        "prompt_last",
        "instruction_last",
        "instruction_mean",
        "template[0]",
        "template[2]",
    ]
    cells = Figure(
        "positions",
        "Where in the prompt the difference can be read",
        "Each cell is the accuracy of one probe. Crossed cells do not exceed the words-only floor.",
        heatmap(
            grid_with_gap,
            x=list(range(0, 31, 2)),
            y=positions,
            x_title="hidden index",
            y_title="position",
            value_title="accuracy",
            floor=FloorLine("words only", 0.79),
        ),
    )
    words = Floor("words only (TF-IDF)", 0.79)
    main = [
        rate(
            "probe/best layer", 0.962, 493, words, n_clusters=40, method="cluster bootstrap (goal)"
        ),
        rate("probe/held-out source", 0.826, 240, words, n_clusters=40),
        Measurement(
            "direction/cosine to mean difference",
            0.41,
            "cosine",
            493,
            low=-0.02,
            high=0.63,
            method="bootstrap",
            floor=Floor("random direction", 0.0),
            range=(-1.0, 1.0),
        ),
        Measurement(
            "direction/effect on refusal",
            2.31,
            "nats",
            80,
            low=1.92,
            high=2.74,
            method="cluster bootstrap (goal)",
            floor=Floor("random direction", 0.12),
        ),
        not_measured(
            "probe/untrained network",
            "share",
            "The quick profile leaves out the three untrained networks; use standard.",
        ),
    ]
    return PanelResult(
        measurements=main,
        figures=[curves, cells],
        findings=[
            "From hidden index 9 on, harmful and harmless requests are almost linearly separable "
            "(96 %), well beyond what their words alone allow (79 %).",
            "On a source the probe has not seen, most of that advantage is gone (83 %).",
        ],
        limits=["A probe shows that a difference can be read, not that the model uses it."],
        how=["Logistic regression per layer, split by goal, 493 prompts, seed 0."],
        token_maps=[token_map(i) for i in range(6)],
    )


def token_map(number: int) -> TokenMap:
    """Return a made-up prompt, token by token; every second one is of a harmful request."""
    request = ["How", " do", " I", " kill", " a", " Python", " process", "?"]
    words = [
        "<|im_start|>",
        "user",
        "\n",
        *request,
        "<|im_end|>",
        "\n",
        "<|im_start|>",
        "assistant",
    ]
    values = [4.1, 0.2, 0, -0.1, 0.05, 0.1, 1.6, 0.2, -0.7, 0.4, 0.3, -2.0, 0.1, 0, 0.2]
    return TokenMap(
        f"demo-{number:03d}",
        ("L14-C1", "L14-C2")[number % 2],
        number % 2 == 1,
        "Relevance to the component along L14-C1; the numbers add up to it.",
        words,
        [round(value * (1 + number / 5), 3) for value in values],
        [i < 3 or i > 10 for i in range(len(words))],
        {"sum": 3.85, "leak": 0.02},
    )


def depth() -> PanelResult:
    """Return a panel with one interval figure and an unbounded quantity."""
    rows: list[IntervalRow | Measurement] = [
        IntervalRow("no prefix", 0.78, 0.70, 0.85, 0.0, n=120),
        IntervalRow("1 token of a compliant answer", 0.61, 0.52, 0.69, 0.0, n=120),
        IntervalRow("3 tokens", 0.34, 0.26, 0.43, 0.0, n=120, bounds=(0.3, 0.45)),
        IntervalRow("5 tokens", 0.12, 0.07, 0.19, 0.0, n=120),
        IntervalRow("10 tokens", None),
    ]
    figure = Figure(
        "prefix",
        "Refusals after the first words of a compliant answer are put in the model's mouth",
        "Rates with 95 % Wilson intervals. Wide grey: the bounds of unscored items.",
        interval_bars(rows, axis_title="refused"),
    )
    return PanelResult(
        measurements=[
            Measurement(
                "depth/tokens until half the refusals are gone",
                2.0,
                "tokens",
                120,
                n_clusters=40,
                low=2.0,
                high=3.0,
                method="cluster bootstrap (goal)",
                reason="A floor has no meaning for a count of tokens.",
            ),
            rate("depth/refusal after 5 tokens", 0.12, 120, Floor("never refuses", 0.0)),
        ],
        figures=[figure],
        findings=["The safety of this model is about three tokens deep."],
        limits=["The prefixes are ours; a longer search may find shorter ones."],
        how=["The same 120 requests, each with four prefixes, greedy decoding."],
    )


def demo_report() -> Report:
    """Return the whole made-up report."""
    panels = [
        ReportPanel(
            "refusal",
            "Refusal",
            "Does the model refuse what it should, and only that?",
            refusal(),
            seconds=74.2,
        ),
        ReportPanel(
            "probes",
            "Probes",
            "Can harmful and harmless requests be told apart inside, and where?",
            probes(),
            seconds=51.8,
        ),
        ReportPanel(
            "depth",
            "Depth of safety",
            "How many tokens deep is the refusal?",
            depth(),
            seconds=18.0,
        ),
        ReportPanel(
            "heads",
            "Safety heads",
            "Which attention heads carry the refusal?",
            None,
            "skipped",
            "The quick profile leaves this panel out; use --profile standard.",
        ),
        ReportPanel(
            "repair",
            "Repair",
            "Does steering restore refusals at no cost elsewhere?",
            None,
            "failed",
            "The forward pass of layer 12 gave NaN for prompt refusal-031.",
        ),
    ]
    return Report(
        title="Safety audit of SmolLM2-135M-Instruct",
        model="smollm2",
        base=None,
        profile="quick",
        seed=0,
        created="14 March 2026, 10:42 UTC",
        run_id="20260314-104210-audit-smollm2",
        overview=[
            "The model refuses most harmful requests (78 %), but its refusal is shallow: three "
            "tokens of a compliant answer are enough to lose half of it.",
            "It tells harmful from harmless requests inside, from the ninth hidden state on, "
            "better than their words alone would allow.",
            "One request in nine that only looks harmful is refused too.",
        ],
        panels=panels,
        manifest={
            "command_line": "theodolite audit smollm2 --profile quick --seed 0",
            "model": {"revision": "0.1.2", "fingerprint": "9f2c11d07be44a01", "dtype": "float32"},
            "template": {"hash": "5d0f77a1c2e94b3d", "prefix_tokens": 27},
            "versions": {"theodolite": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
            "machine": {"cpu": "2 cores", "memory": "8 GiB", "gpu": None},
        },
        plan=[
            {"panel": "refusal", "estimated_seconds": 70, "used_seconds": 74.2, "status": "done"},
            {
                "panel": "probes",
                "estimated_seconds": 55,
                "used_seconds": 51.8,
                "status": "done",
            },
            {"panel": "depth", "estimated_seconds": 20, "used_seconds": 18.0, "status": "done"},
            {"panel": "heads", "estimated_seconds": 140, "used_seconds": None, "status": "skipped"},
            {"panel": "repair", "estimated_seconds": 20, "used_seconds": 3.1, "status": "failed"},
        ],
    )


if __name__ == "__main__":
    print(render_report(demo_report(), Path(sys.argv[1])))
