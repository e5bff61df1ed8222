"""The any-depth defence as a method of `correct respond`: the answer, or the refusal in its place.

    theodolite correct respond --method any_depth --prompts FILE

See `any_depth.py` for what it does and where it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from inspect_ai.model import ChatMessage, GenerateConfig
from inspect_ai.solver import Solver, solver

from theodolite.correction.any_depth import EVERY, PROBE, check_every, first_refusal, not_local
from theodolite.correction.perspective_taking.method import Method, correcting
from theodolite.correction.perspective_taking.registry import Entry
from theodolite.correction.perspective_taking.setting import Setting
from theodolite.correction.perspective_taking.stages import stage_of
from theodolite.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from theodolite.correction.perspective_taking.talk import Talk
    from theodolite.correction.respond_request import RespondRequest

ANY_DEPTH: Final = "any_depth"
DEPTH: Final = "replaced_at"
"""Fact of an answer: how many tokens stood there when it was replaced, or None."""


@dataclass(frozen=True)
class _Entry(Entry):
    def factory(self) -> Callable[..., Solver]:
        """Return the solver, which is not one of the perspective-taking methods."""
        return any_depth_answer


ENTRY: Final = _Entry(__name__, "any_depth_answer", "refuses where a fresh turn does", {}, 2)


@solver(name="any_depth_answer")
def any_depth_answer(every: int = EVERY, setting: Setting | dict[str, Any] | None = None) -> Solver:
    """Answer, ask in fresh turns whether to go on, and give the refusal where one of them refuses.

    Args:
        every: tokens of the answer between two fresh turns; there is one more at its end.

    Raises:
        ConfigError: `every` is below 1.
        CapabilityError: the model is not local: its turn cannot be closed and opened again.
    """
    check_every(every)

    async def revise(talk: Talk) -> None:
        if talk.local is None:
            raise not_local()

        async def probe(branch: list[ChatMessage]) -> str:
            config = GenerateConfig(max_tokens=PROBE, temperature=0.0)
            output = await talk.model.generate(branch, config=config)
            # A probe is meant to be short: to be cut is no fault of it.
            talk.stages.append(replace(stage_of("fresh_turn", 1, [output]), capped=False))
            return output.completion

        request = talk.state.user_prompt.text
        where = (talk.before, talk.first_answer, 0, every)
        found = await first_refusal(talk.local.tokenizer, *where, request, probe)
        talk.facts[DEPTH] = None if found is None else found[0]
        if found is not None:
            config = GenerateConfig(max_tokens=talk.setting.caps.writing, temperature=0.0)
            output = await talk.model.generate(found[1], config=config)
            talk.stages.append(stage_of("refusal", 1, [output]))
            talk.state.output, talk.answer = output, output.completion

    return correcting(Method(ANY_DEPTH, options={"every": every}), Setting.of(setting), revise)


def check_any_depth(request: RespondRequest) -> None:
    """Refuse what the defence cannot answer.

    Raises:
        ConfigError: texts are to be gone on with, where there is no turn of the assistant's own.
        CapabilityError: the model is behind an API.
    """
    if request.continuation:
        raise ConfigError(
            "The any-depth defence answers messages; a text to go on with has no turn of its own.",
            fix="Leave --continuation out.",
        )
    if request.model.startswith("api:"):
        raise not_local()
