"""Relevance against the explicit rules, closed forms and exact effects; and what it keeps."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mechanism.relevance.small import PROMPTS, directions, double_model
from tests.models.tiny import tiny_model
from tests.oracles import relevance as oracle
from theodolite.data.prompts import Prompt
from theodolite.errors import CapabilityError, ConfigError, DataError, NumericsError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.relevance import BACKENDS, Relevance, relevance
from theodolite.mechanism.relevance.query import GROUPS
from theodolite.models import open_model
from theodolite.models.handle import LanguageModel
from theodolite.runs import Run
from theodolite.runs.journal import Journal


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return double_model()


def test_the_oracle_keeps_the_sum_and_a_lone_block_by_hand(model: LanguageModel) -> None:
    vector = torch.from_numpy(directions(3, 1)[0].vector)
    table = oracle.relevance(model.module, [3, 70, 9, 200], 3, vector, "cplrp")
    score = float(oracle.forward(model.module, [3, 70, 9, 200], 3)[1][-1] @ vector)
    assert [float(r.sum()) for r in table] == pytest.approx([score] * 4, rel=1e-12)
    # One token: attention gives its own value, so CP-LRP through the block is a plain product.
    alone = oracle.relevance(model.module, [70], 1, vector, "cplrp")[0]
    (block,), _ = oracle.forward(model.module, [70], 1)
    layer: Any = model.module.model.layers[0]
    mlp = layer.mlp
    back = vector + (block.x1 / block.h1) * (
        (vector @ mlp.down_proj.weight * block.act) @ mlp.up_proj.weight
    )
    values = (back @ layer.self_attn.o_proj.weight).view(4, -1).unflatten(0, (2, 2)).sum(1)
    back = back + (block.x / block.h) * (values.flatten() @ layer.self_attn.v_proj.weight)
    assert torch.allclose(alone, block.h * back, rtol=1e-10)


@pytest.mark.parametrize("rules", ["attnlrp", "cplrp"])
def test_gradient_times_input_equals_the_explicit_rules(model: LanguageModel, rules: Any) -> None:
    """Grouped queries and rotary positions, at every depth."""
    for depth in (1, 2, 3):
        targets = directions(depth, 2)
        found = relevance(model, PROMPTS, targets, rules=rules, boundaries=range(depth))
        for i, prompt in enumerate(found.prompts):
            for t, target in enumerate(targets):
                vector = torch.from_numpy(target.vector)
                table = oracle.relevance(model.module, prompt.ids.tolist(), depth, vector, rules)
                wanted = table[0].sum(-1).numpy()
                assert np.allclose(found.of_prompt(i)[:, t], wanted, rtol=1e-6, atol=1e-10)
                sums = [float(r.sum()) for r in table[:-1]]
                assert np.allclose(found.totals[i, :, t], sums, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("rules", ["attnlrp", "cplrp"])
def test_every_coordinate_equals_the_explicit_rules(model: LanguageModel, rules: Any) -> None:
    """A sum over coordinates could hide errors that cancel; here each coordinate is a direction."""
    target = directions(3, 1)
    vector = torch.from_numpy(target[0].vector)
    for depth in (0, 1, 2):
        axes = [Direction(f"L{depth}-C{i + 1}", depth, axis) for i, axis in enumerate(np.eye(32))]
        found = relevance(model, PROMPTS, target, to=axes, rules=rules)
        assert found.parts is not None
        for i, prompt in enumerate(found.prompts):
            table = oracle.relevance(model.module, prompt.ids.tolist(), 3, vector, rules)[depth]
            for group in range(len(GROUPS)):  # the last token is a group of its own
                wanted = table[torch.from_numpy(prompt.groups == group)].sum(0).numpy()
                near = 1e-6 * np.abs(wanted).max()
                assert np.allclose(found.parts[i, group, :, 0], wanted, rtol=1e-6, atol=near)


@pytest.mark.slow
def test_gradient_times_input_equals_the_explicit_rules_on_a_real_model() -> None:
    model = open_model("smollm2")
    model.module.double()
    model.dtype = torch.float64
    for depth, rules in ((6, "attnlrp"), (15, "attnlrp"), (15, "cplrp")):
        target = directions(depth, 1, width=model.anatomy.d_model)
        found = relevance(model, PROMPTS[:1], target, rules=rules)  # type: ignore[arg-type]
        vector = torch.from_numpy(target[0].vector)
        ids = found.prompts[0].ids.tolist()
        wanted = oracle.relevance(model.module, ids, depth, vector, rules)[0].sum(-1).numpy()
        assert np.abs(found.tokens[:, 0] - wanted).max() < 1e-6 * np.abs(wanted).max()  # type: ignore[index]


def test_cp_lrp_conserves_at_every_depth_and_so_does_the_split(model: LanguageModel) -> None:
    for depth in (1, 2, 3):
        found = relevance(
            model, PROMPTS, directions(depth, 3), rules="cplrp", boundaries=range(depth)
        )
        lost = np.abs(found.totals - found.scores[:, None])
        assert (lost < 1e-6 * np.abs(found.scores[:, None])).all()
    for source in (0, 1, 2):
        found = relevance(model, PROMPTS, directions(3, 3), to=directions(source, 2), rules="cplrp")
        assert found.parts is not None and found.rest is not None
        sums = found.parts.sum((1, 2)) + found.rest.sum(1)
        assert np.abs(sums - found.scores).max() < 1e-8
        assert np.abs(sums - found.totals[:, 0]).max() < 1e-8


def test_attn_lrp_loses_something_and_says_so(model: LanguageModel) -> None:
    found = relevance(model, PROMPTS, directions(3, 1))
    kept = found.conservation()[:, 0, 0]
    assert np.abs(kept - 1.0).max() > 1e-3
    named = {m.name: m for m in found.measurements()}
    measured = named["relevance/kept/L3-C1/h0"]
    weights = found.scores[:, 0] ** 2
    assert measured.value == pytest.approx(float((kept * weights).sum() / weights.sum()))
    assert measured.n == measured.n_clusters == 3 and measured.low is not None
    on_words = named["relevance/on user's words/L3-C1"]
    assert on_words.floor is not None and 0.0 < on_words.floor.value < 1.0


def test_a_whole_basis_takes_all_and_the_span_target_is_its_length(model: LanguageModel) -> None:
    basis = directions(2, 32, orthonormal=True)
    found = relevance(model, PROMPTS, directions(3, 2), to=basis, rules="cplrp")
    assert found.parts is not None and found.rest is not None
    assert np.allclose(found.parts.sum((1, 2)), found.scores, rtol=1e-8)
    assert np.abs(found.rest).max() < 1e-9
    several = directions(3, 3)  # not orthogonal
    lengths = relevance(model, PROMPTS, several, span=True, rules="cplrp")
    single = relevance(model, PROMPTS, directions(3, 32, orthonormal=True), rules="cplrp")
    states = single.scores @ np.stack([d.vector for d in directions(3, 32, orthonormal=True)])
    vectors = np.stack([d.vector for d in several])
    projected = states @ np.linalg.pinv(vectors) @ vectors
    assert np.allclose(lengths.scores[:, 0], np.linalg.norm(projected, axis=1), rtol=1e-9)
    assert np.allclose(lengths.totals[:, 0], lengths.scores, rtol=1e-9)


@settings(max_examples=8)
@given(st.integers(0, 2), st.integers(1, 5), st.booleans(), st.integers(0, 10**6))
def test_any_split_sums_to_the_score(
    model: LanguageModel, source: int, count: int, span: bool, seed: int
) -> None:
    """Also directions that lean on each other, at any earlier depth."""
    found = relevance(
        model,
        PROMPTS[:1],
        directions(3, 2, seed=seed),
        to=directions(source, count, seed=seed + 7),
        rules="cplrp",
        span=span,
    )
    assert found.parts is not None and found.rest is not None
    assert np.abs(found.parts.sum((1, 2)) + found.rest.sum(1) - found.scores).max() < 1e-8


def linear_model(*, attends: bool) -> LanguageModel:
    """Return one layer that is linear: norms do nothing, attention is the plain mean or nothing."""
    model = double_model()
    layer: Any = model.module.model.layers[0]
    with torch.no_grad():
        rows = model.module.model.embed_tokens.weight
        rows /= rows.square().mean(-1, keepdim=True).sqrt()
        layer.input_layernorm.weight.fill_(1.0)
        layer.self_attn.q_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        if not attends:
            layer.self_attn.o_proj.weight.zero_()
    return model


@pytest.mark.parametrize("backend", ["lrp", "decomposition"])
def test_in_a_linear_layer_a_token_has_what_it_gives(backend: Any) -> None:
    model = linear_model(attends=True)
    target = directions(1, 1)
    found = relevance(model, PROMPTS, target, backend=backend, rules="cplrp")
    layer: Any = model.module.model.layers[0]
    rows = model.module.model.embed_tokens.weight.numpy()
    wide = layer.self_attn.v_proj.weight.view(2, 8, 32).repeat_interleave(2, dim=0).flatten(0, 1)
    mixed = target[0].vector @ layer.self_attn.o_proj.weight.numpy() @ wide.numpy()
    for i, prompt in enumerate(found.prompts):
        given = rows[prompt.ids] @ mixed / len(prompt.ids)
        given[-1] += rows[prompt.ids[-1]] @ target[0].vector
        assert np.allclose(found.of_prompt(i)[:, 0], given, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_attention_only_the_last_token_counts(backend: Any) -> None:
    """Where tokens are compared with neutral ones, the template's last token is left alone."""
    model = linear_model(attends=False)
    target = directions(1, 1)
    found = relevance(model, PROMPTS, target, backend=backend, template="none")
    rows = model.module.model.embed_tokens.weight.double().numpy()
    neutral = rows[model.tokenizer.encode(" ", add_special_tokens=False)[0]]
    if backend in ("lrp", "decomposition"):
        neutral = 0.0 * neutral
    for i, prompt in enumerate(found.prompts):
        values = found.of_prompt(i)[:, 0]
        gap = rows[prompt.ids[-1]] - neutral
        assert values[-1] == pytest.approx(float(gap @ target[0].vector), rel=1e-5)
        assert np.abs(values[:-1]).max() < 1e-6


