"""Taking heads out by the sweep equals taking them out of whole forwards, one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.conftest import bare
from tests.models.tiny import TINY, tiny_model
from tests.oracles import engine_forward as forward
from tests.oracles import engine_surgery as surgery
from tests.oracles.heads import plain_map, without_queries
from theodolite.engine.interventions import DirectionIntervention, apply
from theodolite.engine.next_token import next_token
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.sweep import HeadSweep
from theodolite.models.attention import check_undifferentiated, require_interface
from theodolite.models.chat import Encoded

torch.set_num_threads(1)


def doubled(family: str) -> Any:
    """Return a tiny model in float64."""
    model = tiny_model(family)
    model.module.double()
    model.dtype = torch.float64
    return model


@pytest.fixture
def prompts() -> list[Encoded]:
    """Different lengths, a shared beginning of 6 tokens, nested sharing, two equal prompts."""
    draw = torch.Generator().manual_seed(3)

    def tokens(count: int) -> list[int]:
        return torch.randint(2, 300, (count,), generator=draw).tolist()

    header, more = tokens(6), tokens(5)
    rows = [header + tokens(4), header + tokens(9), header + more + tokens(2)]
    rows += [header + more + tokens(3), rows[0], tokens(7)]
    return [bare(ids, f"p{i}") for i, ids in enumerate(rows)]


def swept(model: Any, prompts: list[Encoded], ablation: HeadAblation, **options: Any) -> Any:
    """Return KL(intact || ablated) of every prompt and head, axes (prompt, layer, head)."""
    sweep = HeadSweep(model, prompts, ablation, **options)
    size = model.anatomy.vocab_size

    def logprobs(final: torch.Tensor) -> torch.Tensor:
        return model.anatomy.logits_from_final(final)[..., :size].double().log_softmax(-1)

    with torch.inference_mode():
        intact = logprobs(sweep.final)
        layers = []
        for layer in range(model.anatomy.n_layers):
            final, stream = sweep.layer(layer, range(ablation.units(model.anatomy)))
            assert torch.allclose(model.anatomy.final_norm(stream), final, atol=1e-5)
            layers.append((intact.exp() * (intact - logprobs(final))).sum(-1))
    return torch.stack(layers).permute(2, 0, 1)


def heads_of(model: Any) -> list[tuple[int, int]]:
    anatomy = model.anatomy
    return [(layer, head) for layer in range(anatomy.n_layers) for head in range(anatomy.n_heads)]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt2"])
@pytest.mark.parametrize("budget", [24, None])
def test_even_attention_equals_the_plain_loop_in_float64(
    family: str, budget: int | None, prompts: list[Encoded]
) -> None:
    model = doubled(family)
    found = swept(model, prompts, HeadAblation("ua"), batch_tokens=budget)
    expected = plain_map(model, [p.ids for p in prompts], without_queries, heads_of(model))
    assert torch.allclose(found.flatten(1), expected, atol=1e-10, rtol=0)
    assert expected.max() > 1e-6  # something was ablated


@pytest.mark.parametrize("name", sorted(TINY))
@pytest.mark.parametrize("operator", ["zero", "scale", "head_mean"])
def test_outputs_are_taken_out_of_every_family(
    name: str, operator: str, prompts: list[Encoded]
) -> None:
    model = tiny_model(name)
    ablation = HeadAblation(operator, epsilon=0.25 if operator == "scale" else None)
    size, some = model.anatomy.head_dim, [prompts[0], prompts[2], prompts[5]]
    found = swept(model, some, ablation)
    for layer, head in ((0, 1), (model.anatomy.n_layers - 1, 0)):
        part = slice(head * size, (head + 1) * size)

        def change(z: torch.Tensor, _: int, part: slice = part) -> torch.Tensor:
            new = z.clone()
            mean = z.reshape(-1, size).mean(0)
            new[part] = {"zero": z[part] * 0, "scale": z[part] * 0.25, "head_mean": mean}[operator]
            return new

        for row, prompt in enumerate(some):
            intact = forward.logits(model, prompt.ids)[-1].double().log_softmax(-1)
            ablated = surgery.changed_logits(model, prompt.ids, layer, "head_z", change)[-1]
            ablated = ablated.double().log_softmax(-1)
            expected = (intact.exp() * (intact - ablated)).sum()
            assert abs(found[row, layer, head] - expected) <= 1e-5 + 1e-3 * expected, (layer, row)


@pytest.mark.parametrize("name", sorted(TINY))
@pytest.mark.parametrize(
    "ablation",
    [HeadAblation("ua"), HeadAblation("ua", 0.3), HeadAblation("head_mean", target="q")],
    ids=["even", "fainter", "mean query"],
)
def test_queries_are_taken_out_of_every_family_that_shows_them(
    name: str, ablation: HeadAblation, prompts: list[Encoded]
) -> None:
    model = tiny_model(name)
    try:
        require_interface(model.anatomy)
        if ablation.factor == 0.0 and ablation.name == "undifferentiated":
            check_undifferentiated(model.anatomy)
    except CapabilityError as error:
        pytest.skip(error.message)
    if model.anatomy.row.heads_mixed:
        pytest.skip("head outputs are normed together before the projection")
    some = [prompts[0], prompts[2], prompts[5]]
    found = swept(model, some, ablation)
    for head in ((0, 1), (model.anatomy.n_layers - 1, 0)):
        intact = next_token(model, some).double()
        with apply(model, *ablation.interventions(model.anatomy, [head])):
            ablated = next_token(model, some).double()
        expected = (intact.exp() * (intact - ablated)).sum(-1)
        got = found[:, head[0], head[1]]
        assert torch.allclose(got, expected, atol=1e-5, rtol=1e-3), head


def test_a_group_of_heads_that_share_a_key_goes_out_together(prompts: list[Encoded]) -> None:
    model = doubled("llama")
    anatomy = model.anatomy
    assert anatomy.n_kv_heads < anatomy.n_heads
    for ablation in (
        HeadAblation("ua", unit="kv_group"),
        HeadAblation("ua", target="k", unit="kv_group"),
    ):
        found = swept(model, prompts[:3], ablation)
        assert found.shape == (3, anatomy.n_layers, anatomy.n_kv_heads)
        heads = [(1, head) for head in ablation.heads_of(anatomy, 1)]
        intact = torch.stack([forward.logits(model, p.ids)[-1] for p in prompts[:3]])
        with apply(model, *HeadAblation("ua").interventions(anatomy, heads)):
            ablated = torch.stack([forward.logits(model, p.ids)[-1] for p in prompts[:3]])
        intact, ablated = intact.log_softmax(-1), ablated.log_softmax(-1)
        expected = (intact.exp() * (intact - ablated)).sum(-1)
        assert torch.allclose(found[:, 1, 1], expected, atol=1e-10)


def test_a_factor_of_one_changes_nothing(prompts: list[Encoded]) -> None:
    for ablation in (HeadAblation("sc", 1.0), HeadAblation("ua", 1.0)):
        assert swept(doubled("llama"), prompts, ablation).abs().max() < 1e-12


def test_equal_values_make_even_attention_change_nothing() -> None:
    model = doubled("gpt2")
    ids = [7] * 9  # one token at every place, so that only learned positions could differ
    with torch.no_grad():
        model.module.get_submodule("transformer.wpe").weight.zero_()
    assert swept(model, [bare(ids)], HeadAblation("ua"))[:, 0].abs().max() < 1e-12
    assert swept(model, [bare(ids)], HeadAblation("zero"))[:, 0].abs().max() > 1e-6


def test_the_direct_effect_leaves_later_layers_as_they_were(prompts: list[Encoded]) -> None:
    model = doubled("llama")
    ablation = HeadAblation("zero")
    found = swept(model, prompts, ablation, freeze_downstream=True)
    total = swept(model, prompts, ablation)
    last = model.anatomy.n_layers - 1
    assert not torch.allclose(found[:, 0], total[:, 0], rtol=0.01)
    for row, prompt in enumerate(prompts[:2]):
        stream = forward.site_values(model, prompt.ids, "resid_post")[last, -1]
        z = forward.site_values(model, prompt.ids, "head_z")[0, -1].reshape(-1, 8)
        out = model.anatomy.out_projection(0)
        moved = stream - z[2] @ out.weight[2]
        intact, ablated = (
            model.anatomy.logits_from_final(model.anatomy.final_norm(s)).log_softmax(-1)
            for s in (stream, moved)
        )
        expected = (intact.exp() * (intact - ablated)).sum()
        assert torch.allclose(found[row, 0, 2], expected, atol=1e-10)


def test_the_mean_of_references_takes_a_heads_place(prompts: list[Encoded]) -> None:
    model = doubled("llama")
    references, prompt = prompts[1:4], prompts[0]
    found = swept(model, [prompt], HeadAblation("dataset_mean"), references=references)
    zs = [forward.site_values(model, r.ids, "head_z")[1] for r in references]
    length = len(prompt.ids)
    mean = torch.stack(
        [torch.stack([z[-1 - d] for z in zs if len(z) > d]).mean(0) for d in range(length)]
    ).flip(0)
    check_replaced(model, prompt, found[0, 1, 3], layer=1, head=3, new=mean)


def test_a_references_own_output_takes_a_heads_place(prompts: list[Encoded]) -> None:
    model = doubled("llama")
    long, short = prompts[1], prompts[5]
    found = swept(model, [long], HeadAblation("resample"), references=[short])
    intact = forward.site_values(model, long.ids, "head_z")[1]
    new = intact.clone()
    new[-len(short.ids) :] = forward.site_values(model, short.ids, "head_z")[1]
    check_replaced(model, long, found[0, 1, 3], layer=1, head=3, new=new)


def test_equal_prompts_keep_their_own_references(prompts: list[Encoded]) -> None:
    model = doubled("llama")
    twice, references = [prompts[0], prompts[0]], [prompts[1], prompts[2]]
    found = swept(model, twice, HeadAblation("resample"), references=references)
    alone = swept(model, twice[:1], HeadAblation("resample"), references=references[1:])
    assert torch.allclose(found[1], alone[0], atol=1e-12)
    assert not torch.allclose(found[0], found[1], rtol=1e-3)


def check_replaced(
    model: Any, prompt: Encoded, found: torch.Tensor, *, layer: int, head: int, new: torch.Tensor
) -> None:
    part = slice(head * 8, (head + 1) * 8)

    def change(z: torch.Tensor, at: int) -> torch.Tensor:
        return torch.cat([z[: part.start], new[at, part], z[part.stop :]])

    intact = forward.logits(model, prompt.ids)[-1].log_softmax(-1)
    ablated = surgery.changed_logits(model, prompt.ids, layer, "head_z", change)[-1]
    expected = (intact.exp() * (intact - ablated.log_softmax(-1))).sum()
    assert torch.allclose(found, expected, atol=1e-10)
    assert expected > 1e-8


def test_what_cannot_be_done_is_refused(prompts: list[Encoded]) -> None:
    model = tiny_model("llama")
    with pytest.raises(ConfigError, match="no single head's key"):
        HeadSweep(model, prompts, HeadAblation("ua", target="k"))
    with pytest.raises(DataError, match="needs reference prompts"):
        HeadSweep(model, prompts, HeadAblation("dataset_mean"))
    with pytest.raises(DataError, match="one reference per prompt"):
        HeadSweep(model, prompts, HeadAblation("resample"), references=prompts[:2])
    bloom = tiny_model("bloom")
    with pytest.raises(CapabilityError, match="bias of position"):
        HeadSweep(bloom, prompts, HeadAblation("ua"))
    steer = DirectionIntervention(
        layer=0, operator="ablate", site="attn_out", direction=torch.ones(32)
    )
    with apply(model, steer), pytest.raises(CapabilityError, match="attn_out"):
        HeadSweep(model, prompts, HeadAblation("zero"))
