"""`theodolite explain verdict`: was a failed refusal not recognised, or not converted?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import HARMFUL, Prompt, PromptSet, shown
from theodolite.data.styles import PLAIN, STYLES_VERSION, style_names, styled
from theodolite.errors import ConfigError
from theodolite.mechanism.detector.file import LINEAR_PROBES
from theodolite.mechanism.lens.explain import check_alone, check_tokens, token_classes
from theodolite.mechanism.reader import Reader
from theodolite.mechanism.requests import TEST, TRAIN, Requests
from theodolite.mechanism.verdict.decide import (
    METHOD_VERSION,
    Confirmation,
    causal_confirmation,
    refusal_direction,
    sample_not_converted,
    verdict_findings,
)
from theodolite.mechanism.verdict.outcomes import MAX_NEW_TOKENS, outcomes
from theodolite.mechanism.verdict.recognition import READ_AT, Recognition, recognise
from theodolite.models.positions import check_position
from theodolite.runs.panel import PanelResult, Sample, extended
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = METHOD_VERSION
TITLE: Final = "Recognised, converted, refused"
QUESTION: Final = (
    "Was a failed refusal not recognised, or recognised but not converted into a refusal?"
)


@dataclass(frozen=True)
class Options:
    """What `theodolite explain verdict` can be asked (`-T key=value`).

    Args:
        styles: wrappers: `benchmark`, `pressure`, `held_out`, `all`, or names joined by commas.
        per_style: so many requests wear each style, twins together; None is all test requests.
        position, probe: of the harm detector.
        tokens: as for `explain lens`.
        max_tokens: length of an answer.
        confirm: recognised but not converted requests that are answered again with the refusal
            direction added; 0 leaves this out.
        export: a folder for the detector.
    """

    styles: str = "benchmark"
    per_style: int | None = None
    position: str = "instruction_last"
    probe: str = "logistic"
    tokens: str = "en"
    max_tokens: int = MAX_NEW_TOKENS
    confirm: int = 0
    export: str | None = None


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError or DataError: an unknown style, position, probe or token list, a count, or a
        base model, which nothing would be compared with.
    """
    style_names(options.styles)
    check_position(options.position)
    check_tokens(options.tokens)
    check_alone(request)
    if options.probe not in LINEAR_PROBES:
        raise ConfigError(
            f"A detector cannot be made of the probe {shown(options.probe)}.",
            fix=did_you_mean(options.probe, LINEAR_PROBES),
        )
    if options.max_tokens < 1 or options.confirm < 0 or (options.per_style or 2) < 2:
        raise ConfigError(
            "task.max_tokens must be at least 1, task.per_style at least 2 and task.confirm at "
            "least 0.",
            fix="Change that option.",
        )


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Fit on the train requests, judge the test requests bare and wrapped, say why they fail."""
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    places = tuple(dict.fromkeys((options.position, READ_AT)))
    read = Reader(subject.model, places, subject.template, **kept)
    requests = subject.requests
    found = judge(read, requests, options, seed=seed)
    result = report(found, requests.source)
    if options.confirm:
        result = with_confirmation(result, _confirm(subject, found, options, seed, kept))
    if options.export is not None:
        found.detector.save(Path(options.export))
        exported = f"The detector was written to {options.export}."
        result = extended(result, findings=[exported])
    return result


def judge(
    read: Reader,
    requests: Requests,
    options: Options,
    *,
    known: Mapping[str, str | None] | None = None,
    seed: int,
) -> Recognition:
    """Fit on the train requests and judge the test requests; `known` as for `recognise`."""
    return recognise(
        read,
        requests.part(TRAIN),
        requests.part(TEST),
        wrapped_requests(requests, options, seed),
        tokens=token_classes(read.model, options.tokens, *requests.part(TRAIN)),
        position=options.position,
        probe=options.probe,
        known=known,
        max_new_tokens=options.max_tokens,
        seed=seed,
    )


def wrapped_requests(requests: Requests, options: Options, seed: int) -> list[Prompt]:
    """Return the test requests in styles: the user's own, or the listed ones around test goals."""
    if requests.wrapped:
        return list(requests.wrapped)
    harmful, benign = requests.part(TEST)
    chosen = in_pairs([*harmful, *benign], seed)[: options.per_style]
    names = [name for name in style_names(options.styles) if name != PLAIN]
    if not names:
        return []
    return [p for name in names for p in styled(PromptSet("test", tuple(chosen)), [name])]


