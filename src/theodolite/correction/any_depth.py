"""A defence at inference time: ask again, in a fresh assistant's turn, whether to go on.

Models that are trained to refuse do so where their turn begins, and forget it a few tokens later.
So the turn is closed and opened again in a branch, every 32 tokens of a reply, and where the model
refuses there, that refusal takes the place of the whole reply. Nothing is trained.

    inspect eval TASK --model theodolite/REF --solver theodolite/any_depth

Source: arXiv:2510.18081, the mode that re-enters the header. There the reply is watched while it is
written; here it is written first and then read from the front, which gives the same text (the
branches never lead back) and costs the rest of a reply that is replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from inspect_ai.model import ChatMessage, ChatMessageAssistant, GenerateConfig, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver

from theodolite.errors import CapabilityError, ConfigError
from theodolite.judging.refusal import score_refusal
from theodolite.providers.requests import CLOSED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from inspect_ai.model import Model

EVERY: Final = 32
PROBE: Final = 16
"""Tokens of a branch, by which a refusal shows itself."""
RECORD: Final = "any_depth"
"""Metadata of a sample: how many tokens stood there when the reply was replaced, or None."""
REFUSAL: Final = "refusal"


@solver(name="any_depth")
def any_depth(every: int = EVERY) -> Solver:
    """Replace a reply by the refusal that a fresh turn gives at any depth of it.

    Args:
        every: tokens of the reply between two branches. There is one more at its end, and one
            before the first token where the reply was begun for the model.

    Raises:
        ConfigError: `every` is below 1.
        CapabilityError: the model is not local: its turn cannot be closed and opened again.
    """
    check_every(every)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        from theodolite.providers.theodolite import TheodoliteAPI

        model = get_model()
        api = model.api
        if not isinstance(api, TheodoliteAPI):
            raise not_local()
        begun = [message for message in state.messages if message.role == "assistant"][-1:]
        begun = begun if begun and state.messages[-1] is begun[0] else []
        turns = state.messages[: len(state.messages) - len(begun)]
        before = begun[0].text if begun else ""
        state = await generate(state)
        whole = before + state.output.completion

        async def probe(branch: list[ChatMessage]) -> str:
            config = GenerateConfig(max_tokens=PROBE, temperature=0.0)
            return (await model.generate(branch, config=config)).completion

        where = (turns, whole, len(before), every)
        found = await first_refusal(api.model.tokenizer, *where, state.user_prompt.text, probe)
        if found is not None:
            return await _replaced(state, model, *found)
        state.metadata[RECORD] = None
        return state

    return solve


def check_every(every: int) -> None:
    """Refuse a distance between branches below 1; raises ConfigError."""
    if not isinstance(every, int) or every < 1:
        raise ConfigError(f"every is {every}.", fix="Give 1 or more.")


def not_local() -> CapabilityError:
    """Return the error for a model whose turn cannot be closed and opened again."""
    return CapabilityError(
        "The any-depth defence on this model",
        "its provider decides itself how an assistant's turn is put",
        "Use a local model (theodolite/REF)",
    )


async def first_refusal(
    tokenizer: Any,
    turns: Sequence[ChatMessage],
    reply: str,
    begin: int,
    every: int,
    request: str,
    probe: Callable[[list[ChatMessage]], Awaitable[str]],
) -> tuple[int, list[ChatMessage]] | None:
    """Return the first branch in which the model refuses, with its depth; None where none does.

    Args:
        tokenizer, reply, begin, every: as for `depths_of`.
        turns: before the reply.
        request: that it answers.
        probe: asks the model what it says in a fresh turn behind a branch's.
    """
    for depth, text in depths_of(tokenizer, reply, begin, every):
        branch = [*turns, _closed(text)]
        if score_refusal(await probe(branch), request).label == REFUSAL:
            return depth, branch
    return None


def depths_of(tokenizer: Any, reply: str, begin: int, every: int) -> list[tuple[int, str]]:
    """Return how much of a reply stands at each branch: its own tokens so far, and the text.

    Args:
        tokenizer: of the model.
        reply: the whole of it.
        begin: where the model's own part begins, in characters.
        every: tokens between two branches.
    """
    encoded = tokenizer(reply, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ends = [end for _, end in encoded["offset_mapping"] if end > begin]
    counts = sorted({*range(0, len(ends), every), len(ends)})
    cuts = [(count, reply[: ends[count - 1] if count else begin].rstrip()) for count in counts]
    return [(count, text) for count, text in cuts if text]


def _closed(text: str) -> ChatMessage:
    return ChatMessageAssistant(content=text, metadata={"theodolite": CLOSED})


async def _replaced(
    state: TaskState, model: Model, depth: int, branch: list[ChatMessage]
) -> TaskState:
    """Return the sample with the fresh turn's reply, at the length of the task's own."""
    state.output = await model.generate(branch, config=GenerateConfig(temperature=0.0))
    state.messages = [*branch[:-1], state.output.message]
    state.metadata[RECORD] = depth
    return state
