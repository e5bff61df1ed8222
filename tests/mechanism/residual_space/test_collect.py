"""Paired states: read right in every family, equal where nothing was adapted, refused when bad."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.mechanism.residual_space.made import made_paired, made_prompts, made_states, tiny_pair
from tests.models.tiny import tiny_model
from tests.oracles.residual_space import states_one_by_one
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError, NumericsError
from theodolite.mechanism.residual_space.collect import PairedStates, collect_pair
from theodolite.mechanism.residual_space.goals import goal_folds, parts_of
from theodolite.mechanism.states import encode_for_states
from theodolite.models.pair import ModelPair
from theodolite.runs.run import Run

FAMILIES = ("llama", "gemma2", "gpt2", "bloom", "mixtral")


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_one_prompt_at_a_time(family: str) -> None:
    pair, prompts = tiny_pair(family), made_prompts(10)
    paired = collect_pair(pair, prompts, positions=("prompt_last",))
    for model, states in ((pair.base, paired.base), (pair.aligned, paired.aligned)):
        ids = [e.ids for e in encode_for_states(model, prompts)]
        assert len({len(one) for one in ids}) > 3  # padded and batched, or it would prove nothing
        wanted = states_one_by_one(model, ids)
        error = np.abs(states.values[:, :, 0] - wanted).max(2) / np.abs(wanted).max(2)
        assert error.max() < 1e-4
    assert np.abs(paired.shift(3, "prompt_last")).max() > 1e-2


def test_the_last_state_is_taken_before_the_final_norm() -> None:
    pair, prompts = tiny_pair(), made_prompts(10)
    paired = collect_pair(pair, prompts)
    ids = encode_for_states(pair.base, prompts)[0].ids
    with torch.inference_mode():
        output = pair.base.module(torch.tensor([ids]), output_hidden_states=True)
    normed = output.hidden_states[-1][0, -1].numpy()
    own = paired.base.values[0, -1, 0]
    assert np.abs(own - normed).max() > 0.01  # Hugging Face's last entry is another tensor
    with torch.inference_mode():
        again = pair.base.anatomy.final_norm(torch.from_numpy(own))
    np.testing.assert_allclose(again.numpy(), normed, rtol=1e-4, atol=1e-5)


def test_both_positions_and_only_the_depths_asked_for() -> None:
    paired = collect_pair(
        tiny_pair(),
        made_prompts(10),
        positions=("prompt_last", "instruction_last"),
        hidden_indices=(2, 3),
    )
    assert (paired.positions, paired.hidden_indices) == (
        ("prompt_last", "instruction_last"),
        (2, 3),
    )
    assert paired.shift(2, "instruction_last").shape == (10, 32)
    assert paired.shift(2, "instruction_last").dtype == np.float64
    with pytest.raises(ConfigError, match="was not read"):
        paired.shift(1, "prompt_last")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_below_the_first_adapted_layer_nothing_is_computed_twice(depth: int) -> None:
    pair = tiny_pair(layer=depth)
    known = replace(pair, same_until=depth)
    prompts = made_prompts(12)
    paired, plain = collect_pair(known, prompts), collect_pair(pair, prompts)
    for h in range(depth + 1):
        assert not paired.shift(h, "prompt_last").any()
    assert paired.shift(depth + 1, "prompt_last").any()
    assert paired.aligned.values.tobytes() == plain.aligned.values.tobytes()


def test_no_second_pass_where_nothing_asked_for_was_adapted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from theodolite.mechanism.residual_space import collect

    seen = []
    real = collect.read_states

    def counted(model: object, *args: object, **kwargs: object) -> object:
        seen.append(model)
        return real(model, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(collect, "read_states", counted)
    pair = replace(tiny_pair(layer=2), same_until=2)
    paired = collect_pair(pair, made_prompts(10), hidden_indices=(1, 2))
    assert seen == [pair.base]
    assert paired.aligned.fingerprint == pair.aligned.fingerprint
    assert paired.aligned.key != paired.base.key


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (made_prompts(9), "There are 9 prompts"),
        (tuple(replace(p, label="harmful") for p in made_prompts(12)), "only 'harmful'"),
        (
            tuple(
                replace(p, split=("train", "test")[i % 2]) for i, p in enumerate(made_prompts(12))
            ),
            r"The prompts: 6 goals stand in more than one split \('goal-0' in train and test",
        ),
        ((*made_prompts(11), replace(made_prompts(1)[0], text="again")), "id of another one"),
        ((*made_prompts(11), Prompt("long", text="boat " * 900, label="benign")), "long"),
    ],
)
def test_bad_prompts_are_refused(prompts: tuple[Prompt, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        collect_pair(tiny_pair(), prompts)


@pytest.mark.parametrize("which", ["base", "aligned"])
def test_a_state_that_is_not_finite_names_layer_and_prompt(which: str) -> None:
    pair = tiny_pair()
    broken = getattr(pair, which)
    with torch.no_grad():
        broken.anatomy.blocks[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(NumericsError, match=r"layer 1 .*prompt 'p\d+'"):
        collect_pair(pair, made_prompts(10))
    prompts = made_prompts(10)
    values = np.zeros((10, 2, 4))
    values[3, 1, 2] = np.inf
    good = made_states(np.zeros((10, 2, 4)), prompts, "m")
    with pytest.raises(NumericsError, match="'p0003' at hidden_index 1 of 'bad'"):
        PairedStates(good, made_states(values, prompts, "bad"), prompts, ("g",) * 10)


def test_states_that_do_not_match_are_refused() -> None:
    prompts = made_prompts(10)
    one = made_states(np.zeros((10, 2, 4)), prompts, "m")
    other = made_states(np.zeros((10, 3, 4)), prompts, "n")
    with pytest.raises(DataError, match="do not match"):
        PairedStates(one, other, prompts, ("g",) * 10)
    same = made_states(np.ones((10, 2, 4)), prompts, "n")
    chat = replace(same, template="chat")
    with pytest.raises(DataError, match=r"of 'm' .* 'none', those of 'n' with 'chat'"):
        PairedStates(one, chat, prompts, ("g",) * 10)
    with pytest.raises(DataError, match="'none', those of 'n' with 'chat'"):
        PairedStates(one, chat, prompts, ("g",) * 10, "style contrast")
    turned = replace(same, prompt_ids=same.prompt_ids[::-1])
    with pytest.raises(DataError, match=r"Row 0 is prompt 'p0000' .* 'm', 'p0009' .* 'n'"):
        PairedStates(one, turned, prompts, ("g",) * 10)
    with pytest.raises(DataError, match="and 'p0009' among the prompts"):
        PairedStates(one, same, prompts[::-1], ("g",) * 10)
    # The two sides of a contrast are of different prompts.
    PairedStates(turned, one, prompts, ("g",) * 10, "style contrast")


def test_parts_keep_goals_whole_and_named_splits() -> None:
    prompts = made_prompts(60, goal_size=3)
    paired = made_paired(np.zeros((60, 1, 4)), np.ones((60, 1, 4)), prompts)
    train, test = paired.part("train"), paired.part("test")
    assert len(train) + len(test) == 60
    assert not set(train.goals) & set(test.goals)
    assert 10 < len(test) < 50
    named = [replace(p, split="val" if p.goal_id == "goal-1" else None) for p in prompts]
    parts = parts_of(named, [p.goal_id or "" for p in named])
    assert {part for p, part in zip(named, parts) if p.goal_id == "goal-1"} == {"train"}
    # Groups may tie two goals together: then the train one is in neither part.
    tied = [replace(prompts[0], split="train"), replace(prompts[5], split="test")]
    assert parts_of(tied, ["same", "same"]) == (None, "test")
    with pytest.raises(DataError, match="No prompt is in the part"):
        paired.select([0]).part("test" if paired.parts[0] == "train" else "train")


def test_folds_hold_each_goal_once() -> None:
    goals = [f"g{i // 4}" for i in range(43)]
    folds = goal_folds(goals, 5, seed=0)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(43))
    assert max(len(t) for _, t in folds) - min(len(t) for _, t in folds) <= 4
    for train, test in folds:
        assert not {goals[i] for i in train} & {goals[i] for i in test}
    assert len(goal_folds(["a", "b", "a"], 5, seed=0)) == 2


def test_saved_and_read_again(tmp_path: Path) -> None:
    prompts = made_prompts(12)
    paired = collect_pair(tiny_pair(), prompts)
    with Run.create("explain", out=tmp_path / "run") as run:
        paired.save(run)
        back = PairedStates.load(run, prompts)
        assert back.shift(3, "prompt_last").tobytes() == paired.shift(3, "prompt_last").tobytes()
        assert (back.goals, back.kind, back.key) == (paired.goals, paired.kind, paired.key)
        with pytest.raises(DataError, match="not those whose states"):
            PairedStates.load(run, made_prompts(12, seed=1))
        words = "".join(p.read_bytes().decode("latin-1") for p in (tmp_path / "run").rglob("*.*"))
    assert not any(prompt.request in words for prompt in prompts)


def test_pairs_of_other_shape_are_refused() -> None:
    one, other = tiny_model(), replace(tiny_model(), name="other")
    for what, fact in (
        ("depths differ: 3 and 2", "n_layers"),
        ("widths differ: 32 and 2", "d_model"),
    ):
        with pytest.raises(DataError, match=f"'tiny-llama' and 'other' .* {what}"):
            ModelPair(one, replace(other, anatomy=replace(other.anatomy, **{fact: 2})))
