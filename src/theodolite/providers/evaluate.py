"""Run an inspect_ai task inside a run folder, quietly, resumably, bit-equal when resumed.

Where a task asks its model once per sample, those requests are known before anything runs. They
are generated ahead as planned units of the engine, with the run's journal, and inspect then finds
every answer ready. So a resumed run computes the very batches of the first one. Other requests go
through the batching queue, each answer journalled by its content; or `in_step`, and are planned
then too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from theodolite.errors import Interrupted, ModelError, TheodoliteError
from theodolite.providers.answers import Answers
from theodolite.providers.in_step import Step
from theodolite.providers.requests import Request, answer_requests

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalLog
    from inspect_ai.model import ChatMessage, GenerateConfig, Model
    from inspect_ai.solver import TaskState

    from theodolite.engine.session import Session
    from theodolite.models.handle import ApiModel, LanguageModel
    from theodolite.providers.theodolite import TheodoliteAPI
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run


def evaluate(
    task: Task,
    model: LanguageModel | ApiModel | Model | str,
    *,
    run: Run,
    seed: int = 0,
    limit: int | None = None,
    judge: str | Model | None = None,
    progress: Progress | None = None,
    in_step: bool = False,
    session: Session | None = None,
    **config: Any,
) -> EvalLog:
    """Evaluate a task and return its log, which also lies in the run's `logs/`.

    Args:
        task: an inspect task object.
        model: an open handle, a reference for `open_model`, or an inspect model.
        run: where logs and finished units go.
        seed: of sampling; has no effect under greedy decoding.
        limit: the first so many samples only.
        judge: an inspect model (or its name) that takes the role `judge`.
        in_step: of a task with several turns on a local model, plan every turn of all samples
            together (see `in_step.py`); they are all held in memory at once.
        session: what a model in step has read and written (default: a new one); tells afterwards
            what was read. One that serves several evaluations must serve them again, in the same
            order, when they are resumed.
        config: inspect's generation settings (`temperature`, `max_tokens`, ...), over the task's.

    Raises:
        Interrupted: the user stopped; finished units are in the journal.
        TheodoliteError: a sample failed for a reason of ours; that very error.
        ModelError: a sample failed otherwise; the sentence names the log.
    """
    from inspect_ai import eval as inspect_eval
    from inspect_ai.model import GenerateConfig

    overrides = {**config, "seed": seed}
    with _inspect_model(model, run) as (subject, api), ExitStack() as active:
        if api is not None:
            settings = subject.config.merge(task.config).merge(GenerateConfig(**overrides))
            requests = first_requests(task, api, settings, limit)
            generate_ahead(api, requests, run, progress)
            if in_step and not requests:
                overrides |= active.enter_context(
                    _in_step(task, api, run, limit, progress, session)
                )
        try:
            logs = inspect_eval(
                task,
                model=subject,
                model_roles={} if judge is None else cast(Any, {"judge": judge}),
                log_dir=str(run.path / "logs"),
                log_format="eval",
                log_level="error",
                log_realtime=False,
                display="none",
                ctl_server=False,
                limit=limit,
                **cast(Any, overrides),
            )
        except KeyboardInterrupt:
            raise _interrupted(task, run) from None
        if api is not None and api.failure is not None:
            raise api.failure
    return _checked(logs, task, run)


@contextmanager
def _inspect_model(
    model: LanguageModel | ApiModel | Model | str, run: Run
) -> Iterator[tuple[Model, TheodoliteAPI | None]]:
    """Give inspect's model for a handle or reference, and our provider where it is a local one."""
    from inspect_ai.model import Model, get_model

    from theodolite.models.handle import ApiModel
    from theodolite.models.open import open_model

    if isinstance(model, Model):
        yield model, None
        return
    handle = open_model(model) if isinstance(model, str) else model
    if isinstance(handle, ApiModel):
        yield get_model(handle.name), None
        return
    subject = get_model(
        f"theodolite/{handle.ref}", memoize=False, handle=handle, answers=Answers(run.journal)
    )
    subject.model_args = {  # what the log shows, in place of the open handle
        "fingerprint": handle.fingerprint,
        "interventions": [active.key for active in handle.interventions],
    }
    api = cast("TheodoliteAPI", subject.api)
    try:
        yield subject, api
    finally:
        api.close()


