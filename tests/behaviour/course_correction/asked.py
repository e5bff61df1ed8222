"""Run the evaluation on made rows and mock models, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model

from theodolite.behaviour.course_correction import asking as asking_module
from theodolite.behaviour.course_correction.evaluation import Options, evaluate
from theodolite.data.prompts import PromptSet
from theodolite.runs.panel import PanelResult
from theodolite.runs.run import Run

TURN = " ... I'm sorry, but I can't help with this."
ON = " stir it again and let it rest for one more hour"


def mock(reply: Callable[[list[Any]], str], name: str = "model") -> Model:
    def answer(messages: Any, *_: Any) -> ModelOutput:
        output = ModelOutput.from_content("mock", reply(messages))
        output.usage = ModelUsage(input_tokens=1, output_tokens=8, total_tokens=9)
        return output

    return get_model(f"mockllm/{name}", custom_outputs=answer)


def measured(
    tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch, rows: PromptSet, **options: Any
) -> PanelResult:
    monkeypatch.setattr(asking_module, "rows_of", lambda *_: rows)
    judge = options.pop("judge", None)
    chosen = Options(**{"ks": "4,8", "max_tokens": 6} | options)
    with Run.create("eval course-correction", "tiny", out=tmp_path / "run") as run:
        return evaluate(model, chosen, run=run, judge=judge)


def values(result: PanelResult) -> dict[str, float | None]:
    return {m.name.removeprefix("course-correction/"): m.value for m in result.measurements}
