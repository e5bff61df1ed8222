"""The report of one analysis: the page an audit has, with one panel."""

from __future__ import annotations

from pathlib import Path

from theodolite.audit.one_panel import one_panel_report
from theodolite.errors import RunError
from theodolite.mechanism.explain import (
    ANALYSES,
    command_of,
    load_analysis,
    panel_of,
    request_schema,
)
from theodolite.report.document import Report, render_report
from theodolite.runs.run import Run
from theodolite.text.display import escape


def analysis_of(run: Run) -> str | None:
    """Return the analysis a run holds, or None where it is another command's."""
    command = run.manifest["command"]
    return next((name for name in ANALYSES if command_of(name) == command), None)


def explained_report(run: Run) -> Report:
    """Return the report of a finished analysis from its run folder.

    Raises: RunError: the run is no analysis, or stopped before its result.
    """
    name = analysis_of(run)
    if name is None or panel_of(name) not in run.panel_names():
        path = escape(str(run.path))
        go_on = "" if name is None else f"Go on with `theodolite explain {name} --resume {path}`. "
        raise RunError(
            f"{path} holds no analysis that came to its result.",
            fix=f"{go_on}Or name another run." if go_on else "Name another run.",
        )
    analysis, result = load_analysis(name), run.load_panel(panel_of(name))
    headings = getattr(analysis, "headings", None)
    title, question = (analysis.TITLE, analysis.QUESTION) if headings is None else headings(result)
    return one_panel_report(
        run, request_schema(name), panel_of(name), title=title, question=question
    )


def write_report(run: Run, path: Path | None = None, *, show_text: bool = False) -> Path:
    """Write the report of an analysis into its run folder, or to `path`."""
    target = path if path is not None else run.path / "report.html"
    return render_report(explained_report(run), target, show_text=show_text)
