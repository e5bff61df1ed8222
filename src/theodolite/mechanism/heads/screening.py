"""Which heads are scored exactly when there are too many, and what such a choice may have missed.

Rough scores choose; exact ones rank. The rough ones come with no bound on their error, so a random
sample of the heads that were not chosen is scored exactly as well: if one of them belongs among the
best, the choice is known to be wrong, and if none does, few of the others can.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.heads.ablation import Head, head_name
from theodolite.mechanism.heads.fisher import fisher_screen
from theodolite.text.hashing import item_seed

__all__ = ["Certificate", "audit_sample", "certify", "fisher_screen", "survivors"]

Scores = NDArray[np.float64]
KEPT_SHARE = 0.2
AUDITED = 30


def survivors(screen: Scores, k: int) -> list[Head]:
    """Return the heads to score exactly: the best by rough score, and all of the last layer.

    Heads of the last layer cost next to nothing: nothing but one MLP comes after them.

    Args:
        screen: rough scores, axes (prompt, layer, unit).
        k: heads the final ranking is about; 2 k of them are kept, or a fifth where that is more.

    Returns: (layer, unit) pairs in that order.

    Raises:
        ConfigError: k is not between 1 and the number of heads.
        DataError: a rough score is missing.
    """
    means = _means(screen)
    if not np.isfinite(means).all():
        raise DataError("A head has no rough score.", fix="Screen all heads.")
    _check_k(k, means.size)
    layers, units = means.shape
    count = max(2 * k, math.ceil(KEPT_SHARE * means.size))
    best = np.argsort(-means, axis=None, kind="stable")[:count]
    chosen = {(int(i) // units, int(i) % units) for i in best}
    return sorted(chosen | {(layers - 1, unit) for unit in range(units)})


def audit_sample(
    screen: Scores, kept: Iterable[Head], n: int = AUDITED, *, seed: int
) -> list[Head]:
    """Return heads drawn at random from those that were not kept, to be scored exactly too.

    Args:
        screen: rough scores, axes (prompt, layer, unit); says which heads there are.
        kept: what `survivors` returned.
        n: how many; all, where there are not more.
        seed: of the draw.

    Returns: (layer, unit) pairs in that order.

    Raises:
        ConfigError: n is negative.
    """
    if n < 0:
        raise ConfigError(f"The number of heads to audit is {n}.", fix="Use 0 or more.")
    rest = _rest(np.shape(screen)[1:], kept)
    drawn = np.random.default_rng(item_seed(seed, "head audit")).permutation(len(rest))[:n]
    return [rest[i] for i in sorted(drawn)]


@dataclass(frozen=True)
class Certificate:
    """What a choice of heads by rough scores is worth.

    Args:
        k: size of the ranking it is about.
        bar: the k-th exact mean score among the kept heads, nats.
        missed: audited heads above the bar, the highest first.
        audited: heads drawn at random from the rest and scored exactly.
        rest: heads that were not kept, those audited included.
        most: at `level`, no more of the rest than this lie above the bar, those missed included;
            below 3 / audited of the rest where none was missed and the level is 0.95.
        level: confidence level.
    """

    k: int
    bar: float
    missed: tuple[Head, ...]
    audited: int
    rest: int
    most: int
    level: float

    @property
    def complete(self) -> bool:
        """Whether every head was scored exactly, so that nothing rests on rough scores."""
        return self.audited == self.rest

    @property
    def certified(self) -> bool:
        """Whether the ranking may stand: an audit found no miss, or every head was scored."""
        return self.complete or (self.audited > 0 and not self.missed)

    @property
    def unseen(self) -> int:
        """No more heads than this lie above the bar without having been scored, at `level`."""
        return self.most - len(self.missed)

    @property
    def at_most(self) -> int:
        """How many of the top k may be among the heads without a score, at `level`."""
        return min(self.unseen, self.k)

    def __str__(self) -> str:
        """Say what the audit says of the heads that were left out."""
        if self.complete:
            return "every head was scored exactly, so nothing was missed"
        if self.missed:
            names = ", ".join(head_name(head) for head in self.missed)
            return f"the screening missed {names}, so score all heads exactly"
        if not self.audited:
            return "no head was audited, so nothing is known of the others"
        seen, others = f"no miss among {self.audited} audited heads", self.rest - self.audited
        if self.unseen >= self.k:
            return f"{seen}, which are too few to say how many of the top {self.k} were left out"
        return (
            f"{seen}, so at most {self.unseen} of the top {self.k} are among the {others} that "
            f"were not scored ({self.level:.0%} confidence)"
        )


def certify(
    exact: Scores,
    kept: Sequence[Head],
    audited: Sequence[Head],
    k: int,
    *,
    level: float = 0.95,
) -> Certificate:
    """Judge a choice of heads by the exact scores of a random sample of the others.

    The number of missed heads in a sample without replacement is hypergeometric; its upper limit
    is at most 3 / n of the rest where none of n is missed (the rule of three).

    Args:
        exact: exact scores, axes (prompt, layer, unit); NaN where a head was not scored.
        kept: heads chosen by rough score.
        audited: a random sample of the others.
        k: size of the ranking.
        level: confidence level.

    Returns: the verdict; a miss is a score above the k-th of the kept heads.

    Raises:
        ConfigError: k does not fit the kept heads, or the level is no probability.
        DataError: a kept or audited head was not scored, or a head is both.

    Note: it holds for the mean over these prompts, and for one draw made before looking.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}.", fix="Use a number between 0 and 1.")
    means = _means(exact)
    chosen, drawn = set(kept), set(audited)
    _check_k(k, len(chosen))
    if chosen & drawn:
        raise DataError(
            f"The head {head_name(min(chosen & drawn))} was kept and audited.",
            fix="Audit heads that were not kept.",
        )
    for head in sorted(chosen | drawn):
        if not np.isfinite(means[head]):
            raise DataError(
                f"The head {head_name(head)} has no exact score.", fix="Score it on every prompt."
            )
    bar = float(np.sort([means[head] for head in chosen])[-k])
    missed = sorted((h for h in drawn if means[h] > bar), key=lambda h: (-means[h], h))
    rest = means.size - len(chosen)
    return Certificate(
        k=k,
        bar=bar,
        missed=tuple(missed),
        audited=len(drawn),
        rest=rest,
        most=_most(rest, len(drawn), len(missed), level),
        level=level,
    )


def _most(rest: int, drawn: int, missed: int, level: float) -> int:
    """Return the largest number of missed heads in the rest that the sample does not rule out."""
    from scipy.stats import hypergeom

    counts = np.arange(missed, rest - drawn + missed + 1)
    chance = hypergeom.cdf(missed, rest, counts, drawn)
    # Rounding may leave a certain event below 1; the sample's own count is never ruled out.
    return int(counts[chance > 1 - level].max(initial=missed))


def _means(scores: Scores) -> Scores:
    array = np.asarray(scores, np.float64)
    if array.ndim != 3 or not array.size:
        raise DataError(
            f"Scores of shape {array.shape} are not those of heads.",
            fix="Give axes (prompt, layer, unit).",
        )
    return np.asarray(array.mean(0))


def _rest(shape: tuple[int, ...], kept: Iterable[Head]) -> list[Head]:
    chosen = set(kept)
    return [(int(a), int(b)) for a, b in np.ndindex(shape) if (a, b) not in chosen]


def _check_k(k: int, heads: int) -> None:
    if not 1 <= k <= heads:
        raise ConfigError(f"A top {k} of {heads} heads is not possible.", fix=f"Use 1 to {heads}.")
