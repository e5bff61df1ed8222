"""Pairs: one load for two whole models, each as if it had been opened alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.models.tiny import TEMPLATE, tiny_model
from tests.models.tiny_files import save_folder
from theodolite.engine import DirectionIntervention, HeadIntervention, apply, capture, generate
from theodolite.errors import CapabilityError, ConfigError, DataError, ModelError
from theodolite.models.handle import LanguageModel
from theodolite.models.open import open_model
from theodolite.models.pair import ModelPair, is_side_path, open_pair, tokenizer_hash
from theodolite.models.refs import parse_reference

IDS = torch.tensor([[3, 50, 90, 120, 17], [5, 8, 200, 201, 9]])
TARGETS = {
    "llama": ["q_proj", "v_proj", "o_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "gemma2": ["q_proj", "o_proj", "gate_proj", "down_proj"],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEODOLITE_CACHE", str(tmp_path / "cache"))


def save_adapter(folder: Path, base: Path, **config: object) -> Path:
    model = AutoModelForCausalLM.from_pretrained(base)
    wrapped = get_peft_model(model, LoraConfig(r=2, **config))  # type: ignore[arg-type]
    torch.manual_seed(3)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "lora"
    return save_adapter(folder, base, target_modules=TARGETS["llama"], use_rslora=True)


@pytest.fixture(scope="module")
def pair(base: Path, adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelPair:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THEODOLITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_pair(str(base), adapter=adapter, device="cpu")


def opened(ref: Path, **options: object) -> LanguageModel:
    model = open_model(str(ref), device="cpu", **options)  # type: ignore[arg-type]
    assert isinstance(model, LanguageModel)
    return model


def logits(model: LanguageModel) -> torch.Tensor:
    with torch.inference_mode():
        return model.module(IDS).logits


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("family", TARGETS)
def test_the_aligned_handle_equals_the_merged_model(family: str, tmp_path: Path) -> None:
    base = save_folder(tmp_path / "tiny", family)
    options = {"target_modules": TARGETS[family], "fan_in_fan_out": family == "gpt2"}
    adapter = save_adapter(tmp_path / "lora", base, **options)
    pair = open_pair(str(base), adapter=adapter, device="cpu")
    merged, plain = opened(base, adapter=adapter), opened(base)
    assert pair.shared
    assert relative(logits(pair.aligned), logits(merged)) < 1e-5
    assert relative(logits(pair.aligned), logits(plain)) > 1e-2
    assert torch.equal(logits(pair.base), logits(plain))
    for layer in range(3):
        own, other = (m.anatomy.out_projection(layer).weight for m in (pair.aligned, merged))
        assert relative(own, other) < 1e-5
    assert pair.aligned.fingerprint == merged.fingerprint
    assert pair.base.fingerprint == plain.fingerprint
    assert (pair.aligned.name, pair.name) == ("tiny+lora", "tiny -> tiny+lora")


def test_parameters_are_shared_and_modules_are_not(pair: ModelPair) -> None:
    base = {p.data_ptr() for p in pair.base.module.parameters()}
    aligned = list(pair.aligned.module.parameters())
    own = [p for p in aligned if p.data_ptr() not in base]
    assert {p.data_ptr() for p in aligned} >= base
    assert sum(p.numel() for p in own) < 0.2 * sum(p.numel() for p in aligned)
    assert not {id(m) for m in pair.base.module.modules()} & {
        id(m) for m in pair.aligned.module.modules()
    }
    assert not any(p.requires_grad for p in aligned)


def test_hooks_on_one_leave_the_other_alone(pair: ModelPair) -> None:
    before = logits(pair.base), logits(pair.aligned)
    vector = torch.linspace(-1, 1, 32)
    steer = DirectionIntervention(layer=1, direction=vector, operator="add", alpha=3.0)
    head = HeadIntervention(layer=0, heads=(1,), operator="zero")
    for one, other, place in ((pair.base, pair.aligned, 1), (pair.aligned, pair.base, 0)):
        with apply(one, steer, head):
            assert torch.equal(logits(other), before[place])
            assert not torch.equal(logits(one), before[1 - place])
            assert not other.interventions
    assert torch.equal(logits(pair.base), before[0])
    assert torch.equal(logits(pair.aligned), before[1])


def test_both_run_in_the_engine_in_any_order(pair: ModelPair, base: Path, adapter: Path) -> None:
    merged = opened(base, adapter=adapter)
    texts = ["How do I bake bread?", "A boat on a lake.", "the city"]
    for model, same in ((pair.aligned, merged), (pair.base, opened(base)), (pair.aligned, merged)):
        sites = ("resid_post", "head_out", "mlp_out")
        own, other = (capture(m, texts, sites=sites) for m in (model, same))
        for site in sites:
            assert relative(own.tensors[site], other.tensors[site]) < 1e-5
    found, wanted = (generate(m, texts, max_new_tokens=4) for m in (pair.aligned, merged))
    assert [c.text for c in found] == [c.text for c in wanted]


def test_the_first_adapted_layer_is_known(base: Path, tmp_path: Path) -> None:
    options = {"target_modules": ["q_proj"], "layers_to_transform": [2]}
    adapter = save_adapter(tmp_path / "late", base, **options)
    pair = open_pair(str(base), str(adapter), device="cpu")  # the adapter's folder as the model
    assert (pair.shared, pair.same_until) == (True, 2)
    assert relative(logits(pair.aligned), logits(opened(base, adapter=adapter))) < 1e-5


def test_a_model_beside_itself(base: Path) -> None:
    pair = open_pair(str(base), str(base), device="cpu")
    assert (pair.shared, pair.same_until) == (True, 3)
    assert torch.equal(logits(pair.base), logits(pair.aligned))
    assert pair.base.fingerprint == pair.aligned.fingerprint


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("gpt2", {"target_modules": ["c_attn"], "bias": "all", "fan_in_fan_out": True}),
        ("llama", {"target_modules": ["q_proj"], "use_dora": True}),
        ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["norm"]}),
    ],
    ids=["bias", "dora", "saved"],
)
def test_adapters_that_are_more_are_loaded_apart(
    family: str, config: dict[str, object], tmp_path: Path
) -> None:
    base = save_folder(tmp_path / "tiny", family)
    adapter = save_adapter(tmp_path / "more", base, **config)
    weights = load_file(adapter / "adapter_model.safetensors")
    for name, tensor in weights.items():
        if "lora" not in name:  # what would be written into shared parameters
            tensor += 0.3
    save_file(weights, adapter / "adapter_model.safetensors")
    assert not is_side_path(adapter)
    pair = open_pair(str(base), adapter=adapter, device="cpu")
    assert (pair.shared, pair.same_until) == (False, -1)
    assert torch.equal(logits(pair.base), logits(opened(base)))
    assert torch.equal(logits(pair.aligned), logits(opened(base, adapter=adapter)))


def test_a_bundled_adapter_needs_one_load(
    base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def known(name: str) -> tuple[str, Path] | None:
        asked.append(name)
        return (str(base), adapter) if name == "tiny-aligned" else None

    monkeypatch.setattr("theodolite.models.pair.bundled_adapter", known)
    monkeypatch.setattr(
        "theodolite.models.pair.parse_reference",
        lambda text: parse_reference(str(base) if text == "tiny-aligned" else text),
    )
    pair = open_pair(str(base), "tiny-aligned", device="cpu")
    assert asked == ["tiny-aligned"]
    assert pair.shared
    assert (pair.aligned.ref, pair.aligned.name) == ("tiny-aligned", "tiny-aligned")
    assert relative(logits(pair.aligned), logits(opened(base, adapter=adapter))) < 1e-5


def test_two_folders_are_two_loads(base: Path, tmp_path: Path) -> None:
    other = save_folder(tmp_path / "tuned")
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"] += 0.1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    pair = open_pair(str(base), str(other), device="cpu")
    assert not pair.shared
    assert pair.name == "tiny -> tuned"
    assert not torch.equal(logits(pair.base), logits(pair.aligned))


def test_other_tokenizer_template_width_or_depth_is_refused(base: Path, tmp_path: Path) -> None:
    other = save_folder(tmp_path / "template", template=TEMPLATE + " ")
    with pytest.raises(DataError, match=r"'tiny' and 'template' .* chat templates differ"):
        open_pair(str(base), str(other), device="cpu")
    other = save_folder(tmp_path / "tokens")
    state = json.loads((other / "tokenizer.json").read_text("utf-8"))
    state["model"]["merges"].pop()
    (other / "tokenizer.json").write_text(json.dumps(state), "utf-8")
    with pytest.raises(DataError, match=r"'tiny' and 'tokens' .* tokenizers differ"):
        open_pair(str(base), str(other), device="cpu")


def test_padding_of_a_tokenizer_does_not_count() -> None:
    one, other = tiny_model().tokenizer, tiny_model().tokenizer
    other.backend_tokenizer.enable_padding(length=9)
    other.backend_tokenizer.enable_truncation(30)
    assert tokenizer_hash(one) == tokenizer_hash(other)


def test_bad_requests_are_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the model after"):
        open_pair(str(base))
    with pytest.raises(ConfigError, match="another aligned model too"):
        open_pair(str(base), "smollm2", adapter=adapter)
    with pytest.raises(ModelError, match="not an adapter"):
        open_pair(str(base), adapter=tmp_path)
    with pytest.raises(CapabilityError, match="an API returns text only"):
        open_pair(str(base), "api:openai/gpt-5", device="cpu")
    other = save_folder(tmp_path / "qwen", "qwen3")
    with pytest.raises(ModelError, match="does not fit this model"):
        open_pair(str(other), adapter=adapter, device="cpu")


@pytest.mark.slow
def test_the_bundled_pair_is_one_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THEODOLITE_CACHE")
    pair = open_pair("smollm2", "smollm2-aligned", device="cpu")
    assert pair.shared
    base = {p.data_ptr() for p in pair.base.module.parameters()}
    own = [p for p in pair.aligned.module.parameters() if p.data_ptr() not in base]
    assert sum(p.numel() * p.element_size() for p in own) < 12e6  # float32 of at most 5 MB
    merged = open_model("smollm2-aligned", device="cpu")
    assert isinstance(merged, LanguageModel)
    assert relative(logits(pair.aligned), logits(merged)) < 1e-5
    assert pair.aligned.fingerprint == merged.fingerprint
    plain = open_model("smollm2", device="cpu")
    assert isinstance(plain, LanguageModel)
    assert torch.equal(logits(pair.base), logits(plain))