def test_the_decomposition_is_the_conservative_rules_carried_forward(model: LanguageModel) -> None:
    """Two computations that share nothing but the frozen numbers: no backward pass in one."""
    for family, to in (("llama", "tokens"), ("llama", directions(1, 2)), ("gpt2", "tokens")):
        own = model if family == "llama" else double_model(family)
        found = [
            relevance(own, PROMPTS, directions(3, 2), to=to, rules="cplrp", backend=backend)  # type: ignore[arg-type]
            for backend in ("lrp", "decomposition")
        ]
        for name in ("scores", "totals", "tokens", "parts", "rest"):
            first, second = (getattr(each, name) for each in found)
            assert (first is None) == (second is None)
            assert first is None or np.allclose(first, second, rtol=1e-8, atol=1e-11)


def test_integrated_gradients_add_up_to_what_neutral_words_leave(model: LanguageModel) -> None:
    found = relevance(model, PROMPTS, directions(3, 2), backend="integrated_gradients")
    exact = relevance(model, PROMPTS, directions(3, 2), backend="leave_one_out")
    assert np.allclose(found.scores, exact.scores, rtol=1e-5)
    vectors = np.stack([target.vector for target in directions(3, 2)])
    (blank,) = model.tokenizer.encode(" ", add_special_tokens=False)
    for i, prompt in enumerate(found.prompts):
        ids = np.where(prompt.groups == GROUPS.index("user"), blank, prompt.ids).tolist()
        begun = vectors @ oracle.forward(model.module, ids, 3)[1][-1].numpy()
        gap = found.scores[i] - begun
        assert np.abs(found.totals[i, 0] - gap).max() < 0.02 * np.abs(gap).max()
    outside = np.concatenate([prompt.groups != GROUPS.index("user") for prompt in found.prompts])
    assert found.tokens is not None and np.abs(found.tokens[outside]).max() == 0.0


