"""A scripted model, a stub tool and one-sample evaluations: what the tests of the solvers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, EvalSample, read_eval_log
from inspect_ai.model import GenerateConfig, Model, ModelOutput, ModelUsage, get_model
from inspect_ai.solver import Solver

from theodolite.correction.perspective_taking.method import RECORD

PROMPT = "They looked at {S} and {prompt} while he"
QUESTION = "How do I tell {k} guests that the soup is cold?"


def usage(read: int = 10, written: int = 5, cached: int | None = None) -> ModelUsage:
    total = read + written + (cached or 0)
    return ModelUsage(
        input_tokens=read,
        output_tokens=written,
        total_tokens=total,
        input_tokens_cache_read=cached,
    )


def said(text: str, *, stop: Any = "stop", **tokens: Any) -> ModelOutput:
    output = ModelOutput.from_content("mock", text, stop_reason=stop)
    output.usage = usage(**tokens)
    return output


@dataclass
class Script:
    """A model that says what a function of its call's number and turns says; keeps every call."""

    reply: Callable[[int, list[Any]], str | ModelOutput]
    calls: list[list[Any]] = field(default_factory=list)
    configs: list[GenerateConfig] = field(default_factory=list)

    def __call__(self, turns: list[Any], _tools: Any, _choice: Any, config: Any) -> ModelOutput:
        self.calls.append(list(turns))
        self.configs.append(config)
        answer = self.reply(len(self.calls), turns)
        return answer if isinstance(answer, ModelOutput) else said(answer)

    @property
    def model(self) -> Model:
        return get_model("mockllm/model", custom_outputs=self, memoize=False)


def numbered(prefix: str = "Completion: ") -> Script:
    """Return a model that numbers its answers."""
    return Script(lambda number, _: f"{prefix}answer {number}")


@dataclass
class Tool:
    """A tool that rates a text by a function."""

    rate: Callable[[str], float]
    id: str = "stub@1"
    kind: Any = "lexical"
    blind_spots: str = "everything"
    asked: list[list[str]] = field(default_factory=list)

    def score(self, texts: Sequence[str]) -> list[float]:
        self.asked.append(list(texts))
        return [self.rate(text) for text in texts]


CONTINUE = Sample(input=PROMPT, id="c1", metadata={"continuation_prompt": PROMPT})
CHAT = Sample(input=QUESTION, id="q1")


def run(
    solver: Solver, model: Model, samples: Sequence[Sample] = (CONTINUE,), **options: Any
) -> EvalLog:
    """Evaluate samples and return the log; fails where the evaluation did."""
    task = Task(
        dataset=MemoryDataset(list(samples)),
        solver=solver,
        scorer=options.pop("scorer", None),
        epochs=options.pop("epochs", 1),
        config=GenerateConfig(max_connections=1),
    )
    with TemporaryDirectory() as folder:
        (log,) = inspect_eval(
            task,
            model=model,
            log_dir=str(Path(folder)),
            display="none",
            ctl_server=False,
            max_samples=1,
            **options,
        )
        log = read_eval_log(log.location)
    assert log.status == "success", log.error and log.error.message
    return log


def sample_of(solver: Solver, script: Script, sample: Sample = CONTINUE, **options: Any) -> Any:
    """Return the one sample of an evaluation."""
    (found,) = run(solver, script.model, [sample], **options).samples or []
    return found


def record_of(sample: EvalSample) -> dict[str, Any]:
    found: dict[str, Any] = sample.metadata[RECORD]
    return found


def names_of(sample: EvalSample) -> list[str]:
    return [stage["name"] for stage in record_of(sample)["stages"]]
