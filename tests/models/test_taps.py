"""Reading and writing are symmetric, and nothing stays behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.models.tiny import tiny_model
from theodolite.errors import CapabilityError, ConfigError
from theodolite.models.taps import Tap, read, write

IDS = torch.tensor([[3, 50, 90, 200], [9, 8, 7, 6]])


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


@pytest.mark.parametrize("family", ["llama", "falcon-new", "granite", "opt", "gpt2", "gpt_oss"])
@pytest.mark.parametrize("site", ["resid_pre", "head_z", "attn_out", "mlp_out", "resid_post"])
def test_written_value_is_read_back_and_taken_back(family: str, site: str) -> None:
    model = tiny_model(family)
    tap = model.anatomy.tap(1, site)
    seen: list[torch.Tensor] = []
    with torch.inference_mode():
        before = model.module(IDS).logits
        with write(tap, lambda value: value * 2 + 1), read({"x": tap}, lambda _, v: seen.append(v)):
            changed = model.module(IDS).logits
        with write(tap, lambda value: value.clone()):
            same = model.module(IDS).logits
        with read({"x": tap}, lambda _, v: seen.append(v)):
            after = model.module(IDS).logits
    assert not torch.allclose(before, changed)
    assert torch.allclose(before, same, atol=1e-5)
    assert torch.equal(before, after)
    assert seen[0].shape == seen[1].shape == (2, 4, seen[0].shape[-1])
    torch.testing.assert_close(seen[0], seen[1] * 2 + 1, atol=1e-4, rtol=1e-4)


def test_hooks_are_gone_after_an_exception() -> None:
    model = tiny_model("opt")
    before = hooks(model.module)
    taps = {site: model.anatomy.tap(0, site) for site in ("resid_pre", "mlp_out")}

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise ValueError("stopped")

    with (
        pytest.raises(ValueError, match="stopped"),
        read(taps, lambda *_: None),
        write(taps["mlp_out"], fail),
    ):
        model.module(IDS)
    assert hooks(model.module) == before


def test_reader_opened_first_sees_the_value_before_a_write() -> None:
    model = tiny_model("llama")
    tap = model.anatomy.tap(0, "attn_out")
    seen: list[torch.Tensor] = []
    with (
        torch.inference_mode(),
        read({0: tap}, lambda _, v: seen.append(v)),
        write(tap, torch.zeros_like),
        read({0: tap}, lambda _, v: seen.append(v)),
    ):
        model.module(IDS)
    assert seen[0].abs().sum() > 0
    assert seen[1].abs().sum() == 0


def test_inputs_are_found_as_keyword_too() -> None:
    class Block(nn.Module):
        def forward(self, *, hidden_states: torch.Tensor) -> tuple[torch.Tensor, None]:
            return hidden_states * 3, None

    block, seen = Block(), []
    with (
        write(Tap(block, "input"), lambda v: v + 1),
        write(Tap(block, "output", scale=0.5), lambda v: v + 1),
        read({0: Tap(block, "output")}, lambda _, v: seen.append(v)),
    ):
        block(hidden_states=torch.ones(1, 1, 2))
    assert torch.equal(seen[0], torch.full((1, 1, 2), 8.0))


def test_unknown_site_or_layer_is_refused() -> None:
    anatomy = tiny_model("llama").anatomy
    with pytest.raises(ConfigError, match="resid_pre"):
        anatomy.tap(0, "residual")
    for layer in (-1, 3):
        with pytest.raises(ConfigError, match="3 layers"):
            anatomy.tap(layer, "resid_post")
    assert anatomy.tap(99, "final_norm").module is anatomy.final_norm


@pytest.mark.parametrize("family", ["llama", "gpt2", "granite", "opt", "gemma2"])
def test_heads_add_up_to_the_attention_output(family: str) -> None:
    model = tiny_model(family)
    seen: dict[str, torch.Tensor] = {}
    taps = {site: model.anatomy.tap(1, site) for site in ("head_z", "attn_out")}
    with torch.inference_mode(), read(taps, seen.__setitem__):
        model.module(IDS)
    projection = model.anatomy.out_projection(1)
    by_head = seen["head_z"].unflatten(-1, (model.anatomy.n_heads, model.anatomy.head_dim))
    total = torch.einsum("bphi,hid->bpd", by_head, projection.weight)
    if projection.bias is not None:
        total = total + projection.bias
    assert projection.adds_up == (family != "gemma2")
    same = torch.allclose(total * projection.scale, seen["attn_out"], atol=1e-5)
    assert same == projection.adds_up


def test_quantised_projection_is_not_taken_apart() -> None:
    model = tiny_model("llama")
    projection = model.anatomy.blocks[0].get_submodule("self_attn.o_proj")
    projection.weight = nn.Parameter(projection.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(CapabilityError, match="without quantization"):
        model.anatomy.out_projection(0)