def test_leaving_out_is_what_a_plain_rerun_says(model: LanguageModel) -> None:
    target = directions(3, 1)
    found = relevance(model, PROMPTS[:1], target, backend="leave_one_out")
    prompt = found.prompts[0]
    neutral = model.tokenizer.encode(" ", add_special_tokens=False)[0]
    place = int(np.flatnonzero(prompt.groups == 1)[2])

    def score(ids: list[int]) -> float:
        _, stream = oracle.forward(model.module, ids, 3)
        return float(stream[-1].numpy() @ target[0].vector)

    ids = prompt.ids.tolist()
    changed = [*ids[:place], neutral, *ids[place + 1 :]]
    assert found.tokens is not None
    assert found.tokens[place, 0] == pytest.approx(score(ids) - score(changed), rel=1e-4)
    single = directions(2, 1)
    patched = relevance(model, PROMPTS[:1], target, to=single, backend="leave_one_out")
    blocks, stream = oracle.forward(model.module, ids, 3)
    before = blocks[2].h.clone()
    before[-1] -= (before[-1].numpy() @ single[0].vector) * torch.from_numpy(single[0].vector)
    layer: Any = model.module.model.layers[2]
    rotary = model.module.model.rotary_emb(before[None], torch.arange(len(ids))[None])
    again = layer(before[None], position_embeddings=rotary)
    again = again[0] if isinstance(again, tuple) else again
    gap = (stream[-1] - again.reshape(len(ids), -1)[-1]).numpy() @ target[0].vector
    assert patched.parts is not None
    assert patched.parts[0, 2, 0, 0] == pytest.approx(gap, rel=1e-5)


