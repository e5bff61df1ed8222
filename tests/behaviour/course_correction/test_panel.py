"""The audit's panel: honest about cost, whole on a tiny model, quoted where an API cannot go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.models.tiny import tiny_model
from theodolite.behaviour.course_correction import panel as panel_module
from theodolite.behaviour.course_correction.panel import PLANS, CourseCorrectionPanel
from theodolite.models.handle import ApiModel
from theodolite.runs.panel import PROFILES, PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


def run_panel(path: Path, profile: str = "quick") -> PanelResult:
    with Run.create("audit", "tiny", out=path) as run:
        context = PanelContext(tiny_model(), run, profile, 0, SilentProgress())
        return CourseCorrectionPanel().run(context)


def test_cost_fits_the_profiles() -> None:
    costs = [CourseCorrectionPanel().cost(profile) for profile in PROFILES]
    assert costs[0].seconds <= 20
    assert costs[1].seconds <= 5 * 60
    assert costs[2].seconds <= 15 * 60


def test_a_panel_on_a_tiny_model_is_whole_and_repeatable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(PLANS["standard"], limit=2, ks=(4, 8), max_tokens=3)
    monkeypatch.setattr(panel_module, "PLANS", {"quick": small})
    first, again = run_panel(tmp_path / "a"), run_panel(tmp_path / "b")
    assert [m.as_dict() for m in first.measurements] == [m.as_dict() for m in again.measurements]
    names = {m.name.removeprefix("course-correction/") for m in first.measurements}
    assert {"corr", "false_correction", "gap", "header_effect", "slope", "corr/k/4"} <= names
    for figure in first.figures:
        json.dumps(figure.spec)
        assert figure.table in first.tables
    assert 1 <= len(first.findings) <= 3 and first.limits and first.how
    assert any("stand-in" in sentence for sentence in first.limits)


@pytest.mark.parametrize(
    ("name", "prefill"), [("openai/gpt", "in_prompt"), ("mockllm/model", "continue")]
)
def test_an_api_model_is_asked_as_it_can_be(name: str, prefill: str) -> None:
    options, limits = panel_module._for_api(
        ApiModel(f"api:{name}", name, "x"), PLANS["standard"].options
    )
    assert options.prefill == prefill
    assert bool(limits) is (prefill == "in_prompt")
