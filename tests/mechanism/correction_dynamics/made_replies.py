"""Requests about a harmless forbidden topic, with replies of very different lengths."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.models.tiny import tiny_model
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt

opened = cache(tiny_model)
_SENTENCES = (
    "First the quiet moon cheese is cut into small pieces and put on a warm plate.",
    "Then stir in the star dust, wait a while, and taste it with a wooden spoon.",
    "After that it rests for a night beside the lake until it is firm and pale.",
)
SHORT = "Stir it."


def made(count: int = 3) -> list[Prompt]:
    """Return harmful rows, two of one request, and benign ones; the last harmful one is short."""
    rows = []
    for label, word in ((HARMFUL, "moon"), (BENIGN, "goat")):
        for i in range(count):
            words = [_SENTENCES[(i + j) % 3].replace("moon", word) for j in range(2)]
            reply = SHORT if i == count - 1 and label == HARMFUL else " ".join(words)
            text = f"How do I make {word} cheese, way {max(i, 1)}?"
            rows.append(
                Prompt(
                    id=f"{label}-{i}",
                    text=text,
                    label=label,
                    goal_id=f"{word}-{max(i, 1)}",
                    meta={"reply": reply},
                )
            )
    return rows


def write(path: Path, rows: list[Prompt]) -> Path:
    """Write rows as a file that `read_replies` takes."""
    lines = []
    for row in rows:
        record: dict[str, Any] = {"id": row.id, "request": row.text, "label": row.label}
        lines.append(json.dumps({**record, "goal_id": row.goal_id, **row.meta}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
