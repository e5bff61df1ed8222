"""Edits do what their mode says, at the places they name, and their controls differ in direction.

The trap: an edit that acts nowhere, or at the wrong block, gives a plausible "no effect".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.conftest import bare, opened
from tests.mechanism.steering.made_edits import (
    WIDTH,
    direction,
    edit_of,
    every_mode,
    made_eraser,
    requests,
)
from tests.oracles import steering as oracle
from theodolite.data.prompts import BENIGN
from theodolite.engine import capture, generate, next_token
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.contrast import Contrast
from theodolite.mechanism.directions.estimator import estimator
from theodolite.mechanism.states import read_states
from theodolite.mechanism.steering.benign import BenignStates
from theodolite.mechanism.steering.edits import (
    MODES,
    Edit,
    along,
    erasing,
    intervene,
    random_edits,
)


@pytest.fixture
def model() -> Any:
    return opened("llama")


@pytest.fixture
def prompts() -> list[Any]:
    draw = torch.Generator().manual_seed(3)
    return [
        bare(torch.randint(2, 300, (n,), generator=draw).tolist(), f"p{n}") for n in (9, 12, 17)
    ]


def streams(model: Any, prompts: Any) -> torch.Tensor:
    return capture(model, prompts).get("resid_post").double()[:, :, 0]


def test_places_are_those_that_were_asked_for(model: Any) -> None:
    anatomy, blocks = model.anatomy, range(model.anatomy.n_layers)
    one = [direction()]
    assert Edit(one).places(anatomy) == tuple((n, "resid_post") for n in blocks)
    every = Edit(one, sites="all").places(anatomy)
    assert every[0] == (0, "resid_pre")
    assert set(every[1:]) == {(n, s) for n in blocks for s in ("attn_out", "mlp_out")}
    assert Edit(one, sites="all", layers=(1,)).places(anatomy) == ((1, "attn_out"), (1, "mlp_out"))
    own = [direction(0, 0), direction(1, 2), direction(2, 2), direction(3, 3)]
    edit = Edit(own, "rank_k", layers="own")
    assert edit.places(anatomy) == ((0, "resid_pre"), (1, "resid_post"), (2, "resid_post"))
    assert [len(getattr(i, "basis", [0])) for i in edit.interventions(anatomy)] == [1, 2, 1]


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("positions", ["all", "prompt", "prompt_last", "generated"])
def test_every_mode_equals_its_formula_by_hand(
    model: Any, prompts: Any, number: int, positions: str
) -> None:
    edit = every_mode(positions=positions)[number]
    benign = BenignStates.read(model, requests(), [edit])
    with intervene(model, edit, benign):
        found = next_token(model, prompts).numpy()
    for row, prompt in zip(found, prompts, strict=True):
        expected = oracle.next_logprobs(model, list(prompt.ids), edit, benign)
        assert np.abs(row - expected).max() < 1e-4
        moved = np.abs(expected - oracle.next_logprobs(model, list(prompt.ids))).max()
        assert (moved > 1e-3) == (positions != "generated")


@pytest.mark.parametrize("mode", ["ablate", "rank_k"])
def test_ablation_leaves_no_component_at_any_block(model: Any, prompts: Any, mode: str) -> None:
    chosen = [direction(seed) for seed in range(3)]
    before = streams(model, prompts)
    with intervene(model, Edit(chosen, mode)):
        after = streams(model, prompts)
    for one in chosen:
        unit = torch.from_numpy(one.vector)
        assert (before @ unit).abs().max() > 0.1
        assert (after @ unit).abs().max() < 1e-5


def test_subtracting_the_component_at_one_site_is_ablating_it_there(
    model: Any, prompts: Any
) -> None:
    for prompt in prompts:
        one = direction()
        held = float(streams(model, [prompt])[0, 1] @ torch.from_numpy(one.vector))
        where: dict[str, Any] = {"layers": (1,), "positions": "prompt_last"}
        with intervene(model, Edit([one], "subtract", alpha=held, **where)):
            subtracted = next_token(model, [prompt])
        with intervene(model, Edit([one], "ablate", **where)):
            ablated = next_token(model, [prompt])
        assert (subtracted - ablated).abs().max() < 1e-4
        assert (next_token(model, [prompt]) - ablated).abs().max() > 1e-3


@pytest.mark.parametrize("count", [1, 3])
def test_affine_leaves_the_benign_mean_where_it_is(model: Any, count: int) -> None:
    edit = Edit([direction(seed) for seed in range(count)], "affine", layers=(1,))
    benign = BenignStates.read(model, requests(), [edit])
    mean = torch.from_numpy(benign.mean((1, "resid_post")))
    (item,) = edit.interventions(model.anatomy, benign)
    change: Any = item.change(model.anatomy)
    assert torch.allclose(change(mean[None])[0], mean, atol=1e-12)
    moved = mean + torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(0))
    for one in edit.directions:
        unit = torch.from_numpy(one.vector)
        assert torch.allclose(change(moved) @ unit, mean @ unit, atol=1e-9)
    before = streams(model, requests())
    with intervene(model, edit, benign):
        after = streams(model, requests())
    assert torch.allclose(after[:, 1].mean(0), before[:, 1].mean(0), atol=1e-5)


def test_clamping_brings_components_into_the_benign_range(model: Any, prompts: Any) -> None:
    one = direction()
    edit = Edit([one], "clamp", quantiles=(0.25, 0.75), positions="prompt_last")
    benign = BenignStates.read(model, requests(), [edit])
    unit = torch.from_numpy(one.vector)
    with intervene(model, edit, benign):
        after = streams(model, prompts) @ unit
    for layer in range(model.anatomy.n_layers):
        own = benign.values[layer, "resid_post"] @ one.vector
        low, high = np.quantile(own, (0.25, 0.75))
        assert after[:, layer].min() > low - 1e-5 and after[:, layer].max() < high + 1e-5
    assert (streams(model, prompts) @ unit - after).abs().max() > 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_no_strength_is_no_edit(model: Any, prompts: Any, mode: str) -> None:
    edit = edit_of(mode, alpha=0.0)
    benign = BenignStates.read(model, requests(), [edit])
    intact = next_token(model, prompts)
    with intervene(model, edit, benign):
        assert torch.allclose(next_token(model, prompts), intact, atol=1e-6)
    with intervene(model, edit.at(1.0), benign):
        assert (next_token(model, prompts) - intact).abs().max() > 1e-3


def test_edits_last_while_answers_are_written_and_rows_may_differ(model: Any, prompts: Any) -> None:
    edits = [
        Edit([direction(0)], "subtract", alpha=4.0),
        Edit([direction(1)], "add", alpha=6.0, positions="generated"),
        Edit([direction(2), direction(3)], "rank_k", sites="all"),
    ]
    found = generate(
        model,
        prompts * 3,
        max_new_tokens=6,
        variants=[edit.interventions(model.anatomy) for edit in edits for _ in prompts],
    )
    for number, edit in enumerate(edits):
        with intervene(model, edit):
            alone = generate(model, prompts, max_new_tokens=6)
        part = found[number * len(prompts) : (number + 1) * len(prompts)]
        assert [a.token_ids for a in part] == [a.token_ids for a in alone]
    plain = generate(model, prompts, max_new_tokens=6)
    assert [a.token_ids for a in plain] != [a.token_ids for a in found[: len(prompts)]]


def test_random_edits_keep_everything_but_the_direction() -> None:
    pair = [direction(0, 2), direction(1, 2), direction(2, 3)]
    edit = Edit(pair, "rank_k", layers="own", alpha=0.5, label="mine")
    drawn = random_edits(edit, 4, seed=1)
    again = random_edits(edit, 4, seed=1)
    for one, same in zip(drawn, again, strict=True):
        vectors = np.stack([d.vector for d in one.directions])
        assert np.array_equal(vectors, np.stack([d.vector for d in same.directions]))
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
        assert abs(vectors[0] @ vectors[1]) < 1e-12
        assert [d.hidden_index for d in one.directions] == [2, 2, 3]
        assert (one.mode, one.layers, one.alpha) == ("rank_k", "own", 0.5)
    assert len({one.family() for one in drawn}) == 4
    other = random_edits(edit, 1, seed=2)[0]
    assert not np.allclose(other.directions[0].vector, drawn[0].directions[0].vector)


def test_strengths_of_one_edit_are_one_family() -> None:
    edit = Edit([direction()], "ablate")
    assert edit.family() == edit.at(0.5).family() != Edit([direction(1)]).family()
    assert edit.name == "ablate L2-C1" and edit.at(0.5).name == "ablate L2-C1 x 0.5"


def test_vectors_are_normalised_with_a_warning_and_zero_is_refused() -> None:
    with pytest.warns(UserWarning, match="length 2"):
        (long,) = along(2.0 * np.eye(WIDTH)[0])
    assert np.linalg.norm(long.vector) == 1.0
    assert [d.name for d in along(np.eye(WIDTH)[:2])] == ["vector 1", "vector 2"]
    with pytest.raises(DataError, match="zero vector"):
        along(np.zeros(WIDTH))
    with pytest.raises(DataError, match="not one finite"):
        along(np.full(WIDTH, np.nan))
    with pytest.raises(DataError, match="no vectors"):
        along(np.zeros((0, WIDTH)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "ablat"}, "no mode 'ablat'"),
        ({"positions": "all_prompt"}, "no positions"),
        ({"layers": ()}, "names no block"),
        ({"layers": "some"}, "names no block"),
        ({"sites": ("head_z",)}, "not in the stream"),
        ({"sites": ()}, "not in the stream"),
        ({"layers": "own", "sites": "all"}, "one site for each"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"quantiles": (0.9, 0.1)}, "are no range"),
    ],
)
def test_words_that_are_not_known_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Edit([direction()], **options)


def test_what_does_not_fit_the_model_is_refused(model: Any) -> None:
    anatomy = model.anatomy
    with pytest.raises(ConfigError, match="layer is 99"):
        Edit([direction()], layers=(99,)).interventions(anatomy)
    for depth in (anatomy.n_layers + 1, -1):
        with pytest.raises(ConfigError, match=f"layer is {depth - 1}"):
            Edit([direction(0, depth)], layers="own").interventions(anatomy)
    with pytest.raises(ConfigError, match=r"direction has shape \(5,\)"):
        Edit(along(np.eye(5)[0])).interventions(anatomy)
    with pytest.raises(ConfigError, match="needs benign states"):
        Edit([direction()], "affine").interventions(anatomy)
    benign = BenignStates.read(model, requests(), [Edit([direction()], "affine", layers=(0,))])
    with pytest.raises(ConfigError, match="at resid_post of layer 1"):
        Edit([direction()], "clamp", layers=(1,)).interventions(anatomy, benign)
    with pytest.raises(DataError, match="no benign prompts"):
        BenignStates.read(model, [], [Edit([direction()], "affine")])
    with pytest.raises(DataError, match="directions are none"):
        Edit([])
    with pytest.raises(DataError, match="differ in width"):
        Edit([direction(), *along(np.eye(5)[0])])
    with pytest.raises(DataError, match="not finite"):
        BenignStates({(0, "resid_post"): np.full((2, 3), np.nan)})


def test_leace_is_erased_at_every_depth_of_an_estimate(model: Any) -> None:
    prompts = [
        replace(prompt, id=f"{word} {prompt.id}", text=f"{word} {prompt.text}")
        for word in ("iron", "jar", "kite")
        for prompt in requests()
    ]
    harm = [prompt.label != BENIGN for prompt in prompts]
    states = read_states(model, prompts, positions=("prompt_last",))
    contrast = Contrast(
        states=states.values[:, 1:, 0],
        labels=np.array(harm, np.int64),
        goals=states.prompt_ids,
        splits=("train",) * len(prompts),
        prompt_ids=states.prompt_ids,
        hidden_indices=states.hidden_indices[1:],
    )
    edit = erasing(estimator("leace").fit(contrast, seed=0), positions="prompt_last")
    assert edit.name == "erase leace"
    assert {d.hidden_index for d in edit.directions} == set(contrast.hidden_indices)
    first = contrast.hidden_indices[0]
    with intervene(model, edit):
        read = read_states(model, prompts, positions=("prompt_last",), hidden_indices=[first])
    after = read.at(first, "prompt_last")
    expected = edit.erasers[first].apply(contrast.at(first))
    assert np.allclose(after, expected, atol=1e-4)
    rows = np.array(harm)
    assert np.allclose(after[rows].mean(0), after[~rows].mean(0), atol=1e-4)
    (drawn,) = random_edits(edit, 1)
    assert all(np.allclose(one.along, one.reads) for one in drawn.erasers.values())
    with pytest.raises(ConfigError, match="go together"):
        Edit([direction()], "erase")
    with pytest.raises(ConfigError, match="go together"):
        Edit([direction()], "ablate", erasers={2: made_eraser()})
    with pytest.raises(ConfigError, match="erases nothing"):
        erasing(estimator("difference_in_means").fit(contrast, seed=0))
