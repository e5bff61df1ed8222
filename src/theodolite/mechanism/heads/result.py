"""What ablating each head changed: by prompt, and over prompts with intervals and the control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import BENIGN
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.mechanism.heads.ablation import Head, HeadAblation, head_name
from theodolite.mechanism.heads.long_tail import long_tail
from theodolite.mechanism.heads.stability import Specificity, Stability, specificity, stability

if TYPE_CHECKING:
    from theodolite.runs.run import Run

Floats = NDArray[np.float64]
TOP: Final = 10
NO_CHANGE: Final = Floor("no change", 0.0)
ANGLE: Final = "angle_r1"
_FACTS = ("model", "template", "dtype", "freeze_downstream", "noise", "noise_angle", "seed")


@dataclass(frozen=True, eq=False)
class HeadScores:
    """Effects of ablating one head at a time on the next token after each prompt.

    Args: (arrays have axes (prompt, layer, unit); NaN where a head was not scored)
        kl: nats, KL(intact || ablated) over the whole vocabulary (arXiv:2410.13708, section 3.2).
        refusal: nats, log-probability of the tokens that open refusals, intact minus ablated:
            above 0 the head helps to refuse. NaN where the vocabulary has no such tokens.
        top1_changed: 1.0 where the most likely token is another one.
        prompt_ids, labels, clusters: of the prompts; labels are "harmful" or "benign".
        angles: name -> degrees, axes (layer, unit): how far the leading subspace of the harmful
            prompts' last states turns (see `subspace_scores`); empty for fewer than two prompts.
        noise, noise_angle: the same KL (its largest) and `angle_r1` where nothing was ablated and
            the suffix was only computed again: rounding. Scores below it mean nothing.
        ablation, template, model, dtype, freeze_downstream, seed: how it was measured.
        pairs: whether harmful prompt i and benign prompt i belong together.
    """

    kl: Floats
    refusal: Floats
    top1_changed: Floats
    prompt_ids: tuple[str, ...]
    labels: tuple[str, ...]
    clusters: tuple[str, ...]
    angles: Mapping[str, Floats] = field(default_factory=dict)
    noise: float | None = None
    noise_angle: float | None = None
    ablation: HeadAblation = field(default_factory=HeadAblation)
    template: str = "auto"
    model: str = ""
    dtype: str = "float32"
    freeze_downstream: bool = False
    seed: int = 0
    pairs: bool = False

    @property
    def n_layers(self) -> int:
        """Layers of the model."""
        return int(self.kl.shape[1])

    @property
    def n_units(self) -> int:
        """Heads, or groups of heads, of a layer."""
        return int(self.kl.shape[2])

    @cached_property
    def harmful(self) -> list[int]:
        """Places of the harmful prompts."""
        return [i for i, label in enumerate(self.labels) if label != BENIGN]

    @cached_property
    def benign(self) -> list[int]:
        """Places of the benign prompts."""
        return [i for i, label in enumerate(self.labels) if label == BENIGN]

    @cached_property
    def over_harmful(self) -> Stability:
        """The heads' scores over harmful prompts."""
        return self._over(self.harmful)

    @cached_property
    def over_benign(self) -> Stability | None:
        """The heads' scores over benign prompts; None without any."""
        return self._over(self.benign) if self.benign else None

    @cached_property
    def specific(self) -> Specificity | None:
        """Harmful minus benign; None without benign prompts."""
        if not self.benign:
            return None
        return specificity(
            self.kl[self.harmful],
            self.kl[self.benign],
            paired=self.pairs,
            clusters=[self.clusters[i] for i in self.harmful],
            benign_clusters=None if self.pairs else [self.clusters[i] for i in self.benign],
            # Heads that were chosen for scoring were chosen among all.
            family=self.kl[0].size if np.isnan(self.kl).any() else None,
            seed=self.seed,
        )

    def ranking(self, by: str = "kl") -> list[Head]:
        """Return the scored heads, the highest first; ties go to the lower layer, then head.

        Args:
            by: "kl" (mean over harmful prompts), "specificity", or the name of an angle.

        Raises: KeyError: no such score.
        """
        values = self.map(by)
        scored = [(layer, unit) for layer, unit in np.ndindex(*values.shape)]
        scored = [head for head in scored if not np.isnan(values[head])]
        return sorted(scored, key=lambda head: (-values[head], head))

    def top(self, prompt: int, count: int) -> list[Head]:
        """Return one prompt's own highest heads."""
        values = self.kl[prompt]
        scored = [head for head in np.ndindex(*values.shape) if not np.isnan(values[head])]
        ordered = sorted(scored, key=lambda head: (-values[head], head))
        return [(int(layer), int(unit)) for layer, unit in ordered[:count]]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per prompt and scored head."""
        facts = {
            "operator": self.ablation.name,
            "target": self.ablation.at,
            "unit": self.ablation.unit,
            "epsilon": self.ablation.factor,
            "dtype": self.dtype,
        }
        return [
            {
                "prompt_id": prompt,
                "label": self.labels[item],
                "layer": layer,
                "head": unit,
                "kl": float(self.kl[item, layer, unit]),
                "delta_logp_refusal": _or_none(self.refusal[item, layer, unit]),
                "top1_changed": bool(self.top1_changed[item, layer, unit]),
                **facts,
            }
            for item, prompt in enumerate(self.prompt_ids)
            for layer in range(self.n_layers)
            for unit in range(self.n_units)
            if not np.isnan(self.kl[item, layer, unit])
        ]

    def scores(self, by: str = "kl") -> list[dict[str, Any]]:
        """Return one row per scored head: harmful, benign, their difference, place and angles.

        Args:
            by: what orders the rows, as for `ranking`.
        """
        first, control, difference = self.over_harmful, self.over_benign, self.specific
        refusal = self.refusal[self.harmful].mean(0)
        rows = []
        for layer, unit in self.ranking(by):
            at = (layer, unit)
            row: dict[str, Any] = {"name": head_name(at), "layer": layer, "head": unit}
            row |= _told("kl", first.mean[at], first.low[at], first.high[at])
            row |= {
                "kl_median": _or_none(first.median[at]),
                "top_frequency": float(first.frequency[at]),
                # Resamples of a single cluster are all alike and say nothing.
                "top_probability": float(first.probability[at]) if first.n_clusters > 1 else None,
                "delta_logp_refusal": _or_none(refusal[at]),
                "top1_changed": float(self.top1_changed[self.harmful][:, layer, unit].mean()),
            }
            if control is not None and difference is not None:
                row |= _told("kl_benign", control.mean[at], control.low[at], control.high[at])
                row |= _told(
                    "specificity", difference.mean[at], difference.low[at], difference.high[at]
                )
                row["shown_specific"] = bool(difference.shown[at])
            else:
                row |= {**_told("kl_benign"), **_told("specificity"), "shown_specific": None}
            rows.append(row | {name: _or_none(found[at]) for name, found in self.angles.items()})
        return rows

    def measurements(self, prefix: str = "heads", by: str = "kl") -> list[Measurement]:
        """Return what is said of all heads together, and of the highest one by its name.

        Args:
            prefix: of the names.
            by: what makes a head the highest, as for `ranking`.
        """
        rows = self.kl[self.harmful]
        clusters = [self.clusters[i] for i in self.harmful]
        tail = long_tail(rows, clusters, name=prefix, seed=self.seed)
        first = self.ranking(by)[0]
        # The head is in the name, so that two runs are compared on one and the same head.
        own = f"{prefix}/head {head_name(first)}"
        return [
            *tail.measurements,
            *([self._turn(f"{own}/{by}", first, by)] if by in self.angles else []),
            self._top(f"{own}/kl", first),
            self._gap(f"{own}/specificity", first),
            *self._specific_heads(prefix),
        ]

    def rounding(self, by: str = "kl") -> float | None:
        """Return what rounding alone gives for a score; None where that was not computed."""
        return {"kl": self.noise, ANGLE: self.noise_angle}.get(by)

    def save(self, run: Run, name: str = "head_scores_arrays") -> None:
        """Write the arrays and what their axes stand for into the run folder."""
        arrays = {"kl": self.kl, "refusal": self.refusal, "top1_changed": self.top1_changed}
        arrays |= {f"angle.{key}": value for key, value in self.angles.items()}
        run.save_tensors(name, arrays)
        run.save_table(
            f"{name}_items",
            [
                {"id": i, "label": label, "cluster": cluster}
                for i, label, cluster in zip(
                    self.prompt_ids, self.labels, self.clusters, strict=True
                )
            ],
        )
        facts = {fact: getattr(self, fact) for fact in _FACTS}
        facts |= {**self.ablation.facts, "pairs": self.pairs}
        run.save_table(f"{name}_design", [facts])

    @classmethod
    def load(cls, run: Run, name: str = "head_scores_arrays") -> Self:
        """Read what `save` wrote."""
        arrays = {key: np.asarray(value) for key, value in run.load_tensors(name).items()}
        items, facts = run.load_table(f"{name}_items"), run.load_table(f"{name}_design")[0]
        with_epsilon = facts["operator"] in ("undifferentiated", "scale")
        return cls(
            kl=arrays["kl"],
            refusal=arrays["refusal"],
            top1_changed=arrays["top1_changed"],
            prompt_ids=tuple(row["id"] for row in items),
            labels=tuple(row["label"] for row in items),
            clusters=tuple(row["cluster"] for row in items),
            angles={k.removeprefix("angle."): v for k, v in arrays.items() if "angle." in k},
            ablation=HeadAblation(
                facts["operator"],
                facts["epsilon"] if with_epsilon else None,
                facts["target"],
                facts["unit"],
            ),
            pairs=facts["pairs"],
            **{fact: facts[fact] for fact in _FACTS},
        )

    def _over(self, prompts: Sequence[int]) -> Stability:
        return stability(
            self.kl[prompts], [self.clusters[i] for i in prompts], k=TOP, seed=self.seed
        )

    def map(self, by: str = "kl") -> Floats:
        """Return a score of every head, axes (layer, unit); see `ranking`."""
        if by == "kl":
            return self.over_harmful.mean
        if by == "specificity" and self.specific is not None:
            return self.specific.mean
        return self.angles[by]

    def _floor(self, by: str) -> Floor:
        noise = self.rounding(by)
        return NO_CHANGE if noise is None else Floor("rounding", noise)

    def _turn(self, name: str, head: Head, by: str) -> Measurement:
        return Measurement(
            name=name,
            value=float(self.angles[by][head]),
            unit="degrees",
            n=len(self.harmful),
            floor=self._floor(by),
            reason="one angle of all requests together, largest on these requests: no interval",
        )

    def _top(self, name: str, head: Head) -> Measurement:
        found = self.over_harmful
        return self._of_head(name, head, found, found.n, self._floor("kl"))

    def _gap(self, name: str, head: Head) -> Measurement:
        found = self.specific
        if found is None:
            return not_measured(name, "nats", "no benign requests were given")
        return self._of_head(name, head, found, found.n + found.n_benign)

    def _of_head(
        self,
        name: str,
        head: Head,
        found: Stability | Specificity,
        n: int,
        floor: Floor = NO_CHANGE,
    ) -> Measurement:
        """Return one head's figure with the interval that the table of all heads gives it."""
        low, high = _or_none(found.low[head]), _or_none(found.high[head])
        why = f"head {head_name(head)}, chosen by the same prompts"
        if low is None:
            why += "; too few prompts, or all alike, for an interval"
        return Measurement(
            name=name,
            value=float(found.mean[head]),
            unit="nats",
            n=n,
            n_clusters=found.n_clusters,
            low=low,
            high=high,
            method=None if low is None else found.method,
            floor=floor,
            reason=why,
        )

    def _specific_heads(self, prefix: str) -> list[Measurement]:
        """Return how many heads are shown to matter more on harmful prompts."""
        name = f"{prefix}/specific_heads"
        if self.specific is None:
            return [not_measured(name, "heads", "no benign requests were given")]
        return [
            Measurement(
                name=name,
                value=float(self.specific.shown.sum()),
                unit="heads",
                n=self.specific.n + self.specific.n_benign,
                floor=Floor("none", 0.0),
                reason="a count of heads whose simultaneous interval lies above 0",
            )
        ]


def _told(name: str, value: float = np.nan, low: float = np.nan, high: float = np.nan) -> Any:
    """Return a value with its interval as columns of a table."""
    return {name: _or_none(value), f"{name}_low": _or_none(low), f"{name}_high": _or_none(high)}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
