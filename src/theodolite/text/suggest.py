"""The nearest known name, for messages about an unknown one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from theodolite.text.display import escape

_LONGEST = 120  # difflib is quadratic, and a name from a file may be of any length


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like `name` (case, `-` and `_` do not count), or None.

    Args:
        name: the unknown name; only its first 120 characters are compared.
        candidates: the known names; their order makes no difference.
    """
    folded = {_fold(candidate): candidate for candidate in sorted(candidates, reverse=True)}
    close = get_close_matches(_fold(name[:_LONGEST]), sorted(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def did_you_mean(name: str, candidates: Iterable[str], *, most: int = 12) -> str:
    """Return the sentence that helps after an unknown name: the nearest one, or the known ones.

    Args:
        name: the unknown name.
        candidates: the known names.
        most: how many names are listed where none is near.
    """
    known = sorted(candidates)
    near = nearest(name, known)
    if near is not None:
        return f"Did you mean `{escape(near)}`?"
    if not known:
        return ""
    listed = ", ".join(escape(candidate) for candidate in known[:most])
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return f"Known names: {listed}{more}."


def _fold(name: str) -> str:
    return name.lower().replace("_", "-")
