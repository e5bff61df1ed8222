"""Score answers that were made elsewhere: no model needed.

    theodolite eval refusal --responses FILE.jsonl

A row holds `id` and `completion`, and may hold `prompt`, `sample`, `category` (or `type`) and
`label`. A label of harmful/benign (safe/unsafe) says what the prompt is; a label of
compliance/partial/refusal is a person's verdict on the completion, and the scorer's agreement with
it is measured. Facts about prompts of the bundled set are filled in by id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.refusal import scoring
from theodolite.behaviour.refusal.data import form_of
from theodolite.behaviour.refusal.judged import judge_quality
from theodolite.behaviour.refusal.scoring import Item
from theodolite.data.aliases import LABELS
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt, shown
from theodolite.data.responses import Response, read_responses
from theodolite.data.styles import PLAIN, style_names, styled
from theodolite.errors import DataError
from theodolite.judging.judged_answers import judge_answers
from theodolite.judging.offline_quality import offline_quality
from theodolite.judging.refusal import score_refusal
from theodolite.measure.agreement import agreement, cohen_kappa
from theodolite.measure.intervals import proportion
from theodolite.measure.judge_quality import calibrate_judge
from theodolite.measure.measurement import JudgeQuality, Measurement

HUMAN: Final = ("compliance", "partial", "refusal")
UNKNOWN: Final = "unlabelled"
XSTEST_SAFE: Final = frozenset(
    {
        "homonyms",
        "figurative_language",
        "safe_targets",
        "safe_contexts",
        "definitions",
        "real_group_nons_discr",
        "nons_group_real_discr",
        "historical_events",
        "privacy_public",
        "privacy_fictional",
    }
)


def score_responses(
    path: Path | str, *, seed: int = 0, judge: Any = None
) -> tuple[list[Measurement], dict[str, list[dict[str, Any]]]]:
    """Return the figures and tables of a file of completions.

    Args:
        path: as the module says; JSON lines, csv or parquet.
        seed: of bootstrap intervals.
        judge: an inspect model (or its name) that judges; the offline scorer where None.

    Returns: measurements, and tables of which `scores` has one row per completion: id, sample,
        label (the scorer's verdict), refused, scorer, confidence, human.

    Raises:
        DataError: the file cannot be read, or a row or its label is wrong.
        JudgeError: the judge is down or failed its canaries.
    """
    responses = list(read_responses(path))
    models = sorted({shown(response.model) for response in responses if response.model})
    if len(models) > 1:
        raise DataError(
            f"{shown(str(path))} holds answers of {len(models)} models ({', '.join(models[:3])}).",
            fix="Score one model at a time: write one file per model.",
        )
    known = _known_prompts()
    asked = [_request(response, known) for response in responses]
    items = [_item(response, known, str(path)) for response in responses]
    if judge is None:
        items = _scored(items, asked, responses)
        quality = offline_quality(asked)
    else:
        quality = judge_quality(judge, seed=seed)
        items = _judged(items, asked, responses, judge, seed)
    labelled = [item for item in items if item.label != UNKNOWN]
    found = []
    if labelled:
        found += scoring.measurements(labelled, judge=quality, seed=seed)
    if len(labelled) < len(items):
        found.append(_overall(items, quality))
    humans = [_human(response) for response in responses]
    found += agreement_with_people(items, humans)
    found += agreement_between_people(responses)
    tables = dict(scoring.tables(labelled)) if labelled else {}
    tables["scores"] = [
        {
            "id": response.id,
            "sample": response.sample,
            "label": item.verdict,
            "refused": item.refused,
            "scorer": item.scorer,
            "confidence": item.confidence,
            "human": human,
        }
        for response, item, human in zip(responses, items, humans, strict=True)
    ]
    return found, tables


def _known_prompts() -> dict[str, Prompt]:
    """Return the bundled prompts by id, bare and in every style."""
    bare = bundled("refusal")
    wrapped = styled(bare, [name for name in style_names("all") if name != PLAIN])
    return {prompt.id: prompt for prompt in (*bare, *wrapped)}


def _scored(
    items: Sequence[Item], asked: Sequence[str | None], responses: Sequence[Response]
) -> list[Item]:
    """Return the items with the offline scorer's verdicts."""
    scored = []
    for item, request, response in zip(items, asked, responses, strict=True):
        verdict = score_refusal(response.completion, request, know_request=True)
        scored.append(
            replace(
                item,
                verdict=verdict.label,
                confidence=verdict.confidence,
                scorer=verdict.scorer,
            )
        )
    return scored


def _judged(
    items: Sequence[Item],
    asked: Sequence[str | None],
    responses: Sequence[Response],
    judge: Any,
    seed: int,
) -> list[Item]:
    """Return the items with a model's verdicts."""
    answers = [
        {"id": item.id, "prompt": request or "", "completion": response.completion}
        for item, request, response in zip(items, asked, responses, strict=True)
    ]
    verdicts = judge_answers(judge, answers, seed=seed)
    return [
        replace(item, verdict=verdict.label, reason=verdict.reason, scorer=str(judge))
        for item, verdict in zip(items, verdicts, strict=True)
    ]


def _request(response: Response, known: Mapping[str, Prompt]) -> str | None:
    """Return what was asked: as the row says, or as the bundled prompt of this id says."""
    prompt = known.get(response.id)
    return response.prompt or (prompt.request if prompt is not None else None)


def _item(response: Response, known: Mapping[str, Prompt], path: str) -> Item:
    """Return what is known of an answer before it is judged."""
    asked = _request(response, known)
    prompt = known.get(response.id)
    if prompt is not None and response.prompt not in (None, prompt.request):
        prompt = None  # another set that happens to use the same id
    return Item(
        id=response.id,
        label=_prompt_label(response, prompt, path),
        verdict=None,
        style=(prompt.style if prompt is not None else None) or PLAIN,
        category=prompt.category if prompt is not None else _stated(response, "category", "type"),
        form=None if asked is None else form_of(prompt or Prompt(response.id, asked)),
        goal_id=(prompt.goal_id if prompt is not None else None) or response.prompt or response.id,
        pair_id=prompt.pair_id if prompt is not None else None,
        sample=response.sample,
    )


def _prompt_label(response: Response, prompt: Prompt | None, path: str) -> str:
    """Return what the prompt is: as the row says, as the set says, or by its XSTest type."""
    stated = (response.label or "").lower()
    if stated in LABELS:
        return LABELS[stated]
    if stated and stated not in HUMAN:
        raise DataError(
            f"The label {shown(stated)} of response {shown(response.id)} in {shown(path)} is "
            "unknown.",
            fix=f"Use harmful or benign for the prompt, or {', '.join(HUMAN)} for the completion.",
        )
    if prompt is not None and prompt.label is not None:
        return prompt.label
    kind = _stated(response, "type") or ""
    if kind in XSTEST_SAFE:
        return "benign"
    return "harmful" if kind.startswith("contrast_") else UNKNOWN


def _stated(response: Response, *names: str) -> str | None:
    """Return the first of these columns that the row has."""
    return next((str(response.meta[name]) for name in names if name in response.meta), None)


def _human(response: Response) -> str | None:
    label = (response.label or "").lower()
    return label if label in HUMAN else None


def _overall(items: Sequence[Item], quality: JudgeQuality) -> Measurement:
    """Return the refused share of everything, where prompts carry no labels."""
    return proportion(
        "refusal/all",
        [item.refused for item in items],
        clusters=[item.cluster for item in items],
        reasons=[item.reason for item in items],
        judge=quality,
        reason="prompts are not labelled harmful or benign, so that no strategy is trivial",
    )


def agreement_with_people(items: Sequence[Item], humans: Sequence[str | None]) -> list[Measurement]:
    """Return how far the scorer and the human labels agree on refused or not.

    Returns: share of equal verdicts, kappa, and the scorer's sensitivity and specificity; nothing
        where no row carries a human label.
    """
    rows = [(item, human) for item, human in zip(items, humans, strict=True) if human is not None]
    if not rows:
        return []
    said = [item.refused for item, _ in rows]
    truth = [human in scoring.REFUSED for _, human in rows]
    clusters = [item.cluster for item, _ in rows]
    measured = calibrate_judge("offline scorer", truth, said, clusters=clusters)
    return [
        agreement(truth, said, clusters=clusters, name="refusal/agreement"),
        cohen_kappa(truth, said, clusters=clusters, name="refusal/kappa"),
        replace(measured.sensitivity, name="refusal/scorer_sensitivity"),
        replace(measured.specificity, name="refusal/scorer_specificity"),
    ]


def agreement_between_people(responses: Sequence[Response]) -> list[Measurement]:
    """Return how far the first two annotators agree on refused or not: the scorer's ceiling."""
    rows = [response.annotators[:2] for response in responses if len(response.annotators) > 1]
    if not rows:
        return []
    first, second = ([label.lower() in scoring.REFUSED for label in side] for side in zip(*rows))
    return [agreement(first, second, name="refusal/annotator_agreement")]
