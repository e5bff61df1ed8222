"""Ask a judge model about many answers at once; every verdict is kept as it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from theodolite.errors import JudgeError
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from inspect_ai.model import Model

    from theodolite.judging.refusal_judge import RefusalJudge
    from theodolite.judging.verdict import Verdict
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

AT_ONCE: Final = 16
VERSION: Final = 1


def judge_answers(
    judge: Any,
    answers: Sequence[Mapping[str, str]],
    *,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Return a judge's verdicts on answers, in order.

    Args:
        judge: an inspect model or its name.
        answers: `id`, `prompt` (may be empty) and `completion` of each.
        seed: of the fences around what is judged.
        journal: verdicts are kept there and not asked for again.
        progress: told of verdicts.

    Raises:
        JudgeError: the judge cannot be opened or reached, or got a canary wrong. The canaries run
            first, so nothing is scored low by a judge that is down.
    """
    from theodolite.judging.verdict import Verdict

    opened = open_judge(judge, seed=seed)

    async def label(answer: Mapping[str, str]) -> dict[str, Any]:
        said = await opened.label(answer["completion"], answer["prompt"], item_id=answer["id"])
        return vars(said)

    how = ("judged answer", VERSION, opened.name, seed)
    rows = ask_each(answers, label, how, check=opened.check, journal=journal, progress=progress)
    return [Verdict(**row) for row in rows]


def ask_each(
    answers: Sequence[Mapping[str, str]],
    ask: Callable[[Mapping[str, str]], Awaitable[dict[str, Any]]],
    how: Sequence[Any],
    *,
    check: Callable[[], Awaitable[Any]],
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Return what a judge says of each answer, in order, as JSON values without any text.

    Args:
        answers, journal, progress: as for `judge_answers`.
        ask: asks about one answer.
        how: what the verdicts depend on beside the answers: method, version, judge, seed.
        check: runs the canaries, before the first answer that is not in the journal.
    """
    keys = [content_key(*how, a["id"], a["prompt"], a["completion"]) for a in answers]
    found: dict[str, dict[str, Any]] = {}
    for key in keys:
        stored = journal.get(key) if journal is not None else None
        if stored is not None:
            found[key] = stored
    if progress is not None:
        progress.start("judge", len(answers))
        progress.advance(sum(key in found for key in keys))
    todo = {key: answer for key, answer in zip(keys, answers) if key not in found}

    def keep(key: str, row: dict[str, Any]) -> None:
        found[key] = row
        if journal is not None:
            journal.put(key, row)
        if progress is not None:
            progress.advance(keys.count(key))

    if todo:
        run(partial(_ask_all, ask, check, todo, keep))
    return [found[key] for key in keys]


async def _ask_all(
    ask: Callable[[Mapping[str, str]], Awaitable[dict[str, Any]]],
    check: Callable[[], Awaitable[Any]],
    todo: Mapping[str, Mapping[str, str]],
    keep: Callable[[str, dict[str, Any]], None],
) -> None:
    import anyio

    await check()
    places = anyio.Semaphore(AT_ONCE)

    async def one(key: str, answer: Mapping[str, str]) -> None:
        async with places:
            row = await ask(answer)
        keep(key, row)

    async with anyio.create_task_group() as group:
        for key, answer in todo.items():
            group.start_soon(one, key, answer)


def open_judge(judge: Any, *, seed: int) -> RefusalJudge:
    """Return the refusal judge of a model; raises as `judge_model`."""
    from theodolite.judging.refusal_judge import RefusalJudge

    return RefusalJudge(judge_model(judge), seed=seed)


def judge_model(judge: Any) -> Model:
    """Return the model that judges.

    Raises:
        JudgeError: inspect does not know it.
    """
    from inspect_ai.model import get_model

    from theodolite.text.display import escape

    try:
        return get_model(judge)
    except Exception as error:  # inspect and its providers raise what they like
        why = escape(str(error), 200).rstrip(". ")
        raise JudgeError(
            f"The judge {escape(str(judge), 80)} cannot be opened: {why}.",
            fix="Name a model as inspect_ai does, e.g. openai/gpt-4o, and set its key.",
        ) from error


def run(work: Any) -> Any:
    """Run judge work to its end; the one JudgeError of a group of tasks is raised as itself."""
    import anyio

    try:
        return anyio.run(work)
    except BaseExceptionGroup as group:
        first, _ = group.split(JudgeError)
        if first is None:
            raise
        error: BaseException = first
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