def test_batches_and_padding_change_nothing(model: LanguageModel) -> None:
    targets = directions(3, 2)
    for backend in BACKENDS:
        together = relevance(model, PROMPTS, targets, backend=backend)  # type: ignore[arg-type]
        for i, prompt in enumerate(PROMPTS):
            alone = relevance(model, [prompt], targets, backend=backend)  # type: ignore[arg-type]
            assert alone.tokens is not None
            assert np.allclose(together.of_prompt(i), alone.tokens, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["gemma2", "cohere", "mixtral", "gpt_neox", "olmo2", "opt"])
def test_other_shapes_of_block_keep_the_sum_up_to_biases(family: str) -> None:
    model = tiny_model(family)
    found = relevance(model, PROMPTS, directions(3, 2), rules="cplrp", boundaries=(0, 1, 2))
    if not any("bias" in name for name, _ in model.module.named_parameters()):
        assert np.allclose(found.totals, found.scores[:, None], rtol=1e-3, atol=1e-4)
    if family == "mixtral":
        with pytest.raises(CapabilityError, match="routes tokens to experts"):
            relevance(model, PROMPTS, directions(3, 2), backend="decomposition")
    else:
        parts = relevance(model, PROMPTS, directions(3, 2), backend="decomposition")
        assert np.allclose(parts.tokens, found.tokens, rtol=1e-3, atol=1e-4)  # type: ignore[arg-type]


def test_positions_and_normalisation(model: LanguageModel) -> None:
    last = relevance(model, PROMPTS, directions(3, 1), position="instruction_last", rules="cplrp")
    for i, prompt in enumerate(last.prompts):
        read = int(np.flatnonzero(prompt.groups == 2)[0])
        assert np.abs(last.of_prompt(i)[read + 1 :]).max() == 0.0  # nothing after it is seen
        assert prompt.text[: prompt.spans[read, 1]].endswith(WORDS_END[i])
    mean = relevance(model, PROMPTS, directions(3, 1), position="instruction_mean", rules="cplrp")
    assert np.allclose(mean.totals[:, 0], mean.scores, rtol=1e-6)
    shares = relevance(model, PROMPTS, directions(3, 1), normalize="prompt", rules="cplrp")
    assert np.allclose(shares.totals, 1.0) and shares.normalize == "prompt"
    plain = relevance(model, PROMPTS, directions(3, 1), rules="cplrp")
    assert np.allclose(shares.of_prompt(1) * plain.scores[1], plain.of_prompt(1))


