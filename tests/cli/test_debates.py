"""theodolite data debates: written, checked by people, merged; or one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.behaviour.debateqa.building.made import files, writer
from tests.cli.conftest import Command, Refused
from tests.models.tiny_files import save_folder
from theodolite.behaviour.debateqa.building.build import CARD, ROWS, SHEET
from theodolite.behaviour.debateqa.review import COLUMNS
from theodolite.behaviour.sheets import read_sheet, write_sheet
from theodolite.providers import kept
from theodolite.providers.evaluate import evaluate

WRITE = ("data", "debates", "write", "--model", "api:mockllm/model", "--out", "run")


@pytest.fixture(autouse=True)
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a scripted writer stand behind the API."""
    model = writer().model
    monkeypatch.setattr(kept, "evaluate", lambda task, _, **how: evaluate(task, model, **how))


def test_perspectives_are_written_checked_and_merged(command: Command, tmp_path: Path) -> None:
    named = files(tmp_path, 2)
    code, out, err = command(*WRITE, named["questions"], "--docs", named["docs"])
    assert code == 0, err
    assert "2 of 2 questions have perspectives, 4 in all, of 4 views" in " ".join(out.split())
    assert json.loads((tmp_path / "run" / CARD).read_text())["written_by"]["model"].startswith(
        "api"
    )
    before = (tmp_path / "run" / ROWS).read_bytes()
    code, out, err = command("data", "debates", "write", "--resume", "run")
    assert code == 0 and (tmp_path / "run" / ROWS).read_bytes() == before, err
    rows = [dict(record.values) for record in read_sheet(tmp_path / "run" / SHEET, COLUMNS)]
    for name in "ab":
        checked = {"grounded": "y", "one_perspective": "y", "reviewer": name}
        write_sheet(tmp_path / f"{name}.csv", COLUMNS, [row | checked for row in rows])
    code, out, err = command("data", "debates", "merge", "run", "a.csv", "b.csv")
    assert code == 0, err
    assert "2 questions stand, with 4 perspectives" in " ".join(out.split())
    assert (tmp_path / "run" / "reviewed" / ROWS).is_file()
    code, out, err = command("data", "debates", "merge", "run", "a.csv", "b.csv", "--json")
    assert code == 0 and json.loads(out)["tables"]["debates_review"][0]["count"] == 4


def test_bad_input_is_one_sentence(refused: Refused, tmp_path: Path) -> None:
    named = files(tmp_path, 1)
    assert "file of questions is missing" in refused(*WRITE)
    assert "file of docs is missing" in refused(*WRITE, named["questions"])
    assert "`most` is 1" in refused(
        *WRITE, named["questions"], "--docs", named["docs"], "--most", "1"
    )
    assert "no perspectives in" in refused("data", "debates", "merge", ".", "a.csv")


def test_a_scorer_is_checked_with_answers_of_known_content(
    command: Command, tmp_path: Path, refused: Refused
) -> None:
    save_folder(tmp_path / "model")
    asked = ("data", "debates", "check", "model", "--limit", "2", "--views", "2", "--out", "run")
    code, out, err = command(*asked, "--template", "plain", "--json")
    assert code == 0, err
    document = json.loads(out)
    rows = document["tables"]["scorer_check"]
    assert len(rows) == len(document["measurements"]) == 16
    assert {row["target"] for row in rows} == {"explanation", "pov+explanation"}
    assert (tmp_path / "run" / "complete").is_file()
    assert "`views` is 1" in refused("data", "debates", "check", "model", "--views", "1")
