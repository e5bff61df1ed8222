"""Names: a planted theme is named and predicts new prompts; noise has no name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.mechanism.residual_space.made_styles import STYLES, made_design, made_projections
from tests.models.tiny import tiny_model
from theodolite.measure.measurement import Floor, Measurement
from theodolite.mechanism.lens.vocabulary import shown_token
from theodolite.mechanism.residual_space.naming import (
    NO_THEME,
    Label,
    Naming,
    choose_labels,
    token_pulls,
    validate,
)

TRAIN = made_design(12, STYLES[:3], prefix="train-")
TEST = made_design(12, STYLES, prefix="test-")


def random_of(seed: int = 0) -> dict[int, np.ndarray]:
    """Return random directions that all read styles, as those of language models do."""
    rng = np.random.default_rng(seed)
    by_style = 3.0 * rng.standard_normal((200, len(TRAIN.styles)))
    return {3: by_style[:, TRAIN.style] + rng.standard_normal((200, len(TRAIN)))}


def planted(**what: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the projections of a direction on old and on new prompts."""
    return (
        made_projections(TRAIN, noise=1.0, seed=1, **what),  # type: ignore[arg-type]
        made_projections(TEST, noise=1.0, seed=2, **what),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"harm": 2.0}, "harm"),
        ({"harm": -2.0}, "harmless"),
        ({"styles": {"code": 15.0}}, "mostly: code"),
        ({"styles": {"role_play": -15.0}}, "least: role_play"),
    ],
)
def test_a_planted_theme_is_named_and_predicts(what: dict[str, object], words: str) -> None:
    old, new = planted(**what)
    (label,) = choose_labels(TRAIN, old, [3], random_of())
    assert label.words == words
    (accuracy,) = validate([label], ["L3-C1"], TEST, new, seed=0)
    assert accuracy.value is not None and accuracy.value > 0.8
    assert accuracy.low is not None and accuracy.low > 0.5
    assert accuracy.floor is not None and accuracy.floor.value == 0.5


def test_what_random_directions_read_as_well_is_no_theme() -> None:
    old, new = planted(styles={"code": 2.0})
    (label,) = choose_labels(TRAIN, old, [3], random_of())
    assert label.words == NO_THEME and label.kind is None
    (accuracy,) = validate([label], ["L3-C1"], TEST, new, seed=0)
    assert accuracy.status == "not_measured" and "no clear theme" in str(accuracy.reason)
    # The same contrast is a theme where random directions do not read styles.
    quiet = {3: np.random.default_rng(0).standard_normal((200, len(TRAIN)))}
    assert choose_labels(TRAIN, old, [3], quiet)[0].words == "mostly: code"


def test_random_directions_are_rarely_named() -> None:
    null = random_of(0)
    labels = choose_labels(TRAIN, random_of(1)[3], [3] * 200, null)
    assert np.mean([label.kind is not None for label in labels]) < 0.12


def test_a_label_that_does_not_hold_on_new_prompts_shows_it() -> None:
    old, _ = planted(harm=2.0)
    (label,) = choose_labels(TRAIN, old, [3], random_of())
    (accuracy,) = validate([label], ["x"], TEST, made_projections(TEST, noise=1.0), seed=0)
    assert accuracy.low is not None and accuracy.high is not None
    assert accuracy.low < 0.5 < accuracy.high


