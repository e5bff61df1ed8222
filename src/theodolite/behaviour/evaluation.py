"""`theodolite eval`: one benchmark on one model, or on answers that were made elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from theodolite.behaviour.registry import benchmark
from theodolite.errors import ConfigError
from theodolite.providers.opening import ModelRequest, identity_of, open_requested
from theodolite.runs.config import with_task
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run


class Benchmark(Protocol):
    """What the `evaluation` file of every benchmark folder holds."""

    VERSION: int
    Options: type[Any]

    def check(self, options: Any, *, seed: int) -> None:
        """Refuse options that cannot be used, before a model is opened or a run folder made."""

    def evaluate(
        self,
        model: Any,
        options: Any,
        *,
        run: Run,
        seed: int,
        judge: str | None,
        progress: Progress,
    ) -> PanelResult:
        """Ask the model and score its answers."""

    def score_responses(
        self, path: Path, options: Any, *, seed: int, judge: str | None
    ) -> PanelResult:
        """Score answers made elsewhere; options that these cannot follow are refused."""


@dataclass(frozen=True)
class EvalRequest(ModelRequest):
    """What decides an evaluation's numbers, beside the benchmark's own options.

    Args:
        responses: a file of answers made elsewhere; the model is then ignored.
        judge: an inspect model that judges; None takes the offline scorer.
    """

    responses: str | None = None
    judge: str | None = None


def load_benchmark(name: str) -> Benchmark:
    """Import a benchmark's evaluation; raises ConfigError for an unknown name."""
    return cast(Benchmark, benchmark(name, "evaluation"))


def request_schema(name: str) -> type[Any]:
    """Return the dataclass of `eval NAME`: the request, and the benchmark's options as `task`."""
    return with_task(EvalRequest, load_benchmark(name).Options)


def run_benchmark(
    name: str,
    request: Any,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: Path | None = None,
) -> tuple[Run, PanelResult]:
    """Evaluate and keep the result in a run folder.

    Args:
        request: an instance of `request_schema(name)`.
        out, resume: as for an audit.
    Raises: TheodoliteError: bad input. Interrupted: Ctrl-C; finished units are kept.
    """
    held, command = load_benchmark(name), command_of(name)
    how: dict[str, Any] = {"seed": request.seed, "judge": request.judge}
    keep: dict[str, Any] = {
        "config": asdict(request),
        "seed": request.seed,
        "out": out,
        "resume": resume,
    }
    if request.responses is not None:
        answers = Path(request.responses)
        check_needs_no_model(request)
        result = held.score_responses(answers, request.task, **how)
        with Run.begin(command, inputs={"responses": answers}, **keep) as run:
            return finish(run, name, result, held)
    held.check(request.task, seed=request.seed)
    with ExitStack() as active:
        model, inputs = open_requested(request, active)
        keep |= {"inputs": inputs, "model": identity_of(model)}
        with Run.begin(command, model.name, **keep) as run:
            result = held.evaluate(model, request.task, run=run, progress=progress, **how)
            return finish(run, name, result, held)


def command_of(name: str) -> str:
    """Return the command of a benchmark as its runs' manifests state it."""
    return f"eval {name}"


def check_needs_no_model(request: EvalRequest) -> None:
    """Refuse options about a model where the answers were made elsewhere."""
    for option in ("interventions", "adapter", "revision"):
        if getattr(request, option) is not None:
            raise ConfigError(
                f"--{option} has no effect on answers made elsewhere (--responses).",
                fix="Leave one of the two out.",
            )


def finish(run: Run, name: str, result: PanelResult, held: Benchmark) -> tuple[Run, PanelResult]:
    """Keep the result and declare the run finished."""
    run.save_panel(name, result, key=str(held.VERSION))
    run.commit()
    return run, result
