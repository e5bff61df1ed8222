"""What can be opened, what is refused, and that each refusal is one sentence with a way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.tiny_files import save_adapter, save_folder
from theodolite.errors import CapabilityError, ConfigError, ModelError, UnsupportedArchitecture
from theodolite.models.chat import encode
from theodolite.models.handle import ApiModel, LanguageModel
from theodolite.models.open import open_model
from theodolite.models.refs import parse_reference


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEODOLITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def adapter(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapters") / "lora", saved)


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in saved.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def opened(ref: str | Path, **options: Any) -> LanguageModel:
    model = open_model(str(ref), device="cpu", **options)
    assert isinstance(model, LanguageModel)
    return model


def refusal(ref: str | Path, **options: Any) -> str:
    with pytest.raises((ModelError, ConfigError)) as caught:
        open_model(str(ref), **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.fix
    return message


def logits(model: LanguageModel) -> torch.Tensor:
    with torch.inference_mode():
        return model.module(torch.tensor([[3, 50, 90]])).logits


def test_folder_opens_ready_for_everything(saved: Path) -> None:
    model = opened(saved)
    assert (model.name, model.revision, model.max_context) == ("tiny", None, 512)
    assert (model.dtype, model.device.type) == (torch.float32, "cpu")
    assert not model.module.training
    assert not any(p.requires_grad for p in model.module.parameters())
    assert model.module.config._attn_implementation == "sdpa"
    model.require("text", "logprobs", "hidden_states", "interventions", "training")
    assert model.interventions == ()


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("smollm2", "bundled", "smollm2"),
        ("gemma-3-270m", "bundled", "gemma-3-270m"),
        ("HuggingFaceTB/SmolLM2-360M", "hub", "SmolLM2-360M"),
        ("api:openai/gpt-5", "api", "openai/gpt-5"),
        ("api:hf-inference-providers/org/name:free", "api", "hf-inference-providers/org/name:free"),
    ],
)
def test_reference_forms(text: str, kind: str, name: str) -> None:
    reference = parse_reference(text)
    assert (reference.kind, reference.name) == (kind, name)


def test_two_part_name_is_always_the_hub(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name").symlink_to(saved)
    assert parse_reference("org/name").kind == "hub"
    assert parse_reference("./org/name").kind == "folder"
    assert "write ./org/name" in refusal("org/name")


def test_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    assert "Did you mean 'smollm2'" in refusal("smolm2")
    assert "org/name" in refusal("zzzzzz")
    assert "There is no file" in refusal(tmp_path / "none.gguf")
    (tmp_path / "notes.txt").touch()
    assert "only GGUF files" in refusal(tmp_path / "notes.txt")
    assert "api:PROVIDER/MODEL" in refusal("api:gpt")


def test_hostile_name_is_shown_escaped() -> None:
    assert "\\u202e" in refusal("bad\u202ename")


def test_hub_out_of_reach_says_what_to_do() -> None:
    assert "give a folder or a .gguf file" in refusal("no-such-org/no-such-model")


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "is empty" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt"])
def test_pickled_weights_are_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    assert "pickled weights only" in refusal(folder)


def test_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refusal(folder)


def test_truncated_weights_are_refused(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    for keep in (0, 5, 200, len(data) - 1):
        (folder / "model.safetensors").write_bytes(data[:keep])
        assert "broken or cut short" in refusal(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [("{", "is not JSON"), ("[]", "names no model_type"), (None, "no config.json")],
)
def test_broken_config_is_refused(folder: Path, config: str | None, message: str) -> None:
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    assert message in refusal(folder)


def test_adapter_folder_is_not_a_model(adapter: Path, folder: Path) -> None:
    assert "holds an adapter" in refusal(adapter)
    (folder / "adapter_config.json").write_text("{}")
    assert "holds an adapter" in refusal(folder)


def test_chat_options_reach_the_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{% if think is defined and not think %}<no>{% endif %}"
        "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    plain, quick = opened(folder), opened(folder, chat_options={"think": False})
    assert encode(plain, "hi").text == "hi"
    assert encode(quick, "hi").text == "<no>hi"
    assert plain.fingerprint != quick.fingerprint
    assert "no option 'thimk'" in refusal(folder, chat_options={"thimk": False})


def test_template_that_drops_the_user_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("hello")
    assert "single user turn" in refusal(folder)


def test_missing_shard_is_refused(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks the weight file 'model-2.safetensors'" in refusal(folder)
    index["weight_map"]["b"] = "../copy/model.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks the weight file" in refusal(folder)


def test_weights_that_do_not_fit_the_config_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    assert "missing keys" in refusal(folder)
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    assert "copy" in refusal(folder)


def test_model_with_its_own_code_is_refused_and_says_how_to_allow_it(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('code was run')")
    assert "trust_remote_code=True" in refusal(folder)


def test_architecture_without_anatomy_is_refused(tmp_path: Path) -> None:
    from tests.models.tiny import REFUSED, tiny_tokenizer

    REFUSED["mamba"]().save_pretrained(tmp_path / "mamba")
    tiny_tokenizer().save_pretrained(tmp_path / "mamba")
    with pytest.raises(UnsupportedArchitecture):
        open_model(str(tmp_path / "mamba"), device="cpu")


def test_dtype_and_device_options(saved: Path) -> None:
    assert opened(saved, dtype="bfloat16").dtype == torch.bfloat16
    assert "Did you mean 'bfloat16'" in refusal(saved, dtype="bfloat")
    assert "no device" in refusal(saved, device="abacus")
    assert "Use 8bit or 4bit" in refusal(saved, quantization="3bit")
    assert "not on the hub" in refusal(saved, revision="main")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there_is_refused(saved: Path) -> None:
    assert "needs a GPU" in refusal(saved, device="cuda:0")


def test_quantization_needs_its_package(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.models.open.find_spec", lambda _: None)
    assert "pip install bitsandbytes" in refusal(saved, quantization="4bit")


def test_adapter_changes_the_model_and_its_fingerprint(saved: Path, adapter: Path) -> None:
    base, adapted = opened(saved), opened(saved, adapter=adapter)
    assert adapted.name == "tiny+lora"
    assert adapted.fingerprint != base.fingerprint
    assert not torch.allclose(logits(base), logits(adapted), atol=1e-3)
    assert type(adapted.module) is type(base.module)
    assert not any("lora" in name for name, _ in adapted.module.named_parameters())


def test_adapter_that_is_not_one_is_refused(saved: Path, adapter: Path, tmp_path: Path) -> None:
    assert "no adapter_config.json" in refusal(saved, adapter=tmp_path)
    copy = tmp_path / "adapter"
    copy.mkdir()
    config = (adapter / "adapter_config.json").read_text()
    (copy / "adapter_config.json").write_text(config)
    assert "no weights" in refusal(saved, adapter=copy)
    (copy / "adapter_model.bin").touch()
    assert "pickled weights only" in refusal(saved, adapter=copy)
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    (copy / "adapter_model.safetensors").write_bytes(weights[:-1])
    assert "broken or cut short" in refusal(saved, adapter=copy)
    (copy / "adapter_model.safetensors").write_bytes(weights)
    for wrong, message in (("{", "cannot be read"), ('{"peft_type": "IA3"}', "kind 'IA3'")):
        (copy / "adapter_config.json").write_text(wrong)
        assert message in refusal(saved, adapter=copy)


def test_adapter_of_another_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    other = save_folder(tmp_path / "other", "gpt2")
    assert "does not fit this model" in refusal(other, adapter=adapter)


def test_fingerprint_depends_on_content_only(saved: Path, folder: Path) -> None:
    base = opened(saved).fingerprint
    assert opened(folder).fingerprint == base
    assert opened(folder, dtype="float64").fingerprint != base
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    changed = opened(folder).fingerprint
    assert changed != base
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    assert opened(folder).fingerprint not in (base, changed)


def test_verify_notices_a_silent_change(folder: Path) -> None:
    import os

    opened(folder)
    path = folder / "model.safetensors"
    stamp = path.stat().st_mtime_ns
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stamp, stamp))
    opened(folder)
    assert "changed although" in refusal(folder, verify=True)


def test_api_model_offers_text_and_refuses_the_rest() -> None:
    model = open_model("api:openai/gpt-5")
    assert isinstance(model, ApiModel)
    assert (model.name, model.capabilities) == ("openai/gpt-5", frozenset({"text"}))
    model.require("text")
    with pytest.raises(CapabilityError, match="Reading hidden states with api:openai/gpt-5"):
        model.require("text", "hidden_states")
    assert "runs elsewhere" in refusal("api:openai/gpt-5", adapter="x")


def test_adapter_with_weights_of_another_model_is_refused(
    saved: Path, adapter: Path, tmp_path: Path
) -> None:
    """Such weights would be left out in silence, and the model answer as if it had no adapter."""
    name = "adapter_model.safetensors"
    weights = load_file(adapter / name)
    renamed = {key.replace(".layers.0.", ".layers.7."): v for key, v in weights.items()}
    fewer = {key: v for key, v in weights.items() if ".layers.0." not in key}
    assert len(fewer) < len(weights)
    for wrong, folder in ((renamed, tmp_path / "renamed"), (fewer, tmp_path / "fewer")):
        shutil.copytree(adapter, folder)
        save_file(wrong, folder / name, metadata={"format": "pt"})
        assert "does not fit this model" in refusal(saved, adapter=folder)


def test_modules_that_an_adapter_saves_whole_are_put_in(saved: Path, tmp_path: Path) -> None:
    names = ["lm_head", "embed_tokens"]
    folder = save_adapter(tmp_path / "whole", saved, modules_to_save=names)
    found = opened(saved, adapter=folder).module
    weights = load_file(folder / "adapter_model.safetensors")
    for end, name in (
        (found.get_output_embeddings(), "lm_head"),
        (found.get_input_embeddings(), "model.embed_tokens"),
    ):
        assert torch.equal(end.weight, weights[f"base_model.model.{name}.weight"])


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head.base_layer.weight"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens.base_layer.weight"),
        ({"embeddings": True}, "lm_head.weight"),
    ],
)
def test_embeddings_saved_beside_an_adapter_are_refused(
    more: dict[str, Any], named: str, saved: Path, tmp_path: Path
) -> None:
    message = refusal(saved, adapter=save_adapter(tmp_path / "beside", saved, **more))
    assert named in message and "save_embedding_layers=False" in message
    assert "Open the base model" not in message


def test_an_adapter_of_a_grown_vocabulary_says_what_does_not_fit(
    saved: Path, tmp_path: Path
) -> None:
    folder = save_adapter(tmp_path / "grown", saved, modules_to_save=["lm_head"])
    name = "adapter_model.safetensors"
    weights = load_file(folder / name)
    head = weights["base_model.model.lm_head.weight"]
    weights["base_model.model.lm_head.weight"] = torch.cat([head, head[:2]])
    save_file(weights, folder / name, metadata={"format": "pt"})
    message = refusal(saved, adapter=folder)
    assert "does not fit this model: size mismatch for" in message and "lm_head" in message
