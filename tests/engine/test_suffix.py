"""Entering at block l equals running the whole model with the same change."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.conftest import bare
from tests.oracles import engine_forward as oracle
from tests.oracles import engine_surgery as surgery
from theodolite.engine.interventions import MlpIntervention, ResidualIntervention, apply
from theodolite.engine.next_token import next_token
from theodolite.engine.suffix import SuffixSweep
from theodolite.errors import ConfigError
from theodolite.models.chat import Encoded

SITES = ("resid_pre", "attn_out", "mlp_out", "resid_post", "head_z")


def test_an_unchanged_replay_changes_nothing(family: Any, prompts: list[Encoded]) -> None:
    sweep = SuffixSweep(family, prompts[:5], sites=SITES)
    assert sweep.prefix == 20
    expected = next_token(family, prompts[:5])
    for layer in range(family.anatomy.n_layers):
        for site in SITES:
            same = sweep.values(layer, site).expand(2, -1, -1, -1)
            found = sweep.run(layer, same, site=site).logits
            logprobs = found.log_softmax(-1)[..., : expected.shape[1]]
            assert torch.allclose(logprobs[0], expected, atol=1e-4), (layer, site)
            assert torch.allclose(logprobs[0], logprobs[1], atol=1e-5)


@pytest.mark.parametrize("shared", [0, None])
def test_variants_equal_whole_runs_with_the_change(
    family: Any, prompts: list[Encoded], shared: int | None
) -> None:
    layer, site = 1, "attn_out"
    sweep = SuffixSweep(family, prompts[:4], sites=(site,), prefix=shared, batch_tokens=80)
    factors = torch.tensor([0.0, 1.5])
    variants = sweep.values(layer, site) * factors[:, None, None, None]
    prefix = None
    if sweep.prefix:
        prefix = sweep.values(layer, site, prefix=True)[0] * factors[:, None, None]
    found = sweep.run(layer, variants, site=site, prefix=prefix)
    for variant, factor in enumerate(factors):
        for row, prompt in enumerate(prompts[:4]):
            expected = surgery.changed_logits(
                family, prompt.ids, layer, site, lambda x, _, factor=factor: x * factor
            )[-1]
            assert torch.allclose(found.logits[variant, row], expected, atol=2e-4)


def test_an_intact_prefix_stays_intact(llama: Any, prompts: list[Encoded]) -> None:
    sweep = SuffixSweep(llama, prompts[:4], sites=("mlp_out",))
    found = sweep.run(1, sweep.values(1, "mlp_out")[None] * 0.0, site="mlp_out")
    for row, prompt in enumerate(prompts[:4]):
        expected = surgery.changed_logits(
            llama, prompt.ids, 1, "mlp_out", lambda x, at: x * 0.0 if at >= sweep.prefix else x
        )[-1]
        assert torch.allclose(found.logits[0, row], expected, atol=1e-4)


def test_active_interventions_stay_active(llama: Any, prompts: list[Encoded]) -> None:
    with apply(llama, MlpIntervention(layer=2, operator="scale", epsilon=0.3)):
        sweep = SuffixSweep(llama, prompts[:3], sites=("resid_post",))
        for layer in range(3):
            same = sweep.values(layer, "resid_post")[None]
            found = sweep.run(layer, same, site="resid_post").logits[0].log_softmax(-1)
            assert torch.allclose(found, next_token(llama, prompts[:3]), atol=1e-5)
    with pytest.raises(ConfigError, match="active interventions"):
        sweep.run(0, sweep.values(0)[None])


def test_nothing_is_left_on_the_model(llama: Any, prompts: list[Encoded]) -> None:
    sweep = SuffixSweep(llama, prompts[:3])
    sweep.run(2, sweep.values(2)[None])
    assert all("forward" not in vars(block) for block in llama.anatomy.blocks)
    with pytest.raises(ConfigError, match="variants has axes"):
        sweep.run(2, sweep.values(2))
    assert torch.equal(oracle.logits(llama, prompts[0].ids), oracle.logits(llama, prompts[0].ids))


@pytest.mark.parametrize("positions", [(-3,), (-6, 2), "prompt_last", "prompt"])
def test_interventions_find_their_places_although_a_prefix_is_shared(
    llama: Any, positions: Any
) -> None:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    steer = ResidualIntervention(layer=0, operator="add", vector=vector, positions=positions)
    ids = list(range(3, 13))
    pair = [bare(ids), bare([*ids, 20, 21, 22, 23])]  # one prompt begins the other
    with apply(llama, steer):
        sweep = SuffixSweep(llama, pair)
        found = sweep.run(1, sweep.values(1)[None]).logits
        assert found is not None
        assert torch.allclose(found[0].log_softmax(-1), next_token(llama, pair), atol=1e-4)
