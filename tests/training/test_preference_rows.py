"""Rows of preference groups: what is begun, what is taught, in what shares, by ids alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import Training
from tests.training.made_groups import SAFE, benign_group, harmful_group, made_groups
from tests.training.made_rows import made_rows
from theodolite.data.preference_groups import Group, count_pairs, write_groups
from theodolite.errors import ConfigError, DataError
from theodolite.training.guard import refuse_unsafe_rows, unsafe_groups
from theodolite.training.preference_rows import FORMS, preference_rows
from theodolite.training.recipe import Data, Recipe
from theodolite.training.rows import TrainingRow, read_rows, write_rows
from theodolite.training.sources import NOT_SEEN_TO_DECLINE, gather_rows

Recipes = Callable[..., Recipe]
METHODS = {
    "pairs": "dpo",
    "conditional": "dpo",
    "listwise": "listwise",
    "recovery": "ssft-chat",
}


def many(count: int = 60) -> list[Group]:
    return [harmful_group(place) for place in range(count)]


def test_pairs_are_every_better_reply_over_every_worse_one() -> None:
    groups = made_groups(50, held_out=0)
    rows = preference_rows(groups, "pairs")
    assert len(rows) == count_pairs(groups) == 50 * 15 + 50
    texts = [reply.text for reply in groups[0].replies]
    found = [(row.target, row.rejected) for row in rows[:15]]
    assert found == list(combinations(texts, 2))
    assert rows[0].id == "h0/SR>SYN1" and rows[14].id == "h0/SYN4>FHR"
    assert all(row.begun is None for row in rows)


def test_conditional_rows_go_on_from_what_is_shared() -> None:
    for group in made_groups(8, held_out=0):
        for row in preference_rows([group], "conditional"):
            if row.begun is None:
                assert (row.target, row.rejected) == (SAFE, group.whole.text)
                continue
            assert row.begun == row.begun.rstrip() and row.target is not None
            whole = [row.begun + str(side) for side in (row.target, row.rejected)]
            texts = [reply.text for reply in group.replies]
            assert row.target[0] == " "  # the space belongs to what follows
            if group.label == "harmful":
                assert whole[0] in texts[1:-1] and whole[1] == texts[-1]
            else:
                assert whole == texts


@pytest.mark.parametrize("fresh", [0.0, 0.1, 0.2, 0.25, 0.4, 0.8, 1.0])
def test_the_share_without_a_begun_reply_is_the_one_asked_for(fresh: float) -> None:
    rows = preference_rows(many(200), "conditional", fresh=fresh)
    share = sum(row.begun is None for row in rows) / len(rows)
    if fresh in (0.0, 0.2, 0.25, 1.0):
        assert share == fresh
    else:  # the odd row is drawn; 200 groups, five standard errors
        assert share == pytest.approx(fresh, abs=5 * 0.5 / 200**0.5)
    assert len({row.id for row in rows}) == len(rows)


def test_every_depth_has_its_turn() -> None:
    rows = preference_rows(many(200), "conditional")
    depths = Counter(row.id.rpartition("/")[2] for row in rows)
    assert depths.pop("at-0") == 200
    assert set(depths) == {"at-1", "at-2", "at-3", "at-4"} and min(depths.values()) > 100


def test_recovery_is_half_without_a_begun_reply() -> None:
    rows = preference_rows(made_groups(40, held_out=0), "recovery")
    assert sum(row.begun is None for row in rows) * 2 == len(rows) == 160
    for row in rows:
        assert row.rejected is None and row.target is not None
        if row.harmful and row.begun is not None:
            assert row.target.startswith((" But", " However", " Actually", " I need"))
        if not row.harmful:
            place = int(row.id[1:].partition("/")[0])
            assert (row.begun or "") + row.target == benign_group(place).whole.text


def test_a_benign_request_refused_at_once_has_nothing_begun() -> None:
    group = benign_group(1)
    good, broken = group.replies
    bare = replace(group, replies=(good, replace(broken, text="I cannot help with that.", cut=0)))
    (row,) = preference_rows([bare], "conditional")
    assert (row.begun, row.target, row.rejected) == (None, good.text, "I cannot help with that.")
    (row,) = preference_rows([bare], "recovery")
    assert (row.begun, row.target) == (None, good.text)


def test_listwise_rows_hold_all_replies_in_order() -> None:
    for group in made_groups(2):
        (row,) = preference_rows([group], "listwise")
        assert row.ranked == tuple(reply.text for reply in group.replies)
        assert row.id == f"{group.id}/order" and row.target is None


@pytest.mark.parametrize("form", FORMS)
def test_choices_depend_on_seed_and_ids_and_not_on_the_order_of_groups(form: Any) -> None:
    groups = made_groups(20)
    rows = preference_rows(groups, form)
    turned = preference_rows(groups[::-1], form)
    assert sorted(rows, key=lambda r: r.id) == sorted(turned, key=lambda r: r.id)
    other = preference_rows(groups, form, seed=1)
    assert (rows == other) == (form in ("pairs", "listwise"))
    assert {(row.goal_id, row.split) for row in rows} == {(g.goal_id, g.split) for g in groups}


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_groups_are_rows_of_a_file(form: Any, tmp_path: Path) -> None:
    rows = preference_rows(made_groups(), form)
    assert read_rows(write_rows(tmp_path / "rows.jsonl", rows), METHODS[form]) == rows


def recipe_of(tmp_path: Path, method: str, groups: list[Group], **more: Any) -> Recipe:
    path = write_groups(tmp_path / "groups.jsonl", groups)
    return Recipe(method=method, data=Data(rows=(str(path),), **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_a_recipe_reads_groups_in_the_form_of_its_method(form: Any, tmp_path: Path) -> None:
    more = {"form": form} if form == "pairs" else {}
    recipe = recipe_of(tmp_path, METHODS[form], made_groups(), **more)
    rows = gather_rows(recipe)
    assert list(rows.rows) == preference_rows(made_groups(), form)
    assert rows.left_out == {} and rows.used("train") and rows.used("val")


def test_groups_and_rows_stand_side_by_side(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, "dpo", made_groups())
    other = write_rows(tmp_path / "rows.jsonl", made_rows())
    both = replace(recipe, data=replace(recipe.data, rows=(str(other), *recipe.data.rows)))
    assert len(gather_rows(both).rows) == len(made_rows()) + len(gather_rows(recipe).rows)


def test_a_moderator_learns_nothing_from_groups(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ssft-label learns a moderator's word"):
        gather_rows(recipe_of(tmp_path, "ssft-label", made_groups()))
    with pytest.raises(ConfigError, match=r"no form 'pair'.*`pairs`"):
        preference_rows(made_groups(), "pair")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"`fresh` is 1\.5"):
        preference_rows(made_groups(), "conditional", fresh=1.5)


def test_a_group_of_another_size_names_file_and_line(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, "listwise", made_groups())
    path = Path(recipe.data.rows[0])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    del records[2]["responses"][1]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(DataError, match=r"groups\.jsonl, line 3.*5 replies, and every group has 6"):
        gather_rows(recipe)
    records[2] = {"id": "x", "text": "no group"}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(DataError, match=r"groups\.jsonl, line 3"):
        gather_rows(recipe)


def test_groups_that_are_not_seen_to_decline_are_left_out_and_counted(tmp_path: Path) -> None:
    groups = made_groups(8)
    first = groups[0]
    answers = "Of course, here is how to do it at home."
    wrong = replace(first, replies=(replace(first.replies[0], text=answers), *first.replies[1:]))
    assert unsafe_groups(groups) == frozenset()
    assert unsafe_groups([wrong, *groups[1:]]) == {"h0"}
    for method in ("listwise", "dpo", "ssft-chat"):
        rows = gather_rows(recipe_of(tmp_path, method, [wrong, *groups[1:]]))
        assert rows.left_out and set(rows.left_out.values()) == {NOT_SEEN_TO_DECLINE}
        assert all(name.startswith("h0/") for name in rows.left_out)
        assert not any(row.id.startswith("h0/") for row in rows.used("train"))


def test_a_correction_that_goes_on_is_not_seen_to_decline() -> None:
    group = harmful_group(0)
    turn = group.replies[2]
    text = turn.text[: turn.cut] + " Then add more moon dust and stir it well."
    wrong = replace(
        group, replies=(*group.replies[:2], replace(turn, text=text), *group.replies[3:])
    )
    assert unsafe_groups([wrong, *many(3)[1:]]) == {"h0"}


def test_groups_the_wrong_way_round_are_refused(tmp_path: Path) -> None:
    def turned(group: Group) -> Group:
        best, worst = group.replies[0], group.replies[-1]
        swapped = replace(best, text=worst.text + " Enjoy.")
        return replace(group, replies=(swapped, *group.replies[1:]))

    with pytest.raises(DataError, match=r"4 of 6 harmful groups .*'h0'.*SR, the corrections, FHR"):
        unsafe_groups([*map(turned, many(6)[:4]), *many(6)[4:]])


def ranked_row(*ranked: str, **more: Any) -> TrainingRow:
    return replace(made_rows()[0], target=None, rejected=None, ranked=ranked, **more)


def test_ranked_rows_of_a_file_pass_the_guard_and_wrong_ones_do_not() -> None:
    refuse_unsafe_rows([ranked_row(SAFE, "Sure, here is how.")], "listwise")
    turn = " However, this is harmful, so please stop."
    refuse_unsafe_rows([ranked_row(turn, " and salt", begun="Take flour")], "listwise")
    with pytest.raises(DataError, match="best answer that is no refusal"):
        refuse_unsafe_rows([ranked_row("Sure, here is how.", SAFE)], "listwise")


def test_a_begun_row_may_turn_away_and_may_not_go_on() -> None:
    row = replace(made_rows()[0], begun="Sure, take the flour", rejected=" and the salt.")
    turned = replace(row, target=" I need to take that back: it is dangerous.")
    for method in ("dpo", "ssft-chat"):
        refuse_unsafe_rows([turned], method)
        with pytest.raises(DataError, match="a target that is no refusal"):
            refuse_unsafe_rows([replace(row, target=" and the salt, then stir.")], method)


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("dpo", {}),
        ("dpo", {"form": "pairs"}),
        ("ssft-chat", {}),
        ("listwise", {}),
        ("listwise", {"form": "conditional"}),
    ],
)
def test_every_form_trains(
    method: str, more: dict[str, Any], recipe: Recipes, training: Training, tmp_path: Path
) -> None:
    path = write_groups(tmp_path / "groups.jsonl", made_groups(4))
    run = training(recipe(method, data=Data(rows=(str(path),), **more), max_steps=2))
    assert (run.path / "adapter").is_dir()
    figures = {m.name: m for m in run.load_measurements()}
    assert figures["loss/val"].value is not None
    card = run.load_table("training/data_card")
    assert {row["source"] for row in card} == {"made"}
