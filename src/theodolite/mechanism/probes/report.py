"""Probes in words, figures and tables: what is left of a curve once its floors stand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.intervals import mean, proportion
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.probes.calibration import auroc, balanced_accuracy, macro_f1, tpr_at_fpr
from theodolite.mechanism.probes.result import RESPLIT, ProbeResult
from theodolite.runs.figures import FloorLine, Series, curve_by_layer
from theodolite.runs.panel import Figure

PLACES = {
    "instruction_last": "the request's last token",
    "prompt_last": "the prompt's last token",
    "instruction_mean": "the mean over the request",
}
PROBES = {
    "logistic": "logistic",
    "difference_of_means": "difference-of-means",
    "lda": "LDA",
    "svm": "linear SVM",
    "mlp": "MLP",
}
KINDS = {
    "random": "requests split at random",
    "group": "goals split at random",
    "source": "one source left out",
    "category": "one category left out",
    "frozen": "the set's own split",
    "reference": "the paper's split",
}


def name_of(result: ProbeResult) -> str:
    """Return what the result's measurements begin with."""
    return f"probes/{result.task}"


def measurements(result: ProbeResult) -> list[Measurement]:
    """Return the headline with its floors, what it gains over them, and the milder splits."""
    kind = result.headline
    own, groups = result.chosen_rows(kind), result.groups_of(result.of_kind(kind))
    found = _headline(result, own, groups)
    found += _against_untrained(result, own, groups)
    found += _against_control(result, own, groups)
    # Splits may test an item several times: intervals are clustered, and items are counted once.
    found = [replace(one, n=result.n_items(kind)) for one in found]
    return found + [_milder(result, other) for other in result.kinds if other != kind]


def _headline(
    result: ProbeResult, own: NDArray[np.bool_], groups: Sequence[str]
) -> list[Measurement]:
    name, kind, best = name_of(result), result.headline, result.text_outcomes(result.headline)
    floor = result.text_floor(kind)
    shared: dict[str, Any] = {"unit": "accuracy", "seed": result.seed}
    return [
        proportion(
            f"{name}/accuracy",
            own.tolist(),
            clusters=groups,
            floor=floor,
            reason=result.place_words(kind),
            **shared,
        ),
        paired_difference(
            own.tolist(),
            best.tolist(),
            groups,
            name=f"{name}/gain_over_text",
            floor=Floor("nothing beyond the words", 0.0),
            **shared,
        ),
        proportion(
            f"{name}/text_floor",
            best.tolist(),
            clusters=groups,
            floor=Floor("always the larger class", result.majority(kind)),
            reason=floor.name,
            **shared,
        ),
    ]


def _against_untrained(
    result: ProbeResult, own: NDArray[np.bool_], groups: Sequence[str]
) -> list[Measurement]:
    if not result.untrained:
        return []
    name, others = name_of(result), result.untrained_rows(result.headline)
    shared: dict[str, Any] = {"unit": "accuracy", "range": (0.0, 1.0)}
    return [
        mean(
            f"{name}/untrained",
            others.tolist(),
            clusters=groups,
            floor=Floor("always the larger class", result.majority(result.headline)),
            reason=f"mean of {result.untrained} seeds, each at its own best place",
            **shared,
        ),
        paired_difference(
            own.astype(float).tolist(),
            others.tolist(),
            groups,
            name=f"{name}/gain_over_untrained",
            floor=Floor("nothing beyond the architecture", 0.0),
            seed=result.seed,
            **shared,
        ),
    ]


def _against_control(
    result: ProbeResult, own: NDArray[np.bool_], groups: Sequence[str]
) -> list[Measurement]:
    name, kind = name_of(result), result.headline
    control = result.chosen_control(kind)
    fitted = result.control_capacity(kind)
    return [
        mean(
            f"{name}/control",
            control.tolist(),
            clusters=groups,
            unit="accuracy",
            range=(0.0, 1.0),
            floor=Floor("always the larger class", result.majority(kind)),
            reason=f"permuted labels; in training the probe fits them with accuracy {fitted:.2f}",
        ),
        paired_difference(
            own.astype(float).tolist(),
            control.tolist(),
            groups,
            name=f"{name}/selectivity",
            unit="accuracy",
            range=(0.0, 1.0),
            floor=Floor("permuted labels do as well", 0.0),
            seed=result.seed,
        ),
    ]


