"""Text as hostile as models and files can make it, and a report that holds it everywhere."""

from __future__ import annotations

from typing import Any

from theodolite.measure.measurement import Floor, JudgeQuality, Measurement, Unscored
from theodolite.report import Report, ReportPanel
from theodolite.runs.panel import Figure, PanelResult, Sample, TokenMap

PIECES = (
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=2>",
    "<svg onload=window.pwned=3>",
    "\"'><iframe src=javascript:window.pwned=4></iframe>",
    "<a href=javascript:window.pwned=5>x</a>",
    "<!--<script>",
    "]]>&lt;b&gt;",
    "{{ 7 * 7 }}{% raw %}",
    "${window.pwned=6}%{customdata}",
    "\u202egnp.exe\u2066",
    "nul\x00bell\x07escape\x1b[31m",
    "line\u2028paragraph\u2029",
    "alone\ud800surrogate",
    "zero\u200bwidth\ufeff",
    "<style>*{background:url(https://example.invalid/a.png)}</style>",
    "<link rel=stylesheet href=https://example.invalid/a.css>",
    "<base href=https://example.invalid/>",
    "<meta http-equiv=refresh content='0;url=https://example.invalid/'>",
)
ALL = " ".join(PIECES)


def spec() -> dict[str, Any]:
    """Return a figure whose every text is hostile and whose layout tries to fetch."""
    link = "<a href='https://example.invalid/' target='_top'>x</a>"
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines+markers+text",
                "x": [1, 2, float("nan")],
                "y": [ALL, 2, float("inf")],
                "text": [ALL, link, "<b>bold</b>"],
                "name": ALL,
                "hovertemplate": ALL,
            },
            {"type": "bar", "x": [1, 2], "y": [3, 4], "name": link},
        ],
        "layout": {
            "title": {"text": ALL},
            "xaxis": {"title": {"text": link}},
            "annotations": [{"text": ALL, "x": 1, "y": 1}],
            "images": [{"source": "https://example.invalid/a.png", "x": 0, "y": 0}],
            "updatemenus": [{"buttons": [{"method": "relayout", "args": ["x", "y"]}]}],
            "height": "1px;background:red",
        },
    }


def token_map(*, harmful: bool) -> TokenMap:
    """Return a token map whose every text is hostile and whose numbers are not all finite."""
    values = [1.0, -2.0, float("nan"), float("inf"), *([0.5] * (len(PIECES) - 4))]
    template = [i == 1 for i in range(len(PIECES))]
    return TokenMap(ALL, ALL, harmful, ALL, PIECES, values, template, {ALL: ALL})


def hostile_report() -> Report:
    """Return a report in which every string is hostile."""
    measurement = Measurement(
        ALL,
        0.5,
        "share",
        10,
        low=0.2,
        high=0.8,
        method=ALL,
        floor=Floor(ALL, 0.1),
        unscored=Unscored(2, {ALL: 2}, 0.4, 0.6),
        judge=JudgeQuality(ALL, 0.9, 0.9, None),
        reason=ALL,
        status="incomplete",
    )
    sample = Sample(ALL, ALL, False, ALL, ALL, {ALL: ALL})
    result = PanelResult(
        measurements=[measurement],
        tables={ALL: [{ALL: ALL, "n": 3}], "plain": [{"a": ALL}]},
        figures=[Figure(ALL, ALL, ALL, spec(), ALL), Figure("b", "b", "b", {"data": ALL})],
        samples=[sample, Sample(ALL, ALL, True, ALL, ALL, {ALL: ALL})],
        findings=[ALL],
        limits=[ALL],
        how=[ALL],
        token_maps=[token_map(harmful=False), token_map(harmful=True)],
    )
    panels = [
        ReportPanel(ALL, ALL, ALL, result),
        ReportPanel(ALL, ALL, ALL, None, "failed", ALL),
    ]
    return Report(
        title=ALL,
        model=ALL,
        base=ALL,
        profile=ALL,
        seed=0,
        created=ALL,
        run_id=ALL,
        overview=[ALL],
        panels=panels,
        manifest={ALL: {ALL: ALL}, "argv": ["theodolite", "audit", ALL]},
        plan=[{ALL: ALL}],
    )
