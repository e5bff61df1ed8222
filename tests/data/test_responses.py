"""Completions made elsewhere: read, matched with prompts, and refused with file, line and field."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from theodolite.data.prompts import Prompt, PromptSet
from theodolite.data.responses import Response, ResponseSet, read_responses
from theodolite.errors import DataError

OFFICIAL = os.environ.get("THEODOLITE_DATA")


def read(folder: Path, *rows: object) -> ResponseSet:
    path = folder / "r.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return read_responses(path)


def test_the_smallest_and_the_fullest_row(tmp_path) -> None:
    full = {
        "id": 7,
        "prompt": "Why?",
        "completion": "Because.",
        "sample": 2,
        "model": "m",
        "label": "compliance",
        "annotator_1": "compliance",
        "annotator_2": "refusal",
        "note": "x",
    }
    smallest, fullest = read(tmp_path, {"id": "a", "response": ""}, full)
    assert smallest == Response("a", "")
    assert fullest == Response(
        "7", "Because.", "Why?", 2, "m", "compliance", ("compliance", "refusal"), {"note": "x"}
    )


def test_annotators_as_a_list_and_csv_numbers(tmp_path) -> None:
    assert read(tmp_path, {"id": "a", "completion": "b", "annotators": ["x", 1]})[0].annotators == (
        "x",
        "1",
    )
    path = tmp_path / "r.csv"
    path.write_text("id,output,sample\na,b,1\na,c,\n", encoding="utf-8")
    assert [r.sample for r in read_responses(path)] == [1, 0]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"id": "a"}], "line 1: the field 'completion' is missing (fields: 'id'). Add"),
        ([{"id": "a", "completoin": "x"}], "Rename 'completoin' to 'completion'."),
        ([{"completion": "x"}], "line 1: the field 'id' is missing"),
        ([{"id": "a", "completion": None}], "field 'completion': the value is missing."),
        ([{"id": "a", "completion": 3.5}], "field 'completion': this must be text, not float."),
        ([{"id": [], "completion": "x"}], "field 'id': this must be text, not list."),
        ([{"id": "a", "completion": "x", "sample": -1}], "the sample number '-1' is not a count"),
        ([{"id": "a", "completion": "x", "sample": True}], "the sample number 'True'"),
        ([{"id": "a", "completion": "x", "annotators": "y"}], "this must be a list of labels"),
        (
            [{"id": "a", "completion": "x"}, {"id": "a", "completion": "y"}],
            "line 2: sample 0 of 'a' is already on line 1. Number the completions",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(rows, expected, tmp_path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, *rows)
    assert "r.jsonl, " in str(caught.value) and expected in str(caught.value)


def test_the_same_prompt_by_two_models_is_no_repetition(tmp_path) -> None:
    row = {"id": "a", "completion": "x"}
    assert len(read(tmp_path, row | {"model": "m"}, row | {"model": "n"})) == 2


def test_matching_with_prompts(tmp_path) -> None:
    prompts = PromptSet("s", (Prompt("a", "One?"), Prompt("b", "Two?"), Prompt("c", "Three?")))
    responses = read(
        tmp_path,
        {"id": "a", "completion": "x", "sample": 0},
        {"id": "a", "completion": "y", "sample": 1},
        {"id": "elsewhere-3", "prompt": "Three?", "completion": "z"},
    )
    matched = responses.for_prompts(prompts)
    assert {key: [r.completion for r in found] for key, found in matched.items()} == {
        "a": ["x", "y"],
        "b": [],
        "c": ["z"],
    }


def test_strangers_and_other_wordings_are_refused(tmp_path) -> None:
    prompts = PromptSet("s", (Prompt("alpha", "One?"), Prompt("beta", "Two?"), Prompt("x", "Two?")))
    with pytest.raises(DataError, match=r"'alhpa' .* \(1 of 2 ids .* Did you mean `alpha`"):
        read(
            tmp_path, {"id": "x", "completion": ""}, {"id": "alhpa", "completion": ""}
        ).for_prompts(prompts)
    with pytest.raises(DataError, match="states another prompt"):
        read(tmp_path, {"id": "alpha", "prompt": "Two?", "completion": ""}).for_prompts(prompts)
    with pytest.raises(DataError, match="answers no prompt"):
        read(tmp_path, {"id": "q", "prompt": "Two?", "completion": ""}).for_prompts(prompts)


@pytest.mark.skipif(not OFFICIAL, reason="THEODOLITE_DATA is not set")
@pytest.mark.parametrize("model", ["llama2new", "mistralinstruct"])
def test_official_labelled_completions(model) -> None:
    responses = read_responses(Path(OFFICIAL or "") / f"refusal/xstest_completions_{model}.jsonl")
    assert len(responses) == 450
    assert {r.label for r in responses} <= {"compliance", "partial", "refusal"}
    # All three labels compared; as refusal against compliance both are 0.978.
    agreement = sum(r.annotators[0] == r.annotators[1] for r in responses) / 450
    assert agreement == pytest.approx(
        {"llama2new": 0.958, "mistralinstruct": 0.976}[model], abs=5e-4
    )
    assert {"gpt4_label", "string_match_label", "type"} <= responses[0].meta.keys()
