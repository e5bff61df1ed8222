"""What is added is what a slow loop adds: no token of it begins a refusal or ends the turn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.behaviour.course_correction.asked import ON, measured, mock, values
from tests.behaviour.course_correction.made import made_rows
from tests.models.tiny import tiny_model
from theodolite.behaviour.course_correction.prefixes import make_prefixes
from theodolite.behaviour.course_correction.suppression import MOST_STEPS, check_steps, led_on
from theodolite.engine.generate import end_tokens
from theodolite.errors import ConfigError
from theodolite.mechanism.correction_dynamics.openings import opening_tokens
from theodolite.models.chat import encode

MODEL = tiny_model("llama")
PREFIXES = make_prefixes(list(made_rows(3)), (4, 8), tokenizer=MODEL.tokenizer)


def slow(text: str, request: str, steps: int) -> list[int]:
    """Return the tokens added one by one, each with a whole forward pass of its own."""
    turns = [{"role": "user", "content": request}, {"role": "assistant", "content": text}]
    ids = list(encode(MODEL, turns, continue_final=True, add_generation_prompt=False).ids)
    start, barred = len(ids), {*opening_tokens(MODEL).ids, *end_tokens(MODEL)}
    for _ in range(steps):
        with torch.inference_mode():
            logits = MODEL.module(torch.tensor([ids])).logits[0, -1]
        order = logits.argsort(descending=True).tolist()
        ids.append(next(token for token in order if token not in barred))
    return ids[start:]


def test_the_tokens_are_those_of_the_slow_loop() -> None:
    found = led_on(MODEL, PREFIXES, 3, where="answer")
    for before, after in zip(PREFIXES, found, strict=True):
        added = slow(before.text, before.prompt.request, 3)
        assert not {*opening_tokens(MODEL).ids, *end_tokens(MODEL)} & set(added)
        spelled = before.text + MODEL.tokenizer.decode(added, skip_special_tokens=True)
        assert after.text == spelled.rstrip(" \n\t\ufffd")
        assert (after.id, after.rest) == (before.id, before.rest)


def test_a_model_that_refuses_first_is_led_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Corr with and without are of the same rows, and benign ones are not asked about."""
    found = measured(tmp_path, MODEL, monkeypatch, made_rows(3), suppress=2)
    named = {name for name in values(found) if name.startswith("suppressed/")}
    assert named == {"suppressed/corr", "suppressed/corr_effect"}
    assert {row["label"] for row in found.tables["course_correction_suppressed"]} == {"harmful"}
    assert any("none of which begins a refusal" in sentence for sentence in found.how)


def test_what_cannot_be_suppressed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for steps in (-1, MOST_STEPS + 1):
        with pytest.raises(ConfigError, match="suppress is"):
            check_steps(steps)
    api, rows = mock(lambda _: ON), made_rows(2)
    with pytest.raises(ConfigError, match="needs a local model"):
        measured(tmp_path, api, monkeypatch, rows, unit="word", suppress=4)
    with pytest.raises(ConfigError, match="a turn that stays open"):
        measured(tmp_path, MODEL, monkeypatch, rows, prefill="new_turn", suppress=4)
