"""What became of refusal when a direction was taken out of the stream, or put in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from theodolite.measure.closed_form import t_quantile
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.probes.held_out import Floats, area_under_curve
from theodolite.runs.figures import FloorLine, Series, curve_by_layer
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.runs.run import Run

USED, UNUSED, NOT_SHOWN = "used", "readable, not used", "not shown"
REMOVAL, ADDITION = "removal", "addition"
# Of the gap between the classes: an effect that surely stays below it is none to speak of.
NEGLIGIBLE: Final = 0.1
_LEVEL: Final = 0.95


@dataclass(frozen=True, eq=False)
class Effect:
    """One kind of change, made to the same prompts along the direction and along random ones.

    Args:
        kind: `REMOVAL` or `ADDITION`.
        prompt_ids, groups: the prompts, and the independent units they belong to.
        intact: refusal log-odds without any change, nats, axis (prompt).
        intact_mass: probability of refusing tokens without any change, axis (prompt).
        change, mass: what the direction adds to them, axes (hidden_index, prompt).
        random, random_mass: what random directions add, axes (hidden_index, control, prompt).
    """

    kind: str
    prompt_ids: tuple[str, ...]
    groups: tuple[str, ...]
    intact: Floats
    intact_mass: Floats
    change: Floats
    mass: Floats
    random: Floats
    random_mass: Floats

    def total(self, row: int) -> Measurement:
        """Return the mean change along the direction; the floor is that along random ones."""
        return mean(
            f"causality/{self.kind}",
            self.change[row].tolist(),
            clusters=self.groups,
            unit="nats",
            floor=Floor("random directions, changes of the same size", self.random[row].mean()),
        )

    def beyond_random(self, row: int) -> Measurement:
        """Return the mean change along the direction minus that along random ones, by prompt."""
        return paired_difference(
            self.change[row].tolist(),
            self.random[row].mean(0).tolist(),
            self.groups,
            name=f"causality/{self.kind}",
            unit="nats",
            floor=Floor("random directions, changes of the same size", 0.0),
        )

    def acts(self, row: int) -> bool:
        """Return whether the direction moves refusal the expected way as no random one would.

        Both must hold: the prompts agree (the interval of `beyond_random` stays off 0), and the
        mean change lies outside what the random directions foretell of one more like them.
        """
        sign = -1.0 if self.kind == REMOVAL else 1.0
        found = self.beyond_random(row)
        if found.low is None or found.high is None or found.value is None:
            return False
        agreed = found.low > 0 if sign > 0 else found.high < 0
        return agreed and sign * found.value > self.random_reach(row)

    def random_reach(self, row: int) -> float:
        """Return how far from their mean one more random direction may lie, nats (95 %)."""
        means = self.random[row].mean(1)
        spread = float(means.std(ddof=1)) * float(np.sqrt(1 + 1 / len(means)))
        return t_quantile(_LEVEL, len(means) - 1) * spread

    def negligible(self, row: int, margin: float) -> bool:
        """Return whether the change beyond random ones surely stays within a margin, nats."""
        found = self.beyond_random(row)
        if found.low is None or found.high is None:  # all prompts moved alike
            return found.value is not None and abs(found.value) < margin
        return -margin < found.low and found.high < margin


@dataclass(frozen=True, eq=False)
class CausalityResult:
    """Whether the directions that probes read are used on the way to a refusal, by layer.

    Args:
        hidden_indices: where the stream was changed.
        removal: the direction taken out of harmful prompts.
        addition: the distance between the classes put into benign prompts.
        projections: of the states at `position` on the directions, harmful prompts first; axes
            (hidden_index, prompt).
        alphas: length and sign of what was added along the unit direction, axis (hidden_index).
        position: where the directions were read.
        erase: "projection" or "leace".
        classes: name of the token classes.
        model: name of the model.
    """

    hidden_indices: tuple[int, ...]
    removal: Effect
    addition: Effect
    projections: Floats
    alphas: Floats
    position: str
    erase: str
    classes: str
    model: str
    seed: int

    @property
    def gap(self) -> float:
        """Refusal log-odds of harmful prompts above benign ones, nats: what is to be explained."""
        return float(self.removal.intact.mean() - self.addition.intact.mean())

    def readable(self, row: int) -> Measurement:
        """Return the AUROC of the direction itself on these prompts."""
        labels = np.repeat([1, 0], [len(self.removal.groups), len(self.addition.groups)])
        groups = (*self.removal.groups, *self.addition.groups)
        scores = self.projections[row]
        return area_under_curve("causality/auroc", scores, labels, groups, seed=self.seed)

    def label(self, hidden_index: int) -> str:
        """Return what was shown of the direction at one place.

        `USED`: taking it out lowers refusal of harmful prompts, or putting it in raises refusal of
        benign ones, beyond random directions. `UNUSED`: it tells the classes apart, and both
        effects surely stay below a tenth of the gap. `NOT_SHOWN`: neither; more prompts may tell.
        """
        row = self.hidden_indices.index(hidden_index)
        effects = (self.removal, self.addition)
        if any(effect.acts(row) for effect in effects):
            return USED
        area = self.readable(row)
        # Classes that no resample mixes up have no interval.
        least = area.value if area.low is None else area.low
        margin = NEGLIGIBLE * self.gap
        idle = all(effect.negligible(row, margin) for effect in effects)
        return UNUSED if idle and least is not None and least > 0.5 else NOT_SHOWN

    def measurements(self) -> list[Measurement]:
        """Return both effects beyond random directions at every place, with its label."""
        found = []
        for row, index in enumerate(self.hidden_indices):
            for effect in (self.removal, self.addition):
                one = effect.beyond_random(row)
                why = (
                    self.label(index)
                    if one.low is not None
                    else f"{self.label(index)}; {one.reason}"
                )
                found.append(replace(one, name=f"causality/{effect.kind}/{index}", reason=why))
        return found

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per place and kind of change."""
        found = []
        for row, index in enumerate(self.hidden_indices):
            area, label = self.readable(row), self.label(index)
            for effect in (self.removal, self.addition):
                total, beyond = effect.total(row), effect.beyond_random(row)
                found.append(
                    {
                        "hidden_index": index,
                        "layer": max(index - 1, 0),
                        "kind": effect.kind,
                        "label": label,
                        "change": total.value,
                        "low": total.low,
                        "high": total.high,
                        "random": float(effect.random[row].mean()),
                        "random_reach": effect.random_reach(row),
                        "beyond_random": beyond.value,
                        "beyond_low": beyond.low,
                        "beyond_high": beyond.high,
                        "mass": float(effect.mass[row].mean()),
                        "random_mass": float(effect.random_mass[row].mean()),
                        "alpha": float(self.alphas[row]),
                        "n": total.n,
                        "n_clusters": total.n_clusters,
                        "auroc": area.value,
                        "auroc_low": area.low,
                        "auroc_high": area.high,
                        "gap": self.gap,
                    }
                )
        return found

    def figure(self) -> Figure:
        """Return both effects by layer, beside those of random directions."""
        series = []
        for effect in (self.removal, self.addition):
            rows = [effect.total(row) for row in range(len(self.hidden_indices))]
            series.append(
                Series(
                    f"{effect.kind} of the direction",
                    self.hidden_indices,
                    [m.value for m in rows],
                    [m.low for m in rows],
                    [m.high for m in rows],
                )
            )
            same = effect.random.mean((1, 2)).tolist()
            series.append(Series(f"{effect.kind}, random directions", self.hidden_indices, same))
        spec = curve_by_layer(
            series,
            y_title="change of refusal log-odds",
            unit="nats",
            floors=[FloorLine("no change", 0.0)],
        )
        labels = ", ".join(f"{index} {self.label(index)}" for index in self.hidden_indices)
        caption = (
            f"The probe's direction taken out of {len(self.removal.groups)} harmful prompts, or "
            f"put into {len(self.addition.groups)} benign ones, at one layer and at all positions; "
            f"random changes are of the same size. The classes are {self.gap:.2f} nats apart. "
            f"Bands: 95 % intervals by goal, one layer at a time. By hidden index: {labels}."
        )
        return Figure("causality", "Is what probes read used?", caption, spec, "causality")

    def save(self, run: Run) -> None:
        """Write the arrays, and the prompts they belong to, into the run folder."""
        arrays: dict[str, Any] = {
            "hidden_indices": np.array(self.hidden_indices, np.int64),
            "projections": self.projections,
            "alphas": self.alphas,
            "seed": np.array([self.seed]),
        }
        rows = []
        facts = {name: getattr(self, name) for name in _FACTS}
        for effect in (self.removal, self.addition):
            for name in _ARRAYS:
                arrays[f"{effect.kind}.{name}"] = getattr(effect, name)
            for prompt, group in zip(effect.prompt_ids, effect.groups, strict=True):
                rows.append({"kind": effect.kind, "prompt_id": prompt, "group": group, **facts})
        run.save_tensors("causality", arrays)
        run.save_table("causality_prompts", rows)

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read what `save` wrote."""
        arrays = run.load_tensors("causality")
        rows = run.load_table("causality_prompts")

        def effect(kind: str) -> Effect:
            own = [row for row in rows if row["kind"] == kind]
            return Effect(
                kind,
                tuple(row["prompt_id"] for row in own),
                tuple(row["group"] for row in own),
                **{name: np.asarray(arrays[f"{kind}.{name}"]) for name in _ARRAYS},
            )

        return cls(
            hidden_indices=tuple(int(h) for h in arrays["hidden_indices"]),
            removal=effect(REMOVAL),
            addition=effect(ADDITION),
            projections=np.asarray(arrays["projections"]),
            alphas=np.asarray(arrays["alphas"]),
            seed=int(arrays["seed"][0]),
            **{name: rows[0][name] for name in _FACTS},
        )


_ARRAYS: Final = ("intact", "intact_mass", "change", "mass", "random", "random_mass")
_FACTS: Final = ("position", "erase", "classes", "model")
