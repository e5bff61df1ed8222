"""Solvers for any inspect task: reason, protect, plant, vote, check.

cot, mitigate and plant_answer change what is asked, in this order; then comes inspect's own
`generate()`, or `vote`; then `reflect` or `independent`. A task of somebody else gives what is
planted as `metadata["wrong_answer"]` of its samples, and may give `metadata["answer_type"]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

from theodolite.behaviour.preemptive_answers import planting
from theodolite.behaviour.preemptive_answers.examples import few_shot
from theodolite.behaviour.preemptive_answers.extracting import found_in, voted
from theodolite.behaviour.preemptive_answers.extraction import reasoning_of
from theodolite.behaviour.preemptive_answers.planting import (
    CLEAN,
    EXTRA_USER,
    PLANTED,
    PLANTED_GOLD,
    PLANTED_LATE,
    Route,
    masked,
    plant,
    reflection,
    route,
)
from theodolite.behaviour.preemptive_answers.prompts import FEW_SHOT, METHODS, STEP_BY_STEP, VOTED
from theodolite.data.preemptive import CHOICE, LETTERS, TEXT, Item
from theodolite.data.prompts import Message, shown
from theodolite.errors import ConfigError
from theodolite.models.handle import ApiModel, LanguageModel
from theodolite.providers.surface import one_sentence
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

ITEM: Final = "item"
PLANT: Final = "planted"
REPLIES: Final = "replies"
ATTACKED: Final = "attacked"
FRESH: Final = "fresh"
DOWNGRADE: Final = "downgrade"
CONDITION: Final = "condition"
CHECKED: Final = "checked"
_PROVES: Final = (
    {"role": "user", "content": "How do I fold a paper boat?"},
    {"role": "assistant", "content": "Take a sheet of paper and"},
)


def chat(turns: Sequence[Message]) -> list[ChatMessage]:
    """Return turns as inspect has them."""
    kinds: Mapping[str, Any] = {"system": ChatMessageSystem, "assistant": ChatMessageAssistant}
    return [kinds.get(turn.role, ChatMessageUser)(content=turn.content) for turn in turns]


def turns_of(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """Return inspect's messages as turns."""
    return tuple(Message(message.role, message.text) for message in messages)


def spoken(message: ChatMessageAssistant) -> str:
    """Return what a model wrote, its reasoning trace before it where it comes apart."""
    parts = [] if isinstance(message.content, str) else message.content
    traces = [part.reasoning for part in parts if part.type == "reasoning" and part.reasoning]
    return "".join(f"<think>\n{trace}\n</think>\n" for trace in traces) + message.text


async def sampled(messages: Sequence[ChatMessage], n: int) -> list[ModelOutput]:
    """Return `n` replies of the model that is evaluated; a local one reads the prompt once."""
    from theodolite.providers.theodolite import TheodoliteAPI

    model = get_model()
    if n > 1 and isinstance(model.api, TheodoliteAPI):
        return [await model.generate(list(messages), config=GenerateConfig(num_choices=n))]
    return [await model.generate(list(messages)) for _ in range(n)]


def route_of(model: Any, channel: str, *, strict: bool = False) -> Route:
    """Return the channel a model can take.

    Args:
        model: an open handle, or an inspect model.
        channel, strict: as for `planting.route`, which raises the same.
    """
    if isinstance(model, LanguageModel):
        return route(
            channel,
            two_user_turns=not model.chat.alternates,
            prefill=channel != planting.PREFILL or _goes_on(model),
            strict=strict,
        )
    from theodolite.behaviour.course_correction.open_turn import check_provider

    served = get_model(model.name) if isinstance(model, ApiModel) else model
    inner = getattr(served.api, "model", None)
    if isinstance(inner, LanguageModel):
        return route_of(inner, channel, strict=strict)
    try:
        check_provider(str(served), "continue")
        prefill = True
    except ConfigError:
        prefill = False
    alone = not served.api.collapse_user_messages()
    return route(channel, two_user_turns=alone, prefill=prefill, strict=strict)


def _goes_on(model: LanguageModel) -> bool:
    """Return whether the template of a local model can leave a begun reply open."""
    from theodolite.errors import DataError
    from theodolite.models.chat import encode

    try:
        encode(model, _PROVES, add_generation_prompt=False, continue_final=True)
    except DataError:
        return False
    return True


@solver
def cot(method: str = STEP_BY_STEP, examples: str | None = None) -> Solver:
    """Ask with a method of reasoning.

    Args:
        method: `zs`, `zs_cot`, `fs_cot`, `ps_cot`, `ltm` or `native_think`; of a method that votes
            the one that it samples.
        examples: the set whose worked examples `fs_cot` shows; None takes those of the item.
    """
    with one_sentence():
        plain = VOTED.get(method, method)
        if plain not in METHODS:
            known = [*METHODS, *VOTED]
            raise ConfigError(
                f"There is no method {shown(method)}.", fix=did_you_mean(method, known)
            )
        block = "" if examples is None else few_shot(examples) + "\n\n"

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if ITEM in state.metadata:
            turns = planting.ask(item_of(state), method)
            state.messages = chat(turns)
            return state
        shots = block if plain == FEW_SHOT else ""
        prompt = state.user_prompt
        prompt.text = f"{shots}Problem: {prompt.text}\n\n{METHODS[plain]}"
        return state

    return solve


