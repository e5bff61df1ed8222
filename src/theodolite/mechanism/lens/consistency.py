"""Top-k intermediate consistency: how far prompts point to the same tokens in the middle layers.

TIC of a layer is the mean share of prompts in whose top k each of the K most frequent tokens
stands: 1 where all prompts share them, 1/N where N prompts share nothing. It is also the mean over
prompts of how many of these K tokens each one shows, which gives it an interval over prompts (for
the tokens found).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.measure.closed_form import as_floats, normal_quantile
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.mechanism.lens.token_classes import TokenClasses
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.lens.logit_lens import LensResult

NO_TOKEN = -1
_EXACT_UP_TO = 8
_DRAWS = 10_000
_SLACK = 1e-12  # permutations that give the same r but for rounding count as such


@dataclass(frozen=True, eq=False)
class Consistency:
    """TIC by layer.

    Args:
        hidden_indices: the layer axis.
        layers: the hidden indices over which the mean is taken.
        tokens: int64 (hidden_index, K), the most frequent tokens, `NO_TOKEN` where there are fewer.
        counts: int64 (hidden_index, K), prompts in whose top k each of them stands.
        scores: float64 (prompt, hidden_index), share of these tokens in the prompt's own top k.
        least: what prompts that share nothing reach.
    """

    hidden_indices: tuple[int, ...]
    layers: tuple[int, ...]
    tokens: NDArray[np.int64]
    counts: NDArray[np.int64]
    scores: NDArray[np.float64]
    least: float

    @property
    def by_index(self) -> NDArray[np.float64]:
        """TIC per hidden_index."""
        return np.asarray(self.scores.mean(0))

    @property
    def value(self) -> float:
        """TIC: the mean over the chosen layers."""
        return float(self._chosen().mean())

    def measurement(
        self, name: str = "lens/consistency", clusters: Sequence[Hashable] | None = None
    ) -> Measurement:
        """Return TIC with an interval over prompts or their clusters, the tokens held fixed."""
        return mean(
            name,
            self._chosen().mean(1).tolist(),
            clusters=clusters,
            unit="share",
            range=(0.0, 1.0),
            floor=Floor("prompts that share no token", self.least),
            reason=f"mean over hidden_index {_listed(self.layers)}",
        )

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per hidden_index."""
        return [
            {
                "hidden_index": index,
                "layer": max(index - 1, 0),
                "consistency": float(self.by_index[h]),
                "n": len(self.scores),
                "in_mean": index in self.layers,
                "token_ids": [int(t) for t in self.tokens[h] if t != NO_TOKEN],
                "counts": [int(c) for c in self.counts[h] if c],
            }
            for h, index in enumerate(self.hidden_indices)
        ]

    def _chosen(self) -> NDArray[np.float64]:
        return self.scores[:, [self.hidden_indices.index(layer) for layer in self.layers]]


