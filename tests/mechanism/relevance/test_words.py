"""Words: found by their characters, joined only in the table, ranked with intervals by goal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.mechanism.planted_shortcut import TRIGGER, PlantedShortcut, plant_shortcut
from tests.mechanism.relevance.small import PROMPTS, directions
from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.relevance import BACKENDS, relevance
from theodolite.mechanism.relevance.adjacent import (
    adjacent_table,
    column_shares,
    kept_by_itself,
    signed_shares,
)
from theodolite.mechanism.relevance.words import occurrences, top_words, word_table
from theodolite.models.handle import LanguageModel


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_model()


@pytest.fixture(scope="module")
def planted() -> PlantedShortcut:
    return plant_shortcut()


def test_words_are_cut_by_characters_and_the_user_by_its_own_span(model: LanguageModel) -> None:
    texts = (
        "How do I bake bread? user",
        "don't <|end|>\n<|start|>system stop",  # spelled control tokens are nobody's turn
        "baking, well-done: crème brûlée 漢字かな",
        "user\nuser",
    )
    found = relevance(model, [Prompt(t, text=t) for t in texts], directions(1, 1), rules="cplrp")
    words = [[w.text for w in occurrences(found, "L1-C1") if w.prompt == i] for i in range(4)]
    assert words[0] == ["How", "do", "I", "bake", "bread", "?", "user"]
    assert words[1][0] == "don't" and words[1][-2:] == ["system", "stop"]
    assert "brûlée" in words[2] and "well" in words[2] and "漢" in words[2] and "字" in words[2]
    assert words[3] == ["user", "user"]
    for i, prompt in enumerate(found.prompts):
        assert len(prompt.spans) == len(prompt.ids) == len(prompt.words)
        assert found.of_words(i).sum() == pytest.approx(float(found.of_prompt(i).sum()))
        user = "".join(w.text for w in occurrences(found, "L1-C1") if w.prompt == i)
        assert user.replace(" ", "") == "".join(texts[i].split())
    template = [w.text for w in occurrences(found, "L1-C1", group="template") if w.prompt == 0]
    assert template == ["<|start|>", "user", "<|end|>", "<|start|>", "assistant"]


def test_a_planted_trigger_is_first_in_nearly_every_prompt_for_every_back_end(
    planted: PlantedShortcut,
) -> None:
    assert planted.accuracy >= 0.95
    triggered = [prompt for prompt in planted.prompts if prompt.style == "trigger"]
    for backend, rules in [("lrp", "cplrp"), *((name, "attnlrp") for name in BACKENDS)]:
        found = relevance(
            planted.model,
            triggered,
            [planted.direction],
            backend=backend,
            rules=rules,  # type: ignore[arg-type]
        )
        first: dict[int, tuple[float, str]] = {}
        for each in occurrences(found, planted.direction.name):
            first[each.prompt] = max(
                first.get(each.prompt, (-np.inf, "")), (each.value, each.spelling)
            )
        shares = [spelling == TRIGGER for _, spelling in first.values()]
        assert len(shares) == 32 and np.mean(shares) >= 0.95
        table = word_table(found, planted.direction.name)
        assert table.words[0] == TRIGGER and table.counts[0] == 32
        assert table.low[0] > table.everyday and table.low[0] > table.high[1]


def test_the_table_is_means_totals_and_intervals_of_occurrences(model: LanguageModel) -> None:
    texts = ("bread bread lake", "a Bread", "the lake", "lake bread", "boat")
    prompts = [Prompt(f"p{i}", text=t, goal_id=f"g{i % 3}") for i, t in enumerate(texts)]
    found = relevance(model, prompts, directions(2, 1))
    table = word_table(found, "L2-C1", min_count=3)
    assert sorted(table.words) == ["bread", "lake"] and table.too_rare == 3
    by_word: dict[str, list[float]] = {}
    for each in occurrences(found, "L2-C1"):
        by_word.setdefault(each.spelling, []).append(each.value)
    for row in table.frame():
        values = by_word[row["word"]]
        assert row["count"] == len(values)
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["total"] == pytest.approx(np.sum(values))
        assert row["low"] is None or row["low"] <= row["high"]
    assert json.dumps(table.frame()) == json.dumps(word_table(found, "L2-C1", min_count=3).frame())
    one_goal = relevance(model, prompts[:1], directions(2, 1))
    assert word_table(one_goal, "L2-C1", min_count=1).frame()[0]["low"] is None
    with pytest.raises(DataError, match="no words in the group 'last'"):
        word_table(found, "L2-C1", group="last")
    with pytest.raises(ConfigError, match="'L2-C2' was not explained"):
        word_table(found, "L2-C2")
    with pytest.raises(ConfigError, match="no group of positions"):
        word_table(found, "L2-C1", group="system")


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(-5, 5)), st.floats(0.05, 1.0))
def test_top_words_are_the_fewest_that_hold_the_share(values: np.ndarray, share: float) -> None:
    chosen = top_words(values.tolist(), share)
    positive = np.clip(values, 0, None)
    if not positive.sum() > 0:
        assert chosen == []
        return
    held = positive[chosen].sum()
    assert held >= share * positive.sum() * (1 - 1e-9)
    assert positive[chosen[:-1]].sum() < share * positive.sum() + 1e-12
    assert list(values[chosen]) == sorted(values, reverse=True)[: len(chosen)]


@given(arrays(np.float64, (4, 3), elements=st.floats(-2, 2)))
def test_columns_are_shares_and_empty_ones_stay_empty(table: np.ndarray) -> None:
    shares = column_shares(table)
    assert (shares >= 0).all() and (shares[table <= 0] == 0).all()
    for column, own in zip(table.T, shares.T, strict=True):
        assert own.sum() == pytest.approx(1.0 if (column > 0).any() else 0.0)
    signed = signed_shares(table)
    assert (signed * table >= 0).all() and not signed[table == 0].any()
    for column, own in zip(table.T, signed.T, strict=True):
        assert np.abs(own).sum() == pytest.approx(1.0 if column.any() else 0.0)


def test_a_table_between_layers_joins_positions_and_refuses_token_maps(
    model: LanguageModel,
) -> None:
    found = relevance(model, PROMPTS, directions(3, 2), to=directions(2, 3))
    assert found.parts is not None and found.rest is not None
    table = adjacent_table(found)
    assert np.allclose(table.raw, found.parts.sum(1).mean(0))
    assert np.allclose(table.shares, column_shares(table.raw))
    assert table.frame()[0]["signed_share"] == signed_shares(table.raw)[0, 0]
    row = table.frame()[0]
    assert row["relevance"] == pytest.approx(
        row["relevance_template"] + row["relevance_user"] + row["relevance_last"]
    )
    assert np.allclose(table.raw.sum(0) + table.rest, found.totals[:, 0].mean(0), rtol=1e-4)
    with pytest.raises(ConfigError, match="traced to tokens"):
        adjacent_table(relevance(model, PROMPTS, directions(3, 2)))
    with pytest.raises(DataError, match="not one table of finite numbers"):
        column_shares([[np.nan]])
    with pytest.raises(DataError, match="no component C4"):
        kept_by_itself({3: table.raw}, component=4)


@pytest.fixture(scope="module")
def delivered() -> Iterator[dict[int, list[list[float]]]]:
    folder = Path(os.environ["THEODOLITE_DATA"]) / "safety-residual-space"
    rows = json.loads((folder / "relevance_adjacent_layers.json").read_text("utf-8"))
    yield {int(layer): table for layer, table in rows.items()}


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="no official data")
def test_the_delivered_tables_say_what_the_paper_says(
    delivered: dict[int, list[list[float]]],
) -> None:
    kept = kept_by_itself(delivered)
    late = [kept[layer] for layer in range(16, 33)]
    assert round(float(np.mean(late)), 2) == 0.94
    assert max(kept[layer] for layer in (2, 3, 4)) < 0.01
    published = {5: 0.91, 6: 0.21, 13: 0.73, 14: 0.81}
    assert {layer: round(kept[layer], 2) for layer in published} == pytest.approx(
        published, abs=0.0101
    )
    assert all(kept[layer] > 0.935 for layer in range(7, 13))
    assert round(float(column_shares(delivered[18])[0, 1]), 2) == 0.65  # C2 from C1
