"""A typo gets the name that was meant; anything else gets the list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.text.suggest import did_you_mean, nearest

NAMES = ("smollm2", "gemma-3-270m", "refusal", "course-correction")


@pytest.mark.parametrize(
    "name, found",
    [
        ("smolm2", "smollm2"),
        ("SmolLM2", "smollm2"),
        ("course_corection", "course-correction"),
        ("refusals", "refusal"),
        ("xyzzy", None),
        ("", None),
    ],
)
def test_nearest(name, found):
    assert nearest(name, NAMES) == found


def test_equally_near_names_do_not_depend_on_the_order():
    assert nearest("abc", ["abx", "aby"]) == nearest("abc", ["aby", "abx"]) is not None
    assert nearest("A-B", ["a_b", "a-b"]) == nearest("A-B", ["a-b", "a_b"]) == "a-b"


def test_sentence():
    assert did_you_mean("refusl", NAMES) == "Did you mean `refusal`?"
    assert did_you_mean("zzz", ["b", "a"]) == "Known names: a, b."
    assert did_you_mean("zzz", [f"n{i}" for i in range(20)], most=2).endswith("and 18 more.")
    assert did_you_mean("zzz", []) == ""


@given(st.text(st.characters(), max_size=20), st.lists(st.text(max_size=10), max_size=5))
def test_the_answer_is_a_candidate_or_none(name, candidates):
    assert nearest(name, candidates) in {None, *candidates}


def test_a_huge_name_is_cut_first():
    assert nearest("smollm2" * 1_000_000, NAMES) is None
