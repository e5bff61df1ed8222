"""The slow, obvious way to find loops in a text."""

from __future__ import annotations


def repeats(text: str) -> bool:
    """Try every block at every place; then count the sequences of four words."""
    for start in range(len(text)):
        for size in range(20, (len(text) - start) // 5 + 1):
            block = text[start : start + size]
            if text[start : start + 5 * size] == block * 5:
                return True
    words = text.split()
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return len(grams) >= 20 and len(set(grams)) / len(grams) < 0.2
