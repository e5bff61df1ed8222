"""Whatever bytes a file holds, a reader answers with prompts or with one DataError."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theodolite.data.prompts import PromptSet
from theodolite.data.readers import read_prompts
from theodolite.data.records import FORMATS
from theodolite.data.responses import ResponseSet, read_responses
from theodolite.errors import DataError

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = [
    "prompt",
    "text",
    "id",
    "label",
    "split",
    "messages",
    "meta",
    "completion",
    "sample",
    "type",
]
near_rows = st.lists(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=5), max_size=4)


def answers_or_refuses(path: Path) -> None:
    for read, kind in ((read_prompts, PromptSet), (read_responses, ResponseSet)):
        try:
            found = read(path)
        except DataError as error:
            assert path.name in str(error)
            assert str(error).isprintable()
        else:
            assert isinstance(found, kind) and len(found) > 0
            if isinstance(found, PromptSet):
                assert len(found.fingerprint) == 32
                again = read_prompts(found.write(path.with_name("again.jsonl")))
                assert [p.request for p in again] == [p.request for p in found] or found[0].messages


@pytest.mark.parametrize("ending", FORMATS)
@given(data=st.binary(max_size=200))
@FUZZ
def test_any_bytes(ending, data, tmp_path) -> None:
    path = tmp_path / f"any{ending}"
    path.write_bytes(data)
    answers_or_refuses(path)


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".txt"])
@given(text=st.text(alphabet='{}[]":,\\u\td8prompt id\n\r\ufeff0', max_size=120))
@FUZZ
def test_nearly_valid_text(ending, text, tmp_path) -> None:
    path = tmp_path / f"text{ending}"
    path.write_bytes(("prompt,id\n" * (ending == ".csv") + text).encode("utf-8"))
    answers_or_refuses(path)


@given(rows=near_rows)
@FUZZ
def test_rows_of_any_values(rows, tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    answers_or_refuses(path)


@given(at=st.integers(0, 600), byte=st.integers(0, 255))
@FUZZ
def test_a_damaged_parquet_file(at, byte, tmp_path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a", "b"], "id": ["1", "2"]}), buffer)
    data = bytearray(buffer.getvalue())
    data[at % len(data)] = byte
    path = tmp_path / "damaged.parquet"
    path.write_bytes(data)
    answers_or_refuses(path)


cells = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30).filter(
    str.strip
)


@given(texts=st.lists(cells, min_size=1, max_size=5))
@FUZZ
def test_csv_and_parquet_give_back_what_was_written(texts, tmp_path) -> None:
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["goal"], *([t] for t in texts)])
    pq.write_table(pa.table({"goal": texts}), tmp_path / "a.parquet")
    assert [p.text for p in read_prompts(tmp_path / "a.csv")] == texts
    assert [p.text for p in read_prompts(tmp_path / "a.parquet")] == texts
