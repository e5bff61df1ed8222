"""Wrappers of the user's own: what a file may hold, and the one sentence where it holds more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.data.prompts import Prompt, PromptSet
from theodolite.data.styles import STYLES, style, style_names, styled, with_own
from theodolite.data.wrappers import read_wrappers, wrapper_rows, wrappers_of
from theodolite.errors import DataError

TOML = """\
[[wrapper]]
name = "letter"
template = "Dear editor, {request} Yours."
family = "editorial"

[[wrapper]]
name = "radio"
template = "On the air: {request}"
"""


def written(folder: Path, text: str, name: str = "own.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_toml_and_json_lines_hold_the_same_wrappers(tmp_path: Path) -> None:
    found = read_wrappers(written(tmp_path, TOML))
    assert [(each.name, each.family, each.kind) for each in found] == [
        ("letter", "editorial", "benchmark"),
        ("radio", "own", "benchmark"),
    ]
    assert found[1].wrap("Bake {bread}.") == "On the air: Bake {bread}."
    lines = "\n".join(json.dumps(row) for row in wrapper_rows(found))
    assert read_wrappers(written(tmp_path, lines, "own.jsonl")) == found
    assert wrappers_of(wrapper_rows(found), tmp_path) == found
    assert read_wrappers(None) == ()


def test_own_wrappers_are_named_beside_the_listed_ones(tmp_path: Path) -> None:
    own = read_wrappers(written(tmp_path, TOML))
    assert style("radio", own) is own[1] and style("quiz", own).kind == "held_out"
    assert style_names("quiz,radio", own) == ["quiz", "radio"]
    assert [each.name for each in with_own("radio,quiz", own)] == ["radio", "quiz", "letter"]
    assert "letter" not in style_names("all", own)
    with pytest.raises(DataError, match="letter"):
        style("leter", own)
    with pytest.raises(DataError, match="unknown"):
        style_names("radio")
    bare = PromptSet("goals", (Prompt("p", text="Bake it."),))
    assert [p.request for p in styled(bare, own)][1] == "On the air: Bake it."


WRONG = {
    "no slot": ('{"name": "a", "template": "x"}', "occurs 0 times"),
    "two slots": ('{"name": "a", "template": "{request}{request}"}', "occurs 2 times"),
    "slot alone": ('{"name": "a", "template": " {request} "}', "adds no words"),
    "too long": (json.dumps({"name": "a", "template": "x" * 20_001 + "{request}"}), "more than"),
    "listed": ('{"name": "quiz", "template": "x {request}"}', "listed style"),
    "a group": ('{"name": "all", "template": "x {request}"}', "listed style"),
    "no word": ('{"name": "a,b", "template": "x {request}"}', "plain word"),
    "no family": ('{"name": "a", "template": "x {request}", "family": "a b"}', "plain word"),
    "no name": ('{"template": "x {request}"}', "missing"),
    "no template": ('{"name": "a"}', "missing"),
    "no text": ('{"name": 3, "template": "x {request}"}', "must be text"),
    "misspelt": ('{"name": "a", "templat": "x {request}"}', "'template'"),
    "twice": ('{"name": "a", "template": "x {request}"}\n' * 2, "used twice"),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG.keys())
def test_bad_wrappers_are_one_sentence_with_file_and_line(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        read_wrappers(written(tmp_path, text, "own.jsonl"))
    assert "own.jsonl" in caught.value.message and "line" in caught.value.message


@pytest.mark.parametrize(
    "text", ["x = ", "a = 1", "wrapper = 3", "wrapper = []", "wrapper = [1]", TOML + "\n[more]\n"]
)
def test_bad_toml_is_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"own\.toml"):
        read_wrappers(written(tmp_path, text))


@given(st.text(max_size=80), st.sampled_from(["own.toml", "own.jsonl", "own.json", "own.csv"]))
def test_no_text_crashes_the_reader(
    tmp_path_factory: pytest.TempPathFactory, text: str, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert len({each.name for each in read_wrappers(path)} & {s.name for s in STYLES}) == 0
    except DataError as error:
        assert "\n" not in error.message
