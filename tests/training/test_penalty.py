"""The penalty is its formula, acts on benign styled rows alone, and keeps its subspace still."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.tiny import tiny_model
from tests.training.conftest import Training
from tests.training.made_rows import made_row, made_rows
from theodolite.engine.capture import capture
from theodolite.errors import DataError
from theodolite.models import open_model
from theodolite.runs.tensors import save_tensors
from theodolite.training.batches import packed, padded
from theodolite.training.examples import Example, encode_rows
from theodolite.training.penalty import StillSubspace, is_still, read_subspace
from theodolite.training.recipe import Lora, Penalty, Recipe

DEPTHS = (1, 2)  # transformers norms the last state, so that it cannot be the oracle
INPUTS = ("input_ids", "attention_mask", "position_ids")


def bases(components: int = 4) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"L{d}": torch.linalg.qr(torch.randn(32, components))[0].T for d in DEPTHS}


@pytest.fixture
def subspace(tmp_path: Path) -> str:
    path = tmp_path / "style.safetensors"
    save_tensors(path, bases())
    return str(path)


def still_rows(examples: list[Example]) -> list[Example]:
    return [example for example in examples if is_still(example)]


def test_only_benign_rows_in_a_style_are_held() -> None:
    rows = encode_rows(tiny_model(), made_rows(), "ssft-chat")
    held = {(e.row.label, e.row.style) for e in still_rows(rows)}
    assert held == {("benign", "code")}


@pytest.mark.parametrize("layout", [packed, padded])
def test_the_penalty_is_its_formula(layout: Any) -> None:
    from peft import LoraConfig, get_peft_model

    model = tiny_model()
    examples = encode_rows(model, made_rows(), "ssft-chat")[:6]
    read = {int(name[1:]): basis for name, basis in bases().items()}
    penalty = StillSubspace(model.anatomy.blocks, read, 0.5)
    module = get_peft_model(model.module, LoraConfig(r=2, target_modules="all-linear"))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    batch = layout(examples, 1)
    places = (batch["rows"][batch["still"]], batch["prompt_last"][batch["still"]])
    inputs = {name: batch[name] for name in INPUTS if name in batch}
    with penalty.reading(places) as states:
        module(**inputs, use_cache=False)
    found = penalty.of(module, batch, places, states)
    wanted = torch.zeros(())
    with torch.no_grad():
        for example in still_rows(examples):
            ids = torch.tensor([example.prompt])
            now = module(ids, output_hidden_states=True).hidden_states
            with module.disable_adapter():
                start = module(ids, output_hidden_states=True).hidden_states
            for depth, basis in read.items():
                wanted += (basis @ (now[depth] - start[depth])[0, -1]).square().sum()
    wanted = 0.5 * wanted / len(still_rows(examples))
    assert found.requires_grad and float(wanted) > 0
    torch.testing.assert_close(found.detach(), wanted, rtol=1e-4, atol=0.0)


def moved(recipe: Recipe, adapter: Path, still: bool) -> float:
    """Return how far the subspaces moved on benign styled rows, or everything did."""
    rows = [row for row in made_rows() if not row.harmful and row.style != "plain"]
    rows = [row for row in rows if row.split == "train"]
    texts = [row.text for row in rows]
    states = [
        capture(model, texts, sites=("resid_post",), positions=("prompt_last",))
        for model in (open_model(recipe.model), open_model(recipe.model, adapter=adapter))
    ]
    total = 0.0
    for name, basis in bases().items():
        layer = int(name[1:]) - 1
        one, other = (torch.as_tensor(s.get("resid_post", layer=layer))[:, 0] for s in states)
        shift = other - one
        total += float((shift @ basis.T if still else shift).square().sum(-1).mean())
    return total


def test_the_subspace_stays_where_it_was_and_the_rest_learns(
    recipe: Callable[..., Recipe], training: Training, subspace: str
) -> None:
    same = {"lora": Lora(r=4), "epochs": 4, "learning_rate": 5e-3, "store_dtype": "float32"}
    free = recipe(**same)
    held = recipe(**same, penalty=Penalty(subspace, 30.0))
    runs = {"free": training(free, "free"), "held": training(held, "held")}
    distance = {
        (name, still): moved(free, run.path / "adapter", still)
        for name, run in runs.items()
        for still in (True, False)
    }
    assert distance["held", True] < 0.1 * distance["free", True]
    assert distance["held", False] > 0.2 * distance["free", False]
    for run in runs.values():
        loss = next(m for m in run.load_measurements() if m.name == "loss/val")
        assert loss.value is not None and loss.floor is not None
        assert loss.value < loss.floor.value - 0.5


WRONG = {
    "name": ({"C1": torch.eye(32)[:1]}, "names no depth"),
    "depth": ({"L4": torch.eye(32)[:1]}, "Name tensors L1 to L3"),
    "width": ({"L1": torch.eye(8)[:1]}, "has shape"),
    "not orthonormal": ({"L1": torch.ones(2, 32)}, "not orthonormal"),
}


@pytest.mark.parametrize(("tensors", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_subspace_that_does_not_fit_is_refused(
    tensors: dict[str, torch.Tensor], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, tensors)
    model = tiny_model()
    with pytest.raises(DataError, match=says):
        read_subspace(model, Penalty(str(path), 1.0), encode_rows(model, made_rows(), "dpo"))


def test_a_penalty_without_rows_to_act_on_is_refused(subspace: str) -> None:
    model = tiny_model()
    plain = encode_rows(model, [made_row(0, harmful=False, style="plain")], "ssft-chat")
    with pytest.raises(DataError, match="the recipe has none"):
        read_subspace(model, Penalty(subspace, 1.0), plain)
