"""Settings that are printed are a file that the command reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from theodolite.training.recipe import Recipe, load_recipe


@pytest.mark.parametrize(
    ("words", "method", "runs"),
    [
        (("train",), "ssft-chat", "train ssft"),
        (("train", "ssft"), "ssft-chat", "train ssft"),
        (("train", "dpo"), "dpo", "train dpo"),
    ],
)
def test_a_printed_recipe_is_the_default_one(
    words: tuple[str, ...], method: str, runs: str, command: Command, tmp_path: Path
) -> None:
    code, out, err = command("config", *words)
    assert code == 0, err
    assert out.startswith(f"# theodolite {runs} FILE;")
    file = tmp_path / "recipe.toml"
    file.write_text(out.replace("rows = []", 'rows = ["bundled:refusal"]'))
    read = load_recipe(file)
    assert read.method == method and read.command == runs
    assert read.lora == Recipe().lora and read.learning_rate == Recipe().learning_rate
