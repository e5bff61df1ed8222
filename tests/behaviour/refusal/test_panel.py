"""The audit's panel: honest about cost, whole on a tiny model, the same when run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.tiny import tiny_model
from theodolite.behaviour.refusal import panel as panel_module
from theodolite.behaviour.refusal.panel import PLANS, RefusalPanel
from theodolite.runs.panel import PROFILES, PanelContext, PanelResult
from theodolite.runs.run import Run


class Silent:
    """A progress that says nothing."""

    def start(self, label: str, total: int) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def message(self, text: str) -> None: ...


def run_panel(path: Path, seed: int = 0) -> PanelResult:
    with Run.create("audit", "tiny", out=path) as run:
        return RefusalPanel().run(PanelContext(tiny_model(), run, "quick", seed, Silent()))


def test_cost_fits_the_profiles() -> None:
    costs = [RefusalPanel().cost(profile) for profile in PROFILES]
    assert costs[0].seconds <= 70
    assert costs[1].seconds <= 10 * 60
    assert costs[2].seconds <= 45 * 60
    assert costs == sorted(costs, key=lambda cost: cost.tokens)


def test_the_quick_profile_asks_every_test_goal_and_a_sample_of_styles() -> None:
    prompts = PLANS["quick"].requests(seed=0)
    styles = prompts.values("style")
    assert len(prompts) == 96 + 8 * (len(styles) - 1)
    assert len(prompts.filter(style="plain")) == 96
    assert set(prompts.values("split")) == {"test"}


def test_a_panel_on_a_tiny_model_is_whole_and_repeatable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_module, "MAX_TOKENS", 3)
    first, again = run_panel(tmp_path / "a"), run_panel(tmp_path / "b")
    assert [m.as_dict() for m in first.measurements] == [m.as_dict() for m in again.measurements]
    names = {m.name for m in first.measurements}
    assert {"refusal/harmful", "refusal/benign", "refusal/gap", "refusal/degenerate"} <= names
    assert {"refusal_by_style", "refusal_items"} <= set(first.tables)
    tables = set(first.tables)
    for figure in first.figures:
        json.dumps(figure.spec)
        assert figure.table in tables
    assert len(first.samples) == len(first.tables["refusal_items"])
    assert 1 <= len(first.findings) <= 3 and first.limits and first.how


def test_xstest_missing_is_said_and_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEODOLITE_DATA", str(tmp_path / "nothing"))
    with Run.create("audit", "tiny", out=tmp_path / "run") as run:
        context = PanelContext(tiny_model(), run, "full", 0, Silent())
        found = panel_module._xstest(context)
    assert not found.measurements and "XSTest was not asked" in found.how[0]
