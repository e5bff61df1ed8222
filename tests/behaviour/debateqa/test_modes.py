"""Documents: what each mode changes against the bare question, and which way an answer leans."""

from __future__ import annotations

import pytest

from tests.behaviour.debateqa.made import drawn, target
from theodolite.behaviour.debateqa.modes import (
    against_closed,
    answer_leans,
    lean,
    lean_followed,
)
from theodolite.behaviour.debateqa.questions import question_scores
from theodolite.errors import DataError

SIDES = ("for", "against")


def test_modes_are_held_against_the_bare_question() -> None:
    modes = {
        mode: question_scores(drawn(0, 15, 4, gain=gain), tau=0.2)
        for mode, gain in (("closed", 0.1), ("gold_docs", 0.5))
    }
    (found,) = against_closed(modes, name="debateqa").values()
    names = [one.difference.name for one in found]
    assert names == [
        f"debateqa/gold_docs_vs_closed/{f}" for f in ("gain", "coverage", "balance", "pd")
    ]
    assert found[0].difference.value == pytest.approx(0.4)
    assert found[0].difference.low is not None and found[0].difference.low > 0.3
    assert found[3].difference.value == pytest.approx(0.0)
    with pytest.raises(DataError, match="no mode closed among 'gold_docs'"):
        against_closed({"gold_docs": modes["gold_docs"]}, name="debateqa")


def test_a_lean_has_a_sign() -> None:
    assert lean({"for": 3, "against": 1}, SIDES) == 0.5
    assert lean({"against": 2}, SIDES) == -1.0
    assert lean({"for": 2, "against": 2, "neither": 9}, SIDES) == 0.0
    assert lean({}, SIDES) is None
    with pytest.raises(DataError, match="two sides, not 1"):
        lean({}, ("for", "for"))


def test_answers_lean_to_what_they_cover() -> None:
    rows = [
        target(q, i, gain=gain, stance=SIDES[i % 2])
        for q, gains in (("a", (0.5, 0.5)), ("b", (0.5, 0.0)), ("c", (0.0, 0.0)))
        for i, gain in enumerate(gains)
    ]
    assert answer_leans(rows, 0.1, SIDES) == {"a": 0.0, "b": 1.0, "c": None}


def test_whether_answers_follow_their_documents_is_a_rank_correlation() -> None:
    documents = {f"q{i}": i / 10 - 0.5 for i in range(10)}
    answers = {q: value / 2 for q, value in documents.items()} | {"q3": None, "other": 0.2}
    skew, own, followed = lean_followed(documents, answers, name="debateqa")
    assert (skew.n, own.n, followed.n) == (10, 9, 9)
    assert own.unscored.reasons == {"no labelled perspective is covered": 1}
    assert followed.value == pytest.approx(1.0)
    assert skew.value == pytest.approx(-0.05) and skew.floor is not None
