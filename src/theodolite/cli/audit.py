"""theodolite audit MODEL: measure, explain, report."""

from __future__ import annotations

from typing import Annotated

import typer

from theodolite.cli.options import (
    Adapter,
    AsJson,
    Config,
    Device,
    Dtype,
    Judge,
    OutFolder,
    Resume,
    Revision,
    Seed,
    ShowText,
)
from theodolite.text.lists import names_in


def audit(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="smollm2, org/name, a folder, a .gguf file or api:PROVIDER/MODEL.")
    ] = "smollm2",
    base: Annotated[
        str | None, typer.Option(help="A second model that runs the same panels, to compare with.")
    ] = None,
    profile: Annotated[str, typer.Option(help="quick, standard or full.")] = "quick",
    only: Annotated[str | None, typer.Option(help="Panels to run, comma-separated.")] = None,
    skip: Annotated[str | None, typer.Option(help="Panels to leave out, comma-separated.")] = None,
    adapter: Adapter = None,
    revision: Revision = None,
    dtype: Dtype = "auto",
    device: Device = None,
    judge: Judge = None,
    seed: Seed = 0,
    out: OutFolder = None,
    resume: Resume = None,
    config: Config = None,
    show_text: ShowText = False,
    as_json: AsJson = False,
) -> None:
    """Audit a model and write one self-contained HTML report."""
    from theodolite.audit.request import COMMAND, AuditRequest
    from theodolite.audit.run import run_audit
    from theodolite.cli.output import finish_audit
    from theodolite.cli.work import carried_out

    _, outcome = carried_out(
        context, COMMAND, AuditRequest, run_audit, only=names_in, skip=names_in
    )
    finish_audit(outcome, as_json=as_json)
