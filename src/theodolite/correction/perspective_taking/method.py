"""What every method does alike: get the original, rewrite it, and leave the task its final text.

A solver of this folder stands in place of `generate()`. When it is done, `state.output` holds the
text that counts and `state.messages` the task's own chat with that text as its answer, so that any
scorer works; the stages between are in `state.metadata["perspective_taking"]` and in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.correction.perspective_taking.openings import BASE, PREHOC_USER, opening
from theodolite.correction.perspective_taking.setting import Setting
from theodolite.correction.perspective_taking.stages import usage_of
from theodolite.correction.perspective_taking.talk import Talk
from theodolite.correction.perspective_taking.wording import PLAIN, check_choice, load_wording

if TYPE_CHECKING:
    from inspect_ai.solver import Generate, Solver, TaskState

RECORD: Final = "perspective_taking"
"""Metadata of a sample in which a method leaves its record."""
VERSION: Final = 1
"""Raised when a method asks something else than before."""
PAPER, REFERENCE = "paper", "reference"
PROTOCOLS: Final = (PAPER, REFERENCE)
CONFOUNDED: Final = (
    "Under protocol=reference a method has its own original, asked for after a statement on "
    "respect: its effect cannot be told from that of the statement."
)
Revise = Callable[[Talk], Awaitable[None]]
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Method:
    """A method as it is recorded.

    Args:
        name: e.g. `pet_io`.
        opening: how the original is asked for, see `opening`.
        protocol: `paper` starts from the original of `base`; `reference` from one of its own, with
            the pre-hoc statement before the first user turn, as the published code does.
        variant: the wording of the perspective-taking turns.
        options: what else was chosen, for the record.
    """

    name: str
    opening: str = BASE
    protocol: str = PAPER
    variant: str = PLAIN
    options: Mapping[str, Any] | None = None

    @property
    def asks(self) -> str:
        """How the original is asked for under the protocol."""
        return PREHOC_USER if self.protocol == REFERENCE else self.opening

    @property
    def takes_given(self) -> bool:
        """Whether it starts from the original of `base`, so that a given one serves."""
        return self.asks == BASE


def correcting(method: Method, setting: Setting, revise: Revise | None = None) -> Solver:
    """Return the solver of a method.

    Args:
        method: what it is called and how it asks for the original.
        setting: what all methods share.
        revise: what happens between the original and the final text; None leaves the original.

    Raises: ConfigError: the method's protocol or wording does not exist.
    """
    check_choice("protocol", method.protocol, PROTOCOLS)
    check_choice("wording", method.variant, load_wording(setting.language).variants)
    if method.protocol == REFERENCE:
        _LOG.warning(CONFOUNDED)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        talk = Talk(state, setting, method.variant)
        turns = opening(talk.voice, method.asks, talk.prompt, state.messages)
        await talk.open(generate, turns, take_given=method.takes_given)
        if revise is not None and not await talk.leave_as_clean():
            await revise(talk)
        return _finished(talk, method, revised=revise is not None)

    return solve


def _finished(talk: Talk, method: Method, *, revised: bool) -> TaskState:
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant

    state = talk.state
    state.metadata[RECORD] = _record(talk, method, revised)
    last = state.output
    answer = ChatMessageAssistant(content=talk.text, model=last.model, source="generate")
    choice = ChatCompletionChoice(message=answer, stop_reason=last.stop_reason)
    state.output = last.model_copy(update={"choices": [choice], "completion": talk.text})
    state.messages = [*talk.before, answer]
    return state


def _record(talk: Talk, method: Method, revised: bool) -> dict[str, Any]:
    """Return what a run keeps of a sample; every value is JSON."""
    state, setting, stages = talk.state, talk.setting, talk.stages
    notes = [*talk.notes, *([CONFOUNDED] if method.protocol == REFERENCE else [])]
    return {
        "id": str(state.sample_id),
        "method": method.name,
        "version": VERSION,
        "protocol": method.protocol,
        "wording": method.variant,
        "options": dict(method.options or {}),
        "form": talk.voice.form,
        "concern": setting.concern,
        "language": setting.language,
        "sample": state.epoch - 1,
        "seed": setting.seed,
        "stages": [asdict(stage) for stage in stages],
        "original": talk.original,
        "revised": talk.text if revised else None,
        "parse_original": talk.parse_row(talk.first_answer),
        "parse": talk.parse_row(talk.answer),
        "usage": usage_of(stages),
        "facts": talk.facts,
        "notes": notes,
    }
