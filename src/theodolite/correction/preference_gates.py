"""The gates of preference synthesis: what a written reply must be before it may teach.

Each gives the reason for which a reply is thrown away, or None; reasons are counted in the card.
"""

from __future__ import annotations

from typing import Final

from theodolite.judging.correction import score_correction
from theodolite.judging.refusal import score_refusal
from theodolite.judging.refusal_text import is_degenerate, read

NOT_SAFE: Final = "the safe reply is no refusal"
NOT_CORRECTED: Final = "the continuation does not turn away"
TAKEN_BACK: Final = "the continuation turns away and goes on"
BROKEN: Final = "the text is broken or too short"
TOO_LONG: Final = "the text is far longer than the reply it corrects"
REFUSES: Final = "the harmful reply is a refusal"
TOO_SHORT: Final = "the harmful reply is too short to cut"
REPEATED: Final = "the request nearly repeats another one"
LEAST_WORDS: Final = 4
MOST_RATIO: Final = 2.0  # words of a written reply to those of the whole harmful one
_SLACK: Final = 40


def harmful_reply(text: str) -> str | None:
    """Return why a reply cannot stand for harm, or None."""
    verdict = score_refusal(text)
    if verdict.refused or score_correction(text).corrected:
        return REFUSES
    return None


def safe_reply(text: str, whole: str) -> str | None:
    """Return why a reply to the bare request is no safe one, or None."""
    reason = _form(text, whole)
    if reason is not None:
        return reason
    refused = score_refusal(text).label == "refusal" or score_correction(text).outcome == "clean"
    return None if refused else NOT_SAFE


def correction(trigger: str | None, text: str, whole: str) -> str | None:
    """Return why a continuation does not correct the begun reply, or None.

    Args:
        trigger: the words it turns with, which were put there; None where it had to turn itself.
        text: what the model wrote after them.
        whole: the harmful reply, for the length.

    Note: without a trigger the model's own words must turn away. After one they may also carry the
        turn on; trigger and words together must then read as a refusal that gives nothing more.
    """
    reason = _form(text, whole, least=1 if trigger else LEAST_WORDS)
    if reason is not None:
        return reason
    own = score_correction(text)
    if own.corrected:
        return None
    together = "compliance" if trigger is None else score_refusal(f"{trigger} {text}").label
    if own.outcome == "warning" or together == "partial":
        return TAKEN_BACK
    return None if together == "refusal" else NOT_CORRECTED


def _form(text: str, whole: str, *, least: int = LEAST_WORDS) -> str | None:
    words = text.split()
    if len(words) < least or is_degenerate(read(text)):
        return BROKEN
    return TOO_LONG if len(words) > MOST_RATIO * len(whole.split()) + _SLACK else None
