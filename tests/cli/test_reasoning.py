"""Checking reasoning, answers before it, and the leaderboard, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Refused
from tests.models.tiny_files import save_folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    save_folder(tmp_path / "model", wide=True)
    return tmp_path


def test_a_run_is_placed_among_published_models(command: Command, here: Path) -> None:
    asked = ("eval", "mr-ben", "--model", "model", "-T", "limit=1", "-T", "max_tokens=3")
    code, out, err = command(*asked, "--out", "run", "--json")
    assert code == 0, err
    score = {m["name"]: m for m in json.loads(out)["measurements"]}["mr-ben/mean/mr_score"]
    assert score["value"] is None or score["value"] == 0
    code, out, err = command("leaderboard", "mr-ben", "--run", "run", "--json")
    assert code == 0, err
    rows = json.loads(out)["tables"]["leaderboard"]
    (own,) = [row for row in rows if row["run"]]
    assert own["subjects"] == "mean over 4 of 7 subjects" and own["place"] >= len(rows) - 5
    code, out, err = command("leaderboard", "mr-ben", "--run", "run")
    assert code == 0 and "> model" in out and "no run of the leaderboard" in out


def test_plants_are_read_at_the_slot(command: Command, here: Path) -> None:
    asked = ("eval", "preemptive-answers", "--model", "model", "-T", "limit=1", "-T", "mode=slots")
    code, out, err = command(*asked, "-T", "conditions=M,M_neutral", "--out", "run", "--json")
    assert code == 0, err
    assert any("slots" in m["name"] for m in json.loads(out)["measurements"])


def test_bad_input_is_one_sentence(refused: Refused, here: Path) -> None:
    assert "no leaderboard" in refused("leaderboard", "mrben")
    assert "no mode" in refused("eval", "mr-ben", "--model", "model", "-T", "mode=vote")
    said = refused("eval", "preemptive-answers", "--model", "model", "-T", "conditions=X")
    assert "X" in said
