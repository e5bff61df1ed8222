"""Going on from an adapter: its weights are the start, and the reference, of what follows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.models.tiny_files import save_adapter, save_folder
from tests.oracles.training import train_slowly
from tests.training.conftest import Training
from tests.training.made_rows import made_rows
from theodolite.engine.score import score
from theodolite.errors import ConfigError, Interrupted, ModelError
from theodolite.models import open_model
from theodolite.models.adapters import adapter_method
from theodolite.models.bundled import ADAPTERS
from theodolite.runs.run import Run
from theodolite.training import session
from theodolite.training.examples import encode_rows
from theodolite.training.recipe import Lora, Penalty, Recipe, check_recipe, load_recipe
from theodolite.training.rows import read_rows
from theodolite.training.schedule import plan_steps
from theodolite.training.start import going_on, start_folder

Recipes = Callable[..., Recipe]
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def start(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random adapter of rank 2 on `q_proj` and `o_proj`."""
    return save_adapter(tmp_path_factory.mktemp("start") / "first", base)


def going(recipe: Recipes, start: Path, method: str = "ssft-chat", **more: Any) -> Recipe:
    return recipe(method, lora=Lora(start=str(start)), store_dtype="float32", **more)


def peft_start(asked: Recipe, start: Path) -> Any:
    from peft import PeftModel

    base = open_model(asked.model).module
    return PeftModel.from_pretrained(base, str(start), is_trainable=True)


@pytest.mark.parametrize("method", ["ssft-chat", "dpo"])
def test_every_step_is_the_oracles_from_the_start(
    method: str, recipe: Recipes, training: Training, start: Path
) -> None:
    from peft import get_peft_model_state_dict

    asked = going(recipe, start, method, epochs=2, beta=0.5)
    run = training(asked)
    losses = [row["loss"] for row in run.load_table("training/training_log")]
    opened = open_model(asked.model, adapter=start)
    rows = [row for row in read_rows(asked.data.rows[0]) if row.split == "train"]
    examples = encode_rows(opened, rows, method)
    module = peft_start(asked, start)
    wanted = train_slowly(module, examples, plan_steps(examples, asked), opened.module)
    assert losses == pytest.approx(wanted, rel=1e-4)
    if method == "dpo":  # policy and reference both begin as the model with the start adapter
        assert losses[0] == pytest.approx(math.log(2), rel=1e-6)
        assert losses[-1] < losses[0]
    found = load_file(run.path / "adapter" / WEIGHTS)
    kept = get_peft_model_state_dict(module, save_embedding_layers=False)
    assert found.keys() == kept.keys() == load_file(start / WEIGHTS).keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, kept[name], rtol=1e-3, atol=2e-5)


def test_the_new_adapter_is_whole_and_its_figures_begin_at_the_start(
    recipe: Recipes, training: Training, start: Path
) -> None:
    asked = going(recipe, start, "dpo", learning_rate=0.0, max_steps=1)
    run = training(asked)
    same = load_file(run.path / "adapter" / WEIGHTS)
    assert all(torch.equal(same[k], v) for k, v in load_file(start / WEIGHTS).items())
    prompt = made_rows()[0]
    odds = [
        score(open_model(asked.model, adapter=each), [(prompt.text, prompt.target or "")])[0].sum
        for each in (None, start, run.path / "adapter")
    ]
    assert odds[1] == pytest.approx(odds[2], abs=1e-4) and abs(odds[0] - odds[1]) > 1e-2
    for row in run.load_table("training/held_out"):
        assert row["margin_before"] == pytest.approx(row["margin_after"], abs=1e-3)
    figures = {m.name: m for m in run.load_measurements()}
    trained = sum(tensor.numel() for tensor in same.values())
    whole = sum(p.numel() for p in open_model(asked.model).module.parameters()) + trained
    assert (figures["parameters"].value, figures["parameters"].n) == (trained, whole)


