"""Small rows with replies, harmless, for tests."""

from __future__ import annotations

import random

from theodolite.data.prompts import Prompt, PromptSet

_WORDS = (
    "take", "warm", "milk", "and", "stir", "it", "then", "add",
    "salt", "press", "the", "curd", "let", "it", "rest", "turn",
    "it", "once", "a", "day", "keep", "it", "cool", "wrap",
    "it", "in", "cloth", "cut", "it", "when", "it", "is",
    "firm", "taste", "a", "little", "and", "write", "down", "what",
    "you", "did",
)  # fmt: skip


def reply(seed: int, words: int = 40) -> str:
    """Return a reply of so many words, with lines of its own."""
    dice = random.Random(seed)
    text = " ".join(dice.choice(_WORDS) for _ in range(words - 2))
    return f"First, {text}.\nDone."


def made_rows(n: int = 4, words: int = 40) -> PromptSet:
    """Return n harmful rows and their n benign twins."""
    rows = [
        Prompt(
            f"{label}/{i}",
            text=f"How do I make {kind} cheese number {i}?",
            label=label,
            goal_id=f"goal/{i}",
            pair_id=f"goal/{i}",
            category=kind,
            split="test",
            meta={"reply": reply(i, words)},
        )
        for label, kind in (("harmful", "moon"), ("benign", "plain"))
        for i in range(n)
    ]
    return PromptSet("made", tuple(rows), "made rows")
