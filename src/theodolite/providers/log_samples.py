"""The samples of an inspect log, in the order in which they were asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample


def samples_of(log: EvalLog) -> list[EvalSample]:
    """Return the samples of a log in the order of the requests; inspect sorts them by id."""
    place = {name: i for i, name in enumerate(log.eval.dataset.sample_ids or ())}
    return sorted(log.samples or (), key=lambda sample: (sample.epoch, place[sample.id]))
