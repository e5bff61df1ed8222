"""Requests: nothing that is fitted on comes back among what is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.errors import ConfigError
from theodolite.mechanism.items import make_items
from theodolite.mechanism.requests import (
    PAIRS,
    TEST,
    TRAIN,
    Requests,
    read_harmful,
    read_requests,
)
from theodolite.text.hashing import content_key


def asked(label: str, count: int, **fields: str) -> list[Prompt]:
    """Return requests whose words have nothing in common."""
    return [
        Prompt(f"{label}-{i}", text=content_key(label, i), label=label, **fields)
        for i in range(count)
    ]


def ids(part: Sequence[Sequence[Prompt]]) -> set[str]:
    return {prompt.id for side in part for prompt in side}


def test_no_group_of_goal_pair_or_wording_stands_in_both_parts() -> None:
    """One goal in many rows: named by goal in some, by a pair in others, or not at all."""
    harmful, benign = asked(HARMFUL, 40), asked(BENIGN, 40)
    for i in range(20):
        words = f"{harmful[i].text}, and again in the very same words as before"
        harmful += [
            Prompt(f"goal-{i}", text=content_key("goal", i), goal_id=f"g{i}", pair_id=f"p{i}"),
            Prompt(f"bare-{i}", text=content_key("bare", i), goal_id=f"g{i}"),
            Prompt(f"near-{i}", text=f"{words}!", category="a"),
        ]
        benign.append(Prompt(f"look-{i}", text=f"{words}?"))
    requests = Requests(tuple(harmful), tuple(benign))
    items = make_items({HARMFUL: harmful, BENIGN: benign})
    group = dict(zip(items.ids, items.groups, strict=True))
    train, test = ids(requests.part(TRAIN)), ids(requests.part(TEST))
    assert not {group[i] for i in train} & {group[i] for i in test}
    assert train | test == set(items.ids)
    assert min(len(train), len(test)) > 40


def test_duplicates_are_in_one_part_once() -> None:
    harmful = asked(HARMFUL, 30)
    again = [Prompt(f"again-{p.id}", text=p.text, label=HARMFUL) for p in harmful]
    requests = Requests((*harmful, *again), tuple(asked(BENIGN, 30)))
    assert {p.id for name in (TRAIN, TEST) for p in requests.part(name)[0]} == {
        p.id for p in harmful
    }


def test_a_named_split_is_kept_and_its_group_follows() -> None:
    harmful = [
        *asked(HARMFUL, 4, split="train"),
        Prompt("val", text=content_key("val"), split="val", goal_id="one"),
        Prompt("follows-val", text=content_key("follows val"), goal_id="one"),
        Prompt("test", text=content_key("test"), split="test", goal_id="two"),
        Prompt("follows-test", text=content_key("follows test"), goal_id="two"),
        Prompt("same-goal", text=content_key("same goal"), split="train", goal_id="two"),
    ]
    requests = Requests(tuple(harmful), tuple(asked(BENIGN, 4, split="test")))
    assert {p.id for p in requests.part(TRAIN)[0]} == {
        *(f"{HARMFUL}-{i}" for i in range(4)),
        *("val", "follows-val"),
    }
    assert {p.id for p in requests.part(TEST)[0]} == {"test", "follows-test"}
    assert not requests.part(TRAIN)[1]


@pytest.mark.parametrize("name", [TRAIN, TEST])
def test_parts_do_not_depend_on_the_order(name: str) -> None:
    harmful, benign = asked(HARMFUL, 30), asked(BENIGN, 30)
    there = Requests(tuple(harmful), tuple(benign)).part(name)
    back = Requests(tuple(harmful[::-1]), tuple(benign[::-1])).part(name)
    assert ids(there) == ids(back)


def test_the_bundled_set_keeps_every_request() -> None:
    requests = read_requests(None, None)
    train, test = requests.part(TRAIN), requests.part(TEST)
    assert sum(map(len, (*train, *test))) == len(requests.bare)
    assert {p.split for side in test for p in side} == {"test"}


def test_harmful_requests_alone_leave_the_control_out(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("input\n" + "\n".join(f"request {i}" for i in range(5)) + "\n")
    alone = read_harmful(str(path), None, limit=3)
    assert (len(alone.harmful), len(alone.benign), list(alone.files)) == (3, 0, ["harmful"])
    both = read_harmful(str(path), str(path))
    assert len({p.id for p in both.bare}) == 10
    with pytest.raises(ConfigError, match="--prompts is missing"):
        read_harmful(None, str(path))


def test_bundled_pairs_are_test_twins_and_a_smaller_limit_takes_a_part() -> None:
    few, more = read_harmful(None, None, limit=4), read_harmful(None, None)
    assert len(more.harmful) == len(more.benign) == PAIRS
    assert {p.split for p in more.bare} == {TEST}
    assert [p.pair_id for p in more.harmful] == [p.pair_id for p in more.benign]
    assert few.harmful == more.harmful[:4]
    assert len(read_harmful(None, None, limit=1000).harmful) == 48