WORDS_END = ("?", ".", "weather")


def test_the_same_seed_gives_the_same_bytes(model: LanguageModel, tmp_path: Path) -> None:
    def document() -> str:
        found = relevance(model, PROMPTS, directions(3, 2), seed=5)
        return json.dumps([found.frame(), [m.as_dict() for m in found.measurements()]])

    assert document() == document()


def test_a_result_is_saved_and_read_back_and_a_journal_spares_the_work(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = relevance(model, PROMPTS, directions(3, 2), to=directions(1, 2), journal=journal)
        tracing = import_module("theodolite.mechanism.relevance.relevance")
        monkeypatch.setattr(tracing, "by_rules", None)
        again = relevance(model, PROMPTS, directions(3, 2), to=directions(1, 2), journal=journal)
    assert again.parts is not None and np.array_equal(first.parts, again.parts)  # type: ignore[arg-type]
    monkeypatch.undo()
    tokens = relevance(model, PROMPTS, directions(3, 2), position=-2)
    run = Run.create("explain relevance", "tiny", out=tmp_path / "run")
    for result in (first, tokens):
        result.save(run, "found")
        back = Relevance.load(run, "found")
        assert back.frame() == result.frame()
        assert (back.position, back.targets, back.goals) == (
            result.position,
            result.targets,
            result.goals,
        )
        assert [m.as_dict() for m in back.measurements()] == [
            m.as_dict() for m in result.measurements()
        ]
        assert back.prompts[0].text == ""  # nobody's words are kept unasked


def test_what_cannot_be_explained_is_refused(model: LanguageModel) -> None:
    one, two = directions(1, 1), directions(2, 1)
    wide = [Direction("L2-C1", 2, np.ones(16))]
    for error, match, call in (
        (ConfigError, "nothing to explain at hidden_index 0", {"targets": directions(0, 1)}),
        (ConfigError, "nothing to explain at hidden_index 4", {"targets": directions(4, 1)}),
        (DataError, "16 numbers, and the stream", {"targets": wide}),
        (DataError, "lie at hidden_index 1, 2", {"targets": one + two}),
        (ConfigError, "earlier directions lie at hidden_index 2", {"targets": two, "to": two}),
        (ConfigError, "cannot be traced to 'heads'", {"targets": two, "to": "heads"}),
        (ConfigError, "no back end 'lpr'", {"targets": two, "backend": "lpr"}),
        (ConfigError, "no relevance rules", {"targets": two, "rules": "gamma"}),
        (ConfigError, "not normalised by", {"targets": two, "normalize": "layer"}),
        (
            ConfigError,
            "does not pass hidden_index 0",
            {"targets": two, "to": one, "boundaries": [0]},
        ),
        (
            ConfigError,
            "no sums on the way",
            {"targets": two, "backend": "decomposition", "boundaries": [1]},
        ),
        (DataError, "no prompts", {"targets": two, "prompts": []}),
        (DataError, "occurs twice", {"targets": two, "prompts": [PROMPTS[0], PROMPTS[0]]}),
    ):
        with pytest.raises(error, match=match):
            relevance(model, **{"prompts": PROMPTS, **call})  # type: ignore[arg-type]
    long = Prompt("long", text="bread " * 600)
    with pytest.raises(DataError, match="reads at most 512"):
        relevance(model, [long], two)
    broken = tiny_model()
    with torch.no_grad():
        broken.module.model.embed_tokens.weight[5] = torch.nan  # type: ignore[union-attr, operator]
    ids = broken.tokenizer.decode([5, 5])
    with pytest.raises(NumericsError, match="'hurt' is not finite in layer 1"):
        relevance(broken, [Prompt("hurt", text=f"bread {ids}")], two)
    with pytest.raises(NumericsError, match="no component along"):
        found = relevance(model, PROMPTS[:1], two)
        object.__setattr__(found, "scores", np.zeros_like(found.scores))
        found.per_prompt()
