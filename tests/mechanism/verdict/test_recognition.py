"""From requests to the verdict: what is judged is of other goals than what was fitted."""

from __future__ import annotations

import pytest

from tests.models.tiny import tiny_model
from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet
from theodolite.data.styles import styled
from theodolite.errors import DataError
from theodolite.mechanism.lens.token_classes import read_token_classes
from theodolite.mechanism.reader import Reader
from theodolite.mechanism.requests import TEST, TRAIN, read_requests
from theodolite.mechanism.verdict.recognition import of_other_goals, recognise
from theodolite.text.hashing import content_key


def bare(label: str, first: int, count: int, **fields: str) -> list[Prompt]:
    """Return requests whose words have nothing in common."""
    return [
        Prompt(f"{label}-{i}", text=content_key(label, i), label=label, **fields)
        for i in range(first, first + count)
    ]


@pytest.mark.parametrize("goal", [None, "goal-{}"])
def test_wrapped_requests_of_train_goals_are_not_judged(goal: str | None) -> None:
    """All requests come wrapped; half of their goals were fitted on, named by goal or by id."""
    parts = []
    for first in (0, 6):
        sides = [bare(HARMFUL, first, 6), bare(BENIGN, first, 6)]
        if goal is not None:
            sides = [
                [Prompt(p.id, text=p.text, label=p.label, goal_id=goal.format(p.id)) for p in side]
                for side in sides
            ]
        parts.append((sides[0], sides[1]))
    train, test = parts
    every = [p for part in parts for side in part for p in side]
    wrapped = list(styled(PromptSet("all", tuple(every)), ["nested_story", "quiz"]))
    found = of_other_goals(train, test, wrapped)
    known = {p.goal_id or p.id for side in train for p in side}
    assert not known & {p.goal_id or p.id for p in found.prompts}
    assert len(found) == 12 + 2 * 12
    assert found.classes == (BENIGN, HARMFUL)


def test_nothing_of_the_bundled_set_is_lost() -> None:
    requests = read_requests(None, None)
    test = requests.part(TEST)
    both = PromptSet("test", tuple(p for side in test for p in side))
    wrapped = list(styled(both))
    found = of_other_goals(requests.part(TRAIN), test, wrapped)
    assert len(found) == len(both) + len(wrapped)


@pytest.mark.parametrize(
    ("empty", "says"),
    [(0, "harmful request is left to fit on"), (3, "benign request is left to look at")],
)
def test_a_side_without_requests_is_named(empty: int, says: str) -> None:
    sides = [bare(HARMFUL, 0, 4), bare(BENIGN, 0, 4), bare(HARMFUL, 4, 4), bare(BENIGN, 4, 4)]
    sides[empty] = []
    model = tiny_model("llama")
    tokens = read_token_classes({"positive": ["a"], "negative": ["o"]}, model)
    with pytest.raises(DataError, match=says):
        recognise(
            Reader(model), (sides[0], sides[1]), (sides[2], sides[3]), [], tokens=tokens, seed=0
        )


def test_a_case_per_request_of_other_goals() -> None:
    rows = [p for p in bundled("refusal") if p.split != "val"]
    harmful, benign = ([p for p in rows if p.label == name][:16] for name in (HARMFUL, BENIGN))
    train, test = (harmful[:8], benign[:8]), (harmful[8:], benign[8:])
    wrapped = list(styled(PromptSet("all", (*harmful, *benign)), ["nested_story"]))
    model = tiny_model("llama")
    tokens = read_token_classes({"positive": ["a"], "negative": ["o"]}, model)
    found = recognise(Reader(model), train, test, wrapped, tokens=tokens, max_new_tokens=2, seed=0)
    assert len(found.result.cases) == 32
    assert not {p.pair_id for p in found.asked} & {p.pair_id for p in found.items.prompts}
