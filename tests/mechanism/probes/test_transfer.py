"""Transfer: known angles, no leak between parallel prompts, and cells that cannot be filled."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mechanism.planted import items_of, shifted, states_of
from tests.oracles.transfer import nearest_mean_is_second, tied
from theodolite.data.prompts import Prompt
from theodolite.errors import DataError
from theodolite.mechanism.items import Items
from theodolite.mechanism.probes.held_out import cross_fitted
from theodolite.mechanism.probes.splits import inner_folds
from theodolite.mechanism.probes.transfer import (
    FOLDS,
    by_language,
    layer_matrix,
    tied_groups,
    transfer_matrix,
)
from theodolite.text.hashing import item_seed

LABELS = np.arange(120) % 2


def rotated(angle: float, n: int = 120, width: int = 6, seed: int = 0) -> np.ndarray:
    """Return states whose classes lie 3 apart along a direction at an angle to the first axis."""
    labels = np.arange(n) % 2
    x = shifted(labels, width, 0.0, seed=seed)
    x[:, :2] += 3.0 * labels[:, None] * np.array([math.cos(angle), math.sin(angle)])
    return x[:, None]


@pytest.mark.parametrize("angle", [0.0, math.pi / 3, math.pi / 2])
def test_accuracy_and_cosine_follow_the_angle(angle: float) -> None:
    """A threshold half way along the other direction: Phi(1.5) below it, Phi(3 cos - 1.5) above."""
    n = 1600
    a, b = items_of(np.arange(n) % 2, prefix="a"), items_of(np.arange(n) % 2, prefix="b")
    found = transfer_matrix(
        {"a": states_of(a, rotated(0.0, n)), "b": states_of(b, rotated(angle, n, seed=1))},
        {"a": a, "b": b},
        probe="difference_of_means",
    )
    normal = NormalDist()
    own = normal.cdf(1.5)
    expected = (own + normal.cdf(3 * math.cos(angle) - 1.5)) / 2
    assert found.accuracy("a", "a", 0).value == pytest.approx(own, abs=0.025)
    assert found.accuracy("a", "b", 0).value == pytest.approx(expected, abs=0.045)
    area = normal.cdf(3 * math.cos(angle) / math.sqrt(2))
    assert found.auroc("a", "b", 0) == pytest.approx(area, abs=0.05)
    # Each coordinate is first divided by its spread, that between the classes included.
    moved = 3 * np.array([math.cos(angle), math.sin(angle)])
    weights = moved / (1 + moved**2 / 4)
    expected = weights[0] / np.linalg.norm(weights)
    assert float(found.cosines["a", "b"][0]) == pytest.approx(expected, abs=0.07)
    assert found.cosines["a", "a"][0] == pytest.approx(1.0)


def memorable(prefixes: tuple[str, str], *, paired: bool) -> tuple[dict, dict]:
    """Return two parallel sets: the state of a pair is its own, the labels mean nothing."""
    rng = np.random.default_rng(4)
    labels = rng.permutation(LABELS)
    x = rng.standard_normal((120, 1, 900))
    pairs = [f"pair{i}" for i in range(120)] if paired else None
    items = {name: items_of(labels, pairs, prefix=name) for name in prefixes}
    return {name: states_of(one, x) for name, one in items.items()}, items


def test_parallel_prompts_never_straddle_a_fold() -> None:
    """Untied, a probe scores the very states it was fitted on under another name."""
    tied_cell = transfer_matrix(*memorable(("en", "de"), paired=True)).accuracy("en", "de", 0)
    loose_cell = transfer_matrix(*memorable(("en", "de"), paired=False)).accuracy("en", "de", 0)
    assert tied_cell.value is not None and tied_cell.value < 0.65
    assert loose_cell.value is not None and loose_cell.value > 0.8


@settings(max_examples=25)
@given(st.data())
def test_ties_are_those_of_the_oracle(data: st.DataObject) -> None:
    names = st.sampled_from([None, "x", "y", "z"])
    sets = []
    for s in range(2):
        size = data.draw(st.integers(1, 5))
        prompts = tuple(
            Prompt(f"{s}{i}", text="t", goal_id=data.draw(names), pair_id=data.draw(names))
            for i in range(size)
        )
        groups = tuple(data.draw(st.sampled_from(["g", f"{s}{i}"])) for i in range(size))
        base = items_of([0, 1])
        sets.append(replace(base, prompts=prompts, groups=groups, labels=np.zeros(size, np.int64)))
    places = [(s, i) for s, items in enumerate(sets) for i in range(len(items))]
    found: dict[str, set[tuple[int, int]]] = {}
    for place, group in zip(places, tied_groups(sets), strict=True):
        found.setdefault(group, set()).add(place)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, tied(sets)))


def test_every_cell_equals_the_oracle() -> None:
    a = items_of(np.arange(30) % 2, [f"p{i // 2}" for i in range(30)], prefix="a")
    b = items_of(np.arange(24) % 2, [f"p{i // 2}" for i in range(24)], prefix="b")
    states = {"a": states_of(a, rotated(0.0, 30)), "b": states_of(b, rotated(0.4, 24, seed=1))}
    items = {"a": a, "b": b}
    found = transfer_matrix(states, items, probe="difference_of_means")
    labels = np.concatenate([a.labels, b.labels])
    folds = inner_folds(labels, tied_groups([a, b]), folds=FOLDS, seed=item_seed(0, "transfer"))
    begins = {"a": 0, "b": 30}
    for train in "ab":
        x = states[train].at(0, "instruction_last")
        for test in "ab":
            y = states[test].at(0, "instruction_last")
            for rows, held in folds:
                own = [
                    i - begins[train] for i in rows if 0 <= i - begins[train] < len(items[train])
                ]
                for i in held:
                    j = i - begins[test]
                    if 0 <= j < len(items[test]):
                        second = nearest_mean_is_second(x[own], items[train].labels[own], y[j])
                        assert (found.scores[train, test][0, j] > 0) == second


def test_whitening_removes_what_sets_merely_differ_by() -> None:
    """The second set is the first, five times as large and elsewhere."""
    a, b = items_of(LABELS, prefix="a"), items_of(LABELS, prefix="b")
    x = rotated(0.0)
    states = {"a": states_of(a, x), "b": states_of(b, 5 * x + 40)}
    items = {"a": a, "b": b}
    plain = transfer_matrix(states, items)
    white = transfer_matrix(states, items, whiten=True)
    assert plain.accuracy("a", "b", 0).value == pytest.approx(0.5, abs=0.05)
    assert white.accuracy("a", "b", 0).value == pytest.approx(0.93, abs=0.06)
    assert white.cosines["a", "b"][0] == pytest.approx(1.0, abs=1e-3)


def test_other_widths_leave_a_cell_empty_with_its_reason() -> None:
    a, b = items_of(LABELS, prefix="a"), items_of(LABELS, prefix="b")
    states = {"a": states_of(a, rotated(0.0)), "b": states_of(b, rotated(0.0, width=4))}
    found = transfer_matrix(states, {"a": a, "b": b})
    assert found.accuracy("a", "b", 0).status == "not_measured"
    rows = {(r["train"], r["test"]): r for r in found.frame()}
    empty, full = rows["a", "b"], rows["a", "a"]
    assert [empty[k] for k in ("accuracy", "auroc", "cosine", "low")] == [None] * 4
    assert empty["reason"] == "the states are 6 and 4 wide" and full["reason"] is None
    names = {m.name: m for m in found.measurements()}
    assert names["transfer/a/b"].reason == "the states are 6 and 4 wide"
    assert names["transfer/a/a"].value == full["accuracy"]
    assert found.figure().spec["data"][0]["z"][0][1] is None


def test_the_other_sets_play_no_part_in_the_layer_that_is_named() -> None:
    a, b = items_of(LABELS, prefix="a"), items_of(LABELS, prefix="b")
    good, bad = shifted(LABELS, 4, 5.0), shifted(LABELS, 4, 0.0)
    states = {
        "a": states_of(a, np.stack([bad, good, bad], axis=1)),
        "b": states_of(b, np.stack([good, bad, bad], axis=1)),
    }
    found = transfer_matrix(states, {"a": a, "b": b}, probe="difference_of_means")
    assert (found.chosen("a"), found.chosen("b")) == (1, 0)
    cell = next(m for m in found.measurements() if m.name == "transfer/a/b")
    assert cell.value == found.accuracy("a", "b", 1).value and "hidden_index 1" in str(cell.reason)
    assert cell.floor is not None and cell.floor.value == 0.5


def test_the_diagonal_over_layers_is_the_cross_fitted_accuracy() -> None:
    pairs = [f"p{i // 2}" for i in range(120)]
    items = items_of(LABELS, pairs)
    x = np.stack([shifted(LABELS, 5, s, seed=i) for i, s in enumerate((0.5, 2.0, 2.0))], axis=1)
    states = states_of(items, x)
    found = layer_matrix(states, items)
    folds = inner_folds(LABELS, items.groups, folds=FOLDS, seed=item_seed(0, "transfer"))
    for h in range(3):
        own = states.at(h, "instruction_last")
        scores = cross_fitted("logistic", own, LABELS, items.groups, folds)
        assert found.scores[h, h] == pytest.approx(scores, rel=1e-6, abs=1e-9)
        assert found.accuracy[h, h] == ((scores > 0) == LABELS).mean()
    # The two strong layers hold the classes along one axis; the weak one along it too.
    assert found.accuracy[1, 2] > 0.7
    rows = found.frame()
    assert len(rows) == 9 and rows[5]["accuracy"] == found.accuracy[1, 2]
    assert found.figure().spec["data"][0]["z"][1][2] == found.accuracy[1, 2]


def spoken(tags: list[str | None]) -> Items:
    base = items_of(np.arange(len(tags)) % 2)
    prompts = tuple(replace(p, language=t) for p, t in zip(base.prompts, tags, strict=True))
    return replace(base, prompts=prompts, languages=tuple(tags))


def test_sets_by_language() -> None:
    items = spoken(["en", "en", "de", "de"])
    states = states_of(items, rotated(0.0, 4))
    found, parts = by_language(states, items)
    assert list(found) == list(parts) == ["de", "en"]
    assert found["de"].prompt_ids == parts["de"].ids == items.ids[2:]
    assert (found["en"].values == states.values[:2]).all()
    for tags in (["en"] * 4, ["en", "de", None, "de"]):
        with pytest.raises(DataError, match="language"):
            by_language(states, spoken(tags))


def test_sets_that_cannot_be_compared() -> None:
    a, b = items_of(LABELS, prefix="a"), items_of(LABELS, prefix="b")
    states = {"a": states_of(a, rotated(0.0)), "b": states_of(b, rotated(0.0))}
    with pytest.raises(DataError, match="two sets"):
        transfer_matrix({"a": states["a"]}, {"a": a})
    with pytest.raises(DataError, match="classes"):
        transfer_matrix(states, {"a": a, "b": replace(b, classes=("benign", "jailbreak"))})
    apart = {**states, "b": replace(states["b"], hidden_indices=(3,))}
    with pytest.raises(DataError, match="no hidden index in common"):
        transfer_matrix(apart, {"a": a, "b": b})
