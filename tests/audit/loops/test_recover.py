"""Groups, training and the table before and after, on a tiny model whose words a stub writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.tiny_files import save_folder
from theodolite.audit.loops.recover import COMMAND, RecoverRequest, recipe_of, recover
from theodolite.audit.loops.recovered import FIGURES, Condition, Recovered
from theodolite.behaviour.course_correction.scoring import Item
from theodolite.correction import preference_synthesis
from theodolite.engine import Completion
from theodolite.errors import CapabilityError, ConfigError
from theodolite.runs.progress import SilentProgress
from theodolite.training.recipe import check_recipe

REFUSAL = "I'm sorry, but I can't help with that request."
TURN = " I can't help any further with this, and I will stop here."


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a stub write in the place of an aligned model; return how often it was asked."""
    asked: list[int] = []

    def generate(model: Any, prompts: Any, **_: Any) -> list[Completion]:
        asked.append(len(prompts))
        return [
            Completion(
                p.prompt_id,
                REFUSAL if p.text.endswith("assistant\n") else TURN,
                (),
                "stop",
                0,
                len(p.ids),
            )
            for p in prompts
        ]

    monkeypatch.setattr(preference_synthesis, "generate", generate)
    return asked


def request(tmp_path: Path, **more: Any) -> RecoverRequest:
    facts = {
        "model": str(save_folder(tmp_path / "model")),
        "limit": 3,
        "asked": 2,
        "loop": True,
        "max_steps": 2,
        "batch_size": 2,
        "ks": "4,8",
        "max_tokens": 3,
    }
    return RecoverRequest(**(facts | more))


@pytest.mark.parametrize("method", ["conditional", "listwise"])
def test_the_loop_trains_and_measures_the_same_again(
    tmp_path: Path, written: list[int], method: str
) -> None:
    asked = request(tmp_path, method=method)
    run, result = recover(asked, progress=SilentProgress(), out=tmp_path / "run")
    assert run.manifest["command"] == COMMAND
    assert (run.path / "groups.jsonl").is_file() and (run.path / "training/adapter").is_dir()
    table = {row["figure"]: row for row in result.tables["recovered"]}
    assert set(FIGURES.values()) < set(table)
    names = {m.name for m in result.measurements}
    for name in FIGURES:
        assert {
            f"recover/before/{name}",
            f"recover/after/{name}",
            f"recover/{name}/change",
        } <= names
    assert "recover/gap/change" in names and "recover/perplexity/change" in names
    assert any("test requests" in sentence for sentence in result.findings)
    _, kept = recover(asked, progress=SilentProgress(), resume=run.path)
    assert [m.as_dict() for m in kept.measurements] == [m.as_dict() for m in result.measurements]


def test_without_the_loop_nothing_is_trained(tmp_path: Path, written: list[int]) -> None:
    run, result = recover(
        request(tmp_path, loop=False), progress=SilentProgress(), out=tmp_path / "run"
    )
    assert not (run.path / "training").exists() and "recovered" not in result.tables
    assert written == [3, 12]


def test_recipes_are_sound(tmp_path: Path) -> None:
    for method in ("conditional", "listwise"):
        recipe = recipe_of(request(tmp_path, method=method), tmp_path / "groups.jsonl")
        check_recipe(recipe)
        assert recipe.batch_size * recipe.gradient_accumulation == 2


def test_interventions_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be trained on"):
        recover(request(tmp_path, interventions="x.json"), progress=SilentProgress())


def test_an_api_cannot_leave_a_turn_open_for_its_teacher() -> None:
    asked = RecoverRequest(model="api:mockllm/model", limit=2)
    with pytest.raises(CapabilityError, match="Preference data from mockllm/model"):
        recover(asked, progress=SilentProgress())


def made(turned: dict[str, list[int]]) -> list[Item]:
    return [
        Item(
            f"{label}{i}@{k}", f"{label}{i}", label, f"{label}{i}", k, "clean" if t else "continues"
        )
        for label, outcomes in turned.items()
        for i, t in enumerate(outcomes)
        for k in (10, 20)
    ]


def test_changes_are_paired_and_the_gap_is_that_of_both() -> None:
    nats = np.array([10.0, 12.0])
    before = Condition(made({"harmful": [0, 0, 0, 1], "benign": [0, 0, 0, 0]}), [True, False], nats)
    after = Condition(
        made({"harmful": [1, 1, 0, 1], "benign": [0, 1, 0, 0]}), [True, True], nats + 1
    )
    found = Recovered(
        before, after, [("harmful", "a"), ("benign", "b")], np.array([10, 10]), vocabulary=50
    )
    values = {m.name: m.value for m in found.measurements()}
    assert values["recover/before/corr"] == 0.25 and values["recover/after/corr"] == 0.75
    assert values["recover/corr/change"] == 0.5
    assert values["recover/false_correction/change"] == 0.25
    assert values["recover/gap/change"] == pytest.approx(0.25)
    assert values["recover/false_refusal/change"] == 1.0
    rise = values["recover/perplexity/change"]
    assert rise == pytest.approx(100 * np.expm1(0.1))
    rows = found.frame()
    assert rows[0]["change"] == 0.5 and rows[0]["requests"] == 4
    assert "25% to 75%" in found.findings()[0]


def test_a_row_without_a_verdict_is_no_change_of_zero() -> None:
    """The pair is left out, where it counted as a loss or as nothing."""
    nats = np.array([10.0, 12.0])
    before = made({"harmful": [1, 0, 0, 0], "benign": [0, 0]})
    after = made({"harmful": [1, 1, 1, 0], "benign": [0, 0]})
    lost = [replace(i, outcome=None, reason="failed") if i.row == "harmful0" else i for i in after]
    found = Recovered(
        Condition(before, [True], nats),
        Condition(lost, [True], nats),
        [("harmful", "a")],
        np.array([10, 10]),
        vocabulary=50,
    )
    assert found.change("corr").value == pytest.approx(2 / 3)
    assert found.gap_change().value == pytest.approx(2 / 3) and found.gap_change().n == 6 + 4
