"""Samples whose finished records are kept one by one, so that a stopped run loses none of them.

A record lies in the run's journal under a key of all that decides it, whatever model gave it. A run
that goes on asks for the others only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.models.handle import LanguageModel
from theodolite.providers.evaluate import evaluate

if TYPE_CHECKING:
    from inspect_ai import Task

    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

Keep = Callable[[str, dict[str, Any]], None]
MakeTask = Callable[[Sequence[str], Keep], "Task"]


def finish_samples(
    model: Any,
    keys: Mapping[str, str],
    task_of: MakeTask,
    *,
    run: Run,
    at_once: int,
    label: str,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Run a task on the samples whose records a run lacks, and keep each as soon as it is there.

    Args:
        model: an open handle, or an inspect model.
        keys: sample id -> the key of its record, in order.
        task_of: makes the task of some samples, by id; its solver hands each finished record over.
        at_once: samples of one evaluation: a local model finishes them together.
        label: of the progress.

    Raises:
        Interrupted: the user stopped; what was finished is kept.
        TheodoliteError: a sample failed.
    """
    local, ids = isinstance(model, LanguageModel), list(keys)
    missing = {id for id in ids if not run.journal.has(keys[id])}

    def keep(id: str, record: dict[str, Any]) -> None:
        if not run.journal.has(keys[id]):
            run.journal.put(keys[id], record)
            if progress is not None:
                progress.advance()

    if missing and progress is not None:
        progress.start(label, len(missing))
    for start in range(0, len(ids), at_once):
        part = ids[start : start + at_once]
        left = [id for id in part if id in missing]
        if left:
            # A local model's turns are planned for the part as a whole, in a run that goes on
            # as in the first one; what is known of them is not computed again.
            task = task_of(part if local else left, keep)
            evaluate(task, model, run=run, seed=seed, in_step=local)


def kept_records(run: Run, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the records that a run holds, in order."""
    found = [run.journal.get(key) for key in keys.values()]
    return [record for record in found if record is not None]
