"""Drift along benign answers and perplexity of plain text, edit by edit, beside random edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.perplexity import perplexity, perplexity_rise
from theodolite.mechanism.steering.settings import Settings, load_design, save_design
from theodolite.runs.figures import interval_bars
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.runs.run import Run

Floats = NDArray[np.float64]
NO_EDIT: Final = Floor("no edit", 0.0)
_ARRAYS: Final = ("kl", "nats", "intact_nats", "tokens")
_AXES: Final = ("prompt_ids", "clusters", "passage_ids")
_FACTS: Final = ("positions", "model", "vocabulary", "seed")


@dataclass(frozen=True, eq=False)
class DriftResult:
    """What edits do to benign answers and to plain text.

    Args:
        settings: the edits, then random ones.
        kl: KL(no edit || edit), nats, axes (setting, prompt, position); NaN beyond an answer's end.
        nats: minus the log-probability of each passage, axes (setting, passage).
        intact_nats: the same without an edit, axis (passage).
        tokens: scored tokens of each passage, axis (passage).
        prompt_ids, clusters: of the benign prompts.
        passage_ids: of the passages.
        positions: most answer tokens of a prompt.
        model: its name.
        vocabulary: its tokens, the perplexity of a uniform guess.
        seed: of random directions.
    """

    settings: Settings
    kl: Floats
    nats: Floats
    intact_nats: Floats
    tokens: NDArray[np.int64]
    prompt_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    passage_ids: tuple[str, ...]
    positions: int
    model: str
    vocabulary: int
    seed: int

    def drift(self, edit: str) -> Measurement:
        """Return the mean divergence over answer positions, interval over prompts' clusters.

        Note: the floor is that of random edits where there are some, else 0, that of no edit.
        """
        values, clusters = self._values(self.kl[self.settings.row(edit)])
        random = self.settings.random(edit)
        floor = NO_EDIT
        if random:
            drawn = float(np.nanmean(self.kl[random]))
            floor = Floor(f"{len(random)} random edits", drawn)
        return mean(
            f"steering/{edit}/kl",
            values,
            clusters=clusters,
            unit="nats",
            floor=floor,
            seed=self.seed,
        )

    def drift_over_random(self, edit: str) -> Measurement:
        """Return the drift minus the mean drift of random edits, paired by position."""
        name, random = f"steering/{edit}/kl/over_random", self.settings.random(edit)
        if not random:
            return not_measured(name, "nats", "no random edits were drawn")
        own = self.kl[self.settings.row(edit)]
        values, clusters = self._values(own)
        drawn, _ = self._values(self.kl[random].mean(0))
        more = sum(float(np.nanmean(self.kl[row])) >= float(np.nanmean(own)) for row in random)
        return paired_difference(
            values,
            drawn,
            clusters,
            name=name,
            unit="nats",
            floor=Floor("random edits", 0.0),
            seed=self.seed,
            reason=f"{more} of {len(random)} random edits drift as far or further",
        )

    def perplexity(self, edit: str | None = None) -> Measurement:
        """Return the perplexity of the passages under an edit, None without one."""
        nats = self.intact_nats if edit is None else self.nats[self.settings.row(edit)]
        name = f"steering/{edit or 'no edit'}/perplexity"
        return perplexity(name, nats, self.tokens, self.vocabulary)

    def perplexity_change(self, edit: str) -> Measurement:
        """Return by how many percent the perplexity rises, paired by passage."""
        nats = self.nats[self.settings.row(edit)]
        name = f"steering/{edit}/perplexity/change"
        return perplexity_rise(name, nats, self.intact_nats, self.tokens)

    def perplexity_over_random(self, edit: str) -> Measurement:
        """Return by how many percent it rises over that of random edits, their geometric mean."""
        name, random = f"steering/{edit}/perplexity/over_random", self.settings.random(edit)
        if not random:
            return not_measured(name, "percent", "no random edits were drawn")
        own, floor = self.nats[self.settings.row(edit)], Floor("random edits", 0.0)
        found = perplexity_rise(name, own, self.nats[random].mean(0), self.tokens, floor)
        more = sum(self.nats[row].sum() >= own.sum() for row in random)
        told = f"{more} of {len(random)} random edits cost as much or more"
        return replace(found, reason="; ".join(filter(None, (found.reason, told))))

    def measurements(self) -> list[Measurement]:
        """Return the perplexity without an edit, then drift and perplexity of every edit."""
        found = [self.perplexity()]
        for edit in self.settings.edits:
            found += [self.drift(edit), self.perplexity(edit), self.perplexity_change(edit)]
            if self.settings.random(edit):
                found += [self.drift_over_random(edit), self.perplexity_over_random(edit)]
        return found

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per edit."""
        rows = []
        for edit in self.settings.edits:
            setting = self.settings.each[self.settings.row(edit)]
            row: dict[str, Any] = {"edit": edit, "mode": setting.mode, "alpha": setting.alpha}
            for name in ("drift", "perplexity", "perplexity_change"):
                m: Measurement = getattr(self, name)(edit)
                row |= {name: m.value, f"{name}_low": m.low, f"{name}_high": m.high}
            floor = self.drift(edit).floor
            row["random_drift"] = None if floor in (None, NO_EDIT) else floor.value
            rows.append(row)
        return rows

    def figure(self) -> Figure:
        """Return the drift of every edit beside that of random ones."""
        answers = int(np.isfinite(self.kl[0]).sum())
        changes = ", ".join(
            f"{edit} {m.value:+.1f} % [{m.low:+.1f}, {m.high:+.1f}]"
            for edit in self.settings.edits
            if (m := self.perplexity_change(edit)).value is not None and m.low is not None
        )
        caption = (
            f"KL(no edit || edit) of the next token, mean of {answers} positions along the model's "
            f"own answers to {len(self.prompt_ids)} benign prompts; 95 % intervals, floors are "
            f"random edits. Perplexity of {len(self.passage_ids)} plain passages: "
            f"{changes or 'no interval'}."
        )
        rows = [self.drift(edit) for edit in self.settings.edits]
        spec = interval_bars(rows, unit="nats", axis_title="drift of benign answers")
        return Figure(
            "steering_drift", "What edits cost elsewhere", caption, spec, "steering_drift"
        )

    def save(self, run: Run) -> None:
        """Write the arrays and what their axes stand for into the run folder."""
        run.save_tensors("steering_drift", {name: getattr(self, name) for name in _ARRAYS})
        design = {n: list(getattr(self, n)) for n in _AXES} | {n: getattr(self, n) for n in _FACTS}
        save_design(run, "steering_drift", self.settings, design)

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read what `save` wrote."""
        arrays: dict[str, Any] = dict(run.load_tensors("steering_drift"))
        return cls(**arrays, **load_design(run, "steering_drift", _AXES))

    def _values(self, kl: Floats) -> tuple[list[float], Sequence[str]]:
        """Return the values of one setting that there are, and the cluster of each."""
        row, _ = np.nonzero(np.isfinite(self.kl[0]))
        return kl[np.isfinite(self.kl[0])].tolist(), [self.clusters[i] for i in row]
