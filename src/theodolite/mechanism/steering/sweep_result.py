"""What edits did to the first token to come: effect on the declared tokens, drift, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.steering.curves import Curve, curve_gap
from theodolite.mechanism.steering.settings import EDIT, Settings, load_design, save_design
from theodolite.runs.figures import Series, curve_by_layer
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.runs.run import Run

Floats = NDArray[np.float64]
NO_EDIT: Final = Floor("no edit", 0.0)
ONE_IN_TWENTY: Final = 0.05
_NONE: Final = {HARMFUL: "all prompts are benign", BENIGN: "there are no benign prompts"}
_ARRAYS: Final = (
    *("logprobs", "log_odds", "kl", "top"),
    *("intact_logprobs", "intact_log_odds", "intact_top"),
)
_AXES: Final = ("tokens", "prompt_ids", "clusters", "benign")


@dataclass(frozen=True, eq=False)
class SweepResult:
    """First tokens under every edit.

    Args:
        settings: the edits, then random ones.
        logprobs: of the declared tokens, nats, axes (setting, prompt, token).
        log_odds: of the declared set against all other tokens, nats, axes (setting, prompt).
        kl: KL(no edit || edit) of the whole distribution, nats, axes (setting, prompt).
        top: the likeliest token, axes (setting, prompt).
        intact_logprobs, intact_log_odds, intact_top: the same without an edit.
        tokens: ids of the declared set.
        prompt_ids, clusters, benign: of the prompts.
        model: its name.
        seed: of random directions.
    """

    settings: Settings
    logprobs: Floats
    log_odds: Floats
    kl: Floats
    top: NDArray[np.int64]
    intact_logprobs: Floats
    intact_log_odds: Floats
    intact_top: NDArray[np.int64]
    tokens: tuple[int, ...]
    prompt_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    benign: tuple[bool, ...]
    model: str
    seed: int

    @property
    def changes(self) -> Floats:
        """The log-odds minus those without an edit, axes (setting, prompt)."""
        return np.asarray(self.log_odds - self.intact_log_odds)

    def effect(self, edit: str, label: str = HARMFUL) -> Measurement:
        """Return by how much an edit moves the log-odds of the declared set, mean of prompts.

        Args:
            label: whose prompts: "benign", or all that are not.

        Note: the floor is that of random directions where there are some.
        """
        name = f"steering/{edit}/log_odds/{_told('change', label)}"
        asked = self._asked(label)
        if not asked:
            return not_measured(name, "nats", _NONE[label])
        random = self.settings.random(edit)
        floor = NO_EDIT
        if random:
            floor = Floor(f"{len(random)} random directions", self._mean(random, asked))
        row = self.settings.row(edit)
        return mean(
            name,
            self.changes[row, asked].tolist(),
            clusters=[self.clusters[i] for i in asked],
            unit="nats",
            floor=floor,
            seed=self.seed,
        )

    def over_random(self, edit: str, label: str = HARMFUL) -> Measurement:
        """Return the effect minus the mean effect of the random directions, paired by prompt.

        Args:
            label: as for `effect`.
        """
        name = f"steering/{edit}/log_odds/{_told('over_random', label)}"
        asked = self._asked(label)
        random = self.settings.random(edit)
        if not random or not asked:
            return not_measured(name, "nats", "no random directions were drawn")
        own = self.changes[self.settings.row(edit)]
        return paired_difference(
            own[asked].tolist(),
            self.changes[random].mean(0)[asked].tolist(),
            [self.clusters[i] for i in asked],
            name=name,
            unit="nats",
            floor=Floor("random directions", 0.0),
            seed=self.seed,
            reason=f"{self._further(edit, asked)} of {len(random)} random directions move it as "
            "far or further",
        )

    def beyond_random(self, edit: str, label: str = HARMFUL) -> bool | None:
        """Return whether an edit is shown to move the log-odds further than random directions do.

        Args:
            label: as for `effect`.

        Returns: true where the interval of `over_random` leaves out 0 and at most one in twenty
            random directions moves them as far; None where that was not measured.
        """
        over, random = self.over_random(edit, label), self.settings.random(edit)
        if over.value is None or over.low is None or over.high is None:
            return None
        rare = self._further(edit, self._asked(label)) <= ONE_IN_TWENTY * len(random)
        return rare and (over.low > 0 or over.high < 0)

    def drift(self, edit: str) -> Measurement:
        """Return the mean KL(no edit || edit) of the first token on benign prompts."""
        name = f"steering/{edit}/first_token_kl"
        asked = self._asked(BENIGN)
        if not asked:
            return not_measured(name, "nats", _NONE[BENIGN])
        return mean(
            name,
            self.kl[self.settings.row(edit), asked].tolist(),
            clusters=[self.clusters[i] for i in asked],
            unit="nats",
            floor=NO_EDIT,
            seed=self.seed,
        )

    def curves(self) -> list[Curve]:
        """Return effect against drift for every edit, its strengths in order.

        Note: edits are to be compared by curves: at one strength, one drifts more than another.
        """
        families: dict[str, list[int]] = {}
        for row, setting in enumerate(self.settings.each):
            if setting.kind == EDIT:
                families.setdefault(setting.family, []).append(row)
        found = []
        for rows in families.values():
            order = sorted(rows, key=lambda row: self.settings.each[row].alpha)
            points = [self.settings.each[row] for row in order]
            found.append(
                Curve(
                    name=points[0].short,
                    alphas=tuple(point.alpha for point in points),
                    effects=self.changes[order],
                    drifts=self.kl[order],
                    benign=np.array(self.benign),
                    clusters=self.clusters,
                    seed=self.seed,
                )
            )
        return found

    def compare(self, first: str, second: str) -> Measurement:
        """Return by how much one edit's curve lies above another's at equal drift.

        Args:
            first, second: names of curves (edits without their strength).

        Raises: KeyError: there is no such curve.
        """
        by_name = {curve.name: curve for curve in self.curves()}
        return curve_gap(by_name[first], by_name[second])

    def measurements(self) -> list[Measurement]:
        """Return effect, effect over random directions where drawn, and drift of every edit."""
        found = []
        for edit in self.settings.edits:
            found += [self.effect(edit), self.drift(edit)]
            if self.settings.random(edit):
                found.insert(-1, self.over_random(edit))
        return found

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per edit: strength, effect and drift with their intervals."""
        rows = []
        for setting in self.settings.each:
            if setting.kind != EDIT:
                continue
            effect, drift = self.effect(setting.name), self.drift(setting.name)
            row: dict[str, Any] = {"edit": setting.name, "mode": setting.mode}
            row |= {"positions": setting.positions, "alpha": setting.alpha}
            for name, m in (("effect", effect), ("drift", drift)):
                row |= {name: m.value, f"{name}_low": m.low, f"{name}_high": m.high}
            row["random"] = None if effect.floor in (None, NO_EDIT) else effect.floor.value
            rows.append(row)
        return rows

    def figure(self) -> Figure:
        """Return the curves: effect on the declared tokens against drift on benign prompts."""
        series = []
        for curve in self.curves():
            drifts, effects = curve.points()
            series.append(Series(curve.name, drifts.tolist(), effects.tolist()))
        caption = (
            f"Change of the log-odds of {len(self.tokens)} declared tokens on "
            f"{self.benign.count(False)} prompts against the drift of the first token on "
            f"{self.benign.count(True)} benign ones; every point is a strength. Further from 0 at "
            "less drift is the better handle."
        )
        spec = curve_by_layer(
            series,
            y_title="change of log-odds",
            unit="nats",
            x_title="KL on benign prompts (nats)",
        )
        return Figure("steering_curves", "Effect against drift", caption, spec, "steering_sweep")

    def save(self, run: Run) -> None:
        """Write the arrays and what their axes stand for into the run folder."""
        run.save_tensors("steering_sweep", {name: getattr(self, name) for name in _ARRAYS})
        design = {name: getattr(self, name) for name in (*_AXES, "model", "seed")}
        save_design(run, "steering", self.settings, design)

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read what `save` wrote."""
        arrays: dict[str, Any] = dict(run.load_tensors("steering_sweep"))
        return cls(**arrays, **load_design(run, "steering", _AXES))

    def _asked(self, label: str) -> list[int]:
        """Return the prompts of a class; those without a label count as harmful."""
        return [i for i, benign in enumerate(self.benign) if benign == (label == BENIGN)]

    def _further(self, edit: str, prompts: Sequence[int]) -> int:
        """Return how many random directions move the log-odds as far as an edit, or further."""
        means = self.changes[:, prompts].mean(1)
        own = abs(means[self.settings.row(edit)])
        return int((np.abs(means[self.settings.random(edit)]) >= own).sum())

    def _mean(self, rows: Sequence[int], prompts: Sequence[int]) -> float:
        return float(self.changes[np.ix_(rows, prompts)].mean())


def _told(name: str, label: str) -> str:
    """Return a figure's name with the class it is read on; the harmful one goes without saying."""
    return name if label == HARMFUL else f"{name}_on_{label}"
