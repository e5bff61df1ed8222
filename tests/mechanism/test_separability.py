"""Separability: exact against an oracle, at chance where there is nothing, and its own floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.tiny import tiny_model
from tests.oracles.separability import nearer_to_harmful
from theodolite.data.bundled import bundled
from theodolite.errors import DataError
from theodolite.mechanism.separability import (
    METHODS,
    POSITIONS,
    SeparabilityResult,
    difference_of_means,
    logistic,
    separability,
    text_floor,
)
from theodolite.mechanism.separability_panel import SeparabilityPanel, findings
from theodolite.runs.panel import PanelContext
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 5))
def test_difference_of_means_equals_the_oracle(seed: int, per_class: int, width: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(2 * per_class, width))
    harmful = np.arange(2 * per_class) < per_class
    tests = random.normal(size=(7, width))
    expected = [
        nearer_to_harmful(x[harmful].tolist(), x[~harmful].tolist(), t) for t in tests.tolist()
    ]
    assert difference_of_means(x, harmful)(tests).tolist() == expected


@pytest.mark.parametrize("fit", [difference_of_means, logistic])
def test_classes_that_lie_apart_are_told_apart(fit) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0)
    harmful = np.arange(60) % 2 == 0
    x = random.normal(size=(60, 8)) + 4.0 * harmful[:, None]
    assert (fit(x[:40], harmful[:40])(x[40:]) == harmful[40:]).all()


@pytest.mark.parametrize("fit", [difference_of_means, logistic])
def test_noise_is_at_chance(fit) -> None:  # type: ignore[no-untyped-def]
    """Fitting and scoring on other rows: 60 runs of 40 outcomes stay inside a 99.9 % band."""
    random = np.random.default_rng(1)
    harmful = np.arange(80) % 2 == 0
    right = 0
    for _ in range(60):
        x = random.normal(size=(80, 20))
        right += int((fit(x[:40], harmful[:40])(x[40:]) == harmful[40:]).sum())
    n = 60 * 40
    assert abs(right / n - 0.5) < 3.3 * np.sqrt(0.25 / n)


def test_a_constant_coordinate_is_harmless() -> None:
    x = np.column_stack([np.full(20, 7.0), np.r_[np.zeros(10), np.ones(10)]])
    harmful = np.arange(20) >= 10
    assert (logistic(x, harmful)(x) == harmful).all()


def test_text_floor_reads_words_only() -> None:
    train = ["steal a car", "steal a bike", "wash a car", "wash a bike"]
    harmful = np.array([True, True, False, False])
    assert text_floor(train, harmful, ["steal a boat", "wash a boat"]).tolist() == [True, False]


@pytest.fixture(scope="module")
def tiny_result() -> SeparabilityResult:
    return separability(tiny_model("llama"), list(bundled("refusal")))


def test_shapes_and_words(tiny_result: SeparabilityResult) -> None:
    n_layers = tiny_model("llama").anatomy.n_layers
    assert tiny_result.correct.shape == (len(METHODS), len(POSITIONS), n_layers + 1, 96)
    frame = tiny_result.frame()
    assert len(frame) == len(METHODS) * len(POSITIONS) * (n_layers + 1)
    assert {row["site"] for row in frame if row["hidden_index"] == 0} == {"resid_pre"}
    names = [m.name for m in tiny_result.measurements()]
    assert names[:2] == ["separability/gain_over_text", "separability/text_floor"]
    assert len(names) == 6
    assert all(m.floor is not None and m.n == 96 for m in tiny_result.measurements())
    assert findings(tiny_result)


def test_embeddings_of_one_shared_token_carry_nothing(tiny_result: SeparabilityResult) -> None:
    """The last template token is the same in every prompt: hidden_index 0 is exactly one class."""
    at_embeddings = tiny_result.correct[:, POSITIONS.index("prompt_last"), 0]
    assert (at_embeddings.mean(axis=1) == 0.5).all()


def test_the_same_twice(tiny_result: SeparabilityResult) -> None:
    again = separability(tiny_model("llama"), list(bundled("refusal")))
    assert (again.correct == tiny_result.correct).all()


def test_saved_and_loaded_and_shown_by_the_panel(tmp_path: Path) -> None:
    run = Run.create("audit", "tiny", out=tmp_path / "run")
    model = tiny_model("llama")
    context = PanelContext(model, run, "quick", 0, SilentProgress())
    shown = SeparabilityPanel().run(context)
    loaded = SeparabilityResult.load(run)
    assert loaded.measurements() == list(shown.measurements)
    assert shown.figures[0].spec["data"] and shown.tables["separability"]


def test_a_split_without_a_class_is_refused() -> None:
    only_harmful = [p for p in bundled("refusal") if p.label == "harmful"]
    with pytest.raises(DataError, match="train split"):
        separability(tiny_model("llama"), only_harmful)


def test_outcomes_reproduce_every_measurement(tiny_result: SeparabilityResult) -> None:
    rows = tiny_result.outcomes()
    for figure in tiny_result.measurements():
        mine = [row["outcome"] for row in rows if row["measurement"] == figure.name]
        assert len(mine) == figure.n
        assert sum(mine) / len(mine) == pytest.approx(figure.value)