def middle_layers(n_layers: int) -> tuple[int, ...]:
    """Return the hidden indices of the middle: n_layers / 2 to 3 n_layers / 4, rounded down.

    Source: 16 to 24 of 32 in arXiv:2406.05644; the rule for other depths is ours.
    """
    return tuple(range(n_layers // 2, 3 * n_layers // 4 + 1))


def topk_consistency(
    lens: LensResult | NDArray[np.int64],
    *,
    layers: Literal["middle"] | Sequence[int] = "middle",
    k: int = 5,
    top: int = 5,
    negative: TokenClasses | Collection[int] | None = None,
) -> Consistency:
    """Return how consistently prompts point to the same tokens.

    Source: the idea of arXiv:2406.05644; the formula is ours.

    Args:
        lens: a lens result, or token ids by falling logit, axes (prompt, hidden_index, k), of all
            hidden indices from 0 on.
        layers: hidden indices to take the mean over; "middle" is `middle_layers`.
        k: tokens looked at per prompt.
        top: K, the most frequent tokens that are counted; of equal ones the lower ids.
        negative: count only these (refusing) tokens.

    Raises:
        DataError: there are no prompts.
        ConfigError: k or top is out of range, or a layer was not read.
    """
    if isinstance(lens, np.ndarray):
        ids, indices, n_layers = lens, tuple(range(lens.shape[1])), lens.shape[1] - 1
    else:
        ids, indices, n_layers = lens.token_ids, lens.hidden_indices, lens.n_layers
    if not len(ids):
        raise DataError("There are no prompts to compare.", fix="Give at least one.")
    if not 1 <= k <= ids.shape[2] or top < 1:
        raise ConfigError(
            f"k is {k} and top is {top}, of {ids.shape[2]} tokens per state.",
            fix=f"Use k from 1 to {ids.shape[2]} and top of at least 1.",
        )
    chosen = _chosen_layers(layers, n_layers, indices)
    only = negative.negative if isinstance(negative, TokenClasses) else negative
    found = [_most_frequent(ids[:, h, :k], top, only) for h in range(len(indices))]
    tokens = np.stack([one for one, _ in found])
    shown = ids[:, :, None, :k] == tokens[None, :, :, None]
    return Consistency(
        hidden_indices=indices,
        layers=chosen,
        tokens=tokens,
        counts=np.stack([one for _, one in found]),
        scores=shown.any(3).sum(2) / top,
        least=1 / len(ids) if only is None else 0.0,
    )


def _chosen_layers(
    layers: Literal["middle"] | Sequence[int], n_layers: int, indices: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the hidden indices to take the mean over."""
    if layers == "middle":
        chosen = tuple(h for h in middle_layers(n_layers) if h in indices)
    elif isinstance(layers, str):
        raise ConfigError(f"layers is '{layers}'.", fix="Use middle, or a list of hidden indices.")
    else:
        chosen = tuple(layers)
    missing = [h for h in chosen if h not in indices]
    if missing or not chosen:
        what = f"hidden_index {missing[0]}" if missing else "any of the layers asked for"
        raise ConfigError(
            f"The lens was not put at {what}.", fix=f"It was put at {_listed(indices)}."
        )
    return chosen


def _most_frequent(
    ids: NDArray[np.int64], top: int, only: Collection[int] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the most frequent tokens of one layer and their counts, each of length `top`.

    Args:
        ids: axes (prompt, k); a prompt's tokens differ from each other.
    """
    known, counts = np.unique(ids, return_counts=True)
    if only is not None:
        allowed = np.isin(known, list(only))
        known, counts = known[allowed], counts[allowed]
    order = np.argsort(-counts, kind="stable")[:top]  # ids ascend, so equal counts go by id
    tokens, kept = np.full(top, NO_TOKEN, np.int64), np.zeros(top, np.int64)
    tokens[: len(order)], kept[: len(order)] = known[order], counts[order]
    return tokens, kept


@dataclass(frozen=True)
class Correlation:
    """Pearson's r over a few models, with what so few can show.

    Args:
        r: None where it is not defined (then `reason` says why).
        p: two-sided, by permutation; `exact` where all permutations were tried.
        low, high: Fisher's interval, for at least 4 points.
        n: points.
    """

    r: float | None
    p: float | None
    low: float | None
    high: float | None
    n: int
    exact: bool
    reason: str | None
    level: float = 0.95

    def measurement(self, name: str = "lens/consistency_correlation") -> Measurement:
        """Return r as a figure; p stands in its reason."""
        if self.r is None:
            return not_measured(name, "pearson r", self.reason or "", n=self.n)
        how = "exact" if self.exact else f"{_DRAWS} draws"
        words = f"permutation p = {self.p:.3g} ({how})"
        return Measurement(
            name=name,
            value=self.r,
            unit="pearson r",
            n=self.n,
            low=self.low,
            high=self.high,
            level=self.level,
            method=None if self.low is None else "fisher z",
            floor=Floor("no correlation", 0.0),
            range=(-1.0, 1.0),
            reason="; ".join(part for part in (words, self.reason) if part),
        )


def tic_correlation(
    points: Sequence[tuple[float, float]], *, seed: int = 0, level: float = 0.95
) -> Correlation:
    """Correlate consistency with another figure (attack success, say) over models.

    Args:
        points: (consistency, other figure) per model.
        seed: of the random permutations, for more than 8 points.
        level: of the interval.

    Returns: r, its permutation p (all permutations up to 8 points, else 10,000 and the data
        themselves), and Fisher's interval, which supposes normal figures.

    Raises: DataError: a figure is not a finite number.
    """
    n = len(points)
    x, y = as_floats([p[0] for p in points]), as_floats([p[1] for p in points])
    if n < 3:
        return Correlation(None, None, None, None, n, False, f"{n} points are fewer than 3", level)
    if np.ptp(x) <= _SLACK or np.ptp(y) <= _SLACK:
        why = "one of the two figures is the same for all points"
        return Correlation(None, None, None, None, n, False, why, level)
    x, y = _standard(x), _standard(y)
    r = min(max(float(x @ y), -1.0), 1.0)
    low, high, gap = _fisher(r, n, level)
    if n <= _EXACT_UP_TO:
        orders = np.array(list(permutations(range(n))))
        hits = (np.abs(y[orders] @ x) >= abs(r) - _SLACK).mean()
        return Correlation(r, float(hits), low, high, n, True, gap, level)
    rng = np.random.default_rng(item_seed(seed, "consistency correlation"))
    orders = rng.permuted(np.tile(np.arange(n), (_DRAWS, 1)), axis=1)
    as_far = int((np.abs(y[orders] @ x) >= abs(r) - _SLACK).sum())
    return Correlation(r, (1 + as_far) / (1 + _DRAWS), low, high, n, False, gap, level)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values centred and of length 1."""
    centred = values - values.mean()
    return np.asarray(centred / np.linalg.norm(centred))


def _fisher(r: float, n: int, level: float) -> tuple[float | None, float | None, str | None]:
    """Return Fisher's interval, or why there is none."""
    if n < 4:
        return None, None, f"{n} points give no interval"
    if abs(r) > 1 - 1e-9:
        return None, None, "points on a line give no interval"
    half = normal_quantile(level) / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), None


def _listed(indices: Sequence[int]) -> str:
    """Return hidden indices in words: a range where they follow each other."""
    if len(indices) > 1 and list(indices) == list(range(indices[0], indices[-1] + 1)):
        return f"{indices[0]} to {indices[-1]}"
    return ", ".join(map(str, indices))
