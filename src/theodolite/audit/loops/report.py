"""The report of a hardening: the page an audit has, with one panel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from theodolite.audit.loops.request import COMMAND, PANEL, HardenRequest
from theodolite.audit.one_panel import one_panel_report
from theodolite.errors import RunError
from theodolite.report.document import Report, render_report
from theodolite.runs.run import Run
from theodolite.text.display import escape

TITLE: Final = "Hardening"
QUESTION: Final = "Which style weakens refusal, and does training against it close the hole?"


def is_hardening(run: Run) -> bool:
    """Return whether a run is one of `correct harden`."""
    return bool(run.manifest["command"] == COMMAND)


def hardening_report(run: Run) -> Report:
    """Return the report of a finished hardening from its run folder.

    Raises: RunError: the run is no hardening, or stopped before its result.
    """
    path = escape(str(run.path))
    if not is_hardening(run):
        raise RunError(f"{path} is not a run of `{COMMAND}`.", fix="Name another run.")
    if PANEL not in run.panel_names():
        raise RunError(
            f"{path} holds no hardening that came to its result.",
            fix=f"Go on with `theodolite {COMMAND} --resume {path}`.",
        )
    return one_panel_report(run, HardenRequest, PANEL, title=TITLE, question=QUESTION)


def write_report(run: Run, path: Path | None = None, *, show_text: bool = False) -> Path:
    """Write the report of a hardening into its run folder, or to `path`."""
    target = path if path is not None else run.path / "report.html"
    return render_report(hardening_report(run), target, show_text=show_text)
