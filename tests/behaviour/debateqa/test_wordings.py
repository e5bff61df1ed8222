"""Gains of several wordings: closed forms, an oracle, a planted spread, and real wordings."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.tiny import tiny_model
from tests.oracles.wordings import variance_components
from theodolite.behaviour.debateqa import evaluation as module
from theodolite.behaviour.debateqa.data import load_rows
from theodolite.behaviour.debateqa.evaluation import NONE, Options, check, score_responses
from theodolite.behaviour.debateqa.perspectives import Scoring, score_perspectives
from theodolite.behaviour.debateqa.wordings import (
    NO_WORDINGS,
    Spreads,
    WordingGain,
    measurements,
    score_wordings,
    wordings_of,
)
from theodolite.data.debates import Perspective
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError

Gains = dict[str, list[list[float]]]


def laid(gains: Gains) -> list[WordingGain]:
    return [
        WordingGain(question, question, place, number, gain)
        for question, views in gains.items()
        for place, own in enumerate(views)
        for number, gain in enumerate(own)
    ]


def values(gains: Gains) -> list[float | None]:
    return [one.value for one in measurements(laid(gains))]


def test_wordings_that_never_matter_leave_all_to_perspectives() -> None:
    within, between, share = values({"a": [[1.0, 1.0], [3.0, 3.0]], "b": [[0.0, 0.0], [2.0, 2.0]]})
    assert within == 0.0 and share == 1.0
    assert between == pytest.approx(np.sqrt(2.0))  # means one apart on either side of the centre


def test_perspectives_that_never_matter_leave_nothing_to_them() -> None:
    within, between, share = values({"a": [[0.0, 2.0], [0.0, 2.0]], "b": [[5.0, 7.0], [5.0, 7.0]]})
    assert within == pytest.approx(np.sqrt(2.0)) and between == 0.0
    assert share is not None and share < 0  # the estimate of a variance that is 0, left as it is


@pytest.mark.parametrize(
    "gains", [{}, {"a": [[1.0], [2.0]]}, {"a": [[1.0, 2.0]]}, {"a": [[1.0, 2.0]], "b": [[1.0]]}]
)
def test_what_has_no_spread_is_not_measured(gains: Gains) -> None:
    for one in measurements(laid(gains)):
        assert (one.status, one.reason) == ("not_measured", NO_WORDINGS)


GAIN = st.floats(-3, 3).map(lambda g: round(g, 3))
QUESTION = st.lists(st.lists(GAIN, min_size=1, max_size=4), min_size=1, max_size=4)


@given(questions=st.lists(QUESTION, min_size=1, max_size=4), shift=GAIN)
def test_it_is_the_written_out_analysis_of_variance(
    questions: list[list[list[float]]], shift: float
) -> None:
    gains = {f"q{i}": views for i, views in enumerate(questions)}
    spreads = Spreads.of(laid(gains))
    if not spreads.usable:
        return
    whole = np.ones((1, len(gains)))
    within, between = variance_components(gains)
    found = [float(spreads.figure(name, whole)[0]) for name in ("within", "between")]
    assert found[0] == pytest.approx(np.sqrt(max(within, 0)), abs=1e-6)
    assert found[1] == pytest.approx(np.sqrt(max(between, 0)), abs=1e-6)
    moved = {  # a question that is easier as a whole changes nothing
        name: [[g + shift * i for g in own] for own in views]
        for i, (name, views) in enumerate(gains.items())
    }
    again = Spreads.of(laid(moved))
    assert float(again.figure("within", whole)[0]) == pytest.approx(found[0], abs=1e-6)
    assert float(again.figure("between", whole)[0]) == pytest.approx(found[1], abs=1e-6)


def planted(seed: int, within: float = 0.1, between: float = 0.3) -> Gains:
    dice = random.Random(seed)
    return {
        f"q{q}": [
            [centre + dice.gauss(0, within) for _ in range(dice.choice((1, 2, 3)))]
            for centre in [dice.gauss(0, between) for _ in range(6)]
        ]
        for q in range(40)
    }


def test_intervals_hold_planted_spreads_about_as_often_as_they_claim() -> None:
    held = [0, 0, 0]
    for seed in range(20):
        for place, truth in enumerate((0.1, 0.3, 0.9)):
            one = measurements(laid(planted(seed)))[place]
            assert one.low is not None and one.high is not None
            held[place] += one.low < truth < one.high
            assert one.high - one.low < truth / 2
    assert min(held) >= 16


def test_no_spread_between_perspectives_is_not_taken_for_one() -> None:
    shares = [measurements(laid(planted(seed, between=0.0)))[2] for seed in range(20)]
    assert sum(bool(one.low is not None and one.low > 0) for one in shares) <= 3


CLUSTERS = [
    {"point_of_view": "Towns need air", "explanation": "Air.", "paraphrases": ["Air is needed"]},
    {"point_of_view": "Shops need cars", "explanation": "Cars.", "paraphrases": []},
]
ROW = Prompt("q1", text="Ban cars?", meta={"partial_answers": CLUSTERS})
SAID = {"q1": "Because of the air in the city."}


def test_each_wording_is_foretold_like_a_perspective_of_its_own() -> None:
    """The first wording of a perspective has the very gain of a perspective of these words."""
    model = tiny_model("llama")
    found = score_wordings(model, [ROW], SAID, Scoring(), 3)
    assert [(one.perspective, one.wording) for one in found] == [(0, 0), (0, 1), (1, 0)]
    texts = ["Towns need air", "Air is needed", "Shops need cars"]
    alone = Prompt(
        "q1",
        text="Ban cars?",
        meta={"partial_answers": [{"point_of_view": t, "explanation": t} for t in texts]},
    )
    plain = score_perspectives(model, [alone], SAID, Scoring(nulls=0)).gains
    assert [one.gain for one in found] == pytest.approx([row.gain for row in plain], abs=1e-5)
    assert len(score_wordings(model, [ROW], SAID, Scoring(), 0)) == 2
    assert score_wordings(model, [ROW], {}, Scoring(), 1) == []


def test_wordings_are_taken_once_and_in_order() -> None:
    meta: dict[str, Any] = {"paraphrases": ["b ", "a", "b", " ", "c"]}
    assert wordings_of(Perspective("a", "x", meta=meta), 9) == ["a", "b", "c"]
    assert wordings_of(Perspective("a", "x", meta=meta), 1) == ["a", "b"]
    for wrong in ("b", [1]):
        with pytest.raises(DataError, match="list of texts"):
            wordings_of(Perspective("a", "x", meta={"paraphrases": wrong}), 1)


def test_the_benchmark_reports_wordings_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "scorer_of", lambda options, _: tiny_model("llama"))
    rows = [
        {"id": f"q{i}", "question": f"Ban cars {i}?", "partial_answers": CLUSTERS} for i in range(3)
    ]
    source, given_file = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given_file.write_text(
        "".join(json.dumps({"id": row["id"], "generation": "Air."}) + "\n" for row in rows)
    )
    asked = Options(source=str(source), controls=0, wordings=2)
    result = score_responses(given_file, asked)
    assert len(result.tables["debateqa_wordings"]) == 9
    by_name = {one.name: one for one in result.measurements}
    assert by_name["debateqa/wordings/within"].value is not None
    assert any("with its wording" in said for said in result.findings)
    without = score_responses(given_file, Options(source=str(source), controls=0))
    assert "debateqa_wordings" not in without.tables


@pytest.mark.parametrize("wrong", [{"wordings": -1}, {"wordings": 2, "scorer": NONE}])
def test_wordings_that_cannot_be_asked_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="`wordings`"):
        check(Options(**wrong))


def test_perspectrum_without_the_data_folder_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEODOLITE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="perspectrum"):
        load_rows("perspectrum")


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not here")
def test_official_claims_are_a_source_with_wordings() -> None:
    rows = load_rows("perspectrum", split="all", controls=0)
    assert len(rows) == 907
    views = [Perspective.from_json(one) for row in rows for one in row.meta["partial_answers"]]
    assert len(views) == 5095
    several = sum(len(wordings_of(view, 99)) > 1 for view in views)
    assert 0.5 < several / len(views) < 0.7
    parts = [len(load_rows("perspectrum", split=s, controls=0)) for s in ("train", "val", "test")]
    assert sum(parts) == 907 and min(parts) > 100
    few = [row for row in rows if sum(len(one.get("paraphrases", ())) for one in
           row.meta["partial_answers"]) >= 2][:2]  # fmt: skip
    found = score_wordings(tiny_model("llama"), few, {row.id: "No." for row in few}, Scoring(), 1)
    assert all(one.value is not None for one in measurements(found))
