"""The audit's panel: it fits its profiles, is whole, and repeats itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.models.tiny import tiny_model
from theodolite.behaviour.mr_ben import evaluation
from theodolite.behaviour.mr_ben import panel as module
from theodolite.behaviour.mr_ben.floors import blank, trivial_floor
from theodolite.behaviour.mr_ben.options import Options, rows_of
from theodolite.behaviour.mr_ben.panel import PLANS, CritiquePanel
from theodolite.runs.panel import PROFILES, PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


def test_cost_fits_the_profiles() -> None:
    costs = [CritiquePanel().cost(profile).seconds for profile in PROFILES]
    assert costs[0] <= 20 and costs[1] <= 2 * 60 and costs[2] <= 15 * 60


@pytest.mark.parametrize("profile", PROFILES)
def test_plans_ask_about_what_they_say(profile: str) -> None:
    rows = rows_of(PLANS[profile].options)
    assert len(rows) == PLANS[profile].solutions
    assert sum(row.gold_correct for row in rows) * 2 == len(rows)
    for subject in rows.subjects:
        own = trivial_floor([blank(row) for row in rows if row.subject == subject])
        assert own.acc_step <= 0.25  # a constant answer must not pass for skill


@pytest.mark.parametrize("verdicts", [0, 1])
def test_a_panel_on_a_tiny_model_is_whole_and_repeatable(
    verdicts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLANS["quick"], max_tokens=3, verdicts=verdicts)
    monkeypatch.setattr(module, "PLANS", {"quick": plan})
    rows = rows_of(Options(subjects="math,coding", limit=1))
    monkeypatch.setattr(evaluation, "rows_of", lambda *_: rows)

    def run_panel(name: str) -> PanelResult:
        model = tiny_model()
        model.max_context = 4096
        with Run.create("audit", "tiny", out=tmp_path / name) as run:
            return CritiquePanel().run(PanelContext(model, run, "quick", 0, SilentProgress()))

    first, again = run_panel("a"), run_panel("b")
    assert [m.as_dict() for m in first.measurements] == [m.as_dict() for m in again.measurements]
    assert first.findings and first.limits and first.how
    assert bool(first.figures) is not bool(verdicts)
    assert bool(verdicts) is any("nothing was written" in limit for limit in first.limits)
    named = {m.name for m in first.measurements}
    assert {name for name in first.labels if "/mean/" in name} <= named
