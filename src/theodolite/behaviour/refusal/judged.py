"""How good a model is at judging refusals, on rows that people labelled.

It runs before anything else is asked, so a judge that is down or fails its canaries stops the work
at once, with nothing scored low.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from theodolite.judging.judged_answers import open_judge, run
from theodolite.measure.measurement import JudgeQuality


def judge_quality(judge: Any, *, seed: int = 0) -> JudgeQuality:
    """Return a judge's sensitivity and specificity on rows that people labelled.

    Args:
        judge: an inspect model or its name.
        seed: of the sample of labelled rows and of the fences.

    Raises:
        JudgeError: the judge cannot be opened or reached, or got a canary wrong.
    """
    from theodolite.judging.calibration import calibrate_refusal_judge, calibration_rows

    source, rows = calibration_rows(seed=seed)
    opened = open_judge(judge, seed=seed)
    measured = run(partial(calibrate_refusal_judge, opened, rows, source=source)).quality
    return JudgeQuality(opened.name, measured.sensitivity.value, measured.specificity.value, None)
