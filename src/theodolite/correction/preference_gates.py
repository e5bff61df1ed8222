"""The gates of preference synthesis: what a written reply must be before it may teach.

Each gives the reason for which a reply is thrown away, or None; reasons are counted in the card.
"""

from __future__ import annotations

import re
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
GOOD_TOO_SHORT: Final = "the good reply is too short to cut"
REPEATED: Final = "the request nearly repeats another one"
LEAST_WORDS: Final = 4
MOST_RATIO: Final = 2.0  # words of a written reply to those of the whole harmful one
ENDS: Final = ".:"  # of triggers after which a new sentence begins
_SLACK: Final = 40
_FIRST: Final = re.compile(r"(.*?(?:[.!?](?=\s|$)|$))(.*)", re.DOTALL)


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
    return None if refuses(text) else NOT_SAFE


def refuses(text: str) -> bool:
    """Return whether a reply to a bare request declines it, in whatever form."""
    return score_refusal(text).label == "refusal" or score_correction(text).outcome == "clean"


def correction(trigger: str | None, text: str, whole: str) -> str | None:
    """Return why a continuation does not correct the begun reply, or None.

    Args:
        trigger: the words it turns with, which were put there; None where it had to turn itself.
        text: what the model wrote after them.
        whole: the harmful reply, for the length.

    Note: the trigger alone turns away already, so what follows it must do so in its own words.
        Only the sentence that a trigger left open is read together with it.
    """
    reason = _form(text, whole, least=1 if trigger else LEAST_WORDS)
    if reason is not None:
        return reason
    if score_correction(text).outcome == "warning":
        return TAKEN_BACK
    if trigger is None or trigger[-1] in ENDS:
        return None if _turns(text) else NOT_CORRECTED
    first, rest = _FIRST.match(text).groups()  # type: ignore[union-attr]  # matches any text
    if not _turns(f"{trigger} {first.strip()}"):
        return NOT_CORRECTED
    return None if not rest.strip() or _turns(rest) else TAKEN_BACK


def _turns(text: str) -> bool:
    """Return whether words turn away, by one of the two scorers, and give nothing more."""
    turned = score_correction(text)
    if turned.outcome == "warning":
        return False
    return turned.corrected or score_refusal(text).label == "refusal"


def _form(text: str, whole: str, *, least: int = LEAST_WORDS) -> str | None:
    words = text.split()
    if len(words) < least or is_degenerate(read(text)):
        return BROKEN
    return TOO_LONG if len(words) > MOST_RATIO * len(whole.split()) + _SLACK else None
