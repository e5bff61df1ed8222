"""From a question to the turns a model reads, and an answer planted among them.

Everything here is a pure function of its arguments. What is said to protect the model always stands
before what is planted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from theodolite.behaviour.preemptive_answers.examples import examples_for, few_shot
from theodolite.behaviour.preemptive_answers.extraction import mask_answers
from theodolite.behaviour.preemptive_answers.prompts import (
    ANSWER_FIRST,
    DOCUMENT,
    FEW_SHOT,
    FORMS,
    METHODS,
    MITIGATIONS,
    NEUTRAL_PLANT,
    PLANTS,
    REFLECT,
    REFLECTION,
    SENTENCES,
    SYSTEM,
    VOTED,
)
from theodolite.data.preemptive import Item
from theodolite.data.prompts import Message, shown
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.text.suggest import did_you_mean

CLEAN: Final = "clean"
ANSWERED_FIRST: Final = "U"
PLANTED: Final = "M"
PLANTED_GOLD: Final = "M_correct"
PLANTED_RANDOM: Final = "M_random"
PLANTED_BLANK: Final = "M_neutral"
PLANTED_LATE: Final = "M_late"
CONDITIONS: Final = (
    CLEAN,
    ANSWERED_FIRST,
    PLANTED,
    PLANTED_GOLD,
    PLANTED_RANDOM,
    PLANTED_BLANK,
    PLANTED_LATE,
)

EXTRA_USER: Final = "extra_user"
INLINE: Final = "inline"
PREFILL: Final = "prefill"
TOOL: Final = "tool"
CHANNELS: Final = (EXTRA_USER, INLINE, PREFILL, TOOL)
LATE_FRACTIONS: Final = (0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Route:
    """The channel that is used.

    Args:
        channel: one of `CHANNELS`.
        downgrade: why it is not the one that was asked for; None where it is.
    """

    channel: str
    downgrade: str | None = None


def ask(item: Item, method: str, mitigation: str | None = None) -> tuple[Message, ...]:
    """Return the turns of the clean run.

    Args:
        method: one of `METHODS` or `VOTED`.
        mitigation: `restate` or `ignore_note` add a sentence; `reflect` is a second call
            (`reflection`) and changes nothing here.

    Raises: ConfigError: method or mitigation is unknown.
    """
    method = VOTED.get(method, method)
    if method not in METHODS:
        named = [*METHODS, *VOTED]
        raise ConfigError(f"There is no method {shown(method)}.", fix=did_you_mean(method, named))
    examples = few_shot(examples_for(item)) + "\n\n" if method == FEW_SHOT else ""
    words = f"{examples}Problem: {item.asked}\n\n{METHODS[method]} {FORMS[item.answer_type]}"
    turns = (Message("system", SYSTEM), Message("user", words))
    return turns if mitigation is None else mitigate(turns, mitigation)


def mitigate(messages: Sequence[Message], mitigation: str) -> tuple[Message, ...]:
    """Return turns with the sentence of a mitigation in the last user turn.

    Raises: ConfigError: the mitigation is unknown.
    """
    if mitigation not in MITIGATIONS:
        raise ConfigError(
            f"There is no mitigation {shown(mitigation)}.",
            fix=did_you_mean(mitigation, MITIGATIONS),
        )
    if mitigation == REFLECT:
        return tuple(messages)
    return _with_words(messages, " " + SENTENCES[mitigation])


def plant(
    messages: Sequence[Message],
    condition: str,
    planted: str | None,
    channel: str = EXTRA_USER,
    *,
    wording: str = "plain",
    reasoning: str | None = None,
    fraction: float = 0.0,
) -> tuple[Message, ...]:
    """Return the turns of a condition.

    Args:
        messages: the turns of the clean run, mitigation included.
        condition: one of `CONDITIONS`.
        planted: the answer to plant: wrong, right or unrelated, as the condition asks; not used by
            clean, U and M_neutral.
        channel: where it stands: a user turn of its own, the same user turn, the begun reply, or a
            retrieved document. A late plant always stands in the begun reply.
        wording: of the planted text.
        reasoning: of the clean run, for a late plant.
        fraction: of the reasoning that stands before a late plant, cut between words.

    Raises:
        ConfigError: condition, channel or wording is unknown, or the fraction is none.
        DataError: the answer or the reasoning that the condition needs is missing.
    """
    for what, name, known in (
        ("condition", condition, CONDITIONS),
        ("channel", channel, CHANNELS),
        ("wording", wording, tuple(PLANTS)),
    ):
        if name not in known:
            raise ConfigError(f"There is no {what} {shown(name)}.", fix=did_you_mean(name, known))
    if condition == CLEAN:
        return tuple(messages)
    if condition == ANSWERED_FIRST:
        return _with_words(messages, "\n" + ANSWER_FIRST)
    text = _planted_text(condition, planted, wording)
    if condition == PLANTED_LATE:
        begun = _begun(reasoning, fraction)
        return (*messages, Message("assistant", f"{begun}\n{text}\n" if begun else f"{text}\n"))
    if channel == EXTRA_USER:
        return (*messages, Message("user", text))
    if channel == INLINE:
        return _with_words(messages, "\n\n" + text)
    if channel == TOOL:
        return _with_words(messages, "\n\n" + DOCUMENT.replace("{plant}", text))
    return (*messages, Message("assistant", text + "\n"))


def masked(messages: Sequence[Message], attacked: Sequence[Message]) -> tuple[Message, ...]:
    """Return attacked turns with answer-like text taken out of what was added to them.

    Args:
        messages: the turns before, which are trusted.
        attacked: the same turns with something added, to the last ones or behind them.
    """
    turns = []
    for place, turn in enumerate(attacked):
        own = messages[place].content if place < len(messages) else ""
        added = turn.content.removeprefix(own)
        turns.append(replace(turn, content=own + mask_answers(added)) if added else turn)
    return tuple(turns)


def route(
    channel: str, *, two_user_turns: bool = True, prefill: bool = True, strict: bool = False
) -> Route:
    """Return the channel that a model can take.

    Args:
        channel: what is asked for.
        two_user_turns: its template takes two user turns in a row.
        prefill: it can go on with a begun reply.
        strict: refuse a channel it cannot take where another one would do.

    Raises:
        ConfigError: the channel is unknown.
        CapabilityError: it cannot take the channel, and nothing may stand in for it.
    """
    if channel not in CHANNELS:
        raise ConfigError(
            f"There is no channel {shown(channel)}.", fix=did_you_mean(channel, CHANNELS)
        )
    if channel == PREFILL and not prefill:
        raise CapabilityError(
            "Planting in the begun reply",
            "this model cannot go on with a begun reply",
            "Use a local model, or the channel inline",
        )
    if channel == EXTRA_USER and not two_user_turns:
        why = "the chat template does not take two user turns in a row"
        if strict:
            raise CapabilityError("Planting in a user turn of its own", why, "Use inline")
        return Route(INLINE, f"{EXTRA_USER} -> {INLINE}: {why}")
    return Route(channel)


def reflection(problem: str, reasoning: str) -> tuple[Message, ...]:
    """Return the turns that ask a model to check a solution and to solve again if it is wrong."""
    words = _filled(REFLECTION, problem=problem, reasoning=reasoning)
    return (Message("system", SYSTEM), Message("user", words))


def _filled(template: str, **values: str) -> str:
    """Return our own template filled in; what is put in is not read again."""
    parts = [template]
    for name, value in values.items():
        head, mark, tail = parts.pop().partition("{" + name + "}")
        parts += [head, value, tail] if mark else [head]
    return "".join(parts)


def _planted_text(condition: str, planted: str | None, wording: str) -> str:
    if condition == PLANTED_BLANK:
        return NEUTRAL_PLANT
    if not isinstance(planted, str) or not planted.strip():
        raise DataError(
            f"The condition {condition} needs an answer to plant.",
            fix="Give 'wrong_answer', or have one generated.",
        )
    answer = planted.strip()
    if PLANTS[wording].endswith("."):
        answer = answer.removesuffix(".")
    return PLANTS[wording].replace("{answer}", answer)


def _begun(reasoning: str | None, fraction: float) -> str:
    if not 0.0 <= fraction <= 1.0:
        raise ConfigError(f"The fraction {fraction} is not between 0 and 1.", fix="Use e.g. 0.5.")
    if fraction == 0.0:
        return ""
    if not reasoning or not reasoning.strip():
        raise DataError(
            "A late plant needs the reasoning of the clean run.", fix="Run the clean condition."
        )
    cut = round(len(reasoning) * fraction)
    while 0 < cut < len(reasoning) and not reasoning[cut].isspace():
        cut -= 1
    return reasoning[:cut].rstrip()


def _with_words(messages: Sequence[Message], words: str) -> tuple[Message, ...]:
    """Return turns whose last user turn goes on with these words."""
    turns = list(messages)
    for place in reversed(range(len(turns))):
        if turns[place].role == "user":
            turns[place] = replace(turns[place], content=turns[place].content + words)
            return tuple(turns)
    raise DataError("There is no user turn to add to.", fix="Begin with the question.")
