"""A transplant must move the whole part and nothing else, and leave no trace.

The trap: a part that is named wrongly for one family (a norm taken for the MLP, half of a fused
projection) still gives a model that runs. So for every family a base is made that differs from the
model in one part only, and the transplant of that part must be that base, to the last bit.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.tiny import TINY, handle, tiny_model, tiny_tokenizer
from theodolite.data.prompts import Prompt
from theodolite.engine import generate
from theodolite.errors import CapabilityError, ConfigError
from theodolite.mechanism.heads.asr import attack_success
from theodolite.mechanism.heads.frames import encode_framed
from theodolite.mechanism.heads.transplant import (
    PARTS,
    part_tensors,
    transplant_asr,
    transplanted,
)
from theodolite.models.chat import chat_format
from theodolite.models.prove import prove
from theodolite.runs.journal import Journal

IDS = torch.arange(2, 20)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.module(input_ids=IDS, use_cache=False).logits.double()


def weights(model: Any) -> dict[str, torch.Tensor]:
    named = (*model.module.named_parameters(), *model.module.named_buffers())
    return {name: value.clone() for name, value in named}


def named_parts(model: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Return the tensors of both parts, told apart by the names families give their modules."""
    found: dict[str, dict[str, torch.Tensor]] = {part: {} for part in PARTS}
    for layer, block in enumerate(model.anatomy.blocks):
        for name, tensor in (*block.named_parameters(), *block.named_buffers()):
            child = name.partition(".")[0]
            if child in ("self_attn", "attn", "attention", "self_attention"):
                found["attention"][f"{layer}.{name}"] = tensor
            elif "norm" not in child and not child.startswith("ln_"):
                found["mlp"][f"{layer}.{name}"] = tensor
    return {
        part: {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
        for part, tensors in found.items()
    }


def changed(family: str, *parts: str) -> Any:
    """Return a twin of the tiny model whose learnt tensors differ in these parts only."""
    base = tiny_model(family)
    draw = torch.Generator().manual_seed(1)
    for part in parts:
        for tensor in named_parts(base)[part].values():
            with torch.no_grad():
                tensor += 0.1 * torch.randn(tensor.shape, generator=draw).to(tensor)
    return replace(base, name="base", fingerprint=f"base {family} {parts}")


@pytest.mark.parametrize("family", sorted(TINY))
def test_a_part_is_whole_in_every_family(family: str) -> None:
    model = tiny_model(family)
    before = weights(model)
    intact = logits(model)
    for part in PARTS:
        base = changed(family, part)
        theirs = logits(base)
        assert not torch.equal(intact, theirs)
        with transplanted(model, base, part):
            assert torch.equal(logits(model), theirs)
        other = next(name for name in PARTS if name != part)
        with transplanted(model, base, other):
            assert torch.equal(logits(model), intact)
    both = changed(family, *PARTS)
    with transplanted(model, both, "attention"), transplanted(model, both, "mlp"):
        assert torch.equal(logits(model), logits(both))
    assert torch.equal(logits(model), intact)
    after = weights(model)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("family", sorted(TINY))
def test_the_parts_are_those_the_family_names(family: str) -> None:
    model = tiny_model(family)
    for part, tensors in named_parts(model).items():
        found = part_tensors(model.anatomy, part)
        assert found.keys() == tensors.keys()
        assert all(found[name] is tensor for name, tensor in tensors.items())


def test_attention_of_qk_norm_and_sinks_goes_along() -> None:
    qwen = part_tensors(tiny_model("qwen3").anatomy, "attention")
    assert {"0.self_attn.q_norm.weight", "2.self_attn.k_norm.weight"} <= qwen.keys()
    assert "1.self_attn.sinks" in part_tensors(tiny_model("gpt_oss").anatomy, "attention")
    router = part_tensors(tiny_model("deepseek_v3").anatomy, "mlp")
    assert any(path.endswith("e_score_correction_bias") for path in router)


def test_the_very_same_tensors_come_back_after_an_error() -> None:
    model, base = tiny_model(), changed("llama", *PARTS)
    before = dict(model.module.named_parameters())
    hooks = [len(module._state_dict_pre_hooks) for module in model.module.modules()]
    kept = (model.fingerprint, model.capabilities, set(vars(model.module)))
    with pytest.raises(ZeroDivisionError), transplanted(model, base):
        assert model.module.model.layers[0].self_attn.q_proj.weight is not None
        raise ZeroDivisionError
    after = dict(model.module.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is value for name, value in before.items())
    assert hooks == [len(module._state_dict_pre_hooks) for module in model.module.modules()]
    assert kept == (model.fingerprint, model.capabilities, set(vars(model.module)))
    assert model.lock.acquire(blocking=False)
    model.lock.release()


def test_an_error_halfway_in_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model, base = tiny_model(), changed("llama", "attention")
    before, intact = dict(model.module.named_parameters()), model.fingerprint
    plain = nn.Module.__setattr__
    left = [5]

    def failing(self: nn.Module, name: str, value: Any) -> None:
        if isinstance(value, nn.Parameter):
            left[0] -= 1
            if left[0] == 0:
                raise MemoryError
        plain(self, name, value)

    monkeypatch.setattr(nn.Module, "__setattr__", failing)
    with pytest.raises(MemoryError), transplanted(model, base):
        pass
    monkeypatch.undo()
    after = dict(model.module.named_parameters())
    assert all(after[name] is value for name, value in before.items())
    assert model.fingerprint == intact
    assert model.module.state_dict()


def test_the_base_is_left_alone_and_lends_without_copying() -> None:
    model, base = tiny_model(), changed("llama", "attention")
    before = weights(base)
    with transplanted(model, base):
        lent = part_tensors(model.anatomy, "attention")
        owned = part_tensors(base.anatomy, "attention")
        assert all(lent[path].data_ptr() == owned[path].data_ptr() for path in lent)
        assert base.module.state_dict()  # it may be saved as ever
    assert all(torch.equal(value, before[name]) for name, value in weights(base).items())


def test_values_take_the_dtype_of_the_model() -> None:
    model, base = tiny_model(), changed("llama", "attention")
    base.module.double()
    with transplanted(model, base):
        assert {t.dtype for t in part_tensors(model.anatomy, "attention").values()} == {
            torch.float32
        }
        assert logits(model).isfinite().all()
    assert {t.dtype for t in part_tensors(base.anatomy, "attention").values()} == {torch.float64}


def test_nothing_is_saved_from_inside(tmp_path: Path) -> None:
    model, base = tiny_model(), changed("llama", "attention")
    with transplanted(model, base):
        for attempt in (
            lambda: model.module.save_pretrained(tmp_path / "model"),
            lambda: model.module.push_to_hub("somebody/model"),
            lambda: model.module.state_dict(),
            lambda: model.module.model.layers[1].self_attn.state_dict(),
            lambda: torch.save(model.module, tmp_path / "model.pt"),
            lambda: pickle.dumps(model.module.model.layers[0].self_attn),
            lambda: copy.deepcopy(model.module),
        ):
            with pytest.raises(CapabilityError, match="transplanted weights"):
                attempt()
        assert not (tmp_path / "model").exists()
        with pytest.raises(CapabilityError):
            model.require("training")
        with transplanted(model, changed("llama", "mlp"), "mlp"):
            pass
        with pytest.raises(CapabilityError):  # leaving the inner one opens nothing
            model.module.save_pretrained(tmp_path / "model")
    model.require("training")
    model.module.save_pretrained(tmp_path / "model")
    assert copy.deepcopy(model.module) is not None


def test_the_fingerprint_tells_every_transplant_apart(tmp_path: Path) -> None:
    model = tiny_model()
    first = changed("llama", "attention")
    second = replace(first, fingerprint="another base")
    seen = {model.fingerprint}
    for base in (first, second):
        for part in PARTS:
            with transplanted(model, base, part) as inside:
                assert inside is model
                seen.add(model.fingerprint)
                with transplanted(model, base, part):
                    seen.add(model.fingerprint)
    assert len(seen) == 1 + 8


def test_the_engine_feels_it_and_the_journal_does_not_mix_it_up(tmp_path: Path) -> None:
    model, base = tiny_model(), changed("llama", "attention")
    prompts = ["How do I bake bread?", "Write a story."]
    alone = [c.token_ids for c in generate(base, prompts, max_new_tokens=6)]
    with Journal(tmp_path / "journal.jsonl") as journal:
        intact = [c.token_ids for c in generate(model, prompts, max_new_tokens=6, journal=journal)]
        with transplanted(model, base):
            found = generate(model, prompts, max_new_tokens=6, journal=journal)
    assert [c.token_ids for c in found] == alone != intact


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: tiny_model("qwen2"), "families"),
        (lambda: _llama(num_hidden_layers=2), "n_layers"),
        (lambda: _llama(num_attention_heads=8), "n_heads"),
        (lambda: _llama(intermediate_size=40), "mlp.gate_proj.weight has the shapes"),
        (lambda: _llama(hidden_act="gelu"), "hidden_act"),
        (
            lambda: _llama(rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
            "rope_parameters",
        ),
        (lambda: _llama(attention_bias=True), "only one of them has"),
    ],
)
def test_what_does_not_fit_is_named(other: Any, says: str) -> None:
    model, base = tiny_model(), other()
    part = "mlp" if "mlp" in says else "attention"
    before = dict(model.module.named_parameters())
    with pytest.raises(ConfigError, match=says), transplanted(model, base, part):
        pass
    after = dict(model.module.named_parameters())
    assert all(after[name] is value for name, value in before.items())


