"""The report as data, and the one function that writes it: a single self-contained HTML file."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from theodolite.measure.measurement import Measurement, told_apart
from theodolite.report.budget import (
    FIGURE_BYTES,
    FIGURES_PER_PANEL,
    LINE_CHARACTERS,
    MEASUREMENTS_PER_PANEL,
    SAMPLE_BYTES,
    SENTENCES,
    TABLE_BYTES,
    TABLES_PER_PANEL,
    WORD_BYTES,
    Budget,
)
from theodolite.report.figures import records_of_spec, safe_spec
from theodolite.report.numbers import format_seconds
from theodolite.report.page import render_page
from theodolite.report.rows import MeasurementRow, measurement_rows
from theodolite.report.samples import sample_records
from theodolite.report.summary import asked_sentence, sureness_sentences
from theodolite.report.tables import DataTable, data_table
from theodolite.report.token_maps import token_map_records
from theodolite.runs.atomic import as_run_error, write_text
from theodolite.runs.figures import number
from theodolite.runs.panel import Figure, PanelResult
from theodolite.text.display import escape

HEADLINES_PER_PANEL = 6
_FIGURE_HEIGHT = 360.0
_ROW_MARKUP = 1_000


@dataclass(frozen=True)
class ReportPanel:
    """One panel of a report: its question, and its result or the reason there is none.

    Args:
        name, title, question: as the panel itself states them.
        result: what it found; None or empty where it did not finish.
        status: `done`, `skipped` or `failed`.
        reason: why it was skipped or failed.
        seconds: time used.
    """

    name: str
    title: str
    question: str
    result: PanelResult | None
    status: Literal["done", "skipped", "failed"] = "done"
    reason: str = ""
    seconds: float = 0.0

    def labels(self) -> Mapping[str, str]:
        """Return the plain names of the panel's measurements."""
        return self.result.labels if self.result is not None else {}

    def headline_measurements(self) -> list[Measurement]:
        """Return the measurements for the table on top: the first few, in the panel's order."""
        if self.result is None:
            return []
        return list(self.result.measurements[:HEADLINES_PER_PANEL])


@dataclass(frozen=True)
class Report:
    """Everything a report page shows.

    Args:
        title: the heading.
        model, base, profile, seed, created, run_id: what was run, on what, when; an analysis on
            its own has no profile.
        overview: plain sentences on what was found.
        panels: in reading order; the unfinished ones are gathered at the end.
        manifest: versions, fingerprint, template hash, machine, ...; `command_line` (text) or
            `argv` (list) is what the reader may type again.
        plan: one row per planned panel, with the time estimated and used.
    """

    title: str
    model: str
    base: str | None
    profile: str | None
    seed: int
    created: str
    run_id: str
    overview: Sequence[str]
    panels: Sequence[ReportPanel]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    plan: Sequence[Mapping[str, Any]] = ()

    def measurements(self) -> list[Measurement]:
        """Return the measurements of all panels in order, under names that occur once."""
        return told_apart(
            (p.name, m) for p in self.panels if p.result is not None for m in p.result.measurements
        )

    def command(self) -> str:
        """Return the command line that made the run, as one would type it."""
        for key in ("command_line", "argv"):
            value = self.manifest.get(key)
            if isinstance(value, str) and value:
                return value
            if isinstance(value, Sequence) and value:
                return shlex.join(str(part) for part in value)
        parts = ["theodolite", "audit", self.model, "--profile", self.profile or "quick"]
        return shlex.join([*parts, "--base", self.base] if self.base else parts)


def render_report(report: Report, path: Path, *, show_text: bool = False) -> Path:
    """Write the report as one HTML file that needs nothing else, and return its path.

    Args:
        report: the content.
        path: where the file goes; it appears complete or not at all.
        show_text: also show the text of harmful samples and of text columns in tables.

    Raises:
        RunError: the file cannot be written there.
    """
    page = render_page(_values(report, show_text))
    with as_run_error(path):
        write_text(path, page)
    return path


@dataclass
class _Content:
    """What the panels share while a page is built: the island and the room left."""

    show_text: bool
    figures: list[dict[str, Any]] = field(default_factory=list)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    token_maps: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    figure_room: Budget = field(default_factory=lambda: Budget(FIGURE_BYTES))
    sample_room: Budget = field(default_factory=lambda: Budget(SAMPLE_BYTES))
    table_room: Budget = field(default_factory=lambda: Budget(TABLE_BYTES))
    word_room: Budget = field(default_factory=lambda: Budget(WORD_BYTES))

    def table(self, name: str, records: Sequence[Mapping[str, Any]]) -> DataTable:
        return data_table(name, records, budget=self.table_room, show_text=self.show_text)

    def sentences(self, sentences: Sequence[str]) -> list[str]:
        shown = [escape(sentence, LINE_CHARACTERS) for sentence in sentences[:SENTENCES]]
        return [s for s in shown if self.word_room.take(len(html.escape(s)))]

    def rows(self, result: PanelResult) -> list[MeasurementRow]:
        rows = measurement_rows(result.measurements[:MEASUREMENTS_PER_PANEL], result.labels)
        cost = (len(html.escape(str(row))) + _ROW_MARKUP for row in rows)
        return [row for row, size in zip(rows, cost, strict=True) if self.word_room.take(size)]


