"""Causality: exact against whole forwards, closed forms, and labels that claim no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.tiny import tiny_model
from tests.oracles.causality import leace, logits_after, refusal
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt
from theodolite.engine import MlpIntervention, apply
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.mechanism.items import make_items
from theodolite.mechanism.lens.token_classes import TokenClasses
from theodolite.mechanism.probes.causality import probe_causality, probe_directions
from theodolite.mechanism.probes.causality_result import (
    ADDITION,
    NOT_SHOWN,
    REMOVAL,
    UNUSED,
    USED,
    CausalityResult,
    Effect,
)
from theodolite.mechanism.states import read_states
from theodolite.models.chat import encode_all
from theodolite.models.handle import ApiModel
from theodolite.runs.run import Run

CLASSES = TokenClasses((40, 41, 42), (50, 51), (), "test", {})
TWINS = [p for p in bundled("refusal") if p.split == "val"]
HARMFUL = [p for p in TWINS if p.label == "harmful"][:5]
BENIGN = [p for p in TWINS if p.label == "benign"][:4]


def directions(model: Any, indices: tuple[int, ...]) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(3)
    return {index: rng.standard_normal(model.anatomy.d_model) for index in indices}


def random_unit(result_seed: int, index: int, control: int, width: int) -> torch.Tensor:
    from theodolite.text.hashing import item_seed

    drawn = np.random.default_rng(item_seed(result_seed, "random direction", index, control))
    vector = drawn.standard_normal(width)
    return torch.from_numpy(vector / np.linalg.norm(vector))


def of_size(own: Callable[[Any], Any], unit: torch.Tensor) -> Callable[[Any], Any]:
    return lambda x: x + (own(x) - x).norm(dim=-1, keepdim=True) * unit.to(x)


@pytest.mark.parametrize("erase", ["projection", "leace"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_every_change_equals_a_whole_forward(family: str, erase: str) -> None:
    model = tiny_model(family)
    top = model.anatomy.n_layers
    wanted = directions(model, (0, 2, top))
    if erase == "leace":  # the embeddings of the last word may not vary enough to be erased
        del wanted[0]
    # One reading for both sides: two readings in other batches differ by float32 rounding.
    states = read_states(model, [*HARMFUL, *BENIGN], positions=("instruction_last",))
    items = make_items({"harmful": HARMFUL, "benign": BENIGN}, dedupe=False)
    settings = {"controls": 2, "erase": erase, "fitted_on": (states, items)}
    found = probe_causality(model, wanted, HARMFUL, BENIGN, CLASSES, **settings)
    labels = np.repeat([1, 0], [len(HARMFUL), len(BENIGN)])
    for row, (index, direction) in enumerate(wanted.items()):
        unit = torch.from_numpy(direction / np.linalg.norm(direction))
        x = states.at(index, "instruction_last")
        alpha = float((x[labels == 1].mean(0) - x[labels == 0].mean(0)) @ unit.numpy())
        assert found.alphas[row] == pytest.approx(alpha)

        def added(v: Any, unit: Any = unit, alpha: float = alpha) -> Any:
            return v + alpha * unit.to(v)

        def removed(v: Any, unit: Any = unit, x: Any = x) -> Any:
            if erase == "projection":
                return v - (v @ unit.to(v))[..., None] * unit.to(v)
            from sklearn.covariance import ledoit_wolf_shrinkage

            erased = leace(x, labels, float(ledoit_wolf_shrinkage(x)))
            flat = v.double().reshape(-1, v.shape[-1]).numpy()
            return torch.from_numpy(erased(flat)).reshape(v.shape).to(v)

        for effect, prompts, own in (
            (found.removal, HARMFUL, removed),
            (found.addition, BENIGN, added),
        ):
            for i, encoded in enumerate(encode_all(model, prompts)):
                ids = encoded.ids
                sides = (CLASSES.positive, CLASSES.negative)
                intact = refusal(logits_after(model, ids, index, lambda v: v), *sides)
                assert effect.intact[i] == pytest.approx(intact, abs=1e-4)
                moved = refusal(logits_after(model, ids, index, own), *sides)
                assert effect.change[row, i] == pytest.approx(moved - intact, abs=2e-3)
                for control in range(2):
                    same = of_size(own, random_unit(0, index, control, len(direction)))
                    moved = refusal(logits_after(model, ids, index, same), *sides)
                    assert effect.random[row, control, i] == pytest.approx(moved - intact, abs=2e-3)


def planted_unembedding(model: Any, token: int, against: int) -> np.ndarray:
    """Return the direction that the log-odds of two tokens read after the last block (RMS norm)."""
    gain = model.anatomy.final_norm.weight
    rows = model.anatomy.lm_head.weight
    return (gain * (rows[token] - rows[against])).double().numpy()


def test_the_direction_that_is_read_out_moves_the_log_odds_by_a_closed_form() -> None:
    """After the last block log-odds are (x . d) / rms(x): removal leaves 0."""
    model = tiny_model("llama")
    top = model.anatomy.n_layers
    classes = TokenClasses((40,), (50,), (), "one each", {})
    d = planted_unembedding(model, 50, 40)
    found = probe_causality(model, {top: d}, HARMFUL, BENIGN, classes, position="prompt_last")
    assert found.removal.change[0] == pytest.approx(-found.removal.intact, abs=1e-4)
    x = read_states(model, BENIGN, positions=("prompt_last",)).at(top, "prompt_last")
    moved = x + found.alphas[0] * d / np.linalg.norm(d)
    eps = model.module.config.rms_norm_eps
    odds = [(v @ d) / np.sqrt((v**2).mean(1) + eps) for v in (x, moved)]
    assert found.addition.intact == pytest.approx(odds[0], abs=1e-4)
    assert found.addition.change[0] == pytest.approx(odds[1] - odds[0], abs=1e-4)


def marked_model(coordinate: int = 5) -> Any:
    """Return a model with a coordinate that marks one word and that nothing else reads or writes.

    The mark is small, so that the norms, which see every coordinate, hardly move.
    """
    model = tiny_model("llama")
    module = model.module.model
    with torch.no_grad():
        module.embed_tokens.weight[:, coordinate] = 0.0
        for block in module.layers:
            block.self_attn.o_proj.weight[coordinate] = 0.0
            block.mlp.down_proj.weight[coordinate] = 0.0
            for reader in (block.input_layernorm, block.post_attention_layernorm):
                reader.weight[coordinate] = 0.0
        module.norm.weight[coordinate] = 0.0
        for token in model.tokenizer("!", add_special_tokens=False).input_ids:
            module.embed_tokens.weight[token, coordinate] = 1e-2
    return model


def test_a_direction_that_nothing_reads_is_readable_and_not_used() -> None:
    model = marked_model()
    words = [p.request.rstrip("?.!") for p in TWINS[:12]]
    harmful = [Prompt(f"h{i}", text=f"{w}!", label="harmful") for i, w in enumerate(words)]
    benign = [Prompt(f"b{i}", text=f"{w} now", label="benign") for i, w in enumerate(words)]
    axis = np.eye(model.anatomy.d_model)[5]
    odds = [probe_causality(model, {2: axis}, harmful, benign, c) for c in (CLASSES, swapped())]
    found = max(odds, key=lambda result: result.gap)
    assert found.gap > 0
    assert found.readable(0).value == 1.0
    assert np.abs(found.removal.change).max() < 1e-3
    assert found.label(2) == UNUSED
    assert {row["label"] for row in found.frame()} == {UNUSED}


def swapped() -> TokenClasses:
    return replace(CLASSES, positive=CLASSES.negative, negative=CLASSES.positive)


# Labels on made-up effects


def effect(
    kind: str, change: Any, random: Any, *, intact: float = 0.0, groups: int | None = None
) -> Effect:
    change, random = np.asarray(change, float), np.asarray(random, float)
    n = len(change)
    names = tuple(f"{kind}{i}" for i in range(n))
    shared = names if groups is None else tuple(f"g{i % groups}" for i in range(n))
    level = np.full(n, intact)
    zero, zeros = np.zeros((1, n)), np.zeros((1, *random.shape))
    return Effect(kind, names, shared, level, level, change[None], zero, random[None], zeros)


def result(removal: Effect, addition: Effect, *, readable: bool = True) -> CausalityResult:
    n, m = len(removal.groups), len(addition.groups)
    apart = np.r_[np.ones(n), np.zeros(m)] if readable else np.arange(n + m) % 2
    noise = 0.1 * np.random.default_rng(0).standard_normal(n + m)
    return CausalityResult(
        (3,), removal, addition, (apart + noise)[None], np.ones(1), "p", "projection", "c", "m", 0
    )


RNG = np.random.default_rng(11)
STILL = 0.01 * RNG.standard_normal(20)
RANDOM = 0.1 * RNG.standard_normal((4, 1)) + 0.01 * RNG.standard_normal((4, 20))
QUIET = 0.01 * RNG.standard_normal((4, 20))


def test_used_means_beyond_the_prompts_and_beyond_random_directions() -> None:
    idle = effect(ADDITION, STILL, QUIET)
    moved = effect(REMOVAL, STILL - 1.0, RANDOM, intact=2.0)
    assert result(moved, idle).label(3) == USED
    # The prompts agree, yet other random directions would do as much.
    like_random = effect(REMOVAL, STILL - 0.15, RANDOM, intact=2.0)
    assert like_random.beyond_random(0).high < 0  # type: ignore[operator]
    assert result(like_random, idle).label(3) != USED
    # Removing it raises refusal: that is not what was claimed.
    wrong_way = effect(REMOVAL, STILL + 1.0, RANDOM, intact=2.0)
    assert result(wrong_way, idle).label(3) == NOT_SHOWN
    put_in = effect(ADDITION, STILL + 1.0, RANDOM)
    assert result(effect(REMOVAL, STILL, QUIET, intact=2.0), put_in).label(3) == USED


def test_not_used_must_be_shown_too() -> None:
    idle, removed = effect(ADDITION, STILL, QUIET), effect(REMOVAL, STILL, QUIET, intact=2.0)
    assert result(removed, idle).label(3) == UNUSED
    assert result(removed, idle, readable=False).label(3) == NOT_SHOWN
    # Nothing to explain: the classes are equally refused, or the wrong one more.
    assert result(effect(REMOVAL, STILL, QUIET), idle).label(3) == NOT_SHOWN
    # Too noisy to call the effect small.
    noisy = effect(REMOVAL, 100 * STILL, QUIET, intact=2.0)
    assert result(noisy, idle).label(3) == NOT_SHOWN


def test_a_random_direction_is_rarely_called_used() -> None:
    """One of five directions alike is taken for the probe's: 400 draws, a band of 99.9 %.

    Each of the two effects may err one time in forty (one side of 95 %), so one in twenty in all.
    """
    rng = np.random.default_rng(2)
    used = 0
    for _ in range(400):
        effects = []
        for kind in (REMOVAL, ADDITION):
            means = rng.standard_normal((5, 1))
            moved = means + 0.1 * rng.standard_normal((5, 12))
            effects.append(effect(kind, moved[0], moved[1:], intact=1.0))
        used += any(one.acts(0) for one in effects)
    assert used / 400 < 0.05 + 3.3 * np.sqrt(0.05 * 0.95 / 400)
    assert used > 0  # the gate is not simply shut


def test_the_reach_of_random_directions_is_a_prediction_interval() -> None:
    """Means -1, 0 and 1: t(2) = 4.303 times 1 times sqrt(4 / 3)."""
    random = np.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
    reach = effect(REMOVAL, np.zeros(2), random).random_reach(0)
    assert reach == pytest.approx(4.3027 * np.sqrt(4 / 3), rel=1e-4)


def test_equal_changes_have_no_interval_and_claim_nothing() -> None:
    same = effect(REMOVAL, np.full(20, -1.0), np.zeros((4, 20)), intact=2.0)
    found = result(same, effect(ADDITION, np.zeros(20), np.zeros((4, 20))))
    assert found.label(3) == NOT_SHOWN
    assert "equal" in str(found.measurements()[0].reason)


# The whole


@pytest.fixture(scope="module")
def whole() -> CausalityResult:
    model = tiny_model("llama")
    items = make_items({"harmful": HARMFUL, "benign": BENIGN})
    states = read_states(model, items.prompts, positions=("instruction_last",))
    found = probe_directions(states, items, hidden_indices=(1, 3))
    return probe_causality(model, found, HARMFUL, BENIGN, CLASSES, fitted_on=(states, items))


def test_tables_figure_and_files(whole: CausalityResult, tmp_path: Path) -> None:
    rows = whole.frame()
    assert [(r["hidden_index"], r["kind"]) for r in rows] == [
        (1, REMOVAL),
        (1, ADDITION),
        (3, REMOVAL),
        (3, ADDITION),
    ]
    names = [m.name for m in whole.measurements()]
    assert names[:2] == ["causality/removal/1", "causality/addition/1"]
    for row, m in zip(rows, whole.measurements(), strict=True):
        assert m.value == pytest.approx(row["change"] - row["random"])
        assert m.floor is not None and m.n == row["n"] and row["label"] in str(m.reason)
    assert whole.figure().spec["data"] and "1 " in whole.figure().caption
    with Run.create("explain probes", "tiny", out=tmp_path / "run") as run:
        whole.save(run)
        again = CausalityResult.load(run)
    assert again.frame() == rows and again.measurements() == whole.measurements()


def test_the_same_in_any_company(whole: CausalityResult) -> None:
    """A prompt's changes do not depend on the prompts beside it, and the model is as before."""
    model = tiny_model("llama")
    items = make_items({"harmful": HARMFUL, "benign": BENIGN})
    states = read_states(model, items.prompts, positions=("instruction_last",))
    found = probe_directions(states, items, hidden_indices=(3,))
    few = probe_causality(
        model, found, HARMFUL[3:], BENIGN[::-1], CLASSES, fitted_on=(states, items)
    )
    assert few.removal.change[0] == pytest.approx(whole.removal.change[1, 3:], abs=1e-4)
    assert few.addition.random[0] == pytest.approx(whole.addition.random[1][:, ::-1], abs=1e-4)
    assert model.interventions == ()


