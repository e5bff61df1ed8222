"""Refusal-direction attribution: heads' terms add up, and the layer is chosen on held-out prompts.

Traps: in many dimensions any two small groups lie far apart on the direction made from themselves;
a norm may stand between the heads and the stream; only layers below the direction can write it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.tiny import tiny_model
from tests.oracles import attribution as oracle
from tests.oracles import engine_forward
from theodolite.errors import CapabilityError, DataError
from theodolite.mechanism.heads.attribution import (
    DirectionAttribution,
    find_direction,
    refusal_direction_attribution,
)
from theodolite.models.chat import Encoded, encode_plain
from theodolite.models.handle import LanguageModel
from theodolite.runs.journal import Journal

WORDS = ("bread", "boat", "lake", "city", "story", "weather", "question", "home", "user", "way")


def sets(model: LanguageModel) -> tuple[list[Encoded], ...]:
    """Return harmful and benign training prompts, then test prompts; all end in one token."""
    made = []
    for part in (WORDS[:6], WORDS[6:]):
        for frame in ("Write about the {} now.", "How is a {} made and then now."):
            made.append(
                [encode_plain(model, frame.format(w), prompt_id=f"{frame[0]}-{w}") for w in part]
            )
    return tuple(made)


def attributed(model: LanguageModel, **options: object) -> DirectionAttribution:
    return refusal_direction_attribution(model, *sets(model), **options)  # type: ignore[arg-type]


FAMILIES = ("llama", "gpt2", "granite", "qwen2", "gpt_neox", "falcon-new", "gemma2", "olmo2")


@pytest.mark.parametrize("family", FAMILIES)
def test_terms_of_heads_are_what_their_slice_adds(family: str) -> None:
    model = tiny_model(family)
    found = attributed(model)
    anatomy, depth = model.anatomy, found.direction.hidden_index
    assert found.harmful.shape == (4, depth, anatomy.n_heads)
    unit = torch.from_numpy(found.direction.vector)
    assert float(unit.norm()) == pytest.approx(1.0)
    _, _, harmful, benign = sets(model)
    for prompts, parts, totals in (
        (harmful, found.harmful, found.harmful_total),
        (benign, found.benign, found.benign_total),
    ):
        for prompt, part, total in zip(prompts[:2], parts, totals):
            for layer in range(depth):
                expected = oracle.head_terms(model, prompt.ids, layer, unit)
                assert part[layer] == pytest.approx(expected, rel=1e-3, abs=1e-5)
            stream = engine_forward.site_values(model, prompt.ids, "resid_post")[depth - 1, -1]
            assert total == pytest.approx(float(stream.double() @ unit), rel=1e-4, abs=1e-5)


def test_a_bias_behind_the_heads_is_no_heads_term() -> None:
    model = tiny_model("olmo2")
    torch.manual_seed(0)
    for block in model.anatomy.blocks:
        bias = torch.randn(model.anatomy.d_model)
        block.self_attn.o_proj.bias = nn.Parameter(bias, requires_grad=False)
    found = attributed(model)
    prompt, unit = sets(model)[2][0], torch.from_numpy(found.direction.vector)
    expected = oracle.head_terms(model, prompt.ids, 0, unit)
    assert found.harmful[0, 0] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_the_only_head_that_tells_the_classes_apart_comes_first() -> None:
    model = tiny_model("llama")
    planted = (1, 2)
    anatomy = model.anatomy
    with torch.no_grad():
        for layer, block in enumerate(anatomy.blocks):
            block.mlp.down_proj.weight.zero_()
            weight = block.self_attn.o_proj.weight.view(-1, anatomy.n_heads, anatomy.head_dim)
            for head in range(anatomy.n_heads):
                if (layer, head) != planted:
                    weight[:, head] = 0.0
    found = attributed(model)
    assert found.direction.hidden_index >= 2
    assert found.ranking()[0] == planted
    others = np.delete(found.difference.mean.ravel(), planted[0] * anatomy.n_heads + planted[1])
    assert not others.any()
    assert found.rows()[0]["name"] == "1-2" and found.rows()[0]["difference"] > 0
    (share,) = found.measurements()  # the last token is the same, so nothing else differs
    assert share.value == pytest.approx(1.0, abs=1e-5)
    assert share.low == pytest.approx(1.0, abs=1e-5) or share.low is None


def test_the_layer_is_chosen_on_prompts_the_direction_was_not_made_from() -> None:
    rng = np.random.default_rng(0)
    harmful, benign = rng.standard_normal((2, 12, 4, 400))
    harmful[:, 2, 7] += 6.0
    # On its own prompts a direction tells pure noise apart by far.
    gap = harmful[:, 0].mean(0) - benign[:, 0].mean(0)
    own = [side[:, 0] @ gap / np.linalg.norm(gap) for side in (harmful, benign)]
    assert (own[0].mean() - own[1].mean()) / own[0].std() > 5
    found = find_direction(harmful, benign)
    assert found.hidden_index == 3
    assert found.vector[7] == pytest.approx(np.abs(found.vector).max())
    assert found.separations[2] > 2
    assert np.abs(np.delete(found.separations, 2)).max() < 1.5


def test_the_direction_points_from_benign_to_harmful() -> None:
    rng = np.random.default_rng(1)
    harmful, benign = 0.1 * rng.standard_normal((2, 6, 1, 5))
    harmful[:, 0, 3] -= 2.0
    found = find_direction(harmful, benign)
    assert found.vector[3] == pytest.approx(-1.0, abs=0.05)
    assert np.linalg.norm(found.vector) == pytest.approx(1.0)
    with pytest.raises(DataError, match="same states"):
        find_direction(benign, benign)


def test_a_norm_that_is_no_factor_is_refused() -> None:
    model = tiny_model("olmo2")
    width = model.anatomy.d_model
    for block in model.anatomy.blocks:
        norm = nn.LayerNorm(width)
        nn.init.normal_(norm.bias)
        block.post_attention_layernorm = norm.requires_grad_(False)
    with pytest.raises(CapabilityError, match="not one factor per prompt"):
        attributed(model)


def test_a_second_run_reads_the_journal(tmp_path: Path) -> None:
    model = tiny_model("llama")
    calls: list[int] = []
    handle = model.anatomy.decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = attributed(model, journal=journal)
        before = len(calls)
        again = attributed(model, journal=journal)
    handle.remove()
    assert before > 0 and len(calls) == before
    assert np.array_equal(first.harmful, again.harmful)


def test_prompts_that_do_not_do_are_refused() -> None:
    model = tiny_model("llama")
    train_harmful, train_benign, harmful, benign = sets(model)
    with pytest.raises(DataError, match="1 benign test prompts"):
        refusal_direction_attribution(model, train_harmful, train_benign, harmful, benign[:1])
    whole = refusal_direction_attribution(model, train_harmful, train_benign, harmful, benign)
    mixed = refusal_direction_attribution(
        model, [*train_harmful, benign[0]], [harmful[1], *train_benign], harmful, benign
    )
    assert (whole.left_out, mixed.left_out) == (0, 2)
    assert np.array_equal(whole.direction.vector, mixed.direction.vector)
    with pytest.raises(DataError, match="0 harmful training prompts"):
        refusal_direction_attribution(model, harmful, train_benign, harmful, benign)