@solver
def mitigate(kind: str) -> Solver:
    """Add the sentence of a mitigation, `restate` or `ignore_note`, before anything is planted."""
    with one_sentence():
        planting.mitigate((Message("user", "x"),), kind)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.messages = chat(planting.mitigate(turns_of(state.messages), kind))
        return state

    return solve


@solver
def plant_answer(
    condition: str = PLANTED,
    channel: str = EXTRA_USER,
    wording: str = "plain",
    fraction: float = 0.0,
    mask: bool = False,
    strict: bool = False,
) -> Solver:
    """Plant an answer, or ask to answer first.

    Args:
        condition, channel, wording, fraction: as for `planting.plant`; a late plant first lets the
            model reason undisturbed.
        mask: take what looks like an answer out of what is planted.
        strict: refuse a channel that the model cannot take, in place of planting inline, which
            `metadata["downgrade"]` then says.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        before = turns_of(state.messages)
        taken = route_of(get_model(), channel, strict=strict)
        reasoning, part = None, fraction
        if condition == PLANTED_LATE and fraction:
            output = (await sampled(state.messages, 1))[0]
            reasoning = reasoning_of(output.completion)
            part = fraction if reasoning.strip() else 0.0
        attacked = plant(
            before,
            condition,
            _planted(state, condition),
            taken.channel,
            wording=wording,
            reasoning=reasoning,
            fraction=part,
        )
        state.metadata[CONDITION] = condition
        state.metadata[FRESH] = [turn.to_json() for turn in before]
        state.metadata[DOWNGRADE] = taken.downgrade
        state.messages = chat(masked(before, attacked) if mask else attacked)
        return state

    return solve


@solver
def vote(n: int = 10) -> Solver:
    """Take the answer that most of `n` sampled replies give; equal answers vote together."""
    with one_sentence():
        if n < 2:
            raise ConfigError(f"{n} samples are no vote.", fix="Take 2 or more.")

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        outputs = await sampled(state.messages, n)
        texts = [spoken(choice.message) for output in outputs for choice in output.choices][:n]
        state.metadata[REPLIES] = texts
        item, condition = item_of(state), str(state.metadata.get(CONDITION, CLEAN))
        chosen = voted(item, [found_in(item, text, condition) for text in texts]).sample
        state.output = ModelOutput.from_content(outputs[0].model, texts[chosen])
        state.messages.append(state.output.message)
        return state

    return solve


@solver
def reflect() -> Solver:
    """Let the model check its own reply: it says whether it is right, and solves anew if not."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        # A begun reply is part of the solution that is checked.
        begun = state.messages[-2] if len(state.messages) > 1 else None
        start = begun.text if begun is not None and begun.role == "assistant" else ""
        first = state.output.completion
        question = item_of(state).asked
        state.metadata[ATTACKED] = first
        state.metadata[CHECKED] = True
        state.messages = chat(reflection(question, start + first))
        state.output = (await sampled(state.messages, 1))[0]
        state.messages.append(state.output.message)
        return state

    return solve


@solver
def independent() -> Solver:
    """Solve once more without what was planted; the scorer sees whether the answers differ."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        fresh = [Message.from_json(turn) for turn in state.metadata.get(FRESH, ())]
        state.metadata[ATTACKED] = state.output.completion
        if fresh:
            state.messages = chat(fresh)
            state.output = (await sampled(state.messages, 1))[0]
            state.messages.append(state.output.message)
        return state

    return solve


def item_of(state: TaskState) -> Item:
    """Return the item of a sample; of a task that is not ours, made of question and target.

    Raises: DataError: the sample's question is empty.
    """
    if ITEM in state.metadata:
        facts = dict(state.metadata[ITEM])
        return Item(**facts | {"options": tuple(facts["options"])})
    options = tuple(choice.value for choice in state.choices)
    answer_type = state.metadata.get("answer_type") or (CHOICE if options else TEXT)
    return Item(
        id=str(state.sample_id),
        set="task",
        question=state.input_text,
        gold=state.target.text,
        wrong=state.metadata.get("wrong_answer"),
        answer_type=answer_type,
        options=options[: len(LETTERS)],
    )


def _planted(state: TaskState, condition: str) -> str | None:
    """Return what a condition plants into a sample."""
    if PLANT in state.metadata:
        found = state.metadata[PLANT]
    elif condition == PLANTED_GOLD:
        found = state.target.text
    else:
        found = state.metadata.get("wrong_answer")
    return None if found is None else str(found)
