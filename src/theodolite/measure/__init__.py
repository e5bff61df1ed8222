"""Figures that can be trusted: values with floor, n, interval and everything left unscored."""

from theodolite.measure.agreement import Confusion, agreement, cohen_kappa, confusion
from theodolite.measure.bands import resplit_interval, simultaneous_band, simultaneous_critical
from theodolite.measure.display import format_line, format_value
from theodolite.measure.floors import always, chance, majority_class, matched_guessing
from theodolite.measure.intervals import cluster_bootstrap, mean, proportion, resampled, wilson
from theodolite.measure.judge_quality import (
    JudgeCalibration,
    calibrate_judge,
    corrected_rate,
    rogan_gladen,
)
from theodolite.measure.krippendorff import krippendorff_alpha
from theodolite.measure.measurement import (
    Floor,
    Interval,
    JudgeQuality,
    Measurement,
    Unscored,
    not_measured,
)
from theodolite.measure.multiple import benjamini_hochberg, holm
from theodolite.measure.paired import PairedTest, mcnemar, paired_difference, paired_test
from theodolite.measure.power import detectable_difference, n_for_difference
from theodolite.measure.records import as_records, from_records

__all__ = [
    "Confusion",
    "Floor",
    "Interval",
    "JudgeCalibration",
    "JudgeQuality",
    "Measurement",
    "PairedTest",
    "Unscored",
    "agreement",
    "always",
    "as_records",
    "benjamini_hochberg",
    "calibrate_judge",
    "chance",
    "cluster_bootstrap",
    "cohen_kappa",
    "confusion",
    "corrected_rate",
    "detectable_difference",
    "format_line",
    "format_value",
    "from_records",
    "holm",
    "krippendorff_alpha",
    "majority_class",
    "matched_guessing",
    "mcnemar",
    "mean",
    "n_for_difference",
    "not_measured",
    "paired_difference",
    "paired_test",
    "proportion",
    "resampled",
    "resplit_interval",
    "rogan_gladen",
    "simultaneous_band",
    "simultaneous_critical",
    "wilson",
]
