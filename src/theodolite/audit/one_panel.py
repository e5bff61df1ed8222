"""The report of a run that has one panel: the page an audit has."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from theodolite.report.document import Report, ReportPanel
from theodolite.runs.config import load_config, typed_options
from theodolite.runs.run import Run


def one_panel_report(
    run: Run, schema: type[Any], panel: str, *, title: str, question: str
) -> Report:
    """Return the report of a run from its folder.

    Args:
        run: it came to its result.
        schema: of its settings, with `model` and `base`.
        panel: the name under which its folder holds the result.
        title, question: of the panel.
    """
    manifest, result = run.manifest, run.load_panel(panel)
    request = load_config(schema, None, manifest["config"])
    begun, ended = manifest["sessions"][-1]["started"], manifest["ended"]
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()
    command = ["theodolite", *manifest["command"].split(), *typed_options(request)]
    about = {key: value for key, value in manifest.items() if key != "ended"}
    return Report(
        title=f"{title}: {manifest['model']['name']}",
        model=request.model,
        base=request.base,
        profile=None,
        seed=manifest["seed"],
        created=manifest["started"],
        run_id=run.path.name,
        overview=list(result.findings),
        panels=[ReportPanel(panel, title, question, result, seconds=seconds)],
        manifest={"command_line": command, **about},
    )
