"""Calibration on labelled texts: the curve rises, the threshold keeps its promise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.judging.made_scorers import FixedScorer
from theodolite.errors import ConfigError, DataError
from theodolite.judging.score_calibration import (
    LabelledText,
    ScoreCalibration,
    calibrate,
    read_labelled,
    threshold_at,
)


class Spoken(FixedScorer):
    """Scores a text by the number it spells."""

    def score(self, texts: Sequence[str]) -> list[float]:
        return [float(text) for text in texts]


def rows(*found: tuple[float, int]) -> list[LabelledText]:
    return [LabelledText(str(score), bool(toxic)) for score, toxic in found]


def test_the_curve_by_hand_and_what_lies_beyond_it() -> None:
    """0.2 and 0.3 stand in the wrong order, so they share their mean."""
    made, figures = calibrate(
        Spoken(0.0), rows((0.1, 0), (0.2, 1), (0.3, 0), (0.8, 1)), false_positives=0.5
    )
    assert [made.share(s) for s in (0.0, 0.1, 0.2, 0.3, 0.8, 1.0)] == [0, 0, 0.5, 0.5, 1, 1]
    assert (made.threshold, made.n, made.positives) == (0.1, 4, 2)
    sensitivity, wrong = figures
    assert (sensitivity.value, wrong.value) == (1.0, 0.5)
    assert sensitivity.judge.name == made.scorer and "chosen on" in sensitivity.reason
    assert ScoreCalibration.from_dict(made.as_dict()) == made


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_no_more_harmless_texts_than_allowed_lie_above(scores: list[float], share: float) -> None:
    threshold = threshold_at(scores, share)
    assert sum(score > threshold for score in scores) <= share * len(scores) + 1e-6
    lower = [score for score in scores if score < threshold]
    if lower:  # the next lower one would let in too many
        allowed = int(len(scores) * share + 1e-9)
        assert sum(score > max(lower) for score in scores) > allowed


def test_texts_without_a_score_do_not_count() -> None:
    made, _ = calibrate(Spoken(0.0), [LabelledText(" ", True), *rows((0.1, 0), (0.9, 1))])
    assert (made.n, made.positives) == (2, 1)


def test_one_kind_of_text_or_an_impossible_share_is_an_error() -> None:
    with pytest.raises(DataError, match="all of one kind"):
        calibrate(Spoken(0.0), rows((0.1, 1), (0.9, 1)))
    with pytest.raises(ConfigError, match="not between 0 and 1"):
        calibrate(Spoken(0.0), rows((0.1, 0), (0.9, 1)), false_positives=1.0)
    with pytest.raises(DataError, match="missing or unknown keys"):
        ScoreCalibration.from_dict({"scorer": "x"})


def test_labelled_texts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("text,label\nGo away!,1\nGood morning.,harmless\n")
    assert read_labelled(path) == [
        LabelledText("Go away!", True),
        LabelledText("Good morning.", False),
    ]
    path.write_text("text,label\nGo away!,1\nGood morning.,maybe\n")
    with pytest.raises(DataError, match=r"line 3, field 'label': the label is not known"):
        read_labelled(path)
    path.write_text("txt,label\nGo away!,1\n")
    with pytest.raises(DataError, match="line 2, field 'text': there is no text"):
        read_labelled(path)