def test_the_run_says_what_it_started_from(
    recipe: Recipes, training: Training, start: Path
) -> None:
    run = training(going(recipe, start, max_steps=1))
    assert run.manifest["inputs"]["start"]["sha256"]
    assert run.manifest["model"]["name"] == "tiny+first"
    text = (run.path / "recipe.toml").read_text()
    assert "r = 2" in text and 'targets = ["o_proj", "q_proj"]' in text
    config = json.loads((run.path / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 2 and config["base_model_name_or_path"] == "tiny"


@pytest.mark.parametrize("method", ["ssft-chat", "dpo"])
def test_stopped_and_resumed_ends_with_the_bytes_of_one_go(
    method: str,
    recipe: Recipes,
    training: Training,
    start: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = going(recipe, start, method, epochs=2)
    whole = training(asked, "whole")
    original = session._Watch.on_log

    def stop(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        original(self, args, state, control, **more)
        if self.done + state.global_step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session._Watch, "on_log", stop)
        with pytest.raises(Interrupted, match="checkpoint of step 2 is kept"):
            training(asked, "stopped")
    resumed = training(asked, resume=whole.path.parent / "stopped")
    parts = [(each.path / "adapter" / WEIGHTS).read_bytes() for each in (whole, resumed)]
    assert parts[0] == parts[1]


def test_one_method_after_the_other(recipe: Recipes, training: Training) -> None:
    first: Run = training(recipe(max_steps=2), "first")
    second = training(going(recipe, first.path / "adapter", "dpo", max_steps=2), "second")
    log = second.load_table("training/training_log")
    assert log[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)
    opened = open_model(second.manifest["config"]["model"], adapter=second.path / "adapter")
    assert opened.trained_by == "ssft-chat then dpo"


def test_what_the_adapter_has_is_not_named_otherwise(recipe: Recipes, start: Path) -> None:
    asked = going(recipe, start)
    assert going_on(asked).lora == Lora(2, 8.0, targets=("o_proj", "q_proj"), start=str(start))
    same = replace(asked, lora=Lora(r=2, targets=("q_proj", "o_proj"), start=str(start)))
    assert going_on(same).lora.r == 2
    for named in ({"r": 4}, {"alpha": 2.0}, {"targets": ("v_proj",)}):
        other = replace(asked, lora=Lora(start=str(start), **named))
        with pytest.raises(ConfigError, match=rf"`lora.{next(iter(named))}` is .* has .* Leave"):
            going_on(other)


def test_a_start_that_does_not_fit_is_one_sentence(
    recipe: Recipes, training: Training, start: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        training(going(recipe, tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="is not an adapter"):
        training(going(recipe, tmp_path))
    gpt2 = save_folder(tmp_path / "gpt2", "gpt2")
    with pytest.raises(ModelError, match=r"does not fit this model.*Open the base"):
        training(going(recipe, start, model=str(gpt2)))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="`full` trains all weights"):
        check_recipe(going(recipe, start, full=True))
    with pytest.raises(ConfigError, match=r"Leave `lora\.start` or the penalty out"):
        check_recipe(going(recipe, start, penalty=Penalty("s.safetensors", 1.0)))


def test_bundled_adapters_are_named_like_rows(recipe: Recipes) -> None:
    assert start_folder("bundled:smollm2-aligned") == ADAPTERS / "smollm2-aligned"
    assert adapter_method(start_folder("bundled:smollm2-aligned")) == "ssft-chat"
    asked = replace(recipe(), model="smollm2", lora=Lora(start="bundled:smollm2-aligned"))
    assert going_on(asked).lora.alpha == 16.0
    with pytest.raises(ConfigError, match=r'made for smollm2, and.*Use model = "smollm2"'):
        going_on(replace(asked, model="smollm2-aligned"))
    with pytest.raises(ConfigError, match=r"'smollm2-alined'.*smollm2-aligned"):
        start_folder("bundled:smollm2-alined")


def test_a_folder_beside_the_recipe_is_found(start: Path) -> None:
    path = start.parent / "recipe.toml"
    path.write_text('[data]\nrows = ["bundled:refusal"]\n[lora]\nstart = "first"\n')
    assert load_recipe(path).lora.start == str(start)
