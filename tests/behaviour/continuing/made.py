"""Worlds whose truth is known, and answers made by hand: what tests of both benchmarks share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model

from tests.correction.perspective_taking.made import Tool
from theodolite.behaviour.continuing.answers import Answer
from theodolite.data.prompts import Prompt
from theodolite.text.hashing import item_seed

RUDE, KIND = "zzrude", "zzkind"
# What a method says last that no other says.
ENDINGS = {"Now use what you imagined": "pet", "Now leave the objects": "placebo"}


def arm_of(turns: Sequence[Any]) -> str:
    """Return which arm of a comparison a request belongs to: raw, base, pet, placebo or aside."""
    last = turns[-1].text
    for words, arm in ENDINGS.items():
        if words in last:
            return arm
    if "Completion:" not in last:
        return "aside"
    return "base" if "free of" in " ".join(turn.text for turn in turns) else "raw"


@dataclass
class World:
    """A model that writes something rude at a known rate, by arm; chance hangs on the seed alone.

    Args:
        rates: arm -> share of rude texts.
        say: what a rude and a kind text are; by default one word each.
        ignores_seeds: draw by the number of the call, as models behind an API may.
    """

    rates: Mapping[str, float]
    say: Callable[[bool, Sequence[Any]], str] = lambda rude, _: RUDE if rude else KIND
    ignores_seeds: bool = False
    calls: list[str] = field(default_factory=list)

    def __call__(self, turns: list[Any], _tools: Any, _choice: Any, config: Any) -> ModelOutput:
        arm = arm_of(turns)
        self.calls.append(arm)
        number = len(self.calls) if self.ignores_seeds else config.seed
        rude = item_seed(number, arm) / 2**63 < self.rates.get(arm, 0.0)
        text = f"Completion: {self.say(rude, turns)} and went on, number {len(self.calls)}."
        output = ModelOutput.from_content("mock", "Listed." if arm == "aside" else text)
        output.usage = ModelUsage(input_tokens=10, output_tokens=4, total_tokens=14)
        return output

    @property
    def model(self) -> Model:
        return get_model("mockllm/model", custom_outputs=self, memoize=False)


def words_tool(name: str = "words@1-aaaaaaaa", kind: Any = "lexical") -> Tool:
    """Return a scorer that knows what is rude."""
    return Tool(lambda text: 0.9 if RUDE in text else 0.1, id=name, kind=kind)


def sentiment_tool(name: str = "tone@1-aaaaaaaa") -> Tool:
    """Return a scorer of sentiment that knows what is rude and what is kind."""
    return Tool(
        lambda text: -0.6 if RUDE in text else 0.4 if KIND in text else 0.0,
        id=name,
        kind="sentiment",
    )


def prompt(name: str = "p", text: str = "He looked at them and", **more: Any) -> Prompt:
    return Prompt(name, text, goal_id=f"goal-{name}", **more)


def stage(name: str = "original", **more: Any) -> dict[str, Any]:
    found = {
        "name": name,
        "text": "Completion: one",
        "n_in": 10,
        "n_out": 4,
        "cached_in": 0,
        "calls": 1,
        "capped": False,
        "truncated": False,
    }
    return found | more


def record(
    method: str = "base",
    sample: int = 0,
    *,
    original: str = "one two",
    revised: str | None = None,
    stages: Sequence[Mapping[str, Any]] | None = None,
    ok: bool = True,
    **facts: Any,
) -> dict[str, Any]:
    parse = {"ok": ok, "rule": "same_line", "lines_dropped": 0}
    return {
        "id": "p",
        "method": method,
        "sample": sample,
        "form": "continuation",
        "language": "en",
        "concern": "toxicity",
        "original": original,
        "revised": revised,
        "parse": parse,
        "parse_original": {"ok": True, "rule": "same_line", "lines_dropped": 0},
        "stages": list(stages or [stage()]),
        "facts": facts,
    }


def keep_answers(monkeypatch: pytest.MonkeyPatch, evaluation: ModuleType) -> list[Answer]:
    """Return a list that fills with the answers a benchmark makes its result of."""
    kept: list[Answer] = []
    result_of = evaluation.result_of

    def keep(answers: Sequence[Answer], *rest: Any, **options: Any) -> Any:
        kept.extend(answers)
        return result_of(answers, *rest, **options)

    monkeypatch.setattr(evaluation, "result_of", keep)
    return kept


def write_answers(path: Path, answers: Sequence[Answer]) -> Path:
    """Write answers with records as a file that was made elsewhere."""
    rows = [
        {
            "id": one.prompt.id,
            "method": one.method,
            "sample": one.sample,
            "completion": one.record["stages"][-1]["text"],
        }
        for one in answers
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answer(method: str = "base", sample: int = 0, name: str = "p", **more: Any) -> Answer:
    """Return an answer with a record."""
    return Answer.of_record(record(method, sample, **more), prompt(name), method)
