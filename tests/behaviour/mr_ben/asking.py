"""Made models and judges for whole evaluations: an oracle, constant answers, judges of a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model

from theodolite.behaviour.mr_ben.evaluation import Options, evaluate
from theodolite.behaviour.mr_ben.prompts import task_prompt
from theodolite.data.step_critique import CritiqueSample
from theodolite.runs.panel import PanelResult
from theodolite.runs.run import Run

Reply = Callable[[list[Any]], str]


def mock(reply: Reply, name: str = "model") -> Model:
    """Return a model that answers chats by a function of their messages."""

    def answer(messages: Any, *_: Any) -> ModelOutput:
        output = ModelOutput.from_content("mock", reply(messages))
        output.usage = ModelUsage(input_tokens=1, output_tokens=8, total_tokens=9)
        return output

    return get_model(f"mockllm/{name}", custom_outputs=answer)


def four(correct: bool, step: str = "N/A", reason: str = "N/A") -> str:
    """Return an answer in the four parts."""
    return (
        f"Solution Analysis: looked at all of it.\n"
        f"Solution Correctness: {'correct' if correct else 'incorrect'}\n"
        f"First Error Step: {step}\nError Reason: {reason}"
    )


def gold(row: CritiqueSample) -> str:
    """Return the answer that is right in every part."""
    if row.gold_correct:
        return four(True)
    step = row.gold_line if row.coding else f"Step {row.gold_step}"
    return four(False, step, row.reasons[0])


def oracle(rows: Iterable[CritiqueSample]) -> Reply:
    """Return what answers every plain prompt with its gold."""
    known = {task_prompt(row): gold(row) for row in rows}
    return lambda messages: known[messages[0].text]


def student(prompt: str) -> str:
    """Return the block of the candidate in a judge's prompt."""
    return prompt.split("<<<STUDENT ")[1].split("<<<END STUDENT ")[0]


def expert(prompt: str) -> str:
    """Return the experts' block in a judge's prompt."""
    return prompt.split("<<<EXPERT ")[1].split("<<<END EXPERT ")[0]


def accepts_same(messages: list[Any]) -> str:
    """Judge: accepts a reason that an expert gives in these words; knows the canaries."""
    prompt = messages[0].text
    said = student(prompt)
    if "22 - 4 = 18" in prompt:
        right = "21" in said
    else:
        lines = [line[2:] for line in said.split("\n") if line.startswith("| ")]
        told = "\n".join(line for line in lines if not line.startswith("Line: "))
        right = told in expert(prompt).replace("\n| ", "\n") and bool(told.strip())
    return f"They were compared.\nFinal Decision: {'Correct' if right else 'Wrong'}"


def measured(path: Path, model: Any, judge: Any = None, **options: Any) -> PanelResult:
    """Evaluate into a new run folder."""
    with Run.create("eval mr-ben", "tiny", out=path) as run:
        return evaluate(model, Options(**options), run=run, judge=judge)


def values(result: PanelResult) -> dict[str, float | None]:
    """Return the figures by name, without the benchmark's own."""
    return {m.name.removeprefix("mr-ben/"): m.value for m in result.measurements}
