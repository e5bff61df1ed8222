"""What separates the model from its base, panel by panel, paired by item where items are kept."""

from __future__ import annotations

from collections.abc import Sequence

from theodolite.measure.measurement import Measurement
from theodolite.report.document import ReportPanel
from theodolite.runs.compare import compare_results
from theodolite.runs.figures import interval_bars
from theodolite.runs.panel import Figure, PanelResult

BASE = "base"


def base_differences(panels: Sequence[ReportPanel], *, seed: int) -> list[ReportPanel]:
    """Return one panel of differences (model minus base) per panel that both models finished."""
    by_name = {panel.name: panel for panel in panels}
    return [
        difference_panel(panel, by_name[f"{name}.{BASE}"], seed=seed)
        for name, panel in by_name.items()
        if f"{name}.{BASE}" in by_name
    ]


def difference_panel(model: ReportPanel, base: ReportPanel, *, seed: int) -> ReportPanel:
    """Return the differences of one panel, or the reason why there are none."""
    name, title = f"{model.name}.difference", f"{model.title}: model against base"
    question = "What changed from the base model?"
    if model.result is None or base.result is None:
        reason = "the panel did not finish on both models"
        return ReportPanel(name, title, question, None, "skipped", reason)
    compared = compare_results(base.result, model.result, seed=seed)
    measured = [m for m in compared.measurements if m.value is not None]
    adjusted = {f"difference/{row['measurement']}": row["p_holm"] for row in compared.rows}
    figures = [
        Figure(
            name=f"{model.name}_difference_{unit}",
            title="Model minus base",
            caption="Right of zero: higher in the model than in its base; 95 % intervals.",
            spec=interval_bars([m for m in measured if m.unit == unit], unit=unit),
            table="differences",
        )
        for unit in dict.fromkeys(m.unit for m in measured)
    ]
    result = PanelResult(
        measurements=compared.measurements,
        tables={"differences": compared.rows},
        figures=figures,
        findings=[finding(model.title, measured, adjusted)],
        how=["Differences are paired by item where both models answered the same items."],
        labels={f"difference/{name}": f"change: {words}" for name, words in model.labels().items()},
    )
    return ReportPanel(name, title, question, result)


def finding(title: str, measured: Sequence[Measurement], adjusted: dict[str, float | None]) -> str:
    """Say which figures differ after adjustment for looking at all of them."""
    clear = [m for m in measured if (p := adjusted.get(m.name)) is not None and p < 1 - m.level]
    if not clear:
        return f"{title}: no figure differs clearly from the base model's."
    names = ", ".join(m.name.removeprefix("difference/") for m in clear[:5])
    more = f" and {len(clear) - 5} more" if len(clear) > 5 else ""
    return f"{title}: {names}{more} differ from the base model's (Holm-adjusted)."
