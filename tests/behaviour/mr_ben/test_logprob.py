"""Modes that write nothing: equal to one plain forward each, and what they make of the numbers."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.behaviour.mr_ben.made import program
from tests.behaviour.mr_ben.solved import demos, solution, solutions
from tests.models.tiny import tiny_model
from tests.oracles import mr_ben_modes as oracle
from theodolite.behaviour.mr_ben.data import OFFICIAL, load_demos, load_rows
from theodolite.behaviour.mr_ben.logprob import (
    OPENINGS,
    STEPS,
    VERDICT,
    Leaning,
    Located,
    check_modes,
    exact_masses,
    score_modes,
    steps,
    verdicts,
)
from theodolite.behaviour.mr_ben.mode_figures import areas, fixed_elsewhere, folds_of, grid, said
from theodolite.behaviour.mr_ben.mode_figures import solutions as ranked
from theodolite.behaviour.mr_ben.mode_results import steps_result, verdict_result
from theodolite.behaviour.mr_ben.prefix_cost import counted, trie_floor
from theodolite.behaviour.mr_ben.prompts import demos_for, task_prompt
from theodolite.behaviour.mr_ben.slots import (
    Slot,
    fitted,
    ids_of,
    score_slots,
    sequences_of,
    slots_of,
)
from theodolite.data.step_critique import CritiqueSet
from theodolite.engine.score import Scored
from theodolite.errors import ConfigError, DataError
from theodolite.models import open_model
from theodolite.runs.run import Run

FAMILIES = ("llama", "gemma3", "qwen2")


def roomy(name: str) -> Any:
    """Return a tiny model that reads long prompts; its positions rotate, so there is no table."""
    return replace(tiny_model(name), max_context=None)


def slots(model: Any, rows: CritiqueSet, mode: str, k: int = 0) -> list[Slot]:
    return slots_of(
        model,
        list(rows),
        demos(),
        k_shot=k,
        steps_format="plain",
        opening=OPENINGS[mode],
        room=8,
    )


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("k", [0, 1])
def test_verdicts_equal_one_forward_each(name: str, k: int) -> None:
    model = roomy(name)
    asked = slots(model, solutions(questions=2), VERDICT, k)
    found, _ = verdicts(model, asked)
    words = [ids_of(model, word) for word in (" correct", " incorrect")]
    for one in found:
        assert one.slot.encoded is not None
        yes, no = (oracle.log_probability(model, one.slot.encoded.ids, word) for word in words)
        assert one.margin == pytest.approx(yes - no, abs=1e-3)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_labels_equal_one_forward_each(name: str) -> None:
    model = roomy(name)
    rows = [solution("math", 0, 0, right=False), solution("math", 0, 1, right=True, steps=11)]
    asked = slots(model, CritiqueSet(tuple(rows)), STEPS)
    found, _ = steps(model, asked)
    for one in found:
        assert one.slot.encoded is not None
        labels = [ids_of(model, f" Step {label}") for label in one.slot.sample.labels]
        expected = oracle.label_chances(model, one.slot.encoded.ids, labels, ids_of(model, " N/A"))
        assert [*one.chances.values(), one.none] == pytest.approx(expected, abs=2e-4)
        assert sum(one.chances.values()) + (one.none or 0) == pytest.approx(1)
    assert list(found[1].chances) == list(range(1, 12))


def test_a_label_keeps_what_longer_ones_leave() -> None:
    tokens = [(7, 1), (7, 1, 0), (7, 1, 1), (7, 1, 0, 0), (8,), (7, 2)]
    logs = [math.log(p) for p in (0.5, 0.2, 0.1, 0.05, 0.3, 0.1)]
    found = [math.exp(log) for log in exact_masses(tokens, logs)]
    assert found == pytest.approx([0.2, 0.15, 0.1, 0.05, 0.3, 0.1])
    far = exact_masses(tokens[:3], [log - 2000 for log in logs[:3]])
    assert far[0] == pytest.approx(math.log(0.2) - 2000)


@pytest.mark.parametrize("mode", [VERDICT, STEPS])
def test_the_plan_reads_what_is_counted_and_little_more_than_the_least(mode: str) -> None:
    model = roomy("llama")
    asked = slots(model, solutions(questions=3), mode, 1)
    words = [ids_of(model, word) for word in (" Step 1", " Step 2", " N/A")]
    with counted(model) as passes:
        _, cost = score_slots(model, asked, lambda _: words)
    assert sum(passes) == cost.planned
    assert cost.floor <= cost.planned <= 1.15 * cost.floor
    assert cost.naive > 3 * cost.planned
    pairs = [(slot.encoded, word) for slot in asked if slot.encoded for word in words]
    by_root = {slot.root: [] for slot in asked}  # type: ignore[var-annotated]
    for slot in asked:
        by_root[slot.root] += [(slot.encoded, word) for word in words]
    assert cost.floor == sum(trie_floor(sequences_of(own)) for own in by_root.values())
    assert trie_floor(sequences_of(pairs)) == oracle.prefixes(sequences_of(pairs))


def test_examples_are_dropped_from_the_end_and_then_the_item_is_marked() -> None:
    wide = roomy("llama")
    rows = CritiqueSet((solution("math", 0, 0, right=False),))
    lengths = []
    for k in range(4):
        (slot,) = slots(wide, rows, VERDICT, k)
        assert slot.encoded is not None and slot.shots == k
        lengths.append(len(slot.encoded))
    for k in range(4):
        tight = replace(wide, max_context=lengths[k] + 8)
        (slot,) = slots(tight, rows, VERDICT, 3)
        assert slot.shots == k and slot.encoded is not None
        (alone,) = slots(wide, rows, VERDICT, k)
        assert alone.encoded is not None and slot.encoded.ids == alone.encoded.ids
    (slot,) = slots(replace(wide, max_context=lengths[0] + 7), rows, VERDICT, 3)
    assert slot.encoded is None


def test_marked_items_count_as_wrong_and_bound_the_rest() -> None:
    model = roomy("llama")
    long = replace(solution("math", 1, 0, right=True), question="Why? " * 300)
    rows = CritiqueSet((*solutions(("math",)), replace(long, id="long", key="long")))
    most = max(len(s.encoded) for s in slots(model, solutions(("math",)), VERDICT) if s.encoded)
    tight = replace(model, max_context=most + 20)
    result = score_modes(tight, rows, mode=VERDICT)
    by_name = {m.name: m for m in result.measurements}
    area = by_name["mr-ben/verdict/math/auroc"]
    assert area.n == len(rows) - 1 and area.unscored.reasons == {"too_long": 1}
    assert area.unscored.low is not None and area.value is not None
    assert area.unscored.low <= area.value <= (area.unscored.high or 0)
    (marked,) = [row for row in result.tables["mr_ben_verdict"] if row["id"] == "long"]
    assert marked["margin"] is None and marked["at_0"] is None
    assert by_name["mr-ben/verdict/at_0/math/mcc"].n == len(rows)
    with pytest.raises(DataError, match="None of the 1 solutions fits"):
        score_modes(tight, CritiqueSet((replace(long, id="long"),)), mode=VERDICT)


def test_a_perfect_and_a_backward_reader() -> None:
    rows = list(solutions())
    found = [
        Leaning(Slot(row, None, 0), (1.0 + i / 100) * (1 if row.gold_correct else -1))
        for i, row in enumerate(rows)
    ]
    values = {m.name: m for m in verdict_result(found).measurements}
    assert values["mr-ben/verdict/mean/auroc"].value == 1.0
    assert values["mr-ben/verdict/at_0/mean/mcc"].value == 1.0
    assert values["mr-ben/verdict/at_fixed/mean/mcc"].value == 1.0
    assert all(m.floor is not None for m in values.values() if not m.name.endswith("incorrect"))
    backward = [replace(one, margin=-(one.margin or 0)) for one in found]
    values = {m.name: m.value for m in verdict_result(backward).measurements}
    assert values["mr-ben/verdict/mean/auroc"] == 0.0
    assert values["mr-ben/verdict/at_0/mean/mcc"] == -1.0


def test_the_floor_of_auroc_is_the_length() -> None:
    rows = [solution("math", i, i % 3, right=i % 2 == 0, steps=2 + 4 * (i % 2)) for i in range(12)]
    (mean, single) = areas("x", "auroc", ranked(rows, [0.0] * 12), seed=0)
    assert single.floor is not None and single.floor.value == 1.0
    assert single.value == mean.value == 0.5
    assert "length" in single.floor.name


def test_a_threshold_never_sees_its_own_question() -> None:
    rows = list(solutions(questions=8))
    draw = np.random.default_rng(0)
    margins = [float(draw.normal(2.0 * row.gold_correct + 5)) for row in rows]
    blank = [said(row, None) for row in rows]

    def at(threshold: float) -> list[Any]:
        return [replace(b, correct=m >= threshold) for b, m in zip(blank, margins, strict=True)]

    judged, chosen = fixed_elsewhere(at, grid(margins), 0.0, seed=3)
    fold = folds_of([row.question for row in blank], seed=3)
    right = np.array([row.gold_correct for row in rows])
    for held, threshold in enumerate(chosen):
        others = fold != held
        best = max(
            oracle.mcc(np.array(margins)[others] >= t, right[others]) for t in (*grid(margins), 0)
        )
        own = oracle.mcc(np.array(margins)[others] >= threshold, right[others])
        assert own == pytest.approx(best)
        for place in np.flatnonzero(~others):
            assert judged[place].correct == (margins[place] >= threshold)
    questions = np.array([row.question for row in blank])
    assert all(len(set(fold[questions == q])) == 1 for q in questions)


def test_steps_give_bounds_of_the_score_and_no_value() -> None:
    rows = list(solutions())
    found = [
        Located(Slot(row, None, 0), {1: 0.2, 2: 0.7, 3: 0.0}, 0.1)
        if not row.gold_correct
        else Located(Slot(row, None, 0), {1: 0.2, 2: 0.2, 3: 0.0}, 0.6)
        for row in rows
    ]
    values = {m.name: m for m in steps_result(found).measurements}
    assert values["mr-ben/steps/mean/acc_step"].value == 1.0
    assert values["mr-ben/steps/mean/mcc"].value == 1.0
    score = values["mr-ben/steps/mean/mr_score"]
    assert score.value is None and score.reason is not None
    assert "no reason was written" in score.reason
    assert (score.unscored.low, score.unscored.high) == pytest.approx((0.5, 1.0))
    named = values["mr-ben/steps/step_if_wrong"]
    assert named.value == 1.0 and named.floor is not None and named.floor.value == 1.0
    # N/A wins over the right label: nothing is called wrong, and yet the label would be right.
    shy = [replace(one, chances={1: 0.1, 2: 0.2}, none=0.7) for one in found]
    values = {m.name: m for m in steps_result(shy).measurements}
    assert values["mr-ben/steps/mean/acc_step"].value == 0.0
    assert values["mr-ben/steps/step_if_wrong"].value == 1.0


def test_a_run_resumes_from_its_journal(tmp_path: Path) -> None:
    model = roomy("llama")
    rows = solutions(questions=2)
    with Run.create("eval mr-ben", out=tmp_path / "run") as run:
        first = score_modes(model, rows, mode=STEPS, k_shot=1, demos=demos(), run=run)
        with counted(model) as passes:
            again = score_modes(model, rows, mode=STEPS, k_shot=1, demos=demos(), run=run)
    assert not passes
    assert first.tables == again.tables
    assert [m.as_dict() for m in first.measurements] == [m.as_dict() for m in again.measurements]


def test_programs_are_read_by_verdict_alone() -> None:
    model = roomy("llama")
    rows = CritiqueSet((*solutions(("math",), 2), program()))
    found = score_modes(model, rows, mode=VERDICT)
    assert len(found.tables["mr_ben_verdict"]) == len(rows)
    found = score_modes(model, rows, mode=STEPS)
    assert len(found.tables["mr_ben_steps"]) == len(rows) - 1
    assert any("1 programs" in sentence for sentence in found.limits)
    with pytest.raises(DataError, match="None of the 1 solutions"):
        score_modes(model, CritiqueSet((program(),)), mode=STEPS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "verdicts"}, "no mode"),
        ({"mode": "steps", "k_shot": 4}, "4 worked examples"),
        ({"mode": "steps", "steps_format": "list"}, "no steps_format"),
        ({"mode": "stepwise", "k_shot": 1}, "after every step"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_modes(**options)


def test_models_without_logprobs_are_refused() -> None:
    from theodolite.errors import CapabilityError
    from theodolite.models.handle import ApiModel

    with pytest.raises(CapabilityError):
        score_modes(ApiModel("api:a/b", "a/b", "x"), solutions(), mode=VERDICT)  # type: ignore[arg-type]


@pytest.fixture
def planned_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scores be planned and not run: what the engine would read is known without running."""

    def nothing(_: Any, pairs: Any, **__: Any) -> list[Scored]:
        return [Scored(ids, (0.0,) * len(ids)) for _, ids in pairs]

    # The package shows a function under the module's name.
    monkeypatch.setattr(sys.modules[Scored.__module__], "score", nothing)


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="needs the official data")
@pytest.mark.parametrize(("k", "demanded"), [(0, 1.0), (1, 2.2), (3, 3.0)])
def test_official_prompts_are_read_hardly_more_than_once(
    k: int, demanded: float, planned_alone: None
) -> None:
    model = open_model("smollm2", dtype="float32")
    rows, shown = list(load_rows(OFFICIAL, subjects=["math"], limit=16)), load_demos(OFFICIAL)
    for mode, work in ((VERDICT, verdicts), (STEPS, steps)):
        how: dict[str, Any] = {"k_shot": k, "steps_format": "plain", "opening": OPENINGS[mode]}
        asked = slots_of(model, rows, shown, room=8, **how)
        assert all(slot.shots == k and slot.encoded is not None for slot in asked)
        _, cost = work(model, asked)
        assert cost.floor <= cost.planned <= 1.15 * cost.floor
        if mode == STEPS:  # against a forward per label
            assert cost.naive > demanded * cost.planned
    # What the full benchmark reads before it writes: examples come with their analysis.
    turns = [[{"role": "user", "content": task_prompt(r, demos_for(r, shown, k))}] for r in rows]
    encoded = fitted(model, turns, 1, continued=False)
    full = [Slot(row, one, k) for row, one in zip(rows, encoded, strict=True)]
    _, cost = score_slots(model, full, lambda _: [ids_of(model, "Solution")])
    assert cost.floor <= cost.planned <= 1.15 * cost.floor
    assert cost.naive > demanded * cost.planned
    print(f"k={k}: {cost.naive / cost.planned:.2f} times fewer tokens, {cost.over_floor:.3f}")
