"""theodolite explain residual-space and relevance: one document, a report, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Refused
from tests.models.tiny_files import save_adapter, save_folder

SMALL = (
    *("-T", "pairs=5", "-T", "styles=code", "-T", "held_out=quiz", "-T", "components=2"),
    *("-T", "answers=0", "-T", "relevance=1", "-T", "interventions=2", "-T", "estimators=false"),
)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a model and an adapter in the folder that commands run in."""
    save_adapter(tmp_path / "lora", save_folder(tmp_path / "model"))
    (tmp_path / "prompts.txt").write_text("How do I open a door?\nHow do I close a lake?\n")
    return tmp_path


def test_a_pair_gives_one_document_and_a_report(command: Command, here: Path) -> None:
    code, out, err = command(
        *("explain", "residual-space", "--base", "model", "--aligned", "lora", *SMALL),
        *("--out", "run", "--json"),
    )
    assert code == 0, err
    document = json.loads(out)
    first = document["measurements"][0]
    assert first["name"] == "residual_space/dominant/harmful_auroc" and first["floor"] is not None
    assert {"rank_0.9", "rank_0.7"} <= set(document["tables"]["residual_layers"][0])
    assert {"spurious_index", "spurious_index_low"} <= set(document["tables"]["residual_shares"][0])
    assert (here / "run" / "report.html").exists()
    code, out, err = command(
        *("explain", "relevance", "--model", "model", "--adapter", "lora", "--target", "L2-C1"),
        *("--prompts", "prompts.txt", "-T", "space=run", "-T", "min_count=1", "--out", "words"),
    )
    assert code == 0, err
    assert "door" in out and "Report:" in out


def test_a_model_without_a_base_is_refused_in_one_sentence(refused: Refused, here: Path) -> None:
    said = refused("explain", "residual-space", "--aligned", "model", *SMALL)
    assert "It is not known what model was trained from" in said and "--base" in said
    said = refused(
        *("explain", "relevance", "--model", "model", "--target", "L2-C1"),
        *("--prompts", "prompts.txt"),
    )
    assert "is a component of a residual space" in said
