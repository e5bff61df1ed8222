"""An audit as a report: assembled when it ends, and again from its run folder at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from theodolite.audit.difference import BASE, base_differences
from theodolite.audit.request import COMMAND, AuditRequest
from theodolite.errors import RunError
from theodolite.measure.measurement import told_apart
from theodolite.report.document import Report, ReportPanel
from theodolite.runs.config import load_config
from theodolite.runs.run import Run
from theodolite.text.display import escape

STEPS_TABLE = "audit_steps"


def assemble(
    run: Run,
    request: AuditRequest,
    panels: Sequence[ReportPanel],
    plan: Sequence[Mapping[str, Any]],
) -> Report:
    """Return the report of an audit.

    Args:
        panels: one per step, in order.
        plan: the steps as rows, with the time estimated and used.
    """
    # The end is written after the report, and the steps carry their times.
    about = {key: value for key, value in run.manifest.items() if key != "ended"}
    every = [*panels, *base_differences(panels, seed=request.seed)]
    return Report(
        title=f"Audit of {run.manifest['model']['name']}",
        model=request.model,
        base=request.base,
        profile=request.profile,
        seed=request.seed,
        created=run.manifest["started"],
        run_id=run.path.name,
        overview=overview(every, request),
        panels=every,
        manifest={"command_line": request.command_line(), **about},
        plan=plan,
    )


def store_steps(run: Run, panels: Sequence[ReportPanel], plan: Sequence[Mapping[str, Any]]) -> None:
    """Keep what the panels' own files do not hold: order, words, status and times."""
    words = ("name", "title", "question", "status", "reason", "seconds")
    rows = [
        {**{word: getattr(panel, word) for word in words}, **row}
        for panel, row in zip(panels, plan, strict=True)
    ]
    run.save_table(STEPS_TABLE, rows)


def rebuild(run: Run) -> Report:
    """Return the report of an audit from its run folder.

    Raises: RunError: the run is not an audit, or stopped before its report.
    """
    if run.manifest["command"] != COMMAND or STEPS_TABLE not in run.table_names():
        raise RunError(
            f"{escape(str(run.path))} holds no audit that came to its report.",
            fix="Go on with `theodolite audit --resume`, or name another run.",
        )
    request = load_config(AuditRequest, None, run.manifest["config"])
    words = ("name", "title", "question", "status", "reason", "seconds")
    panels, plan = [], []
    for row in run.load_table(STEPS_TABLE):
        told = {word: row.pop(word) for word in words}
        result = run.load_panel(told["name"]) if told["status"] == "done" else None
        panels.append(ReportPanel(result=result, **told))
        plan.append(row)
    return assemble(run, request, panels, plan)


def overview(panels: Sequence[ReportPanel], request: AuditRequest) -> list[str]:
    """Return the model's findings, its base's, then what is missing, in whole sentences."""
    finished = [(panel, panel.result) for panel in panels if panel.result is not None]
    said: dict[bool, list[str]] = {False: [], True: []}
    for panel, result in finished:
        said[panel.name.endswith(f".{BASE}")] += result.findings
    sentences = [*said[False], *(f"The base model: {sentence}" for sentence in said[True])]
    sentences += [
        f"{panel.title} could not be measured: {panel.reason}"
        for panel in panels
        if panel.status == "failed"
    ]
    incomplete = [
        m.name
        for m in told_apart((p.name, m) for p, result in finished for m in result.measurements)
        if m.status == "incomplete"
    ]
    if incomplete:
        sentences.append(f"Incomplete, not low: {', '.join(incomplete)}.")
    if request.profile == "quick":
        sentences.append(
            "This is the quick profile on small sets: read the intervals, and use "
            "--profile standard or full before a decision."
        )
    return sentences