def _confirm(
    subject: Subject, found: Recognition, options: Options, seed: int, kept: dict[str, Any]
) -> Confirmation | str:
    """Return the confirmation, or why there is none."""
    failed = sample_not_converted(found.result, found.asked, limit=options.confirm, seed=seed)
    if not failed:
        return "no request was recognised, not converted and answered"
    told = outcomes(
        subject.model,
        found.items.prompts,
        max_new_tokens=options.max_tokens,
        template=subject.template,
        **kept,
    )
    if {"refused", "complied"} - {told[i].label for i in found.items.ids}:
        return "the train requests were all refused or all answered, so there is no direction"
    index = found.curve.read_index
    # The last index is the output itself: a vector added there would write the first word.
    index = min(index, subject.model.anatomy.n_layers - 1)
    direction = refusal_direction(found.states, told, hidden_index=index, position=READ_AT)
    groups = {case.id: case.group for case in found.result.cases}
    return causal_confirmation(
        subject.model,
        failed,
        direction,
        hidden_index=index,
        groups=groups,
        max_new_tokens=options.max_tokens,
        template=subject.template,
        seed=seed,
        **kept,
    )


def report(found: Recognition, source: str) -> PanelResult:
    """Return the verdict in measurements, tables, a figure and words."""
    result, curve = found.result, found.curve
    gain = [] if result.gain is None else [result.gain]
    conversion = replace(curve.measurements()[0], name="verdict/conversion")
    return PanelResult(
        measurements=[*result.measurements(), *gain, conversion, *found.detector.measurements()],
        tables={
            "verdict": result.table(),
            "verdict_by_style": by_style(result.table()),
            "verdict_cases": result.frame(),
            "verdict_outcomes": result.outcomes(),
        },
        figures=[replace(result.figure(), table="verdict_by_style", show_table=True)],
        samples=samples(found),
        findings=verdict_findings(result),
        limits=LIMITS,
        how=[
            f"{len(found.items)} train requests ({source}) fit the detector and the conversion "
            f"index; {len(found.asked)} requests of other goals were judged. Styles: version "
            f"{STYLES_VERSION}; benign twins wear the same styles.",
            f"Recognised: the detector at hidden_index {found.detector.hidden_index}, "
            f"{found.detector.position}, gives {found.detector.threshold:.2f} or more.",
            f"Converted: {result.design.rule}.",
            f"Outcome: greedy answers, by the {result.design.judge}.",
        ],
        labels=labels(),
    )


LIMITS: Final = (
    "Recognised means that a probe can read harm where it was trained to; it does not show that "
    "the model uses it.",
    "Wrapped requests are out of the detector's distribution: read its rate on benign requests in "
    "the same wrapper first.",
)


def labels() -> dict[str, str]:
    """Return plain words for the headline measurements."""
    return {
        "verdict/not_recognised": "failed refusals that were not recognised",
        "verdict/recognised_not_converted": "failed refusals recognised but not converted",
        "verdict/overridden": "failed refusals converted, overridden later",
        "verdict/detector_over_words": "detector minus the words alone",
        "verdict/conversion": "layer from which harmful requests lean to refusing words",
    }


def samples(found: Recognition) -> list[Sample]:
    """Return the judged prompts with their answers, where these were written here."""
    cases = {case.id: case for case in found.result.cases}
    return [
        Sample(
            id=prompt.id,
            label=cases[prompt.id].label,
            harmful=prompt.label == HARMFUL,
            prompt=prompt.request,
            completion=answer.completion,
            meta={"style": cases[prompt.id].style, "P(harmful)": cases[prompt.id].probability},
        )
        for prompt in found.asked
        if (answer := found.answers[prompt.id]).completion is not None
    ]


def with_confirmation(result: PanelResult, confirmed: Confirmation | str) -> PanelResult:
    """Add what putting the direction back in did, or why it was not tried."""
    if isinstance(confirmed, str):
        return extended(result, how=[f"Not confirmed by intervention: {confirmed}."])
    return extended(
        result,
        measurements=confirmed.measurements(),
        tables={"verdict_confirmation": confirmed.frame()},
        findings=[confirmed.finding()],
    )


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the table by style and class, for the terminal."""
    return by_style(result.tables["verdict"])


def by_style(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the verdict's table as people read it: one cell per share and interval."""
    shares = {
        "complied": "complied",
        "recognised": "recognised",
        "converted": "converted",
        "recognised_not_converted": "recognised, not converted",
        "auroc": "AUROC",
    }
    return [
        {
            "style": row["style"],
            "class": row["class"],
            "n": row["n"],
            **{words: _share(row, name) for name, words in shares.items()},
        }
        for row in table
    ]


def _share(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "n/a"
    interval = "" if low is None or high is None else f" [{_short(low)},{_short(high)}]"
    return f"{_short(value)}{interval}"


def _short(share: float) -> str:
    """Return two decimals without a leading zero."""
    return f"{share:.2f}".removeprefix("0") if share < 1 else "1.0"
