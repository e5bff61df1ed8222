"""What attention reads is seen and changed exactly, and attention without scores is an average."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.tiny import TINY, _of, handle, tiny_model
from tests.oracles.head_surgery import bake_undifferentiated, undone
from theodolite.errors import CapabilityError, ConfigError
from theodolite.models import attention
from theodolite.models.attention import (
    check_undifferentiated,
    first_seen,
    shadowed,
    undifferentiated,
    visiting,
)
from theodolite.models.prove import prove
from theodolite.models.taps import read, write

torch.set_num_threads(1)

LENGTH = 21
IDS = torch.randint(2, 300, (2, LENGTH), generator=torch.Generator().manual_seed(0))
BY_ITSELF = {"bloom", "codegen", "diffllama", "gpt_neo", "gptj", "mpt", "xglm"} | {
    name for name in TINY if name.startswith("falcon")
}
BIASED = {"bloom", "mpt", "falcon-alibi"}
MIXED = {"bitnet", "diffllama"}
VISITED = sorted(set(TINY) - BY_ITSELF)
PLAIN = sorted(set(VISITED) - MIXED)

opened = cache(tiny_model)


def exact(name: str) -> Any:
    """Return a family's tiny model in float64, or in float32 where its experts know no other."""
    return _widened(opened(name))


@cache
def _widened(model: Any) -> Any:
    module = copy.deepcopy(model.module).double()
    try:
        module(input_ids=IDS)
    except RuntimeError:
        module = module.float()
    return handle(module, prove(module), name=model.name)


def forward(model: Any, **more: Any) -> Any:
    with torch.inference_mode():
        return model.module(input_ids=IDS, **{"use_cache": False, **more})


def tolerance(model: Any) -> float:
    """Eager attention takes its softmax in float32 whatever the model's dtype."""
    eager = model.anatomy.decoder.config._attn_implementation == "eager"
    return 2e-6 if eager or model.module.dtype == torch.float32 else 1e-9