def _milder(result: ProbeResult, kind: str) -> Measurement:
    """Return accuracy at the chosen places of a milder kind of split."""
    own = result.chosen_rows(kind)
    measured = proportion(
        f"{name_of(result)}/{kind}",
        own.tolist(),
        clusters=result.groups_of(result.of_kind(kind)),
        floor=result.text_floor(kind),
        unit="accuracy",
        seed=result.seed,
        reason=result.place_words(kind),
    )
    measured = replace(measured, n=result.n_items(kind))
    interval = result.resplit_ends(kind, own.astype(float)) if kind in RESPLIT else None
    if interval is None:
        return measured
    return replace(measured, low=interval.low, high=interval.high, method=interval.method)


def labels(result: ProbeResult) -> dict[str, str]:
    """Return plain words for the measurements."""
    name, kind = name_of(result), result.headline
    words = {
        "accuracy": f"told apart, {KINDS[kind]}",
        "gain_over_text": "told apart, minus the words alone",
        "text_floor": "told apart by the words alone",
        "untrained": "told apart in untrained networks",
        "gain_over_untrained": "told apart, minus untrained networks",
        "control": "permuted labels told apart",
        "selectivity": "told apart, minus permuted labels",
        **{other: f"told apart, {KINDS[other]}" for other in result.kinds if other != kind},
    }
    return {f"{name}/{key}": value for key, value in words.items()}


def findings(result: ProbeResult) -> list[str]:
    """Say in plain words how the headline stands to its floors."""
    found = {m.name.rsplit("/", 1)[-1]: m for m in measurements(result)}
    own, text = found["accuracy"], found["text_floor"]
    what = " and ".join([", ".join(result.classes[:-1]), result.classes[-1]])
    said = [
        f"With {KINDS[result.headline]}, {PROBES[result.probes[0]]} probes tell {what} "
        f"requests apart with accuracy {own.value:.0%}; the words alone give {text.value:.0%}"
        + (f", untrained networks {found['untrained'].value:.0%}." if result.untrained else ".")
    ]
    said.append(_conclusion(found))
    warning = shortcut_warning(result)
    return [*said, warning] if warning else said


def _conclusion(found: dict[str, Measurement]) -> str:
    over_text = _clear(found["gain_over_text"])
    over_untrained = _clear(found.get("gain_over_untrained"))
    if over_text and over_untrained:
        return "The trained network adds information to the words, and training put it there."
    if over_text:
        return (
            "The states hold more than the words give away, but an untrained network holds it too "
            "or was not probed: that training put it there is not shown."
        )
    if over_untrained:
        return (
            "Training helps over an untrained network, but that the states hold more than the "
            "words give away is not shown: the curve is no evidence of recognition beyond surface "
            "text."
        )
    return "Nothing beyond the words and the bare architecture is shown by these requests."


def _clear(gain: Measurement | None) -> bool:
    return gain is not None and gain.low is not None and gain.low > 0


# From this drop on, accuracy on familiar sources says little about unfamiliar ones.
SHORTCUT = 0.1


def shortcut_warning(result: ProbeResult) -> str | None:
    """Return a sentence where a milder split scores much better than the headline's."""
    own = float(result.chosen_rows(result.headline).mean())
    for kind in result.kinds:
        drop = float(result.chosen_rows(kind).mean()) - own
        if kind != result.headline and drop > SHORTCUT:
            return (
                f"Accuracy falls by {drop * 100:.0f} points from {KINDS[kind]} to "
                f"{KINDS[result.headline]}: much of it rests on what familiar requests share."
            )
    return None


def frame(result: ProbeResult) -> list[dict[str, Any]]:
    """Return one row per kind of split, position, probe and hidden index."""
    return [
        row
        for kind in result.kinds
        for position in result.positions
        for probe in result.probes
        for row in _frame(result, kind, position, probe)
    ]


