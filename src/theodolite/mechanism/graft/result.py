"""What grafts do, by depth and donor: figures with intervals, beside the controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.intervals import mean, proportion
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.graft.report import figure, frame, or_none, rows
from theodolite.mechanism.lens.consistency import middle_layers
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.runs.run import Run

Floats = NDArray[np.float64]
# What a friendly donor has to beat, by name.
CONTROLS = {
    "same_class": "another state of the class",
    "random": "random vector",
    "random_step": "random step of the same size",
}
NO_CHANGE = Floor("no change", 0.0)
LEVEL = 0.95
_ARRAYS = (
    *("log_odds", "refusing", "kl", "top", "own_error"),
    *("intact_log_odds", "intact_refusing", "intact_top"),
)
_FACTS = (
    *("hidden_indices", "donors", "refusing_tokens", "classes", "n_layers"),
    *("mode", "alpha", "window", "seed"),
)


@dataclass(frozen=True, eq=False)
class GraftResult:
    """Effects of grafts on the first token to come.

    Args: (arrays have axes (hidden_index, donor, recipient) where nothing else is said)
        log_odds: nats, logsumexp of friendly tokens minus that of refusing ones; NaN where a
            recipient has no such donor.
        refusing: probability of the refusing tokens.
        kl: nats, KL(intact || grafted).
        top: most likely token.
        intact_log_odds, intact_refusing, intact_top: the same without a graft, axes (recipient).
        own_error: largest relative change of the final state that an own state made, axes
            (hidden_index); rounding.
        hidden_indices: where grafts begin.
        donors: kinds of donors, then controls.
        sources: per donor, the id of the prompt each recipient was given.
        prompt_ids, clusters: of the recipients.
        words: text of every token that was on top.
        refusing_tokens: those of them that count as refusing.
        classes: name of the token classes.
        n_layers, mode, alpha, window, seed: of the sweep.
    """

    log_odds: Floats
    refusing: Floats
    kl: Floats
    top: NDArray[np.int64]
    intact_log_odds: Floats
    intact_refusing: Floats
    intact_top: NDArray[np.int64]
    own_error: Floats
    hidden_indices: tuple[int, ...]
    donors: tuple[str, ...]
    sources: Mapping[str, tuple[str, ...]]
    prompt_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    words: Mapping[int, str]
    refusing_tokens: tuple[int, ...]
    classes: str
    n_layers: int
    mode: str
    alpha: float
    window: int
    seed: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """The donors that are no controls."""
        return tuple(name for name in self.donors if name not in CONTROLS)

    @property
    def controls(self) -> tuple[str, ...]:
        """The donors that are controls."""
        return tuple(name for name in self.donors if name in CONTROLS)

    @property
    def change(self) -> Floats:
        """Grafted minus intact log-odds, axes (hidden_index, donor, recipient)."""
        return np.asarray(self.log_odds - self.intact_log_odds)

    @property
    def middle(self) -> tuple[int, ...]:
        """The middle hidden indices that were grafted: named before anything is measured."""
        middle = middle_layers(self.n_layers)
        return tuple(index for index in self.hidden_indices if index in middle)

    @property
    def refused(self) -> NDArray[np.bool_]:
        """Whether the intact top token is a refusing one, axis (recipient)."""
        return np.isin(self.intact_top, self.refusing_tokens)

    @property
    def flipped(self) -> NDArray[np.bool_]:
        """Whether a refusing top token gave way to another, axes (hidden_index, donor, recipient).

        Note: means nothing where `refused` is False.
        """
        return np.asarray(self.refused & ~np.isin(self.top, self.refusing_tokens))

    @property
    def turned(self) -> NDArray[np.bool_]:
        """Whether log-odds below 0 rose above it, axes (hidden_index, donor, recipient).

        Note: means nothing where the intact log-odds are not below 0.
        """
        return np.asarray((self.intact_log_odds < 0) & (self.log_odds > 0))

    def effect(self, donor: str, hidden_index: int) -> Measurement:
        """Return the mean change of the log-odds at one depth."""
        change = self.change[self._depth(hidden_index)]
        return self._mean(f"graft/{donor}/{hidden_index}/change", change, donor)

    def divergence(self, donor: str, hidden_index: int) -> Measurement:
        """Return the mean KL divergence from the intact distribution at one depth."""
        return self._mean(
            f"graft/{donor}/{hidden_index}/kl", self.kl[self._depth(hidden_index)], donor
        )

    def flips(self, donor: str, hidden_index: int) -> Measurement:
        """Return the share of refusing top tokens that the graft replaced at one depth."""
        flipped = self.flipped[self._depth(hidden_index), self._donor(donor)]
        return self._share(f"graft/{donor}/{hidden_index}/flips", flipped, self.refused)

    def over(self, donor: str, control: str, hidden_index: int, *, at_once: int = 1) -> Measurement:
        """Return the change of the log-odds minus that of a control, paired, at one depth.

        Args:
            at_once: comparisons that are to hold together; the interval is widened (Bonferroni).
        """
        name = f"graft/{donor}/{hidden_index}/over_{control}"
        return self._over(name, self.change[self._depth(hidden_index)], donor, control, at_once)

    def decisive(self, donor: str) -> tuple[int, ...]:
        """Return the depths at which the donor surely does more than every control, or less."""
        return tuple(h for h in self.hidden_indices if self.controls and self._beats_all(donor, h))

    def _beats_all(self, donor: str, hidden_index: int) -> bool:
        together = len(self.hidden_indices) * len(self.controls)
        sides = set()
        for control in self.controls:
            found = self.over(donor, control, hidden_index, at_once=together)
            if found.low is None or found.high is None or found.low <= 0 <= found.high:
                return False
            sides.add(found.low > 0)
        return len(sides) == 1

    def measurements(self) -> list[Measurement]:
        """Return effects over the middle layers, named beforehand: none is the best of many."""
        middle = [self._depth(index) for index in self.middle]
        rows = [m for donor in self.donors for m in self._over_middle(donor, middle)]
        where = f"mean over hidden_index {self.middle[0]} to {self.middle[-1]}" if middle else None
        return [replace(m, reason="; ".join(filter(None, (where, m.reason))) or None) for m in rows]

    def _over_middle(self, donor: str, middle: list[int]) -> list[Measurement]:
        name = f"graft/{donor}"
        if not middle:
            return [not_measured(f"{name}/change", "nats", "no middle layer was grafted")]
        change, place = self.change[middle].mean(0), self._donor(donor)
        rows = [self._mean(f"{name}/change", change, donor)]
        if donor in self.kinds:
            rows += [
                self._over(f"{name}/over_{control}", change, donor, control)
                for control in self.controls
            ]
        flipped, turned = (a[middle][:, place].mean(0) for a in (self.flipped, self.turned))
        return [
            *rows,
            self._share(f"{name}/flips", flipped, self.refused),
            self._share(f"{name}/turned", turned, self.intact_log_odds < 0),
            self._mean(f"{name}/kl", self.kl[middle].mean(0), donor),
        ]

    def outcomes(self) -> list[dict[str, Any]]:
        """Return one row per measured change and recipient, so that two models can be paired."""
        middle = [self._depth(index) for index in self.middle]
        return [
            {
                "measurement": f"graft/{donor}/change",
                "id": prompt,
                "outcome": or_none(self.change[middle, place, item].mean()),
                "cluster": self.clusters[item],
            }
            for place, donor in enumerate(self.donors)
            for item, prompt in enumerate(self.prompt_ids)
            if middle
        ]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per donor and hidden_index."""
        return frame(self)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per recipient, donor and hidden_index."""
        return rows(self)

    def figure(self) -> Figure:
        """Return the change of the log-odds over the depth, one curve per donor."""
        return figure(self)

    def save(self, run: Run) -> None:
        """Write the arrays and what their axes stand for into the run folder."""
        run.save_tensors("graft", {name: getattr(self, name) for name in _ARRAYS})
        run.save_table("graft_items", self._recipients())
        design = {name: getattr(self, name) for name in _FACTS}
        words = {str(token): text for token, text in self.words.items()}
        run.save_table("graft_design", [{**design, "words": words}])

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read what `save` wrote."""
        arrays: dict[str, Any] = {
            name: np.asarray(array) for name, array in run.load_tensors("graft").items()
        }
        recipients = run.load_table("graft_items")
        design: dict[str, Any] = dict(run.load_table("graft_design")[0])
        for name in ("hidden_indices", "donors", "refusing_tokens"):
            design[name] = tuple(design[name])
        design["words"] = {int(token): text for token, text in design["words"].items()}
        return cls(
            **arrays,
            **design,
            prompt_ids=tuple(row["id"] for row in recipients),
            clusters=tuple(row["cluster"] for row in recipients),
            sources={
                name: tuple(row[f"donor_{name}"] for row in recipients) for name in design["donors"]
            },
        )

    def _recipients(self) -> list[dict[str, Any]]:
        return [
            {"id": prompt, "cluster": cluster}
            | {f"donor_{name}": self.sources[name][item] for name in self.donors}
            for item, (prompt, cluster) in enumerate(
                zip(self.prompt_ids, self.clusters, strict=True)
            )
        ]

    def _depth(self, hidden_index: int) -> int:
        return self.hidden_indices.index(hidden_index)

    def _donor(self, donor: str) -> int:
        return self.donors.index(donor)

    def _mean(self, name: str, values: Floats, donor: str) -> Measurement:
        """Return the mean over recipients of values with axes (donor, recipient)."""
        scores = [or_none(value) for value in values[self._donor(donor)]]
        return mean(
            name,
            scores,
            clusters=self.clusters,
            unit="nats",
            floor=NO_CHANGE,
            reasons=["alone in its class" if score is None else None for score in scores],
            seed=self.seed,
        )

    def _over(
        self, name: str, change: Floats, donor: str, control: str, at_once: int = 1
    ) -> Measurement:
        """Return the paired difference of two donors' changes, axes (donor, recipient)."""
        first, second = ([or_none(v) for v in change[self._donor(d)]] for d in (donor, control))
        return paired_difference(
            first,
            second,
            self.clusters,
            name=name,
            unit="nats",
            floor=Floor(CONTROLS[control], 0.0),
            seed=self.seed,
            level=1 - (1 - LEVEL) / at_once,
        )

    def _share(self, name: str, values: NDArray[Any], among: NDArray[np.bool_]) -> Measurement:
        """Return the mean of yes/no values, or of shares of depths, over some recipients."""
        kept = np.flatnonzero(among)
        clusters = [self.clusters[i] for i in kept]
        if not len(kept):
            return not_measured(name, "share", "no intact recipient leans to a refusal")
        if values.dtype == bool:
            outcomes = values[kept].tolist()
            return proportion(name, outcomes, clusters=clusters, floor=NO_CHANGE, seed=self.seed)
        shares = values[kept].tolist()
        whole = (0.0, 1.0)
        return mean(name, shares, clusters=clusters, unit="share", range=whole, floor=NO_CHANGE)
