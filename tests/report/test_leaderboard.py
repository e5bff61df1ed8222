"""A run among published figures: its place, its label, its floor, and what keeps it apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.mr_ben.made import graded
from theodolite.behaviour.leaderboards import published
from theodolite.behaviour.mr_ben import scoring
from theodolite.behaviour.mr_ben.rows import Graded
from theodolite.data.mr_ben import DELIVERED, SUBJECTS
from theodolite.errors import ConfigError, DataError, RunError
from theodolite.report.leaderboard import place
from theodolite.runs.panel import PanelResult
from theodolite.runs.run import Run


def finished(
    path: Path,
    rows: list[Graded],
    *,
    command: str = "eval mr-ben",
    model: str = "tiny",
    commit: bool = True,
    **task: Any,
) -> Path:
    """Write a run of graded rows."""
    config = {"task": {"mode": "full", "k_shot": 0, "source": "official", "limit": None} | task}
    with Run.create(command, model, out=path, config=config, model={"ref": model}) as run:
        found = scoring.measurements(rows, resamples=200)
        run.save_panel("mr-ben", PanelResult(measurements=found), key="1")
        if commit:
            run.commit()
    return path


def rows_of(subjects: tuple[str, ...], **more: Any) -> list[Graded]:
    return [row for i, s in enumerate(subjects) for row in graded(i, 60, s, **more)]


def test_the_published_figures_are_those_of_the_project_page() -> None:
    found = {entry.model: entry for entry in published("mr-ben")}
    assert len(found) == 31
    assert found["o1-preview"].scores == {0: 58.9, 1: 59.8}
    assert found["Claude3-Haiku"].scores == {0: 4.4, 1: 3.1}
    assert {entry.confidence for entry in found.values()} == {"project page"}
    assert all(entry.source for entry in found.values())
    board = place(None)
    assert [row["place"] for row in board.rows] == list(range(1, 32))
    assert [row["model"] for row in board.rows[:2]] == ["o1-preview", "o1-mini"]
    assert not any(row["run"] for row in board.rows) and len(board.sentences) == 1


def test_a_run_over_six_subjects_is_placed_and_says_so(tmp_path: Path) -> None:
    path = finished(tmp_path / "run", rows_of(DELIVERED))
    board = place(path, "mr-ben")
    (own,) = [row for row in board.rows if row["run"]]
    expected = {m.name: m for m in scoring.measurements(rows_of(DELIVERED), resamples=200)}
    score = expected["mr-ben/mean/mr_score"]
    assert score.value is not None and score.floor is not None
    assert own["mr_score"] == pytest.approx(100 * score.value)
    assert own["floor"] == pytest.approx(100 * score.floor.value)
    assert own["subjects"] == "mean over 6 of 7 subjects"
    above = [row for row in board.rows if not row["run"] and row["mr_score"] >= own["mr_score"]]
    assert own["place"] == len(above) + 1
    told = " ".join(board.sentences)
    assert "mean over 6 of 7 subjects (without logic)" in told and "orientation only" in told
    assert f"{own['floor']:.1f} on the same solutions" in told
    others = [row["subjects"] for row in board.rows if not row["run"]]
    assert set(others) == {"mean over all 7 subjects"}


def test_a_run_over_all_subjects_needs_no_label(tmp_path: Path) -> None:
    board = place(finished(tmp_path / "run", rows_of(SUBJECTS)))
    (own,) = [row for row in board.rows if row["run"]]
    assert own["subjects"] == "mean over all 7 subjects"
    assert "orientation" not in " ".join(board.sentences)
    assert "no run of the leaderboard" not in " ".join(board.sentences)


def test_without_a_judge_there_are_bounds(tmp_path: Path) -> None:
    rows = rows_of(DELIVERED, accepted=None)
    board = place(finished(tmp_path / "run", rows))
    (own,) = [row for row in board.rows if row["run"]]
    assert own["mr_score"] is None and 0 <= own["low"] < own["high"]
    above = [row for row in board.rows if not row["run"] and row["mr_score"] >= own["low"]]
    assert own["place"] == len(above) + 1
    assert "lies between" in " ".join(board.sentences)


def test_a_run_with_one_example_stands_in_the_second_column(tmp_path: Path) -> None:
    board = place(finished(tmp_path / "a", rows_of(DELIVERED), k_shot=1))
    scores = [row["k1"] for row in board.rows if not row["run"]]
    assert scores == sorted(scores, reverse=True)
    assert "with 1 worked example," in board.sentences[0]
    board = place(finished(tmp_path / "b", rows_of(DELIVERED), k_shot=3))
    assert any("shown 3 worked examples, the others 1" in one for one in board.sentences)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"source": "bundled"}, "not the official ones"),
        ({"limit": 5}, "5 questions of each subject"),
        ({"prior": "incorrect"}, "was told something"),
        ({"self_refine": True}, "looked at its answers again"),
    ],
)
def test_what_keeps_a_run_apart_is_told(tmp_path: Path, task: dict[str, Any], told: str) -> None:
    board = place(finished(tmp_path / "run", rows_of(DELIVERED), **task))
    assert any(told in sentence for sentence in board.sentences)


def test_runs_that_have_no_place(tmp_path: Path) -> None:
    rows = rows_of(DELIVERED[:1])
    with pytest.raises(RunError, match="no finished run"):
        place(finished(tmp_path / "a", rows, command="eval refusal"))
    with pytest.raises(RunError, match="no finished run"):
        place(finished(tmp_path / "b", rows, commit=False))
    with pytest.raises(DataError, match="writes no reasons"):
        place(finished(tmp_path / "c", rows, mode="steps"))
    with pytest.raises(DataError, match="no MR-Score"):
        place(finished(tmp_path / "d", rows_of(("mr-gsm8k",))))
    with pytest.raises(ConfigError, match="no leaderboard"):
        place(None, "mr-bean")


def test_names_of_models_cannot_steer_a_terminal(tmp_path: Path) -> None:
    board = place(finished(tmp_path / "run", rows_of(DELIVERED), model="a\x1b[31mb"))
    assert not any("\x1b" in sentence for sentence in board.sentences)
