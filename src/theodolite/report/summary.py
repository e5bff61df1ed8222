"""The sentences of the summary that follow from the measurements: what was asked, how sure."""

from __future__ import annotations

from collections.abc import Sequence

from theodolite.measure.measurement import Measurement
from theodolite.report.numbers import format_seconds
from theodolite.report.rows import ABOVE_FLOOR, BELOW_FLOOR, NEAR_FLOOR, floor_verdict


def asked_sentence(
    model: str, base: str | None, profile: str | None, questions: int, seconds: float
) -> str:
    """Return one sentence on what was put to which model, and how long it took."""
    against = f", beside its base {base}" if base else ""
    noun = "question was" if questions == 1 else "questions were"
    took = f" The work took {format_seconds(seconds)}." if seconds > 0 else ""
    how = f", with the {profile} profile" if profile else ""
    return f"{questions} {noun} put to {model}{against}{how}.{took}"


def sureness_sentences(measurements: Sequence[Measurement]) -> list[str]:
    """Return sentences on intervals, floors, unscored items and judges, each counted."""
    found = [m for m in measurements if m.value is not None]
    if not found:
        return ["Nothing was measured, so nothing can be said about how sure it is."]
    return [
        sentence
        for sentence in (
            _interval_sentence(found),
            _floor_sentence(found),
            _missing_sentence(measurements),
            _unscored_sentence(found),
            _judge_sentence(found),
        )
        if sentence
    ]


def _interval_sentence(found: Sequence[Measurement]) -> str:
    with_interval = [m for m in found if m.low is not None and m.high is not None]
    if not with_interval:
        return f"None of the {_figures(len(found))} carries an interval."
    levels = sorted({m.level for m in with_interval})
    level = " or ".join(f"{level * 100:g} %" for level in levels)
    fewest = min(with_interval, key=lambda m: m.n)
    return (
        f"{len(with_interval)} of {_figures(len(found))} {_have(len(with_interval))} an interval "
        f"({level}); the fewest items behind one are {fewest.n} ({fewest.name})."
    )


def _floor_sentence(found: Sequence[Measurement]) -> str:
    floored = [m for m in found if m.floor is not None]
    if not floored:
        return "No figure has a floor to compare with."
    near = [m for m in floored if floor_verdict(m) == NEAR_FLOOR]
    clear = [m for m in floored if floor_verdict(m) in (ABOVE_FLOOR, BELOW_FLOOR)]
    text = (
        f"{len(clear)} of the {len(floored)} figures with a floor differ from it by more than "
        "their interval"
    )
    if not near:
        return text + "."
    names = ", ".join(m.name for m in near[:3]) + (" and others" if len(near) > 3 else "")
    return f"{text}; {len(near)} cannot be told from it ({names})."


def _missing_sentence(measurements: Sequence[Measurement]) -> str:
    absent = sum(m.status == "not_measured" for m in measurements)
    partial = sum(m.status == "incomplete" for m in measurements)
    parts = []
    if absent:
        parts.append(f"{_figures(absent)} {'was' if absent == 1 else 'were'} not measured")
    if partial:
        parts.append(f"{_figures(partial)} {'is' if partial == 1 else 'are'} incomplete")
    return f"{' and '.join(parts)}; the reasons stand beside them." if parts else ""


def _unscored_sentence(found: Sequence[Measurement]) -> str:
    count = sum(m.unscored.count for m in found)
    if not count:
        return "Every item was scored."
    noun = "verdict is" if count == 1 else "verdicts are"
    return f"{count} {noun} missing over all figures; the bounds they imply are shown."


def _judge_sentence(found: Sequence[Measurement]) -> str:
    judged = [m.judge for m in found if m.judge is not None]
    if not judged:
        return ""
    names = sorted({judge.name for judge in judged})
    unknown = sum(judge.sensitivity is None and judge.specificity is None for judge in judged)
    text = f"{_figures(len(judged))} rest on a judge ({', '.join(names)})"
    if unknown:
        return f"{text}; for {unknown} of them its quality was not measured."
    return f"{text} whose errors were measured on labelled rows."


def _figures(count: int) -> str:
    return "1 figure" if count == 1 else f"{count} figures"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"
