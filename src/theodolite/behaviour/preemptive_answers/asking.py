"""Ask a model, keep every reply as soon as it is there, and ask nothing twice.

A request is known by its turns and settings, so the clean run is asked once whatever compares
itself with it, and a run that goes on asks for the rest only. Requests of one item are asked one
after the other: a local model remembers the item and reads only what is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.preemptive_answers.solvers import chat, sampled, spoken
from theodolite.data.prompts import Message
from theodolite.errors import ConfigError, DataError
from theodolite.models.handle import ApiModel, LanguageModel
from theodolite.providers.kept import Keep, finish_samples
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.model import ModelOutput
    from inspect_ai.solver import Solver

    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = 1
"""Raised when the same request gets another reply than before."""
AT_ONCE: Final = 512
MAX_CONNECTIONS: Final = 64


@dataclass(frozen=True)
class Ask:
    """One request.

    Args:
        turns: what the model reads; it goes on with a last turn of the assistant.
        max_tokens: of a reply.
        n: replies; more than one, or a temperature, are sampled.
        temperature: 0 is greedy.
        again: of a request that is made a second time.
        group: requests of one group begin alike; "" is a group of its own.
    """

    turns: tuple[Message, ...]
    max_tokens: int
    n: int = 1
    temperature: float = 0.0
    again: bool = False
    group: str = ""

    @property
    def settings(self) -> tuple[int, float, int, bool]:
        """What requests of one evaluation share."""
        return self.n, self.temperature, self.max_tokens, self.again


@dataclass(frozen=True)
class Said:
    """What a model replied.

    Args:
        texts: one per sample; () where it was not asked.
        read, written: tokens of the prompt and of all samples; None where the model does not tell.
        overflow: prompt and reply do not fit into the model's context.
    """

    texts: tuple[str, ...]
    read: int | None = None
    written: int | None = None
    overflow: bool = False


NOT_ASKED: Final = Said((), overflow=True)


class Asker:
    """A model, and the run in which its replies are kept.

    Args:
        model: an open handle, or an inspect model.
        seed: of samples; a second run of the same takes the next one.
    """

    def __init__(
        self, model: Any, *, run: Run, seed: int = 0, progress: Progress | None = None
    ) -> None:
        self.model = model
        self.run = run
        self.seed = seed
        self.progress = progress

    def ask(self, asks: Sequence[Ask], *, label: str = "Replies") -> list[Said]:
        """Return what is replied to each request, in order.

        Raises:
            Interrupted: the user stopped; what was finished is kept.
            TheodoliteError: a request failed.
        """
        keys = [self._key(ask) for ask in asks]
        unique = dict(zip(keys, asks))
        fitting = {key: ask for key, ask in unique.items() if not overflows(self.model, ask)}
        for settings in dict.fromkeys(ask.settings for ask in fitting.values()):
            self._finish({k: a for k, a in fitting.items() if a.settings == settings}, label)
        return [self._said(key) if key in fitting else NOT_ASKED for key in keys]

    def _finish(self, asks: dict[str, Ask], label: str) -> None:
        again = next(iter(asks.values())).again
        finish_samples(
            self.model,
            {key: key for key in asks},
            lambda ids, keep: _task({id: asks[id] for id in ids}, keep),
            run=self.run,
            at_once=AT_ONCE,
            label=label,
            seed=self.seed + again,
            progress=self.progress,
        )

    def _said(self, key: str) -> Said:
        record = self.run.journal.get(key)
        if record is None:  # a task that ends well has handed over every record
            raise DataError("A reply is missing from the run.", fix="Resume the run.")
        return Said(**record | {"texts": tuple(record["texts"])})

    def _key(self, ask: Ask) -> str:
        model = self.model
        changed = None
        if isinstance(model, LanguageModel):
            from theodolite.engine.interventions import interventions_key

            changed = interventions_key(model)
        seed = self.seed if ask.temperature else None
        return content_key(
            "preemptive answers",
            VERSION,
            getattr(model, "fingerprint", None) or str(model),
            changed,
            [turn.to_json() for turn in ask.turns],
            [*ask.settings, seed],
        )


def _task(asks: Mapping[str, Ask], keep: Keep) -> Task:
    """Return the task of requests with equal settings: a sample per group."""
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import GenerateConfig

    groups: dict[str, list[str]] = {}
    for id, ask in asks.items():
        groups.setdefault(ask.group or id, []).append(id)
    first = next(iter(asks.values()))
    return Task(
        dataset=MemoryDataset(
            [Sample(id=name, input=chat(asks[ids[0]].turns)) for name, ids in groups.items()],
            name="preemptive_answers",
        ),
        solver=_in_turn({name: {id: asks[id] for id in ids} for name, ids in groups.items()}, keep),
        config=GenerateConfig(
            max_tokens=first.max_tokens,
            temperature=first.temperature,
            top_p=1.0 if first.temperature else None,
            max_connections=MAX_CONNECTIONS,
        ),
        version=VERSION,
        name="preemptive_answers",
    )


def _in_turn(groups: Mapping[str, Mapping[str, Ask]], keep: Keep) -> Solver:
    """Return the solver that makes the requests of a group and hands over each reply."""
    from inspect_ai.solver import Generate, TaskState, solver

    @solver(name="keep_replies")
    def keep_replies() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            for id, ask in groups[str(state.sample_id)].items():
                outputs = await sampled(chat(ask.turns), ask.n)
                keep(id, _record(outputs, ask.n))
                state.output = outputs[0]
            return state

        return solve

    return keep_replies()


def _record(outputs: Sequence[ModelOutput], n: int) -> dict[str, Any]:
    """Return what is kept of a reply; see `Said`."""
    usages = [output.usage for output in outputs]
    known = all(usage is not None for usage in usages)
    return {
        "texts": [spoken(choice.message) for o in outputs for choice in o.choices][:n],
        "read": max((u.input_tokens for u in usages if u), default=0) if known else None,
        "written": sum(u.output_tokens for u in usages if u) if known else None,
        "overflow": any(output.stop_reason == "model_length" for output in outputs),
    }


def overflows(model: Any, ask: Ask) -> bool:
    """Return whether a request and its reply are too long for a local model's context.

    Raises: DataError: the chat template refuses the turns.
    """
    if not isinstance(model, LanguageModel) or model.max_context is None:
        return False
    from theodolite.models.render import render

    begun = ask.turns[-1].role == "assistant"
    rendered = render(
        model.tokenizer,
        model.chat,
        [turn.to_json() for turn in ask.turns],
        add_generation_prompt=not begun,
        continue_final=begun,
    )
    plain = not model.chat.has_template
    read: Any = model.tokenizer(rendered.text, add_special_tokens=plain, verbose=False)
    return len(read["input_ids"]) + ask.max_tokens > model.max_context


def opened(model: Any) -> Any:
    """Return a handle for a reference; what is open stays as it is."""
    from theodolite.models import open_model

    return open_model(model) if isinstance(model, str) else model


def opened_grader(judge: Any, model: Any) -> Any:
    """Return the model that reads replies for us, opened.

    Args:
        judge: its name as inspect has it, `theodolite/REF` for a local one, or an inspect model.
        model: the one that is evaluated, which may not read its own replies.

    Raises: ConfigError: there is none, or it is the same.
    """
    from inspect_ai.model import get_model

    from theodolite.judging.local import PROVIDER, is_local, open_judge

    if judge is None:
        raise ConfigError(
            "extractor=rule+llm and acknowledge=judge need a model that reads the replies.",
            fix="Name it with --judge.",
        )
    if str(judge).removeprefix(PROVIDER) in names_of(model):
        raise ConfigError(
            "The model that reads the replies is the one that is evaluated; it could solve the "
            "question anew.",
            fix="Name another one with --judge.",
        )
    if not isinstance(judge, str):
        return judge
    return open_judge(judge) if is_local(judge) else get_model(judge)


def names_of(model: Any) -> set[str]:
    """Return the names by which a model may be called."""
    from theodolite.judging.local import PROVIDER

    names = {str(getattr(model, part, "")) for part in ("name", "ref")}
    if not isinstance(model, LanguageModel | ApiModel):
        names.add(str(model))
    return {name.removeprefix(PROVIDER).removeprefix("api:") for name in names if name}
