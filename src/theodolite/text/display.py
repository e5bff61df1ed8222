"""Show hostile text safely: model output, data and file names are printed only through here."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

ELLIPSIS = "…"
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
# Python calls these printable, yet they draw nothing: fillers, the blank braille cell, the
# grapheme joiner, and the variation selectors, which can smuggle whole messages.
_FILLERS = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180F, 0x2800, 0x3164, 0xFFA0)
_SELECTORS = (*range(0x180B, 0x180E), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
_INVISIBLE = frozenset(map(chr, (*_FILLERS, *_SELECTORS)))


def escape(text: str, limit: int | None = None, *, keep_newlines: bool = False) -> str:
    r"""Return text in which every character that is not plainly visible is written as an escape.

    Escaped are control, bidi, zero-width, private, unassigned and unpaired-surrogate characters,
    line separators and variation selectors. Spaces of every width stay. Backslashes stay too, so
    the result is for reading and cannot be turned back into the text.

    Args:
        text: any string, hostile or not.
        limit: most characters of the result, ellipsis included; None for no limit.
        keep_newlines: leave `\n` as a line break (`\r` and the Unicode separators never are).

    Returns: the escaped text; an escape sequence is never cut in two.
    """
    if text.isprintable() and _INVISIBLE.isdisjoint(text):
        return text if limit is None else truncate(text, limit)
    # No character gets shorter, so what lies beyond the limit cannot matter.
    head = text if limit is None else text[: limit + 1]
    pieces = [c if keep_newlines and c == "\n" else _shown(c) for c in head]
    if limit is None or sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    room, kept = max(limit, 1) - len(ELLIPSIS), []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + ELLIPSIS


def truncate(text: str, limit: int) -> str:
    """Return text cut to at most `limit` characters (at least one), the last an ellipsis if cut."""
    limit = max(limit, 1)
    return text if len(text) <= limit else text[: limit - 1] + ELLIPSIS


@lru_cache(maxsize=8192)
def _shown(char: str) -> str:
    """Return one character as it may be printed."""
    if char in _SHORT:
        return _SHORT[char]
    visible = char.isprintable() or unicodedata.category(char) == "Zs"
    if visible and char not in _INVISIBLE:
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
