"""On SmolLM2: reused keys and values give the greedy tokens, and several times as fast.

About 15 minutes on two cores.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch

from tests.correction.perspective_taking.reuse import ask, task, turns_of
from tests.oracles.turns import greedy_by_whole_reading, naive_tokens, new_tokens
from theodolite.correction.perspective_taking.registry import METHODS
from theodolite.correction.perspective_taking.setting import Caps, Setting
from theodolite.data.toxicity_prompts import bundled_beginnings
from theodolite.models.open import open_model

SETTING = Setting(caps=Caps(listing=40, thinking=40, writing=20))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_method_writes_what_whole_reading_gives(tmp_path: Path) -> None:
    model: Any = open_model("smollm2", dtype="float32")
    prompts = [prompt.request for prompt in bundled_beginnings("toxicity")][:20]
    found = {}
    for method in METHODS:
        found[method] = ask(model, task(method, prompts, SETTING), tmp_path / method)
        one = found[method]
        assert len(one.records) == 20
        assert new_tokens(one.steps) <= one.tokens_read <= 1.1 * new_tokens(one.steps)
    verdicts = greedy_by_whole_reading(model, turns_of(list(found.values())))
    assert "different" not in verdicts
    assert verdicts.count("tie") <= 0.01 * len(verdicts)
    pet = found["pet_io"]
    assert pet.tokens_read < naive_tokens(pet.steps) / 4
    few = task("pet_both", prompts[:3], SETTING)
    alone = ask(model, few, tmp_path / "alone", in_step=False)
    single = greedy_by_whole_reading(model, turns_of([alone]))
    assert "different" not in single
    if "tie" not in verdicts + single:
        batched = found["pet_both"].records
        assert alone.records == {key: batched[key] for key in alone.records}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_sixteen_chains_are_three_times_as_fast_as_one_at_a_time(tmp_path: Path) -> None:
    """Two chains are read whole, turn by turn, and count for eight each."""
    model: Any = open_model("smollm2", dtype="float32")
    prompts = [prompt.request for prompt in bundled_beginnings("toxicity")][:16]
    started = perf_counter()
    found = ask(model, task("pet_io", prompts, SETTING), tmp_path / "ours")
    ours = perf_counter() - started
    assert [len(step) for step in found.steps] == [16] * 4
    started = perf_counter()
    with torch.inference_mode():
        for ids, written in (turn for step in found.steps for turn in step[:2]):
            whole = torch.tensor([ids])
            model.module.generate(
                input_ids=whole,
                attention_mask=torch.ones_like(whole),
                max_new_tokens=len(written),
                do_sample=False,
                pad_token_id=model.tokenizer.pad_token_id,
            )
    assert ours * 3 <= 8 * (perf_counter() - started)
