"""Independence and protocols: orthogonal is not independent, another token another direction.

Trap: any change to the stream moves later states a little, so a change says nothing without that of
a random direction beside it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.mechanism.directions.made_contrasts import gaussian_contrast
from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError
from theodolite.mechanism.directions.contrast import Contrast
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.directions.independence import representational_independence
from theodolite.mechanism.directions.protocol import protocol_angles
from theodolite.models.handle import LanguageModel

WIDTH = 32
PROMPTS = [
    Prompt(f"{i}", text=f"Write about the {word} now")
    for i, word in enumerate(("bread", "boat", "lake", "city"))
]


def along(axis: int) -> Direction:
    return Direction(f"axis {axis}", 1, np.eye(WIDTH)[axis])


def apart(model: LanguageModel, *, coupled: bool) -> LanguageModel:
    """Let no block write the first two coordinates, but one copy the first into the second."""
    with torch.no_grad():
        for block in model.anatomy.blocks:
            for weight in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
                weight[:2] = 0.0
        if coupled:
            mlp = model.anatomy.blocks[1].mlp
            mlp.up_proj.weight[0] = 4.0 * torch.eye(WIDTH)[0]
            mlp.gate_proj.weight[0] = 4.0 * torch.eye(WIDTH)[0]
            mlp.down_proj.weight[1, 0] = 4.0
    return model


def test_orthogonal_directions_that_the_network_couples_are_not_independent() -> None:
    model = apart(tiny_model("llama"), coupled=True)
    found = representational_independence(model, PROMPTS, along(0), along(1), controls=3)
    assert found.cosine == 0.0
    moved = {m.name.split("/")[2]: m for m in found.measurements()}
    hit, spared = moved["axis 1 without axis 0"], moved["axis 0 without axis 1"]
    assert hit.value is not None and hit.floor is not None
    assert hit.value > 1.5 * hit.floor.value
    # Up to the block that couples them nothing moves; behind it the second coordinate is gone.
    assert found.moved[1, :1] < 0.02 and found.moved[1, 1:].min() > 0.05
    assert spared.value is not None and spared.value < hit.value
    rows = found.frame()
    assert len(rows) == 2 * 3 and rows[3]["direction"] == "axis 1"


def test_directions_that_nothing_couples_move_no_more_than_at_random() -> None:
    model = apart(tiny_model("llama"), coupled=False)
    found = representational_independence(model, PROMPTS, along(0), along(1), controls=4)
    for measured, d in zip(found.measurements(), range(2)):
        assert measured.value is not None and measured.floor is not None
        assert measured.value < 2 * measured.floor.value
        assert measured.n == 4 and measured.n_clusters == 4
        assert found.intact[d].shape == (4, 3)


def test_the_model_is_as_before_afterwards() -> None:
    model = tiny_model("llama")
    first = representational_independence(model, PROMPTS[:2], along(2), along(3), controls=1)
    again = representational_independence(model, PROMPTS[:2], along(2), along(3), controls=1)
    assert (first.intact == again.intact).all() and (first.without == again.without).all()
    assert model.interventions == ()


def test_directions_must_fit_and_have_a_control() -> None:
    model = tiny_model("llama")
    with pytest.raises(ConfigError, match="Without a control"):
        representational_independence(model, PROMPTS, along(0), along(1), controls=0)
    with pytest.raises(ConfigError, match="3 wide"):
        representational_independence(model, PROMPTS, along(0), Direction("x", 1, np.ones(3)))


def turned(contrast: Contrast, degrees: float) -> Contrast:
    """Return the contrast in coordinates that are turned in the plane of the first two."""
    states = contrast.states.copy()
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    states[..., :2] = contrast.states[..., :2] @ np.array([[c, s], [-s, c]])
    return Contrast(
        states,
        contrast.labels,
        contrast.goals,
        contrast.splits,
        contrast.prompt_ids,
        contrast.hidden_indices,
        contrast.position,
    )


def test_an_angle_between_protocols_stands_beside_that_of_two_halves() -> None:
    contrast = gaussian_contrast(960, apart=4.0)
    found = protocol_angles({"here": contrast, "there": turned(contrast, 70.0), "same": contrast})
    rows = {(r["first"], r["second"]): r for r in found.frame() if r["hidden_index"] == 1}
    assert rows["here", "there"]["degrees"] == pytest.approx(70.0, abs=8.0)
    assert rows["here", "same"]["degrees"] == pytest.approx(0.0, abs=1e-4)
    assert 0 < rows["here", "there"]["noise"] < 30
    measured = {m.name: m for m in found.measurements()}
    widest = measured["directions/protocol/here and there"]
    assert widest.value is not None and widest.floor is not None
    assert widest.value > widest.floor.value and widest.unit == "degrees"
    with pytest.raises(ConfigError, match="two protocols"):
        protocol_angles({"here": contrast})
    with pytest.raises(ConfigError, match="two protocols"):
        protocol_angles({"a": contrast.narrowed([1]), "b": contrast.narrowed([2])})
