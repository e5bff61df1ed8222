"""The main job: open a model, run every panel that fits it, write one report."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from theodolite.audit.document import assemble, store_steps
from theodolite.audit.panels import load_panel, select_panels
from theodolite.audit.plan import Step, make_plan
from theodolite.audit.request import COMMAND, AuditRequest
from theodolite.errors import ConfigError, Interrupted, RunError, TheodoliteError
from theodolite.measure.measurement import Measurement
from theodolite.providers.opening import identity_of
from theodolite.report.document import Report, ReportPanel
from theodolite.runs.panel import PAIR, PROFILES, PanelContext, PanelResult, Progress
from theodolite.runs.run import Run
from theodolite.text.suggest import nearest

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class AuditOutcome:
    """A finished audit: its run folder, its report and what it measured."""

    run: Run
    report: Report
    path: Path
    measurements: Sequence[Measurement]


def run_audit(
    request: AuditRequest,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: Path | None = None,
) -> AuditOutcome:
    """Audit a model and write the run folder with its `report.html`.

    Args:
        out: the run folder; default `runs/<time>-audit-<model>/`.
        resume: the run folder to go on with; None starts a new run.
    Returns: the report and its path; panels that failed or were skipped say why in it.
    Raises: TheodoliteError: bad input. A panel that fails does not stop the others.
        Interrupted: Ctrl-C; what is finished is kept and the message says how to resume.
    """
    from theodolite.models import open_model
    from theodolite.report import render_report

    check_profile(request.profile)
    names = select_panels(request.only, request.skip)
    opening = {"dtype": request.dtype, "device": request.device}
    model = open_model(request.model, revision=request.revision, adapter=request.adapter, **opening)
    models = {"model": model}
    if request.base is not None:
        models["base"] = open_model(request.base, **opening)
    steps = make_plan(
        [load_panel(name) for name in names],
        models,
        request.profile,
        demanded=request.only,
        paired=trained_from(request) is not None,
    )
    run = open_run(request, models, out=out, resume=resume)
    with run:
        announce(steps, run, progress)
        panels = [run_step(step, models, request, run, progress) for step in steps]
        plan = [step.as_row(panel.seconds) for step, panel in zip(steps, panels, strict=True)]
        store_steps(run, panels, plan)
        report = assemble(run, request, panels, plan)
        path = render_report(report, run.path / "report.html", show_text=request.show_text)
        if all(panel.status != "failed" for panel in panels):
            run.commit()
    return AuditOutcome(run, report, path, report.measurements())


def trained_from(request: AuditRequest) -> str | None:
    """Return the reference of the model that the audited one was trained from; None: not known."""
    from theodolite.models.known_pair import known_base

    return known_base(request.model, base=request.base, adapter=request.adapter)


def open_pair_of(request: AuditRequest, models: Mapping[str, Any]) -> Any:
    """Return the model beside the one it was trained from; what is open already is used."""
    from theodolite.models.known_pair import open_known_pair
    from theodolite.models.pair import ModelPair

    if "base" in models:
        return ModelPair(models["base"], models["model"])
    return open_known_pair(
        request.model,
        adapter=request.adapter,
        dtype=request.dtype,
        device=request.device,
        revision=request.revision,
    )


def check_profile(profile: str) -> None:
    """Refuse an unknown profile, naming the nearest one."""
    if profile not in PROFILES:
        guess = nearest(profile, PROFILES)
        hint = f"Did you mean {guess}?" if guess else f"Profiles: {', '.join(PROFILES)}."
        raise ConfigError(f"There is no profile named {profile!r}.", fix=hint)


def open_run(
    request: AuditRequest, models: Mapping[str, Any], *, out: Path | None, resume: Path | None
) -> Run:
    """Create the run folder, or continue one that was made with the same settings and weights."""
    main = models["model"]
    return Run.begin(
        COMMAND,
        main.name,
        out=out,
        resume=resume,
        model=identity_of(main),
        config=asdict(request),
        inputs={role: handle.fingerprint for role, handle in models.items()},
        seed=request.seed,
    )


def announce(steps: Sequence[Step], run: Run, progress: Progress) -> None:
    """Say the plan with its time estimate before anything runs."""
    todo = [
        s
        for s in steps
        if s.skip_reason is None and not run.panel_done(s.key, key=str(s.panel.version))
    ]
    seconds = sum(step.seconds for step in todo)
    progress.message(f"Run folder: {run.path}")
    for step in steps:
        if step.skip_reason:
            progress.message(f"  {step.key}: skipped, {step.skip_reason}")
        elif step not in todo:
            progress.message(f"  {step.key}: already done, re-used")
        else:
            progress.message(f"  {step.key}: about {step.seconds:.0f} s ({step.tokens:,} tokens)")
    progress.message(f"Estimated {duration(seconds)} on 2 cores; faster on a GPU.")


def duration(seconds: float) -> str:
    """Return a time span in words a person uses."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def run_step(
    step: Step, models: Mapping[str, Any], request: AuditRequest, run: Run, progress: Progress
) -> ReportPanel:
    """Run one panel, or take its stored result; a failure becomes a value with a reason."""
    panel = step.panel
    title = panel.title if step.role == "model" else f"{panel.title} (base model)"

    began = time.perf_counter()

    def made(status: Status, result: PanelResult | None, reason: str = "") -> ReportPanel:
        took = time.perf_counter() - began
        return ReportPanel(step.key, title, panel.question, result, status, reason, took)

    if step.skip_reason:
        return made("skipped", None, step.skip_reason)
    if run.panel_done(step.key, key=str(panel.version)):
        return made("done", run.load_panel(step.key))
    context = PanelContext(
        model=models[step.role],
        run=run,
        profile=request.profile,
        seed=request.seed,
        progress=progress,
        judge=request.judge,
        show_text=request.show_text,
        role=step.role,
    )
    try:
        if PAIR in panel.needs:
            context = replace(context, pair=open_pair_of(request, models))
        result = panel.run(context)
    except (Interrupted, RunError):
        raise
    except TheodoliteError as error:
        return made("failed", None, str(error))
    except Exception as error:  # one broken panel must not take the others with it
        trace = run.path / "logs" / f"{step.key}.traceback.txt"
        trace.parent.mkdir(exist_ok=True)
        trace.write_text(traceback.format_exc(), "utf-8")
        reason = f"internal error ({type(error).__name__}); details in {trace}"
        return made("failed", None, reason)
    run.save_panel(step.key, result, key=str(panel.version))
    return made("done", result)
