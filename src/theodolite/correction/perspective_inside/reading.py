"""The stream where a completion begins, before and after the turns of a method.

Read is the last token of the marker that every completion starts with, put into the model's open
turn: it is the same token in every arm, so what differs there comes from the turns before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.correction.perspective_inside.texts import dataset_of
from theodolite.correction.perspective_taking.registry import make_solver
from theodolite.correction.perspective_taking.setting import Setting
from theodolite.data.prompts import Prompt, shown
from theodolite.engine import capture
from theodolite.errors import RunError
from theodolite.measure.closed_form import Floats
from theodolite.models.chat import Encoded, encode
from theodolite.providers.evaluate import evaluate
from theodolite.providers.log_samples import samples_of
from theodolite.providers.requests import chat_turns
from theodolite.text.completion_marker import MARKER

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage

    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run


@dataclass(frozen=True)
class Arms:
    """Chats that end where a completion begins, one per prompt and arm.

    Args:
        prompts: the beginnings, in order.
        before: the chat of the original completion, the same for all arms.
        after: method -> the chat of the rewritten one.
    """

    prompts: tuple[Prompt, ...]
    before: tuple[Encoded, ...]
    after: Mapping[str, tuple[Encoded, ...]]


def talk_through(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    methods: Sequence[str],
    *,
    readers: int,
    setting: Setting,
    run: Run,
    seed: int = 0,
    progress: Progress | None = None,
) -> Arms:
    """Let a model go on with beginnings and rewrite them by methods; return where each begins.

    Args:
        methods: names of methods that rewrite, all from the original of `base`.
        readers: imagined, or objects in the placebo.

    Raises: TheodoliteError: as `providers.evaluate`.
    """
    from inspect_ai import Task

    before: list[tuple[Encoded, ...]] = []
    after: dict[str, tuple[Encoded, ...]] = {}
    for method in methods:
        task = Task(
            dataset=dataset_of(prompts),
            solver=make_solver(method, setting=setting, k=readers),
            name="perspective_inside",
        )
        log = evaluate(task, model, run=run, seed=seed, progress=progress, in_step=True)
        asked = [_asked(sample) for sample in samples_of(log)]
        ids = [prompt.id for prompt in prompts]
        before.append(tuple(begun(model, c[0], f"{i}/before") for i, c in zip(ids, asked)))
        after[method] = tuple(begun(model, c[-1], f"{i}/{method}") for i, c in zip(ids, asked))
    for other in before[1:]:
        if [one.ids for one in other] != [one.ids for one in before[0]]:
            raise RunError(
                "The methods did not start from the same chats, so they cannot be compared.",
                fix="Use a model whose answers do not change between two calls.",
            )
    return Arms(tuple(prompts), before[0], after)


def _asked(sample: Any) -> list[list[ChatMessage]]:
    """Return the turns of every call to the model in a sample of a log, in order."""
    from inspect_ai.event import ModelEvent
    from inspect_ai.log import resolve_sample_attachments

    whole = resolve_sample_attachments(sample, "full")
    found = [list(event.input) for event in whole.events if isinstance(event, ModelEvent)]
    if len(found) < 2:
        raise RunError(
            f"The log of sample {shown(str(sample.id))} does not hold the calls to the model.",
            fix="Run again without settings that leave model events out of inspect's logs.",
        )
    return found


def begun(model: LanguageModel, turns: Sequence[ChatMessage], prompt_id: str) -> Encoded:
    """Return a chat with the marker of a completion in the model's open turn."""
    opened = [*chat_turns(turns), {"role": "assistant", "content": MARKER}]
    return replace(encode(model, opened, continue_final=True), prompt_id=prompt_id)


def read_stream(
    model: LanguageModel,
    chats: Sequence[Encoded],
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Floats:
    """Return the stream after every block at the last token of chats.

    Returns: axes (chat, layer, d_model); `hidden_index` is the layer's place plus 1.
    """
    found = capture(model, list(chats), sites=("resid_post",), journal=journal, progress=progress)
    return np.asarray(found.get("resid_post").numpy()[:, :, 0], np.float64)