@contextmanager
def kept(model: Any, change: Any) -> Iterator[tuple[dict[int, Tensor], dict[int, Tensor]]]:
    """Shadow all blocks; yields the outcomes and the values that were read."""
    z: dict[int, Tensor] = {}
    values: dict[int, Tensor] = {}

    def changed(layer: int, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values[layer] = v.transpose(1, 2).clone()
        return change(q, k, v)

    with shadowed(model.anatomy, changed, z.__setitem__):
        yield z, values


def pattern(model: Any, change: Any = lambda q, k: (q, k)) -> dict[int, Tensor]:
    """Return attention's weights, axes (row, position, head, seen position): the values are 1."""

    def one_hot(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return *change(q, k), torch.eye(v.shape[2], dtype=v.dtype).expand(*v.shape[:2], -1, -1)

    with kept(model, one_hot) as (weights, _):
        forward(model)
    return weights


def nothing_left(model: Any) -> bool:
    config = model.anatomy.decoder.config
    names = {name for module in model.module.modules() for name in vars(module)}
    return (
        id(config) not in attention._switched
        and not config._attn_implementation.startswith("theodolite")
        and not names & {attention._VISITORS, attention._SHADOWS}
    )


@pytest.mark.parametrize("name", VISITED)
def test_reading_changes_nothing_and_happens_once_per_block(name: str) -> None:
    model = opened(name)
    anatomy = model.anatomy
    before = forward(model, use_cache=True)
    seen: list[tuple[int, str]] = []
    sizes = set()

    def sink(key: tuple[int, str], value: Tensor) -> None:
        seen.append(key)
        sizes.add((*value.shape[:2], value.shape[2] % anatomy.n_heads))

    places = [(layer, "head_q") for layer in range(anatomy.n_layers)]
    with read({place: anatomy.tap(*place) for place in places}, sink):
        after = forward(model, use_cache=True)
        assert seen == places
        step = {"past_key_values": after.past_key_values, "input_ids": IDS[:, :1]}
        with torch.inference_mode():
            decoded = model.module(**step).logits
    assert seen == places * 2
    assert sizes == {(2, LENGTH, 0), (2, 1, 0)}
    assert nothing_left(model)
    assert torch.equal(before.logits, after.logits)
    with torch.inference_mode():
        step["past_key_values"] = before.past_key_values
        assert torch.equal(model.module(**step).logits, decoded)


@pytest.mark.parametrize("name", VISITED)
def test_the_shadow_of_nothing_is_what_the_output_projection_reads(name: str) -> None:
    model = opened(name)
    anatomy = model.anatomy
    seen: dict[int, Tensor] = {}
    taps = {layer: anatomy.tap(layer, "head_z") for layer in range(anatomy.n_layers)}
    with kept(model, lambda q, k, v: (q, k, v)) as (z, _), read(taps, seen.__setitem__):
        forward(model)
    for layer, value in seen.items():
        assert torch.equal(z[layer].flatten(2), value) == (name not in MIXED)
        assert z[layer].shape == (2, LENGTH, anatomy.n_heads, anatomy.head_dim)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("factor", [0.0, 1e-10])
def test_the_closed_form_is_attention_without_scores(name: str, factor: float) -> None:
    model = exact(name)
    before = forward(model).logits
    with kept(model, lambda q, k, v: (q * factor, k, v)) as (z, values):
        assert torch.equal(forward(model).logits, before)
    for layer in range(model.anatomy.n_layers):
        found = undifferentiated(model.anatomy, layer, values[layer])
        largest = values[layer].abs().max()  # what is left of the scores moves this much
        assert (found - z[layer]).abs().max() <= tolerance(model) * largest
        assert found.dtype == values[layer].dtype
        last = undifferentiated(model.anatomy, layer, values[layer], 4)
        assert torch.equal(last, found[:, -4:])


WINDOWED = {
    "llama4-chunks": _of(
        "llama4_text",
        head_dim=8,
        num_local_experts=4,
        intermediate_size_mlp=48,
        interleave_moe_layer_step=2,
        attention_chunk_size=6,
        layer_types=["chunked_attention", "full_attention", "chunked_attention"],
    ),
    "mixtral": _of("mixtral", num_local_experts=4, sliding_window=5),
    "qwen2": _of("qwen2", use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "vaultgemma": _of("vaultgemma", head_dim=8, sliding_window=5),
}


@pytest.mark.parametrize("name", sorted(WINDOWED))
def test_windows_and_chunks_are_kept(name: str) -> None:
    module = WINDOWED[name]()
    model = handle(module, prove(module), name=name)
    with kept(model, lambda q, k, v: (q * 0, k, v)) as (z, values):
        forward(model)
    short = 0
    for layer in range(model.anatomy.n_layers):
        found = undifferentiated(model.anatomy, layer, values[layer])
        assert (found - z[layer]).abs().max() <= 2e-6
        short += int(first_seen(model.anatomy, layer, torch.tensor(LENGTH - 1))) > 0
    assert short > 0


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "gemma3_text"])
def test_weights_are_one_by_the_places_seen(name: str) -> None:
    model = exact(name)
    for layer, weights in pattern(model, lambda q, k: (q * 0, k)).items():
        window = model.anatomy.sliding_windows[layer] or LENGTH
        places = torch.arange(LENGTH)
        visible = (places <= places[:, None]) & (places > places[:, None] - window)
        wanted = visible.double() / visible.sum(1, keepdim=True)
        assert (weights - wanted[:, None]).abs().max() <= 1e-9
        assert torch.equal(weights[:, 0], pattern(model)[layer][:, 0])


def test_a_sink_takes_its_share() -> None:
    model = opened("gpt_oss")
    sinks = model.anatomy.blocks[0].self_attn.sinks
    weights = pattern(model, lambda q, k: (q * 0, k))[0]
    seen = first_seen(model.anatomy, 0, torch.arange(LENGTH))
    for place in (0, 3, LENGTH - 1):
        count = place + 1 - int(seen[place])
        total = weights[:, place].sum(-1)
        assert torch.allclose(total, (count / (count + sinks.exp())).expand(2, -1), atol=1e-6)
    assert float(sinks.abs().max()) > 0.01


@pytest.mark.parametrize("name", sorted(BY_ITSELF - {"diffllama"}))
def test_families_that_compute_attention_by_themselves(name: str) -> None:
    model = opened(name)
    anatomy = model.anatomy
    with pytest.raises(CapabilityError, match="computes attention by itself"):
        anatomy.tap(0, "head_q")
    with pytest.raises(CapabilityError, match="by itself"), kept(model, lambda *a: a):
        pass
    z: dict[int, Tensor] = {}
    with undone(model), read({0: anatomy.tap(0, "head_z")}, z.__setitem__):
        bake_undifferentiated(model, 0, range(anatomy.n_heads))
        past = forward(model, use_cache=True).past_key_values
    values = past.layers[0].values.transpose(1, 2)
    heads = values.repeat_interleave(anatomy.n_heads // values.shape[2], 2).double()
    mean = heads.cumsum(1) / torch.arange(1, LENGTH + 1)[:, None, None]
    window = anatomy.sliding_windows[0]
    if window is not None:
        mean[:, window:] = (heads.cumsum(1)[:, window:] - heads.cumsum(1)[:, :-window]) / window
    error = (z[0].double() - mean.flatten(2)).abs().max()
    if name in BIASED:
        assert error > 1e-3  # the bias of position is there even without scores
        with pytest.raises(CapabilityError, match="bias of position"):
            undifferentiated(anatomy, 0, values)
    else:
        assert error < 2e-6
        assert (undifferentiated(anatomy, 0, values).double() - mean).abs().max() < 2e-6


@pytest.mark.parametrize("name", sorted(MIXED))
def test_mixed_heads_have_no_closed_form(name: str) -> None:
    with pytest.raises(CapabilityError, match="mixes its heads"):
        check_undifferentiated(opened(name).anatomy)


def test_which_families_have_what() -> None:
    assert {name for name in TINY if not opened(name).anatomy.row.interface} == BY_ITSELF
    assert {name for name in TINY if not _closed(opened(name).anatomy)} == BIASED | MIXED


def _closed(anatomy: Any) -> bool:
    try:
        check_undifferentiated(anatomy)
    except CapabilityError:
        return False
    return True


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "phi"])
def test_scaling_a_query_is_scaling_its_key(name: str) -> None:
    model = exact(name)
    by_query = pattern(model, lambda q, k: (q * 0.3, k))
    by_key = pattern(model, lambda q, k: (q, k * 0.3))
    assert max(float((by_query[i] - by_key[i]).abs().max()) for i in by_query) <= 1e-9


