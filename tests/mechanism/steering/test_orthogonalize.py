"""Orthogonalised weights equal ablation at all sites, and nothing of them outlives the context.

The traps: an output layer tied to the embeddings is edited with them; a writer that was missed
leaves a small, plausible difference; an exception leaves the edited weights in place.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.conftest import bare, opened
from tests.models.tiny import TINY, tiny_model
from theodolite.engine import next_token
from theodolite.errors import CapabilityError, ConfigError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.steering import orthogonalize
from theodolite.mechanism.steering.edits import Edit, along, intervene
from theodolite.mechanism.steering.orthogonalize import orthogonalized

# Norms behind the projections, expert mixtures, an embedding norm, a position table of no module.
REFUSED = {
    *("bloom", "deepseek_v2", "deepseek_v3", "ernie4_5_moe", "exaone4", "flex_olmo", "gemma2"),
    *("gemma3", "gemma3_text", "glm4", "glm4_moe", "gpt_oss", "granitemoe", "llama4_text"),
    *("minimax_m2", "mixtral", "olmo2", "olmo3", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe"),
    *("solar_open", "xglm"),
}


def direction(seed: int = 0, width: int = 32) -> Direction:
    vector = np.random.default_rng(seed).standard_normal(width)
    return Direction(f"L2-C{seed + 1}", 2, vector)


def prompts() -> list[Any]:
    draw = torch.Generator().manual_seed(3)
    return [bare(torch.randint(2, 300, (n,), generator=draw).tolist()) for n in (9, 17)]


def weights(model: Any) -> dict[str, tuple[int, torch.Tensor]]:
    return {name: (id(p), p.detach().clone()) for name, p in model.module.named_parameters()}


@pytest.mark.parametrize("name", sorted(set(TINY) - REFUSED))
def test_orthogonalised_weights_equal_ablation_at_all_sites(name: str) -> None:
    model = opened(name)
    chosen = [direction(seed) for seed in range(2)]
    before, intact = weights(model), next_token(model, prompts())
    with intervene(model, Edit(chosen, sites="all")):
        ablated = next_token(model, prompts())
    with orthogonalized(model, chosen):
        edited = next_token(model, prompts())
        with orthogonalized(model, chosen):
            twice = next_token(model, prompts())
    assert (edited - ablated).abs().max() < 1e-4
    assert (twice - edited).abs().max() < 1e-5
    assert (intact - ablated).abs().max() > 1e-3
    after = weights(model)
    assert before.keys() == after.keys()
    for key, (place, value) in before.items():
        assert after[key][0] == place and torch.equal(after[key][1], value)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_families_whose_writers_are_not_plain_are_refused(name: str) -> None:
    model = opened(name)
    before = weights(model)
    with (
        pytest.raises(CapabilityError, match="Orthogonalising"),
        orthogonalized(model, direction()),
    ):
        pass
    assert all(torch.equal(weights(model)[key][1], value) for key, (_, value) in before.items())


def test_tied_embeddings_are_untied_inside_the_context() -> None:
    model = tiny_model("llama")
    model.module.lm_head.weight = model.module.model.embed_tokens.weight
    own = model.module.lm_head.weight
    with intervene(model, Edit([direction()], sites="all")):
        ablated = next_token(model, prompts())
    with orthogonalized(model, direction()):
        assert model.module.lm_head.weight is own
        assert model.module.model.embed_tokens.weight is not own
        assert (next_token(model, prompts()) - ablated).abs().max() < 1e-4
    assert model.module.model.embed_tokens.weight is own


def test_weights_come_back_under_an_exception() -> None:
    model = opened("llama")
    before, facts = weights(model), (model.fingerprint, model.capabilities)
    with pytest.raises(KeyError), orthogonalized(model, direction()):
        raise KeyError
    assert all(weights(model)[key][0] == place for key, (place, _) in before.items())
    assert (model.fingerprint, model.capabilities) == facts
    assert not set(vars(model.module)) & {"save_pretrained", "push_to_hub", "state_dict"}


def test_a_writer_that_was_missed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened("gpt2")
    every = orthogonalize._writers
    monkeypatch.setattr(orthogonalize, "_writers", lambda *a: every(*a)[:-1])
    before = weights(model)
    with (
        pytest.raises(CapabilityError, match="mlp_out of layer 2 still holds"),
        orthogonalized(model, direction()),
    ):
        pass
    assert all(weights(model)[key][0] == place for key, (place, _) in before.items())


def test_an_output_layer_that_moves_is_found() -> None:
    model = tiny_model("llama")
    embed = model.module.model.embed_tokens

    class Tied(torch.nn.Module):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(hidden, embed.weight)

    model.anatomy = replace(model.anatomy, lm_head=Tied())
    with (
        pytest.raises(CapabilityError, match="its output layer changes"),
        orthogonalized(model, direction()),
    ):
        pass


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_stay_what_they_are(dtype: torch.dtype) -> None:
    model = tiny_model("llama")
    model.module.to(dtype)
    model.dtype = dtype
    with orthogonalized(model, direction()):
        edited = next_token(model, prompts())
        assert {p.dtype for p in model.module.parameters()} == {dtype}
    assert (next_token(model, prompts()) - edited).abs().max() > 1e-3


def test_roles_may_be_chosen() -> None:
    model = opened("llama")
    before = weights(model)
    with orthogonalized(model, direction(), roles=("mlp_out",)):
        moved = {name for name, p in model.module.named_parameters() if id(p) != before[name][0]}
    assert moved == {f"model.layers.{n}.mlp.down_proj.weight" for n in range(3)}


def test_nothing_inside_the_context_writes_the_weights(tmp_path: Any) -> None:
    model = opened("llama")
    plain = model.fingerprint
    with orthogonalized(model, direction()):
        inside = model.fingerprint
        with pytest.raises(CapabilityError, match="for a measurement only"):
            model.module.save_pretrained(tmp_path)
        with pytest.raises(CapabilityError, match="for a measurement only"):
            model.module.state_dict()
        with pytest.raises(CapabilityError, match="opened without it"):
            model.require("training")
        with orthogonalized(model, direction(1)), pytest.raises(CapabilityError):
            model.module.push_to_hub("x")
        with pytest.raises(CapabilityError):
            model.module.push_to_hub("x")
    assert plain == model.fingerprint != inside
    assert list(tmp_path.iterdir()) == []
    assert model.module.state_dict()


def test_there_is_no_way_to_get_weights_out() -> None:
    assert orthogonalize.__all__ == ["ROLES", "orthogonalized"]
    assert set(inspect.signature(orthogonalized).parameters) == {"model", "direction", "roles"}
    source = inspect.getsource(orthogonalize)
    for word in ("save_file", "save_tensors", "open(", "Path", "lora"):
        assert word not in source


def test_what_does_not_fit_is_refused() -> None:
    model = tiny_model("llama")

    def enter(*args: Any) -> None:
        with orthogonalized(model, *args):
            pass

    with pytest.raises(ConfigError, match="no role 'mlp'"):
        enter(direction(), ("mlp",))
    with pytest.raises(ConfigError, match="has the width 5"):
        enter(along(np.eye(5)[0]))
    with pytest.raises(ConfigError, match="no direction"):
        enter([])
    packed = torch.nn.Parameter(torch.zeros(4, dtype=torch.uint8), requires_grad=False)
    model.module.model.layers[1].mlp.down_proj.weight = packed
    with pytest.raises(CapabilityError, match="quantised"):
        enter(direction())
