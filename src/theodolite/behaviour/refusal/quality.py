"""How good the scorer is that stands behind a figure."""

from __future__ import annotations

from theodolite.measure.measurement import JudgeQuality


def offline_quality() -> JudgeQuality:
    """Return the offline scorer's sensitivity and specificity on human labels."""
    from theodolite.judging.refusal import scorer_quality

    measured = scorer_quality()
    return JudgeQuality(
        "offline refusal scorer",
        measured.get("sensitivity"),
        measured.get("specificity"),
        None,
    )
