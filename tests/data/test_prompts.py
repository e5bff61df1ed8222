"""Prompt and PromptSet: JSON round trip, refusals, choosing rows."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.data.aliases import LABELS
from theodolite.data.prompts import FIELDS, Message, Prompt, PromptSet
from theodolite.data.readers import read_prompts
from theodolite.errors import DataError

words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40).filter(
    str.strip
)
tags = st.none() | words
plain_json = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | words
metas = st.dictionaries(words, plain_json | st.lists(plain_json, max_size=3), max_size=3)
turns = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), words, metas)


@st.composite
def prompts(draw: st.DrawFn, number: int = 0) -> Prompt:
    chat = draw(st.booleans())
    return Prompt(
        id=f"{number}-{draw(words)}",
        text=None if chat else draw(words),
        messages=tuple(draw(st.lists(turns, min_size=1, max_size=3))) if chat else None,
        label=draw(tags),
        style=draw(tags),
        goal_id=draw(tags),
        pair_id=draw(tags),
        source=draw(tags),
        category=draw(tags),
        split=draw(st.sampled_from([None, "train", "val", "test"])),
        language=draw(tags),
        meta=draw(metas),
    )


def three() -> PromptSet:
    rows = [
        Prompt("a", "One?", label="harmful", pair_id="p", split="test"),
        Prompt("b", "Two?", label="benign", pair_id="p", split="test"),
        Prompt("c", "Two?", label="benign", pair_id="q", split="train"),
    ]
    return PromptSet("three", tuple(rows), "here")


@given(prompts())
@settings(max_examples=60, deadline=None)
def test_a_prompt_survives_json(prompt: Prompt) -> None:
    record = json.loads(json.dumps(prompt.to_json()))
    assert Prompt.from_json(record) == prompt
    assert isinstance(hash(prompt), int)


@given(rows=st.integers(1, 4).flatmap(lambda n: st.tuples(*(prompts(i) for i in range(n)))))
@settings(max_examples=30, deadline=None)
def test_write_then_read_gives_the_same_rows(rows, tmp_path_factory) -> None:
    # A file names its source and translates "safe" and "unsafe"; all else must come back as it was.
    rows = [replace(p, source=p.source or "mine", label=LABELS.get(p.label, p.label)) for p in rows]
    original = PromptSet("kept", tuple(rows))
    again = read_prompts(original.write(tmp_path_factory.mktemp("w") / "kept.jsonl"))
    assert again.prompts == original.prompts
    assert again.fingerprint == original.fingerprint


def test_reading_adds_the_file_stem_as_source(tmp_path) -> None:
    path = PromptSet("s", (Prompt("a", "Why?"),)).write(tmp_path / "stem.jsonl")
    assert read_prompts(path)["a"] == Prompt("a", "Why?", source="stem")


def test_unset_fields_and_pickle() -> None:
    prompt = Prompt("a", "Hello?")
    assert prompt.to_json() == {"id": "a", "text": "Hello?"}
    assert pickle.loads(pickle.dumps(three())) == three()


def test_as_messages() -> None:
    assert Prompt("a", "Hi").as_messages() == [{"role": "user", "content": "Hi"}]
    chat = Prompt(
        "b",
        messages=(
            Message("user", "First", {"theodolite": "context"}),
            Message("assistant", ""),
            Message("user", "Last"),
        ),
    )
    assert chat.request == "Last"
    assert chat.as_messages()[0] == {
        "role": "user",
        "content": "First",
        "metadata": {"theodolite": "context"},
    }
    assert chat.as_messages()[2] == {"role": "user", "content": "Last"}


@pytest.mark.parametrize(
    ("values", "words_in_message"),
    [
        ({"id": "a"}, "text or messages"),
        ({"id": "a", "text": "x", "messages": (Message("user", "x"),)}, "not both"),
        ({"id": "a", "text": " \n"}, "'text' is empty"),
        ({"id": "a", "messages": ()}, "'messages' is empty"),
        ({"id": " ", "text": "x"}, "'id' is empty"),
        ({"id": 3, "text": "x"}, "'id' must be text, not int"),
        ({"id": "a", "text": 3}, "'text' must be text"),
        ({"id": "a", "text": "x\ud800"}, "surrogate pair at character 1"),
        ({"id": "a", "text": "x", "label": 1}, "'label' must be text"),
        ({"id": "a", "text": "x", "split": "dev"}, "Use train, val, test"),
    ],
)
def test_a_wrong_prompt_is_refused(values, words_in_message) -> None:
    with pytest.raises(DataError, match=words_in_message):
        Prompt(**values)


@pytest.mark.parametrize(
    ("record", "words_in_message"),
    [
        ({"id": "a", "txt": "x"}, "'txt' is unknown. Did you mean 'text'"),
        ({"text": "x"}, "'id' is missing"),
        ({"id": "a", "messages": "hello"}, "list of turns"),
        ({"id": "a", "messages": [{"role": "user"}]}, "role and content"),
        ({"id": "a", "messages": [{"role": "robot", "content": "x"}]}, "'robot' is unknown"),
        ({"id": "a", "text": "x", "meta": [1]}, "'meta' must be an object"),
    ],
)
def test_a_wrong_record_is_refused(record, words_in_message) -> None:
    with pytest.raises(DataError, match=words_in_message):
        Prompt.from_json(record)


def test_an_empty_set_and_repeated_ids_are_refused() -> None:
    with pytest.raises(DataError, match="'none' is empty"):
        PromptSet("none", ())
    with pytest.raises(
        DataError, match="Row 2 of the prompt set 'twice' repeats the id 'a' of row 0"
    ):
        PromptSet("twice", (Prompt("a", "x"), Prompt("b", "x"), Prompt("a", "y")))


def test_access() -> None:
    rows = three()
    assert len(rows) == 3 and rows.ids == ("a", "b", "c")
    assert rows[0] is rows["a"] and list(rows)[-1].id == "c"
    assert rows.values("pair_id") == ("p", "q")
    with pytest.raises(DataError, match="no prompt 'z'"):
        rows["z"]


def test_filter_and_split() -> None:
    rows = three()
    assert rows.filter(label="benign").ids == ("b", "c")
    assert rows.filter(label="benign", split={"test", "val"}).ids == ("b",)
    assert rows.filter(lambda p: p.text == "One?").ids == ("a",)
    assert rows.filter(style=None).ids == ("a", "b", "c")
    assert rows.split("train").ids == ("c",)
    assert rows.split("test").source == "here"
    with pytest.raises(DataError, match="harmful, benign"):
        rows.filter(label="harmfull")
    with pytest.raises(DataError, match="Did you mean 'label'"):
        rows.filter(lable="harmful")
    with pytest.raises(DataError, match="Did you mean 'train'"):
        rows.split("trains")
    with pytest.raises(DataError, match="No prompt of 'three'"):
        rows.split("val")


def test_distinct_keeps_the_first_of_equal_requests() -> None:
    assert three().distinct().ids == ("a", "b")


def test_sample_is_nested_keeps_order_and_keeps_twins_together() -> None:
    rows = PromptSet("many", tuple(Prompt(f"{i:02}", "x", pair_id=str(i // 2)) for i in range(40)))
    small, large = rows.sample(3, seed=7, by="pair_id"), rows.sample(8, seed=7, by="pair_id")
    assert len(small) == 6 and len(large) == 16
    assert set(small.ids) < set(large.ids)
    assert list(small.ids) == sorted(small.ids)
    assert rows.sample(3, seed=8, by="pair_id").ids != small.ids
    assert rows.sample(99, seed=7).ids == rows.ids


def test_the_fingerprint_depends_on_rows_and_order_only() -> None:
    rows = three()
    assert PromptSet("other", rows.prompts, "there").fingerprint == rows.fingerprint
    assert rows.derive(reversed(rows.prompts)).fingerprint != rows.fingerprint
    assert rows.filter(split="test").fingerprint != rows.fingerprint


def test_hostile_names_are_escaped_in_messages() -> None:
    with pytest.raises(DataError) as caught:
        PromptSet("n\u202e\x1b[31m", ())
    assert "\x1b" not in str(caught.value) and "\\u202e" in str(caught.value)


def test_every_field_has_a_place_in_the_record() -> None:
    full = Prompt(**dict.fromkeys(set(FIELDS) - {"messages", "meta", "split"}, "x"), split="val")
    assert set(full.to_json()) == set(FIELDS) - {"messages", "meta"}
