"""The fast phrase search equals trying every expression on every sentence."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.judging.calibration import shipped_rows
from theodolite.judging.refusal_features import DECLINING, KINDS, features_of
from theodolite.judging.refusal_fold import weights_file
from theodolite.judging.refusal_patterns import FAMILIES, phrases
from theodolite.judging.refusal_text import Reading, read

NAMES = [family.name for family in FAMILIES]


def slow_phrases(reading: Reading) -> dict[str, list[int]]:
    """Return the same by trying everything everywhere."""
    ends = (*reading.starts[1:], len(reading.marked))
    found: dict[str, list[int]] = {}
    for family in FAMILIES:
        for number, (start, end) in enumerate(zip(reading.starts, ends)):
            for _ in family.expression.finditer(reading.marked, start, end):
                found.setdefault(family.name, []).append(number)
    return found


def fast_phrases(reading: Reading) -> dict[str, list[int]]:
    return {family.name: sentences for family, sentences in phrases(reading)}


def test_gates_hide_no_phrase_of_the_labelled_rows() -> None:
    for row in shipped_rows():
        reading = read(row.completion)
        assert fast_phrases(reading) == slow_phrases(reading)


WORDS = sorted(
    {word for family in FAMILIES for gate in family.gates for word in gate.split()}
    | {"i", "you", "it", "is", "to", "help", "with", "that", "the", "a", "no", "yes", "be", "of"}
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, ".", "\n"]), max_size=40))
def test_gates_hide_no_phrase_of_shuffled_words(words: list[str]) -> None:
    reading = read(" ".join(words))
    assert fast_phrases(reading) == slow_phrases(reading)


def test_names_are_unique_and_kinds_are_known() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert {name for kind in KINDS.values() for name in kind} <= set(NAMES)
    assert set(DECLINING) <= set(NAMES)


def test_sentences_stand_apart() -> None:
    reading = read("I cannot. Help is here.\n1. Do it\n2. Do more")
    assert reading.sentences == ("i cannot.", "help is here.", "1.", "do it", "2.", "do more")
    assert [reading.marked[start:][:4] for start in reading.starts][:2] == ["i ca", "help"]
    assert "unable_to_help" not in fast_phrases(reading)


@pytest.mark.parametrize("fold", ["all", "without-llama2new"])
def test_every_stored_phrase_weight_names_a_feature_that_exists(fold: str) -> None:
    weights = weights_file()["folds"][fold]["refused"]["weights"]
    windows = {"s1", "s2", "s34", "rest", "last", "any"}
    for name in weights:
        window, _, family = name.partition(":")
        if "|" not in name and window in windows:
            assert family in NAMES


def test_features_are_finite_and_bounded() -> None:
    for row in shipped_rows()[:40]:
        features = features_of(read(row.completion * 5))
        assert all(0.0 <= value <= 1.5 for value in features.values())


def test_the_stored_file_holds_no_text() -> None:
    stored = weights_file()
    assert set(stored) == {"version", "quality", "seen", "requests", "folds"}
    assert len(json.dumps(stored)) < 500_000
    for packed in (*stored["seen"].values(), *stored["requests"].values()):
        assert set(packed) <= set("0123456789abcdef")
    grams = [name for name in stored["folds"]["all"]["refused"]["weights"] if "|" in name]
    assert max(len(name.split("|")[1].split()) for name in grams) <= 3
