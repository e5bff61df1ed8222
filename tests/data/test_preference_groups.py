"""Groups are ordered best to worst, and a file that says otherwise is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.data.preference_groups import (
    Group,
    Reply,
    count_pairs,
    read_groups,
    write_groups,
)
from theodolite.errors import DataError

WHOLE = "Fine, here are the steps. Take milk, warm it, add salt, wait a day, press it, and eat it."


def harmful(name: str = "g", cuts: tuple[int, ...] = (31, 40, 55, 70), **more: Any) -> Group:
    turned = [
        Reply("SYN", f"{WHOLE[:cut]} But I should stop here.", i, cut, "t02")
        for i, cut in enumerate(cuts, 1)
    ]
    facts = {"goal_id": name, "split": "train", "label": "harmful", "request": "How?"} | more
    return Group(name, replies=(Reply("SR", "No."), *turned, Reply("FHR", WHOLE)), **facts)


def benign(name: str = "b") -> Group:
    broken = Reply("BREAK", f"{WHOLE[:31]} But I should stop.", None, 31, "t01")
    return Group(name, name, "train", "benign", "How?", (Reply("GOOD", WHOLE), broken))


def test_a_group_of_six_gives_fifteen_pairs_the_better_one_first() -> None:
    group = harmful()
    pairs = list(group.pairs())
    assert len(pairs) == 15
    order = {id(reply): place for place, reply in enumerate(group.replies)}
    assert all(order[id(a)] < order[id(b)] for a, b in pairs)
    assert count_pairs([harmful(f"g{i}") for i in range(50)]) == 750
    assert count_pairs([benign()]) == 1
    assert group.whole.kind == "FHR" and benign().whole.kind == "GOOD"
    assert [reply.i for reply in group.cuts] == [1, 2, 3, 4]


@given(
    st.lists(
        st.sampled_from([harmful("a"), harmful("b", split="test"), benign("c")]),
        max_size=3,
        min_size=1,
        unique_by=lambda g: g.id,
    )
)
def test_groups_come_back_as_they_were_written(groups: list[Group]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = write_groups(Path(folder) / "groups.jsonl", groups)
        assert read_groups(path) == groups


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: harmful(cuts=(40, 31, 55, 70)), "the cut of reply 2 is 31"),
        (lambda: harmful(cuts=(31, 40, 55, 500)), "the cut of reply 4 is 500"),
        (lambda: harmful(cuts=(0, 40, 55, 70)), "the cut of reply 1 is 0"),
        (lambda: harmful(label="benign"), "not GOOD, BREAK"),
        (lambda: replace(benign(), label="harmful"), "not SR, SYN ..., FHR"),
        (lambda: harmful(label="odd"), "neither harmful nor benign"),
        (lambda: harmful(split="later"), "The split 'later' is unknown"),
        (lambda: harmful(request=" "), "The field 'request' is empty"),
    ],
)
def test_a_group_out_of_order_is_refused(build: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        build()


def test_a_reply_that_does_not_begin_as_the_whole_one_is_refused() -> None:
    good = harmful()
    other = replace(good.replies[2], text="Another beginning of the very same length and more.")
    with pytest.raises(DataError, match="reply 2 does not begin as the whole reply does"):
        replace(good, replies=(*good.replies[:2], other, *good.replies[3:]))


def test_groups_of_another_size_are_refused_unless_any_is_taken(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "groups.jsonl", [harmful("a"), harmful("b", cuts=(31, 40))])
    with pytest.raises(DataError, match="line 2, field 'responses': there are 4 replies"):
        read_groups(path)
    assert len(read_groups(path, size=None)) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"request": 3}, "field 'request': this must be text"),
        ({"responses": "x"}, "must be a list of replies"),
        ({"responses": [{"kind": "SR"}] * 6}, "kind and text"),
        ({"responses": [{"kind": "SR", "text": "a", "odd": 1}] * 6}, "no field 'odd'"),
        ({"responses": [{"kind": "SR", "text": "a", "cut": True}] * 6}, "of the wrong type"),
    ],
)
def test_a_wrong_record_names_its_place(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "groups.jsonl"
    path.write_text(json.dumps(harmful().to_json() | change) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_groups(path)
    assert said in str(caught.value) and "line 1" in str(caught.value)


def test_an_id_or_a_goal_in_two_places_is_refused(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "twice.jsonl", [harmful("a"), harmful("a")])
    with pytest.raises(DataError, match="the id 'a' occurs twice"):
        read_groups(path)
    path = write_groups(
        tmp_path / "split.jsonl",
        [harmful("a", goal_id="x"), harmful("b", goal_id="x", split="test")],
    )
    with pytest.raises(DataError, match="stands in more than one split"):
        read_groups(path)
