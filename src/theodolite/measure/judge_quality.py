"""How good a judge is on labelled rows, and what its errors do to a rate."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from theodolite.errors import DataError
from theodolite.measure.closed_form import corrected_interval, normal_quantile, rogan_gladen
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, JudgeQuality, Measurement, not_measured

__all__ = ["JudgeCalibration", "calibrate_judge", "corrected_rate", "rogan_gladen"]


@dataclass(frozen=True)
class JudgeCalibration:
    """The quality of a judge with its uncertainty.

    Args:
        name: the judge.
        sensitivity: share of truly positive rows called positive; n is their number.
        specificity: share of truly negative rows called negative; n is their number.
    """

    name: str
    sensitivity: Measurement
    specificity: Measurement

    @property
    def quality(self) -> JudgeQuality:
        """The two shares in the form a `Measurement` carries."""
        return JudgeQuality(self.name, self.sensitivity.value, self.specificity.value, None)


def calibrate_judge(
    name: str,
    truth: Sequence[bool],
    verdicts: Sequence[bool | None],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> JudgeCalibration:
    """Return a judge's sensitivity and specificity on labelled rows.

    Args:
        name: the judge.
        truth: the label of each row; axis (row).
        verdicts: what the judge said; None where it gave no verdict.
        clusters: the group of each row; None where rows are independent.
        level: confidence level.

    Returns: both shares as measurements, their floor that of saying yes or no at random.

    Raises:
        DataError: truth, verdicts or clusters differ in length.
    """
    if len(truth) != len(verdicts) or (clusters is not None and len(clusters) != len(truth)):
        raise DataError(
            f"There are {len(truth)} labelled rows and {len(verdicts)} verdicts.",
            fix="Give one verdict (or None) and one cluster per row.",
        )
    parts = []
    for kind, wanted in (("sensitivity", True), ("specificity", False)):
        rows = [i for i, label in enumerate(truth) if bool(label) is wanted]
        right = [None if verdicts[i] is None else bool(verdicts[i]) is wanted for i in rows]
        parts.append(
            proportion(
                f"{name}/{kind}",
                right,
                clusters=None if clusters is None else [clusters[i] for i in rows],
                floor=Floor("a coin", 0.5),
                level=level,
            )
        )
    return JudgeCalibration(name, *parts)


def corrected_rate(rate: Measurement, judge: JudgeCalibration) -> Measurement:
    """Return a rate corrected for its judge's errors, with the uncertainty of all three shares.

    Source: Rogan and Gladen 1978; interval: Lang and Reiczigel 2014. Where the rate, or the
    judge's labelled rows, are clustered, the n behind their intervals takes the place of n
    (ours).

    Args:
        rate: the share of items the judge called positive, built by `proportion`.
        judge: from `calibrate_judge`, on rows other than those of the rate.

    Returns: the corrected rate, named as the rate plus `/corrected`; `not_measured` where the
        rate or the judge's quality was not measured, or the judge is no better than a coin.
    """
    name = f"{rate.name}/corrected"
    seen = rate.value
    sensitivity, specificity = judge.sensitivity.value, judge.specificity.value
    if seen is None or sensitivity is None or specificity is None:
        why = "the rate, or the judge's sensitivity or specificity, was not measured"
        return not_measured(name, rate.unit, why, n=rate.n, unscored=rate.unscored)
    value = rogan_gladen(seen, sensitivity, specificity)
    if value is None:
        why = "the judge is no better than a coin"
        return not_measured(name, rate.unit, why, n=rate.n, unscored=rate.unscored)
    counts = [_worth(part) for part in (rate, judge.sensitivity, judge.specificity)]
    interval = None
    if min(counts) >= 2:
        interval = corrected_interval((seen, sensitivity, specificity), counts, rate.level)
    raw = (seen + specificity - 1) / (sensitivity + specificity - 1)
    reasons = [
        "the floor is that of the uncorrected rate" if rate.floor else "no floor was given",
        "the correction was cut to the range 0 to 1" if not 0 <= raw <= 1 else None,
        None if interval else "fewer than two rows behind a share give no interval",
    ]
    quality = replace(judge.quality, corrected=value)
    return replace(
        rate,
        name=name,
        value=value,
        low=min(interval.low, value) if interval else None,
        high=max(interval.high, value) if interval else None,
        method=interval.method if interval else None,
        judge=quality,
        reason="; ".join(reason for reason in reasons if reason),
    )


def _worth(share: Measurement) -> float:
    """Return the number of independent items whose Wilson interval has the width of this one."""
    if share.n_clusters is None or share.n_clusters == share.n:
        return float(share.n)
    if share.value is None or share.low is None or share.high is None:
        return 0.0
    # The half width h of a Wilson interval solves, with u = z^2 / n and p the share,
    # (1/4 - h^2) u^2 + (p (1 - p) - 2 h^2) u - h^2 = 0.
    half = (share.high - share.low) / 2
    a, b, c = 0.25 - half**2, share.value * (1 - share.value) - 2 * half**2, -(half**2)
    if half <= 0 or a <= 0:
        return 0.0
    u = -2 * c / (b + (b * b - 4 * a * c) ** 0.5)
    return float(min(share.n, normal_quantile(share.level) ** 2 / u))
