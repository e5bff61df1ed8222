"""The rules on a running model: proven on entry, silent in the forward pass, gone afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.mechanism.relevance.small import double_model
from tests.models.tiny import TINY, tiny_model
from theodolite.engine import DirectionIntervention, apply
from theodolite.errors import CapabilityError, ConfigError
from theodolite.mechanism.relevance import backward
from theodolite.mechanism.relevance.backward import prove_rules, relevance_rules
from theodolite.mechanism.relevance.rules import BlockRules, find_rules
from theodolite.models.anatomy import Anatomy

ALONE = {  # families that compute attention by themselves
    *("bloom", "codegen", "diffllama", "falcon-new", "falcon-parallel", "falcon-heads"),
    *("falcon-sequential", "falcon-alibi", "gpt_neo", "gptj", "mpt", "xglm"),
}
WITHOUT_RULE = {
    "gpt_oss": "module 'mlp.experts' of layer 0 is neither affine",
    "qwen2_moe": "does not conserve it",  # a sigmoid gate over the shared expert
}
PLAIN = {
    *("apertus", "arcee", "biogpt", "gpt2", "gpt_bigcode", "gpt_bigcode-heads", "gpt_neox"),
    *("gpt_neox-sequential", "nemotron", "opt", "persimmon", "phi", "starcoder2"),
}
IDS = torch.tensor([[7, 80, 200, 31, 5, 300, 12]])


@pytest.mark.parametrize("family", list(TINY))
def test_every_family_conserves_or_is_refused_with_what_to_do(family: str) -> None:
    model = tiny_model(family)
    if family in ALONE or family in WITHOUT_RULE:
        why = WITHOUT_RULE.get(family, "computes attention by itself")
        with pytest.raises(CapabilityError, match=why) as caught:
            prove_rules(model, "attnlrp")
        assert "integrated_gradients" in str(caught.value)
        return
    proven = prove_rules(model, "attnlrp")  # proves CP-LRP first, block by block
    assert proven.leak < 1e-6
    assert proven.gated == (family not in PLAIN,) * model.anatomy.n_layers


@pytest.mark.parametrize("rules", ["attnlrp", "cplrp"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "olmo2", "cohere", "mixtral"])
def test_the_forward_pass_is_unchanged_and_the_hooks_are_gone_after_it(
    family: str, rules: Any
) -> None:
    model = tiny_model(family)
    plain, before = model.module(IDS).logits, hooks(model.module)
    with relevance_rules(model, rules):
        inside = model.module(IDS).logits
        assert hooks(model.module) != before
    assert torch.allclose(inside, plain, atol=1e-5, rtol=0.0)
    assert hooks(model.module) == before
    assert torch.equal(model.module(IDS).logits, plain)
    with pytest.raises(ZeroDivisionError), relevance_rules(model, rules):
        1 / 0  # noqa: B018
    assert hooks(model.module) == before
    assert torch.equal(model.module(IDS).logits, plain)


def hooks(module: nn.Module) -> dict[str, Any]:
    """Return all that could be left behind on a model: hooks, own forwards, names, gradients."""
    found: dict[str, Any] = {"attention": module.config._attn_implementation}  # type: ignore[union-attr]
    for name, each in module.named_modules():
        found[name] = (
            list(each._forward_hooks),
            list(each._forward_pre_hooks),
            sorted(key for key in vars(each) if key == "forward" or key.startswith("_theodolite")),
            sorted((key, id(value)) for key, value in each._parameters.items()),
        )
    return found


def test_a_second_model_in_another_thread_is_untouched() -> None:
    model, other = tiny_model("llama"), tiny_model("llama")
    gradients: list[torch.Tensor] = []

    def gradient() -> None:
        embedded = other.anatomy.embed(IDS).detach().requires_grad_(True)
        other.module(inputs_embeds=embedded).logits[0, -1, 3].backward()
        assert embedded.grad is not None
        gradients.append(embedded.grad)

    gradient()
    before = hooks(other.module)
    with relevance_rules(model, "attnlrp"):
        thread = threading.Thread(target=gradient)
        thread.start()
        thread.join()
        assert hooks(other.module) == before
    assert torch.equal(*gradients)


def without_first_norm(blocks: tuple[BlockRules, ...]) -> tuple[BlockRules, ...]:
    return (blocks[0], replace(blocks[1], norms=blocks[1].norms[1:]), *blocks[2:])


def without_activation(blocks: tuple[BlockRules, ...]) -> tuple[BlockRules, ...]:
    return (blocks[0], replace(blocks[1], activations=()), *blocks[2:])


def with_wrong_weight(blocks: tuple[BlockRules, ...]) -> tuple[BlockRules, ...]:
    norm = blocks[1].norms[0]
    wrong = replace(norm, weight=norm.weight.roll(1), centred=True)
    return (blocks[0], replace(blocks[1], norms=(wrong, *blocks[1].norms[1:])), *blocks[2:])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("broken", [without_first_norm, without_activation, with_wrong_weight])
def test_the_probe_catches_one_broken_rule_and_names_the_layer(
    monkeypatch: pytest.MonkeyPatch, family: str, broken: Callable[..., Any]
) -> None:
    def find(anatomy: Anatomy) -> tuple[BlockRules, ...]:
        return broken(find_rules(anatomy))

    monkeypatch.setattr(backward, "find_rules", find)
    with pytest.raises(CapabilityError, match=r"layer 1 of this .* does not conserve it"):
        prove_rules(tiny_model(family), "cplrp")


def test_the_probe_catches_attention_shares_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "_shared", lambda value, share: value)
    with pytest.raises(CapabilityError, match="does not conserve it"):
        prove_rules(tiny_model("llama"), "attnlrp")


def test_a_fused_mlp_that_bypasses_the_rules_is_refused() -> None:
    model = tiny_model("llama")
    mlp = model.anatomy.blocks[2].get_submodule("mlp")

    def fused(x: torch.Tensor) -> torch.Tensor:
        return mlp.down_proj(nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x))

    vars(mlp)["forward"] = fused
    with pytest.raises(CapabilityError, match=r"layer 2 .*a fused kernel") as caught:
        prove_rules(model, "attnlrp")
    assert "integrated_gradients" in str(caught.value)


def test_attention_that_bypasses_its_interface_is_refused() -> None:
    model = tiny_model("llama")
    attention = model.anatomy.attention(1)

    def fused(hidden_states: torch.Tensor, **_: Any) -> Any:
        return attention.o_proj(attention.q_proj(hidden_states)), None

    vars(attention)["forward"] = fused
    with pytest.raises(CapabilityError, match="computes attention by itself"):
        prove_rules(model, "cplrp")


def test_a_module_without_a_rule_is_refused_by_name() -> None:
    class Softplus(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.softplus(x)  # log 2 at 0

    model = tiny_model("llama")
    model.anatomy.blocks[1].get_submodule("mlp").act_fn = Softplus()
    with pytest.raises(CapabilityError, match=r"'mlp\.act_fn' of layer 1"):
        prove_rules(model, "cplrp")


def test_norms_are_known_by_what_they_do() -> None:
    centred = {
        family: {
            norm.centred for block in find_rules(tiny_model(family).anatomy) for norm in block.norms
        }
        for family in ("llama", "gpt2", "gemma2", "cohere", "nemotron")
    }
    assert centred == {
        "llama": {False},
        "gpt2": {True},
        "gemma2": {False},
        "cohere": {True},
        "nemotron": {True},
    }
    gemma = tiny_model("gemma2")  # its norms multiply by 1 + weight
    norm = find_rules(gemma.anatomy)[0].norms[0]
    weight = gemma.anatomy.blocks[0].get_submodule("input_layernorm").weight
    ratio = norm.weight / (1.0 + weight)
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "mixtral"])
def test_coarse_numbers_hide_no_gate(family: str) -> None:
    """In bfloat16 a norm can look like a function of single numbers, and an MLP like noise."""
    model = tiny_model(family)
    exact = prove_rules(model, "attnlrp")
    model.module.bfloat16()
    model.dtype = torch.bfloat16
    coarse = prove_rules(model, "attnlrp")
    assert coarse.gated == exact.gated and coarse.leak < 0.01
    kinds = [
        [(len(b.norms), len(b.activations), len(b.routers)) for b in proven.blocks]
        for proven in (exact, coarse)
    ]
    assert kinds[0] == kinds[1]


def test_bad_requests_are_refused() -> None:
    model = double_model()
    with (
        pytest.raises(ConfigError, match="no relevance rules 'alpha-beta'"),
        relevance_rules(
            model,
            "alpha-beta",  # type: ignore[arg-type]
        ),
    ):
        pass
    steer = DirectionIntervention(
        layer=1, direction=torch.ones(32), operator="add", alpha=1.0, positions="all"
    )
    with apply(model, steer), pytest.raises(ConfigError, match="an intervention is active"):
        prove_rules(model, "attnlrp")
