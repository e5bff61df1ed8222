"""A selection: the rules, the candidate they choose, and what it does on prompts it was not chosen
by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.directions.effects import Effects
from theodolite.runs.figure_parts import number
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]
BY_LOG_ODDS: Final = "log_odds"
BY_COSINE: Final = "cosine"
_WAYS: Final = (BY_LOG_ODDS, BY_COSINE)
_RANDOM: Final = "random directions of the same length"


@dataclass(frozen=True)
class SelectionOptions:
    """Which candidates may be chosen, and by what.

    Source: arXiv:2406.11717 for the rules and numbers; arXiv:2506.00085 (COSMIC) for
        "cosine".

    Args:
        by: "log_odds" (the least refusal of harmful requests after ablation, among those that pass
            the rules) or "cosine" (states after ablation like benign ones, after addition like
            harmful ones; no output token is looked at).
        deepest: only depths below this share of the blocks.
        most_kl: most drift on benign requests after ablation, nats; no rule of "cosine".
        least_induced: log-odds of a refusal that addition to benign requests must exceed; no rule
            of "cosine".
        train, val: most prompts of each class to make candidates from, and to choose or test by.
        filtered: only harmful requests that are refused and benign ones that are not, by the sign
            of the refusal score; False keeps all.
        least_similar: share of the depths, those where the classes' mean states are least alike,
            at which "cosine" looks.
        controls: random directions of the chosen one's length, whose effects are the floor.
    """

    by: str = BY_LOG_ODDS
    deepest: float = 0.8
    most_kl: float = 0.1
    least_induced: float = 0.0
    train: int = 128
    val: int = 32
    filtered: bool = True
    least_similar: float = 0.1
    controls: int = 8

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises: ConfigError: naming the option.
        """
        if self.by not in _WAYS:
            raise ConfigError(
                f"There is no choice by {shown(self.by)}.", fix=did_you_mean(self.by, _WAYS)
            )
        for name in ("deepest", "least_similar"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}.", fix="Use a share above 0, at most 1."
                )
        if min(self.train, self.val) < 2 or self.controls < 0:
            raise ConfigError(
                f"train is {self.train}, val {self.val} and controls {self.controls}.",
                fix="Use at least 2 prompts of each, and no fewer than 0 controls.",
            )


@dataclass(frozen=True, eq=False)
class Selection:
    """Candidates, their effects on the prompts to choose by, and the one that is chosen.

    Args:
        candidates: directions; their positions are those of the template.
        lengths: how far the class means lie apart along each, in units of the stream.
        chosen: index of the best.
        effects: of all candidates, on the prompts to choose by.
        tested: of the chosen one, then of random directions, on test prompts; None without any.
        options: the rules.
        counts: prompts kept by class and split.
        seed: of draws and resamples.
    """

    candidates: tuple[Direction, ...]
    lengths: tuple[float, ...]
    chosen: int
    effects: Effects
    tested: Effects | None
    options: SelectionOptions
    counts: Mapping[str, str]
    seed: int

    @property
    def direction(self) -> Direction:
        """The chosen direction."""
        return self.candidates[self.chosen]

    @property
    def alpha(self) -> float:
        """Its length: what carries the mean of benign states to that of harmful ones."""
        return self.lengths[self.chosen]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per candidate; `why_not` names the first rule it breaks."""
        broken = why_not(self.effects, self.options)
        return [
            {
                "position": direction.position,
                "hidden_index": direction.hidden_index,
                "length": self.lengths[c],
                "ablated": float(self.effects.ablated[c].mean()),
                "induced": float(self.effects.induced[c].mean()),
                "kl": float(self.effects.drift[c].mean()),
                "similarity": number(self.effects.similarity[c]),
                "why_not": broken[c],
                "chosen": c == self.chosen,
            }
            for c, direction in enumerate(self.candidates)
        ]

    def measurements(self) -> list[Measurement]:
        """Return what the chosen direction does to test prompts, beside random directions."""
        names = [f"directions/selection/{name}" for name in ("removed", "induced", "kl")]
        if self.tested is None:
            return [not_measured(name, "nats", "there are no test prompts") for name in names]
        one = self.tested
        where = f"{self.direction.name} at {self.direction.position}, chosen on other prompts"
        columns = (
            (one.ablated - one.harmful, one.harmful_goals),
            (one.induced - one.benign, one.benign_goals),
            (one.drift, one.benign_goals),
        )
        return [
            mean(
                name,
                values[0].tolist(),
                clusters=goals,
                unit="nats",
                floor=_floor(values[1:]),
                seed=self.seed,
                reason=where,
            )
            for name, (values, goals) in zip(names, columns, strict=True)
        ]


def choose(effects: Effects, options: SelectionOptions) -> int:
    """Return the best candidate that breaks no rule.

    Raises: DataError: all break one; says how many break which.
    """
    broken = why_not(effects, options)
    usable = [c for c, why in enumerate(broken) if why is None]
    if not usable:
        counts = {why: broken.count(why) for why in dict.fromkeys(broken)}
        said = ", ".join(f"{count} {why}" for why, count in counts.items())
        raise DataError(
            f"None of {len(broken)} candidates passes the rules: {said}.",
            fix="Loosen most_kl or least_induced, or use a model that refuses by a direction.",
        )
    if options.by == BY_COSINE:
        return max(usable, key=lambda c: (effects.similarity[c], -c))
    return min(usable, key=lambda c: (effects.ablated[c].mean(), c))


def why_not(effects: Effects, options: SelectionOptions) -> list[str | None]:
    """Return the first rule that each candidate breaks, in words; None where it breaks none."""
    found: list[str | None] = []
    for drift, induced in zip(effects.drift.mean(1), effects.induced.mean(1), strict=True):
        why = None
        if options.by == BY_LOG_ODDS and not drift <= options.most_kl:
            why = f"drift by more than {options.most_kl:g} nats on benign prompts"
        elif options.by == BY_LOG_ODDS and not induced > options.least_induced:
            why = f"bring no refusals above {options.least_induced:g} when added"
        found.append(why)
    return found


def _floor(random: Sequence[Floats] | Floats) -> Floor | None:
    return Floor(_RANDOM, float(np.mean(random))) if len(random) else None
