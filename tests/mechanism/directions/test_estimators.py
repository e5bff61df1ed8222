"""Estimators on states: each finds what was planted, reads no test prompt, and is deterministic.

Trap: an estimator that looked at the test split would do better on it, so its rows are replaced by
others and nothing may move.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.mechanism.directions.made_contrasts import gaussian_contrast, made_contrast
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.contrast import Contrast
from theodolite.mechanism.directions.estimator import ESTIMATORS, Estimate, estimator
from theodolite.mechanism.directions.means import candidates
from theodolite.mechanism.directions.som import self_organised
from theodolite.mechanism.probes.held_out import fit_apart

NAMES = tuple(ESTIMATORS)


def with_shift(contrast: Contrast, width: int = 24) -> Contrast:
    """Return the contrast of a tuned model that moves positive states along the first axis."""
    shift = 0.01 * np.random.default_rng(5).standard_normal(contrast.states.shape)
    shift[..., 0] += contrast.labels[:, None]
    return replace(contrast, shift=shift.astype(np.float32))


def vectors(estimate: Estimate) -> np.ndarray:
    return np.concatenate([estimate.basis(h) for h in estimate.hidden_indices])


@pytest.mark.parametrize("name", NAMES)
def test_each_finds_the_planted_direction_and_points_to_the_positive_class(name: str) -> None:
    contrast = with_shift(gaussian_contrast(480))
    found = estimator(name).fit(contrast, seed=0)
    assert found.method == name and found.hidden_indices == (1, 2)
    for h in found.hidden_indices:
        direction = found.leading(h)
        assert direction.vector[0] > (0.6 if name == "som" else 0.85)
        assert direction.name == f"{name}@L{h}" and direction.hidden_index == h
        assert found.gaps[h] == pytest.approx(3.0 * direction.vector[0], abs=0.6)
        assert found.scores[h] > 1.5
        rank = len(found.basis(h))
        assert found.basis(h) @ found.basis(h).T == pytest.approx(np.eye(rank), abs=1e-9)
    with pytest.raises(ConfigError, match="hidden_index 9"):
        found.leading(9)


@pytest.mark.parametrize("name", NAMES)
def test_test_prompts_are_never_read_and_a_second_fit_is_equal(name: str) -> None:
    contrast = with_shift(gaussian_contrast(120, depths=1))
    held = contrast.rows_of("test")
    states, shift = contrast.states.copy(), contrast.shift.copy()  # type: ignore[union-attr]
    states[held], shift[held] = 1e3, -1e3
    labels = np.where(held, 1 - contrast.labels, contrast.labels)
    other = replace(contrast, states=states, shift=shift, labels=labels)
    first, again, moved = (estimator(name).fit(c, seed=1) for c in (contrast, contrast, other))
    assert (vectors(first) == vectors(again)).all()
    assert (vectors(first) == vectors(moved)).all()
    assert first.scores == moved.scores


def test_difference_in_means_is_the_float64_difference() -> None:
    """float32 sums lose the difference of states with a large common part; float64 does not."""
    rng = np.random.default_rng(0)
    labels = np.arange(4000) % 2
    x = (4096.0 + rng.integers(0, 8, (4000, 1, 3))).astype(np.float32)
    contrast = made_contrast(x, labels)
    rows = contrast.fitting
    exact = [
        np.array([[int(v) for v in row] for row in x[rows & (labels == side), 0]]).sum(0)
        / int((rows & (labels == side)).sum())
        for side in (1, 0)
    ]
    gap = exact[0] - exact[1]
    found = estimator("difference_in_means").fit(contrast, seed=0)
    assert found.leading(1).vector == pytest.approx(gap / np.linalg.norm(gap), abs=1e-9)
    assert found.gaps[1] == pytest.approx(float(np.linalg.norm(gap)), rel=1e-9)


def test_probes_are_those_of_the_house() -> None:
    contrast = gaussian_contrast(120, depths=1)
    rows = contrast.fitting
    x, labels = contrast.at(1)[rows], contrast.labels[rows]
    groups = [g for g, inside in zip(contrast.goals, rows) if inside]
    wanted = fit_apart("lda", x, labels, groups, x[:1]).linear
    assert wanted is not None
    unit = wanted[0] / np.linalg.norm(wanted[0])
    assert estimator("lda").fit(contrast, seed=0).leading(1).vector == pytest.approx(unit, abs=1e-9)


def test_what_reads_best_is_not_what_is_added() -> None:
    contrast = gaussian_contrast(960, loud=3.0, depths=1)
    means = estimator("difference_in_means").fit(contrast, seed=0)
    assert abs(means.leading(1).vector[0]) > 0.9
    for name in ("logistic", "lda", "leace"):
        reader = estimator(name).fit(contrast, seed=0)
        assert reader.scores[1] > means.scores[1] + 0.5, name
        assert reader.leading(1).vector[1] < -0.2, name  # it takes the loud coordinate off


def test_leace_erases_along_the_difference_in_means() -> None:
    contrast = gaussian_contrast(240, depths=1)
    found, means = (
        estimator(name).fit(contrast, seed=0) for name in ("leace", "difference_in_means")
    )
    eraser = found.erasers[1]
    along = eraser.along[0] / np.linalg.norm(eraser.along[0])
    assert abs(along @ means.leading(1).vector) == pytest.approx(1.0)
    erased = eraser.apply(contrast.at(1)[contrast.fitting])
    positive = contrast.positive[contrast.fitting]
    assert erased[positive].mean(0) == pytest.approx(erased[~positive].mean(0), abs=1e-6)


def test_inlp_takes_every_direction_that_reads_and_stops() -> None:
    labels = np.arange(600) % 2
    x = np.random.default_rng(0).standard_normal((600, 1, 12))
    x[:, 0, :3] += labels[:, None] * np.array([3.0, 2.0, 1.5])
    # Each coordinate tells on its own, and the probe's direction mixes them: what is left after it
    # no longer parts the means, so one direction is all there is.
    single = estimator("inlp").fit(made_contrast(x, labels), seed=0)
    assert 1 <= len(single.directions[1]) <= 3
    # Three clusters of positives in different places take more than one direction.
    x = 0.4 * np.random.default_rng(1).standard_normal((600, 1, 12))
    x[np.arange(600), 0, np.random.default_rng(2).integers(0, 3, 600)] += 3.0 * labels
    several = estimator("inlp").fit(made_contrast(x, labels), seed=0)
    basis = several.basis(1)
    assert np.linalg.norm(basis[:, :3], axis=1)[0] > 0.9
    erased = several.erasers[1].apply(x[:, 0])
    groups = [f"goal-{i // 2}" for i in range(600)]
    left = fit_apart("logistic", erased, labels, groups, erased[:1])
    assert left.inner_accuracy < 0.56
    assert fit_apart("logistic", x[:, 0], labels, groups, x[:1, 0]).inner_accuracy > 0.95
    capped = estimator("inlp", most=1).fit(made_contrast(x, labels), seed=0)
    assert len(capped.directions[1]) == 1


def test_a_map_of_one_node_is_the_difference_in_means() -> None:
    contrast = gaussian_contrast(120)
    one = estimator("som", rows=1, columns=1).fit(contrast, seed=0)
    means = estimator("difference_in_means").fit(contrast, seed=0)
    for h in contrast.hidden_indices:
        assert one.leading(h).vector == pytest.approx(means.leading(h).vector)


def test_a_map_finds_every_cluster_of_the_positive_class() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 2
    x = 0.3 * rng.standard_normal((600, 1, 10))
    cluster = rng.integers(0, 3, 600)
    x[np.arange(600), 0, cluster] += 4.0 * labels
    found = estimator("som").fit(made_contrast(x, labels), seed=0)
    made = np.stack([d.vector for d in found.directions[1]])
    for axis in range(3):
        assert made[:, axis].max() > 0.95
    # A single direction lies between them.
    means = estimator("difference_in_means").fit(made_contrast(x, labels), seed=0)
    assert np.abs(means.leading(1).vector).max() < 0.75


def test_a_map_does_not_depend_on_the_order_of_states() -> None:
    x = np.random.default_rng(0).standard_normal((50, 6))
    nodes, won = self_organised(x, 2, 3, epochs=20)
    order = np.random.default_rng(1).permutation(50)
    again, won_again = self_organised(x[order], 2, 3, epochs=20)
    assert again == pytest.approx(nodes, abs=1e-9) and (won == won_again).all()
    assert won.sum() == 50


def test_the_shift_is_decomposed_without_labels() -> None:
    contrast = with_shift(gaussian_contrast(120, depths=1))
    rows = contrast.fitting
    shift = contrast.shift_at(1)[rows]
    for center in (True, False):
        found = estimator("shift_svd", components=3, center=center).fit(contrast, seed=0)
        wanted = np.linalg.svd(shift - shift.mean(0) if center else shift)[2][:3]
        cosines = np.abs(np.sum(found.basis(1) * wanted, axis=1))
        assert cosines == pytest.approx(np.ones(3), abs=1e-6)
    nothing = replace(contrast, shift=np.zeros_like(contrast.states))
    with pytest.raises(DataError, match="do not differ at hidden_index 1"):
        estimator("shift_svd").fit(nothing, seed=0)
    with pytest.raises(DataError, match="takes a base and a tuned one"):
        estimator("shift_svd").fit(replace(contrast, shift=None), seed=0)


def test_candidates_stand_at_every_position_and_depth() -> None:
    contrast = gaussian_contrast(120)
    found = candidates({"template[0]": contrast, "template[1]": contrast})
    assert {place: one.hidden_indices for place, one in found.items()} == {
        "template[0]": (1, 2),
        "template[1]": (1, 2),
    }


@pytest.mark.parametrize("name", ["difference_in_means", "logistic", "lda", "leace"])
def test_classes_that_do_not_differ_have_no_direction(name: str) -> None:
    x = np.ones((60, 1, 4))
    with pytest.raises(DataError):
        estimator(name).fit(made_contrast(x, np.arange(60) % 2), seed=0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("inlp", {"most": 0}, "most is 0"),
        ("som", {"rows": 0}, "is none"),
        ("shift_svd", {"components": 0}, "components is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        estimator(name, **options).fit(with_shift(gaussian_contrast(60)), seed=0)


def test_an_unknown_name_or_option_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean `difference_in_means`"):
        estimator("difference-in-mean")
    with pytest.raises(ConfigError, match="Did you mean `columns`"):
        estimator("som", column=2)
    with pytest.raises(ConfigError, match="has no option"):
        estimator("lda", rank=2)
