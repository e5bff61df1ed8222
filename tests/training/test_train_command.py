"""`theodolite train`: a recipe in, a run folder out, one sentence where something is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.training.conftest import Training
from tests.training.made_groups import made_groups
from theodolite.cli.train import app
from theodolite.data.preference_groups import write_groups
from theodolite.errors import ConfigError
from theodolite.runs.config import config_toml
from theodolite.runs.run import Run
from theodolite.training.recipe import Data, Recipe

Recipes = Callable[..., Recipe]
ROOT = Path(__file__).parents[2]


def write(tmp_path: Path, recipe: Recipe) -> str:
    path = tmp_path / "recipe.toml"
    path.write_text(config_toml(recipe))
    return str(path)


def test_one_document_on_stdout(recipe: Recipes, tmp_path: Path) -> None:
    name = write(tmp_path, recipe())
    out = str(tmp_path / "run")
    done = CliRunner().invoke(app, ["ssft", name, "--out", out, "--seed", "3", "--json"])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["run"]["command"] == "train ssft" and document["run"]["seed"] == 3
    assert {m["name"] for m in document["measurements"]} == {"loss/val", "time", "parameters"}
    assert set(document["tables"]) == {"training_log", "data_card", "held_out"}


def test_a_recipe_of_the_other_command_is_sent_there(recipe: Recipes, tmp_path: Path) -> None:
    name = write(tmp_path, recipe("dpo"))
    done = CliRunner().invoke(app, ["ssft", name])
    assert isinstance(done.exception, ConfigError)
    assert "Run `theodolite train dpo`" in str(done.exception)
    missing = CliRunner().invoke(app, ["dpo"])
    assert "needs a recipe" in str(missing.exception)


def test_listwise_is_a_command_of_its_own(recipe: Recipes, tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups.jsonl", made_groups(3, held_out=1))
    name = write(tmp_path, recipe("listwise", data=Data(rows=(str(groups),)), batch_size=1))
    out = str(tmp_path / "run")
    done = CliRunner().invoke(app, ["listwise", name, "--out", out, "--max-steps", "1", "--json"])
    assert done.exit_code == 0, done.exception
    document = json.loads(done.stdout)
    assert document["run"]["command"] == "train listwise"
    assert set(document["tables"]) == {
        "training_log",
        "data_card",
        "held_out",
        "held_out_answers",
    }
    names = {m["name"] for m in document["measurements"]}
    assert {"order/val", "ordered/val", "margin/val/gap/5"} <= names
    other = CliRunner().invoke(app, ["dpo", name])
    assert "Run `theodolite train listwise`" in str(other.exception)


def test_resume_needs_no_recipe_and_refuses_another_one(
    recipe: Recipes, training: Training, tmp_path: Path
) -> None:
    run = training(recipe())
    written = (run.path / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    done = CliRunner().invoke(app, ["ssft", "--resume", str(run.path), "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["tables"]["training_log"] == run.load_table(
        "training/training_log"
    )
    assert (run.path / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == written
    again = CliRunner().invoke(app, ["ssft", "--resume", str(run.path), "--seed", "5"])
    assert "seed was 0, is 5" in str(again.exception)


def test_help_is_light() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from theodolite.cli.train import app; "
        "done = CliRunner().invoke(app, ['ssft', '--help']); assert done.exit_code == 0; "
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_a_killed_process_goes_on_and_ends_with_the_same_bytes(
    recipe: Recipes, training: Training, tmp_path: Path
) -> None:
    asked = recipe(epochs=40, save_steps=3)
    whole = training(asked, "whole")
    name, out = write(tmp_path, asked), tmp_path / "killed"
    code = "import sys; from theodolite.cli.train import app; app(sys.argv[1:])"
    command = [sys.executable, "-c", code, "ssft", name, "--out", str(out)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=one_thread, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 240
    journal = out / "journal.jsonl"
    while not (journal.exists() and journal.read_text().count("\n") >= 20):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Run.open(out).finished and (out / "checkpoint.safetensors").is_file()
    subprocess.run(
        [*command[:4], "--resume", str(out)], env=one_thread, check=True, capture_output=True
    )
    weights = "adapter/adapter_model.safetensors"
    assert (out / weights).read_bytes() == (whole.path / weights).read_bytes()
