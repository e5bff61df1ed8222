"""Positions: the names by which methods point into a prompt, resolved to token indices."""

from __future__ import annotations

import re

from theodolite.errors import ConfigError, DataError
from theodolite.models.chat import Encoded
from theodolite.text.display import escape

NAMES = ("prompt_last", "instruction_last", "instruction_mean", "template[i]")
_TEMPLATE = re.compile(r"template\[(-?\d+)\]")


def resolve_position(encoded: Encoded, position: str | int) -> tuple[int, ...]:
    """Return the token indices a position names, counted from 0.

    Args:
        position: `prompt_last`; `instruction_last`; `instruction_mean` (every token of the last
            user turn's words: the caller averages); `template[i]`, the i-th token after the
            instruction; or an index. Negative numbers count from the end.

    Raises:
        ConfigError: no such position.
        DataError: this prompt is too short for it, or has no user turn.
    """
    check_position(position)
    length = len(encoded.ids)
    if isinstance(position, int):
        return (_pick(encoded, position, 0, length, "tokens"),)
    if position == "prompt_last":
        return (length - 1,)
    if position in ("instruction_last", "instruction_mean"):
        start, end = _instruction(encoded)
        return (end - 1,) if position == "instruction_last" else tuple(range(start, end))
    _instruction(encoded)
    index = int(position.removeprefix("template[").removesuffix("]"))
    return (_pick(encoded, index, *encoded.template, "tokens after the instruction"),)


def check_position(position: str | int) -> None:
    """Refuse an unknown position name before any work is done.

    Raises: ConfigError: no such position.
    """
    named = isinstance(position, int) or position in NAMES[:3] or _TEMPLATE.fullmatch(position)
    if not named:
        raise ConfigError(
            f"There is no position '{escape(str(position), 40)}'.",
            fix=f"Use one of {', '.join(NAMES)}, or a number.",
        )


def _instruction(encoded: Encoded) -> tuple[int, int]:
    if encoded.instruction is None:
        raise DataError(
            f"Prompt '{escape(encoded.prompt_id, 80)}' has no user turn.",
            fix="Use prompt_last, or add a user turn.",
        )
    return encoded.instruction


def _pick(encoded: Encoded, index: int, start: int, end: int, what: str) -> int:
    """Return the index-th place of [start, end)."""
    if not start - end <= index < end - start:
        raise DataError(
            f"Prompt '{escape(encoded.prompt_id, 80)}' has {end - start} {what}, so there is no "
            f"number {index}.",
            fix="Choose a position every prompt has, such as prompt_last.",
        )
    return start + index if index >= 0 else end + index
