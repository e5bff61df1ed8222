"""Figures along replies: refusal mass, the reply's own probability, KL, and the gap over cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from theodolite.mechanism.correction_dynamics.kinds import BASE, GAP, KINDS, KL, MODEL, NAME
from theodolite.mechanism.correction_dynamics.measures import ITSELF
from theodolite.runs.figures import FloorLine, Series, curve_by_layer
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.mechanism.correction_dynamics.result import CorrectionDynamics

_POSITION = "token of the reply (0 = first)"
_BANDS = "Bands: 95 % intervals by goal, one place at a time."


def figures(result: CorrectionDynamics) -> list[Figure]:
    """Return one figure per quantity that was read, each with its own table."""
    places = range(result.length)
    drawn = [
        _figure(
            result,
            "refusal_mass",
            "Refusing openings along the reply",
            "probability of a refusing opening",
            f"Probability of the first tokens of our refusals and turns, summed, where each token "
            f"of the reply stands. Their words also begin ordinary sentences: the benign replies "
            f"are the control. {_BANDS}",
            places,
        ),
        _figure(
            result,
            "reply_probability",
            "The reply's own next token",
            "probability of the reply's next token",
            f"How readily the forced reply is gone on with. {_BANDS}",
            places,
        ),
        _figure(
            result,
            GAP,
            "Turning round against going on",
            "trigger minus reply, per token",
            f"Log-probability per token of the words with which a turn begins, less that of the "
            f"words with which the reply goes on; above 0 turning is likelier. {_BANDS}",
            result.cuts,
        ),
    ]
    if result.kl is not None:
        drawn.insert(
            1,
            _figure(
                result,
                KL,
                "Where training left its mark",
                "KL(model || base)",
                f"Divergence of the next-token distributions. Training that acts on the first "
                f"words alone shows as a peak there and little behind it. {_BANDS}",
                places,
                [FloorLine(ITSELF.name, ITSELF.value)],
            ),
        )
    return drawn


def _figure(
    result: CorrectionDynamics,
    quantity: str,
    title: str,
    axis: str,
    caption: str,
    places: Sequence[int],
    floors: Sequence[FloorLine] = (),
) -> Figure:
    series = [
        Series(
            _words(result, label, who),
            places,
            [one.value for one in curve],
            [one.low for one in curve],
            [one.high for one in curve],
        )
        for (label, who, kind), curve in result.curves.items()
        if kind == quantity
    ]
    counts = ", ".join(f"{len(result.rows(label))} {label}" for label in result.classes)
    spec = curve_by_layer(
        series,
        y_title=axis,
        unit=KINDS[quantity].unit,
        x_title="tokens forced" if quantity == GAP else _POSITION,
        floors=floors,
    )
    table = f"{NAME}_gap" if quantity == GAP else NAME
    return Figure(f"{NAME}_{quantity}", title, f"{counts} replies. {caption}", spec, table)


def _words(result: CorrectionDynamics, label: str, who: str) -> str:
    """Return the name of a curve; one model alone needs no name."""
    if result.base is None:
        return label
    return f"{label}, {result.names[(MODEL, BASE).index(who)]}"
