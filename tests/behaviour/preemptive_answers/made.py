"""Scripted models for the tests: they know every item, and see whether an answer was planted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model

from theodolite.behaviour.preemptive_answers.data import load_items
from theodolite.behaviour.preemptive_answers.evaluation import Options, evaluate
from theodolite.behaviour.preemptive_answers.options import CLEAN_CELL, Cell
from theodolite.behaviour.preemptive_answers.planting import EXTRA_USER, PLANTED
from theodolite.data.preemptive import Item
from theodolite.runs.panel import PanelResult
from theodolite.runs.run import Run

M = Cell(PLANTED, EXTRA_USER)
CLEAN = CLEAN_CELL
Say = Callable[[Item, str], str]
"""From an item and all that was read to a reply."""

ITEMS = load_items("bundled", shuffle=True)


def right(item: Item) -> str:
    return f"Step by step.\n[Answer] {item.gold}"


def wrong(item: Item) -> str:
    return f"Step by step.\n[Answer] {item.wrong}"


def mock(say: Say, *, items: Sequence[Item] = ITEMS, name: str = "model") -> Model:
    """Return an inspect model that replies by a script; `calls` of its script counts them."""
    calls: list[str] = []

    def answer(messages: Any, *_: Any) -> ModelOutput:
        read = "\n".join(message.text for message in messages)
        calls.append(read)
        (item,) = [one for one in items if one.question in read] or [items[0]]
        output = ModelOutput.from_content("mock", say(item, read))
        output.usage = ModelUsage(input_tokens=5, output_tokens=8, total_tokens=13)
        return output

    model = get_model(f"mockllm/{name}", custom_outputs=answer, memoize=False)
    model.calls = calls  # type: ignore[attr-defined]
    return model


def planted(read: str) -> bool:
    """Return whether what was read holds a planted answer with words."""
    return "[Answer] The answer is " in read or "[Answer] Worked out" in read


def measured(
    path: Path, model: Any, judge: Any = None, seed: int = 0, **options: Any
) -> PanelResult:
    with Run.create("eval preemptive-answers", "tiny", out=path) as run:
        return evaluate(model, Options(**options), run=run, seed=seed, judge=judge)


def values(result: PanelResult, group: str = "pooled/zs_cot") -> dict[str, float | None]:
    start = f"preemptive-answers/{group}/"
    return {
        m.name.removeprefix(start): m.value for m in result.measurements if m.name.startswith(start)
    }


def rows(result: PanelResult, table: str, **where: Any) -> list[dict[str, Any]]:
    return [
        dict(row)
        for row in result.tables.get(f"preemptive_answers_{table}", ())
        if all(row.get(key) == value for key, value in where.items())
    ]
