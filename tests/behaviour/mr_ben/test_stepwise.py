"""Asking after each step in one pass: equal to a pass per step, and what is made of the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.behaviour.mr_ben.solved import solution, solutions
from tests.engine.conftest import bare
from tests.models.tiny import tiny_model
from tests.oracles import mr_ben_modes as oracle
from theodolite.behaviour.mr_ben.forks import fork_logits
from theodolite.behaviour.mr_ben.logprob import STEPWISE, score_modes
from theodolite.behaviour.mr_ben.prefix_cost import counted, trie_floor
from theodolite.behaviour.mr_ben.stepwise import (
    Walked,
    prompts_of,
    steps_ranked,
    stepwise_result,
    walked,
)
from theodolite.behaviour.mr_ben.walks import ASK, walk_of
from theodolite.data.step_critique import CritiqueSet, labelled
from theodolite.engine.interventions import ResidualIntervention, apply
from theodolite.models import open_model
from theodolite.models.chat import Encoded
from theodolite.runs.run import Run

FAMILIES = ("llama", "gpt2", "gemma3", "qwen2", "falcon-alibi")


def texts(count: int = 3, seed: int = 0) -> list[list[Encoded]]:
    """Return prompts that grow and end in the same question; all begin alike."""
    draw = torch.Generator().manual_seed(seed)

    def tokens(n: int) -> list[int]:
        return torch.randint(2, 300, (n,), generator=draw).tolist()

    head, question = tokens(20), tokens(6)
    found = []
    for text in range(count):
        body, prompts = head + tokens(5), []
        for step in range(2 + text):
            body = body + tokens(4 + step)
            prompts.append(bare(body + question))
        found.append(prompts)
    return [*found, found[0][:1]]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("budget", [None, 60])
def test_one_pass_equals_a_pass_per_step(name: str, budget: int | None) -> None:
    model = tiny_model(name)
    every = range(model.anatomy.vocab_size)
    asked = texts()
    found, cost = fork_logits(model, asked, every, batch_tokens=budget)
    for prompts, logits in zip(asked, found, strict=True):
        expected = oracle.last_logits(model, [one.ids for one in prompts])
        assert (torch.tensor(logits) - expected).abs().max() < 1e-3
    assert cost.floor == trie_floor([one.ids for prompts in asked for one in prompts])


@pytest.mark.parametrize("positions", ["prompt_last", "prompt", (-1,), (-9,), (3,)])
def test_interventions_act_as_in_a_pass_per_step(positions: Any) -> None:
    model = tiny_model("llama")
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    steer = ResidualIntervention(layer=1, operator="add", vector=vector, positions=positions)
    asked = texts()
    with apply(model, steer):
        together, _ = fork_logits(model, asked, range(50))
        for prompts, logits in zip(asked, together, strict=True):
            for one, own in zip(prompts, logits, strict=True):
                ((alone,),), _ = fork_logits(model, [[one]], range(50))
                assert own == pytest.approx(alone, abs=1e-3)


def test_only_so_many_rows_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from theodolite.behaviour.mr_ben import forks

    model = tiny_model("llama")
    whole, _ = fork_logits(model, texts(), range(9))
    monkeypatch.setattr(forks, "row_budget", lambda *_: 2)
    cut, _ = fork_logits(model, texts(), range(9))
    assert np.allclose(np.concatenate(whole), np.concatenate(cut), atol=1e-4)


def test_a_solution_is_cut_behind_each_step() -> None:
    lines = ["Well.", "Step 1: a", "so b", "**Step 2**: c", "", "Step 2: d", "Step 5: e", "Bye"]
    sample = replace(solution("math", 0, 0, right=False), steps=labelled(lines), gold_step=2)
    walk = walk_of(sample)
    assert walk.labels == (1, 2, 5)
    shown = [walk.asked(i).removeprefix(walk.head).removesuffix(ASK) for i in range(3)]
    assert shown == ["Well.\nStep 1: a\nso b", "\n".join(lines[:6]), "\n".join(lines)]
    assert walk.wrong == (False, True, None)
    assert walk_of(replace(sample, gold_step=3)).wrong == (None, None, None)
    right = replace(sample, gold_step=None, gold_correct=True)
    assert walk_of(right).wrong == (False, False, False)
    hostile = replace(sample, question="{options}{steps}")
    assert "{options}{steps}" in walk_of(hostile).head


def test_steps_are_read_once() -> None:
    model = replace(tiny_model("llama"), max_context=None)
    rows = list(solutions(questions=2))
    with counted(model) as passes:
        found, cost = walked(model, rows)
    assert sum(passes) == cost.planned <= 1.15 * cost.floor
    assert cost.naive > 3 * cost.planned
    for one, prompts in zip(found, prompts_of(model, [walk_of(row) for row in rows]), strict=True):
        assert prompts is not None and one.encoded == prompts[-1]
        assert len(one.right) == len(prompts) == len(one.walk)


def made(rows: list[Any], right: Any) -> list[Walked]:
    """Return solutions with a given certainty behind each step, by whether it is wrong."""
    found = []
    for row in rows:
        walk = walk_of(row)
        known = [True if wrong is None else wrong for wrong in walk.wrong]
        found.append(Walked(walk, None, tuple(right(wrong) for wrong in known)))
    return found


def test_a_reader_that_sees_every_error() -> None:
    rows = list(solutions())
    values = {
        m.name: m for m in stepwise_result(made(rows, lambda w: 0.1 if w else 0.8)).measurements
    }
    for figure in ("at_half/mean/mcc", "at_half/mean/acc_step", "mean/auroc", "mean/step_auroc"):
        assert values[f"mr-ben/stepwise/{figure}"].value == 1.0
    score = values["mr-ben/stepwise/at_half/mean/mr_score"]
    assert (score.value, score.unscored.low) == (None, pytest.approx(0.5))
    # The order is right and one half is no threshold for it: other questions give a better one.
    values = {
        m.name: m for m in stepwise_result(made(rows, lambda w: 0.6 if w else 0.9)).measurements
    }
    assert values["mr-ben/stepwise/at_half/mean/acc_step"].value == 0.0
    assert values["mr-ben/stepwise/at_fixed/mean/acc_step"].value == 1.0


def test_the_first_drop_is_the_step() -> None:
    walk = walk_of(solution("math", 0, 0, right=False, steps=4))
    one = Walked(walk, None, (0.9, 0.7, 0.2, 0.1))
    assert [one.first_below(t) for t in (0.05, 0.15, 0.5, 0.8, 0.95)] == [None, 4, 3, 2, 1]
    assert one.lowest == 0.1
    (ranking,) = steps_ranked([one])
    assert ranking.labels == [True, False] and ranking.scores == [0.9, 0.7]


def test_a_run_resumes_and_what_does_not_fit_is_marked(tmp_path: Path) -> None:
    model = replace(tiny_model("llama"), max_context=None)
    long = replace(solution("math", 9, 0, right=True), id="long", question="Why? " * 400)
    rows = CritiqueSet((*solutions(("math",), 2), long))
    tight = replace(model, max_context=1200)
    with Run.create("eval mr-ben", out=tmp_path / "run") as run:
        first = score_modes(tight, rows, mode=STEPWISE, run=run)
        with counted(model) as passes:
            again = score_modes(tight, rows, mode=STEPWISE, run=run)
    assert not passes and first.tables == again.tables
    (marked,) = [row for row in first.tables["mr_ben_stepwise"] if row["id"] == "long"]
    assert marked["tokens"] is None and marked["lowest"] is None
    assert {m.name: m for m in first.measurements}["mr-ben/stepwise/math/auroc"].unscored.count == 1


@pytest.mark.slow
def test_one_pass_equals_a_pass_per_step_on_the_default_model() -> None:
    model = open_model("smollm2", dtype="float32")
    walks = [walk_of(row) for row in solutions(("math",), 1)]
    asked = [own for own in prompts_of(model, walks) if own is not None]
    found, _ = fork_logits(model, asked, range(model.anatomy.vocab_size))
    worst = 0.0
    for prompts, logits in zip(asked, found, strict=True):
        expected = oracle.last_logits(model, [one.ids for one in prompts])
        worst = max(worst, float((torch.tensor(logits) - expected).abs().max()))
    print(f"largest difference of a logit: {worst:.1e}")
    assert worst < 1e-3
