"""Every row of the table is proven on a random model of its family, and every wrong row is refused.

The trap: a name can mean two tensors (the attention's output before and after a norm), and a wrong
one gives plausible numbers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.models.tiny import REFUSED, TINY
from theodolite.errors import UnsupportedArchitecture
from theodolite.models.anatomy import BLOCK_SITES, Anatomy, bind, rows_for
from theodolite.models.families import FAMILIES, Family
from theodolite.models.prove import prove
from theodolite.models.selfcheck import check_anatomy
from theodolite.models.taps import read, write

IDS = torch.tensor([[5, 77, 130, 9, 201, 44, 311, 18, 260, 90, 7, 150, 33]])


@cache
def built(name: str) -> tuple[PreTrainedModel, Anatomy]:
    module = TINY[name]()
    return module, prove(module)


def check_row(name: str, row: Family) -> None:
    module, anatomy = built(name)
    check_anatomy(module, bind(module, anatomy.family, row))


def refused(name: str, **wrong: Any) -> str:
    _, anatomy = built(name)
    with pytest.raises(UnsupportedArchitecture) as caught:
        check_row(name, replace(anatomy.row, **wrong))
    return str(caught.value)


def test_every_family_of_the_table_has_a_model_here() -> None:
    kinds = {name.split("-")[0] for name in TINY}
    assert kinds == set(FAMILIES)
    assert len(kinds) >= 20


@pytest.mark.parametrize("name", TINY)
def test_row_is_proven(name: str) -> None:
    module, anatomy = built(name)
    assert anatomy.row in rows_for(module.config)
    assert anatomy.n_heads == 4
    assert anatomy.n_layers == 3
    assert anatomy.n_heads % anatomy.n_kv_heads == 0


@pytest.mark.parametrize("name", TINY)
def test_attention_tap_on_another_module_is_refused(name: str) -> None:
    _, anatomy = built(name)
    refused(name, attn=anatomy.row.mlp, mlp_folded=False, mlp_in_place=False)


@pytest.mark.parametrize("name", TINY)
def test_mlp_tap_on_another_module_is_refused(name: str) -> None:
    _, anatomy = built(name)
    refused(name, mlp=anatomy.row.attn)


@pytest.mark.parametrize("field", ["attn_scale", "mlp_scale", "logit_scale", "logit_divisor"])
@pytest.mark.parametrize("name", TINY)
def test_wrong_scale_is_refused(name: str, field: str) -> None:
    message = refused(name, **{field: "bos_token_id" if field != "logit_divisor" else "vocab_size"})
    assert "does not hold" in message or "does not change" in message


@pytest.mark.parametrize("name", TINY)
def test_wrong_order_of_attention_and_mlp_is_refused(name: str) -> None:
    _, anatomy = built(name)
    assert "attention output" in refused(name, parallel=not anatomy.row.parallel)


@pytest.mark.parametrize("name", TINY)
def test_wrong_final_norm_is_refused(name: str) -> None:
    refused(name, final_norm=built(name)[1].row.blocks + ".1")


@pytest.mark.parametrize("name", TINY)
def test_invented_soft_cap_is_refused(name: str) -> None:
    module, anatomy = built(name)
    wrong = replace(anatomy, logit_softcap=0.5)
    with pytest.raises(UnsupportedArchitecture, match="logits"):
        check_anatomy(module, wrong)


TRAPS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon adds in place": ("falcon-new", {"mlp_in_place": False}),
    "bloom's attention adds the residual": ("bloom", {"attn": "self_attention"}),
    "bloom's MLP adds the residual": ("bloom", {"mlp": "mlp"}),
    "mpt's MLP adds the residual": ("mpt", {"mlp": "ffn"}),
    "gpt2's projection is transposed": ("gpt2", {"transposed": False}),
    "llama's is not": ("llama", {"transposed": True}),
    "gemma2 adds after a norm": ("gemma2", {"attn": "self_attn"}),
    "gemma2 adds the MLP after a norm": ("gemma2", {"mlp": "mlp"}),
    "gemma3 too": ("gemma3_text", {"attn": "self_attn"}),
    "olmo2 too": ("olmo2", {"mlp": "mlp"}),
    "heads of gemma2 do not add up": ("gemma2", {"post_norm": False}),
    "granite scales the residual": ("granite", {"attn_scale": None}),
    "granite scales the MLP": ("granite", {"mlp_scale": None}),
    "granite divides its logits": ("granite", {"logit_divisor": None}),
    "cohere multiplies its logits": ("cohere", {"logit_scale": None}),
    "gemma2 caps its logits": ("gemma2", {"logit_softcap": None}),
    "opt folds batch and position": ("opt", {"mlp_folded": False}),
    "latent attention has its own head size": ("deepseek_v3", {"head_dim": "head_dim"}),
    "another projection": ("llama", {"out_proj": "mlp.down_proj"}),
    "a projection of the same shape": ("llama", {"out_proj": "self_attn.q_proj"}),
    "no such module": ("llama", {"attn": "attention"}),
    "no such config field": ("llama", {"attn_scale": "no_such_field"}),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_family_trap_is_refused_when_the_row_forgets_it(trap: str) -> None:
    name, wrong = TRAPS[trap]
    refused(name, **wrong)


@pytest.mark.parametrize("name", REFUSED)
def test_family_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedArchitecture):
        prove(REFUSED[name]())


def test_unknown_family_opens_if_a_row_can_be_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    module = TINY["qwen3"]()
    monkeypatch.delitem(FAMILIES, "qwen3")
    assert prove(module).family == "qwen3"


def test_unknown_family_that_fits_no_row_says_so_and_names_the_parts_it_lacks() -> None:
    with pytest.raises(UnsupportedArchitecture, match="no row of its own") as caught:
        prove(REFUSED["mamba"]())
    lacks = ("decoder 'model'", "blocks 'model.layers'", "final norm 'model.norm'")
    assert all(f"no {part}" in caught.value.message for part in lacks)


def test_all_parts_that_a_row_names_and_the_model_lacks_are_listed() -> None:
    wrong = {"attn": "attention", "mlp": "ffn", "out_proj": "o", "final_norm": "ln", "blocks": "h"}
    scales = {"attn_scale": "a_scale", "logit_softcap": "a_cap"}
    message = refused("llama", **{**wrong, **scales, "blocks": "layers"})
    for part in (
        *("no final norm 'model.ln'", "no attention 'attention' in layer 0 and 2 more"),
        *("no MLP 'ffn' in layer 0", "no projection from heads to the stream 'o' in layer 0"),
        *("no scale of attention (config field 'a_scale')", "no cap of the logits (config field"),
    ):
        assert part in message
    assert "scale of the MLP" not in message and "decoder" not in message
    assert "no blocks 'model.h'" in refused("llama", **wrong)


def test_a_part_that_some_blocks_lack_names_the_first_of_them() -> None:
    module, anatomy = REFUSED["lfm2"](), built("llama")[1]
    with pytest.raises(UnsupportedArchitecture, match=r"attention 'self_attn' in layer 1[^ ]"):
        bind(module, "lfm2", anatomy.row)


def test_a_model_without_blocks_is_refused() -> None:
    module = TINY["llama"]()
    module.model.layers = torch.nn.ModuleList()
    with pytest.raises(UnsupportedArchitecture, match=r"no block in 'model\.layers'"):
        prove(module)


@pytest.mark.parametrize("name", TINY)
def test_window_of_each_layer_is_what_attention_does(name: str) -> None:
    """Disturb position 0 of a layer's input: only positions within the window may notice."""
    module, anatomy = built(name)
    quiet: dict[int, torch.Tensor] = {}
    loud: dict[int, torch.Tensor] = {}
    for layer, window in enumerate(anatomy.sliding_windows):
        tap = {layer: anatomy.tap(layer, "head_z")}
        with torch.inference_mode():
            with read(tap, lambda key, value: quiet.__setitem__(key, value.clone())):
                module(IDS)
            with (
                write(anatomy.tap(layer, "resid_pre"), _push_first),
                read(tap, lambda key, value: loud.__setitem__(key, value.clone())),
            ):
                module(IDS)
        moved = (quiet[layer] - loud[layer]).abs().amax(-1)[0] > 1e-6
        reach = len(IDS[0]) if window is None else window
        assert moved[:reach].all()
        assert not moved[reach:].any()


