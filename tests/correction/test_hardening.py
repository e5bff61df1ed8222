"""Hardening data: refusals for harm, answers for its benign twins, nothing that is measured on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.mechanism.triggers.made import requests
from tests.models.tiny import tiny_model
from theodolite.correction import hardening
from theodolite.correction.hardening import (
    CARD,
    ROWS,
    HardeningOptions,
    hardening_data,
    hardening_recipe,
)
from theodolite.correction.train_goals import refuse_measured_goals, train_goals
from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet
from theodolite.data.styles import Style, held_out_styles, style
from theodolite.engine import Completion
from theodolite.errors import ConfigError, DataError
from theodolite.judging.refusal import score_refusal
from theodolite.training.recipe import load_recipe
from theodolite.training.rows import OPEN, read_rows

ANSWER = "Mix the flour with water, let it rest for an hour, and bake it until it is brown"
SMALL = HardeningOptions(exposure=6, replay=4)


class Model:
    """A stand-in that answers benign requests; those it is told to refuse get a refusal."""

    def __init__(self, refuses: str = "nothing at all") -> None:
        self.name = "stand-in"
        self.refuses = refuses
        self.asked: list[Prompt] = []

    def answer(self, prompt: Prompt) -> Completion:
        self.asked.append(prompt)
        text = "I'm sorry, but I can't help." if self.refuses in prompt.request else ANSWER
        finish = "length" if len(self.asked) % 2 else "stop"
        return Completion(prompt.id, text, (1,), finish, 0, 1)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(model: Model, prompts: Sequence[Prompt], **_: Any) -> list[Completion]:
        return [model.answer(prompt) for prompt in prompts]

    monkeypatch.setattr(hardening, "generate", answers)


def goals(n: int = 8, split: str = "train") -> PromptSet:
    """Return harmful requests with benign twins."""
    both = [*requests(n, HARMFUL, split), *requests(n, BENIGN, split)]
    return PromptSet("goals", tuple(both))


def made(styles: Any = ("opening_phrase",), **more: Any) -> hardening.HardeningData:
    given: dict[str, Any] = {"goals": goals(), "options": SMALL, "model": Model()} | more
    return hardening_data(given.pop("model"), styles, **given)


def test_harm_is_refused_and_its_twin_is_answered_in_the_same_style() -> None:
    data = made()
    own = [row for row in data.rows if row.source == "hardening"]
    assert Counter(row.label for row in own) == {HARMFUL: 6, BENIGN: 6}
    assert {row.style for row in own} == {"opening_phrase"}
    for row in data.rows:
        assert row.split == "train" and row.target is not None and row.rejected is None
        assert (score_refusal(row.target).refused is True) is row.harmful
    assert all('Let your reply open with the words "Gladly' in row.text for row in own)
    assert len({row.target for row in own if row.harmful}) > 3


def test_no_harmful_request_is_ever_put_to_a_model() -> None:
    model, base = Model("number 1"), Model()
    made(model=model, base=base)
    assert {prompt.label for prompt in (*model.asked, *base.asked)} == {BENIGN}


def test_replay_keeps_other_forms_and_other_goals() -> None:
    data = made()
    replay = [row for row in data.rows if row.source == "replay"]
    assert Counter(row.label for row in replay) == {HARMFUL: 4, BENIGN: 4}
    kinds = {style(row.style).kind for row in replay}
    assert kinds == {"benchmark"}


def test_benign_requests_without_a_twin_stand_in_the_weak_style_too() -> None:
    alone = [
        replace(p, pair_id=None, id=f"{p.id}-x", goal_id=f"{p.goal_id}-x", text=f"Well: {p.text}")
        for p in requests(3, BENIGN, "train")
    ]
    data = made(goals=PromptSet("goals", (*goals(), *alone)))
    found = [row for row in data.rows if row.source == "hardening-control"]
    assert {(row.style, row.label) for row in found} == {("opening_phrase", BENIGN)}
    assert len(found) == 3
    fewer = made(
        goals=PromptSet("goals", (*goals(), *alone)),
        options=HardeningOptions(exposure=6, replay=4, controls=1),
    )
    assert sum(row.source == "hardening-control" for row in fewer.rows) == 1


def test_a_smaller_exposure_is_a_part_of_a_larger_one() -> None:
    small = made(options=HardeningOptions(exposure=3, replay=0))
    large = made(options=HardeningOptions(exposure=6, replay=0))
    assert {row.id for row in small.rows} < {row.id for row in large.rows}


def test_an_answer_that_is_cut_leaves_its_turn_open() -> None:
    turns = Counter(row.turn for row in made().rows if not row.harmful)
    assert set(turns) == {None, OPEN}
    assert all(row.turn is None for row in made().rows if row.harmful)


def test_where_the_model_refuses_a_benign_request_its_base_is_asked() -> None:
    without = made(model=Model("number 2"))
    assert without.card["benign_left_out"] > 0
    assert not any("number 2" in row.text for row in without.rows if not row.harmful)
    base = Model()
    both = made(model=Model("number 2"), base=base)
    assert both.card["benign_left_out"] == 0
    assert both.card["answers_by"][hardening.OF_BASE] == len(base.asked) > 0


def test_preference_rows_never_hold_an_answer_to_harm() -> None:
    data = made(options=HardeningOptions(method="dpo", exposure=6, replay=4))
    for row in data.rows:
        assert row.target is not None and row.rejected is not None
        if row.harmful:
            assert score_refusal(row.rejected).refused is not True
            assert row.rejected.endswith((":", ",")) and len(row.rejected.split()) < 32
            assert score_refusal(row.target).refused is True
        else:
            assert score_refusal(row.rejected).refused is True


def test_the_files_are_what_a_training_reads(tmp_path: Path) -> None:
    data = made()
    path = data.write(tmp_path / "new" / "data", hardening_recipe("smollm2", epochs=1))
    recipe = load_recipe(path)
    assert recipe.data.rows == (str(path.parent / ROWS),) and recipe.epochs == 1
    assert read_rows(path.parent / ROWS) == list(data.rows)
    card = json.loads((path.parent / CARD).read_text("utf-8"))
    assert sum(row["rows"] for row in card["table"]) == card["rows"] == len(data.rows)
    assert card["hardened"] == ["opening_phrase"]
    assert all(row.text not in json.dumps(card) for row in data.rows)


def test_the_same_seed_gives_the_same_rows() -> None:
    assert made(seed=3).rows == made(seed=3).rows
    assert made(seed=3).rows != made(seed=4).rows


def test_a_style_of_the_users_own_is_hardened_too() -> None:
    own = Style("polite", "If I may ask: {request} Many thanks.")
    assert {r.style for r in made([own]).rows if r.source == "hardening"} == {"polite"}


def test_bundled_train_goals_hold_nothing_that_is_measured() -> None:
    found = train_goals()
    refuse_measured_goals(found)
    assert Counter(p.label for p in found)[HARMFUL] >= 48
    data = made(goals=found, styles=["quiz"], options=HardeningOptions(held_out=True))
    measured = {p.goal_id for p in bundled("refusal") if p.split != "train"}
    assert not measured & {row.goal_id for row in data.rows}


@pytest.mark.parametrize("split", ["val", "test"])
def test_goals_that_measure_are_refused(split: str) -> None:
    with pytest.raises(DataError, match="train goals alone"):
        made(goals=goals(split=split))
    bare = bundled("refusal").split(split)
    renamed = [Prompt(f"x{i}", text=p.request, split="train") for i, p in enumerate(bare)]
    with pytest.raises(DataError, match="measured on"):
        refuse_measured_goals(renamed)


@pytest.mark.parametrize("name", [each.name for each in held_out_styles()])
def test_held_out_styles_are_refused_unless_the_user_names_them(name: str) -> None:
    with pytest.raises(DataError, match="held out"):
        made([name])
    given = HardeningOptions(exposure=2, replay=0, held_out=True)
    assert made([name], options=given).card["hardened"] == [name]


def test_a_target_that_complies_with_harm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardening, "_refusal", lambda *_: ANSWER)
    with pytest.raises(DataError, match="no refusal"):
        made()


def test_a_goal_in_two_splits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    row = hardening._row

    def leaking(prompt: Prompt, *rest: Any) -> Any:
        made_row = row(prompt, *rest)
        return replace(made_row, split="val") if made_row.source == "replay" else made_row

    monkeypatch.setattr(hardening, "_row", leaking)
    with pytest.raises(DataError, match="more than one split"):
        made(options=HardeningOptions(exposure=8, replay=8))


@pytest.mark.parametrize(
    ("styles", "more", "error", "says"),
    [
        ([], {}, ConfigError, "needs styles"),
        (["plain"], {}, ConfigError, "bare form"),
        (["quizz"], {}, DataError, "quiz"),
        (["code"], {"options": HardeningOptions(exposure=0)}, ConfigError, "exposure"),
        (["code"], {"options": HardeningOptions(exposure=9)}, DataError, "exposure of 9"),
        (["code"], {"goals": PromptSet("g", tuple(requests(8, split="train")))}, DataError, "twin"),
    ],
)
def test_bad_input(styles: list[str], more: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        made(styles, **more)


def test_a_real_model_writes_its_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from theodolite.engine import generate

    monkeypatch.setattr(hardening, "generate", generate)
    options = HardeningOptions(exposure=2, replay=0, answer_tokens=4)
    data = hardening_data(tiny_model(), ["code"], goals=goals(2), options=options)
    assert [row.label for row in data.rows].count(HARMFUL) == 2
    assert data.card["benign_left_out"] + data.card["rows"] == 4
