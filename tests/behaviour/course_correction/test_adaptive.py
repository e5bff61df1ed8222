"""Paths stop where a row is known; the headline never sees what that decided."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.behaviour.course_correction.asked import measured, values
from tests.behaviour.course_correction.made import made_rows
from tests.models.tiny import tiny_model
from theodolite.behaviour.course_correction.adaptive import (
    ROUND,
    check_target,
    is_known,
    measurements,
    more_paths,
)
from theodolite.behaviour.course_correction.prefixes import Prefix, make_prefixes
from theodolite.behaviour.course_correction.scoring import Item
from theodolite.errors import ConfigError

PREFIXES = make_prefixes(list(made_rows(6)), (4, 8), unit="word")


def one(prefix: Prefix, turned: bool, path: int) -> Item:
    return Item(
        prefix.id, prefix.prompt.id, str(prefix.prompt.label), str(prefix.prompt.goal_id),
        prefix.k, "clean" if turned else "continues", path=path,
    )  # fmt: skip


def test_a_constant_row_is_known_at_sixteen_paths_and_a_coin_never_by_twenty() -> None:
    assert [is_known([True] * n, 0.1) for n in (15, 16)] == [False, True]
    assert not is_known([True, False] * 10, 0.1) and not is_known([], 0.1)
    assert is_known([None, *[False] * 16], 0.1) and not is_known([*[None] * 9, *[False] * 7], 0.1)


def test_rounds_go_on_only_where_they_are_needed() -> None:
    """Rows that always turn stop at 8 paths under a half width of 0.2; coins go on to the end."""
    dice = random.Random(3)
    asked: list[tuple[int, int, int]] = []
    sure = {p.id for p in PREFIXES if p.prompt.label == "harmful"}

    def more(left: list[Prefix], count: int, seed: int) -> list[Item]:
        asked.append((len(left), count, seed))
        return [
            one(p, p.id in sure or dice.random() < 0.5, path) for path in range(count) for p in left
        ]

    first = more(list(PREFIXES), ROUND, 0)
    found = more_paths(first, PREFIXES, more, target=0.2, paths=18)  # type: ignore[arg-type]
    counts = {p.id: sorted(i.path for i in found if i.id == p.id) for p in PREFIXES}
    assert all(counts[p.id] == list(range(8)) for p in PREFIXES if p.id in sure)
    assert any(counts[p.id] == list(range(18)) for p in PREFIXES if p.id not in sure)
    assert len({seed for _, _, seed in asked}) == len(asked)  # each round has its own numbers
    assert all(seed < 2**31 for _, _, seed in asked) and asked[-1][1] == 2
    by_name = {
        m.name.removeprefix("course-correction/"): m for m in measurements(found, "continue")
    }
    assert by_name["adaptive/corr"].value == 1.0
    assert "biased" in str(by_name["adaptive/corr"].reason)
    assert by_name["adaptive/paths"].value == pytest.approx(len(found) / len(PREFIXES))


def test_the_headline_is_that_of_the_first_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, model = made_rows(2), tiny_model("llama")
    how = {"temperature": 1.5, "ks": "4", "max_tokens": 3}
    fixed = measured(tmp_path / "a", model, monkeypatch, rows, paths=ROUND, **how)
    found = measured(tmp_path / "b", model, monkeypatch, rows, paths=6, adaptive_b=0.1, **how)
    adaptive = {k: v for k, v in values(found).items() if k.startswith("adaptive/")}
    assert {k: v for k, v in values(found).items() if k not in adaptive} == values(fixed)
    assert adaptive["adaptive/paths"] == 6.0  # 0.1 needs 16 paths at least
    assert found.tables["course_correction_items"] == fixed.tables["course_correction_items"]
    assert {row["paths"] for row in found.tables["course_correction_adaptive"]} == {6}


@pytest.mark.parametrize(("target", "paths"), [(0.0, 20), (0.5, 20), (0.1, ROUND)])
def test_targets_that_save_nothing_are_refused(target: float, paths: int) -> None:
    with pytest.raises(ConfigError, match="adaptive_b"):
        check_target(target, paths)
