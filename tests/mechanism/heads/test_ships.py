"""Scores of all heads: equal to the plain loop, resumable, and independent of how they are cut."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.mechanism.heads.planted_heads import SIDE, STRONG, WEAK, planted_model
from tests.models.tiny import tiny_model
from tests.oracles.heads import plain_map, without_queries
from theodolite.data.prompts import Prompt
from theodolite.engine import next_token
from theodolite.engine.interventions import apply
from theodolite.errors import CapabilityError, ConfigError, DataError, NumericsError
from theodolite.mechanism.distributions import divergence
from theodolite.mechanism.heads.ablation import HeadAblation, parse_heads
from theodolite.mechanism.heads.frames import encode_framed
from theodolite.mechanism.heads.ships import head_ships
from theodolite.mechanism.heads.subspace import subspace_scores
from theodolite.models import open_model
from theodolite.runs.run import Run

DATA = os.environ.get("THEODOLITE_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="THEODOLITE_DATA is not set")
# Reference values of the specification: prompt 0 in the parity frame, even attention.
TOP = {"18-8": 1.634, "5-6": 1.148, "12-8": 0.276, "4-4": 0.272, "16-0": 0.253}
MEDIAN = 0.018
WORDS = ("bake some bread", "say a poem of the sea", "count to five", "fold a paper boat")


def asked(*words: str, label: str = "harmful") -> list[Prompt]:
    return [
        Prompt(id=f"{label}-{i}", text=text, label=label, pair_id=f"pair-{i}")
        for i, text in enumerate(words)
    ]


@pytest.fixture(scope="module")
def smollm2() -> Any:
    return open_model("smollm2", dtype="float32")


def malicious(*rows: int) -> list[Prompt]:
    """Return rows of the official set; nothing of them is ever printed."""
    assert DATA is not None
    with (Path(DATA) / "safety-heads" / "maliciousinstruct.csv").open(encoding="utf-8") as file:
        texts = [row["input"] for row in csv.DictReader(file)]
    return [Prompt(id=f"malicious-{row}", text=texts[row], label="harmful") for row in rows]


def test_scores_equal_the_plain_loop() -> None:
    model = tiny_model("llama")
    harmful, benign = asked(*WORDS[:2]), asked(*WORDS[2:], label="benign")
    found = head_ships(model, harmful, benign, template="none")
    encoded = encode_framed(model, [*harmful, *benign], "none")
    heads = [tuple(head) for head in np.ndindex(found.kl.shape[1:])]
    expected = plain_map(model, [e.ids for e in encoded], without_queries, heads)
    assert np.allclose(found.kl.reshape(4, -1), expected.numpy(), atol=1e-5)
    assert found.labels == ("harmful", "harmful", "benign", "benign")
    assert found.pairs
    assert found.noise is not None and found.noise < 1e-6
    assert not found.top1_changed[found.kl < 1e-12].any()


def test_angles_are_those_of_the_last_states() -> None:
    model = tiny_model("llama")
    harmful, benign = asked(*WORDS), asked("name a river", label="benign")
    found = head_ships(model, harmful, benign, template="none")
    before = head_ships(model, harmful, template="none", pre_norm=True)
    encoded = encode_framed(model, harmful, "none")

    def last(site: str) -> torch.Tensor:
        from tests.oracles.engine_forward import site_values

        return torch.stack([site_values(model, e.ids, site)[-1, -1] for e in encoded])

    for site, scores in (("final_norm", found), ("resid_post", before)):
        base = last(site)
        with without_queries(model, 1, 2):
            expected = subspace_scores(base, last(site)[None])
        for name, values in scores.angles.items():
            assert values[1, 2] == pytest.approx(float(expected[name][0]), abs=2e-3), (site, name)
    assert set(found.angles) >= {"angle_r1", "angle_r2"}
    assert found.noise_angle is not None and found.noise_angle < 1e-3
    assert head_ships(model, harmful[:1], template="none").angles == {}


def test_some_heads_are_scored_as_all_of_them_are() -> None:
    model = tiny_model("llama")
    every = head_ships(model, asked(*WORDS), template="none")
    some = head_ships(model, asked(*WORDS), template="none", only=[(0, 1), (2, 0), (2, 3)])
    scored = ~np.isnan(some.kl[0])
    assert sorted(zip(*np.nonzero(scored))) == [(0, 1), (2, 0), (2, 3)]
    assert np.allclose(some.kl[:, scored], every.kl[:, scored], atol=1e-6)
    assert len(some.frame()) == 4 * 3
    assert [row["name"] for row in some.scores()] == sorted(
        ("0-1", "2-0", "2-3"), key=lambda name: -every.kl[:, *parse_heads(name)[0]].mean()
    )


def test_a_group_that_is_out_is_measured_against_the_intact_model() -> None:
    model = tiny_model("llama")
    prompts, ablation = asked(*WORDS), HeadAblation("ua")
    found = head_ships(model, prompts, template="none", group=[(0, 1), (1, 2)])
    encoded = encode_framed(model, prompts, "none")
    intact = next_token(model, encoded).double()
    with apply(model, *ablation.interventions(model.anatomy, [(0, 1), (1, 2), (1, 3)])):
        ablated = next_token(model, encoded).double()
    assert np.allclose(found.kl[:, 1, 3], divergence(intact, ablated).numpy(), atol=1e-5)
    assert np.isnan(found.kl[:, 0, 1]).all() and np.isnan(found.kl[:, 1, 2]).all()


def test_finished_layers_are_not_computed_again(tmp_path: Path) -> None:
    model = tiny_model("llama")
    with Run.create("test", "tiny", out=tmp_path / "run") as run:
        first = head_ships(model, asked(*WORDS), template="none", journal=run.journal)
        broken = tiny_model("llama")
        broken.module.forward = None  # nothing may run
        broken.anatomy.decoder.forward = None
        again = head_ships(broken, asked(*WORDS), template="none", journal=run.journal)
        with pytest.raises(TypeError):
            head_ships(broken, asked(*WORDS[:3]), template="none", journal=run.journal)
    assert np.array_equal(first.kl, again.kl)
    assert all(np.array_equal(first.angles[n], again.angles[n]) for n in first.angles)


def test_planted_heads_are_seen_as_they_were_planted() -> None:
    found = head_ships(
        planted_model(), asked(*WORDS[:2]), ablation=HeadAblation("zero"), template="none"
    )
    assert found.ranking()[:3] == [STRONG, SIDE, WEAK]
    assert np.delete(found.kl[0].ravel(), [1, 3, 6]).max() < 1e-9


def test_what_cannot_be_scored_is_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(DataError, match="no harmful prompts"):
        head_ships(model, [])
    with pytest.raises(DataError, match="is empty"):
        head_ships(model, [Prompt(id="a", text=" ")], template="chat")
    with pytest.raises(DataError, match="tokens"):
        head_ships(model, asked("word " * 600), template="none")
    with pytest.raises(ConfigError, match=r"no head operator 'undiff'|did you mean"):
        head_ships(model, asked("a"), ablation=HeadAblation("undiff"))
    with pytest.raises(ConfigError, match="There is no head 9-0"):
        head_ships(model, asked("a"), group=[(9, 0)], template="none")
    with pytest.raises(CapabilityError):
        head_ships(tiny_model("bloom"), asked("a"), template="none")
    with torch.no_grad():
        model.anatomy.blocks[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(NumericsError, match="harmful-0"):
        head_ships(model, asked("a b c"), template="none")


@needs_data
def test_the_reference_values_of_a_real_model(smollm2: Any) -> None:
    found = head_ships(smollm2, malicious(0), template="parity")
    assert {row["name"]: row["kl"] for row in found.scores()[:5]} == {
        name: pytest.approx(value, abs=0.005) for name, value in TOP.items()
    }
    assert np.median(found.kl[0]) == pytest.approx(MEDIAN, abs=0.005)


@needs_data
@pytest.mark.parametrize("row", [0, 10])
def test_a_real_models_heads_equal_the_plain_loop(smollm2: Any, row: int) -> None:
    check_real(smollm2, row, [(2, 1), (5, 6), (18, 8), (29, 4)])


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("row", [0, 10, 20, 30])
def test_all_heads_of_a_real_model_equal_the_plain_loop(smollm2: Any, row: int) -> None:
    check_real(smollm2, row, [(layer, head) for layer in range(30) for head in range(9)])


def check_real(smollm2: Any, row: int, heads: list[tuple[int, int]]) -> None:
    prompts = malicious(row)
    found = head_ships(smollm2, prompts, template="parity", only=heads)
    ids = [encode_framed(smollm2, prompts, "parity")[0].ids]
    expected = plain_map(smollm2, ids, without_queries, heads)[0].numpy()
    assert np.abs(np.array([found.kl[0, *head] for head in heads]) - expected).max() <= 2e-5


def test_memory_is_that_of_a_pass_and_never_of_all_heads_at_once() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in (out,) if isinstance(x, torch.Tensor))
            return out

    model = tiny_model("llama")
    prompts = asked(*(f"{words} number {i}" for i in range(4) for words in WORDS))
    length = max(len(e.ids) for e in encode_framed(model, prompts, "none"))
    with Watch():
        head_ships(model, prompts, template="none", batch_tokens=64)
    anatomy = model.anatomy
    # One row of logits per head and prompt at most, never one per token.
    rows = len(prompts) * anatomy.n_heads
    assert max(sizes) < rows * length * anatomy.vocab_size / 4
    weights = max(p.numel() for p in model.module.parameters())
    assert max(sizes) <= max(weights, 64 * anatomy.vocab_size, 64 * anatomy.d_model * 8)


def test_heads_of_a_stored_projection_cannot_be_taken_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("theodolite.models.anatomy.Anatomy.splits_heads", lambda *_: False)
    with pytest.raises(CapabilityError, match="quantised"):
        head_ships(tiny_model("llama"), asked("a b"), template="none")