def test_a_constant_projection_has_no_theme() -> None:
    (label,) = choose_labels(TRAIN, np.ones((1, len(TRAIN))), [3], random_of())
    assert label.words == NO_THEME


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_tokens_are_those_that_a_step_along_the_vector_raises(family: str) -> None:
    model = tiny_model(family)
    anatomy = model.anatomy
    vectors = np.random.default_rng(0).standard_normal((2, anatomy.d_model))
    raised, lowered = token_pulls(model, vectors, k=3)
    weight = anatomy.lm_head.weight.double()
    with torch.inference_mode():
        for row, vector in enumerate(vectors):
            x = torch.tensor(vector)
            if family == "gpt2":
                normed = (x - x.mean()) / x.std(correction=0) * anatomy.final_norm.weight.double()
            else:
                gain = anatomy.final_norm.weight.double() + (family == "gemma2")
                normed = x * gain
            order = (weight @ normed)[: anatomy.vocab_size].argsort(descending=True).tolist()
            texts = model.tokenizer.batch_decode([[i] for i in order])
            wanted = [shown_token(text, i) for text, i in zip(texts, order)]
            assert list(raised[row]) == wanted[:3]
            assert list(lowered[row]) == wanted[::-1][:3]
    turned = token_pulls(model, -vectors, k=3)
    assert turned == (lowered, raised)


def test_the_frame_has_a_row_per_direction() -> None:
    old, new = planted(harm=2.0)
    labels = choose_labels(TRAIN, old, [3], random_of())
    naming = Naming(
        ("L3-C1",),
        (3,),
        tuple(labels),
        tuple(validate(labels, ["L3-C1"], TEST, new, seed=0)),
        (("yes",),),
        (("no",),),
        {"L3-C1": ("bomb",)},
    )
    (row,) = naming.frame()
    assert row["label"] == "harm" and row["accuracy"] > 0.8 and row["relevant_words"] == "bomb"
    assert row["holds"] == (row["accuracy_low"] is not None)


def test_a_label_that_is_always_right_is_judged_by_its_goals() -> None:
    new = made_projections(TEST, noise=0.01, seed=2, harm=50.0)
    label = Label("harm", "harm", "harm", 1, 2.0, 3.0, 1.0)
    (right,) = validate([label], ["L3-C1"], TEST, new, seed=0)
    goals = len(set(TEST.clusters))
    assert (right.value, right.n_clusters) == (1.0, goals)
    assert (right.low, right.high) == (pytest.approx(goals / (goals + 1.959964**2)), 1.0)
    assert named(right).holding == ("L3-C1",)
    assert named(right).p_adjusted["L3-C1"] == 0.5**goals
    (wrong,) = validate([replace(label, sign=-1)], ["L3-C1"], TEST, new, seed=0)
    assert wrong.value == 0.0 and wrong.high is not None and wrong.high < 0.5
    assert named(wrong).holding == () and named(wrong).p_adjusted["L3-C1"] == 1.0


def told(value: float, low: float | None, high: float | None) -> Measurement:
    """Return how often a label is right."""
    return Measurement(
        *("residual_space/L3-C1/label", value, "accuracy"),
        n=40,
        n_clusters=20,
        low=low,
        high=high,
        floor=Floor("chance", 0.5),
        reason="made by hand",
    )


def named(*accuracy: Measurement) -> Naming:
    """Return names whose labels were tried so."""
    count = len(accuracy)
    label = Label("harm", "harm", "harm", 1, 2.0, 3.0, 1.0)
    return Naming(
        tuple(f"L3-C{i + 1}" for i in range(count)),
        (3,) * count,
        (label,) * count,
        accuracy,
        ((),) * count,
        ((),) * count,
        {},
    )


def test_a_label_holds_only_with_an_interval_above_one_half_after_adjustment() -> None:
    barely, clear, without = told(0.6, 0.51, 0.69), told(0.8, 0.7, 0.9), told(1.0, None, None)
    alone = named(barely)
    assert alone.holding == ("L3-C1",) and alone.p_adjusted["L3-C1"] < 0.05
    # The same interval is one of many that could lie above one half by chance.
    many = named(barely, clear, without, *[told(0.5, 0.41, 0.59)] * 7)
    assert many.holding == ("L3-C2",)
    assert many.p_adjusted["L3-C1"] > 0.05 and many.p_adjusted["L3-C3"] == 1.0
    rows = many.frame()
    assert [row["holds"] for row in rows[:3]] == [False, True, False]
    assert named(told(0.4, 0.3, 0.45)).holding == ()
