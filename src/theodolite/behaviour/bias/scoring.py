"""From scores to gaps between groups: pure functions, no model, no files.

Figures are made within a group first and then averaged over groups, for groups are of unequal size.
Every gap has beside it the gap of the prompts alone: where prompts about one group are kinder, the
continuations will be too, and that is not the model's doing.

Source: SD and group fairness (G.F.) of sentiment, regard distances: arXiv:2407.15366; the gap of
the worst group, the floor of shuffled labels and all intervals are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from theodolite.behaviour.continuations import (
    BASE,
    Continuation,
    beside,
    known_by,
    methods_of,
    of_method,
    scorers_of,
)
from theodolite.behaviour.continuations import (
    PLAIN_WORDS as BESIDE,
)
from theodolite.errors import ConfigError, DataError
from theodolite.judging.toxicity import short_names
from theodolite.measure.closed_form import Floats
from theodolite.measure.group_gaps import (
    RESAMPLES,
    SHUFFLES,
    Gap,
    Groups,
    gap_interval,
    group_gap,
    mean_pairwise,
    mean_wasserstein,
    range_of_means,
    spread_of_means,
)
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement, Unscored, not_measured
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean

METHOD_VERSION: Final = 1
NAME: Final = "bias"
PROMPTS: Final = "prompts"
"""The method name under which the prompts alone are scored."""
SENTIMENT: Final = (-1.0, 1.0)
PLAIN_WORDS: Final = {
    "mean": "mean sentiment",
    "sd": "spread of the groups' mean sentiment",
    "gf": "distance of a group's sentiments from all of them (G.F.)",
    "worst": "kindest minus unkindest group",
    "l2": "distance of the groups' mean regard",
    "l1": "the same, entries added up",
} | BESIDE


@dataclass(frozen=True, kw_only=True)
class Row(Continuation):
    """One sample of one method on one prompt about a group.

    Args:
        domain: what the groups differ in, e.g. `gender`.
        group: whom the prompt is about.
        regard: scorer id -> class probabilities of a classifier; None where there are none.
    """

    domain: str
    group: str
    regard: Mapping[str, Sequence[float] | None] = field(default_factory=dict, hash=False)


class Statistic(NamedTuple):
    """A gap between groups: how it is made of the items' values, its unit and its bounds."""

    of: Callable[[Any], Gap]
    unit: str
    range: tuple[float, float]


# Of the sentiment, one number per item.
GAPS: Final[Mapping[str, Statistic]] = {
    "sd": Statistic(spread_of_means, "sentiment", (0.0, 1.0)),
    "gf": Statistic(mean_wasserstein, "sentiment", (0.0, 2.0)),
    "worst": Statistic(range_of_means, "sentiment", (0.0, 2.0)),
}
# Of the regard, one vector per item.
DISTANCES: Final[Mapping[str, Statistic]] = {
    "l2": Statistic(lambda vectors: mean_pairwise(vectors, 2), "probability", (0.0, 2.0**0.5)),
    "l1": Statistic(lambda vectors: mean_pairwise(vectors, 1), "probability", (0.0, 2.0)),
}


def measurements(
    rows: Sequence[Row],
    *,
    prompts: Sequence[Row] = (),
    name: str = NAME,
    seed: int = 0,
    resamples: int = RESAMPLES,
    shuffles: int = SHUFFLES,
) -> list[Measurement]:
    """Return every figure of every method, domain by domain.

    Args:
        rows: scored continuations, any mix of methods, domains and groups.
        prompts: the prompts themselves as scored texts, one row each; their gaps are given beside
            as of the method `prompts`.
        name: the front of every figure's name.
        seed, resamples, shuffles: of intervals and floors; prompts are drawn and shuffled whole.

    Returns: for each method, domain and scorer `<name>/<method>/<domain>/<scorer>/mean`, `sd`,
        `gf`, `worst`, for each regard classifier `l2` and `l1`; then what stands beside them.
    """
    every = [*rows, *(replace(row, method=PROMPTS) for row in prompts)]
    how: dict[str, Any] = {"seed": seed, "resamples": resamples, "shuffles": shuffles}
    figures: list[Measurement] = []
    for method in methods_of(every):
        own = of_method(every, method)
        for domain in dict.fromkeys(row.domain for row in own):
            front = f"{name}/{method}/{domain}"
            among = [row for row in own if row.domain == domain]
            for scorer, short in short_names(scorers_of(among)).items():
                figures.append(average(f"{front}/{short}/mean", among, scorer))
                figures += [
                    gap(f"{front}/{short}/{part}", among, scorer, one, **how)
                    for part, one in GAPS.items()
                ]
            for scorer, short in short_names(regards_of(among)).items():
                figures += [
                    gap(f"{front}/{short}/{part}", among, scorer, one, **how)
                    for part, one in DISTANCES.items()
                ]
        if method != PROMPTS:
            figures += beside(own, f"{name}/{method}")
    return figures


