"""A training is its plan: equal to the slow oracle, the same bytes each time, stopped or not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.oracles.training import train_slowly
from tests.training.conftest import Training
from tests.training.made_rows import ANSWER, made_row, made_rows
from theodolite.engine.score import score
from theodolite.errors import (
    CapabilityError,
    ConfigError,
    DataError,
    Interrupted,
    NumericsError,
    RunError,
)
from theodolite.models import open_model
from theodolite.runs.run import Run
from theodolite.training import session
from theodolite.training.examples import encode_rows
from theodolite.training.recipe import Lora, Recipe
from theodolite.training.rows import read_rows
from theodolite.training.schedule import plan_steps

WEIGHTS = "adapter/adapter_model.safetensors"
Recipes = Callable[..., Recipe]


def adapter(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.path / WEIGHTS)


@pytest.mark.parametrize("method", ["ssft-chat", "ssft-label", "dpo"])
def test_trl_walks_the_plan_as_the_oracle_does(
    method: str, recipe: Recipes, training: Training
) -> None:
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    asked = recipe(
        method,
        lora=Lora(r=2),
        gradient_accumulation=1 if method == "dpo" else 2,
        weight_decay=0.1,
        store_dtype="float32",
        beta=0.5,
        epochs=2,
    )
    run = training(asked)
    model = open_model(asked.model)
    rows = [row for row in read_rows(asked.data.rows[0]) if row.split == "train"]
    examples = encode_rows(model, rows, method)
    plan = plan_steps(examples, asked)
    torch.manual_seed(asked.seed)  # PEFT draws the adapter's start from it
    config = LoraConfig(r=2, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    module = get_peft_model(model.module, config)
    losses = train_slowly(module, examples, plan)
    log = run.load_table("training/training_log")
    assert [row["loss"] for row in log] == pytest.approx(losses, rel=1e-5)
    wanted = get_peft_model_state_dict(module, save_embedding_layers=False)
    found = adapter(run)
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("method", ["ssft-chat", "dpo"])
def test_stopped_and_resumed_ends_with_the_bytes_of_one_go(
    method: str, recipe: Recipes, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(method, epochs=2)
    whole = training(asked, "whole")
    original = session._Watch.on_log

    def stop(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        original(self, args, state, control, **more)
        if self.done + state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session._Watch, "on_log", stop)
        with pytest.raises(Interrupted, match=r"checkpoint of step 4 is kept.*--resume"):
            training(asked, "stopped")
    folder = whole.path.parent / "stopped"
    assert (folder / "checkpoint.safetensors").is_file() and not (folder / "adapter").exists()
    resumed = training(asked, resume=folder)
    assert (resumed.path / WEIGHTS).read_bytes() == (whole.path / WEIGHTS).read_bytes()
    logs = [run.load_table("training/training_log") for run in (whole, resumed)]
    assert [row["loss"] for row in logs[0]] == [row["loss"] for row in logs[1]]
    assert [row["step"] for row in logs[1]] == list(range(1, len(logs[0]) + 1))
    assert not (resumed.path / "checkpoint.safetensors").exists() and resumed.finished


def test_one_seed_is_one_adapter_and_another_is_another(
    recipe: Recipes, training: Training
) -> None:
    seeds = {"a": 0, "b": 0, "c": 1}
    runs = [training(recipe(seed=seed, max_steps=2), name) for name, seed in seeds.items()]
    weights, configs = (
        [(run.path / "adapter" / name).read_bytes() for run in runs]
        for name in ("adapter_model.safetensors", "adapter_config.json")
    )
    assert weights[0] == weights[1] != weights[2]
    assert configs[0] == configs[1]


def test_the_adapter_opens_and_its_base_is_no_path(
    recipe: Recipes, training: Training, tmp_path: Path
) -> None:
    asked = recipe(learning_rate=3e-2, epochs=3)
    run = training(asked)
    config = json.loads((run.path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    base = open_model(asked.model)
    trained = open_model(asked.model, adapter=run.path / "adapter")
    prompt = made_rows()[0].text
    before, after = (
        score(m, [(prompt, made_rows()[0].target or "")])[0].sum for m in (base, trained)
    )
    assert after > before + 1
    text = "".join(
        path.read_text() for path in run.path.rglob("*") if path.suffix in (".json", ".toml")
    )
    assert "trl" not in text.lower() and "/adapter_model" not in text
    assert adapter(run)[next(iter(adapter(run)))].dtype == torch.bfloat16


def test_what_a_run_holds(recipe: Recipes, training: Training) -> None:
    long = made_row(20, harmful=False, text="word " * 60)
    other = made_row(21, harmful=False, split="test")
    asked = recipe(rows=[*made_rows(), long, other], max_length=100, too_long="leave_out")
    run = training(asked)
    figures = {m.name: m for m in run.load_measurements()}
    loss = figures["loss/val"]
    assert loss.n == 4 and loss.n_clusters == 2 and loss.floor is not None
    assert loss.value is not None and loss.value < loss.floor.value
    assert figures["parameters"].value < figures["parameters"].n
    card = json.loads((run.path / "data_card.json").read_text())
    assert card["uses"] == {
        "held out": 4,
        "left alone": 1,
        "left out: too long": 1,
        "trained on": 12,
    }
    assert sum(row["rows"] for row in run.load_table("training/data_card")) == card["rows"] == 18
    held = run.load_table("training/held_out")
    assert len(held) == 4 and "text" not in held[0]
    assert {"step", "loss", "lr", "tokens", "seconds"} == set(
        run.load_table("training/training_log")[0]
    )
    assert 'method = "ssft-chat"' in (run.path / "recipe.toml").read_text()


def test_a_row_that_is_too_long_is_an_error_and_never_cut(
    recipe: Recipes, training: Training, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"16 of 16 rows have more than 20 tokens"):
        training(recipe(max_length=20))
    assert not (tmp_path / "run").exists()


def test_rows_that_train_safety_away_leave_no_run(
    recipe: Recipes, training: Training, tmp_path: Path
) -> None:
    rows = [*made_rows(), made_row(9, harmful=True, target=ANSWER)]
    with pytest.raises(DataError, match="no refusal"):
        training(recipe(rows=rows))
    assert not (tmp_path / "run").exists()


def test_label_and_preference_figures_have_their_floors(
    recipe: Recipes, training: Training
) -> None:
    run = training(recipe("ssft-label", max_steps=1), "a")
    label = {m.name: m for m in run.load_measurements()}
    assert label["accuracy/val"].floor.value == 0.5  # type: ignore[union-attr]
    dpo = {m.name: m for m in training(recipe("dpo", epochs=3), "b").load_measurements()}
    assert dpo["preference/val"].floor.value == 0.5  # type: ignore[union-attr]
    assert dpo["preference/val"].value == 1.0
    none = training(recipe(rows=made_rows(held_out=0), max_steps=1), "c").load_measurements()
    assert {m.name: m.status for m in none}["loss/val"] == "not_measured"


def test_a_whole_model_is_trained_saved_and_opened(recipe: Recipes, training: Training) -> None:
    for method in ("ssft-chat", "dpo"):
        run = training(recipe(method, full=True, learning_rate=3e-4, epochs=3), method)
        model = open_model(str(run.path / "model"))
        assert model.module is not None and not (run.path / "adapter").exists()
        log = run.load_table("training/training_log")
        assert log[-1]["loss"] < log[0]["loss"]
        if method == "dpo":
            assert log[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)  # policy = reference


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(1)
    optimizer.step()
    checkpoints = session.checkpoints
    checkpoints.save_checkpoint(path, {"x": parameter}, optimizer, step=2, plan="another")
    with pytest.raises(RunError, match="belongs to another training"):
        checkpoints.finished_steps(path, "one")
    assert checkpoints.finished_steps(path, "another") == 2
    with pytest.raises(RunError, match="other weights"):
        checkpoints.load_checkpoint(path, {"y": parameter}, optimizer, step=2)
    path.write_bytes(b"broken")
    with pytest.raises(RunError, match="cannot be read"):
        checkpoints.finished_steps(path, "another")


def test_a_loss_that_is_not_finite_stops_the_training(recipe: Recipes, training: Training) -> None:
    with pytest.raises(NumericsError, match=r"loss of step \d+ is"):
        training(recipe(learning_rate=1e30, warmup=0.0, grad_clip=0.0, epochs=4))


def test_packing_is_refused_where_rows_would_see_each_other(
    recipe: Recipes, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "packs_exactly", lambda *_: False)
    with pytest.raises(CapabilityError, match="attend to each other"):
        training(recipe(packing=True))
    training(recipe(max_steps=1), "padded")


def test_an_unknown_target_names_its_neighbour(
    recipe: Recipes, training: Training, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"'q_prj'.*q_proj"):
        training(recipe(lora=Lora(r=2, targets=("q_prj",))))
    with pytest.raises(ConfigError, match="'lm_head'"):
        training(recipe(lora=Lora(r=2, targets=("lm_head",))))
    assert not (tmp_path / "run").exists()


def test_layout_and_passes_change_the_result_by_rounding_only(
    recipe: Recipes, training: Training
) -> None:
    same = {"lora": Lora(r=2), "store_dtype": "float32", "learning_rate": 1e-3}
    packs = training(recipe(packing=True, **same), "a")
    pads = training(recipe(packing=False, **same), "b")
    split = training(recipe(packing=False, **same, batch_size=2, gradient_accumulation=2), "c")
    for other in (pads, split):
        losses = [
            [r["loss"] for r in run.load_table("training/training_log")] for run in (packs, other)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_nothing_but_the_document_goes_to_stdout(
    recipe: Recipes, training: Training, capfd: pytest.CaptureFixture[str]
) -> None:
    training(recipe("dpo", max_steps=1), "a")
    training(recipe(gradient_checkpointing=True, max_steps=1), "b")
    out, err = capfd.readouterr()
    assert out == "" and "Warning" not in err
