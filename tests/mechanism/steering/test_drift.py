"""Drift and perplexity equal the slow way, are 0 without an edit, and stand beside random edits.

The traps: positions off by one (the prompt's own tokens counted as an answer), the edited model's
answer in place of the intact one's, padding counted as no drift.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.conftest import opened
from tests.mechanism.steering.made_edits import direction, every_mode, requests
from tests.oracles import engine_forward
from tests.oracles import steering as oracle
from theodolite.data.prompts import Prompt
from theodolite.engine.generate import end_tokens
from theodolite.errors import ConfigError, DataError, NumericsError
from theodolite.mechanism.states import encode_for_states
from theodolite.mechanism.steering import drift
from theodolite.mechanism.steering.benign import BenignStates
from theodolite.mechanism.steering.drift import edit_drift
from theodolite.mechanism.steering.drift_result import DriftResult
from theodolite.mechanism.steering.edits import Edit
from theodolite.runs.journal import Journal
from theodolite.runs.run import Run

PASSAGES = [Prompt(f"t{i}", text=t) for i, t in enumerate(("a cat sat on a mat", "rain fell"))]


@pytest.fixture
def model() -> Any:
    return opened("llama")


def measured(model: Any, edits: list[Edit], prompts: list[Prompt], **options: Any) -> DriftResult:
    options = {"passages": PASSAGES, "random_draws": 0, "positions": 12} | options
    return edit_drift(model, prompts, edits, **options)


@pytest.mark.parametrize("positions", ["all", "generated", "prompt_last"])
def test_drift_equals_whole_forwards_along_the_intact_answers(model: Any, positions: str) -> None:
    prompts = requests(0, 5)
    edits = every_mode(positions=positions)[::2]
    benign = BenignStates.read(model, requests(0, 6), edits)
    found = measured(model, edits, prompts, benign=benign, batch_tokens=60)
    for row, item in enumerate(encode_for_states(model, prompts)):
        answer = engine_forward.greedy(model, item.ids, 12, end_tokens(model))
        intact = oracle.answer_logprobs(model, list(item.ids), answer[:-1])
        for number, edit in enumerate(edits):
            changed = oracle.answer_logprobs(model, list(item.ids), answer[:-1], edit, benign)
            expected = [oracle.kl(a, b) for a, b in zip(intact, changed, strict=True)]
            assert np.allclose(found.kl[number, row, : len(answer)], expected, atol=1e-5)
            assert np.isnan(found.kl[number, row, len(answer) :]).all()
            assert max(expected) > 1e-4


def test_perplexity_equals_whole_forwards(model: Any) -> None:
    edit = every_mode()[0]
    found = measured(model, [edit], requests(0, 5))
    for column, passage in enumerate(PASSAGES):
        ids = model.tokenizer(passage.text, add_special_tokens=False)["input_ids"]
        every = oracle.answer_logprobs(model, ids[:1], ids[1:-1], edit)
        nats = -sum(every[i, token] for i, token in enumerate(ids[1:]))
        assert found.nats[0, column] == pytest.approx(nats, rel=1e-5)
        assert found.tokens[column] == len(ids) - 1
    level = found.perplexity(edit.name)
    assert level.value == pytest.approx(np.exp(found.nats[0].sum() / found.tokens.sum()))
    change = found.perplexity_change(edit.name)
    ratio = np.exp((found.nats[0] - found.intact_nats).sum() / found.tokens.sum())
    assert change.value == pytest.approx(100 * (ratio - 1))
    assert found.perplexity().value == pytest.approx(
        np.exp(found.intact_nats.sum() / found.tokens.sum())
    )


@pytest.mark.parametrize("mode", ["subtract", "ablate", "rank_k"])
def test_no_strength_has_no_cost(model: Any, mode: str) -> None:
    edit = Edit([direction()], mode, alpha=0.0)
    found = measured(model, [edit], requests(0, 5))
    value = found.drift(edit.name).value
    assert value is not None and 0 <= value < 1e-9
    assert found.perplexity_change(edit.name).value == pytest.approx(0.0, abs=1e-4)


def test_random_edits_are_the_floor_and_intervals_are_by_prompt(model: Any) -> None:
    edit = Edit([direction()], "subtract", alpha=6.0)
    found = measured(model, [edit], requests(0, 6), random_draws=3)
    again = measured(model, [edit], requests(0, 6), random_draws=3)
    assert np.array_equal(found.kl, again.kl, equal_nan=True)
    m, over = found.drift(edit.name), found.drift_over_random(edit.name)
    assert m.value == pytest.approx(np.nanmean(found.kl[0]))
    assert (m.n, m.n_clusters) == (int(np.isfinite(found.kl[0]).sum()), 3)
    assert m.floor is not None and m.floor.value == pytest.approx(np.nanmean(found.kl[1:]))
    assert over.value == pytest.approx(m.value - m.floor.value)
    assert "of 3 random edits" in (over.reason or "")
    assert "of 3 random edits" in (found.perplexity_over_random(edit.name).reason or "")
    names = [one.name for one in found.measurements()]
    assert len(set(names)) == len(names) == 6
    plain = measured(model, [edit], requests(0, 6))
    assert plain.drift_over_random(edit.name).status == "not_measured"
    floor = plain.drift(edit.name).floor
    assert floor is not None and floor.value == 0.0


def test_a_result_survives_a_run_folder_and_units_a_journal(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = Edit([direction()], "subtract", alpha=6.0)
    with Journal(tmp_path / "journal.jsonl") as journal:
        found = measured(model, [edit], requests(0, 4), journal=journal)
        monkeypatch.setattr(drift._Answers, "__call__", lambda *_: 1 / 0)
        again = measured(model, [edit], requests(0, 4), journal=journal)
        with pytest.raises(ZeroDivisionError):
            measured(model, [edit.at(5.0)], requests(0, 4), journal=journal)
    with Run.create("explain", "tiny", out=tmp_path / "run") as run:
        found.save(run)
        read = DriftResult.load(run)
    assert read.measurements() == found.measurements() == again.measurements()
    assert read.frame() == found.frame() and read.figure() == found.figure()


def test_a_divergence_that_is_no_number_is_an_error(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return torch.full(before.shape[:1], float("nan"), dtype=torch.float64)

    monkeypatch.setattr(drift, "divergence", broken)
    with pytest.raises(NumericsError, match="answer to 'b0' is not a finite"):
        measured(model, [Edit([direction()])], requests(0, 4))


def test_what_cannot_be_measured_is_refused(model: Any) -> None:
    edits = [Edit([direction()])]
    with pytest.raises(DataError, match="no prompts"):
        measured(model, edits, [])
    with pytest.raises(DataError, match="tokens in all, and drift needs 32"):
        measured(model, edits, requests(0, 2), positions=3)
    with pytest.raises(ConfigError, match="positions is 0"):
        measured(model, edits, requests(0, 2), positions=0)
    with pytest.raises(DataError, match="no passages"):
        measured(model, edits, requests(0, 4), passages=[])
