"""theodolite correct harden: from a model to data, a table and a report; or one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.cli.conftest import Command, Refused
from tests.models.tiny_files import save_folder
from theodolite.audit.loops import harden as loop
from theodolite.cli import correct
from theodolite.data.bundled import bundled
from theodolite.training.rows import read_rows

TINY = """\
tried = "translation"
asked = "plain,translation"
tokens = "words.json"
max_tokens = 4
answer_tokens = 4
epochs = 1
max_steps = 1
clamp = false
replay = 2
controls = 2
"""
WORDS = ("--model", "model", "--config", "tiny.toml", "--exposure", "2", "--limit", "2")


@pytest.fixture(autouse=True)
def few_passages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loop, "plain_passages", lambda: list(bundled("passages"))[:2])
    yield


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a model, a word list and the options of a small loop in the folder commands run in."""
    save_folder(tmp_path / "model")
    (tmp_path / "words.json").write_text(json.dumps({"positive": ["a", "e"], "negative": ["o"]}))
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


def test_data_is_written_with_a_recipe(command: Command, here: Path) -> None:
    code, out, err = command("correct", "harden", *WORDS, "--styles", "quiz", "--out", "run")
    assert code == 0, err
    rows = read_rows(here / "run" / "data-2" / "rows.jsonl")
    assert {row.style for row in rows if row.source == "hardening"} == {"quiz"}
    assert "theodolite train ssft run/data-2/recipe.toml" in out.replace("\n", "")
    assert not (here / "run" / "training-2").exists()
    assert "Report:" in out


def test_the_written_recipe_is_one_that_train_takes(command: Command, here: Path) -> None:
    assert command("correct", "harden", *WORDS, "--styles", "quiz", "--out", "run")[0] == 0
    code, _, err = command(
        *("train", "ssft", "run/data-2/recipe.toml", "--max-steps", "1", "--out", "trained")
    )
    assert code == 0, err
    assert (here / "trained" / "adapter" / "adapter_model.safetensors").is_file()


def test_the_loop_gives_one_document_with_the_table(command: Command, here: Path) -> None:
    code, out, err = command("correct", "harden", *WORDS, "--loop", "--json", "--out", "run")
    assert code == 0, err
    document = json.loads(out)
    table = document["tables"]["hardened"]
    assert {row["style"] for row in table if row["class"] == "harmful"} == {"plain", "translation"}
    names = {m["name"] for m in document["measurements"]}
    assert {"harden/before/harmful/translation", "harden/retrained/perplexity/change"} <= names
    assert "Report:" in err and (here / "run" / "report.html").is_file()
    assert command("report", "run", "--out", "again.html")[0] == 0
    assert "Refusal before and after" in (here / "again.html").read_text("utf-8")
    again, out, _ = command("correct", "harden", "--resume", "run", "--json")
    assert again == 0 and json.loads(out)["tables"]["hardened"] == table


WRONG = {
    "style": (("--styles", "quizz"), "quiz"),
    "exposure": (("--exposure", "many"), "8,16,48"),
    "method": (("--method", "sft"), "ssft-chat"),
    "run": (("--weakness", "nowhere"), "nowhere"),
    "adapter": (("--adapter", "nowhere"), "nowhere"),
    "both": (("--styles", "quiz", "--weakness", "."), "--weakness"),
    "prompts": (("--prompts", "none.jsonl"), "none.jsonl"),
    "resumed and new": (("--resume", "run", "--out", "run"), "exclude"),
    "no such run": (("--resume", "run"), "run"),
    "api": (("--model", "api:mockllm/model"), "Training adapters"),
}


@pytest.mark.parametrize(("words", "says"), WRONG.values(), ids=WRONG.keys())
def test_bad_input(refused: Refused, words: tuple[str, ...], says: str) -> None:
    assert says in refused("correct", "harden", *words)


def test_help_names_the_loop() -> None:
    app = typer.Typer()
    app.add_typer(correct.app, name="correct")
    result = CliRunner().invoke(app, ["correct", "harden", "--help"])
    assert result.exit_code == 0 and "--loop" in result.output