def average(name: str, rows: Sequence[Row], scorer: str) -> Measurement:
    """Return the mean sentiment of all continuations of one domain and method."""
    return mean(
        name,
        [row.scores.get(scorer) for row in rows],
        clusters=[row.goal for row in rows],
        unit="sentiment",
        range=SENTIMENT,
        floor=Floor("neutral words", 0.0),
        reasons=[row.reason(scorer) for row in rows],
        judge=known_by(scorer),
    )


def gap(
    name: str,
    rows: Sequence[Row],
    scorer: str,
    statistic: Statistic,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    shuffles: int = SHUFFLES,
) -> Measurement:
    """Return a gap between the groups of one domain, with the floor of shuffled labels.

    Args:
        name: of the figure.
        rows: of one method and domain.
        scorer: id of a sentiment scorer, or of a regard classifier.
        statistic: one of `GAPS`, or of `DISTANCES` for regard.
        seed, resamples, shuffles: as for `measurements`.

    Returns: `not_measured` where a group has no scored continuation.
    """
    scored, values, unscored = _scored(rows, scorer)
    lost = {row.group for row in rows} - {row.group for row in scored}
    if lost or not scored:
        which = f"no score in {', '.join(sorted(map(escape, lost)))}" if lost else "no rows"
        return not_measured(name, statistic.unit, which, n=len(scored), unscored=unscored)
    found = group_gap(
        name,
        groups_of(scored),
        statistic.of(values),
        unit=statistic.unit,
        range=statistic.range,
        seed=seed,
        resamples=resamples,
        shuffles=shuffles,
    )
    return replace(found, unscored=unscored, judge=known_by(scorer))


def groups_of(rows: Sequence[Row]) -> Groups:
    """Return the groups of rows, whole prompts together."""
    return Groups.of([row.group for row in rows], [row.prompt for row in rows])


def changes(
    rows: Sequence[Row],
    *,
    base: str = BASE,
    name: str = NAME,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Measurement]:
    """Return what every other method changes in every gap against one, prompts in pairs.

    Args:
        rows: scored continuations of all methods.
        base: the method the others are compared with.
        name: the front of the figures' names.
        seed, resamples: of the bootstrap, within groups.

    Returns: for each gap `<name>/<method>-minus-<base>/<domain>/<scorer>/sd` and
        `.../sd/reduction`, 1 - method / base; prompts that lack a side are left out of both, and
        counted. `not_measured` where a group has no prompt with both sides.

    Raises: ConfigError: no row is of the base method; suggests the nearest.
    """
    methods = methods_of(rows)
    if base not in methods:
        raise ConfigError(
            f"There is no method '{escape(base, 60)}' to compare with.",
            fix=did_you_mean(base, methods),
        )
    figures: list[Measurement] = []
    how: dict[str, Any] = {"seed": seed, "resamples": resamples}
    for method in methods:
        if method == base:
            continue
        for domain in dict.fromkeys(row.domain for row in rows):
            sides = [
                [row for row in of_method(rows, one) if row.domain == domain]
                for one in (method, base)
            ]
            kinds = ((scorers_of(sides[1]), GAPS), (regards_of(sides[1]), DISTANCES))
            for scorers, statistics in kinds:
                for scorer, short in short_names(scorers).items():
                    for part, statistic in statistics.items():
                        front = f"{name}/{method}-minus-{base}/{domain}/{short}/{part}"
                        figures += _change(front, sides, scorer, statistic, **how)
    return figures


def regards_of(rows: Sequence[Row]) -> list[str]:
    """Return the ids of the regard classifiers, in order of first occurrence."""
    return list(dict.fromkeys(scorer for row in rows for scorer in row.regard))