@contextmanager
def _in_step(
    task: Task,
    api: TheodoliteAPI,
    run: Run,
    limit: int | None,
    progress: Progress | None,
    session: Session | None,
) -> Iterator[dict[str, int]]:
    """Let the samples of a task go in step; gives what inspect must be told so that all can run."""
    from theodolite.engine.session import Session

    members = (task.epochs or 1) * len(list(task.dataset)[:limit])
    own = task.cleanup
    remembered = session or Session(api.model)

    async def leave(state: TaskState) -> None:
        step.leave()
        if own is not None:
            await own(state)

    def plan(requests: Sequence[Request]) -> None:
        generate_ahead(api, requests, run, progress, remembered)

    api.step = step = Step(api, plan, members)
    task.cleanup = leave
    try:
        yield {"max_connections": members, "max_samples": members}
    finally:
        task.cleanup, api.step = own, None
        step.close()


def first_requests(
    task: Task, api: TheodoliteAPI, config: GenerateConfig, limit: int | None
) -> list[Request]:
    """Return what the first turn of every sample will ask, or nothing where that is not known.

    It is known where the task's solver is inspect's plain `generate()` without set-up or tools.
    """
    from inspect_ai._util.registry import is_registry_object, registry_info, registry_params

    solver = task.solver
    if task.setup is not None or not is_registry_object(solver):
        return []
    if registry_info(solver).name != "inspect_ai/generate" or registry_params(solver):
        return []
    epochs = task.epochs or 1
    samples = list(task.dataset)[:limit]
    return [
        api.request(_messages(sample.input, config.system_message), config, epoch)
        for epoch in range(1, epochs + 1)
        for sample in samples
    ]


def _messages(words: str | list[ChatMessage], system: str | None) -> list[ChatMessage]:
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser

    turns: list[ChatMessage] = (
        [ChatMessageUser(content=words)] if isinstance(words, str) else list(words)
    )
    return [ChatMessageSystem(content=system), *turns] if system else turns


def generate_ahead(
    api: TheodoliteAPI,
    requests: Sequence[Request],
    run: Run,
    progress: Progress | None,
    session: Session | None = None,
) -> None:
    """Answer requests as planned units of the run, one plan per kind of settings."""
    unique = {api.key(request): request for request in requests}
    ordered = sorted(unique.items(), key=lambda pair: repr(pair[1].settings))  # stable
    for _, group in groupby(ordered, key=lambda pair: pair[1].settings):
        keys, plan = zip(*group)
        answers = answer_requests(
            api.model, plan, session=session, journal=run.journal, progress=progress
        )
        for key, answer in zip(keys, answers, strict=True):
            api.answers.plan(key, answer)


def _checked(logs: Sequence[EvalLog], task: Task, run: Run) -> EvalLog:
    """Return the one log; an empty list is how inspect says that it was interrupted early."""
    if not logs or logs[0].status == "cancelled":
        raise _interrupted(task, run)
    log = logs[0]
    if log.status != "success":
        reason = log.error.message if log.error is not None else f"its status is {log.status}"
        raise ModelError(
            f"The evaluation {task.name} did not finish: {_one_line(reason)}",
            fix=f"Its log is {log.location}.",
        )
    return log


def _one_line(text: str) -> str:
    from theodolite.text.display import escape

    return escape(text.strip().splitlines()[0] if text.strip() else "no reason given", 300)


def _interrupted(task: Task, run: Run) -> TheodoliteError:
    return Interrupted(
        f"The evaluation {task.name} was stopped; {run.kept()}",
        fix=f"Go on with --resume {run.path}.",
    )