def _push_first(value: torch.Tensor) -> torch.Tensor:
    changed = value.clone()
    changed[:, 0] += torch.randn(value.shape[-1], generator=torch.Generator().manual_seed(1))
    return changed


@pytest.mark.parametrize("name", TINY)
def test_block_input_and_output_equal_the_published_hidden_states(name: str) -> None:
    module, anatomy = built(name)
    seen: dict[tuple[int, str], torch.Tensor] = {}
    taps = {(i, s): anatomy.tap(i, s) for i in range(3) for s in BLOCK_SITES}
    with torch.inference_mode(), read(taps, seen.__setitem__):
        states = module(IDS, output_hidden_states=True).hidden_states
    for layer in range(3):
        assert torch.equal(seen[layer, "resid_pre"], states[layer])
        if layer < 2:
            assert torch.equal(seen[layer, "resid_post"], states[layer + 1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["llama", "gemma2", "granite", "falcon-new", "gpt2", "opt"])
def test_self_check_holds_in_other_precisions(name: str, dtype: torch.dtype) -> None:
    module = TINY[name]().to(dtype)
    assert prove(module).n_layers == 3
    wrong = replace(rows_for(module.config)[0], attn_scale="bos_token_id")
    with pytest.raises(UnsupportedArchitecture):
        check_anatomy(module, bind(module, name, wrong))