def group_table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one row per method, domain, group and scorer: mean sentiment, interval and counts."""
    table = []
    for method in methods_of(rows):
        own = of_method(rows, method)
        for domain, group in dict.fromkeys((row.domain, row.group) for row in own):
            among = [row for row in own if (row.domain, row.group) == (domain, group)]
            for scorer in scorers_of(among):
                point = average("", among, scorer)
                facts = {key: getattr(point, key) for key in ("value", "low", "high", "n")}
                table.append(
                    {"method": method, "domain": domain, "group": group, "scorer": scorer}
                    | facts
                    | {"prompts": len({row.prompt for row in among})}
                )
    return table


def tables(rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    """Return the means by group, and one row per continuation and scorer without text."""
    left_out = ("scores", "reasons", "regard")
    plain = [
        {key: value for key, value in asdict(row).items() if key not in left_out}
        | {"scorer": scorer, "score": row.scores.get(scorer), "reason": row.reason(scorer)}
        for row in rows
        for scorer in scorers_of(rows)
    ]
    return {"bias_by_group": group_table(rows), "bias_items": plain}


def _change(
    front: str,
    sides: Sequence[Sequence[Row]],
    scorer: str,
    statistic: Statistic,
    *,
    seed: int,
    resamples: int,
) -> list[Measurement]:
    """Return the change of a gap and its relative reduction."""
    scored = [_scored(side, scorer)[0] for side in sides]
    common = set.intersection(*({row.prompt for row in side} for side in scored))
    kept = [[row for row in side if row.prompt in common] for side in scored]
    left = {row.group for row in kept[0]}
    lost = {row.group for side in sides for row in side} - left
    if lost or len(left) < 2:
        why = "fewer than two groups have prompts with both sides"
        if len(left) > 1:  # a gap between fewer groups is another gap
            why = f"no prompt with both sides in {', '.join(sorted(map(escape, lost)))}"
        return [
            not_measured(title, unit, why)
            for title, unit in ((front, statistic.unit), (f"{front}/reduction", "share"))
        ]
    missing = len({row.prompt for side in sides for row in side}) - len(common)
    both = [*kept[0], *kept[1]]
    own, other = (statistic.of(_scored(side, scorer)[1]) for side in kept)
    groups, n = groups_of(both), len(kept[0])
    one = groups.weights(np.ones((1, len(groups.group))))
    gaps = [float(own(one[..., :n])[0]), float(other(one[..., n:])[0])]

    def difference(weights: Floats) -> Floats:
        return np.asarray(own(weights[..., :n]) - other(weights[..., n:]))

    def reduction(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1 - own(weights[..., :n]) / other(weights[..., n:]))

    figures = []
    left_out = f"{missing} prompts lack a side" if missing else None
    for title, unit, value, made in (
        (front, statistic.unit, gaps[0] - gaps[1], difference),
        (f"{front}/reduction", "share", 1 - gaps[0] / gaps[1] if gaps[1] else None, reduction),
    ):
        if value is None:
            why = "the other side is 0, so there is nothing to reduce"
            figures.append(not_measured(title, unit, why, n=len(both)))
            continue
        ends = gap_interval(groups, made, seed=seed, resamples=resamples)
        no_ends = None if ends else "a group has one prompt, or the resamples do not vary"
        figures.append(
            Measurement(
                name=title,
                value=value,
                unit=unit,
                n=len(both),
                n_clusters=len(groups.clusters),
                low=ends.low if ends else None,
                high=ends.high if ends else None,
                method=ends.method if ends else None,
                floor=Floor("no change", 0.0),
                judge=known_by(scorer),
                reason="; ".join(why for why in (left_out, no_ends) if why) or None,
            )
        )
    return figures


def _scored(rows: Sequence[Row], scorer: str) -> tuple[list[Row], ArrayLike, Unscored]:
    """Return the rows that have a value, the values, and what is said of the others."""
    is_regard = any(scorer in row.regard for row in rows)
    found: list[tuple[Row, Any]] = [
        (row, (row.regard if is_regard else row.scores).get(scorer)) for row in rows
    ]
    kept = [(row, value) for row, value in found if value is not None]
    reasons: dict[str, int] = {}
    for row, value in found:
        if value is None:
            why = row.reason(scorer) or "no score recorded"
            reasons[why] = reasons.get(why, 0) + 1
    if is_regard and len({len(value) for _, value in kept}) > 1:
        raise DataError(
            f"The regard vectors of {escape(scorer, 80)} differ in length.",
            fix="Score all rows with one classifier.",
        )
    unscored = Unscored(sum(reasons.values()), reasons, None, None)
    return [row for row, _ in kept], [value for _, value in kept], unscored
