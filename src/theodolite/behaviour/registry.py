"""The benchmarks by name; each is imported only when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Final, Literal

from theodolite.errors import ConfigError
from theodolite.text.suggest import nearest

BENCHMARKS: Final[Mapping[str, str]] = {
    "refusal": "theodolite.behaviour.refusal",
    "course-correction": "theodolite.behaviour.course_correction",
    "debateqa": "theodolite.behaviour.debateqa",
    "toxicity": "theodolite.behaviour.toxicity",
    "bias": "theodolite.behaviour.bias",
    "mr-ben": "theodolite.behaviour.mr_ben",
    "preemptive-answers": "theodolite.behaviour.preemptive_answers",
}

Part = Literal["task", "panel", "evaluation"]


def benchmark(name: str, part: Part) -> ModuleType:
    """Import one part of a benchmark.

    Args:
        name: the benchmark as the command line calls it, e.g. `refusal`.
        part: the file of its folder: `task` holds the inspect task of the same name, `evaluation`
            what the command line calls, `panel` the audit's panel.

    Raises:
        ConfigError: there is no such benchmark (the nearest name is suggested).
    """
    if name not in BENCHMARKS:
        near = nearest(name, BENCHMARKS)
        raise ConfigError(
            f"There is no benchmark named {name!r}.",
            fix=f"Did you mean {near!r}?" if near else f"There are {', '.join(BENCHMARKS)}.",
        )
    return import_module(f"{BENCHMARKS[name]}.{part}")


def register_tasks() -> None:
    """Import every task file, which registers the tasks with inspect_ai."""
    for name in BENCHMARKS:
        benchmark(name, "task")
