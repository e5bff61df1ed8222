"""Interventions survive a file, and a file that does not fit is refused by the field's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from theodolite.engine.intervention_file import load_interventions, save_interventions
from theodolite.engine.interventions import (
    DirectionIntervention,
    HeadIntervention,
    MlpIntervention,
    ResidualIntervention,
    apply,
)
from theodolite.engine.next_token import next_token
from theodolite.errors import DataError
from theodolite.models.chat import Encoded


def every_kind(model: Any) -> list[Any]:
    direction = torch.linspace(-1, 1, model.anatomy.d_model)
    z = torch.ones(1, model.anatomy.head_dim)
    return [
        DirectionIntervention(layer=0, direction=direction, operator="ablate", site="attn_out"),
        DirectionIntervention(layer=1, direction=direction, operator="clamp", alpha=0.5),
        HeadIntervention(layer=1, heads=(0, 3), operator="scale", epsilon=1e-5),
        HeadIntervention(layer=2, heads=(1,), operator="replace", vector=z, positions="generated"),
        ResidualIntervention(layer=1, vector=direction, operator="add", positions=(0, -1)),
        MlpIntervention(layer=2, operator="zero", positions="prompt"),
    ]


def test_a_file_gives_back_what_was_saved(
    llama: Any, prompts: list[Encoded], tmp_path: Path
) -> None:
    path = tmp_path / "steer.json"
    made = every_kind(llama)
    save_interventions(path, made, llama)
    read = load_interventions(path, llama)
    assert [one.key for one in read] == [one.key for one in made]
    rows = json.loads(path.read_text())["interventions"]
    assert rows[0]["direction_ref"] == rows[1]["direction_ref"] == rows[4]["direction_ref"]
    with apply(llama, *made):
        expected = next_token(llama, prompts)
    with apply(llama, *read):
        assert torch.equal(next_token(llama, prompts), expected)


Edit = Callable[[dict[str, Any]], Any]


def entry(number: int, **fields: Any) -> Edit:
    return lambda record: record["interventions"][number].update(fields)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda record: record.update(version=2), "version is 2"),
        (lambda record: record.update(model="other"), "another model"),
        (lambda record: record.update(interventions=[]), "at least one entry"),
        (entry(0, kind="directions"), "entry 0: kind is 'directions'.*Did you mean 'direction'"),
        (entry(0, operator="remove"), "entry 0: operator is 'remove'"),
        (entry(1, layer=77), "entry 1: layer is 77"),
        (entry(1, layer="1"), "entry 1: layer has the value"),
        (entry(1, layer=True), "entry 1: layer has the value"),
        (entry(1, alpha=float("nan")), "entry 1: alpha has the value"),
        (entry(2, heads=[0, 9]), "entry 2: heads names head 9"),
        (entry(2, heads=None), "entry 2: heads is missing"),
        (entry(2, alpha=1.0), "entry 2: alpha does not belong to kind 'head'"),
        (entry(3, direction_ref="gone"), "entry 3: direction_ref is 'gone'"),
        (entry(3, heads=[1, 2]), r"entry 3: vector has shape \(1, 8\)"),
        (entry(5, site="attn_out"), "entry 5: site does not belong"),
        (entry(5, positions="nowhere\x1b[2J"), r"entry 5: positions is 'nowhere\\u001b"),
        (lambda record: record["interventions"].append(3), "entry 6: the entry is not an object"),
    ],
)
def test_a_wrong_field_is_named(llama: Any, tmp_path: Path, edit: Edit, message: str) -> None:
    path = tmp_path / "steer.json"
    save_interventions(path, every_kind(llama), llama)
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match=message):
        load_interventions(path, llama)


def test_files_that_are_not_interventions(llama: Any, tmp_path: Path) -> None:
    path = tmp_path / "steer.json"
    for text in ("", "[1]", "{", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(DataError, match="JSON"):
            load_interventions(path, llama)
    save_interventions(path, every_kind(llama), llama)
    (tmp_path / "steer.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(DataError, match="safetensors"):
        load_interventions(path, llama)
