"""The paper's own result files: what can be computed from them is what they say."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DATA = os.environ.get("THEODOLITE_DATA")
pytestmark = pytest.mark.skipif(DATA is None, reason="the official files are not at hand")
# Read off the published table, which prints three decimals.
DOMINANT = {5: 0.494, 8: 0.511, 10: 0.591, 11: 0.637, 13: 0.791, 14: 0.946, 15: 0.966, 20: 0.989,
            25: 0.980, 28: 0.983, 30: 0.951}  # fmt: skip
BEST = {5: 0.771, 8: 0.791, 10: 0.829, 11: 0.883, 13: 0.791, 14: 0.963, 15: 0.966, 20: 0.989,
        25: 0.980, 28: 0.983, 30: 0.989}  # fmt: skip
N = 700


def artifact(name: str) -> Any:
    folder = Path(str(DATA)) / "safety-residual-space"
    return json.loads((folder / name).read_text("utf-8"))


def test_first_and_best_components_follow_from_the_table() -> None:
    table = np.array(artifact("all_comp_accuracies.json"))
    assert table.shape == (33, 100)
    assert table[:, 0].tolist() == artifact("first_comp_accuracies.json")
    assert table.argmax(1).tolist() == artifact("best_comp_indices.json")


def test_published_accuracies() -> None:
    table = np.array(artifact("all_comp_accuracies.json"))
    for layer, value in DOMINANT.items():
        assert table[layer, 0] == pytest.approx(value, abs=5.1e-4)
    for layer, value in BEST.items():
        assert table[layer].max() == pytest.approx(value, abs=5.1e-4)
    # From layer 13 on the best component is the first or the second.
    assert set(artifact("best_comp_indices.json")[13:]) <= {0, 1}
    assert table[[14, 16, 30], 1] == pytest.approx([0.963, 0.983, 0.989], abs=5.1e-4)
    assert ((table[21:32, 3] > 0.85) & (table[21:32, 3] < 0.90)).all()


def test_accuracies_move_in_steps_of_two_prompts() -> None:
    # The rule calls as many prompts positive as there are, so errors come in pairs.
    right = np.array(artifact("all_comp_accuracies.json")) * N
    np.testing.assert_allclose(right, right.round(), atol=1e-6)
    assert (right[1:].round().astype(int) % 2 == N % 2).mean() > 0.99  # all but a few ties


def test_margins_of_the_first_component_grow_while_accuracy_is_flat() -> None:
    margins = np.abs(np.array(artifact("all_comp_loglikelihoods.json"))[:, 0])
    wanted = {14: 0.76, 20: 4.46, 25: 6.69, 30: 7.49, 32: 11.4}
    for layer, value in wanted.items():
        assert margins[layer] == pytest.approx(value, rel=0.01)


def test_recovered_ranks_rise_then_fall_after_one_training_and_grow_after_the_other() -> None:
    ranks = artifact("figures_recovered.json")["effective_rank"]
    guard, preference = ({t: np.array(v) for t, v in ranks[k].items()} for k in ("SSFT", "DPO"))
    assert (guard["0.9"].argmax(), guard["0.9"].max(), guard["0.9"][-1]) == (20, 72, 4)
    assert (guard["0.9"][1:12] <= 1).all()
    assert [guard[t].max() for t in ("0.8", "0.7", "0.6")] == [20, 6, 3]
    assert set(guard["0.4"][1:]) == {1}
    assert preference["0.9"].argmax() >= 30
    assert preference["0.9"][[15, 20, 25, 30, 32]].tolist() == [49, 59, 91, 141, 139]
    for curves in (guard, preference):  # a larger share never takes fewer directions
        assert (np.diff([curves[t] for t in sorted(curves)], axis=0) >= 0).all()


def test_recovered_curves_agree_with_the_table() -> None:
    curves = artifact("figures_recovered.json")["refusal_prediction_accuracy"]
    table = np.array(artifact("all_comp_accuracies.json"))
    np.testing.assert_allclose(curves["dominant_ssft"], table[:, 0], atol=1.1e-3)
    np.testing.assert_allclose(curves["best_of_n_ssft"], table.max(1), atol=1.1e-3)
