"""The six official sets in one schema, and files of users."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.data.preemptive import (
    CHOICE,
    SETS,
    Item,
    official_items,
    read_items,
    read_official,
    split_options,
    suspects,
)
from theodolite.data.records import read_records
from theodolite.errors import ConfigError, DataError

needs_data = pytest.mark.skipif(
    "THEODOLITE_DATA" not in os.environ, reason="official data are not at hand"
)
ROW: dict[str, Any] = {"question": "What is 2 + 2?", "answer": "4", "answer_type": "number"}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@needs_data
@pytest.mark.parametrize(
    ("name", "distinct", "duplicates"),
    [
        ("gsm8k", 202, 9),
        ("mathqa", 204, 7),
        ("math", 211, 0),
        ("hotpotqa", 211, 0),
        ("commonsenseqa", 211, 0),
        ("strategyqa", 208, 3),
    ],
)
def test_every_set_has_211_rows(name: str, distinct: int, duplicates: int) -> None:
    items = official_items(name)
    assert len(items) == 211
    assert [item.id for item in items] == [f"{name}-{row}" for row in range(211)]
    assert len({item.cluster for item in items}) == distinct
    assert sum(item.dup_of is not None for item in items) == duplicates
    assert {item.answer_type for item in items} == {SETS[name][1]}
    by_id = {item.id: item for item in items}
    for item in items:
        if item.dup_of:
            assert by_id[item.dup_of].question == item.question
            assert by_id[item.dup_of].dup_of is None


@needs_data
def test_gsm8k_golds_are_integers_and_plants_are_one_string() -> None:
    items = official_items("gsm8k")
    assert all(item.gold.lstrip("-").isdigit() and item.solution for item in items)
    assert items[0].wrong == "10" and items[0].gold == "4"
    raw = read_records(Path(os.environ["THEODOLITE_DATA"]) / "preemptive-answers/GSM.jsonl")
    assert Counter(len(record.values["wrong_answer"]) for record in raw) == {1: 207, 2: 4}
    assert all(i.wrong == r.values["wrong_answer"][0] for i, r in zip(items, raw))


@needs_data
def test_letters_are_upper_case_and_every_choice_has_five_options() -> None:
    for name in ("mathqa", "commonsenseqa"):
        for item in official_items(name):
            assert len(item.options) == 5 and all(item.options), item.id
            assert item.gold in item.letters and item.wrong in item.letters
            assert item.gold != item.wrong
            assert not any(mark in option for option in item.options for mark in ("[", "]", "' "))
            assert not any(option.startswith(("'", '"')) for option in item.options), item.id


@needs_data
def test_broken_option_blocks_are_read() -> None:
    items = official_items("mathqa")
    broken = suspects()["mathqa"]["broken_options"]
    assert len(broken) == 13
    raw = read_records(Path(os.environ["THEODOLITE_DATA"]) / "preemptive-answers/MATHQA.jsonl")
    marked = [row for row, record in enumerate(raw) if "'a )" in record.values["question"]]
    assert marked == broken
    assert items[133].options == ("286 m", "899 m", "200 m", "205 m", "187 m")
    assert items[8].options[0] == "rs . 45,000"


@needs_data
def test_math_golds_known_to_be_damaged_are_marked() -> None:
    items = official_items("math")
    known = suspects()["math"]
    assert {kind: len(rows) for kind, rows in known.items()} == {
        "empty": 11,
        "flattened_latex": 6,
        "flattened_number": 6,
        "wrong": 1,
    }
    rows = sorted(row for part in known.values() for row in part)
    assert [i for i, item in enumerate(items) if item.gold_suspect] == rows
    assert len(rows) == len(set(rows)) == 24
    assert [i for i, item in enumerate(items) if not item.gold] == known["empty"]
    assert [i for i, item in enumerate(items) if item.wrong is None] == [171]
    assert sum("\\" in item.gold for item in items) == 27
    assert sum(not item.suspect for item in items) == 187


@needs_data
def test_strategyqa_is_yes_and_no_and_eight_plants_were_spelled_so() -> None:
    items = official_items("strategyqa")
    assert Counter(item.gold for item in items) == {"yes": 100, "no": 111}
    assert all({item.gold, item.wrong} == {"yes", "no"} for item in items)
    raw = read_records(Path(os.environ["THEODOLITE_DATA"]) / "preemptive-answers/STRATEGYQA.jsonl")
    odd = [row for row, r in enumerate(raw) if r.values["wrong_answer"] in ("yes", "no")]
    assert odd == [2, 16, 24, 41, 45, 53, 56, 71]


@needs_data
def test_hotpotqa_has_short_golds_and_plants_without_the_leading_blank() -> None:
    items = official_items("hotpotqa")
    assert sum(item.gold in ("yes", "no") for item in items) == 10
    assert all(item.wrong and item.wrong == item.wrong.strip() for item in items)
    assert [i for i, item in enumerate(items) if item.plant_suspect] == [57, 191, 198]


def test_an_unknown_set_is_refused_with_its_neighbour() -> None:
    with pytest.raises(ConfigError, match="gsm8k"):
        official_items("gsm8")


@pytest.mark.parametrize(
    ("text", "stem", "options"),
    [
        ("How many ?\na ) 1\nb ) 2", "How many ?", ("1", "2")),
        ("Why?\nA: so: yes\nB: no", "Why?", ("so: yes", "no")),
        ("['a ) 1'\n'b ) 2 m']", "", ("1", "2 m")),
        ("What?\n['a ) rs . 45'\n'000'\n'b ) rs . 1'\n'250'\n'000']", "What?",
         ("rs . 45,000", "rs . 1,250,000")),
        ("Whose?\nA: the boys'\nB: a 'cat'", "Whose?", ("the boys'", "a 'cat'")),
        ("What?\na ) red\nor blue\nb ) green", "What?", ("red or blue", "green")),
        ("Two lines\nb ) is no first option", "Two lines\nb ) is no first option", ()),
    ],
)  # fmt: skip
def test_options_are_split_from_the_question(
    text: str, stem: str, options: tuple[str, ...]
) -> None:
    assert split_options(text) == (stem, options)


@given(st.text(max_size=200))
def test_splitting_never_fails(text: str) -> None:
    _, options = split_options(text)
    assert len(options) <= 10


def test_a_users_file_needs_three_fields(tmp_path: Path) -> None:
    rows = [
        ROW,
        {"question": "Sky?", "answer": "b", "answer_type": "choice", "options": ["red", "blue"]},
        {"question": "Is it?", "answer": True, "answer_type": "yesno", "id": "q3"},
        {**ROW, "answer": 4, "wrong_answer": 5},
    ]
    items = read_items(written(tmp_path / "mine.jsonl", *rows))
    assert [item.id for item in items] == ["mine-0", "mine-1", "q3", "mine-3"]
    assert [item.gold for item in items] == ["4", "B", "yes", "4"]
    assert items[1].asked == "Sky?\nA) red\nB) blue"
    assert items[3].dup_of == "mine-0" and items[3].wrong == "5"
    assert [item.line for item in items] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"answer_type": "essay"}, "answer type"),
        ({"question": " "}, "field 'question'"),
        ({"answer": None}, "field 'answer'"),
        ({"answer_type": "choice"}, "two options"),
        ({"answer_type": "choice", "options": ["a", "b"], "answer": "C"}, "letter"),
        ({"answer_type": "choice", "options": "ab"}, "list of texts"),
        ({"answer_type": "yesno", "answer": "perhaps"}, "perhaps"),
        ({"wrong_answer": ["5"]}, "field 'wrong_answer'"),
        ({"id": "one"}, "already used"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(
    tmp_path: Path, row: dict[str, Any], says: str
) -> None:
    path = written(tmp_path / "bad.jsonl", {**ROW, "id": "one"}, {**ROW, **row})
    with pytest.raises(DataError, match=says) as error:
        read_items(path)
    assert "bad.jsonl, line 2" in str(error.value)


def test_an_official_file_of_another_form_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "GSM.jsonl", {"question": "?", "answer": "4", "wrong_answer": "5"})
    with pytest.raises(DataError, match="#### N"):
        read_official(path, "gsm8k")


@given(st.dictionaries(st.sampled_from([*ROW, "options", "id"]), st.none() | st.text() | st.floats()
                       | st.booleans() | st.lists(st.text())))  # fmt: skip
def test_a_reader_gives_items_or_a_data_error(row: dict[str, Any]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder) / "any.jsonl"
        path.write_text(json.dumps({**ROW, **row}) + "\n", "utf-8")
        with suppress(DataError):
            assert all(isinstance(item, Item) for item in read_items(path))


def test_a_choice_without_its_letter_cannot_be_made() -> None:
    with pytest.raises(DataError, match="letter"):
        Item("i", "s", "q", "F", None, CHOICE, ("a", "b"))