def test_scaling_a_shared_key_is_scaling_all_its_queries() -> None:
    model = exact("llama")  # 4 query heads, 2 keys

    def scaled(tensor: Tensor, heads: slice) -> Tensor:
        new = tensor.clone()
        new[:, heads] *= 0.3
        return new

    intact = pattern(model)
    by_key = pattern(model, lambda q, k: (q, scaled(k, slice(1, 2))))
    by_queries = pattern(model, lambda q, k: (scaled(q, slice(2, 4)), k))
    alone = pattern(model, lambda q, k: (scaled(q, slice(2, 3)), k))
    for layer, weights in intact.items():
        assert (by_key[layer] - by_queries[layer]).abs().max() <= 1e-9
        assert (by_key[layer] - alone[layer]).abs().max() > 1e-3
        siblings = [0, 1, 3]
        assert torch.equal(alone[layer][:, :, siblings], weights[:, :, siblings])


@pytest.mark.parametrize("name", ["qwen3", "gemma3_text", "olmo2"])
def test_a_norm_undoes_a_factor_before_it_and_not_ours(name: str) -> None:
    model = exact(name)
    anatomy = model.anatomy
    intact = pattern(model)[0]
    even = pattern(model, lambda q, k: (q * 0, k))[0]
    projection = anatomy.blocks[0].self_attn.q_proj
    hook = projection.register_forward_hook(lambda m, a, out: out * 1e-2)
    try:
        before_norm = pattern(model)[0]
    finally:
        hook.remove()
    with write(anatomy.tap(0, "head_q"), lambda q: q * 1e-2):
        after_norm = pattern(model)[0]
    with write(anatomy.tap(0, "head_q"), lambda q: q * 0.0):
        assert (pattern(model)[0] - even).abs().max() <= 1e-9
    unablated = (intact - even).abs().max()
    assert (before_norm - even).abs().max() > 0.5 * unablated
    assert (after_norm - even).abs().max() < 0.05 * unablated