def _values(report: Report, show_text: bool) -> dict[str, Any]:
    """Return what the template prints."""
    content = _Content(show_text)
    overview = content.sentences(report.overview)
    manifest = content.table("manifest", _flat(report.manifest))
    done = [panel for panel in report.panels if panel.status == "done"]
    shown = [_panel_values(panel, f"p{i}", content) for i, panel in enumerate(done)]
    plan = list(report.plan) or [
        {"panel": p.name, "status": p.status, "used_seconds": p.seconds} for p in report.panels
    ]
    seconds = sum(panel.seconds for panel in report.panels)
    return {
        "report": report,
        "overview": overview,
        "asked": asked_sentence(
            report.model, report.base, report.profile, len(report.panels), seconds
        ),
        "sure": sureness_sentences(report.measurements()),
        "headlines": [
            (f"p{i}", panel, measurement_rows(panel.headline_measurements(), panel.labels()))
            for i, panel in enumerate(done)
        ],
        "panels": shown,
        "unfinished": [panel for panel in report.panels if panel.status != "done"],
        "manifest": manifest,
        "plan": content.table("plan", plan),
        "command": report.command(),
        "compare": f"theodolite compare {shlex.quote(report.run_id)} OTHER_RUN",
        "show_text": show_text,
        "island": {
            "figures": content.figures,
            "samples": content.samples,
            "tokens": content.token_maps,
        },
    }


def _panel_values(panel: ReportPanel, anchor: str, content: _Content) -> dict[str, Any]:
    result = panel.result or PanelResult(measurements=())
    used = {figure.table for figure in result.figures}
    records, left_out = sample_records(
        result.samples, show_text=content.show_text, budget=content.sample_room
    )
    if records:
        content.samples[anchor] = records
    maps, maps_left_out = token_map_records(
        result.token_maps, show_text=content.show_text, budget=content.sample_room
    )
    if maps:
        content.token_maps[anchor] = maps
    rows = content.rows(result)
    tables = [pair for pair in result.tables.items() if pair[0] not in used]
    parts_left_out = len(tables[TABLES_PER_PANEL:]) + len(result.figures[FIGURES_PER_PANEL:])
    return {
        "anchor": anchor,
        "panel": panel,
        "seconds": format_seconds(panel.seconds),
        "findings": content.sentences(result.findings),
        "figures": [
            _figure_values(figure, result, content) for figure in result.figures[:FIGURES_PER_PANEL]
        ],
        "rows": rows,
        "rows_left_out": len(result.measurements) - len(rows),
        "tables": [content.table(name, records) for name, records in tables[:TABLES_PER_PANEL]],
        "parts_left_out": parts_left_out,
        "samples": len(records),
        "samples_hidden": sum("hidden" in record for record in records),
        "samples_left_out": left_out,
        "token_maps": len(maps),
        "token_maps_hidden": sum(one["hidden"] for one in maps),
        "token_maps_left_out": maps_left_out,
        "how": content.sentences(result.how),
        "limits": content.sentences(result.limits),
    }


def _figure_values(figure: Figure, result: PanelResult, content: _Content) -> dict[str, Any]:
    """Return the words of a figure; its spec goes to the island unless it cannot be drawn."""
    spec, refusal = safe_spec(figure.spec, content.figure_room)
    index = None
    if spec:
        index = len(content.figures)
        content.figures.append(spec)
    records: Sequence[Mapping[str, Any]] = result.tables.get(figure.table or "", ())
    if not records:
        records = records_of_spec(figure.spec)
    return {
        "index": index,
        "refusal": refusal,
        "height": _height(spec),
        "title": escape(figure.title, LINE_CHARACTERS),
        "caption": escape(figure.caption, LINE_CHARACTERS),
        "show_table": figure.show_table,
        "table": content.table(figure.table or figure.name, records),
    }


def _height(spec: Mapping[str, Any]) -> int:
    """Return the height kept free for a figure, so that the page does not jump."""
    height = number(spec.get("layout", {}).get("height")) or _FIGURE_HEIGHT
    return int(min(max(height, 120.0), 1200.0))


def _flat(value: Any, name: str = "") -> list[dict[str, Any]]:
    """Return nested values as rows of a two-column table."""
    if isinstance(value, Mapping):
        return [
            row
            for key, item in value.items()
            for row in _flat(item, f"{name} / {key}" if name else str(key))
        ]
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping) for item in value):
            return [row for i, item in enumerate(value, 1) for row in _flat(item, f"{name} {i}")]
        value = " ".join(str(item) for item in value)
    return [{"what": name, "value": value}]
