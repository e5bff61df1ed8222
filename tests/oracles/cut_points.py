"""What cuts of a reply must fulfil, checked one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def faults(
    text: str, cuts: Sequence[int], depths: Sequence[float], tokenizer: Any, slack: float
) -> list[str]:
    """Return what is wrong with cuts; nothing where they are right.

    Args:
        slack: how far from its depth a cut may lie, as a share of the reply.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    total = len(ids)

    def tokens(cut: int) -> int:
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return sum(end <= cut for _, end in offsets["offset_mapping"])

    found, last = [], 0
    for cut, depth in zip(cuts, depths, strict=True):
        count = tokens(cut)
        if count - last < 8:
            found.append(f"{count - last} tokens after the cut before")
        if count > 0.9 * total:
            found.append(f"{count} of {total} tokens")
        if abs(count - depth * total) > slack * total + 8 * len(cuts):
            found.append(f"{count} tokens for a depth of {depth * total:.0f}")
        if text[cut - 1].isspace() or (cut < len(text) and not text[cut].isspace()):
            found.append(f"a word is cut at {cut}")
        last = count
    return found
