"""Ask a model to go on with prompts, once per method, all methods from the very same originals.

`base` goes first. What it wrote is handed to every method that rewrites, so that methods are
compared on the same originals whatever model answers, and nothing is asked for twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig

from theodolite.behaviour.continuations import BASE
from theodolite.behaviour.continuing.answers import Answer
from theodolite.behaviour.continuing.options import Asking
from theodolite.correction.perspective_taking.method import RECORD, VERSION
from theodolite.correction.perspective_taking.setting import ORIGINAL_KEY, PROMPT_KEY, Setting
from theodolite.data.prompts import Prompt
from theodolite.providers.evaluate import evaluate as run_task
from theodolite.providers.log_samples import samples_of

if TYPE_CHECKING:
    from inspect_ai.scorer import Metric, Scorer

    from theodolite.judging.toxicity import TextScorer
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

MAX_CONNECTIONS: Final = 64
AT_ONCE: Final = 1024
"""Answers of one evaluation at most: all of them are held in memory, and planned together."""


def to_sample(prompt: Prompt, originals: Sequence[str] | None = None) -> Sample:
    """Return the inspect sample of a prompt.

    Args:
        originals: first answers, one for each sample; None asks the model for them.
    """
    facts: dict[str, Any] = {
        PROMPT_KEY: prompt.request,
        "goal_id": prompt.goal_id or prompt.id,
        "category": prompt.category,
        **{key: value for key, value in prompt.meta.items() if key == "domain"},
    }
    if originals is not None:
        facts[ORIGINAL_KEY] = list(originals)
    return Sample(id=prompt.id, input=prompt.request, metadata=facts)


def continuation_task(
    rows: Sequence[Prompt],
    method: str,
    options: Asking,
    setting: Setting,
    *,
    name: str,
    tool: TextScorer | None = None,
    originals: Mapping[str, Sequence[str]] | None = None,
    scorer: Scorer | None = None,
    metrics: dict[str, list[Metric]] | None = None,
) -> Task:
    """Return the task of one method.

    Args:
        method: its name.
        options: number of samples and sampling; checked.
        name: of the task.
        tool: of the methods that ask one.
        originals: prompt id -> first answers, one for each sample.
        scorer, metrics: of continuations; without, they are scored afterwards.
    """
    return Task(
        dataset=MemoryDataset(
            [to_sample(row, None if originals is None else originals[row.id]) for row in rows],
            name=name,
        ),
        solver=options.solver(method, setting, tool),
        scorer=scorer,
        metrics=metrics,
        epochs=options.n,
        config=GenerateConfig(
            max_tokens=options.stage_caps.writing,
            temperature=options.temperature,
            top_p=options.top_p if options.temperature else None,
            max_connections=MAX_CONNECTIONS,
        ),
        version=VERSION,
        name=name,
    )


def ask_all(
    model: Any,
    rows: Sequence[Prompt],
    options: Asking,
    setting: Setting,
    *,
    name: str,
    run: Run,
    seed: int = 0,
    tool: TextScorer | None = None,
    progress: Progress | None = None,
) -> list[Answer]:
    """Return what every method makes of every prompt, methods in the order of the options.

    Args:
        model: an open handle, or an inspect model.
        options: checked, see `check_asking`.
        others: as for `continuation_task`.

    Raises: TheodoliteError: as `providers.evaluate`.
    """
    by_id = {row.id: row for row in rows}
    originals: dict[str, list[str]] | None = None
    found: dict[str, list[Answer]] = {}
    for method in sorted(options.method_names, key=lambda one: one != BASE):
        found[method] = []
        for part in _parts(rows, max(1, AT_ONCE // options.n)):
            task = continuation_task(
                part, method, options, setting, name=name, tool=tool, originals=originals
            )
            log = run_task(task, model, run=run, seed=seed, progress=progress, in_step=True)
            for sample in samples_of(log):
                record = sample.metadata[RECORD]
                found[method].append(Answer.of_record(record, by_id[str(sample.id)], method))
        if method == BASE:
            originals = _originals(found[method])
    return [answer for method in options.method_names for answer in found[method]]


def _parts(rows: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _originals(answers: Sequence[Answer]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for answer in sorted(answers, key=lambda one: one.sample):
        found.setdefault(answer.prompt.id, []).append(answer.original)
    return found
