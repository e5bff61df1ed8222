"""A bounded stand-in for an attacker who picks the next tokens: refusing ones are left out.

For so many steps the most likely token is taken that neither begins a refusal of our list nor ends
the turn; what comes of it is forced on the model like the begun reply, and only then does it go on
freely. Nothing is saved, and no model or text is made beyond this measurement.

Source: arXiv:2512.05518 lets the attacker choose among the 20 most likely tokens of every step;
here the choice is fixed (ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from theodolite.behaviour.course_correction.prefixes import Prefix
from theodolite.errors import ConfigError

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

MOST_STEPS: Final = 64
AT_ONCE: Final = 256
"""Prompts whose whole vocabularies are held at a time."""


def check_steps(steps: int) -> None:
    """Refuse a number of steps below 0 or too large; raises ConfigError."""
    if not 0 <= steps <= MOST_STEPS:
        raise ConfigError(f"suppress is {steps}.", fix=f"Give 0 (off) to {MOST_STEPS} tokens.")


def led_on(
    model: LanguageModel, prefixes: Sequence[Prefix], steps: int, *, where: str
) -> list[Prefix]:
    """Return begun replies with what the model adds while it may not begin to refuse.

    Args:
        model: an open local model.
        prefixes: begun replies.
        steps: tokens that are added.
        where: the place in which the reply is begun, as in the task.

    Note: one forward pass per prefix and step, beginnings shared.
    """
    from theodolite.engine.generate import end_tokens
    from theodolite.mechanism.correction_dynamics.openings import opening_tokens

    barred = sorted({*opening_tokens(model).ids, *end_tokens(model)})
    found: list[Prefix] = []
    for start in range(0, len(prefixes), AT_ONCE):
        part = prefixes[start : start + AT_ONCE]
        before = [_encoded(model, prefix, where) for prefix in part]
        after = _stepped(model, before, barred, steps)
        found += [
            replace(prefix, text=(prefix.text + _added(model, first, last)).rstrip(" \n\t\ufffd"))
            for prefix, first, last in zip(part, before, after, strict=True)
        ]
    return found


def _stepped(
    model: LanguageModel, prompts: Sequence[Encoded], barred: Sequence[int], steps: int
) -> list[Encoded]:
    """Return prompts with their most likely tokens but for the barred ones."""
    from theodolite.engine.next_token import next_token
    from theodolite.text.hashing import content_key

    prompts = list(prompts)
    for _ in range(steps):
        odds = next_token(model, prompts)
        odds[:, list(barred)] = -float("inf")
        chosen = odds.argmax(dim=-1).tolist()
        longer = [(*prompt.ids, token) for prompt, token in zip(prompts, chosen, strict=True)]
        prompts = [
            replace(prompt, ids=ids, key=content_key(list(ids)))
            for prompt, ids in zip(prompts, longer, strict=True)
        ]
    return prompts


def _encoded(model: LanguageModel, prefix: Prefix, where: str) -> Encoded:
    from theodolite.behaviour.course_correction.scoring import CONTINUE
    from theodolite.behaviour.course_correction.task import turns_of
    from theodolite.models.chat import encode
    from theodolite.providers.requests import chat_turns

    turns = chat_turns(turns_of(prefix, CONTINUE, where, 0))
    return encode(model, turns, add_generation_prompt=False, continue_final=True)


def _added(model: LanguageModel, before: Encoded, after: Encoded) -> str:
    """Return the text of the new tokens; spelled behind the last old one, which decides spaces."""
    last = before.ids[-1:]
    new = after.ids[len(before.ids) :]
    spelled = [
        str(
            model.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
        for ids in (last, (*last, *new))
    ]
    return spelled[1][len(spelled[0]) :]
