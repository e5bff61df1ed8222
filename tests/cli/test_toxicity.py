"""`theodolite eval toxicity` and `bias` from the command line: documents, silence, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Refused
from theodolite.behaviour.bias import data as bias_data
from theodolite.behaviour.toxicity import data as toxicity_data

MARK = "zzmarker"


@pytest.mark.parametrize("name", ["toxicity", "bias"])
def test_answers_made_elsewhere_give_one_document_without_their_text(
    name: str, tmp_path: Path, command: Command
) -> None:
    load = {"toxicity": toxicity_data.load_rows, "bias": bias_data.load_rows}[name]
    rows = [
        {"id": row.id, "method": method, "completion": f"Completion: {MARK} {method} was kind"}
        for row in load(limit=2)
        for method in ("base", "pet_io")
    ]
    (tmp_path / "made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["eval", name, "--responses", "made.jsonl", "-T", "lm=none"]
    code, out, err = command(*asked, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert {"measurements", "tables", "run"} <= document.keys()
    names = [m["name"] for m in document["measurements"]]
    assert any(one.startswith(f"{name}/pet_io-minus-base/") for one in names)
    code, plain, more = command(*asked)
    assert code == 0 and "Run:" in plain
    assert MARK not in out + err + plain + more


def test_options_are_refused_before_a_model_is_opened(refused: Refused) -> None:
    assert "Did you mean `pet_both`" in refused(
        "eval", "toxicity", "--model", "./nowhere", "-T", "methods=base,pet_boht"
    )
    assert "may be trained on" in refused(
        "eval", "bias", "--model", "./nowhere", "-T", "pairs=pairs.jsonl"
    )
    assert "`task.samples` is not a known key" in refused("eval", "toxicity", "-T", "samples=3")


def test_the_settings_of_both_are_listed(command: Command) -> None:
    for name, own in (("toxicity", "tau = 0.5"), ("bias", 'scorers = "vader"')):
        code, out, _ = command("config", "eval", name)
        assert code == 0 and own in out and 'methods = "raw,base,pet_io' in out
