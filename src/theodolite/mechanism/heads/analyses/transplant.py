"""`theodolite explain heads transplant`: is a model's refusing in its attention, or in its MLPs?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from theodolite.errors import ConfigError
from theodolite.judging.keywords import keyword_judge
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.heads.analyses import asr
from theodolite.mechanism.heads.analyses.options import (
    AnswerOptions,
    ask_canaries,
    at_least,
    check_judging,
    made_with,
    no_benign,
    one_of,
)
from theodolite.mechanism.heads.analyses.words import (
    NOT_SHOWN,
    direction_of,
    in_points,
    many,
    share_in_words,
)
from theodolite.mechanism.heads.asr import DECODING
from theodolite.mechanism.heads.asr_result import AsrResult
from theodolite.mechanism.heads.frames import OPENER, resolve_frame
from theodolite.mechanism.heads.transplant import PARTS, transplant_asr
from theodolite.runs.panel import PanelResult
from theodolite.text.lists import names_in

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = asr.VERSION
TITLE: Final = "The base model's attention in the aligned model"
QUESTION: Final = (
    "Does the aligned model answer harmful requests once its attention, or its MLPs, are those of "
    "the model it was tuned from?"
)


@dataclass(frozen=True)
class Options(AnswerOptions):
    """What `theodolite explain heads transplant` can be asked (`-T key=value`).

    Args:
        parts: attention, mlp, or both.
    """

    parts: str = ",".join(PARTS)


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used, and a missing base.

    Raises: ConfigError: naming the option.
    """
    if request.base is None:
        raise ConfigError(
            "--base is missing: whose weights are lent?",
            fix="Name the model that this one was tuned from.",
        )
    for part in names_in(options.parts) or ("",):
        one_of("parts", part, PARTS)
    one_of("decoding", options.decoding, tuple(DECODING))
    at_least(1, max_tokens=options.max_tokens)
    at_least(0, opinions=options.opinions)
    no_benign(request)
    check_judging(options.keywords, options.judge, request.seed)


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Ask the aligned model, its base, and the aligned model with parts of the base."""
    model, prompts = subject.model, subject.requests.harmful
    if subject.base is None:
        raise ConfigError("--base is missing.", fix="Name the model that this one was tuned from.")
    ask_canaries(options.judge, seed)
    result = transplant_asr(
        model,
        subject.base,
        prompts,
        parts=names_in(options.parts),
        template=subject.template,
        opener=OPENER if options.opener else "",
        decoding=options.decoding,
        max_new_tokens=options.max_tokens,
        judge=keyword_judge(options.keywords),
        opinions=options.opinions,
        judge_model=options.judge,
        journal=run.journal,
        progress=progress,
        seed=seed,
    )
    frame = resolve_frame(model, subject.template)
    how = [
        made_with(subject, frame, len(prompts)),
        f"{options.decoding} answers of up to {options.max_tokens} tokens; the base, "
        f"{subject.base.name}, reads the very same tokens.",
    ]
    return report(result, how)


def report(result: AsrResult, how: list[str]) -> PanelResult:
    """Return the rates as for heads, with what they mean here."""
    told = asr.report(result, how)
    caption = (
        f"{many(len(result.prompt_ids), 'request')}, judged by refusing keywords; 95 % intervals. "
        "Parts of the base stand in the aligned model, all else is its own."
    )
    return replace(
        told,
        figures=[replace(figure, caption=caption) for figure in told.figures],
        findings=findings(result),
        limits=(*LIMITS, told.limits[0]),
        labels=labels(told.measurements),
    )


def labels(found: Sequence[Measurement]) -> dict[str, str]:
    """Return plain words for what each model answers, and how that differs from the aligned one."""
    named = {}
    for one in found:
        model, _, last = one.name.removeprefix("heads/asr/").rpartition("/")
        if last == "change":
            named[one.name] = f"change in requests answered, {_who(model)}"
        elif not model:
            named[one.name] = f"harmful requests answered, {_who(last)}"
    judges = {name: words for name, words in asr.labels(found).items() if "keyword_vs" in name}
    return named | judges


def _who(name: str) -> str:
    return name.replace("-", " ") if name.startswith("base-") else f"{name} model"


LIMITS: Final = (
    "Parts of two models were never trained to work together: broken answers may follow from that "
    "alone. Read how many answers repeat themselves or are too short, and the second judge.",
    "Weights are lent inside this measurement only; nothing of it is kept.",
)


def findings(result: AsrResult) -> list[str]:
    """Say what each part of the base does, in the order of the table."""
    said = [
        f"The aligned model answers {share_in_words(result.rate('aligned'))} of the harmful "
        "requests."
    ]
    rows = {row["condition"]: row for row in result.frame()}
    for name in result.groups:
        row = rows[name]
        who = "Its base" if name == "base" else f"With the base's {name.removeprefix('base-')} it"
        more = "" if row["change"] is None else f"{in_points(row['change'])}, "
        more += f"p = {row['p_holm']:.2g}"
        if direction_of(row) == NOT_SHOWN:
            more += ": not shown to differ"
        said.append(f"{who} answers {share_in_words(result.rate(name))} ({more}).")
    return said


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the rates by condition, for the terminal."""
    return [
        {key: cell for key, cell in row.items() if key != "heads"} for row in asr.summary(result)
    ]