def _frame(result: ProbeResult, kind: str, position: str, probe: str) -> list[dict[str, Any]]:
    curve = result.curve(kind, position, probe)
    control = result.control_curve(kind, position, probe)
    untrained = result.untrained_curve(kind, position, probe)
    family, rows = result.significance.get(position), result.of_kind(kind)
    truth, classes = result.rows.truth[rows], len(result.classes)
    shared = {
        "text_floor": result.text_floor(kind).value,
        "majority": result.majority(kind),
        "n": result.n_items(kind),
        "n_splits": len(result.splits_of(kind)),
    }
    table = []
    for i, index in enumerate(result.hidden_indices):
        at = (result.positions.index(position), i, result.probes.index(probe))
        predicted, scores = result.predicted[0][at][rows], result.scores[at][rows]
        scored = classes == 2 and bool(np.isfinite(scores).all())
        table.append(
            {
                "layer": max(index - 1, 0),
                "hidden_index": index,
                "position": position,
                "probe": probe,
                "task": result.task,
                "split": kind,
                "headline": kind == result.headline,
                "accuracy": float(curve.values[i]),
                "balanced_accuracy": balanced_accuracy(predicted, truth, classes),
                "auroc": auroc(scores, truth) if scored else None,
                "macro_f1": macro_f1(predicted, truth, classes),
                "tpr_at_1_percent_fpr": tpr_at_fpr(scores, truth, 0.01) if scored else None,
                "low": _number(curve.low[i]),
                "high": _number(curve.high[i]),
                "interval": curve.method,
                "control": float(control[i]),
                "untrained_floor": None if untrained is None else float(untrained[i]),
                "permutation_p": None if family is None else float(family[i]),
                **shared,
            }
        )
    return table


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def outcomes(result: ProbeResult) -> list[dict[str, Any]]:
    """Return one row per measurement and test item, so that two models can be paired."""
    kind, name, rows = result.headline, name_of(result), result.of_kind(result.headline)
    own = result.chosen_rows(kind).astype(float)
    columns = {
        f"{name}/accuracy": own,
        f"{name}/gain_over_text": own - result.text_outcomes(kind),
    }
    return [
        {
            "measurement": measurement,
            "id": result.rows.ids[item],
            "sample": int(split),
            "outcome": float(value),
            "cluster": result.rows.groups[item],
        }
        for measurement, column in columns.items()
        for item, split, value in zip(
            result.rows.item[rows], result.rows.split[rows], column, strict=True
        )
    ]


def figures(result: ProbeResult) -> list[Figure]:
    """Return the curve by layer at every position, with bands and floors."""
    kind, probe, first = result.headline, result.probes[0], result.positions[0]
    xs = [float(index) for index in result.hidden_indices]
    series = []
    for position in result.positions:
        curve = result.curve(kind, position, probe)
        low, high = curve.low.tolist(), curve.high.tolist()
        series.append(
            Series(f"at {PLACES.get(position, position)}", xs, curve.values.tolist(), low, high)
        )
    floors = [FloorLine(result.text_floor(kind).name, result.text_floor(kind).value)]
    untrained = result.untrained_curve(kind, first, probe)
    if untrained is not None:
        floors.append(FloorLine("untrained networks", untrained.tolist()))
    floors.append(FloorLine("permuted labels", result.control_curve(kind, first, probe).tolist()))
    caption = (
        f"{' against '.join(result.classes)}, {KINDS[kind]}: accuracy of "
        f"{PROBES[probe]} probes on {result.n_items(kind)} held-out requests. Bands: 95 %, "
        f"{result.curve(kind, first, probe).method}. The grey curves are floors at "
        f"{PLACES.get(first, first)}; 0 on the axis is the embeddings."
    )
    name = "probes" if result.task == "harmful_vs_benign" else f"probes_{result.task}"
    title = "Where harm becomes readable" if name == "probes" else "Three kinds of requests"
    spec = curve_by_layer(series, y_title="accuracy", floors=floors)
    return [Figure(name, title, caption, spec, "probes")]


def over_base(own: ProbeResult, base: ProbeResult) -> Measurement:
    """Return accuracy minus a second model's, each at its own chosen places, paired by item."""
    kind = own.headline
    gain = paired_difference(
        own.chosen_rows(kind).tolist(),
        base.chosen_rows(kind).tolist(),
        own.groups_of(own.of_kind(kind)),
        name=f"{name_of(own)}/gain_over_base",
        unit="accuracy",
        floor=Floor("as the base", 0.0),
        seed=own.seed,
    )
    return replace(gain, n=own.n_items(kind))