def test_active_interventions_act() -> None:
    model = tiny_model("llama")
    wanted = directions(model, (1,))
    plain = probe_causality(model, wanted, HARMFUL, BENIGN, CLASSES, controls=2)
    with apply(model, MlpIntervention(layer=2, operator="zero")):
        changed = probe_causality(model, wanted, HARMFUL, BENIGN, CLASSES, controls=2)
        ids = encode_all(model, HARMFUL)[0].ids
        unit = torch.from_numpy(wanted[1] / np.linalg.norm(wanted[1])).float()
        moved = logits_after(model, ids, 1, lambda v: v - (v @ unit)[..., None] * unit)
        sides = (CLASSES.positive, CLASSES.negative)
        expected = refusal(moved, *sides) - changed.removal.intact[0]
    assert changed.removal.change[0, 0] == pytest.approx(expected, abs=1e-3)
    assert changed.removal.intact != pytest.approx(plain.removal.intact, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"erase": "wish"}, ConfigError, "wish"),
        ({"controls": 1}, ConfigError, "at least 2"),
        ({"hidden_indices": (1, 2)}, ConfigError, "hidden index 2"),
        ({"hidden_indices": ()}, ConfigError, "No direction"),
        ({"harmful": []}, DataError, "both needed"),
        ({"directions": {1: np.ones(5)}}, DataError, "shape"),
        ({"directions": {1: np.zeros(32)}}, DataError, "zero"),
        ({"directions": {9: np.ones(32)}}, ConfigError, "hidden_index 9"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], error: type, words: str) -> None:
    asked: dict[str, Any] = {
        "directions": {1: np.ones(32)},
        "harmful": HARMFUL,
        "benign": BENIGN,
        "classes": CLASSES,
        **options,
    }
    with pytest.raises(error, match=words):
        probe_causality(tiny_model("llama"), **asked)


def test_an_api_and_a_probe_without_a_direction_are_refused() -> None:
    api: Any = ApiModel("api:x/y", "x/y", "f")
    with pytest.raises(CapabilityError, match="hidden states"):
        probe_causality(api, {1: np.ones(32)}, HARMFUL, BENIGN, CLASSES)
    items = make_items({"harmful": HARMFUL, "benign": BENIGN})
    states = read_states(tiny_model("llama"), items.prompts, positions=("instruction_last",))
    with pytest.raises(ConfigError, match="mlp"):
        probe_directions(states, items, probe="mlp", hidden_indices=(1,))
