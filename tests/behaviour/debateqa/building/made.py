"""A scripted writer of perspectives, and small files of questions and documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.correction.perspective_taking.made import Script

WHY = (
    "Explained at some length from inside this very view, so that every check on the number of "
    "words is passed without any trouble at all, and with words that the view does not hold."
)
LISTED = (
    "VIEW: Cities should close their centres to cars [1]\n"
    "VIEW: Shops in the centre live from people who come by car [2]"
)
Reply = Callable[[str, list[str]], str]


def step_of(text: str) -> str:
    """Return which step a prompt asks for."""
    if "List the different answers" in text:
        return "views"
    return "same" if "one word, yes or no" in text else "explain"


def fenced(text: str, name: str) -> str:
    """Return what stands in a fence of a prompt."""
    found = re.search(rf"<<<{name} (\w+)>>>\n(.*?)\n<<<END {name} \1>>>", text, re.S)
    assert found is not None
    return "\n".join(line.removeprefix("| ") for line in found[2].split("\n"))


def writer(
    views: str | Reply = LISTED, same: str | Reply = "no", explain: str | Reply | None = None
) -> Script:
    """Return a model that answers each step by a text, or a function of the prompt."""
    said: dict[str, Any] = {
        "views": views,
        "same": same,
        "explain": explain or f"EXPLANATION: {WHY}",
    }
    asked: dict[str, list[str]] = {}

    def reply(_: int, turns: list[Any]) -> str:
        text = turns[-1].text
        step = step_of(text)
        before = asked.setdefault(step, [])
        before.append(text)
        given = said[step]
        return given if isinstance(given, str) else given(text, before)

    return Script(reply)


def files(folder: Path, count: int = 3) -> dict[str, str]:
    """Write questions and documents; return the settings that name them."""
    questions = folder / "asked.jsonl"
    questions.write_text(
        "".join(
            json.dumps({"id": f"q{i}", "question": f"Should cars leave the centre of town {i}?"})
            + "\n"
            for i in range(count)
        )
    )
    docs = folder / "docs.jsonl"
    rows = [
        {
            "title": "Air",
            "text": "Without cars the air in a town is better.",
            "url": "https://a.edu",
        },
        {"title": "Shops", "text": "Shops in town say that cars bring people.", "id": 7},
    ]
    docs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"questions": str(questions), "docs": str(docs)}
