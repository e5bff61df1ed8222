"""Rows of the bundled adapter: deterministic, no measured goal or style, twins in equal forms."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from tests.models.tiny import tiny_model
from theodolite.data.bundled import bundled
from theodolite.data.styles import PLAIN, held_out_styles, pressure_styles
from theodolite.engine.generate import Completion
from theodolite.judging.refusal import score_refusal
from theodolite.training import safety_rows as module
from theodolite.training.examples import encode_rows, end_of_turn
from theodolite.training.rows import OPEN, TrainingRow, refuse_leaking_rows, rows_of, write_rows
from theodolite.training.safety_rows import (
    REWORDED,
    UNSEEN_STYLE,
    safety_requests,
    safety_rows,
    training_styles,
)

NO = "I'm sorry, but I can't help with that request."


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Answers without a model: greedy ones refuse every third request, chance helps at once."""
    calls: list[dict[str, Any]] = []

    def generate(_: object, prompts: list[Any], *, n: int = 1, **options: Any) -> list[Completion]:
        calls.append({"prompts": prompts, "n": n, **options})
        return [
            Completion(
                prompt.id,
                NO if n == 1 and place % 3 == 0 else "Here are a few ideas: start with flour and",
                (1,),
                "stop" if place % 2 else "length",
                sample,
                1,
            )
            for place, prompt in enumerate(prompts)
            for sample in range(n)
        ]

    monkeypatch.setattr(module, "generate", generate)
    return calls


def test_measured_goals_and_styles_are_never_seen() -> None:
    requests = safety_requests()
    measured = {p.goal_id for p in bundled("refusal") if p.split != "train"}
    assert not {p.goal_id for p in requests} & measured
    assert not {p.request for p in requests} & {
        p.request for p in bundled("refusal") if p.split != "train"
    }
    unseen = {UNSEEN_STYLE, *(s.name for s in (*held_out_styles(), *pressure_styles()))}
    assert not {p.style for p in requests} & unseen
    assert {p.style for p in requests} == {PLAIN, REWORDED, *training_styles()}
    assert {p.split for p in requests} == {"train", "val"}


def test_twins_stand_in_the_same_forms() -> None:
    forms = defaultdict(set)
    for prompt in safety_requests():
        if prompt.pair_id is not None and prompt.style != REWORDED:
            forms[prompt.pair_id, prompt.label].add(prompt.style)
    pairs = {pair for pair, _ in forms}
    assert len(pairs) == 660 + 48
    assert all(forms[pair, "harmful"] == forms[pair, "benign"] for pair in pairs)


def test_the_seed_decides_the_rows(asked) -> None:
    rows = safety_rows(None)
    assert rows == safety_rows(None)
    other = safety_rows(None, seed=1)
    assert [r.target for r in rows if r.harmful] != [r.target for r in other if r.harmful]
    assert {r.id for r in rows if r.style == PLAIN} == {r.id for r in other if r.style == PLAIN}


def test_refusals_of_the_model_are_written_again_with_chance(asked) -> None:
    rows = safety_rows(None)
    greedy, again = asked
    assert "temperature" not in greedy and again["temperature"] > 0
    assert [p.id for p in again["prompts"]] == [p.id for p in greedy["prompts"]][::3]
    assert NO not in {row.target for row in rows}
    assert len(rows) == len(safety_requests())


def test_what_is_refused_every_time_is_left_out(asked, monkeypatch) -> None:
    monkeypatch.setattr(
        module,
        "generate",
        lambda _, prompts, **__: [Completion(p.id, NO, (1,), "stop", 0, 1) for p in prompts],
    )
    assert {row.label for row in safety_rows(None)} == {"harmful"}


def test_rows_fit_a_training(asked, tmp_path) -> None:
    rows = safety_rows(None)
    refuse_leaking_rows(rows, "the rows")
    assert len({row.id for row in rows}) == len(rows)
    write_rows(tmp_path / "rows.jsonl", rows)
    harmful = [row for row in rows if row.harmful]
    whole = [row for row in harmful if row.turn is None]
    assert 0.2 < len(whole) / len(harmful) < 0.3
    assert all(score_refusal(row.target).refused for row in whole)
    assert {len(row.target.split()) for row in harmful if row.turn == OPEN} == {2}
    assert all(row.hazard for row in harmful)
    assert {row.turn for row in rows if not row.harmful} == {None, OPEN}


def test_an_open_turn_is_not_ended() -> None:
    model = tiny_model()
    closed = rows_of(bundled("safety_training"))[0]
    closed = replace(closed, target="Start with flour")
    ended, still_open = encode_rows(model, [closed, replace(closed, turn=OPEN)], "ssft-chat")
    closing = end_of_turn(model)
    assert closing
    assert ended.completion == (*still_open.completion, *closing)
    assert isinstance(still_open.row, TrainingRow)
