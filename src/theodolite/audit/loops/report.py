"""The report of a hardening: the page an audit has, with one panel."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from theodolite.audit.loops.request import COMMAND, PANEL, HardenRequest
from theodolite.errors import RunError
from theodolite.report.document import Report, ReportPanel, render_report
from theodolite.runs.config import load_config, typed_options
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
    result = run.load_panel(PANEL)
    request = load_config(HardenRequest, None, run.manifest["config"])
    last = run.manifest["sessions"][-1]["started"]
    seconds = datetime.fromisoformat(run.manifest["ended"]) - datetime.fromisoformat(last)
    about = {key: value for key, value in run.manifest.items() if key != "ended"}
    command = ["theodolite", *COMMAND.split(), *typed_options(request)]
    return Report(
        title=f"{TITLE}: {run.manifest['model']['name']}",
        model=request.model,
        base=request.base,
        profile=None,
        seed=run.manifest["seed"],
        created=run.manifest["started"],
        run_id=run.path.name,
        overview=list(result.findings),
        panels=[ReportPanel(PANEL, TITLE, QUESTION, result, seconds=seconds.total_seconds())],
        manifest={"command_line": command, **about},
    )


def write_report(run: Run, path: Path | None = None, *, show_text: bool = False) -> Path:
    """Write the report of a hardening into its run folder, or to `path`."""
    target = path if path is not None else run.path / "report.html"
    return render_report(hardening_report(run), target, show_text=show_text)
