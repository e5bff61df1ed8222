"""Learned directions: gradients are right, losses fall, and what comes out is what was promised.

Traps: the passes run under hooks that a gradient must go through; a step leaves the sphere, or the
basis orthonormal, unless it is brought back; the rows of several vectors share one pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.mechanism.directions.planted_refusal import REFUSAL, Planted, planted_refusal
from tests.oracles import directions as oracle
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.directions.effects import Reader, Sides
from theodolite.mechanism.directions.learned import LearningOptions, learn_directions
from theodolite.mechanism.directions.learned_result import LearnedDirections, cone_samples
from theodolite.mechanism.directions.objective import Answer, Objective
from theodolite.mechanism.directions.targets import first_sentence, objective_for
from theodolite.mechanism.states import encode_for_states

QUICK = LearningOptions(rate=0.03, batch=4, most_steps=15, patience=25, answer_tokens=6, samples=3)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_refusal()


def requests(planted: Planted, label: str, split: str, count: int) -> list[Prompt]:
    own = [p for p in planted.items.prompts if p.label == label and p.split == split]
    return own[:count]


def start_of(planted: Planted) -> Direction:
    return Direction("difference_in_means@L2", 2, planted.r, "difference_in_means", "prompt_last")


def made_objective(planted: Planted, **more: Any) -> Objective:
    rng = np.random.default_rng(0)
    prompts = encode_for_states(planted.model, planted.items.prompts[:5])

    def answers(start: int) -> tuple[Answer, ...]:
        lengths = (3, 1, 33, 5)
        return tuple(
            Answer(p.ids[start:], tuple(int(t) for t in rng.integers(2, 300, n)))
            for p, n in zip(prompts, lengths)
        )

    return Objective(planted.model, answers(0), answers(1), answers(2), 2, 1.3, **more)


def unit(seed: int, width: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(width)
    return vector / np.linalg.norm(vector)


def test_losses_equal_bare_forwards_with_plain_hooks(planted: Planted) -> None:
    objective = made_objective(planted)
    v = unit(1, planted.r.size)
    found = objective.pull(v[None], range(4), range(4))
    wanted = oracle.learning_losses(
        planted.model,
        v,
        [(a.prompt, a.target) for a in objective.complying],
        [(a.prompt, a.target) for a in objective.refusing],
        [(a.prompt, a.target) for a in objective.plain],
        layer=2,
        alpha=1.3,
    )
    assert found.losses[0] == pytest.approx(wanted, rel=1e-4)
    assert found.total[0] == pytest.approx(wanted[0] + 0.2 * wanted[1] + wanted[2], rel=1e-4)


def test_gradients_equal_finite_differences() -> None:
    wide = planted_refusal()
    wide.model.module.double()
    wide.model.dtype = torch.float64
    objective = made_objective(wide)
    v, step = unit(1, wide.r.size), 1e-3  # norms and rotations are float32 in any model
    found = objective.pull(v[None], (0, 2), (1, 3))
    for seed in range(2, 6):
        way = unit(seed, wide.r.size)
        ends = objective.pull(np.stack([v + step * way, v - step * way]), (0, 2), (1, 3)).total
        assert found.gradient[0] @ way == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=5e-3)


def test_vectors_do_not_touch_each_others_rows_and_small_passes_change_nothing(
    planted: Planted,
) -> None:
    objective = made_objective(planted)
    vectors = np.stack([unit(seed, planted.r.size) for seed in range(3)])
    together = objective.pull(vectors, range(4), range(4))
    small = replace(objective, batch_tokens=64).pull(vectors, range(4), range(4))
    for v in range(3):
        alone = objective.pull(vectors[v : v + 1], range(4), range(4))
        assert together.losses[v] == pytest.approx(alone.losses[0], rel=1e-4)
        assert together.gradient[v] == pytest.approx(alone.gradient[0], abs=1e-4)
    assert small.losses == pytest.approx(together.losses, rel=1e-4)
    assert small.gradient == pytest.approx(together.gradient, abs=1e-4)


def test_gradients_come_through_under_a_callers_inference_mode(planted: Planted) -> None:
    objective = made_objective(planted)
    v = unit(1, planted.r.size)[None]
    with torch.inference_mode():
        inside = objective.pull(v, range(2), range(2))
    assert inside.gradient == pytest.approx(objective.pull(v, range(2), range(2)).gradient)
    assert not planted.model.module.model.layers[0]._forward_hooks


@pytest.fixture(scope="module")
def learned(planted: Planted) -> LearnedDirections:
    return learn_directions(
        planted.model,
        requests(planted, HARMFUL, "train", 4),
        requests(planted, BENIGN, "train", 4),
        start_of(planted),
        3.5,
        options=QUICK,
    )


def test_a_direction_is_learned_on_the_sphere(planted: Planted, learned: LearnedDirections) -> None:
    (direction,) = learned.directions
    assert direction.name == "rdo@L2" and direction.method == "rdo"
    assert np.linalg.norm(direction.vector) == pytest.approx(1.0, abs=1e-12)
    losses = [step.total for step in learned.history]
    assert min(losses[-5:]) < 0.8 * losses[0]
    # All requests are in one batch, so the loss of the best step is that of what came out.
    rows = range(4)
    objective = objective_for(
        planted.model,
        requests(planted, HARMFUL, "train", 4),
        requests(planted, BENIGN, "train", 4),
        start_of(planted),
        3.5,
        tokens=6,
    )
    assert objective.pull(learned.basis, rows, rows).total[0] == pytest.approx(
        min(losses), rel=1e-5
    )
    # From a random beginning it comes towards the direction that was planted.
    assert abs(direction.vector @ planted.r) > 0.3
    assert [row["number"] for row in learned.frame()] == list(range(len(losses)))


def test_it_may_begin_at_the_difference_in_means(planted: Planted) -> None:
    found = learn_directions(
        planted.model,
        requests(planted, HARMFUL, "train", 4),
        requests(planted, BENIGN, "train", 4),
        start_of(planted),
        3.5,
        options=replace(QUICK, most_steps=1),
        from_start=True,
    )
    assert found.directions[0].vector == pytest.approx(planted.r)


def test_a_cone_has_an_orthonormal_basis_and_says_its_worst(planted: Planted) -> None:
    found = learn_directions(
        planted.model,
        requests(planted, HARMFUL, "train", 2),
        requests(planted, BENIGN, "train", 2),
        start_of(planted),
        3.5,
        dimensions=3,
        options=replace(QUICK, most_steps=6, batch=2, rate=0.05),
        seed=1,
    )
    assert found.basis @ found.basis.T == pytest.approx(np.eye(3), abs=1e-10)
    assert [d.name for d in found.directions] == ["cone-1@L2", "cone-2@L2", "cone-3@L2"]
    assert found.history[-1].total < found.history[0].total
    assert all(step.worst >= step.mean for step in found.history)
    drawn = found.sampled(50)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(np.ones(50))
    assert (drawn @ found.basis.T >= 0).all()


def test_what_is_learned_is_measured_beside_random_directions(
    planted: Planted, learned: LearnedDirections
) -> None:
    prompts = [requests(planted, label, "test", 6) for label in (HARMFUL, BENIGN)]
    encoded = [tuple(encode_for_states(planted.model, side)) for side in prompts]
    goals = [tuple(p.goal_id or "" for p in side) for side in prompts]
    reader = Reader(planted.model, (REFUSAL,))
    found = learned.measurements(reader, Sides(*encoded, *goals), start_of(planted))
    names = [m.name for m in found]
    assert names == ["directions/rdo/removed", "directions/difference_in_means/removed"]
    assert found[1].value is not None and found[1].floor is not None
    assert found[1].value < found[1].floor.value - 3
    assert found[0].n_clusters == 6


def test_the_rate_is_cut_and_learning_ends(planted: Planted) -> None:
    """With steps too small to matter nothing falls, so it ends after the last cut."""
    found = learn_directions(
        planted.model,
        requests(planted, HARMFUL, "train", 2),
        requests(planted, BENIGN, "train", 2),
        start_of(planted),
        3.5,
        options=replace(QUICK, batch=1, rate=1e-12, patience=2, cuts=2, most_steps=30),
    )
    assert len(found.history) < 30
    assert found.history[-1].rate == pytest.approx(1e-14)


def test_the_same_seed_learns_the_same(planted: Planted) -> None:
    made = [
        learn_directions(
            planted.model,
            requests(planted, HARMFUL, "train", 3),
            requests(planted, BENIGN, "train", 3),
            start_of(planted),
            3.5,
            dimensions=2,
            options=replace(QUICK, most_steps=3, batch=2),
            seed=seed,
        )
        for seed in (5, 5, 6)
    ]
    assert (made[0].basis == made[1].basis).all() and made[0].history == made[1].history
    assert not np.allclose(made[0].basis, made[2].basis)


def test_answers_are_those_of_the_edited_model(planted: Planted) -> None:
    harmful, benign = (requests(planted, label, "train", 3) for label in (HARMFUL, BENIGN))
    objective = objective_for(planted.model, harmful, benign, start_of(planted), 3.5, tokens=4)
    for answer, prompt in zip(objective.complying, encode_for_states(planted.model, harmful)):
        logits = oracle.logits_under(planted.model, prompt.ids, ablated=planted.r)
        assert answer.prompt == prompt.ids and answer.target[0] == int(logits.argmax())
        assert answer.target[0] != REFUSAL
    for answer in objective.refusing:
        assert answer.target[0] == REFUSAL
    for answer, prompt in zip(objective.plain, encode_for_states(planted.model, benign)):
        logits = oracle.logits_under(planted.model, prompt.ids)
        assert answer.target[0] == int(logits.argmax())


def test_a_refusal_ends_with_its_first_sentence(planted: Planted) -> None:
    tokens = planted.model.tokenizer("No way. But then", add_special_tokens=False).input_ids
    kept = first_sentence(planted.model, tokens)
    assert planted.model.tokenizer.decode(kept) == "No way."
    assert first_sentence(planted.model, tokens[:2]) == tuple(tokens[:2])


def test_samples_of_a_cone_are_unit_and_never_negative() -> None:
    drawn = cone_samples(np.random.default_rng(0), 100, 4)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(np.ones(100))
    assert (drawn >= 0).all()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"options": LearningOptions(rate=0.0)}, "rate is 0.0"),
        ({"options": LearningOptions(cuts=-1)}, "cuts is -1"),
        ({"dimensions": 0}, "0 dimensions"),
        ({"dimensions": 99}, "99 dimensions"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    planted: Planted, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        learn_directions(
            planted.model,
            requests(planted, HARMFUL, "train", 2),
            requests(planted, BENIGN, "train", 2),
            start_of(planted),
            1.0,
            **more,
        )


def test_nothing_to_learn_from_is_refused(planted: Planted) -> None:
    with pytest.raises(DataError, match="both needed"):
        learn_directions(planted.model, [], planted.items.prompts[:2], start_of(planted), 1.0)
    with pytest.raises(DataError, match="complying answers are 0"):
        replace(made_objective(planted), complying=())
