"""The audit's panel on recognition: all four analyses on one reading, answers asked once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.models.tiny import tiny_model
from theodolite.data.bundled import bundled
from theodolite.mechanism import panel as panels
from theodolite.mechanism.lens.token_classes import read_token_classes
from theodolite.mechanism.panel import ProbesPanel, known_verdicts, merged
from theodolite.runs.panel import PanelContext, PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PanelContext:
    """Return a tiny model in a run, words that its vocabulary spells, and a shallow plan."""

    def words(model: Any, *_: object) -> Any:
        return read_token_classes({"positive": ["a", "e"], "negative": ["o"]}, model)

    monkeypatch.setattr(panels, "default_token_classes", words)
    monkeypatch.setattr("theodolite.mechanism.lens.explain.default_token_classes", words)
    quick = panels.PLANS["quick"]
    plan = replace(
        quick,
        probes=replace(quick.probes, untrained=1, permutations=5),
        verdict=replace(quick.verdict, per_style=2, max_tokens=3),
    )
    monkeypatch.setattr(panels, "PLANS", {"quick": plan})
    run = Run.create("audit", "tiny", out=tmp_path / "run")
    return PanelContext(tiny_model("llama"), run, "quick", 0, SilentProgress())


def test_all_four_analyses_are_in_the_result(context: PanelContext) -> None:
    result = ProbesPanel().run(context)
    assert {"probes", "verdict", "lens", "graft"} <= set(result.tables)
    names = [m.name for m in result.measurements]
    assert len(names) == len(set(names))
    assert names[0] == "probes/harmful_vs_benign/accuracy"
    figures = [figure.name for figure in result.figures]
    assert figures[0] == "probes" and len(figures) == len(set(figures))
    assert any(
        figure.show_table and figure.table == "verdict_by_style" for figure in result.figures
    )
    assert len(result.findings) <= 5
    assert result.labels["verdict/detector_over_words"]


def test_verdicts_of_the_refusal_panel_are_not_asked_again(
    context: PanelContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmful = [p.id for p in bundled("refusal") if p.split == "test" and p.label == "harmful"]
    rows = [{"id": i, "verdict": "refusal", "sample": 0} for i in harmful]
    told = PanelResult(measurements=(), tables={"refusal_items": rows})
    context.run.save_panel("refusal", told)
    assert set(known_verdicts(context)) == set(harmful)
    assert known_verdicts(replace(context, role="base")) == {}
    asked: list[str] = []

    def spy(model: Any, prompts: Any, **rest: Any) -> Any:
        asked.extend(p.id for p in prompts)
        return written(model, prompts, **rest)

    from theodolite.mechanism.verdict import outcomes

    written = outcomes.answers
    monkeypatch.setattr(outcomes, "answers", spy)
    result = ProbesPanel().run(context)
    assert asked and not set(asked) & set(harmful)
    plain = next(
        row
        for row in result.tables["verdict"]
        if (row["style"], row["class"]) == ("plain", "harmful")
    )
    assert plain["complied"] == 0.0 and plain["n"] == 48


def test_a_vocabulary_without_words_leaves_the_probes(tmp_path: Path) -> None:
    run = Run.create("audit", "tiny", out=tmp_path / "run")
    context = PanelContext(tiny_model("llama"), run, "quick", 0, SilentProgress())
    result = ProbesPanel().run(context)
    missing = [m for m in result.measurements if m.status == "not_measured"]
    assert {"verdict/recognised_not_converted", "lens/gap"} <= {m.name for m in missing}
    assert all("vocabulary" in (m.reason or "") for m in missing if m.name == "lens/gap")
    assert set(result.tables) == {"probes", "probes_outcomes"}


def test_leading_findings_come_first_and_the_rest_limits() -> None:
    first = PanelResult(measurements=(), findings=("a", "b"), limits=("x",))
    second = PanelResult(measurements=(), findings=("c",), limits=("y",))
    found = merged((first, 1), (second, 1))
    assert list(found.findings) == ["a", "c"]
    assert list(found.limits) == ["b", "x", "y"]
