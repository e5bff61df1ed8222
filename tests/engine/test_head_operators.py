"""Operators on what heads read equal weight surgery and slow forwards, in every engine call."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from inspect_ai.model import ChatMessageUser, GenerateConfig
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.engine.conftest import bare, opened
from tests.engine.test_interventions import PLACES
from tests.models.tiny import tiny_model
from tests.oracles import engine_forward as oracle
from tests.oracles import engine_surgery as surgery
from tests.oracles.head_surgery import bake_mean, bake_undifferentiated, rows_of, undone
from theodolite.engine.capture import capture
from theodolite.engine.generate import generate
from theodolite.engine.intervention_file import load_interventions, save_interventions
from theodolite.engine.interventions import HeadIntervention, apply
from theodolite.engine.last_token import LastTokenSweep
from theodolite.engine.next_token import next_token
from theodolite.engine.score import score
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.models.attention import undifferentiated, visiting
from theodolite.models.chat import Encoded
from theodolite.models.taps import read, write
from theodolite.providers.theodolite import TheodoliteAPI

# Heads whose query is a slice of the weights, and not normed together with other heads.
BAKED = ["llama", "gpt2", "gpt_neox", "phi3", "qwen2", "qwen3", "gemma3_text", "mistral", "gpt_oss"]


def even(layer: int = 1, heads: tuple[int, ...] = (0, 2), **more: Any) -> HeadIntervention:
    return HeadIntervention(layer=layer, heads=heads, operator="undifferentiated", **more)


def mean(target: str | None, heads: tuple[int, ...] = (0, 2), **more: Any) -> HeadIntervention:
    return HeadIntervention(layer=1, heads=heads, operator="head_mean", target=target, **more)


def last(logits: Tensor) -> Tensor:
    return logits[-1].log_softmax(-1)


@pytest.mark.parametrize("name", BAKED)
def test_undifferentiated_heads_equal_zeroed_query_rows(name: str, prompts: list[Encoded]) -> None:
    model = opened(name)
    pairs = [(prompt, [5, 9, 17]) for prompt in prompts[:4]]
    intact = next_token(model, prompts[:6])
    with apply(model, even()):
        found = next_token(model, prompts[:6])
        answers = [item.token_ids for item in generate(model, prompts[:6], max_new_tokens=5)]
        scores = score(model, pairs)
    assert (found - intact).abs().max() > 1e-3
    with undone(model):
        bake_undifferentiated(model, 1, (0, 2))
        assert torch.allclose(next_token(model, prompts[:6]), found, atol=1e-5)
        wanted = generate(model, prompts[:6], max_new_tokens=5)
        assert [item.token_ids for item in wanted] == answers
        for one, other in zip(score(model, pairs), scores, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert torch.equal(next_token(model, prompts[:6]), intact)


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2"])
def test_baked_weights_reload_with_the_stock_class(name: str, tmp_path: Path) -> None:
    model = opened(name)
    ids = torch.arange(3, 20)[None]
    with torch.inference_mode(), apply(model, even()):
        found = model.module(input_ids=ids).logits.log_softmax(-1)
    with undone(model):
        bake_undifferentiated(model, 1, (0, 2))
        once = {key: value.clone() for key, value in model.module.state_dict().items()}
        bake_undifferentiated(model, 1, (0, 2))
        assert all(torch.equal(once[k], v) for k, v in model.module.state_dict().items())
        model.module.save_pretrained(tmp_path)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        assert torch.allclose(stock(input_ids=ids).logits.log_softmax(-1), found, atol=2e-6)


def test_every_family_in_the_engine_equals_the_plain_forward(
    family: Any, prompts: list[Encoded]
) -> None:
    if not family.anatomy.row.interface:
        with pytest.raises(CapabilityError, match="by itself"), apply(family, even()):
            pass
        return
    with apply(family, even()):
        found = next_token(family, prompts, batch_tokens=150)

    def changed(value: Tensor) -> Tensor:
        heads = value.view(*value.shape[:2], family.anatomy.n_heads, -1).clone()
        heads[..., [0, 2], :] = 0.0
        return heads.flatten(2)

    with torch.inference_mode(), write(family.anatomy.tap(1, "head_q"), changed):
        for row, prompt in enumerate(prompts):
            out = family.module(input_ids=torch.tensor([list(prompt.ids)]), use_cache=False)
            assert torch.allclose(found[row], last(out.logits[0])[: found.shape[1]], atol=2e-4)


def effects(model: Any) -> list[tuple[HeadIntervention, Any]]:
    """Interventions, and what each does to the vector of one token."""

    def on_heads(change: Any) -> Any:
        def effect(value: Tensor) -> Tensor:
            heads = value.view(model.anatomy.n_heads, -1).clone()
            heads[[0, 2]] = change(heads)[[0, 2]]
            return heads.flatten()

        return effect

    def to_mean(heads: Tensor) -> Tensor:
        return heads.mean(0, keepdim=True).expand_as(heads)

    return [
        (even(), on_heads(torch.zeros_like)),
        (even(epsilon=0.25), on_heads(lambda heads: 0.25 * heads)),
        (mean("q"), on_heads(to_mean)),
        (mean("v"), on_heads(to_mean)),
        (mean(None), on_heads(to_mean)),
    ]


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("place", range(len(PLACES)))
def test_positions_equal_the_slow_hook(
    llama: Any, prompts: list[Encoded], case: int, place: int
) -> None:
    intervention, effect = effects(llama)[case]
    positions, chosen = PLACES[place]
    placed = type(intervention)(**{**vars(intervention), "positions": positions})
    with apply(llama, placed):
        found = next_token(llama, prompts, batch_tokens=200)
    for row, prompt in enumerate(prompts):
        length = len(prompt.ids)

        def change(x: Tensor, at: int, length: int = length) -> Tensor:
            return effect(x) if chosen(at, length) else x

        expected = surgery.changed_logits(llama, prompt.ids, 1, placed.at, change)
        assert torch.allclose(found[row], last(expected), atol=1e-4)


@pytest.mark.parametrize("target", ["q", "k"])
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_mean_queries_and_keys_equal_mean_weights(
    name: str, prompts: list[Encoded], target: str
) -> None:
    model = opened(name)  # NeoX rotates: the mean of rotated keys is the rotated mean
    intact = next_token(model, prompts[:6])
    with apply(model, mean(target)):
        found = next_token(model, prompts[:6], batch_tokens=100)
        answers = [item.token_ids for item in generate(model, prompts[:6], max_new_tokens=5)]
    assert (found - intact).abs().max() > 1e-3
    with undone(model):
        bake_mean(model, 1, (0, 2), target)
        assert torch.allclose(next_token(model, prompts[:6]), found, atol=1e-5)
        wanted = generate(model, prompts[:6], max_new_tokens=5)
        assert [item.token_ids for item in wanted] == answers


@pytest.mark.parametrize("positions", ["prompt_last", (2, -3), "prompt"])
def test_mean_keys_are_seen_from_the_chosen_places_only(
    prompts: list[Encoded], positions: Any
) -> None:
    model = opened("gpt2")
    tap = model.anatomy.tap(1, "head_z")
    with apply(model, mean("k", positions=positions)):
        found = next_token(model, prompts, batch_tokens=200)
    for row, prompt in enumerate(prompts):
        seen: dict[int, Tensor] = {}
        with undone(model), read({0: tap}, seen.__setitem__):
            bake_mean(model, 1, (0, 2), "k")
            oracle.logits(model, prompt.ids)
        n = len(prompt.ids)
        chosen = {"prompt_last": [n - 1], (2, -3): [2, n - 3], "prompt": range(n)}[positions]

        def changed(z: Tensor, new: Tensor = seen[0], places: Any = chosen) -> Tensor:
            z = z.clone()
            z[:, list(places)] = new[:, list(places)]
            return z

        with write(tap, changed):
            assert torch.allclose(found[row], last(oracle.logits(model, prompt.ids)), atol=1e-4)


@pytest.mark.parametrize("kind", ["even", "mean q", "mean k", "mean v"])
@pytest.mark.parametrize("positions", ["all", "generated", "prompt_last", (3, -2)])
def test_generation_keeps_positions(prompts: list[Encoded], kind: str, positions: Any) -> None:
    model = opened("gpt2")
    word, _, target = kind.partition(" ")
    make = even if word == "even" else lambda **more: mean(target, **more)
    with apply(model, make(positions=positions)):
        answers = generate(model, prompts[:6], max_new_tokens=5)
    assert len({len(prompt.ids) for prompt in prompts[:6]}) > 1  # rows are padded
    everywhere = make()
    change = None if everywhere.at == "head_k" else everywhere.change(model.anatomy)

    for answer, prompt in zip(answers, prompts):
        n, written = len(prompt.ids), list[int]()
        while len(written) < len(answer.token_ids):
            ids = [*prompt.ids, *written]
            place = torch.arange(len(ids))
            chosen = {
                "all": place >= 0,
                "generated": place >= n,
                "prompt_last": place == n - 1,
                (3, -2): (place == 3) | (place == n - 2),
            }[positions]
            written.append(int(_slow(model, ids, everywhere, change, chosen)[-1].argmax()))
        assert tuple(written) == answer.token_ids


def _slow(model: Any, ids: list[int], op: HeadIntervention, change: Any, chosen: Tensor) -> Tensor:
    """Return the logits of one plain forward with a change at the chosen places."""
    if op.at != "head_k":
        tap = model.anatomy.tap(1, op.at)
        with write(tap, lambda x: torch.where(chosen[:, None], change(x), x)):
            return oracle.logits(model, ids)

    def visitor(attend: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        new = k.clone()
        new[:, [0, 2]] = k.mean(1, keepdim=True)
        return torch.where(chosen[:, None, None], attend(q, new, v), attend(q, k, v))

    with visiting(model.anatomy.attention(1), visitor):
        return oracle.logits(model, ids)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_oss", "mistral"])
def test_captured_outputs_are_the_closed_form(name: str) -> None:
    model = opened(name)
    anatomy = model.anatomy
    prompt = bare(list(range(3, 24)))
    every = {"sites": ("head_z", "final_norm"), "positions": tuple(range(21))}
    values: list[Tensor] = []

    def keep(attend: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        values.append(v.transpose(1, 2))
        return attend(q, k, v)

    before = capture(model, [prompt], **every)
    with visiting(anatomy.attention(1), keep), torch.inference_mode():
        model.module(input_ids=torch.tensor([list(prompt.ids)]), use_cache=False)
    with apply(model, even(heads=(1,))):
        after = capture(model, [prompt], **every)
    shape = (21, anatomy.n_heads, anatomy.head_dim)
    old, new = (one.get("head_z", layer=1)[0].view(shape) for one in (before, after))
    closed = undifferentiated(anatomy, 1, values[0])[0]
    assert torch.allclose(new[:, 1], closed[:, 1], atol=1e-5)
    assert torch.allclose(new[:, [0, 2, 3]], old[:, [0, 2, 3]], atol=1e-5)
    assert (new[:, 1] - old[:, 1]).abs().max() > 1e-3
    ends = [one.get("final_norm")[0].view(21, -1) for one in (before, after)]
    if anatomy.row.sinks is None:  # the first token sees itself alone: nothing changes
        assert torch.allclose(ends[0][0], ends[1][0], atol=1e-5)
    assert (ends[0][-1] - ends[1][-1]).abs().max() > 1e-4


def test_factor_one_changes_nothing(llama: Any, prompts: list[Encoded]) -> None:
    before = next_token(llama, prompts)
    with apply(llama, even(epsilon=1.0), even(layer=0, epsilon=1.0)):
        assert torch.equal(next_token(llama, prompts), before)


def test_zeroing_the_heads_of_a_group_is_zeroing_its_values(
    llama: Any, prompts: list[Encoded]
) -> None:
    group = HeadIntervention(layer=1, heads=(2, 3), operator="zero")
    with apply(llama, group):
        found = next_token(llama, prompts[:4])
    with undone(llama), torch.no_grad():
        llama.anatomy.blocks[1].self_attn.v_proj.weight[8:] = 0.0
        assert torch.allclose(next_token(llama, prompts[:4]), found, atol=1e-5)


def test_two_at_once_and_a_sweep_of_last_tokens(llama: Any, prompts: list[Encoded]) -> None:
    both = [even(heads=(1,)), mean("q", heads=(3,)), even(layer=2, heads=(0, 1))]
    with apply(llama, *both):
        expected = next_token(llama, prompts[:5])
        found = LastTokenSweep(llama, prompts[:5]).logits.log_softmax(-1)
        assert torch.allclose(found, expected, atol=1e-4)
    assert (next_token(llama, prompts[:5]) - expected).abs().max() > 1e-3
    views = rows_of(llama, 1, 1)
    assert len(views) == 1 and views[0].shape == (8, 32)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operator": "undiferentiated"}, "Did you mean 'undifferentiated'"),
        ({"operator": "head_mean", "target": "o"}, "target is 'o'"),
        ({"operator": "head_mean", "target": "k"}, "4 heads share 2 keys"),
        ({"operator": "scale", "target": "v"}, "target does not belong to the operator scale"),
        ({"operator": "undifferentiated", "target": "q"}, "target does not belong"),
        ({"operator": "undifferentiated", "heads": (4,)}, "heads names head 4"),
    ],
)
def test_what_does_not_fit_is_refused(llama: Any, fields: dict[str, Any], message: str) -> None:
    wrong = HeadIntervention(**{"layer": 0, "heads": (0,), **fields})
    with pytest.raises(ConfigError, match=message), apply(llama, wrong):
        pass


def test_keys_tell_operators_and_targets_apart() -> None:
    every = [even(), even(epsilon=0.5), mean("q"), mean("k"), mean("v"), mean(None)]
    assert len({one.key for one in every}) == len(every)
    assert even().key == even().key


def test_a_bare_forward_takes_all_positions_only(llama: Any) -> None:
    ids = torch.tensor([[3, 4, 5]])
    with apply(llama, even()):
        llama.module(input_ids=ids)
    with (
        apply(llama, even(positions="prompt_last")),
        pytest.raises(CapabilityError, match="engine"),
    ):
        llama.module(input_ids=ids)


def test_files_keep_operators_and_old_files_stay_valid(tmp_path: Path) -> None:
    model = opened("gpt2")
    made = [even(epsilon=0.5), mean("k", positions="prompt_last"), mean(None), mean("q")]
    path = tmp_path / "heads.json"
    save_interventions(path, made, model)
    rows = json.loads(path.read_text())["interventions"]
    assert [row["site"] for row in rows] == ["head_q", "head_k", "head_z", "head_q"]
    assert [row["target"] for row in rows] == [None, "k", None, "q"]
    assert [one.key for one in load_interventions(path, model)] == [one.key for one in made]
    old = {"kind": "head", "layer": 1, "site": "head_z", "heads": [0], "operator": "zero"}
    record = {"version": 1, "model": model.fingerprint, "interventions": [old]}
    path.write_text(json.dumps(record))
    (silence,) = load_interventions(path, model)
    assert silence.key == HeadIntervention(layer=1, heads=(0,), operator="zero").key
    for field, value, message in [
        ("site", "head_q", "site does not belong here.*head_z"),
        ("target", "q", "target does not belong"),
        ("target", 3, "target has the value 3"),
    ]:
        record["interventions"] = [old | {field: value}]
        path.write_text(json.dumps(record))
        with pytest.raises(DataError, match=f"entry 0: {message}"):
            load_interventions(path, model)


def test_the_provider_acts_on_queries(tmp_path: Path) -> None:
    model = tiny_model()
    path = tmp_path / "even.json"
    change = [even(layer=layer, heads=(0, 1, 2, 3)) for layer in range(3)]
    save_interventions(path, change, model)
    words = ["bake bread", "a small boat", "the weather"]

    async def answers(api: TheodoliteAPI) -> list[str]:
        config = GenerateConfig(max_tokens=6, max_connections=3)
        chats = ([ChatMessageUser(content=word)] for word in words)
        outputs = await asyncio.gather(*(api.generate(c, [], "none", config) for c in chats))
        return [output.completion for output in outputs]

    plain = asyncio.run(answers(TheodoliteAPI("tiny", handle=tiny_model())))
    changed = TheodoliteAPI("tiny", handle=tiny_model(), interventions=str(path))
    with apply(model, *change):
        expected = [done.text for done in generate(model, words, max_new_tokens=6)]
    assert asyncio.run(answers(changed)) == expected != plain
    changed.close()
    assert changed.model.interventions == ()
