"""Answer prompts, rewrite the answers, and keep each as soon as it is finished.

A finished answer lies in the run's journal with all its stages, whatever model gave it. A run that
goes on asks for the others only, and what was finished is never lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

from theodolite.correction.perspective_taking.method import RECORD
from theodolite.correction.perspective_taking.method import VERSION as METHOD_VERSION
from theodolite.correction.perspective_taking.setting import PROMPT_KEY
from theodolite.correction.respond_request import Work
from theodolite.data.prompts import Message, Prompt
from theodolite.engine.interventions import interventions_key
from theodolite.models.handle import LanguageModel
from theodolite.providers.kept import Keep, finish_samples, kept_records
from theodolite.runs.atomic import write_text
from theodolite.runs.strict_json import strict_dumps
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = 1
"""Raised when the same request gets another answer than before."""
ANSWERS: Final = "answers.jsonl"
AT_ONCE: Final = 64
"""Prompts of one evaluation: a local model finishes them together, so more would be kept later."""
# Settings on which an answer does not depend, or that the model's fingerprint holds.
_OUTSIDE: Final = ("prompt", "prompts", "limit", "scorers", "pairs", "connections", "device")


def answer_prompts(
    model: Any, work: Work, *, run: Run, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Answer every prompt, rewrite the answers, and return their records in order.

    Args:
        model: an open handle, or an inspect model.
        run: where finished answers are kept, and found where it goes on.

    Returns: what a method leaves of a sample, see `correcting`; also in `answers.jsonl`.

    Raises:
        Interrupted: the user stopped; what was finished is kept and lies in `answers.jsonl`.
        TheodoliteError: a prompt could not be answered.
    """
    keys = keys_of(model, work)
    prompts = {one.id: one for one in work.prompts}
    try:
        finish_samples(
            model,
            keys,
            lambda ids, keep: task_of([prompts[id] for id in ids], work, keep),
            run=run,
            at_once=AT_ONCE,
            label="Answers",
            seed=work.request.seed,
            progress=progress,
        )
    finally:
        records = kept_records(run, keys)
        if records:
            write_answers(run.path, records)
    return records


def keys_of(model: Any, work: Work) -> dict[str, str]:
    """Return what the answers are kept under, by prompt id in order."""
    request = {name: value for name, value in vars(work.request).items() if name not in _OUTSIDE}
    local = isinstance(model, LanguageModel)
    how = content_key(
        [VERSION, METHOD_VERSION],
        request,
        None if work.tool is None else work.tool.id,
        getattr(model, "fingerprint", None) or str(model),
        interventions_key(model) if local else None,
    )
    return {one.id: content_key("answer", how, one.id, one.as_messages()) for one in work.prompts}


def task_of(prompts: Iterable[Prompt], work: Work, keep: Keep) -> Task:
    """Return the inspect task that answers prompts.

    Args:
        keep: takes each finished answer: the prompt's id and the record.
    """
    request = work.request
    return Task(
        dataset=MemoryDataset(
            [to_sample(one, continuation=request.continuation) for one in prompts],
            name=work.prompts.name,
        ),
        solver=[work.solver, keep_answer(keep)],
        config=GenerateConfig(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            max_connections=request.connections,
        ),
        version=VERSION,
        name="respond",
    )


def to_sample(prompt: Prompt, *, continuation: bool) -> Sample:
    """Return the inspect sample of a prompt: a text to go on with, or a chat to answer."""
    if continuation:
        return Sample(input=prompt.request, id=prompt.id, metadata={PROMPT_KEY: prompt.request})
    if prompt.messages is None:
        return Sample(input=prompt.request, id=prompt.id)
    return Sample(input=[_turn(message) for message in prompt.messages], id=prompt.id)


@solver(name="keep_answer")
def keep_answer(keep: Keep) -> Solver:
    """Hand over the record that the method before it has left."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        keep(str(state.sample_id), state.metadata[RECORD])
        return state

    return solve


def write_answers(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write answers, one JSON record a line.

    The file is ASCII: whatever a model wrote, no terminal that shows the file obeys it.
    """
    path = folder / ANSWERS
    write_text(path, "".join(f"{strict_dumps(row)}\n" for row in rows))
    return path


def _turn(message: Message) -> ChatMessage:
    marks = dict(message.metadata) or None
    if message.role == "system":
        return ChatMessageSystem(content=message.content, metadata=marks)
    if message.role == "user":
        return ChatMessageUser(content=message.content, metadata=marks)
    return ChatMessageAssistant(content=message.content, metadata=marks)