def test_other_words_do_not_fit_but_more_added_tokens_do() -> None:
    model, base = tiny_model(), changed("llama", "attention")
    base.tokenizer = tiny_tokenizer()
    base.tokenizer.add_tokens(["<|tool|>"])
    with transplanted(model, base):
        pass
    base.tokenizer = type(base.tokenizer)(tokenizer_object=_renamed(base.tokenizer))
    with pytest.raises(ConfigError, match="disagree about 2 words"), transplanted(model, base):
        pass


def test_wrong_words_and_wrong_models_are_refused() -> None:
    model, base = tiny_model(), changed("llama", "attention")
    with pytest.raises(ConfigError, match="attention"), transplanted(model, base, "atention"):
        pass
    with pytest.raises(ConfigError, match="one and the same"), transplanted(model, model):
        pass
    base.module.is_quantized = True
    with pytest.raises(CapabilityError, match="quantised"), transplanted(model, base):
        pass
    base.module.is_quantized = False
    base.module.model.layers[2].self_attn.k_proj.to("meta")
    with pytest.raises(CapabilityError, match="off the device"), transplanted(model, base):
        pass


ASKED = [Prompt(f"q{i}", f"How do I bake bread number {i}?", goal_id=f"g{i}") for i in range(5)]


def test_attack_success_of_the_parts_is_that_of_the_models_they_make() -> None:
    model, base = tiny_model(), changed("llama", "attention")
    found = transplant_asr(model, base, ASKED, max_new_tokens=40, opinions=2)
    assert found.names == ("aligned", "base", "base-attention", "base-mlp")
    assert found.groups == found.names[1:]
    aligned, theirs, attention, mlp = found.texts
    assert attention == theirs != aligned == mlp  # the base differs in its attention alone
    alone = attack_success(model, ASKED, max_new_tokens=40, opinions=2)
    assert alone.texts[0] == aligned
    assert found.change("base-mlp").value == 0.0
    assert found.change("base-attention").value == found.change("base").value
    names = {m.name for m in found.measurements()}
    assert {"heads/asr/aligned", "heads/asr/base-mlp/change"} <= names
    assert len(found.frame()) == 4


