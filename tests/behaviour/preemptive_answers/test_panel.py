"""The audit's panel: it fits its time, and leaves out what a model cannot do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.models.tiny import tiny_model
from theodolite.behaviour.preemptive_answers import panel as panel_module
from theodolite.behaviour.preemptive_answers.options import check
from theodolite.behaviour.preemptive_answers.panel import PLANS, PreemptiveAnswersPanel
from theodolite.errors import CapabilityError
from theodolite.runs.panel import PROFILES, PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


def test_cost_fits_the_profiles() -> None:
    costs = [PreemptiveAnswersPanel().cost(profile) for profile in PROFILES]
    assert costs[0].seconds <= 20
    assert costs[1].seconds <= 5 * 60
    assert costs[2].seconds <= 15 * 60
    assert [plan.tokens for plan in costs] == sorted(plan.tokens for plan in costs)
    for plan in PLANS.values():
        check(plan.options)


def run_panel(path: Path) -> PanelResult:
    with Run.create("audit", "tiny", out=path) as run:
        context = PanelContext(tiny_model(), run, "quick", 0, SilentProgress())
        return PreemptiveAnswersPanel().run(context)


@pytest.mark.parametrize(("slots", "said"), [(0, "end after 3 tokens"), (1, "nothing was written")])
def test_a_panel_on_a_tiny_model_is_whole_and_repeatable(
    slots: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(PLANS["quick"], limit=1, max_tokens=3, slots=slots)
    monkeypatch.setattr(panel_module, "PLANS", {"quick": small})
    first, again = run_panel(tmp_path / "a"), run_panel(tmp_path / "b")
    assert [m.as_dict() for m in first.measurements] == [m.as_dict() for m in again.measurements]
    assert first.findings and first.how
    assert any(said in limit for limit in first.limits)
    if slots:
        assert not any("reasoned" in m.name for m in first.measurements)


def test_what_a_model_cannot_do_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CapabilityError("Planting", "no", "Use inline")

    options = PLANS["full"].options
    assert panel_module._for_model(tiny_model(), options) == (options, [])
    monkeypatch.setattr(panel_module, "route_of", refuse)
    left, limits = panel_module._for_model(tiny_model(), options)
    assert "M_prefill" not in left.conditions and "M_inline" in left.conditions and limits
    assert panel_module._for_model(tiny_model(), PLANS["quick"].options)[1] == []
