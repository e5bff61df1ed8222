"""A tiny base model on disk, and trainings of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.tiny_files import save_folder
from tests.training.made_rows import label_rows, made_rows
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run
from theodolite.training.recipe import Data, Lora, Recipe
from theodolite.training.rows import write_rows
from theodolite.training.train import run_training

Training = Callable[..., Run]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny random Llama."""
    return save_folder(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Return a function that makes a small recipe on made rows."""

    def make(method: str = "ssft-chat", **more: Any) -> Recipe:
        rows = more.pop("rows", label_rows() if method == "ssft-label" else made_rows())
        path = write_rows(tmp_path / "rows.jsonl", rows)
        values: dict[str, Any] = {
            "model": str(base),
            "data": Data(rows=(str(path),)),
            "lora": Lora(r=2, dropout=0.1),
            "batch_size": 4,
            "learning_rate": 1e-2,
            "save_steps": 2,
        }
        return Recipe(method=method, **{**values, **more})  # type: ignore[arg-type]

    return make


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """Return a function that trains into a folder of this test."""

    def go(recipe: Recipe, name: str = "run", **more: Any) -> Run:
        out = None if "resume" in more else tmp_path / name
        run, _ = run_training(recipe, progress=SilentProgress(), out=out, **more)
        return run

    return go
