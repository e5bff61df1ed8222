"""Tables, samples and figures on their way to the page: capped, redacted, free of markup."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report import hostile
from theodolite.report.budget import (
    CELL_CHARACTERS,
    ROWS_PER_TABLE,
    TEXT_CHARACTERS,
    TOKENS_PER_MAP,
    Budget,
)
from theodolite.report.figures import (
    Series,
    curve_by_layer,
    heatmap,
    records_of_spec,
    safe_spec,
)
from theodolite.report.samples import sample_record, sample_records
from theodolite.report.tables import data_table
from theodolite.report.token_maps import token_map_record, token_map_records
from theodolite.runs.panel import Sample, TokenMap

SECRET = "an example of a harmful sentence"


def texts(table: object) -> list[list[str]]:
    return [list(row) for row in table.rows]  # type: ignore[attr-defined]


def test_a_table_has_every_column_and_says_what_is_missing() -> None:
    rows = [{"a": 1, "b": None}, {"a": 0.25, "c": True}]
    table = data_table("t", rows, budget=Budget(10_000))
    assert table.columns == ("a", "b", "c")
    assert texts(table) == [["1", "–", "–"], ["0.25", "–", "yes"]]
    assert table.left_out == ""


def test_tables_are_capped_in_rows_columns_cells_and_bytes() -> None:
    long = data_table("t", [{"a": i} for i in range(5_000)], budget=Budget(10**6))
    assert len(long.rows) == ROWS_PER_TABLE
    assert long.left_out.startswith(f"The first {ROWS_PER_TABLE} of 5000 rows are shown.")
    wide = data_table("t", [{str(i): i for i in range(100)}], budget=Budget(10**6))
    assert "of 100 columns" in wide.left_out
    fat = data_table("t", [{"a": "x" * 10_000}], budget=Budget(10**6))
    assert len(fat.rows[0][0]) == CELL_CHARACTERS
    starved = data_table("t", [{"a": "<" * 100}] * 10, budget=Budget(1_000))
    assert 0 < len(starved.rows) < 10


def test_columns_of_raw_text_are_hidden_unless_asked_for() -> None:
    rows = [{"id": "x", "Prompt": SECRET}]
    hidden = data_table("t", rows, budget=Budget(10_000))
    shown = data_table("t", rows, budget=Budget(10_000), show_text=True)
    assert texts(hidden) == [["x", f"hidden, {len(SECRET)} characters"]]
    assert texts(shown) == [["x", SECRET]]


def test_numbers_beyond_floats_do_not_stop_a_table() -> None:
    rows = [{"a": 10**400, "b": math.inf, "c": math.nan, "used_seconds": 75}]
    table = data_table("t", rows, budget=Budget(10_000))
    assert texts(table) == [["10^400", "–", "–", "1 min 15 s"]]


def test_numeric_columns_are_known_and_durations_lose_their_suffix() -> None:
    rows = [{"a": None, "b": "x", "used_seconds": 1}, {"a": np.float32(0.25), "b": 2}]
    table = data_table("t", rows, budget=Budget(10_000))
    assert table.columns == ("a", "b", "used")
    assert table.numeric == (True, False, True)
    assert texts(table)[1] == ["0.25", "2", "–"]


def test_a_harmful_sample_keeps_its_text_to_itself() -> None:
    meta = {"note": f"it said {SECRET}", "style": "role-play", "confidence": 0.5, "ok": False}
    sample = Sample("s1", "refusal", True, SECRET, SECRET.upper(), meta)
    record = sample_record(sample, show_text=False)
    assert "harmful sentence" not in json.dumps(record).lower()
    assert record["hidden"]["prompt"] == len(SECRET)
    assert len(record["hidden"]["hash"]) == 10
    assert record["facts"] == [["style", "role-play"], ["confidence", "0.5"], ["ok", "no"]]
    assert sample_record(sample, show_text=True)["prompt"] == SECRET


def test_equal_samples_have_equal_hashes_and_others_do_not() -> None:
    def short(prompt: str) -> str:
        sample = Sample("i", "l", True, prompt, "", {})
        return str(sample_record(sample, show_text=False)["hidden"]["hash"])

    assert short("a") == short("a") != short("b")


def test_sample_text_is_escaped_cut_and_keeps_its_lines() -> None:
    sample = Sample("s", "l", False, "two\nlines\x00", "y" * 50_000, {})
    record = sample_record(sample, show_text=False)
    assert record["prompt"] == "two\nlines\\u0000"
    assert record["completion"].endswith("[50000 characters in all]")
    assert len(record["completion"]) < TEXT_CHARACTERS + 50


def test_samples_stop_at_the_budget_and_the_rest_is_counted() -> None:
    many = [Sample(str(i), "l", False, "p" * 500, "c" * 500, {}) for i in range(50)]
    records, left_out = sample_records(many, show_text=False, budget=Budget(20_000))
    assert 0 < len(records) < 50
    assert len(records) + left_out == 50


def one_map(**changes: object) -> TokenMap:
    fields: dict[str, object] = {
        "id": "m",
        "label": "L3-C1",
        "harmful": True,
        "about": "relevance",
        "tokens": ["<s>", " steal", "\u202e", "\n"],
        "values": [9.0, 0.12345, -2.0, math.nan],
        "template": [True, False, False, False],
        "meta": {"note": f"it said {SECRET}", "leak": 0.5},
    }
    return TokenMap(**(fields | changes))  # type: ignore[arg-type]


def test_a_harmful_token_map_has_places_and_numbers_but_no_words() -> None:
    record = token_map_record(one_map(), show_text=False)
    assert record["tokens"] == [["<s>", 9.0, 1], [None, 0.123, 0], [None, -2.0, 0], [None, None, 0]]
    assert record["facts"] == [["leak", "0.5"]] and record["hidden"]
    assert "steal" not in json.dumps(record)
    # The template's tokens do not set the scale.
    assert record["scale"] == 2.0


def test_a_token_map_that_may_be_shown_is_escaped() -> None:
    record = token_map_record(one_map(), show_text=True)
    assert [token[0] for token in record["tokens"]] == ["<s>", " steal", "\\u202e", "\\n"]
    harmless = token_map_record(one_map(harmful=False), show_text=False)
    assert harmless["tokens"] == record["tokens"] and not harmless["hidden"]
    alone = token_map_record(one_map(template=[True] * 4), show_text=False)
    assert alone["scale"] == 9.0


def test_long_and_many_token_maps_are_cut_and_counted() -> None:
    size = TOKENS_PER_MAP + 7
    long = one_map(tokens=["a"] * size, values=[1.0] * size, template=[False] * size)
    record = token_map_record(long, show_text=True)
    assert (record["start"], record["count"], len(record["tokens"])) == (7, size, TOKENS_PER_MAP)
    records, left_out = token_map_records([long] * 9, show_text=True, budget=Budget(20_000))
    assert 0 < len(records) < 9 and len(records) + left_out == 9


def test_a_hostile_spec_loses_markup_and_what_fetches() -> None:
    safe, refusal = safe_spec(hostile.spec())
    assert refusal == ""
    text = json.dumps(safe, allow_nan=False, ensure_ascii=False)
    for bad in ("<script", "<img", "<a ", "<svg", "<iframe", "images", "updatemenus", "\u202e"):
        assert bad not in text
    assert "<b>bold</b>" in text


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"data": []}, "holds no data"),
        ({}, "holds no data"),
        ({"data": "x"}, "holds no data"),
        ({"data": [3]}, "not a Plotly figure"),
        ({"data": [{"type": "scattergl"}]}, "type scattergl are not drawn"),
        ({"data": [{"type": "choropleth"}, {"y": [1]}]}, "type choropleth"),
        ({"data": [{"y": list(range(400_000))}]}, "keep the report small"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_reason(spec: dict[str, object], words: str) -> None:
    safe, refusal = safe_spec(spec)
    assert safe == {}
    assert words in refusal


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_like = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=60)
@given(json_like)
def test_any_value_in_a_spec_becomes_strict_json(value: object) -> None:
    safe, _ = safe_spec({"data": [{"y": value}], "layout": {"meta": value}})
    json.dumps(safe, allow_nan=False).encode("utf-8")


def test_a_figure_without_table_gets_one_from_its_spec() -> None:
    series = [Series("a", [0, 1], [0.5, None], [0.4, None], [0.6, None])]
    rows = records_of_spec(curve_by_layer(series, y_title="accuracy"))
    assert rows == [{"series": "a", "x": 0, "y": 0.5}, {"series": "a", "x": 1, "y": None}]
    cells = heatmap([[1.0, 2.0]], x=["u", "v"], y=["w"], x_title="x", y_title="y", value_title="z")
    assert records_of_spec(cells) == [{"": "w", "u": 1.0, "v": 2.0}]
    assert records_of_spec({"data": ["x", {"y": 3}]}) == []
