"""Two early variants of the published code: people of a profession advise, or compare two texts.

`roles`     three of them each suggest changes, the suggestions are ordered, the text is rewritten
`contrast`  one compares the text with one written under the contrary condition

Source: the code released with arXiv:2407.15366; the paper does not report them.
"""

from __future__ import annotations

from typing import Final

from inspect_ai.model import ChatMessageUser
from inspect_ai.solver import Solver, solver

from theodolite.correction.perspective_taking.method import PAPER, Method, correcting
from theodolite.correction.perspective_taking.openings import contrasting
from theodolite.correction.perspective_taking.setting import LISTING, THINKING, WRITING, Setting
from theodolite.correction.perspective_taking.solvers import Given
from theodolite.correction.perspective_taking.talk import Talk
from theodolite.text.normalise import strip_reasoning

FEWER: Final = "the model named fewer professions than asked for; ours stand in"
MOST_CHARACTERS: Final = 80


@solver(name="roles")
def roles(make_roles: bool = False, setting: Given = None) -> Solver:
    """Let three professions suggest changes apart, order them, rewrite: 5 calls.

    Args:
        make_roles: ask the model which professions, with 1 call more.
    """

    async def revise(talk: Talk) -> None:
        suggestions = []
        for number, role in enumerate(await _roles(talk, make_roles), 1):
            apart = talk.conversation.branch()
            told = talk.voice.say("suggest", role=role)
            said = await talk.ask(f"suggest/{number}", told, THINKING, on=apart)
            suggestions.append(f"{role}:\n{said.strip()}")
        ranked = talk.voice.say("rank", suggestions="\n\n".join(suggestions))
        await talk.ask("rank", ranked, THINKING)
        await talk.ask("rewrite", talk.voice.say("rewrite_only"), WRITING)

    method = Method("roles", options={"make_roles": make_roles})
    return correcting(method, Setting.of(setting), revise)


@solver(name="contrast")
def contrast(make_roles: bool = False, protocol: str = PAPER, setting: Given = None) -> Solver:
    """Write a second text under the contrary condition, compare, rewrite: 3 calls.

    A continuation was asked for with words of safety, so the second one is without them; an answer
    to a chat without, so the second one is with them.

    Args:
        make_roles: ask the model for the profession that compares, with 1 call more.
        protocol: `paper` or `reference`, see `Method`.

    Raises: ConfigError: the protocol does not exist.
    """

    async def revise(talk: Talk) -> None:
        role = (await _roles(talk, make_roles))[0]
        turns = contrasting(talk.voice, talk.prompt, talk.before)
        answer = await talk.aside("other", turns)
        told = talk.voice.say(
            "compare", role=role, other=talk.voice.say("other"), other_text=talk.scored(answer)
        )
        await talk.ask("compare", told, THINKING)
        await talk.ask("rewrite", talk.voice.say("rewrite_only"), WRITING)

    method = Method("contrast", protocol=protocol, options={"make_roles": make_roles})
    return correcting(method, Setting.of(setting), revise)


async def _roles(talk: Talk, made: bool) -> tuple[str, ...]:
    """Return three professions: ours, or those the model names when it is asked, once."""
    known = talk.voice.wording.roles
    if not made:
        return known
    asked = ChatMessageUser(content=talk.voice.say("make_roles"))
    named = named_roles(await talk.aside("make_roles", [asked], LISTING), len(known))
    talk.facts["roles"] = list(named)
    if len(named) < len(known):
        talk.notes.append(FEWER)
    return (*named, *known[len(named) :])


def named_roles(answer: str, count: int) -> tuple[str, ...]:
    """Return the professions of a list, one a line, without its numbers and marks."""
    lines = strip_reasoning(answer).split("\n")
    bare = (line.lstrip(" \t-*•.:;)(0123456789").rstrip(" \t*.:;") for line in lines)
    found = [line for line in bare if line and len(line) <= MOST_CHARACTERS]
    return tuple(dict.fromkeys(found))[:count]
