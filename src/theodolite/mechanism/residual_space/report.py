"""A study of a pair as measurements, tables, figures and plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.mechanism.residual_space.figures import (
    component_figure,
    detector_figure,
    energy_figure,
    rank_figure,
    share_figure,
    spurious_figure,
    style_figure,
    within_figure,
    writers_figure,
)
from theodolite.mechanism.residual_space.sentences import (
    START,
    findings,
    how,
    labels,
    limits,
    unstable,
)
from theodolite.mechanism.residual_space.study import HARM, Study
from theodolite.runs.panel import Figure, PanelResult


def report(study: Study) -> PanelResult:
    """Return a study as a panel's result."""
    return PanelResult(
        measurements=measurements(study),
        tables=tables(study),
        figures=figures(study),
        findings=findings(study),
        limits=limits(study),
        how=how(study),
        labels=labels(study),
    )


def measurements(study: Study) -> list[Measurement]:
    """Return the figures of the first direction, what it stands beside, and the layers' ranks."""
    name = study.dominant
    layers = study.space.measurements()
    if name is None:
        why = "the space is empty: no component tells anything apart"
        return [not_measured(f"{START}/dominant/{HARM}_auroc", "auroc", why), *layers]
    found: list[Measurement] = []
    for table in study.probes.values():
        own = (table.auroc(name), table.balanced_accuracy(name))
        found += [_renamed(m, m.name.replace(f"{name}/", "dominant/"), name) for m in own]
        for m in table.measurements():
            role, _, rest = m.name.partition("/")
            if role == "chosen":
                found.append(_renamed(m, f"chosen/{rest.partition('/')[2]}", table.chosen))
            elif role == "baseline":
                found.append(_renamed(m, m.name, ""))
    found.append(_words(study))
    if study.styles is not None:
        found += [
            replace(m, name=m.name.replace(f"/{name}/", "/dominant/"))
            for m in study.styles.measurements(name)
        ]
    found += [m for m in _secondary(study, name) if m.value is not None]
    return [*_leading_first(found), *layers]


def _renamed(figure: Measurement, name: str, component: str) -> Measurement:
    """Return a figure under a name that is the same in other runs; its reason says which it is."""
    said = [part for part in (component, figure.reason) if part]
    return replace(figure, name=f"{START}/{name}", reason="; ".join(said) or None)


LEADING: Final = (
    f"{START}/dominant/{HARM}_auroc",
    f"{START}/dominant/{HARM}_auroc_within_styles",
    f"{START}/dominant/spurious index",
    f"{START}/dominant/refused_auroc",
    f"{START}/baseline/difference in means/{HARM}_auroc",
    f"{START}/baseline/words/{HARM}_auroc",
)


def _leading_first(found: Sequence[Measurement]) -> list[Measurement]:
    by_name = {m.name: m for m in found}
    leading = [by_name[name] for name in LEADING if name in by_name]
    return [*leading, *(m for m in found if m.name not in LEADING)]


def _words(study: Study) -> Measurement:
    return Measurement(
        f"{START}/baseline/words/{HARM}_auroc",
        study.words,
        "auroc",
        len(study.harm.test_labels),
        n_clusters=len(set(study.harm.test_goals)),
        floor=Floor("chance", 0.5),
        range=(0.0, 1.0),
        reason="no interval: the better of two readers of words, for comparison",
    )


def _secondary(study: Study, dominant: str) -> list[Measurement]:
    """Return how well the names of the directions beside the dominant one predict."""
    if study.naming is None:
        return []
    depth = dominant.partition("-")[0]
    return [
        accuracy
        for name, accuracy in zip(study.naming.names, study.naming.accuracy, strict=True)
        if name.partition("-")[0] == depth
    ]


def tables(study: Study) -> dict[str, list[dict[str, Any]]]:
    """Return every table, by name."""
    found = {
        "residual_layers": study.space.layer_frame(),
        "residual_components": study.space.frame(),
        "residual_carried": study.carried.frame(),
    }
    for label, table in study.probes.items():
        found[f"residual_probes_{label}"] = table.frame()
        found[f"residual_baselines_{label}"] = table.baseline_frame()
    if study.styles is not None and study.naming is not None:
        for name, rows in (("names", study.naming.frame()), ("shares", study.styles.frame())):
            found[f"residual_{name}"] = [
                {**row, "note": unstable(study, row["direction"])} for row in rows
            ]
        found["residual_contrasts"] = study.styles.contrasts()
    if study.dynamics is not None:
        found["residual_dynamics"] = study.dynamics.frame()
    return found


def figures(study: Study) -> list[Figure]:
    """Return what can be drawn of a study."""
    found = [rank_figure(study.space)]
    if study.dominant is None:
        return found
    words = {HARM: study.words}
    found += [detector_figure(t, words.get(label)) for label, t in study.probes.items()]
    if study.styles is not None:
        found.append(within_figure(study.styles))
    found += [component_figure(table) for table in study.probes.values()]
    if study.styles is not None:
        names = _beside(study)
        found += [
            style_figure(study.styles, names),
            share_figure(study.styles, names),
            spurious_figure(study.styles),
        ]
    if study.dynamics is not None:
        found.append(writers_figure(study.dynamics))
    return [*found, energy_figure(study.space)]


def _beside(study: Study) -> list[str]:
    """Return the dominant direction and those at its depth."""
    depth = str(study.dominant).partition("-")[0]
    return [d.name for d in study.named if d.name.partition("-")[0] == depth]
