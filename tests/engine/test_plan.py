"""Every sequence is planned once, and what a plan shares is really shared."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.trie import build_trie, common_prefix

tokens = st.lists(st.integers(0, 2), min_size=1, max_size=40)


def rebuilt(batch: Batch, sequences: list[list[int]], leaf: int) -> list[int]:
    """Read one row's tokens back along its chain of segments."""
    piece = batch.leaves[leaf]
    found = sequences[piece.item][piece.start : piece.stop]
    start = piece.start
    while piece.parent >= 0:
        piece = batch.segments[piece.parent]
        assert piece.stop == start
        found = sequences[piece.item][piece.start : piece.stop] + found
        start = piece.start
    assert start == 0
    return found


@settings(max_examples=80, deadline=None)
@given(st.lists(tokens, max_size=25), st.integers(8, 200), st.integers(1, 6), st.booleans())
def test_a_plan_computes_every_sequence(
    sequences: list[list[int]], budget: int, rows: int, share: bool
) -> None:
    batches = plan_batches(sequences, budget, max_rows=rows, share=share)
    assert sorted(i for batch in batches for i in batch.items) == list(range(len(sequences)))
    for batch in batches:
        assert len(batch.items) <= rows
        widest = max(leaf.stop - leaf.start for leaf in batch.leaves)
        assert len(batch.leaves) == 1 or widest * len(batch.leaves) <= budget
        for leaf, copies in enumerate(batch.copies):
            assert all(sequences[i] == rebuilt(batch, sequences, leaf) for i in copies)
            assert batch.leaves[leaf].stop > batch.leaves[leaf].start
        if len(batch.leaves) > 1:
            halves = batch.halves()
            assert halves[0].items + halves[1].items == batch.items
            for half in halves:
                for leaf, copies in enumerate(half.copies):
                    assert rebuilt(half, sequences, leaf) == sequences[copies[0]]


@settings(max_examples=80, deadline=None)
@given(st.lists(tokens, max_size=25), st.integers(8, 200), st.integers(1, 6), st.data())
def test_what_is_apart_shares_nothing(
    sequences: list[list[int]], budget: int, rows: int, data: st.DataObject
) -> None:
    worlds = [data.draw(st.integers(0, 2)) for _ in sequences]
    batches = plan_batches(sequences, budget, max_rows=rows, apart=worlds)
    assert sorted(i for batch in batches for i in batch.items) == list(range(len(sequences)))
    for batch in batches:
        assert len(batch.items) <= rows
        for leaf, copies in enumerate(batch.copies):
            assert all(sequences[i] == rebuilt(batch, sequences, leaf) for i in copies)
            piece = batch.leaves[leaf]
            assert {worlds[i] for i in copies} == {worlds[piece.item]}
            while piece.parent >= 0:
                piece = batch.segments[piece.parent]
                assert worlds[piece.item] == worlds[copies[0]]
    one = plan_batches(sequences, budget, max_rows=rows)
    assert plan_batches(sequences, budget, max_rows=rows, apart=[7] * len(sequences)) == one


def test_each_world_shares_its_own_prefix() -> None:
    sequences = [[*range(30), 50 + i] for i in range(6)]
    (batch,) = plan_batches(sequences, 500, apart=[0, 1, 0, 1, 0, 1])
    assert [(s.start, s.stop) for s in batch.segments] == [(0, 30), (0, 30)]
    assert [batch.segments[leaf.parent].item % 2 for leaf in batch.leaves] == [
        leaf.item % 2 for leaf in batch.leaves
    ]


@settings(max_examples=80, deadline=None)
@given(st.lists(tokens, max_size=20, unique_by=tuple), st.data())
def test_limits_are_kept(sequences: list[list[int]], data: st.DataObject) -> None:
    limits = [data.draw(st.integers(0, len(s) - 1)) for s in sequences]
    for batch in plan_batches(sequences, 100, limits=limits):
        for leaf, copies in zip(batch.leaves, batch.copies):
            assert all(leaf.start <= limits[i] for i in copies)
    trie = build_trie(sequences, limits, pays=1)
    for index, above in enumerate(trie.parent):
        stop = trie.segments[above].stop if above >= 0 else 0
        assert stop <= limits[index]


@given(tokens, tokens)
def test_common_prefix(a: list[int], b: list[int]) -> None:
    length = common_prefix(a, b)
    assert a[:length] == b[:length]
    assert length == min(len(a), len(b)) or a[length] != b[length]


def test_a_plan_is_cheap_where_prompts_share() -> None:
    header = list(range(100, 130))
    groups = [header + [200 + g] * 40 for g in range(6)]
    sequences = [[*group, 300 + i, i, i] for group in groups for i in range(8)]
    (batch,) = plan_batches(sequences, 4096)
    assert [len(level) for level in batch.levels()] == [1, 6]
    assert batch.tokens == 30 + 6 * 40 + 48 * 3
    assert plan_batches(sequences, 4096) == [batch]


def test_padding_is_cut_where_it_costs_more_than_a_pass() -> None:
    sequences = [[i, *range(1000, 1000 + n)] for i, n in enumerate([9] * 20 + [39] * 20)]
    batches = plan_batches(sequences, 4096)
    assert [len(batch.items) for batch in batches] == [20, 20]
    assert len(plan_batches(sequences, 4096, pass_tokens=10_000)) == 1
