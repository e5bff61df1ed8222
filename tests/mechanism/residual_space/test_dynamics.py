"""Dynamics: parts add up to the stream, a planted writer is found, and a wrong sum is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.mechanism.residual_space.made_styles import made_requests
from tests.models.tiny import tiny_model
from theodolite.errors import DataError, NumericsError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.residual_space.dynamics import (
    NEITHER,
    PROMOTES,
    SUPPRESSES,
    carried,
    check_sum,
    dynamics,
)
from theodolite.mechanism.states import encode_for_states, read_states
from theodolite.models.handle import LanguageModel

PROMPTS = list(made_requests(16))
GOALS = [str(prompt.pair_id) for prompt in PROMPTS]


def direction(width: int, seed: int = 0, name: str = "L2-C1") -> Direction:
    return Direction(name, 2, np.random.default_rng(seed).standard_normal(width))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_gaps_are_those_of_the_states_and_parts_add_up(family: str) -> None:
    model = tiny_model(family)
    lines = [direction(model.anatomy.d_model, i, f"L2-C{i + 1}") for i in range(2)]
    found = dynamics(model, PROMPTS, lines, GOALS)
    states = read_states(model, PROMPTS, positions=("prompt_last",))
    harmful = np.array([prompt.label == "harmful" for prompt in PROMPTS])
    for d, line in enumerate(lines):
        for h in states.hidden_indices:
            along = line.projections(states.at(h, "prompt_last"))
            gap = along[harmful].mean() - along[~harmful].mean()
            assert found.stream.mean[d, h] == pytest.approx(gap, abs=1e-5)
        steps = np.diff(found.stream.mean[d])
        assert found.added.mean[d].sum(1) == pytest.approx(steps, abs=1e-4)
    assert found.error < 1e-5
    rows = found.frame()
    assert len(rows) == 2 * model.anatomy.n_layers * 2
    assert rows[0]["direction"] == "L2-C1" and rows[0]["site"] == "attn_out"


def plant(model: LanguageModel, layer: int, line: Direction, size: float) -> None:
    """Let an MLP write along a line: +size after harmful, -size after benign prompts."""
    down = model.anatomy.blocks[layer].mlp.down_proj
    seen: list[torch.Tensor] = []
    hook = down.register_forward_hook(lambda module, given, out: seen.append(given[0][0, -1]))
    with torch.inference_mode():
        for item in encode_for_states(model, PROMPTS):
            model.module(torch.tensor([item.ids]))
    hook.remove()
    inner = torch.stack(seen).double()
    wanted = torch.tensor([size if p.label == "harmful" else -size for p in PROMPTS]).double()
    readout = torch.linalg.lstsq(inner, wanted[:, None]).solution[:, 0]
    down.weight += torch.outer(torch.tensor(line.vector), readout).float()


def test_a_planted_writer_and_its_eraser_are_found() -> None:
    model = tiny_model("llama")
    line = direction(model.anatomy.d_model)
    plant(model, 0, line, 5.0)
    plant(model, 2, line, -3.0)
    found = dynamics(model, PROMPTS, [line], GOALS)
    assert found.role(0, 0, 1) == PROMOTES and found.role(0, 2, 1) == SUPPRESSES
    assert found.writers(0, PROMOTES)[0] == "mlp 0"
    assert found.writers(0, SUPPRESSES)[0] == "mlp 2"
    assert found.stream.mean[0, 1] > 5


def test_roles_follow_the_band() -> None:
    model = tiny_model("llama")
    found = dynamics(model, PROMPTS, [direction(model.anatomy.d_model)], GOALS)
    for layer in range(model.anatomy.n_layers):
        for writer in (0, 1):
            low = found.added.band_low[0, layer, writer]
            high = found.added.band_high[0, layer, writer]
            wanted = PROMOTES if low > 0 else SUPPRESSES if high < 0 else NEITHER
            assert found.role(0, layer, writer) == wanted
    promoted = found.writers(0, PROMOTES)
    assert all(word.split()[0] in ("attn", "mlp") for word in promoted)


def test_a_sum_that_does_not_fit_is_refused() -> None:
    stream = np.arange(6, dtype=float).reshape(1, 1, 6)
    added = np.full((1, 1, 5, 2), 0.5)
    assert check_sum(stream, added) == 0
    with pytest.raises(NumericsError, match="is not the stream"):
        check_sum(stream, added * 1.01)
    with pytest.raises(NumericsError):
        check_sum(stream, added * np.nan)


def test_bad_input_is_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(DataError, match="no direction"):
        dynamics(model, PROMPTS, [], GOALS)
    with pytest.raises(DataError, match="one class"):
        dynamics(model, PROMPTS[::2], [direction(model.anatomy.d_model)], GOALS[::2])


def test_components_are_carried_to_those_most_alike() -> None:
    basis = np.eye(6)
    found = carried({1: basis[:2], 2: basis[[1, 0, 3]], 3: np.zeros((0, 6)), 4: basis[:1]})
    rows = found.frame()
    assert [(row["direction"], row["next"]) for row in rows] == [
        ("L1-C1", "L2-C2"),
        ("L1-C2", "L2-C1"),
    ]
    assert rows[0]["cosine"] == 1.0 and 0 < rows[0]["cosine_chance"] < 1
