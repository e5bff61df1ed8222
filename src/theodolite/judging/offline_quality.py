"""How good the scorer is that stands behind a figure."""

from __future__ import annotations

from collections.abc import Sequence

from theodolite.measure.measurement import JudgeQuality


def offline_quality(requests: Sequence[str | None] = ()) -> JudgeQuality:
    """Return the offline scorer's sensitivity and specificity on human labels.

    Args:
        requests: what was asked, where the scorer may know it (answers made elsewhere): on
            official XSTest prompts its quality is another.
    """
    from theodolite.judging.refusal import scorer_quality
    from theodolite.judging.refusal_fold import known_harm

    known = sum(text is not None and known_harm(text) is not None for text in requests)
    measured = scorer_quality(requests_known=known > len(requests) / 2)
    return JudgeQuality(
        "offline refusal scorer", measured["sensitivity"], measured["specificity"], None
    )
