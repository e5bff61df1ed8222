"""The monitor sees what the engine computes, changes nothing, and leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.tiny import tiny_model
from theodolite.engine import MlpIntervention, apply, capture, generate, next_token
from theodolite.engine.interventions import interventions_key
from theodolite.errors import CapabilityError, DataError
from theodolite.mechanism.detector.detector import Detector
from theodolite.mechanism.detector.monitor import monitor

WORDS = ["bake bread", "a small boat on a quiet lake", "the weather", "write a story"]


def detector_for(model: Any, hidden_index: int, position: str = "prompt_last") -> Detector:
    """Return a detector with a random direction."""
    width = model.anatomy.d_model
    return Detector(
        direction=np.random.default_rng(hidden_index).standard_normal(width),
        bias=0.1,
        temperature=2.0,
        threshold=0.5,
        hidden_index=hidden_index,
        position=position,
        probe="logistic",
        template="chat",
        model_fingerprint=model.fingerprint,
        model_name=model.name,
        classes=("benign", "harmful"),
        trained_on={},
        quality={},
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
@pytest.mark.parametrize("hidden_index", [1, 2, 3])
def test_every_prompt_is_seen_as_it_would_be_scored(family: str, hidden_index: int) -> None:
    model = tiny_model(family)
    detector = detector_for(model, hidden_index)
    expected = sorted(detector.score(model, WORDS))
    with monitor(model, detector) as seen:
        next_token(model, WORDS)
    assert sorted(seen) == pytest.approx(expected, abs=1e-5)


def test_a_prompt_is_seen_once_however_long_its_answer_is() -> None:
    model = tiny_model()
    detector = detector_for(model, 2)
    with monitor(model, detector) as seen:
        generate(model, WORDS, max_new_tokens=5)
    assert sorted(seen) == pytest.approx(sorted(detector.score(model, WORDS)), abs=1e-5)


def test_capture_of_another_position_does_not_spare_the_one_that_is_watched() -> None:
    """Left alone, the engine computes the last block's MLP only where a value is read."""
    model = tiny_model()
    detector = detector_for(model, 2)
    with monitor(model, detector) as seen:
        capture(model, WORDS, layers=[1], positions=["instruction_last"])
    assert sorted(seen) == pytest.approx(sorted(detector.score(model, WORDS)), abs=1e-5)


def test_what_runs_is_not_changed_and_nothing_is_left() -> None:
    model = tiny_model()
    intact = next_token(model, WORDS)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules()]
    with monitor(model, detector_for(model, 2)):
        assert torch.equal(next_token(model, WORDS), intact)
        assert interventions_key(model)  # so that no journal answers in the model's place
    with pytest.raises(ZeroDivisionError), monitor(model, detector_for(model, 2)):
        _ = 1 / 0
    assert model.interventions == ()
    assert hooks == [
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules()
    ]


def test_a_changed_model_is_seen_changed_and_reports_come_at_once() -> None:
    model = tiny_model()
    detector = detector_for(model, 3)
    told: list[float] = []
    with apply(model, MlpIntervention(layer=1, operator="zero")):
        with monitor(model, detector, report=told.append) as seen:
            next_token(model, WORDS)
        expected = sorted(detector.score(model, WORDS))
    assert told == seen and sorted(seen) == pytest.approx(expected, abs=1e-5)
    assert sorted(seen) != pytest.approx(sorted(detector.score(model, WORDS)), abs=1e-5)


def test_what_cannot_be_watched_is_said() -> None:
    model = tiny_model()
    with (
        pytest.raises(CapabilityError, match=r"Detector\.score"),
        monitor(model, detector_for(model, 2, "instruction_last")),
    ):
        pass
    other = replace(detector_for(model, 2), model_fingerprint="other")
    with pytest.raises(DataError, match="fingerprints differ"), monitor(model, other):
        pass
    with (
        monitor(model, detector_for(model, 2)),
        pytest.raises(CapabilityError, match="did not start it"),
    ):
        model.module(input_ids=torch.tensor([[2, 3]]))
