"""The scorer against people: what agrees is found, what does not is found too."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import debateqa as oracle
from tests.oracles import rank_agreement
from theodolite.behaviour.debateqa.human import (
    PLAIN_WORDS,
    AnswerKey,
    ScoredAnswer,
    best_threshold,
    majority,
    validate,
)
from theodolite.behaviour.debateqa.ratings import (
    Rating,
    RatingTask,
    read_ratings,
    write_rating_sheet,
)
from theodolite.errors import DataError
from theodolite.measure.measurement import Measurement

HEAD = "question_id,answer_id,rater,partial_answer_index,represented,dispute_acknowledged\n"


def rated(
    seed: int = 0, *, noise: float = 0.05, questions: int = 12, models: int = 6
) -> tuple[list[Rating], list[ScoredAnswer]]:
    """Return ratings that follow gains up to noise, by two raters; a later model is better."""
    dice = random.Random(seed)
    ratings, answers = [], []
    for m in range(models):
        for q in range(questions):
            gains = {i: dice.gauss(0.05 * m, 0.15) for i in range(4)}
            disputed = dice.random() < 0.5
            answers.append(
                ScoredAnswer(f"q{q}", f"m{m}", f"model {m}", gains, disputed, dice.randrange(99))
            )
            for rater in ("r1", "r2"):
                for i, gain in gains.items():
                    level = 1 + round(4 * min(1.0, max(0.0, (gain + dice.gauss(0, noise)) * 2)))
                    ratings.append(Rating(f"q{q}", f"m{m}", rater, i, level, disputed))
    return ratings, answers


def figures(ratings: list[Rating], answers: list[ScoredAnswer]) -> dict[str, Measurement]:
    found = validate(ratings, answers).measurements
    return {one.name.removeprefix("human/"): one for one in found}


def test_figures_equal_the_oracles() -> None:
    ratings, answers = rated()
    means: dict[tuple[str, str, int], list[int]] = {}
    for row in ratings:
        means.setdefault((row.question, row.answer, row.index), []).append(row.represented or 0)
    gains = {(a.question, a.answer, i): g for a in answers for i, g in a.gains.items()}
    held = {key: sum(values) / len(values) >= 4 for key, values in means.items()}
    up, down = ([gains[key] for key, h in held.items() if h is side] for side in (True, False))
    found = figures(ratings, answers)
    assert found["auroc"].value == pytest.approx(oracle.auroc(up, down))
    expected = oracle.youden([gains[key] for key in held], list(held.values()))
    assert found["youden"].value == pytest.approx(expected)
    by_model = [
        (
            np.mean([np.mean(list(a.gains.values())) for a in answers if a.answer == m]),
            np.mean([np.mean(v) for key, v in means.items() if key[1] == m]),
        )
        for m in sorted({a.answer for a in answers})
    ]
    x, y = ([float(v) for v in side] for side in zip(*by_model))
    assert found["models/spearman"].value == pytest.approx(rank_agreement.spearman(x, y))
    assert found["models/kendall"].value == pytest.approx(rank_agreement.kendall_tau_b(x, y))
    assert found["da_kappa"].value == pytest.approx(1.0)
    assert found["answers/length_partialled"].n == len(answers)
    assert (found["raters/alpha"].value or 0.0) > 0.5
    assert found.keys() == PLAIN_WORDS.keys()


def test_a_blind_scorer_is_found_out() -> None:
    ratings, answers = rated(1)
    dice = random.Random(2)
    blind = [replace(a, gains={i: dice.random() for i in a.gains}) for a in answers]
    found = figures(ratings, blind)
    assert found["auroc"].low is not None and found["auroc"].high is not None
    assert found["auroc"].low < 0.5 < found["auroc"].high
    near = found["answers/length_partialled"]
    assert near.low is not None and near.high is not None and near.low < 0 < near.high
    assert (figures(ratings, answers)["auroc"].low or 0.0) > 0.8


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 6), st.booleans()), min_size=2, max_size=20))
def test_the_best_threshold_is_the_best_of_all(rows: list[tuple[int, bool]]) -> None:
    gains, held = [float(gain) for gain, _ in rows], [side for _, side in rows]
    tau, youden = best_threshold(gains, held, [str(i) for i in range(len(rows))])
    if len(set(held)) < 2:
        assert tau.value is None and youden.value is None
        return
    assert youden.value == pytest.approx(oracle.youden(gains, held))
    assert tau.value is not None
    above = [gain > tau.value for gain in gains]
    hits, alarms = (
        sum(a for a, h in zip(above, held) if h is side) / held.count(side)
        for side in (True, False)
    )
    assert hits - alarms == pytest.approx(youden.value)


def test_a_threshold_that_is_known_is_found_with_its_interval() -> None:
    dice = random.Random(0)
    gains = [dice.uniform(-0.5, 1.0) for _ in range(400)]
    held = [gain + dice.gauss(0, 0.05) > 0.2 for gain in gains]
    tau, _ = best_threshold(gains, held, [f"q{i // 4}" for i in range(400)])
    assert tau.low is not None and tau.high is not None and tau.value is not None
    assert tau.low <= 0.2 <= tau.high and tau.high - tau.low < 0.3
    assert tau.n_clusters == 100


def test_a_tie_of_raters_is_no_majority() -> None:
    assert [majority(v) for v in ([True, True, False], [False], [True, False], [])] == [
        True, False, None, None,
    ]  # fmt: skip


def test_what_one_side_alone_has_is_listed() -> None:
    ratings, answers = rated(0, questions=4, models=5)
    more = Rating("q9", "m0", "r1", 0, 5, None)
    found = validate([*ratings, more], [*answers, ScoredAnswer("q8", "m0", "model 0", {0: 1.0})])
    assert found.only_rated == (AnswerKey("q9", "m0"),)
    assert found.only_scored == (AnswerKey("q8", "m0"),)
    assert [row["answers"] for row in found.models] == [4] * 5
    assert found.tau == next(m.value for m in found.measurements if m.name == "human/tau")
    with pytest.raises(DataError, match=r"No answer is both rated and scored.* 'q0/m0'"):
        validate(ratings, [ScoredAnswer("z", "z", "z", {0: 1.0})])
    with pytest.raises(DataError, match="scored twice"):
        validate(ratings, [answers[0], answers[0]])


def test_few_models_have_no_order() -> None:
    found = figures(*rated(0, models=3))
    assert found["models/spearman"].reason == "only 3 models have both scores"
    assert found["models/kendall"].value is None
    assert found["auroc"].value is not None


def test_a_rating_sheet_goes_out_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    tasks = [RatingTask("17", "a1", i, "=Why?", "-an answer", f"@p{i}") for i in range(2)]
    write_rating_sheet(path, tasks, rater="r1")
    assert read_ratings(path) == [Rating("17", "a1", "r1", i, None, None) for i in range(2)]
    path.write_text(HEAD + "17,a1,r1,0,4,1\n17,a1,r1,1,,\n17,a1,r2,0,5,0\n", "utf-8")
    assert read_ratings(path) == [
        Rating("17", "a1", "r1", 0, 4, True),
        Rating("17", "a1", "r1", 1, None, None),
        Rating("17", "a1", "r2", 0, 5, False),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("17,a1,r1,0,6,1", "line 3, field 'represented': '6' is not a whole number from 1 to 5"),
        ("17,a1,r1,0,4,maybe", "line 3, field 'dispute_acknowledged': 'maybe' is neither"),
        ("17,a1,,0,4,1", "line 3, field 'rater': the value is missing"),
        ("17,a1,r1,,4,1", "line 3, field 'partial_answer_index': the value is missing"),
        ("q,a,r,0,1,0", "line 3: the rater 'r' rates this perspective on line 2 already"),
        ("q,a,r,1,1,1", "line 3, field 'dispute_acknowledged': the rater 'r' says both 0 and 1"),
    ],
)
def test_bad_ratings_are_named_by_file_and_line(tmp_path: Path, row: str, words: str) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(f"{HEAD}q,a,r,0,1,0\n{row}\n", "utf-8")
    with pytest.raises(DataError, match=rf"ratings\.csv, {words}"):
        read_ratings(path)
