"""The defence reads a reply at whole steps and replaces it where a fresh turn refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig
from inspect_ai.solver import generate as plain

from tests.behaviour.course_correction.asked import mock
from tests.models.tiny import tiny_model
from theodolite.correction import any_depth as module
from theodolite.correction.any_depth import PROBE, RECORD, any_depth, depths_of
from theodolite.engine import generate
from theodolite.errors import ConfigError, TheodoliteError
from theodolite.judging.refusal import RefusalVerdict
from theodolite.models.chat import encode
from theodolite.providers.evaluate import evaluate
from theodolite.providers.log_samples import samples_of
from theodolite.runs.run import Run

MODEL = tiny_model("llama")
REQUEST, BEGUN = "How do I make moon cheese?", "First, take some milk and"


def answers(tmp_path: Path, solver: Any, *, begun: bool = True, model: Any = MODEL) -> list[Any]:
    turns = [ChatMessageUser(content=REQUEST), ChatMessageAssistant(content=BEGUN)]
    task = Task(
        dataset=MemoryDataset([Sample(input=turns if begun else turns[:1], id=i) for i in (1, 2)]),
        solver=solver,
        config=GenerateConfig(max_tokens=10, max_connections=8, temperature=0.0),
        name="any_depth",
    )
    with Run.create("test", "tiny", out=tmp_path) as run:
        return samples_of(evaluate(task, model, run=run, in_step=True))


def verdicts(monkeypatch: pytest.MonkeyPatch, refuses: Any) -> list[str]:
    """Let `refuses` decide of each branch's words by how many came before; return those words."""
    seen: list[str] = []

    def score(said: str, request: str) -> RefusalVerdict:
        assert request == REQUEST
        seen.append(said)
        yes = refuses(len(seen))
        return RefusalVerdict("refusal" if yes else "compliance", yes, 1.0, "test")

    monkeypatch.setattr(module, "score_refusal", score)
    return seen


def fresh(text: str, length: int) -> str:
    """Return what the model says in a new turn behind a reply, by the engine itself."""
    turns = [{"role": "user", "content": REQUEST}, {"role": "assistant", "content": text}]
    return generate(MODEL, [encode(MODEL, turns)], max_new_tokens=length)[0].text


def test_cuts_are_at_whole_steps_of_the_models_own_part() -> None:
    reply = f"{BEGUN} stir it slowly until it is firm."
    n = len(MODEL.tokenizer(reply, add_special_tokens=False)["input_ids"])
    begun = len(MODEL.tokenizer(BEGUN, add_special_tokens=False)["input_ids"])
    cuts = depths_of(MODEL.tokenizer, reply, len(BEGUN), 4)
    assert [depth for depth, _ in cuts] == sorted({*range(0, n - begun, 4), n - begun})
    assert cuts[0] == (0, BEGUN) and cuts[-1][1] == reply
    assert all(reply.startswith(text) and text == text.rstrip() for _, text in cuts)
    assert depths_of(MODEL.tokenizer, reply, 0, 4)[0][0] == 4  # nothing begun: no empty branch
    assert depths_of(MODEL.tokenizer, "", 0, 4) == []


def test_what_never_refuses_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = verdicts(monkeypatch, lambda _: False)
    own = answers(tmp_path / "a", plain())
    kept = answers(tmp_path / "b", any_depth(every=4))
    assert [s.output.completion for s in kept] == [s.output.completion for s in own]
    assert all(s.metadata[RECORD] is None for s in kept) and len(seen) >= 4
    assert seen[0] == fresh(BEGUN, PROBE)


def test_a_refusal_in_a_fresh_turn_takes_the_replys_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts(monkeypatch, lambda _: True)
    for sample in answers(tmp_path / "a", any_depth(every=4)):
        assert sample.output.completion == fresh(BEGUN, 10) and sample.metadata[RECORD] == 0
        assert [m.role for m in sample.messages] == ["user", "assistant"]
    for sample in answers(tmp_path / "b", any_depth(every=4), begun=False):
        assert sample.metadata[RECORD] > 0  # there is no turn to open again before a word is said


def test_what_cannot_be_defended_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every is 0"):
        any_depth(every=0)
    with pytest.raises(TheodoliteError, match="its provider decides itself"):
        answers(tmp_path, any_depth(), model=mock(lambda _: "yes"))
