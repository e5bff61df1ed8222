"""Evaluate a method on a local model in step, and note every turn as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig

from tests.correction.perspective_taking.made import Tool, record_of
from tests.oracles.turns import Turn
from theodolite.correction.perspective_taking.registry import make_solver
from theodolite.correction.perspective_taking.setting import PROMPT_KEY, Setting
from theodolite.engine.session import Session
from theodolite.models.handle import LanguageModel
from theodolite.providers import evaluate as module
from theodolite.providers.theodolite import TheodoliteAPI
from theodolite.runs.run import Run


@dataclass
class Found:
    """The records of an evaluation, its turns step by step, and the tokens that were read."""

    records: dict[tuple[Any, int], dict[str, Any]]
    steps: list[list[Turn]]
    tokens_read: int


def task(name: str, prompts: Sequence[str], setting: Setting, **options: Any) -> Task:
    samples = [
        Sample(input=prompt, id=f"p{i}", metadata={PROMPT_KEY: prompt})
        for i, prompt in enumerate(prompts)
    ]
    more = {"k": 2} if name.startswith("pet") else {}
    tool = Tool(lambda text: 0.05 + len(text) % 10 / 11)
    return Task(
        dataset=MemoryDataset(samples),
        solver=make_solver(name, setting=setting, tool=tool, **more),
        epochs=options.pop("epochs", 1),
        config=GenerateConfig(max_tokens=setting.caps.writing, max_connections=64, **options),
        name="toy",
    )


def ask(model: LanguageModel, task: Task, path: Path, *, in_step: bool = True) -> Found:
    """Run a task; out of step, one request at a time."""
    steps: list[list[Turn]] = []
    with pytest.MonkeyPatch.context() as patch:
        answer, complete = module.answer_requests, TheodoliteAPI.complete

        def note(requests: Any, answers: Any) -> Any:
            pairs = zip(requests, answers, strict=True)
            steps.append([(r.encoded.ids, one.token_ids) for r, of in pairs for one in of])
            return answers

        patch.setattr(
            module, "answer_requests", lambda m, asked, **how: note(asked, answer(m, asked, **how))
        )
        patch.setattr(
            TheodoliteAPI, "complete", lambda self, asked: note(asked, complete(self, asked))
        )
        session = Session(model)
        how: dict[str, Any] = {"in_step": True, "session": session}
        if not in_step:
            how = {"max_connections": 1}
        with Run.create("eval toy", "local", out=path) as run:
            log = module.evaluate(task, model, run=run, **how)
    records = {(sample.id, sample.epoch): record_of(sample) for sample in log.samples or []}
    return Found(records, steps, session.tokens_read)


def turns_of(found: Sequence[Found]) -> list[Turn]:
    """Return the turns of several evaluations, all steps of each."""
    return [turn for one in found for step in one.steps for turn in step]
