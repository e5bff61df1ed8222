"""The curve by class: where benign and harmful part for good, and in a band that holds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.io
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mechanism.lens.test_lens import PROMPTS, tiny_items, tiny_lens
from tests.oracles.lens import (
    difference_and_error,
    resampled_difference,
)
from theodolite.data.prompts import Prompt
from theodolite.errors import DataError
from theodolite.measure.bootstrap import resample_weights
from theodolite.measure.closed_form import Clusters
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.lens.emotion_curve import (
    EmotionCurve,
    conversion_index,
    emotion_curve,
    gap_band,
)
from theodolite.mechanism.lens.logit_lens import LensResult

# The curve by class


def made_lens(emotion: Any) -> LensResult:
    """Return a lens whose e_l are given, axes (prompt, hidden_index); its tokens are arbitrary."""
    emotion = np.asarray(emotion, float)
    prompts, layers = emotion.shape
    ids = np.zeros((prompts, layers, 1), np.int64)
    return replace(
        tiny_lens(),
        prompt_ids=tuple(f"p{i}" for i in range(prompts)),
        hidden_indices=tuple(range(layers)),
        n_layers=layers - 1,
        k=1,
        token_ids=ids,
        logits=ids.astype(np.float32),
        probabilities=ids.astype(np.float32),
        emotion=emotion,
        emotion_topk=emotion,
        tokens={0: "x"},
    )


def made_items(labels: Sequence[str], groups: Sequence[str] | None = None) -> Items:
    """Return items p0, p1, ... of these classes."""
    classes = tuple(dict.fromkeys(labels))
    prompts = tuple(Prompt(f"p{i}", text=f"request {i}") for i in range(len(labels)))
    base = make_items({"benign": PROMPTS[:1], "harmful": PROMPTS[1:]})
    return replace(
        base,
        prompts=prompts,
        classes=classes,
        labels=np.array([classes.index(label) for label in labels]),
        groups=tuple(groups or [f"g{i}" for i in range(len(labels))]),
    )


def planted(gap: Sequence[float], pairs: int = 30, seed: int = 0) -> EmotionCurve:
    """Return the curve of twins whose classes differ by `gap` at each hidden_index."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(pairs, len(gap)))
    benign, harmful = (shared + 0.2 * rng.normal(size=shared.shape) for _ in range(2))
    lens = made_lens(np.concatenate([benign + np.asarray(gap), harmful]))
    groups = [f"g{i}" for i in range(pairs)] * 2
    return emotion_curve(lens, made_items(["benign"] * pairs + ["harmful"] * pairs, groups))


def test_a_planted_conversion_is_found_where_it_starts_for_good() -> None:
    curve = planted([0.0, 0.9, 0.0, 0.0, 0.8, 0.8, 1.0])
    assert (curve.conversion_index, curve.reason) == (4, None)
    assert curve.gap is not None and curve.gap[4] == pytest.approx(0.8, abs=0.2)
    figures = {m.name: m for m in curve.measurements()}
    assert figures["lens/conversion"].value == 4
    assert figures["lens/gap"].value == pytest.approx(curve.gap[4])
    assert figures["lens/gap"].low is not None and figures["lens/gap"].low > 0
    assert figures["lens/emotion/harmful"].value == pytest.approx(curve.means[1, 4])
    assert figures["lens/emotion/harmful"].n_clusters == 30
    floor = figures["lens/emotion/harmful"].floor
    assert floor is not None and floor.value == pytest.approx(math.log(3 / 2))


@pytest.mark.parametrize(
    ("gap", "why"),
    [
        ([0.0, 1.0, 1.0, 0.0], "is not above 0 at the last layer"),
        ([0.0, 0.0, 1.0, -1.0], r"not above 0 at the last layer \(there it lies below 0\)"),
    ],
)
def test_a_gap_that_does_not_last_is_no_conversion(gap: list[float], why: str) -> None:
    curve = planted(gap)
    assert curve.conversion_index is None
    figures = {m.name: m for m in curve.measurements()}
    assert figures["lens/conversion"].status == "not_measured"
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(figures["lens/conversion"].reason)
    assert figures["lens/gap"].reason == "benign minus harmful at hidden_index 3, the last"


@pytest.mark.parametrize(
    ("low", "expected"),
    [([1, 1, 1], 5), ([-1, 1, 1], 6), ([math.nan, 1, 1], 6), ([1, -1, 1], 7), ([1, 1, 0], None)],
)
def test_the_conversion_index_of_a_band(low: list[float], expected: int | None) -> None:
    band = np.array(low, float)
    assert conversion_index((5, 6, 7), band, band + 2)[0] == expected


