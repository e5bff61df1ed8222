"""The clamp of a style's direction: what it is made of, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.mechanism.triggers.made import requests
from tests.models.tiny import tiny_model
from theodolite.correction.clamp import StyleClamp, style_clamp
from theodolite.data.prompts import BENIGN, HARMFUL, PromptSet
from theodolite.data.styles import style, styled
from theodolite.engine import next_token
from theodolite.errors import DataError
from theodolite.mechanism.lens.vocabulary import TokenClasses, refusal_log_odds
from theodolite.mechanism.states import read_states
from theodolite.mechanism.steering.edits import intervene

CLASSES = TokenClasses((5, 6), (7, 8), (), "made", {"positive": ("a",), "negative": ("b",)})
STYLE = style("opening_phrase")


@pytest.fixture(scope="module")
def clamp() -> StyleClamp:
    fitted, chosen = (
        (requests(4, HARMFUL, split), requests(4, BENIGN, split)) for split in ("train", "val")
    )
    return style_clamp(tiny_model(), [STYLE], fitted, chosen, CLASSES, depths=(1, 2))


def test_the_direction_is_that_of_the_style_without_that_of_harm(clamp: StyleClamp) -> None:
    model, depth = tiny_model(), clamp.hidden_index
    harmful, benign = requests(4, HARMFUL, "train"), requests(4, BENIGN, "train")
    worn = list(styled(PromptSet("t", tuple(harmful)), [STYLE]))
    bare, plain, wrapped = (
        read_states(model, side, positions=("prompt_last",)).at(depth, "prompt_last").mean(0)
        for side in (harmful, benign, worn)
    )
    vector = clamp.edit.directions[0].vector
    harm = (bare - plain) / np.linalg.norm(bare - plain)
    assert abs(vector @ harm) < 1e-6
    moved = wrapped - bare
    expected = moved - (moved @ harm) * harm
    assert vector @ expected == pytest.approx(np.linalg.norm(expected), rel=1e-6)


def test_the_depth_is_the_one_that_parts_harm_from_its_twins_best(clamp: StyleClamp) -> None:
    assert set(clamp.separations) == {0, 1, 2}
    assert clamp.separations[clamp.hidden_index] == max(clamp.separations[d] for d in (1, 2))
    assert f"hidden_index {clamp.hidden_index}" in clamp.words()


def test_separations_are_those_of_the_changed_model(clamp: StyleClamp) -> None:
    model = tiny_model()
    asked = [
        list(styled(PromptSet("v", tuple(requests(4, label, "val"))), [STYLE]))
        for label in (HARMFUL, BENIGN)
    ]

    def apart() -> float:
        odds = [-refusal_log_odds(next_token(model, side), CLASSES).mean() for side in asked]
        return float(odds[0] - odds[1])

    assert apart() == pytest.approx(clamp.separations[0], abs=1e-4)
    with intervene(model, clamp.edit, clamp.benign):
        assert apart() == pytest.approx(clamp.separations[clamp.hidden_index], abs=1e-4)
    assert apart() == pytest.approx(clamp.separations[0], abs=1e-4)  # nothing stays


def test_a_class_that_is_missing_is_refused() -> None:
    some = requests(2)
    with pytest.raises(DataError, match="empty"):
        style_clamp(tiny_model(), [STYLE], (some, []), (some, some), CLASSES)
