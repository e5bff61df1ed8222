"""How a head is taken out: names, what is refused, and how small the edit would be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig

from tests.models.tiny import tiny_model
from theodolite.errors import CapabilityError, ConfigError
from theodolite.mechanism.heads.ablation import (
    HeadAblation,
    check_head,
    head_name,
    parameter_fraction,
    parse_heads,
)
from theodolite.models import open_model
from theodolite.models.anatomy import bind, rows_for


def test_short_names_stand_for_operators_with_their_own_factors() -> None:
    assert (HeadAblation("ua").name, HeadAblation("ua").factor) == ("undifferentiated", 0.0)
    assert (HeadAblation("sc").name, HeadAblation("sc").factor) == ("scale", 1e-5)
    assert HeadAblation("ua").key == HeadAblation("undifferentiated", 0.0, "q").key
    keys = {HeadAblation(*given).key for given in (("ua",), ("ua", 1e-3), ("sc",), ("zero",))}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("ablation", "said"),
    [
        (HeadAblation("undiferentiated"), "no head operator"),
        (HeadAblation("zero", target="k"), "no target 'k'"),
        (HeadAblation("zero", epsilon=0.1), "takes no epsilon"),
        (HeadAblation("ua", unit="layer"), "no unit 'layer'"),
        (HeadAblation("ua", epsilon=float("inf")), "epsilon is inf"),
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(ablation: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        ablation.check()
    assert raised.value.fix


def test_what_does_not_fit_the_model_is_refused() -> None:
    anatomy = tiny_model("llama").anatomy
    with pytest.raises(ConfigError, match="no single head's key"):
        HeadAblation("ua", target="k").check(anatomy)
    HeadAblation("ua", target="k", unit="kv_group").check(anatomy)
    with pytest.raises(ConfigError, match="There is no head 1-2"):
        HeadAblation("ua", unit="kv_group").interventions(anatomy, [(1, 2)])
    with pytest.raises(ConfigError, match="There is no head 3-0"):
        check_head(anatomy, (3, 0))
    for operator in ("dataset_mean", "resample"):
        with pytest.raises(CapabilityError, match=operator):
            HeadAblation(operator).interventions(anatomy, [(0, 0)])


def test_a_group_of_heads_is_one_intervention_per_layer() -> None:
    anatomy = tiny_model("llama").anatomy
    found = HeadAblation("sc").interventions(anatomy, [(2, 1), (0, 3), (2, 0), (2, 1)])
    assert [(one.layer, one.heads, one.operator) for one in found] == [
        (0, (3,), "scale"),
        (2, (0, 1), "scale"),
    ]
    assert found[0].epsilon == 1e-5
    whole = HeadAblation("ua", unit="kv_group").interventions(anatomy, [(1, 1)])
    assert whole[0].heads == (2, 3)


@given(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 9999)), min_size=1, max_size=8))
def test_names_of_heads_can_be_read_again(heads: list[tuple[int, int]]) -> None:
    assert parse_heads(", ".join(map(head_name, heads))) == heads


@given(st.text(max_size=12))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        found = parse_heads(text)
    except ConfigError:
        return
    assert ",".join(map(head_name, found)).replace("-", "").isdecimal() or "," in text


def test_the_share_of_parameters_is_exact() -> None:
    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        vocab_size=32000,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        module = AutoModelForCausalLM.from_config(config)
    anatomy = bind(module, "llama", rows_for(config)[0])
    total = 6_738_415_616
    one = parameter_fraction(anatomy, [(2, 26)], HeadAblation("ua"))
    assert one == pytest.approx(128 * 4096 / total, rel=1e-12)
    assert f"{one:.5%}" == "0.00778%"
    assert parameter_fraction(anatomy, [(2, 26), (2, 26), (3, 1)], HeadAblation("sc")) == 2 * one


def test_tied_embeddings_are_counted_once() -> None:
    model = open_model("smollm2")
    found = parameter_fraction(model.anatomy, [(18, 8)], HeadAblation("ua"))
    assert found == pytest.approx(64 * 576 / 134_515_008, rel=1e-12)


def test_heads_wider_than_their_share_and_shared_keys_are_counted_as_they_are() -> None:
    anatomy = tiny_model("qwen3").anatomy
    total = sum(p.numel() for p in set(anatomy.decoder.parameters()) | {anatomy.lm_head.weight})
    one = anatomy.head_dim * anatomy.d_model / total
    assert anatomy.head_dim != anatomy.d_model // anatomy.n_heads
    assert parameter_fraction(anatomy, [(0, 0)], HeadAblation("ua")) == pytest.approx(one)
    group = HeadAblation("ua", unit="kv_group")
    assert parameter_fraction(anatomy, [(0, 0)], group) == pytest.approx(
        one * anatomy.n_heads / anatomy.n_kv_heads
    )
    keys = HeadAblation("ua", target="k", unit="kv_group")
    assert parameter_fraction(anatomy, [(0, 0)], keys) == pytest.approx(one)
