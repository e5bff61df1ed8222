"""theodolite explain residual-space and relevance: one document, a report, or one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Refused
from tests.models.tiny_files import save_adapter, save_folder
from theodolite.text.hashing import content_key

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


@pytest.mark.timeout(600)  # three runs of the command, two of them with their own imports
def test_the_same_seed_gives_the_same_bytes_in_another_process(
    command: Command, here: Path
) -> None:
    asked = ("explain", "residual-space", "--base", "model", "--aligned", "lora", *SMALL)

    def document(text: str) -> str:
        whole = json.loads(text)
        assert whole["measurements"] and whole["tables"]["residual_layers"]
        for key in ("path", "started", "ended", "sessions"):  # when and where it ran
            del whole["run"][key]
        return json.dumps(whole)

    def elsewhere(hash_seed: int) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "theodolite.cli.main", *asked, "--json"],
            cwd=here,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first, second = elsewhere(1), elsewhere(2)
    assert document(first) == document(second)
    code, other, err = command(*asked, "--seed", "1", "--json")
    assert code == 0, err
    one, changed = json.loads(first), json.loads(other)
    assert one["measurements"] != changed["measurements"]


def test_a_model_without_a_base_is_a_contrast_and_says_so(command: Command, here: Path) -> None:
    code, out, err = command(
        *("explain", "residual-space", "--model", "model", *SMALL, "--out", "run", "--json")
    )
    assert code == 0, err
    assert "this is a contrast within one model, not what training wrote" in " ".join(err.split())
    document = json.loads(out)
    assert document["measurements"][0]["name"] == "contrast_space/dominant/harmful_auroc"
    assert not [name for name in document["tables"] if name.startswith("residual")]
    said = refused_words(command, "explain", "residual-space", "--model", "lora", *SMALL)
    assert "holds an adapter" in said


def refused_words(command: Command, *words: str) -> str:
    """Return what a refused command said."""
    code, _, err = command(*words)
    assert code == 2
    return " ".join(err.split())


def test_one_file_of_styles_is_read_whole(command: Command, here: Path) -> None:
    rows = [
        {
            "id": f"{goal}-{harmful}-{style}",
            "goal_id": f"{goal}-{harmful}",
            "pair_id": str(goal),
            "method": style,
            "text": f"{style}: {content_key(goal, harmful)}",
            "harmful": harmful,
            "split": ("train", "test")[goal % 2],
        }
        for goal in range(14)
        for harmful in (True, False)
        for style in ("plain", "own wrapper")
    ]
    (here / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("--base", "model", "--aligned", "lora", "--prompts", "own.jsonl")
    code, out, err = command(
        *("explain", "residual-space", *asked, *SMALL, "--out", "run", "--json")
    )
    assert code == 0, err
    tables = json.loads(out)["tables"]
    assert {row["style"] for row in tables["residual_contrasts"]} == {"plain", "own wrapper"}
    for harmful, said in ((None, "labelled neither"), ("perhaps", "does not say whether")):
        (here / "own.jsonl").write_text(json.dumps(rows[0] | {"harmful": harmful}) + "\n")
        assert said in refused_words(command, "explain", "residual-space", *asked)
    said = refused_words(
        *(command, "explain", "residual-space", *asked, "--harmful", "prompts.txt")
    )
    assert "--harmful was given too" in said


def test_a_component_of_a_model_without_a_base_is_refused(refused: Refused, here: Path) -> None:
    said = refused(
        *("explain", "relevance", "--model", "model", "--target", "L2-C1"),
        *("--prompts", "prompts.txt"),
    )
    assert "is a component of a residual space" in said
