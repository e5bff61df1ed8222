"""Which questions are asked, and the wrong answers that are made for them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.behaviour.preemptive_answers.items import (
    ALL,
    CHOICE,
    LATEX,
    NUMBER,
    OTHER_WORDS,
    WORDS,
    YES_NO,
)
from theodolite.behaviour.preemptive_answers.data import load_items, planted_answer
from theodolite.behaviour.preemptive_answers.equivalence import is_equiv
from theodolite.behaviour.preemptive_answers.wrong import make_wrong, unrelated
from theodolite.errors import ConfigError, DataError

needs_data = pytest.mark.skipif(
    "THEODOLITE_DATA" not in os.environ, reason="official data are not at hand"
)
POOL = (*ALL, OTHER_WORDS)


@pytest.mark.parametrize("item", [NUMBER, CHOICE, YES_NO, WORDS], ids=lambda item: item.set)
def test_a_made_answer_is_wrong_and_the_same_every_time(item) -> None:  # type: ignore[no-untyped-def]
    for seed in range(20):
        wrong = make_wrong(item, seed=seed, others=POOL)
        assert wrong == make_wrong(item, seed=seed, others=tuple(reversed(POOL)))
        assert not is_equiv(wrong, item.gold, item.answer_type)


def test_made_answers_vary_with_the_seed_and_keep_to_the_type() -> None:
    assert {make_wrong(CHOICE, seed=seed) for seed in range(60)} == {"A", "C", "D", "E"}
    assert make_wrong(YES_NO) == "no"
    assert {make_wrong(NUMBER, seed=seed) for seed in range(60)} == {"5", "3", "8", "2", "40"}
    assert make_wrong(WORDS, others=POOL) == "Lena Moe"
    assert make_wrong(replace(WORDS, gold="No.")) == "yes"


def test_a_made_number_has_the_format_of_the_gold() -> None:
    prices = {make_wrong(replace(NUMBER, gold="7.50", solution=None), seed=s) for s in range(40)}
    assert prices == {"8.50", "6.50", "15.00", "3.75", "75.00"}
    many = {make_wrong(replace(NUMBER, gold="1200", solution=None), seed=s) for s in range(60)}
    assert many == {"1201", "1199", "2400", "600", "12000", "2100", "1020"}


def test_a_made_latex_answer_is_checked() -> None:
    made = {make_wrong(LATEX, seed=seed) for seed in range(6)}
    changed = {"-\\frac{1}{2}", "\\frac{2}{1}", "\\frac{2}{2}", "\\frac{1}{3}", "\\frac{1}{1}"}
    assert made <= changed
    assert make_wrong(replace(LATEX, gold="0", wrong=None)) in ("1", "0.5")


def test_an_option_with_the_text_of_the_gold_is_not_planted() -> None:
    twice = replace(CHOICE, options=("2", "2", "3", "5", "7"))
    assert {make_wrong(twice, seed=seed) for seed in range(40)} == {"C", "D", "E"}


def test_words_without_others_cannot_be_made() -> None:
    with pytest.raises(DataError, match="wrong_answer"):
        make_wrong(WORDS)
    with pytest.raises(DataError, match="more items"):
        unrelated(WORDS)


def test_what_each_condition_plants() -> None:
    assert planted_answer(NUMBER, "M") == planted_answer(NUMBER, "M_late") == "10"
    assert planted_answer(NUMBER, "M_correct") == "4"
    assert planted_answer(NUMBER, "clean") is planted_answer(NUMBER, "M_neutral") is None
    assert planted_answer(WORDS, "M_random", others=POOL) == "Lena Moe"
    assert {planted_answer(YES_NO, "M_random", seed=s) for s in range(30)} == {"yes", "no"}
    assert len({planted_answer(LATEX, "M_random", seed=s) for s in range(30)}) > 10


def test_a_users_file_gets_wrong_answers(tmp_path: Path) -> None:
    row = {"question": "2 + 2?", "answer": "4", "answer_type": "number"}
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps({**row, "id": f"q{i}"}) for i in range(6)), "utf-8")
    items = load_items(path, seed=1)
    assert all(item.wrong and not is_equiv(item.wrong, "4", "number") for item in items)
    some, fewer = load_items(path, limit=4), load_items(path, limit=2)
    assert {item.id for item in fewer} < {item.id for item in some}
    with pytest.raises(DataError, match=r"mine\.jsonl, line 1.*no answer to plant"):
        load_items(path, generate=False)


def test_a_users_plant_that_is_right_is_refused(tmp_path: Path) -> None:
    row = {"question": "2 + 2?", "answer": "4", "answer_type": "number", "wrong_answer": "4.0"}
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(row) + "\n", "utf-8")
    with pytest.raises(DataError, match=r"line 1.*wrong_answer.*is right"):
        load_items(path)


def test_unknown_sets_and_empty_limits_are_refused() -> None:
    with pytest.raises(ConfigError, match="gsm8k"):
        load_items("gsm8")
    with pytest.raises(ConfigError, match="leaves no question"):
        load_items("gsm8k", limit=0)


@needs_data
def test_official_sets_are_read_together() -> None:
    items = load_items("gsm8k,strategyqa", limit=20)
    assert [item.set for item in items] == ["gsm8k"] * 20 + ["strategyqa"] * 20


@needs_data
@pytest.mark.parametrize("name", ["gsm8k", "mathqa", "commonsenseqa", "hotpotqa"])
def test_wrong_answers_can_be_made_for_official_rows(name: str) -> None:
    items = load_items(name)
    for item in items[:40]:
        wrong = make_wrong(item, others=items)
        assert not is_equiv(wrong, item.gold, item.answer_type), item.id
