"""Perspective-taking prompting and the methods it is compared with, as inspect_ai solvers.

The model answers, names people who may read the answer, imagines what they feel, and rewrites it:
`pet`. Beside it stand the plain answer (`raw`), the instructed one (`base`, where all rewriting
starts), a statement on respect (`prehoc`), judging oneself (`self_correct`), the last instruction
alone (`rewrite_only`), and a placebo: as many calls of similar length about coloured objects.

Source: arXiv:2407.15366. Placebo and `rewrite_only` are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from inspect_ai.solver import Solver, solver

from theodolite.correction.perspective_taking.method import (
    PAPER,
    REFERENCE,
    Method,
    correcting,
)
from theodolite.correction.perspective_taking.openings import PLAIN as PLAIN_OPENING
from theodolite.correction.perspective_taking.openings import PREHOC
from theodolite.correction.perspective_taking.setting import (
    LISTING,
    THINKING,
    WRITING,
    Setting,
)
from theodolite.correction.perspective_taking.talk import Talk
from theodolite.correction.perspective_taking.wording import PLAIN, check_choice
from theodolite.errors import ConfigError

Given = Setting | Mapping[str, Any] | None
Kind = Literal["io", "is", "both"]
# The imagining turns of each kind, in the order in which the rewriting turn sees them.
VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    "io": ("imagine_other",),
    "is": ("imagine_self",),
    "both": ("imagine_self", "imagine_other"),
}
READERS: Final = 5
MOST_READERS: Final = 50
MOST_ROUNDS: Final = 20


@solver(name="raw")
def raw(setting: Given = None) -> Solver:
    """Answer once, without a word of safety. A chat is answered as it stands."""
    return correcting(Method("raw", PLAIN_OPENING), Setting.of(setting))


@solver(name="base")
def base(setting: Given = None) -> Solver:
    """Answer once, asked for a harmless continuation. A chat is answered as it stands."""
    return correcting(Method("base"), Setting.of(setting))


@solver(name="prehoc")
def prehoc(setting: Given = None) -> Solver:
    """Answer once, after a general statement on respect and open-mindedness."""
    return correcting(Method("prehoc", PREHOC), Setting.of(setting))


@solver(name="self_correct")
def self_correct(setting: Given = None) -> Solver:
    """Judge the answer, then rewrite it: 2 calls after the original."""

    async def revise(talk: Talk) -> None:
        await talk.ask("judge", talk.voice.say("judge"))
        await talk.ask("rewrite", talk.voice.say("rewrite_only"), WRITING)

    return correcting(Method("self_correct"), Setting.of(setting), revise)


@solver(name="rewrite_only")
def rewrite_only(setting: Given = None) -> Solver:
    """Rewrite the answer without anything between: 1 call after the original."""

    async def revise(talk: Talk) -> None:
        await talk.ask("rewrite", talk.voice.say("rewrite_only"), WRITING)

    return correcting(Method("rewrite_only"), Setting.of(setting), revise)


@solver(name="pet")
def pet(
    kind: Kind = "io",
    k: int = READERS,
    rounds: int = 1,
    wording: str = PLAIN,
    protocol: str = PAPER,
    setting: Given = None,
) -> Solver:
    """Name readers, imagine what they feel, rewrite: 3 calls a round, 4 for both views.

    Args:
        kind: `io` (think of how each reader feels), `is` (be each reader) or `both`, which are
            asked for apart: neither sees the other.
        k: readers.
        rounds: how often; each goes on from what the last one wrote, as if it were the original.
        wording: `v0`, or a variant: `v1` forum, `v2` without the effect on a life, `v3` without
            what to attend to, `v4` with empathy by name.
        protocol: `paper` or `reference`, see `Method`.

    Raises: ConfigError: an option does not exist or is out of range.
    """
    check_choice("kind of perspective-taking", kind, VIEWS)
    check_count("readers", k, MOST_READERS)
    check_count("rounds", rounds, MOST_ROUNDS)
    setting = Setting.of(setting)
    news = protocol == REFERENCE and setting.concern == "toxicity"

    async def revise(talk: Talk) -> None:
        for number in range(1, rounds + 1):
            if number > 1:
                talk.restart()
            await _round(talk, VIEWS[kind], k, "" if number == 1 else f"/{number}", news)

    name = f"pet_{kind}" if rounds == 1 else "pet_iter"
    options = {"kind": kind, "k": k, "rounds": rounds}
    method = Method(name, protocol=protocol, variant=wording, options=options)
    return correcting(method, setting, revise)


@solver(name="pet_placebo")
def pet_placebo(k: int = READERS, setting: Given = None) -> Solver:
    """Name objects, describe their colours, rewrite: what 3 calls do without any reader.

    Args:
        k: objects.

    Raises: ConfigError: k is out of range.
    """
    check_count("objects", k, MOST_READERS)

    async def revise(talk: Talk) -> None:
        await talk.ask("objects", talk.voice.say("objects", k=str(k)), LISTING)
        await talk.ask("colours", talk.voice.say("colours"), THINKING)
        await talk.ask("rewrite", talk.voice.say("rewrite_placebo"), WRITING)

    return correcting(Method("pet_placebo", options={"k": k}), Setting.of(setting), revise)


def check_count(what: str, count: Any, most: int) -> None:
    """Refuse a number of something below 1 or above what makes sense; raises ConfigError."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
        raise ConfigError(f"The number of {what} is {count!r}.", fix=f"Give 1 to {most}.")


async def _round(talk: Talk, views: tuple[str, ...], k: int, ending: str, news: bool) -> None:
    """Ask for one round of perspective-taking.

    Args:
        ending: of the stages' names.
        news: the model is told to act as one who works for a news medium, as the published code
            does where toxicity is the concern.
    """
    voice = talk.voice
    named = voice.say("audience", k=str(k))
    if news:
        named = f"{voice.say('media_worker')} {named}"
    await talk.ask(f"audience{ending}", named, LISTING)
    if len(views) == 1:
        await talk.ask(f"{views[0]}{ending}", voice.say(views[0]), THINKING)
    else:
        apart = [talk.conversation.branch() for _ in views]
        for view, branch in zip(views, apart, strict=True):
            await talk.ask(f"{view}{ending}", voice.say(view), THINKING, on=branch)
        for branch in apart:
            talk.conversation.take_last(branch)
    await talk.ask(f"rewrite{ending}", voice.say("rewrite"), WRITING)