def test_a_layer_where_nothing_varies_has_no_band() -> None:
    """At the embeddings all prompts end in the same template token."""
    curve = emotion_curve(tiny_lens(), replace(tiny_items(), groups=("x", "y", "z")))
    assert curve.gap is not None and curve.gap[0] == pytest.approx(0, abs=1e-5)
    values = np.ones((12, 2))
    values[:, 1] = np.arange(12)
    low, high = gap_band(values, np.arange(12) < 6, Clusters.of(None, 12), seed=0)
    assert np.isnan([low[0], high[0]]).all() and np.isfinite([low[1], high[1]]).all()
    single = gap_band(values, np.arange(12) < 1, Clusters.of(None, 12), seed=0)
    assert np.isnan(single).all()  # one cluster on one side


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_the_band_equals_the_oracle_draw_by_draw(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, groups = rng.normal(size=(14, 3)), rng.permutation(np.repeat(np.arange(7), 2))
    first = rng.permutation(np.arange(14) < 7)
    clusters = Clusters.of(groups.tolist(), 14)
    low, high = gap_band(values, first, clusters, seed=seed, resamples=60)
    where = np.unique(clusters.index, return_index=True)[1]
    (weights,) = resample_weights(clusters, seed=seed, resamples=60)
    base = [difference_and_error(values[:, h], first, clusters.index.tolist()) for h in range(3)]
    largest = []
    for counts in weights[:, where].astype(int):
        drawn = np.repeat(np.arange(7), counts).tolist()
        sides = {bool(f) for f, g in zip(first, clusters.index) if g in set(drawn)}
        if len(sides) < 2 or len(set(drawn)) < 2:
            continue
        pulls = [
            resampled_difference(values[:, h], first, clusters.index.tolist(), drawn)
            for h in range(3)
        ]
        if all(error > 1e-6 * b[1] for (_, error), b in zip(pulls, base)):
            largest.append(max(abs(g - b[0]) / e for (g, e), b in zip(pulls, base)))
    reach = float(np.quantile(largest, 0.95))
    assert low == pytest.approx([gap - reach * error for gap, error in base])
    assert high == pytest.approx([gap + reach * error for gap, error in base])


def coverage(band: Any, runs: int, pairs: int = 24, layers: int = 10) -> float:
    """Return how often a band holds the whole true curve, over simulated twins."""
    rng, held = np.random.default_rng(9), 0
    first = np.arange(2 * pairs) < pairs
    clusters = Clusters.of([*range(pairs)] * 2, 2 * pairs)
    for run in range(runs):
        noise = (
            rng.normal(size=(2 * pairs, layers)) + rng.normal(size=(pairs, layers))[clusters.index]
        )
        low, high = band(noise.cumsum(1), first, clusters, run)
        held += bool(((low <= 0) & (high >= 0)).all())
    return held / runs


def test_the_band_holds_the_whole_curve_as_often_as_it_says() -> None:
    """2,000 simulations; the lower edge is that of a 99.9 % band around 95 %."""

    def whole(values: Any, first: Any, clusters: Clusters, run: int) -> Any:
        return gap_band(values, first, clusters, seed=run, resamples=300)

    def one_by_one(values: Any, first: Any, clusters: Clusters, run: int) -> Any:
        bands = [gap_band(v[:, None], first, clusters, seed=run, resamples=100) for v in values.T]
        return np.concatenate([b[0] for b in bands]), np.concatenate([b[1] for b in bands])

    assert 0.95 - 3.29 * math.sqrt(0.95 * 0.05 / 2000) <= coverage(whole, 2000) <= 0.985
    assert coverage(one_by_one, 100) < 0.9  # the check can fail


def test_intervals_of_a_class_are_clustered() -> None:
    rng = np.random.default_rng(3)
    values = np.repeat(rng.normal(size=(10, 1)), 4, axis=0).repeat(2, axis=1)
    lens, labels = made_lens(values), ["benign"] * 20 + ["harmful"] * 20
    free = emotion_curve(lens, made_items(labels))
    tied = emotion_curve(lens, made_items(labels, [f"g{i // 4}" for i in range(40)]))
    assert ((tied.high - tied.low) > 1.5 * (free.high - free.low)).all()
    assert np.array_equal(tied.means, free.means)


def test_three_classes_have_a_gap_between_benign_and_harmful_only() -> None:
    rng = np.random.default_rng(4)
    lens = made_lens(rng.normal(size=(30, 3)))
    labels = ["benign"] * 10 + ["harmful"] * 10 + ["jailbreak"] * 10
    curve = emotion_curve(lens, made_items(labels))
    assert curve.sides == ("benign", "harmful")
    assert curve.gap is not None
    assert curve.gap == pytest.approx(curve.means[0] - curve.means[1])
    assert {row["class"] for row in curve.frame()} == {*curve.classes, "gap"}
    other = emotion_curve(lens, made_items(["x"] * 10 + ["y"] * 10 + ["z"] * 10))
    assert (other.gap, other.conversion_index) == (None, None)
    assert {m.name: m.status for m in other.measurements()}["lens/gap"] == "not_measured"
    two = emotion_curve(lens, made_items(["x"] * 10 + ["y"] * 20))
    assert two.sides == ("x", "y")


def test_items_may_be_fewer_and_in_another_order() -> None:
    values = np.arange(12.0)[:, None].repeat(2, 1)
    lens = made_lens(values)
    items = made_items(["benign"] * 6 + ["harmful"] * 6)
    at = [7, 0, 6, 1]
    items = replace(
        items,
        prompts=tuple(items.prompts[i] for i in at),
        labels=items.labels[at],
        groups=tuple(items.groups[i] for i in at),
    )
    curve = emotion_curve(lens, items)
    assert curve.means[curve.classes.index("benign")].tolist() == [0.5, 0.5]
    assert curve.means[curve.classes.index("harmful")].tolist() == [6.5, 6.5]
    with pytest.raises(DataError, match="not put on prompt 'p0'"):
        emotion_curve(lens.rows(["p7"]), items)


def test_figures_of_the_curve_name_the_conversion() -> None:
    values = np.random.default_rng(5).normal(size=(24, 3))
    values[:12, 2] += 9
    lens = made_lens(values)
    items = made_items(["benign"] * 12 + ["harmful"] * 12)
    figures = lens.figures(items)
    assert [f.name for f in figures] == ["lens_map", "lens_emotion", "lens_gap"]
    assert "Conversion layer: hidden index 2" in figures[1].caption
    names = [trace.get("name") for trace in figures[1].spec["data"]]
    assert {"benign", "harmful", "floor: every token alike"} <= set(names)
    assert "nats" in figures[2].spec["layout"]["yaxis"]["title"]["text"]
    for figure in figures:
        plotly.io.from_json(json.dumps(dict(figure.spec)))
