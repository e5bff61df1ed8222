"""theodolite explain anchors: from questions to one document and a report; or one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Refused
from tests.models.tiny_files import save_folder

QUICK = ("-T", "limit=4", "-T", "heads=2", "-T", "draws=2")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    save_folder(tmp_path / "model")
    return tmp_path


def test_a_plant_is_followed_and_written_up(command: Command, here: Path) -> None:
    asked = ("explain", "anchors", "--model", "model", *QUICK, "-T", "export=heads")
    code, out, err = command(*asked, "--out", "run", "--json")
    assert code == 0, err
    names = {m["name"] for m in json.loads(out)["measurements"]}
    assert {"anchors/effect", "anchors/cut/all_heads", "anchors/lens/parting"} <= names
    assert "planted answer" in (here / "run" / "report.html").read_text("utf-8")
    assert (here / "heads" / "anchor-heads.json").is_file()


def test_it_has_questions_of_its_own(refused: Refused, here: Path) -> None:
    (here / "c.toml").write_text('harmful = "rows.jsonl"\n')
    said = refused("explain", "anchors", "--model", "model", "--config", "c.toml")
    assert "harmful has no part in `explain anchors`" in said
    assert "no set" in refused("explain", "anchors", "--model", "model", "--questions", "strategy")
