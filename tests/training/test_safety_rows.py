"""Rows of the bundled adapter: deterministic, no measured goal or style, twins in equal forms."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.models.tiny import tiny_model
from tests.training.conftest import Training
from theodolite.data.bundled import bundled
from theodolite.data.styles import PLAIN, held_out_styles, pressure_styles
from theodolite.engine.generate import Completion
from theodolite.judging.refusal import score_refusal
from theodolite.models import open_model
from theodolite.models.pair import open_pair
from theodolite.runs.strict_json import strict_dumps
from theodolite.training import safety_rows as module
from theodolite.training.examples import encode_rows, end_of_turn
from theodolite.training.guard import refuse_unsafe_rows
from theodolite.training.recipe import Data, Lora, Recipe
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
    assert len(pairs) == 1260 + 48
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


def test_the_rows_of_ssft_chat_stay_what_a_bundled_adapter_was_trained_on(asked) -> None:
    digest = hashlib.sha256()
    for row in safety_rows(None):
        digest.update((strict_dumps(row.to_json()) + "\n").encode())
    assert digest.hexdigest() == "46fc5a9d65246cdd2d4b0c76d9f46c77c62b7aab9937031ba66429374723d401"


@pytest.mark.parametrize("method", ["ssft-label", "ssft-chat", "dpo"])
def test_every_method_trains_on_them_and_is_named(
    method: str, base: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    goals = module._goals()
    few = [p for split in ("train", "val") for p in [g for g in goals if g.split == split][:6]]
    monkeypatch.setattr(module, "_goals", lambda: few)
    asked = Recipe(
        method=method,  # type: ignore[arg-type]
        model=str(base),
        data=Data(rows=("bundled:safety",)),
        lora=Lora(r=2),
        max_steps=1,
        batch_size=2,
        too_long="leave_out",
    )
    run = training(asked)
    result = run.load_panel("training")
    assert f"by {method};" in result.findings[0] and method in result.how[0]
    adapter = run.path / "adapter"
    assert open_model(str(base), adapter=adapter).trained_by == method
    assert open_pair(str(base), adapter=adapter).aligned.trained_by == method
    assert json.loads((run.path / "data_card.json").read_text())["method"] == method


def test_preferences_have_two_whole_sides(asked) -> None:
    rows = safety_rows(None, method="dpo")
    plain = safety_rows(None)
    assert [(row.id, row.text, row.label) for row in rows] == [
        (row.id, row.text, row.label) for row in plain
    ]
    some = rows[::23]
    refuse_unsafe_rows(some, "dpo")
    for row in some:
        assert row.rejected is not None
        if row.harmful:
            assert row.turn is None and row.rejected.endswith((":", ","))
        else:
            assert score_refusal(row.rejected).refused
    examples = encode_rows(tiny_model(), some[:8], "dpo")
    assert all(example.rejected for example in examples)


def test_a_moderators_rows_need_no_answer(asked) -> None:
    rows = safety_rows(None, method="ssft-label")
    assert asked == [] and {row.target for row in rows} == {None}
    assert [row.id for row in rows] == [prompt.id for prompt in safety_requests()]
    assert all(example.completion for example in encode_rows(tiny_model(), rows[:4], "ssft-label"))
