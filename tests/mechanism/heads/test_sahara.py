"""Groups grow with what is already out, and are no ranks of one map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.mechanism.heads.planted_heads import SIDE, STRONG, WEAK, planted_model
from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.sahara import sahara
from theodolite.mechanism.heads.ships import head_ships

WORDS = ("bake some bread", "say a poem of the sea", "count to five", "fold a paper boat")
PROMPTS = [Prompt(id=f"p{i}", text=text) for i, text in enumerate(WORDS)]
ZERO: Any = {"ablation": HeadAblation("zero"), "template": "none"}


def test_two_heads_that_matter_only_together_are_both_found() -> None:
    model = planted_model()
    single = head_ships(model, PROMPTS, **ZERO)
    assert single.ranking()[:3] == [STRONG, SIDE, WEAK]
    assert not single.top1_changed[:, *WEAK].any() and not single.top1_changed[:, *STRONG].any()
    found = sahara(model, PROMPTS, steps=2, by="kl", **ZERO)
    assert found.heads == (STRONG, WEAK)  # the ranks of the first map would have said SIDE
    assert found.scores[1].top1_changed[:, *WEAK].all()
    assert found.frame()[1]["single_rank"] == 3


def test_the_first_step_is_the_map_of_single_heads() -> None:
    model = tiny_model("llama")
    found = sahara(model, PROMPTS, steps=2, template="none")
    single = head_ships(model, PROMPTS, template="none")
    assert np.array_equal(found.maps[0], single.angles["angle_r1"])
    assert found.heads[0] == single.ranking("angle_r1")[0]
    assert np.isnan(found.maps[1][found.heads[0]])


def test_angles_are_always_against_the_intact_model() -> None:
    model = tiny_model("llama")
    found = sahara(model, PROMPTS, steps=2, template="none")
    first, second = found.heads
    both = head_ships(model, PROMPTS, template="none", group=[second], only=[first])
    assert found.maps[1][second] == pytest.approx(both.angles["angle_r1"][first], abs=1e-3)
    row = found.frame()[1]
    assert (row["step"], row["layer"], row["head"]) == (2, *second)
    assert row["score"] >= row["runner_up"][0][2] >= row["runner_up"][1][2]


def test_ties_go_to_the_lower_layer_then_head() -> None:
    model = planted_model()
    for block in model.anatomy.blocks:
        block.attn.c_proj.weight.data.zero_()
    assert sahara(model, PROMPTS, steps=2, by="kl", **ZERO).heads == ((0, 0), (0, 1))


def test_what_cannot_be_chosen_is_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(DataError, match="at least two prompts"):
        sahara(model, PROMPTS[:1], template="none")
    with pytest.raises(ConfigError, match="cannot be chosen"):
        sahara(model, PROMPTS, steps=0)
    with pytest.raises(ConfigError, match="There is no score"):
        sahara(model, PROMPTS, by="angle_r9", template="none")
