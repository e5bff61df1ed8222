"""MR-Score and its kin: published tables, closed forms, a slow oracle, bounds and floors."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.behaviour.mr_ben.made import graded, program, sample
from tests.oracles import mr_ben as oracle
from theodolite.behaviour.mr_ben import scoring
from theodolite.behaviour.mr_ben.answers import Critique
from theodolite.behaviour.mr_ben.counts import COLUMNS, figures, matrix, mr_score
from theodolite.behaviour.mr_ben.floors import blank, trivial_floor
from theodolite.behaviour.mr_ben.rows import Graded, by_subject, grade
from theodolite.behaviour.mr_ben.scoring import measurements
from theodolite.behaviour.mr_ben.strata import line_agreement, strata
from theodolite.data.mr_ben import DELIVERED, official_mr_ben
from theodolite.errors import DataError
from theodolite.measure.judge_quality import calibrate_judge

official_only = pytest.mark.skipif(
    not os.environ.get("THEODOLITE_DATA"), reason="needs the official data"
)
PUBLISHED = yaml.safe_load(
    Path(scoring.__file__).with_name("published.yaml").read_text("utf-8")
)["figures"]  # fmt: skip


def named(found):
    return {m.name.removeprefix("mr-ben/"): m for m in found}


def worked() -> list[Graded]:
    """A right one called right, a right one unread, one located and accepted, one misplaced."""
    right = {"subject": "math", "gold_correct": True}
    wrong = {"subject": "math", "gold_correct": False, "labels": 3}
    return [
        Graded("a", "1", **right, correct=True),
        Graded("b", "2", **right),
        Graded("c", "3", **wrong, gold_step=2, correct=False, step=2, accepted=True),
        Graded("d", "4", **wrong, gold_step=1, correct=False, step=3),
    ]


def test_the_worked_example() -> None:
    found = named(measurements(worked(), resamples=200))
    expected = {
        "mr_score": 0.2 * 2 / math.sqrt(12) + 0.4, "mcc": 2 / math.sqrt(12), "acc_step": 0.5,
        "acc_reason": 0.5, "balanced_accuracy": 0.75, "process_f1": 0.5, "unparsed": 0.25,
        "said_incorrect": 0.5, "step_distance": 1.0, "within_1": 0.5, "caught": 1.0,
    }  # fmt: skip
    for name, value in expected.items():
        assert found[f"math/{name}"].value == pytest.approx(value), name
    assert found["math/mr_score"].value == pytest.approx(0.5155, abs=5e-5)


def test_the_published_table_of_one_run() -> None:
    found = mr_score(1305, 166, 1427, 1573, 22, 7)
    assert found == pytest.approx((0.0340, 0.01399, 0.00445, 0.01321), abs=5e-5)
    assert found.mr_score == pytest.approx(0.01321, abs=1e-5)


@pytest.mark.parametrize("model", PUBLISHED[1]["models"])
def test_published_scores_follow_from_their_parts(model: str) -> None:
    row = PUBLISHED[1]["models"][model]
    parts = [max(0.0, row["mcc"]), row["step"], row["reason"]]
    score = sum(w * part for w, part in zip((0.2, 0.3, 0.5), parts))
    assert score == pytest.approx(row["mr_score"], abs=0.05 * (1 + 0.2 + 0.3 + 0.5))


def test_published_figures_are_marked() -> None:
    assert len(PUBLISHED[0]["models"]) == 31 and len(PUBLISHED[1]["models"]) == 10
    assert {f["confidence"] for f in PUBLISHED} <= {
        "project page", "published file", "recomputed", "digest",
    }  # fmt: skip


def test_ends_of_the_scale() -> None:
    assert mr_score(5, 7, 5, 7, 7, 7).mr_score == pytest.approx(1.0)
    assert mr_score(0, 0, 5, 7, 0, 0) == pytest.approx((-1.0, 0.0, 0.0, 0.0))
    assert mr_score(0, 7, 5, 7, 0, 0).mcc == 0.0
    assert math.isnan(mr_score(3, 0, 5, 0, 0, 0).acc_step)
    for counts in ((6, 0, 5, 7, 0, 0), (0, 7, 5, 7, 1, 2), (0, 1, 5, 7, 2, 0)):
        with pytest.raises(DataError, match="contradict"):
            mr_score(*counts)


@given(st.tuples(*[st.integers(0, 30)] * 4))
def test_mcc_of_any_table(cells: tuple[int, int, int, int]) -> None:
    tp, tn, fp, fn = cells
    found = mr_score(tp, tn, tp + fn, tn + fp, 0, 0).mcc
    assert found == pytest.approx(oracle.mcc(tp, tn, fp, fn))


def test_mcc_is_that_of_sklearn() -> None:
    from sklearn.metrics import matthews_corrcoef

    draw = np.random.default_rng(0)
    for tp, tn, fp, fn in draw.integers(0, 40, (1000, 4)):
        weights = [tp, fn, tn, fp]
        expected = matthews_corrcoef([1, 1, 0, 0], [1, 0, 0, 1], sample_weight=weights)
        assert mr_score(tp, tn, tp + fn, tn + fp, 0, 0).mcc == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_the_slow_way_gives_the_same(seed: int) -> None:
    rows = graded(seed, coding=seed % 2 == 1)
    found = named(measurements(rows, resamples=50))
    for name, value in oracle.scores(rows).items():
        assert found[f"math/{name}"].value == pytest.approx(value), name


@given(st.integers(0, 500))
def test_identities(seed: int) -> None:
    rows = graded(seed, 30)
    one = {k: float(v[0]) for k, v in figures(matrix(rows).sum(0)[None]).items()}
    two = {k: float(v[0]) for k, v in figures(2 * matrix(rows).sum(0)[None]).items()}
    assert one["acc_reason"] <= one["acc_step"] <= one["caught"]
    assert two == pytest.approx(one, nan_ok=True)


def test_the_mean_is_that_of_the_subjects() -> None:
    rows = [*graded(1, 60, "math"), *graded(2, 30, "biology"), *graded(3, 30, "physics")]
    found = named(measurements(rows, resamples=500))
    for figure in scoring.SHOWN:
        parts = [found[f"{s}/{figure}"].value for s in ("math", "biology", "physics")]
        assert found[f"mean/{figure}"].value == pytest.approx(sum(parts) / 3), figure
    mean = found["mean/mr_score"]
    assert mean.low < mean.value < mean.high and mean.n_clusters == 40
    assert mean.floor.value == pytest.approx(
        sum(found[f"{s}/mr_score"].floor.value for s in ("math", "biology", "physics")) / 3
    )
    assert "mean over 3 of 7 subjects" in mean.reason and "logic" in mean.reason


def test_scope_is_always_said() -> None:
    assert scoring.scope(DELIVERED).startswith("mean over 6 of 7 subjects (without logic)")
    assert scoring.scope([*DELIVERED, "logic"]) == "mean over all 7 subjects"
    assert scoring.scope(["mr-gsm8k"]) == "mean over 1 sets"


def test_without_a_judge_there_are_bounds_and_no_value() -> None:
    rows = [replace(row, accepted=None) for row in graded(4)]
    found = named(measurements(rows, resamples=200))["math/mr_score"]
    assert (found.value, found.status) == (None, "not_measured")
    ends = [
        oracle.scores([replace(row, accepted=said) for row in rows])["mr_score"]
        for said in (False, True)
    ]
    assert (found.unscored.low, found.unscored.high) == pytest.approx(ends)
    assert found.unscored.reasons == {"reason_not_judged": scoring.waiting_rows(rows)}


def test_a_judge_that_failed_on_some_is_counted_and_not_accepted() -> None:
    rows = graded(5)
    asked = [i for i, row in enumerate(rows) if row.reviewed and row.accepted]
    rows[asked[0]] = replace(rows[asked[0]], accepted=None, unjudged="judge_unparsable")
    found = named(measurements(rows, resamples=200))
    reason = found["math/acc_reason"]
    assert reason.unscored.reasons == {"judge_unparsable": 1}
    assert reason.unscored.low == reason.value < reason.unscored.high
    assert "not accepted" in reason.reason
    assert found["math/acc_step"].unscored.count == 0


def test_code_waits_for_the_judge_with_its_step_too() -> None:
    found = named(measurements([replace(r, accepted=None) for r in graded(6, coding=True)]))
    assert found["math/acc_step"].value is None
    assert found["math/caught"].value is not None


def test_intervals_cluster_by_question_and_are_those_of_the_seed() -> None:
    rows = graded(7, 90)
    first, again, other = (
        named(measurements(rows, seed=s, resamples=2000))["math/acc_step"] for s in (1, 1, 2)
    )
    assert (first.low, first.high) == (again.low, again.high) != (other.low, other.high)
    assert (first.n, first.n_clusters) == (90, 30)
    copies = [replace(r, id=f"{r.id}{c}") for r in rows for c in "xyz"]
    copied = named(measurements(copies, seed=1, resamples=2000))["math/acc_step"]
    assert (copied.low, copied.high) == pytest.approx((first.low, first.high), abs=0.02)
    alone = named(measurements([replace(r, question="q") for r in rows]))["math/acc_step"]
    assert alone.low is None and "one question" in alone.reason


def test_a_corrected_rate_in_closed_form() -> None:
    rows = [
        Graded(
            f"{i}", f"{i}", "math", False, gold_step=1, correct=False,
            step=1 if i < 80 else 2, accepted=i < 50 or None if i >= 80 else i < 50,
        )
        for i in range(100)
    ]  # fmt: skip
    truth = [True] * 100 + [False] * 100
    verdicts = [True] * 90 + [False] * 10 + [True] * 20 + [False] * 80
    judge = calibrate_judge("j", truth, verdicts)
    found = named(measurements(rows, judge=judge, resamples=100))
    corrected = found["math/acc_reason/corrected"]
    assert corrected.value == pytest.approx((50 / 80 - 0.2) / (0.9 - 0.2) * 0.8)
    assert corrected.low < corrected.value < corrected.high
    assert found["math/acc_reason"].value == 0.5
    assert found["math/acc_reason"].judge.sensitivity == 0.9
    none = named(measurements([replace(r, correct=True) for r in rows], judge=judge))
    assert none["math/acc_reason/corrected"].value is None


def test_strata_count_incorrect_solutions_alone() -> None:
    rows = graded(8, 120)
    table = {(row["kind"], row["stratum"]): row for row in strata(rows)}
    wrong = [row for row in rows if not row.gold_correct]
    for name in "ABC":
        own = [row for row in wrong if row.source_model == name]
        found = table["source model", name]
        assert found["n"] == len(own)
        assert found["acc_step"] == pytest.approx(sum(r.located for r in own) / len(own))
        assert found["caught_low"] < found["caught"] < found["caught_high"]
    process = table["final answer", "right answer, wrong steps"]
    assert process["n"] == sum(bool(row.process_only) for row in wrong)
    waiting = strata([replace(row, accepted=None) for row in rows])
    assert all(row["acc_reason"] is None for row in waiting if row["acc_step"])


def test_lines_of_code_are_told_apart_from_the_score() -> None:
    said = Critique(False, None, "return x + 1")
    rows = [
        grade(program(id=f"p{i}", key=f"p{i}"), said if i else None, accepted=False)
        for i in range(4)
    ]
    assert line_agreement(rows).value == 0.75
    assert not any(row.step_credit for row in rows)


def test_no_answer_and_no_rows() -> None:
    assert grade(sample(), None).correct is None
    with pytest.raises(DataError, match="no answer"):
        measurements([])
    with pytest.raises(DataError, match="graded twice"):
        measurements([grade(sample(), None)] * 2)


@official_only
def test_the_official_floors() -> None:
    expected = {
        "biology": (1, 0.261), "chemistry": (1, 0.238), "math": (2, 0.242), "medicine": (2, 0.271),
        "physics": (1, 0.218), "coding": (None, 0.0),
    }  # fmt: skip
    samples = official_mr_ben(DELIVERED)
    floors = {s: trivial_floor(own) for s, own in by_subject(map(blank, samples)).items()}
    for subject, (step, share) in expected.items():
        assert floors[subject].step == step
        assert floors[subject].acc_step == pytest.approx(share, abs=5e-4)
    science = [floor for subject, floor in floors.items() if subject != "coding"]
    assert min(f.mr_score for f in science) == pytest.approx(0.066, abs=5e-4)
    assert max(f.mr_score for f in science) == pytest.approx(0.081, abs=5e-4)
    assert all(0.16 <= f.random_label <= 0.21 for f in science)

    # A model that always says so is at the floor, and one that says the gold reaches 1.
    constant = [grade(s, Critique(False, floors[s.subject].step), accepted=False) for s in samples]
    gold = [grade(s, Critique(s.gold_correct, s.gold_step), accepted=True) for s in samples]
    low, high = (named(measurements(rows, resamples=20)) for rows in (constant, gold))
    for subject, floor in floors.items():
        assert low[f"{subject}/mr_score"].value == pytest.approx(floor.mr_score)
        assert low[f"{subject}/mr_score"].floor.value == pytest.approx(floor.mr_score)
        assert high[f"{subject}/mr_score"].value == pytest.approx(1.0)


def test_a_whole_benchmark_is_quick() -> None:
    """Processor time, so that a busy machine does not decide it."""
    rows = [row for i, s in enumerate([*DELIVERED, "logic"]) for row in graded(i, 854, s)]
    assert len(rows) >= 5975
    began = time.process_time()
    measurements(rows, resamples=2)
    scored = time.process_time() - began
    measurements(rows, resamples=10_000)
    assert scored < 2 and time.process_time() - began - scored < 5


def test_columns_are_named_once() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS) == matrix([grade(sample(), None)]).shape[1]
