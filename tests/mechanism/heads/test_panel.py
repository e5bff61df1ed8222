"""The panel on heads: any family gets an answer, or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny import tiny_model
from theodolite.errors import CapabilityError
from theodolite.mechanism.heads import panel as panels
from theodolite.mechanism.heads.panel import HeadsPanel
from theodolite.runs.panel import PROFILES, PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


def looked_at(family: str, tmp_path: Path) -> PanelResult:
    run = Run.create("audit", "tiny", out=tmp_path / "run")
    context = PanelContext(tiny_model(family), run, "quick", 0, SilentProgress())
    return HeadsPanel().run(context)


def test_the_quick_panel_scores_every_head_and_draws(tmp_path: Path) -> None:
    result = looked_at("llama", tmp_path)
    assert result.measurements[0].name == "heads/specific_heads"
    anatomy = tiny_model("llama").anatomy
    assert len(result.tables["head_scores"]) == anatomy.n_layers * anatomy.n_heads
    assert {row["label"] for row in result.tables["heads"]} == {"harmful", "benign"}
    assert result.figures and result.findings and result.limits and result.how
    assert all(m.floor is not None or m.reason for m in result.measurements)


def test_a_family_with_a_bias_of_position_has_its_heads_zeroed(tmp_path: Path) -> None:
    result = looked_at("bloom", tmp_path)
    assert {row["operator"] for row in result.tables["heads"]} == {"zero"}


def test_what_cannot_be_done_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> PanelResult:
        raise CapabilityError("Splitting attention by head", "it is stored quantised", "Open it")

    monkeypatch.setattr(panels.heads_map, "explain", refuse)
    result = looked_at("llama", tmp_path)
    assert {m.status for m in result.measurements} == {"not_measured"}
    assert all("quantised" in (m.reason or "") for m in result.measurements)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_has_a_cost_and_options_that_hold(profile: str) -> None:
    from theodolite.mechanism.explain import request_schema

    plan = panels.PLANS[profile]
    assert HeadsPanel().cost(profile).seconds > 0
    panels.heads_map.check(plan.options, request_schema("heads map")())
