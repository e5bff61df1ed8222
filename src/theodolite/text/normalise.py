"""One spelling for the same text, before it is matched, compared or scored."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

# Typographic marks and the ASCII character that says the same.
_ASCII_MARKS = {
    "'": "‘’‚‛‹›ʼ′´",
    '"': "“”„‟«»″",
    "-": "‐‑‒–—―−⁃﹘﹣－",
}
# Marks without width or meaning for a match; the joiners U+200C and U+200D spell words in some
# scripts and stay.
_DROPPED = (0x00AD, 0x061C, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF)
_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))

_TABLE: dict[int, str | None] = {
    **{ord(mark): plain for plain, marks in _ASCII_MARKS.items() for mark in marks},
    **dict.fromkeys((*_DROPPED, *_BIDI)),
    ord("…"): "...",
}

_TRACE = re.compile(
    r"<(?P<angle>/?)(?P<name>think|thinking|thought|reasoning|scratchpad)>"
    r"|\[(?P<square>/?)THINK\]"
    r"|◁(?P<triangle>/?)think▷",
    re.IGNORECASE,
)


def normalise(
    text: str, *, compatibility: bool = False, lower: bool = False, keep_lines: bool = False
) -> str:
    r"""Return text with typographic marks as ASCII, invisible marks dropped and whitespace folded.

    Applying it twice changes nothing more.

    Args:
        text: any string.
        compatibility: also fold full-width forms, ligatures and superscripts (NFKC instead of
            NFC); not for mathematics, where it turns x² into x2.
        lower: also lower the case.
        keep_lines: fold whitespace within lines only; lines are joined by `\n`, and empty lines
            at both ends are dropped.

    Returns: the normalised text, without leading or trailing whitespace.
    """
    form: Literal["NFC", "NFKC"] = "NFKC" if compatibility else "NFC"
    # Dropping first lets separated marks compose; a second pass maps what the form brought out.
    text = unicodedata.normalize(form, text.translate(_TABLE)).translate(_TABLE)
    if lower:
        text = unicodedata.normalize(form, text.lower())
    if not keep_lines:
        return " ".join(text.split())
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip("\n")


def strip_reasoning(text: str) -> str:
    """Return a completion without the reasoning trace that some models write before the answer.

    Removed are `<think>` and its kin (thinking, thought, reasoning, scratchpad), `[THINK]` and
    `◁think▷` blocks. An unclosed block runs to the end: a model cut off while thinking gave no
    answer. A closing tag without an opening one ends a block that the chat template opened, so
    everything before it goes.

    Args:
        text: a completion as decoded.

    Returns: what remains, stripped; parts around a removed block stand on their own lines.
    """
    parts: list[str] = []
    opened: str | None = None
    depth = start = 0
    for tag in _TRACE.finditer(text):
        kind = (tag["name"] or tag[0][0]).lower()
        closing = bool(tag["angle"] or tag["square"] or tag["triangle"])
        if opened is None:
            parts = [] if closing else [*parts, text[start : tag.start()]]
            opened, depth = (None, 0) if closing else (kind, 1)
        elif kind == opened:
            depth += -1 if closing else 1
            opened = opened if depth else None
        start = tag.end()
    if opened is None:
        parts.append(text[start:])
    return "\n".join(part.strip() for part in parts if part.strip())