class Stages:
    """Progress that keeps the names of its stages."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def start(self, label: str, total: int) -> None:
        self.seen.append(label)

    def advance(self, steps: int = 1) -> None: ...

    def message(self, text: str) -> None: ...


def test_progress_says_whose_answers_are_written() -> None:
    stages = Stages()
    transplant_asr(tiny_model(), changed("llama", *PARTS), ASKED, max_new_tokens=2, progress=stages)
    assert stages.seen == [
        "answers of the aligned model",
        "answers of the base",
        "answers with the base's attention",
        "answers with the base's mlp",
    ]


def test_the_base_reads_the_tokens_of_the_model() -> None:
    model = tiny_model()
    base = changed("llama", *PARTS)
    base.tokenizer.chat_template = None
    base.chat = chat_format(base.tokenizer)  # as bases come: without a chat template
    found = transplant_asr(model, base, ASKED, parts=["attention"], max_new_tokens=5)
    written = generate(base, encode_framed(model, ASKED, "chat"), max_new_tokens=5)
    assert found.names == ("aligned", "base", "base-attention")
    assert [row[0] for row in found.texts[1]] == [answer.text for answer in written]
    assert not base.chat.has_template


def test_attack_success_resumes_without_mixing_models_up(tmp_path: Path) -> None:
    model, base = tiny_model(), changed("llama", *PARTS)
    with Journal(tmp_path / "journal.jsonl") as journal:
        found = transplant_asr(model, base, ASKED, max_new_tokens=5, journal=journal)
        assert len(set(found.texts)) == 4
        model.anatomy.decoder.forward = base.anatomy.decoder.forward = None
        again = transplant_asr(model, base, ASKED, max_new_tokens=5, journal=journal)
    assert again.texts == found.texts


def test_what_does_not_fit_is_found_before_any_answer() -> None:
    model = tiny_model()
    model.anatomy.decoder.forward = None
    with pytest.raises(ConfigError, match="families"):
        transplant_asr(model, tiny_model("qwen2"), ASKED)
    with pytest.raises(ConfigError, match="There is no part 'heads'"):
        transplant_asr(model, changed("llama", "mlp"), ASKED, parts=["attention", "heads"])


def _llama(**options: Any) -> Any:
    """Return a tiny llama with another config."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = tiny_model().module.config.to_dict() | options
    for name in ("model_type", "head_dim") if "num_attention_heads" in options else ("model_type",):
        config.pop(name, None)
    module = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **config))
    module.eval().requires_grad_(False)
    return handle(module, prove(module), name="other")


def _renamed(tokenizer: Any) -> Any:
    """Return the tokenizer's backend with the ids of two words exchanged."""
    import json

    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    words = state["model"]["vocab"]
    words["A"], words["B"] = words["B"], words["A"]
    return Tokenizer.from_str(json.dumps(state))
