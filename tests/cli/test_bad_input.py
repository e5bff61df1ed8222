"""Bad input: one sentence on stderr, exit code 2, no traceback, nothing on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Refused
from tests.models.tiny_files import save_folder
from theodolite.audit.panels import PANELS


def test_a_real_process_says_one_line_and_exits_with_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "theodolite.cli.main", "audit", "--profile", "quik"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "theodolite: There is no profile named 'quik'. Did you mean quick?\n"


LIGHT = {
    "unknown profile": (["audit", "--profile", "quik"], "Did you mean quick"),
    "unknown panel": (["audit", "--only", "refusl"], "Did you mean refusal"),
    "unknown benchmark": (["eval", "refusel"], "Did you mean 'refusal'"),
    "nothing left": (["audit", "--skip", ",".join(PANELS)], "No panel is left"),
    "no such run": (["runs", "show", "nowhere"], "nowhere"),
    "task option without value": (["eval", "refusal", "-T", "limit"], "no value"),
    "unknown data": (["data", "list", "refusl"], "Did you mean"),
    "unknown settings": (["config", "audt"], "Did you mean `audit`?"),
    "unknown way of training": (["config", "train", "dop"], "Did you mean `dpo`?"),
}


@pytest.mark.parametrize(("arguments", "says"), LIGHT.values(), ids=LIGHT.keys())
def test_names_that_do_not_exist(arguments: list[str], says: str, refused: Refused) -> None:
    assert says in refused(*arguments)


def test_unknown_config_key(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "audit.toml").write_text('profile = "quick"\nprofle = 3\n')
    sentence = refused("audit", "--config", "audit.toml")
    assert "profle" in sentence and "profile" in sentence


def test_unknown_model_suggests_near_names(tmp_path: Path, refused: Refused) -> None:
    assert "smollm2" in refused("audit", "smolm2")


def test_folder_without_weights_and_pickled_weights(tmp_path: Path, refused: Refused) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    assert "weights" in refused("audit", "./model")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    assert "pickle" in refused("audit", "./model")


def test_truncated_weights(tmp_path: Path, refused: Refused) -> None:
    folder = save_folder(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "safetensors" in refused("audit", "./model")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    assert "broken.gguf" in refused("audit", "broken.gguf")


def test_white_box_panel_on_an_api_model(tmp_path: Path, refused: Refused) -> None:
    sentence = refused("audit", "api:mockllm/model", "--only", "probes")
    assert "hidden_states" in sentence


def test_out_folder_that_holds_something_else(tmp_path: Path, refused: Refused) -> None:
    save_folder(tmp_path / "model")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert "not empty" in refused("audit", "./model", "--out", "out")


def test_resume_of_another_commands_run(tmp_path: Path, refused: Refused) -> None:
    from theodolite.runs.run import Run

    save_folder(tmp_path / "model")
    Run.create("eval refusal", "tiny", out=tmp_path / "run").close()
    assert "eval refusal" in refused("audit", "./model", "--resume", "run")


def test_responses_with_a_wrong_field_and_a_broken_line(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"id": "a", "wrong": "No."}) + "\n")
    sentence = refused("eval", "refusal", "--responses", "answers.jsonl")
    assert "answers.jsonl" in sentence and "completion" in sentence
    path.write_text('{"id": "a", "completion": "No."}\n{"id": \n')
    assert "line 2" in refused("eval", "refusal", "--responses", "answers.jsonl")


def test_empty_and_badly_encoded_prompt_files(tmp_path: Path, refused: Refused) -> None:
    save_folder(tmp_path / "model")
    source = ["eval", "refusal", "--model", "./model", "-T", "source=asked.csv"]
    (tmp_path / "asked.csv").write_text("")
    assert "asked.csv" in refused(*source)
    (tmp_path / "asked.csv").write_bytes("id,prompt\n1,café\n".encode("latin-1"))
    assert "asked.csv" in refused(*source)
