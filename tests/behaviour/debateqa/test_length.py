"""Length: a slope that finds an effect where there is one, and none where there is none."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.behaviour.debateqa.made import answer, drawn, target
from tests.oracles import debateqa as oracle
from theodolite.behaviour.debateqa.gains import Gains
from theodolite.behaviour.debateqa.length import gains_at_length, len_slope
from theodolite.behaviour.debateqa.rows import AnswerRow, TargetScore
from theodolite.behaviour.debateqa.scoring import measurements, score
from theodolite.measure.measurement import Measurement


def with_lengths(seed: int, n: int = 40) -> tuple[list[TargetScore], list[AnswerRow]]:
    """Return targets whose nats do not depend on the length of answers of 20 to 400 tokens."""
    dice = random.Random(seed)
    lengths = [dice.randrange(20, 400) for _ in range(n)]
    rows = [
        target(f"q{q}", i, nll=dice.uniform(2.8, 3.2), tokens=30, context=20 + length)
        for q, length in enumerate(lengths)
        for i in range(4)
    ]
    return rows, [answer(f"q{q}", answer_tokens=length) for q, length in enumerate(lengths)]


def slope(variant: str, seed: int = 0) -> Measurement:
    found = score(*with_lengths(seed), variant=variant)
    return len_slope("len_slope", found.questions)


def test_the_slope_equals_the_oracle() -> None:
    found = score(*with_lengths(1))
    x = [(row.answer_tokens or 0) / 100 for row in found.questions]
    y = [row.values["pd"] or 0.0 for row in found.questions]
    assert slope("corrected", 1).value == pytest.approx(oracle.slope(x, y))


def test_only_the_reference_follows_length() -> None:
    reference, corrected = slope("reference"), slope("corrected")
    assert reference.high is not None and reference.high < 0
    assert corrected.low is not None and corrected.high is not None
    assert corrected.low < 0 < corrected.high
    assert corrected.floor is not None and corrected.floor.value == 0.0


def test_without_lengths_there_is_no_slope() -> None:
    rows, answers = with_lengths(0, 5)
    alike = [replace(one, answer_tokens=50) for one in answers]
    assert len_slope("s", score(rows, alike).questions).value is None
    assert len_slope("s", score(rows).questions).value is None


def test_lengths_and_odd_answers_are_counted() -> None:
    rows, answers = with_lengths(0, 6)
    answers[0] = replace(answers[0], answer_tokens=None, truncated=True)
    answers[1] = replace(answers[1], empty=True, answer_tokens=0)
    answers.append(answer("settled", "settled", answer_tokens=1000))
    found = {m.name: m for m in measurements(score(rows, answers))}
    tokens = [one.answer_tokens or 0 for one in answers[1:6]]
    mean = found["debateqa/answer_tokens"]
    assert (mean.value, mean.n) == (pytest.approx(sum(tokens) / 5), 5)
    assert mean.unscored.reasons == {"its tokens were not counted": 1}
    assert found["debateqa/truncated"].value == pytest.approx(1 / 6)
    assert found["debateqa/empty"].value == pytest.approx(1 / 6)


def test_gains_of_cut_answers_stand_under_their_length() -> None:
    short, long = drawn(0, gain=0.1), drawn(1, gain=0.3)
    bare = [replace(row, prior_sum=None) for row in short]
    found = {
        m.name: m for m in gains_at_length({256: long, 128: short, 512: bare}, name="debateqa")
    }
    assert list(found) == [f"debateqa/gain/tokens/{n}" for n in (128, 256, 512)]
    gains = Gains.of(short)
    by_question = [gains.values[gains.question == q].mean() for q in range(20)]
    assert found["debateqa/gain/tokens/128"].value == pytest.approx(sum(by_question) / 20)
    assert found["debateqa/gain/tokens/128"].floor is not None
    assert found["debateqa/gain/tokens/512"].status == "not_measured"
