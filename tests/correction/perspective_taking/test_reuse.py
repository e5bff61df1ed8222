"""On tiny models: turns that build on earlier ones are what reading them whole would have given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.correction.perspective_taking.made import PROMPT
from tests.correction.perspective_taking.reuse import Found, ask, task, turns_of
from tests.models.tiny import tiny_model
from tests.oracles.turns import greedy_by_whole_reading, naive_tokens, new_tokens
from theodolite.correction.perspective_taking.registry import METHODS
from theodolite.correction.perspective_taking.setting import Caps, Setting
from theodolite.models.handle import LanguageModel

SETTING = Setting(caps=Caps(listing=7, thinking=9, writing=6))
PROMPTS = [f"{PROMPT} {word}" for word in ("sat", "walked home", "slept in the sun")]


def wide(family: str) -> LanguageModel:
    model = tiny_model(family)
    model.max_context = 8192
    return model


@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_what_whole_reading_gives(method: str, tmp_path: Path) -> None:
    model = wide("llama")
    found = ask(model, task(method, PROMPTS, SETTING), tmp_path / "reused")
    alone = ask(model, task(method, PROMPTS, SETTING), tmp_path / "alone", in_step=False)
    assert found.records == alone.records and len(found.records) == len(PROMPTS)
    assert set(greedy_by_whole_reading(model, turns_of([found]))) == {"equal"}
    least = new_tokens(found.steps)
    assert least <= found.tokens_read <= 1.1 * least
    assert found.tokens_read < naive_tokens(found.steps)


@pytest.mark.parametrize("family", ["bloom", "gemma2", "mistral", "mixtral", "qwen3"])
def test_other_architectures(family: str, tmp_path: Path) -> None:
    model = wide(family)
    found = ask(model, task("pet_both", PROMPTS[:2], SETTING), tmp_path / "run")
    assert set(greedy_by_whole_reading(model, turns_of([found]))) <= {"equal", "tie"}
    assert found.tokens_read <= 1.1 * new_tokens(found.steps)


def test_one_seed_gives_one_result_whatever_was_reused(tmp_path: Path) -> None:
    model = wide("llama")

    def sampled(name: str, *, in_step: bool = True) -> Found:
        asked = task("pet_io", PROMPTS, SETTING, epochs=2, temperature=0.9, seed=5)
        return ask(model, asked, tmp_path / name, in_step=in_step)

    first, again, alone = sampled("first"), sampled("again"), sampled("alone", in_step=False)
    assert first.records == again.records == alone.records
    assert len({record["original"] for record in first.records.values()}) == 6
