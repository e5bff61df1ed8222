"""D.A. beside settled questions: what constant answers get, and replies that could not be read."""

from __future__ import annotations

import random

import pytest

from tests.behaviour.debateqa.made import answer, drawn
from tests.oracles import debateqa as oracle
from theodolite.behaviour.debateqa.dispute_figures import check_read, dispute_measurements
from theodolite.behaviour.debateqa.rows import AnswerRow
from theodolite.behaviour.debateqa.scoring import measurements, score
from theodolite.errors import RunError
from theodolite.measure.measurement import JudgeQuality, Measurement


def judged(seed: int, n: int = 40, up: float = 0.8, down: float = 0.1) -> list[AnswerRow]:
    """Return answers to debatable and settled questions with verdicts of given rates."""
    dice = random.Random(seed)
    rows = []
    for label, share in (("debatable", up), ("settled", down)):
        for i in range(n):
            said = dice.random() < share
            prob = dice.uniform(0.5, 1.0) if said else dice.uniform(0.0, 0.5)
            words = dice.random() < share
            rows.append(answer(f"{label}{i}", label, da=said, da_prob=prob, da_lexical=words))
    return rows


def figures(rows: list[AnswerRow]) -> dict[str, Measurement]:
    return {m.name.removeprefix("d/"): m for m in dispute_measurements(rows, name="d")}


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_shares_and_their_difference(seed: int) -> None:
    rows = judged(seed)
    up, down = ([r for r in rows if r.label == label] for label in ("debatable", "settled"))
    rate, false = (sum(bool(r.da) for r in side) / len(side) for side in (up, down))
    found = figures(rows)
    assert found["da"].value == pytest.approx(rate)
    assert found["da"].floor is not None and found["da"].floor.value == pytest.approx(false)
    assert found["da_fpr"].value == pytest.approx(false)
    assert found["da_j"].value == pytest.approx(rate - false)
    expected = oracle.auroc([r.da_prob or 0.0 for r in up], [r.da_prob or 0.0 for r in down])
    assert found["da_auroc"].value == pytest.approx(expected)
    equal = sum(r.da == r.da_lexical for r in rows) / len(rows)
    assert found["judge_agreement"].value == pytest.approx(equal)
    for name in ("da_j", "da_auroc"):
        one = found[name]
        assert one.low is not None and one.high is not None and one.value is not None
        assert one.low < one.value < one.high and one.n_clusters == 80


@pytest.mark.parametrize("said", [True, False])
def test_constant_answers_have_no_j(said: bool) -> None:
    rows = [
        answer(f"{label}{i}", label, da=said, da_prob=float(said))
        for label in ("debatable", "settled")
        for i in range(10)
    ]
    found = figures(rows)
    assert found["da"].value == found["da_fpr"].value == float(said)
    assert found["da_j"].value == 0.0 and found["da_auroc"].value == 0.5
    assert found["da_j"].floor is not None and found["da_j"].floor.value == 0.0


def test_a_judge_that_always_says_zero_gives_zero() -> None:
    assert figures([answer(f"q{i}", da=False) for i in range(30)])["da"].value == 0.0


def test_unread_replies_are_counted_and_too_many_stop() -> None:
    rows = judged(0, 50)
    unread = [answer("x", da_reason="judge_unparsable"), answer("y", da_reason="judge_unparsable")]
    found = figures([*rows, *unread])["da"]
    assert (found.n, found.unscored.reasons) == (50, {"judge_unparsable": 2})
    assert found.unscored.low is not None and found.value is not None
    assert found.unscored.low < found.value < (found.unscored.high or 0.0)
    j = figures([*rows, *unread])["da_j"]
    assert j.unscored.count == 2
    check_read([*rows, *unread])  # 2 of 102 are 1.96 %
    with pytest.raises(RunError, match=r"3 of 103 .* 'x' \(judge_unparsable\), 'y'"):
        check_read([*rows, *unread, answer("z", da_reason="judge_unparsable")])
    check_read([answer("never judged")])


def test_contested_questions_are_a_slice_of_their_own() -> None:
    rows = judged(1)
    more = [answer(f"c{i}", "contested", da=True, da_prob=0.9) for i in range(20)]
    found, without = figures([*rows, *more]), figures(rows)
    for name in ("da", "da_fpr", "da_j", "da_auroc"):
        assert found[name].value == without[name].value
    assert found["da_contested"].value == 1.0 and "da_contested" not in without


def test_without_controls_da_says_why_it_has_no_floor() -> None:
    found = figures([row for row in judged(0) if row.label == "debatable"])
    assert set(found) == {"da", "da_lexical", "judge_agreement", "judge_kappa"}
    assert found["da"].floor is None and "settled" in (found["da"].reason or "")


def test_the_judge_s_quality_corrects_the_share() -> None:
    judge = JudgeQuality("j", 0.9, 0.8, None)
    (da, *_) = dispute_measurements(judged(2), judge=judge, name="d")
    assert da.judge is not None and da.value is not None
    assert da.judge.corrected == pytest.approx(min(1.0, (da.value - 0.2) / 0.7))


def test_answers_that_nobody_judged_have_no_figure() -> None:
    rows = [answer(f"q{i}", da_lexical=True, answer_tokens=9) for i in range(5)]
    names = [one.name for one in measurements(score(drawn(0, 5), rows))]
    assert not [name for name in names if "/da" in name or "judge" in name]
