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
    SubspaceIntervention,
    apply,
)
from theodolite.engine.next_token import next_token
from theodolite.errors import DataError
from theodolite.models.chat import Encoded


def every_kind(model: Any) -> list[Any]:
    direction = torch.linspace(-1, 1, model.anatomy.d_model)
    z = torch.ones(1, model.anatomy.head_dim)
    basis = torch.eye(model.anatomy.d_model)[:5] + 0.1
    return [
        DirectionIntervention(layer=0, direction=direction, operator="ablate", site="attn_out"),
        DirectionIntervention(layer=1, direction=direction, operator="clamp", alpha=0.5),
        HeadIntervention(layer=1, heads=(0, 3), operator="scale", epsilon=1e-5),
        HeadIntervention(layer=2, heads=(1,), operator="replace", vector=z, positions="generated"),
        ResidualIntervention(layer=1, vector=direction, operator="add", positions=(0, -1)),
        MlpIntervention(layer=2, operator="zero", positions="prompt"),
        DirectionIntervention(layer=2, direction=direction, operator="bound", high=0.5, share=0.3),
        SubspaceIntervention(layer=1, basis=basis, operator="ablate", site="mlp_out"),
        SubspaceIntervention(layer=2, basis=basis, operator="affine", mean=direction, share=0.5),
    ]


def test_a_file_of_the_first_form_still_loads(llama: Any, tmp_path: Path) -> None:
    path = tmp_path / "steer.json"
    direction = torch.linspace(-1, 1, llama.anatomy.d_model)
    save_interventions(
        path, [DirectionIntervention(layer=0, direction=direction, operator="ablate")], llama
    )
    record = json.loads(path.read_text())
    first = ("kind", "layer", "site", "direction_ref", "operator", "epsilon", "alpha", "heads")
    row = record["interventions"][0]
    record["interventions"][0] = {name: row[name] for name in (*first, "positions")}
    path.write_text(json.dumps(record))
    (read,) = load_interventions(path, llama)
    assert read.key == DirectionIntervention(layer=0, direction=direction, operator="ablate").key


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
        (entry(6, low=1.0), "entry 6: low is 1, above high at 0.5"),
        (entry(6, high=None), "entry 6: The operator bound needs low or high"),
        (entry(6, share="all"), "entry 6: share has the value"),
        (entry(6, mean_ref="t0"), "entry 6: mean_ref does not belong to kind 'direction'"),
        (entry(7, alpha=1.0), "entry 7: alpha does not belong to kind 'subspace'"),
        (entry(7, direction_ref=None), "entry 7: direction_ref is 'None'"),
        (entry(7, direction_ref="t0"), r"entry 7: basis has shape \(32,\)"),
        (entry(8, mean_ref=None), "entry 8: mean has shape None"),
        (lambda record: record["interventions"].append(3), "entry 9: the entry is not an object"),
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
