"""What is held out is held out, and every class stands on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.oracles import splits as oracle
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.probes.splits import (
    KINDS,
    Split,
    headline_kind,
    held_units,
    inner_folds,
    make_splits,
)

Row = tuple[str, str | None, str | None, str | None]


def made(*rows: Row) -> Items:
    """Return items of (class, group, source, category), each with words of its own."""
    classes: dict[str, list[Prompt]] = {}
    for i, (name, group, source, category) in enumerate(rows):
        prompt = Prompt(f"{i:03}", text=f"item {i:03}", pair_id=group, source=source)
        split = ("train", "val", "test", None)[i % 4]
        chosen = Prompt(**{**vars(prompt), "category": category, "split": split})
        classes.setdefault(name, []).append(chosen)
    return make_items(classes)


def named(items: Items, rows: NDArray[np.int64], field: str) -> set[str]:
    return {getattr(items, field)[i] for i in rows}


@pytest.fixture(scope="module")
def refusal() -> Items:
    rows = list(bundled("refusal"))
    return make_items(
        {name: [p for p in rows if p.label == name] for name in ("harmful", "benign")}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_sides_never_overlap_and_hold_every_class(refusal: Items, kind: str) -> None:
    splits = make_splits(refusal, kind)
    counts = {"source": 2, "category": 12, "frozen": 1, "reference": 1}
    assert len(splits) == counts.get(kind, 10)
    assert [s.repeat for s in splits] == list(range(len(splits)))
    for split in splits:
        assert split.kind == kind
        assert not set(split.train) & set(split.test)
        for rows in (split.train, split.test):
            assert (np.diff(rows) > 0).all()
            assert set(refusal.labels[rows]) == {0, 1}
        if kind not in ("random", "reference"):
            tested = named(refusal, split.test, "groups")
            assert not tested & named(refusal, split.train, "groups")
            assert (np.bincount(refusal.labels[split.test]) == len(split.test) // 2).all()


def test_random_is_stratified_by_item(refusal: Items) -> None:
    splits = make_splits(refusal, "random", repeats=3)
    for split in splits:
        assert np.bincount(refusal.labels[split.test]).tolist() == [36, 36]
        assert len(split.train) + len(split.test) == 240
        # Twins do straddle here: that is what the grouped kinds are for.
        assert named(refusal, split.test, "groups") & named(refusal, split.train, "groups")
    assert len({tuple(s.test) for s in splits}) == 3


def test_group_resplits_take_the_share_they_can(refusal: Items) -> None:
    splits = make_splits(refusal, "group", repeats=3, test_share=0.25)
    assert [len(s.test) for s in splits] == [60, 60, 60]
    assert len({tuple(s.test) for s in splits}) == 3


def test_bundled_sources_and_categories(refusal: Items) -> None:
    assert headline_kind(refusal)[0] == "source"
    by_source = make_splits(refusal, "source")
    assert [s.held_out for s in by_source] == ["theodolite-commands", "theodolite-questions"]
    for split in by_source:
        assert (len(split.train), len(split.test)) == (120, 120)  # twins share their source
        assert named(refusal, split.test, "sources") == {split.held_out}
    for split in make_splits(refusal, "category"):
        assert named(refusal, split.test, "categories") == {split.held_out}
        assert (len(split.train), len(split.test)) == (220, 20)


def test_frozen_is_the_prompts_own(refusal: Items) -> None:
    (split,) = make_splits(refusal, "frozen")
    own = [prompt.split for prompt in refusal.prompts]
    assert {own[i] for i in split.test} == {"test"}
    assert {own[i] for i in split.train} == {"train", "val"}
    assert len(split.train) + len(split.test) == 240


def test_frozen_leaves_out_what_has_no_split_or_shares_a_group_with_a_test_item() -> None:
    rows: list[Row] = [(n, None, "s", None) for n in ("harmful", "benign") for _ in range(8)]
    rows[0] = rows[2] = ("harmful", "one", "s", None)  # in train and in test
    (split,) = make_splits(made(*rows), "frozen")
    ids = made(*rows).ids
    assert {ids[i] for i in split.test} == {"002", "006", "010", "014"}
    assert {ids[i] for i in split.train} == {"001", "004", "005", "008", "009", "012", "013"}


def test_reference_is_the_published_recipe(refusal: Items) -> None:
    from sklearn.model_selection import train_test_split

    (split,) = make_splits(refusal, "reference", seed=9)
    x = np.arange(240) * 10
    train, test = train_test_split(x, test_size=0.3, random_state=42)
    assert sorted(train) == (split.train * 10).tolist()
    assert sorted(test) == (split.test * 10).tolist()


@pytest.mark.parametrize("kind", ["random", "group"])
def test_side_of_an_item_does_not_depend_on_their_order(refusal: Items, kind: str) -> None:
    turned = refusal.select(np.arange(len(refusal))[::-1])

    def sides(items: Items, split: Split) -> set[str]:
        return {items.ids[i] for i in split.test}

    for a, b in zip(make_splits(refusal, kind), make_splits(turned, kind), strict=True):
        assert sides(refusal, a) == sides(turned, b)
    other = make_splits(refusal, kind, seed=1)[0]
    assert sides(refusal, other) != sides(refusal, make_splits(refusal, kind)[0])


def test_different_sources_are_held_out_together_and_cycled() -> None:
    rows = [("benign", None, s, None) for s in "xyxy"]
    rows += [("harmful", None, s, None) for s in "abcabc"]
    items = made(*rows)
    splits = make_splits(items, "source")
    assert [s.held_out for s in splits] == ["a + x", "b + y", "c + x"]
    for split in splits:
        assert not named(items, split.test, "sources") & named(items, split.train, "sources")
        assert len(split.train) + len(split.test) == len(items)


def test_shared_sources_are_held_out_at_once() -> None:
    rows = [("benign", None, s, None) for s in ("z", "m")]
    rows += [("harmful", None, s, None) for s in ("a", "m", "z")]
    items = made(*rows)
    assert held_units(items, "source") == {"benign": ["m", "z"], "harmful": ["m", "z", "a"]}
    assert [s.held_out for s in make_splits(items, "source")] == ["m", "z", "a + m"]


def test_groups_of_tested_items_leave_the_training_set() -> None:
    rows: list[Row] = [(name, None, s, None) for name in ("benign", "harmful") for s in "xxyy"]
    rows[0], rows[3] = ("benign", "pair", "x", None), ("benign", "pair", "y", None)
    items = made(*rows)
    first, second = make_splits(items, "source")
    assert (len(first.train), len(first.test)) == (3, 4)
    assert (len(second.train), len(second.test)) == (3, 4)


def test_headline_falls_back_and_says_why() -> None:
    rows = [(name, None, None, c) for name in ("benign", "harmful") for c in "kkll"]
    kind, why = headline_kind(made(*rows))
    assert kind == "category"
    assert "at least two categories" in why
    bare = [(name, None, "s", None) for name in ("benign", "harmful") for _ in range(3)]
    assert headline_kind(made(*bare))[0] == "group"
    # Two sources each, but every pair lies across them: nothing would be left to train on.
    across = [(name, "g1", s, None) for name in ("benign", "harmful") for s in "xy"]
    assert headline_kind(made(*across))[0] == "group"


groups_of = st.lists(
    st.tuples(st.sampled_from((0, 1)), st.sampled_from("abcdef")), min_size=6, max_size=14
)


def usable(rows: list[tuple[int, str]]) -> bool:
    """Return whether each class has two groups at least."""
    return all(len({g for label, g in rows if label == c}) > 1 for c in (0, 1))


@settings(max_examples=80)
@given(groups_of.filter(usable), st.integers(0, 5))
def test_group_split_is_nearly_as_even_as_groups_allow(
    rows: list[tuple[int, str]], seed: int
) -> None:
    items = made(*(("benign" if c == 0 else "harmful", g, None, None) for c, g in rows))
    try:
        split = make_splits(items, "group", repeats=1, seed=seed)[0]
    except DataError:
        return  # whole groups cannot give every class both sides in the order drawn
    chosen = np.isin(np.arange(len(items)), split.test)
    labels = items.labels.tolist()
    found = oracle.unevenness(labels, chosen.tolist(), 0.3)
    none = oracle.unevenness(labels, [False] * len(labels), 0.3)
    best = oracle.best_unevenness(labels, items.groups, 0.3)
    assert best - 1e-12 <= found < none


@settings(max_examples=80)
@given(groups_of.filter(usable), st.integers(2, 5), st.integers(0, 5))
def test_folds_keep_groups_whole_and_every_class_in_training(
    rows: list[tuple[int, str]], folds: int, seed: int
) -> None:
    labels = np.array([label for label, _ in rows])
    groups = [group for _, group in rows]
    cut = inner_folds(labels, groups, folds=folds, seed=seed)
    assert 1 <= len(cut) <= folds
    validated = [i for _, validation in cut for i in validation]
    assert len(set(validated)) == len(validated)
    for train, validation in cut:
        assert len(validation) > 0
        assert sorted([*train, *validation]) == list(range(len(rows)))
        assert not {groups[i] for i in train} & {groups[i] for i in validation}
        assert set(labels[train]) == {0, 1}


def test_folds_are_even_where_groups_allow() -> None:
    labels = np.array([0] * 65 + [1] * 35)
    groups = [str(i) for i in range(100)]
    cut = inner_folds(labels, groups, seed=0)
    assert [np.bincount(labels[v]).tolist() for _, v in cut] == [[13, 7]] * 5
    assert sorted(i for _, v in cut for i in v) == list(range(100))
    other = inner_folds(labels, groups, seed=1)
    assert [v.tolist() for _, v in cut] != [v.tolist() for _, v in other]


def test_a_class_of_one_group_has_no_folds() -> None:
    with pytest.raises(DataError, match="without losing a class"):
        inner_folds(np.array([0, 0, 1, 1]), ["a", "a", "b", "c"], seed=0)


def test_planted_shortcut_holds_in_random_splits_and_breaks_across_sources() -> None:
    """A trigger token means harmful in one source and benign in the other."""
    rows = [
        (name, None, source, None)
        for name in ("benign", "harmful")
        for source in "AB"
        for _ in range(50)
    ]
    items = made(*rows)
    sources = np.array([source == "B" for source in items.sources])
    trigger = (items.labels == 1) ^ sources
    noise = np.random.default_rng(0).normal(scale=0.1, size=(len(items), 4))
    x = np.column_stack([trigger * 3.0, sources * 1.0, noise])

    def accuracy(kind: str) -> float:
        right = [
            oracle.nearest_trigger(x[s.train], items.labels[s.train], x[s.test])
            == items.labels[s.test]
            for s in make_splits(items, kind, repeats=3)
        ]
        return float(np.concatenate(right).mean())

    assert accuracy("random") > 0.98
    assert accuracy("source") < 0.02


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([("benign", None, "x", None), ("harmful", None, "x", None)] * 2, "source",
         "The class 'benign' has 1 sources"),
        ([("benign", None, "x", "k"), ("harmful", None, "x", None), ("benign", None, "x", "l")],
         "category", "The class 'harmful' has 0 categories"),
        ([("benign", None, "x", None), ("harmful", None, "x", None)], "random",
         "no prompt of the class 'benign' to train on"),
        ([("benign", "g", "x", None), ("harmful", "g", "x", None)] * 2, "group",
         "leaves no prompt of the class 'benign' to"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_one_sentence(rows: list[Row], kind: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_splits(made(*rows), kind)


def test_unknown_kind_and_single_class(refusal: Items) -> None:
    with pytest.raises(ConfigError, match=r"no split 'sources'.*source"):
        make_splits(refusal, "sources")
    with pytest.raises(DataError, match="All 120 items are of the class 'harmful'"):
        make_splits(refusal.select(refusal.positive), "random")
