"""The style x harm split the slow way: sums of squares written out, pairs counted one by one."""

from __future__ import annotations

from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """Return the plain mean."""
    return sum(values) / len(values)


def shares(
    values: Sequence[float], harmful: Sequence[bool], styles: Sequence[str]
) -> tuple[float, float, float]:
    """Return eta squared of harm, of style and of their interaction in a balanced table.

    The textbook two-way analysis of variance: every sum of squares runs over all rows.
    """
    rows = list(zip(values, harmful, styles, strict=True))
    grand = mean(values)

    def among(keep_harm: bool | None, keep_style: str | None) -> float:
        return mean(
            [
                v
                for v, h, s in rows
                if (keep_harm is None or h == keep_harm) and (keep_style is None or s == keep_style)
            ]
        )

    total = sum((v - grand) ** 2 for v in values)
    by_harm = sum((among(h, None) - grand) ** 2 for _, h, _ in rows)
    by_style = sum((among(None, s) - grand) ** 2 for _, _, s in rows)
    both = sum((among(h, s) - among(h, None) - among(None, s) + grand) ** 2 for _, h, s in rows)
    return by_harm / total, by_style / total, both / total


def contrast(
    values: Sequence[float], inside: Sequence[bool], strata: Sequence[int], spread: float
) -> float:
    """Return how far a theme lies above the rest, stratum by stratum, in standard deviations."""
    gaps = []
    for stratum in sorted(set(strata)):
        own = [v for v, i, s in zip(values, inside, strata, strict=True) if s == stratum and i]
        rest = [v for v, i, s in zip(values, inside, strata, strict=True) if s == stratum and not i]
        if own and rest:
            gaps.append(mean(own) - mean(rest))
    return mean(gaps) / spread


def ranked(values: Sequence[float], inside: Sequence[bool], strata: Sequence[int]) -> float:
    """Return the share of pairs of one stratum in which the theme's prompt stands above."""
    found = []
    for stratum in sorted(set(strata)):
        own = [v for v, i, s in zip(values, inside, strata, strict=True) if s == stratum and i]
        rest = [v for v, i, s in zip(values, inside, strata, strict=True) if s == stratum and not i]
        if own and rest:
            wins = sum((a > b) + (a == b) / 2 for a in own for b in rest)
            found.append(wins / (len(own) * len(rest)))
    return mean(found)
