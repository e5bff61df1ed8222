"""theodolite explain steering: one document, a report, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Refused
from tests.models.tiny_files import save_folder

SMALL = ("-T", "tokens=words.json", "-T", "modes=ablate", "-T", "draws=1", "-T", "drift=0")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a model, requests and a word list in the folder that commands run in."""
    save_folder(tmp_path / "model")
    (tmp_path / "words.json").write_text(json.dumps({"positive": ["a"], "negative": ["o"]}))
    for name, verb in (("harmful", "break"), ("benign", "paint")):
        (tmp_path / f"{name}.txt").write_text(f"How do I {verb} a door?\nHow do I {verb} a box?\n")
    return tmp_path


def test_edits_give_one_document_and_a_report(command: Command, here: Path) -> None:
    code, out, err = command(
        *("explain", "steering", "--model", "model", "--harmful", "harmful.txt"),
        *("--benign", "benign.txt", *SMALL, "-T", "alphas=0.5,1", "--out", "run", "--json"),
    )
    assert code == 0, err
    document = json.loads(out)
    assert [row["dose"] for row in document["tables"]["steering_doses"]] == [0.5, 1.0]
    first = document["measurements"][0]
    assert first["name"].endswith("log_odds/change") and first["floor"] is not None
    assert (here / "run" / "report.html").exists()
    kept = {path.suffix for path in (here / "run").rglob("*") if path.is_file()}
    assert ".bin" not in kept and not list((here / "run").rglob("adapter_*"))


def test_what_cannot_be_steered_is_refused_in_one_sentence(refused: Refused, here: Path) -> None:
    asked = ("explain", "steering", "--model", "model", "--harmful", "harmful.txt", *SMALL)
    said = refused(*asked, "--target", "L2-C1")
    assert "is a component of a residual space" in said and "--base" in said
    assert "Did you mean" in refused(*asked, "-T", "estimator=logistc")
