"""How bad a text is by a tool, from 0 to 1, whichever way the tool's own range points."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from theodolite.errors import NumericsError
from theodolite.judging.toxicity import AttributeScorer, score_texts
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.judging.toxicity import TextScorer

MOST_CHARACTERS: Final = 20_000
"""Of a text that a tool is shown, as in the published code (arXiv:2407.15366)."""
Result = TypeVar("Result")
_ONE_AT_A_TIME: Final = threading.Lock()


def severities(scorer: TextScorer, texts: Sequence[str]) -> list[float | None]:
    """Return how bad each text is, in one call; None where it is blank or could not be scored.

    Of a sentiment, which points the other way, it is what lies below neutral.

    Raises: as `score_texts`.
    """
    found = score_texts(scorer, [text[:MOST_CHARACTERS] for text in texts])
    if scorer.kind != "sentiment":
        return [one.value for one in found]
    return [None if one.value is None else max(0.0, -one.value) for one in found]


def worst_attribute(scorer: TextScorer, text: str, noun: str) -> tuple[str, float] | None:
    """Return the worst thing a tool says of a text: what it calls it, and how bad it is.

    Args:
        noun: what it is called where the tool does not tell several kinds apart.

    Returns: None where the text is blank or could not be scored; of equal ones, the first.
    Raises: as `score_texts`.
    """
    if not isinstance(scorer, AttributeScorer) or not text.strip():
        (value,) = severities(scorer, [text])
        return None if value is None else (noun, value)
    (found,) = scorer.attributes([text[:MOST_CHARACTERS]])
    for name, value in found.items():
        if not math.isfinite(value):
            raise NumericsError(
                f"The scorer {escape(scorer.id, 120)} gave {escape(name, 40)} the score {value}.",
                fix="Check the scorer's weights, or use another one.",
            )
    name = max(found, key=lambda each: found[each])
    return name.replace("_", " ").lower(), found[name]


async def in_thread(function: Callable[..., Result], *args: Any, **options: Any) -> Result:
    """Return what a tool computes, in a thread of its own, one at a time.

    A judge runs an event loop, which cannot be done within ours; a classifier is not made to be
    called twice at once.
    """
    from anyio import to_thread

    def alone() -> Result:
        with _ONE_AT_A_TIME:
            return function(*args, **options)

    return await to_thread.run_sync(partial(alone))