def test_identical_values_make_attention_idle() -> None:
    model = opened("llama")
    anatomy = model.anatomy
    values = torch.randn(1, 1, 2, 8).expand(2, LENGTH, 2, 8)
    assert torch.allclose(
        undifferentiated(anatomy, 0, values), values.repeat_interleave(2, 2), atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_values_are_averaged_in_wide_numbers(dtype: torch.dtype) -> None:
    model = opened("llama")
    values = (torch.randn(1, 4000, 2, 8) + 3).to(dtype)
    found = undifferentiated(model.anatomy, 0, values)
    wanted = values.double().mean(1).repeat_interleave(2, 1).to(dtype)
    assert found.dtype == dtype
    assert torch.equal(found[:, -1], wanted)


def test_writes_act_in_order_and_shadows_see_them() -> None:
    model = opened("llama")
    anatomy = model.anatomy
    tap = anatomy.tap(1, "head_q")
    seen: list[Tensor] = []
    shadow: dict[int, Tensor] = {}

    def spy(layer: int, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shadow[layer] = q.transpose(1, 2).flatten(2)
        return q, k, v

    with ExitStack() as stack:
        stack.enter_context(shadowed(anatomy, spy, lambda layer, z: None, layers=[1]))
        stack.enter_context(read({0: tap}, lambda key, value: seen.append(value)))
        stack.enter_context(write(tap, lambda q: q + 1))
        stack.enter_context(write(tap, lambda q: q * 2))
        forward(model)
    assert list(shadow) == [1]
    assert torch.allclose(shadow[1], (seen[0] + 1) * 2, atol=1e-6)


def test_visits_end_in_any_order_and_under_exceptions() -> None:
    model = opened("llama")
    before = forward(model).logits
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules())
    first, second = ExitStack(), ExitStack()
    first.enter_context(write(model.anatomy.tap(0, "head_q"), lambda q: q * 0))
    second.enter_context(write(model.anatomy.tap(2, "head_q"), lambda q: q * 0))
    both = forward(model).logits
    first.close()
    only = forward(model).logits
    second.close()
    assert not torch.equal(both, only) and not torch.equal(only, before)
    with pytest.raises(KeyError), kept(model, lambda *a: {}["nothing"]):
        forward(model)
    assert nothing_left(model)
    assert torch.equal(forward(model).logits, before)
    after = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules())
    assert hooks == after


def test_a_visitor_that_is_passed_by_is_an_error() -> None:
    model = opened("llama")
    config = model.anatomy.decoder.config
    with write(model.anatomy.tap(0, "head_q"), lambda q: q):
        mine = config._attn_implementation_internal
        config._attn_implementation_internal = "sdpa"  # as if the family did not look it up
        with pytest.raises(CapabilityError, match="by itself"):
            forward(model)
        config._attn_implementation_internal = mine
        forward(model)
    assert nothing_left(model)


def test_modules_without_the_interface_take_no_visitor() -> None:
    with (
        pytest.raises(CapabilityError, match="Linear computes attention by itself"),
        visiting(torch.nn.Linear(2, 2), lambda attend, q, k, v: attend(q, k, v)),
    ):
        pass
    with pytest.raises(ConfigError, match="no site 'head_k'"):
        opened("llama").anatomy.tap(0, "head_k")
    with pytest.raises(ConfigError, match="no layer 3"):
        opened("llama").anatomy.tap(3, "head_q")


def test_no_upcasting_gpt2() -> None:
    """GPT-2 can reorder its attention in a way of its own, which would miss the visitor."""
    module = _of(
        "gpt2",
        intermediate_size=None,
        num_key_value_heads=None,
        n_inner=48,
        reorder_and_upcast_attn=True,
        attn_implementation="eager",
    )()
    model = handle(module, prove(module), name="gpt2-upcast")
    with pytest.raises(CapabilityError), write(model.anatomy.tap(0, "head_q"), lambda q: q):
        pass
    assert nothing_left(model)
