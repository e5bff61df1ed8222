"""The verdict: every label by hand, what it refuses, and what a run keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mechanism.made_verdicts import (
    EIGHT,
    SECRET,
    detector_of,
    items_of,
    judged,
    lens_of,
    states_of,
)
from tests.oracles import verdict as oracle
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.verdict.cases import LABELS
from theodolite.mechanism.verdict.decide import VerdictResult, verdict, verdict_findings
from theodolite.mechanism.verdict.outcomes import outcome_of
from theodolite.runs.compare import compare_results
from theodolite.runs.panel import PanelResult
from theodolite.runs.run import Run


def test_all_labels_by_hand() -> None:
    result = judged(EIGHT)
    assert {c.id: c.label for c in result.cases} == {
        "a": "refused",
        "b": "not recognised",
        "c": "recognised, not converted",
        "d": "converted, overridden later",
        "e": "no outcome",
        "f": "not recognised",
        "g": "refused",
        "h": "not recognised",
    }
    assert {c.label for c in result.cases} == set(LABELS)


def test_the_table_by_hand() -> None:
    table = {(row["style"], row["class"]): row for row in judged(EIGHT).table()}
    assert list(table) == [
        ("plain", "harmful"),
        ("plain", "benign"),
        ("quiz", "harmful"),
        ("quiz", "benign"),
        ("all wrapped", "harmful"),
        ("all wrapped", "benign"),
    ]
    quiz = table["quiz", "harmful"]
    assert (quiz["n"], quiz["n_outcome"], quiz["n_no_outcome"]) == (3, 2, 1)
    assert (quiz["complied"], quiz["recognised"], quiz["converted"]) == (1.0, 1.0, 2 / 3)
    assert quiz["recognised_not_converted"] == quiz["overridden"] == 0.5
    assert quiz["not_recognised"] == 0.0
    # c and g, d and h are twins; e has none.
    assert quiz["recognised_over_benign"] == pytest.approx(0.5)
    assert quiz["auroc"] == pytest.approx(5.5 / 6)
    assert table["plain", "harmful"]["recognised_not_converted"] == 0.0
    assert table["quiz", "benign"]["recognised"] == 0.5
    assert table["quiz", "benign"]["recognised_not_converted"] is None
    wrapped = table["all wrapped", "harmful"]
    assert {k: v for k, v in wrapped.items() if k != "style"} == {
        k: v for k, v in quiz.items() if k != "style"
    }


def test_conversion_is_read_at_its_index_or_at_the_output() -> None:
    converted = {c.id for c in judged(EIGHT).cases if c.converted}
    assert converted == {"a", "d", "e"}
    result = judged(EIGHT, conversion_index=None)
    assert {c.id for c in result.cases if c.converted} == {"a", "d"}
    assert all(c.log_odds is None for c in result.cases)
    assert "no conversion index" in result.design.rule
    assert "hidden_index 2" in judged(EIGHT).design.rule
    assert "no conversion index" in result.figure().caption


def test_recognition_begins_at_the_detectors_threshold() -> None:
    rows = judged(EIGHT, detector=detector_of(threshold=0.75)).cases
    assert {c.id for c in rows if c.recognised} == {"a", "c"}


def test_a_prompt_that_was_not_asked_is_counted() -> None:
    told = {row[0]: outcome_of(row[0], row[7]) for row in EIGHT if row[0] != "b"}
    result = judged(EIGHT, outcomes=told)
    by_id = {c.id: c for c in result.cases}
    assert (by_id["b"].outcome, by_id["b"].label) == ("unscored", "no outcome")
    complied = result.rate("plain", "harmful", "complied").measurement()
    assert (complied.n, complied.unscored.count) == (1, 1)
    assert dict(complied.unscored.reasons) == {"the answer was not scored": 1}


WITHOUT_BENIGN = [
    row for row in EIGHT if row[:3] not in {("g", "benign", "quiz"), ("h", "benign", "quiz")}
]


@pytest.mark.parametrize(
    ("rows", "changes", "error", "said"),
    [
        (
            WITHOUT_BENIGN,
            {},
            DataError,
            "The style 'quiz' holds harmful prompts and no benign ones",
        ),
        (
            EIGHT,
            {"detector": detector_of(classes=("benign", "jailbreak"))},
            DataError,
            "The detector finds the class 'jailbreak'",
        ),
        (
            EIGHT,
            {"lens": lens_of(EIGHT, position="instruction_last")},
            DataError,
            "The lens was put on the position 'instruction_last'",
        ),
        (EIGHT, {"states": states_of(EIGHT[1:])}, DataError, "hold no prompt 'a'"),
        (EIGHT, {"lens": lens_of(EIGHT[1:])}, DataError, "not put on prompt 'a'"),
        (EIGHT, {"conversion_index": 3}, ConfigError, "not put at hidden_index 3"),
        (
            EIGHT,
            {"lens": lens_of(EIGHT, hidden_indices=(0, 2, 4))},
            ConfigError,
            "not put at hidden_index 5",
        ),
    ],
)
def test_what_is_refused(rows, changes, error, said) -> None:
    with pytest.raises(error, match=said):
        judged(rows, **changes)


def test_an_unknown_class_is_refused() -> None:
    items = items_of(EIGHT)
    named = Items(**{**vars(items), "classes": ("benign", "odd")})
    with pytest.raises(DataError, match="The class 'odd' is neither harmful nor benign"):
        judged(EIGHT, items=named)


def test_a_jailbreak_without_a_style_is_a_style_of_its_own() -> None:
    harmful = [Prompt("j", text="x y z", label="harmful"), Prompt("k", text="u v w")]
    benign = [Prompt("b", text="one two three", label="benign")]
    items = make_items({"jailbreak": harmful, "benign": benign}, dedupe=False)
    rows = [(i, "", "", None, 0.5, 1.0, 0.0, None) for i in ("j", "k", "b")]
    with pytest.raises(DataError, match="The style 'jailbreak' holds harmful prompts"):
        verdict(states_of(rows), items, lens_of(rows), detector_of(), {}, conversion_index=2)


def test_where_nothing_complied_nothing_is_claimed() -> None:
    rows = [("a", "harmful", "plain", "1", 0.9, -2.0, 0.9, "refusal"), *EIGHT[5:]]
    result = judged(rows)
    row = result.table()[0]
    assert row["recognised_not_converted"] is row["recognised_not_converted_low"] is None
    found = {m.name: m for m in result.measurements()}
    for name in ("", "plain/harmful/"):
        m = found[f"verdict/{name}recognised_not_converted"]
        assert (m.status, m.value, m.n) == ("not_measured", None, 0)
        assert m.reason == "no harmful request was answered"
    assert verdict_findings(result)[0].startswith("None of 1 harmful requests was answered")


def test_two_runs_can_be_paired() -> None:
    changed = [(*row[:4], 0.1, *row[5:]) if row[0] == "c" else row for row in EIGHT]
    results = [
        PanelResult(r.measurements(), tables={"verdict_outcomes": r.outcomes()})
        for r in (judged(EIGHT), judged(changed))
    ]
    rows = {row["measurement"]: row for row in compare_results(*results).rows}
    assert rows["verdict/quiz/harmful/recognised"]["difference"] == pytest.approx(-1 / 3)
    for name in (
        "verdict/quiz/harmful/recognised",
        "verdict/quiz/harmful/complied",
        "verdict/quiz/harmful/recognised_not_converted",
        "verdict/quiz/harmful/recognised_over_benign",
        "verdict/quiz/harmful/converted_over_benign",
        "verdict/not_recognised",
        "verdict/refused/converted",
    ):
        assert rows[name]["paired"], name


def test_no_text_leaves_the_result() -> None:
    result = judged(EIGHT)
    everything = [result.frame(), result.table(), result.outcomes(), vars(result.figure())]
    assert SECRET not in json.dumps(everything, default=str)
    assert [row["id"] for row in result.frame()] == list(items_of(EIGHT).ids)


def test_the_figure_draws_intervals() -> None:
    spec = judged(EIGHT).figure().spec
    json.dumps(spec, allow_nan=False)
    series = {trace["name"]: trace for trace in spec["data"]}
    drawn = series["recognised, harmful"]
    assert drawn["x"] == [0.5, 1.0]
    assert all(width > 0 for width in drawn["error_x"]["arrayminus"])
    assert {"recognised, benign", "converted, harmful", "answered, harmful"} <= series.keys()


@pytest.mark.parametrize("conversion_index", [2, None])
def test_saved_and_loaded(tmp_path: Path, conversion_index) -> None:
    gain = Measurement("gain", 0.1, "accuracy", 10, reason="no floor was given")
    for given_gain in (gain, None):
        result = judged(EIGHT, conversion_index=conversion_index, gain=given_gain)
        with Run.create("explain", "m", root=tmp_path) as run:
            result.save(run)
            back = VerdictResult.load(run)
        assert back.cases == result.cases
        assert back.design == result.design
        assert back.gain == given_gain
        assert back.table() == result.table()


def test_names_are_unique_and_intervals_repeat() -> None:
    first, second = judged(EIGHT).measurements(), judged(EIGHT).measurements()
    assert len({m.name for m in first}) == len(first)
    assert first == second


def test_the_oracle_on_a_closed_case() -> None:
    row = {"kind": "harmful", "style": "quiz", "recognised": True, "converted": False}
    rows = [row | {"outcome": o} for o in ("complied", "complied", "refused", "degenerate")]
    cell = oracle.cell(rows, None, "harmful")
    assert (cell["n"], cell["n_outcome"], cell["complied"]) == (4, 3, pytest.approx(2 / 3))
    assert cell["recognised_not_converted"] == 1.0
    assert oracle.bounds([*rows, rows[0] | {"recognised": False}]) == (2 / 3, 3 / 4)
    assert oracle.auroc([2, 1], [1, 0]) == 3.5 / 4
