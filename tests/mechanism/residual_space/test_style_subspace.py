"""The style directions of a run: chosen by interval and floor, and read by a training recipe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from tests.models.tiny import tiny_model
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.residual_space.style_subspace import style_subspace, subspace_words
from theodolite.mechanism.residual_space.themes import Bounded
from theodolite.runs.run import Run
from theodolite.training.penalty import read_subspace
from theodolite.training.recipe import Penalty

WIDTH = 32
NAMES = ("L0-C1", "L1-C1", "L1-C2", "L2-C1", "L2-C2", "L3-C1")
INDEX = np.array([0.9, 0.9, 0.8, 0.6, 0.4, 0.9])
LOW = np.array([0.8, 0.8, 0.7, 0.3, 0.35, np.nan])
FLOOR = np.array([0.2, 0.5, 0.6, 0.4, 0.3, 0.2])


def made_study(index: np.ndarray = INDEX) -> Any:
    """Return a study whose directions have these spurious indices."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((WIDTH, len(NAMES))))[0].T
    named = tuple(
        Direction(
            name=name,
            hidden_index=int(name[1]),
            vector=vector,
            method="made",
            position="prompt_last",
            model="m",
        )
        for name, vector in zip(NAMES, basis, strict=True)
    )
    styles = SimpleNamespace(spurious=Bounded(index, LOW, index + 0.05), random={"spurious": FLOOR})
    return SimpleNamespace(named=named, styles=styles)


def test_only_what_is_shown_to_read_the_wrapper_is_kept() -> None:
    bases = style_subspace(made_study())
    # L0 is written by no block, L2-C1 may lie at its floor, L2-C2 reads harm, L3-C1 has no ends.
    assert {name: rows.shape for name, rows in bases.items()} == {"L1": (2, WIDTH)}
    np.testing.assert_allclose(bases["L1"] @ bases["L1"].T, np.eye(2), atol=1e-9)
    assert "(2, at hidden index 1)" in subspace_words(bases)


def test_none_found_is_one_sentence() -> None:
    assert style_subspace(made_study(np.full(6, 0.3))) == {}
    without = made_study()
    without.styles.random = {}
    assert style_subspace(without) == {}
    without.styles = None
    assert style_subspace(without) == {}
    assert "no file of style directions was written" in subspace_words({})


def test_a_training_recipe_reads_what_a_run_wrote(tmp_path: Path) -> None:
    model, bases = tiny_model(), style_subspace(made_study())
    with Run.begin("test", "model", out=tmp_path / "run", config={}, seed=0) as run:
        run.save_tensors("styles", bases)
    path = tmp_path / "run" / "tensors" / "styles.safetensors"
    row = SimpleNamespace(row=SimpleNamespace(harmful=False, style="code"))
    held = read_subspace(model, Penalty(subspace=str(path)), cast(Any, [row]))
    assert held is not None and list(held.bases) == [1]
    torch.testing.assert_close(held.bases[1].double(), torch.tensor(bases["L1"]), atol=1e-6, rtol=0)
