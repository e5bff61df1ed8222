"""A model that judges refusals: how good it is on labelled rows, and its verdicts on given answers.

Both run before anything else is asked, so a judge that is down or fails its canaries stops the work
at once, with nothing scored low.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from theodolite.errors import JudgeError
from theodolite.measure.measurement import JudgeQuality

if TYPE_CHECKING:
    from theodolite.judging.refusal_judge import RefusalJudge
    from theodolite.judging.verdict import Verdict

AT_ONCE = 16


def judge_quality(judge: Any, *, seed: int = 0) -> JudgeQuality:
    """Return a judge's sensitivity and specificity on rows that people labelled.

    Args:
        judge: an inspect model or its name.
        seed: of the sample of labelled rows and of the fences.

    Raises:
        JudgeError: the judge cannot be opened or reached, or got a canary wrong.
    """
    from theodolite.judging.calibration import calibrate_refusal_judge, calibration_rows

    source, rows = calibration_rows(seed=seed)
    opened = open_judge(judge, seed=seed)
    measured = run(partial(calibrate_refusal_judge, opened, rows, source=source)).quality
    return JudgeQuality(opened.name, measured.sensitivity.value, measured.specificity.value, None)


def judge_answers(
    judge: Any, answers: Sequence[Mapping[str, str]], *, seed: int = 0
) -> list[Verdict]:
    """Return a judge's verdicts on answers made elsewhere, in order.

    Args:
        judge: an inspect model or its name.
        answers: `id`, `prompt` (may be empty) and `completion` of each.

    Raises:
        JudgeError: as `judge_quality`.
    """
    opened = open_judge(judge, seed=seed)
    verdicts: list[Verdict] = run(partial(_all_verdicts, opened, answers))
    return verdicts


async def _all_verdicts(judge: RefusalJudge, answers: Sequence[Mapping[str, str]]) -> list[Verdict]:
    import anyio

    await judge.check()
    found: list[Verdict | None] = [None] * len(answers)
    places = anyio.Semaphore(AT_ONCE)

    async def one(index: int, answer: Mapping[str, str]) -> None:
        async with places:
            found[index] = await judge.label(
                answer["completion"], answer["prompt"], item_id=answer["id"]
            )

    async with anyio.create_task_group() as group:
        for index, answer in enumerate(answers):
            group.start_soon(one, index, answer)
    return [verdict for verdict in found if verdict is not None]


def open_judge(judge: Any, *, seed: int) -> RefusalJudge:
    """Return the judge of a model; raises JudgeError where inspect does not know the model."""
    from inspect_ai.model import get_model

    from theodolite.judging.refusal_judge import RefusalJudge
    from theodolite.text.display import escape

    try:
        model = get_model(judge)
    except Exception as error:  # inspect and its providers raise what they like
        raise JudgeError(
            f"The judge {escape(str(judge), 80)} cannot be opened: {escape(str(error), 200)}.",
            fix="Name a model as inspect_ai does, e.g. openai/gpt-4o, and set its key.",
        ) from error
    return RefusalJudge(model, seed=seed)


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
