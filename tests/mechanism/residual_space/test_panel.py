"""The audit's panel on a tiny pair, and what it takes from the refusal panel of the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny_files import save_adapter, save_folder
from theodolite.mechanism.requests import read_requests
from theodolite.mechanism.residual_space import panel as module
from theodolite.mechanism.residual_space.panel import (
    PLANS,
    ResidualSpacePanel,
    known_verdicts,
)
from theodolite.mechanism.residual_space.prompts import study_prompts
from theodolite.models.pair import ModelPair, open_pair
from theodolite.runs.panel import PAIR, PROFILES, PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> ModelPair:
    base = save_folder(tmp_path_factory.mktemp("models") / "tiny")
    return open_pair(str(base), adapter=save_adapter(base.parent / "lora", base))


def context_of(pair: ModelPair, run: Run, profile: str = "quick") -> PanelContext:
    return PanelContext(pair.aligned, run, profile, 0, SilentProgress(), pair=pair)


def test_the_quick_panel_measures_the_first_direction_and_what_it_reads(
    pair: ModelPair, tmp_path: Path
) -> None:
    with Run.create("audit", "tiny", root=tmp_path) as run:
        result = ResidualSpacePanel().run(context_of(pair, run))
    names = [m.name for m in result.measurements]
    assert names[:3] == [
        "residual_space/dominant/harmful_auroc",
        "residual_space/dominant/harmful_auroc_within_styles",
        "residual_space/dominant/spurious index",
    ]
    assert all(m.floor is not None or m.reason for m in result.measurements)
    assert "residual_interventions" not in result.tables
    assert result.findings and result.limits and result.how


def test_every_profile_has_a_plan_within_its_time() -> None:
    assert set(PLANS) == set(PROFILES)
    assert ResidualSpacePanel().cost("quick").seconds <= 20
    assert PAIR in ResidualSpacePanel.needs
    assert module.PLANS["full"].options.answers > 0


def test_verdicts_of_the_refusal_panel_are_used_again(pair: ModelPair, tmp_path: Path) -> None:
    prompts = study_prompts(read_requests(None, None), 5)
    plain = next(p for p in prompts if p.split == "test" and p.style == "plain")
    wrapped = next(p for p in prompts if p.split == "test" and p.style == "code")
    rows = [
        {"id": plain.id.removesuffix("/plain"), "verdict": "refusal", "sample": 0},
        {"id": wrapped.id, "verdict": "compliance", "sample": 0},
        {"id": wrapped.id, "verdict": "refusal", "sample": 1},
        {"id": "another", "verdict": "refusal", "sample": 0},
    ]
    with Run.create("audit", "tiny", root=tmp_path) as run:
        assert known_verdicts(context_of(pair, run), prompts) == {}
        run.save_panel("refusal", PanelResult((), tables={"refusal_items": rows}))
        known = known_verdicts(context_of(pair, run), prompts)
        assert known == {plain.id: "refusal", wrapped.id: "compliance"}
        judged = PanelContext(
            *(pair.aligned, run, "quick", 0, SilentProgress()), judge="x/y", pair=pair
        )
        assert known_verdicts(judged, prompts) == {}
