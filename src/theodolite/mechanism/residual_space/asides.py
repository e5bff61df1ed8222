"""What stands beside a study: causes token by token, flow, interventions, other estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.data.styles import PLAIN
from theodolite.errors import CapabilityError, DataError
from theodolite.mechanism.directions.comparison import compare_estimators
from theodolite.mechanism.directions.contrast import Contrast
from theodolite.mechanism.lens.explain import token_classes
from theodolite.mechanism.relevance import Relevance, relevance
from theodolite.mechanism.relevance.adjacent import adjacent_table
from theodolite.mechanism.relevance.earlier import trace_earlier
from theodolite.mechanism.relevance.report import (
    carried_figure,
    kept_rows,
    leading_words,
    token_maps,
    word_rows,
    word_tables,
    words_figure,
)
from theodolite.mechanism.requests import TEST, TRAIN
from theodolite.mechanism.residual_space.figures import (
    estimator_figure,
    flow_figure,
    intervention_figure,
)
from theodolite.mechanism.residual_space.study import Study
from theodolite.mechanism.steering.edits import Edit
from theodolite.mechanism.steering.sweep import steer_sweep
from theodolite.runs.progress import SilentProgress

if TYPE_CHECKING:
    from theodolite.measure.measurement import Measurement
    from theodolite.mechanism.directions.direction import Direction
    from theodolite.mechanism.residual_space.style_cells import Floats
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Figure, TokenMap

ESTIMATORS: Final = ("difference_in_means", "logistic", "lda", "leace", "shift_svd")
RANDOM_EDITS: Final = 20
SUBSTITUTE: Final = "integrated_gradients"
FLOW_COMPONENTS: Final = 5
MAPS: Final = 60


def some_test_prompts(study: Study, pairs: int, *, bare: bool = False) -> list[Prompt]:
    """Return test prompts of some goals in every style, or as bare requests.

    Where none is bare, the first style stands for the bare ones.
    """
    test = study.paired.part(TEST).prompts
    styles = [p.style or PLAIN for p in test]
    alone = PLAIN if PLAIN in styles else styles[0]
    first = [p for p, style in zip(test, styles, strict=True) if style == alone]
    kept = {
        prompt.goal_id or prompt.id
        for label in (HARMFUL, BENIGN)
        for prompt in in_pairs(p for p in first if p.label == label)[:pairs]
    }
    return [p for p in (first if bare else test) if (p.goal_id or p.id) in kept]


def causes(
    study: Study, model: LanguageModel, pairs: int, *, seed: int, **kept: Any
) -> dict[str, Any]:
    """Return which tokens drive the followed directions, as entries of a panel's result.

    Args:
        pairs: test goals of either class, in every style.
        kept: journal, progress and template, as for `relevance`.
    """
    prompts = some_test_prompts(study, pairs)
    if not study.followed or not prompts:
        return {}
    try:
        found, instead = _traced(model, prompts, study.followed, seed=seed, **kept)
    except CapabilityError as error:
        return {"limits": [f"No relevance of tokens: {error.what}: {error.why}."]}
    tables = word_tables(found)
    first = next(iter(tables.values()), None)
    leak = [row["leak"] for row in kept_rows(found) if row["leak"] is not None]
    return {
        "tables": {"residual_words": word_rows(tables), "residual_conservation": kept_rows(found)},
        "figures": [] if first is None else [_with_note(words_figure(first), instead)],
        "token_maps": _shown(token_maps(found, prompts), prompts),
        "how": [
            f"Relevance by {found.rules or found.backend} on {len(prompts)} test prompts; what "
            f"tokens sum to misses the component by {max(leak, default=0.0):.0%} at most, on "
            "average of prompts.",
            *([instead] if instead else []),
        ],
    }


def _traced(
    model: LanguageModel, prompts: Sequence[Prompt], targets: Sequence[Direction], **options: Any
) -> tuple[Relevance, str]:
    """Return relevance by rules or, where the model has none, by a substitute and why.

    Raises: CapabilityError: neither is possible.
    """
    try:
        return relevance(model, prompts, targets, **options), ""
    except CapabilityError as error:
        found = relevance(model, prompts, targets, backend=SUBSTITUTE, **options)
        name = SUBSTITUTE.replace("_", " ")
        return found, f"Relevance is by {name} instead of by rules: {error.what}: {error.why}."


def _with_note(figure: Figure, note: str) -> Figure:
    return replace(figure, caption=f"{figure.caption} {note}") if note else figure


def _shown(maps: Sequence[TokenMap], prompts: Sequence[Prompt]) -> list[TokenMap]:
    """Return the maps of one harmful and one benign prompt of each style, benign ones first."""
    first: dict[tuple[str | None, str | None], str] = {}
    for prompt in sorted(prompts, key=lambda p: p.label != BENIGN):
        first.setdefault((prompt.style, prompt.label), prompt.id)
    targets = max(len({one.label for one in maps}), 1)
    kept = {prompt_id: i for i, prompt_id in enumerate([*first.values()][: MAPS // targets])}
    return sorted((one for one in maps if one.id in kept), key=lambda one: kept[one.id])


def with_words(study: Study, extra: Mapping[str, Any]) -> Study:
    """Return the study with the words that relevance found beside its names."""
    rows = extra.get("tables", {}).get("residual_words", ())
    if study.naming is None or not rows:
        return study
    return replace(study, naming=replace(study.naming, words=leading_words(rows)))


def flow(
    study: Study, model: LanguageModel, pairs: int, *, seed: int, **kept: Any
) -> dict[str, Any]:
    """Return which directions of each depth feed those of the next."""
    prompts = some_test_prompts(study, pairs, bare=True)
    bases = {h: study.space.directions(h, FLOW_COMPONENTS) for h in study.space.hidden_indices}
    depths = [h for h in sorted(bases) if h > 1 and bases[h] and bases.get(h - 1)]
    progress = kept.pop("progress", None) or SilentProgress()
    progress.start("earlier directions", len(depths))
    traced = []
    try:
        for h in depths:
            traced.append(trace_earlier(model, prompts, bases[h], bases[h - 1], seed=seed, **kept))
            progress.advance()
    except CapabilityError as error:
        why = f"{error.what}: {error.why}"
        return {"limits": [f"Where a direction comes from is left out: {why}."]}
    if not traced:
        return {}
    tables = [adjacent_table(found.relevance) for found in traced]
    return {
        "tables": {
            "residual_flow": [row for table in tables for row in table.frame()],
            "residual_flow_signed": [row for found in traced for row in found.frame()],
        },
        "figures": [flow_figure(tables), carried_figure(traced)],
    }


def interventions(
    study: Study, model: LanguageModel, pairs: int, words: str, *, seed: int, **kept: Any
) -> dict[str, Any]:
    """Return what taking directions out does to the first token of the answer.

    Args:
        pairs: test goals of either class, as bare requests.
        words: what counts as a refusing first word; as for `explain lens`.
    """
    if not study.followed:
        return {}
    train = study.paired.part(TRAIN).prompts
    sides = [[p for p in train if p.label == label] for label in (HARMFUL, BENIGN)]
    try:
        tokens = token_classes(model, words, *sides).negative
    except DataError as error:
        return {"how": [f"No intervention: {error.message}"]}
    prompts = some_test_prompts(study, pairs, bare=True)
    edits = [Edit((d,), "ablate", sites="all", label=f"without {d.name}") for d in study.followed]
    if len(study.followed) > 1:
        rest = study.followed[1:]
        label = f"without {rest[0].name} to {rest[-1].name.partition('-')[2]}"
        edits.append(Edit(rest, "rank_k", sites="all", label=label))
    swept = steer_sweep(
        model,
        prompts,
        edits,
        tokens=tokens,
        random_draws=RANDOM_EDITS,
        seed=seed,
        **kept,
    )
    rows = [{**row, "n": swept.benign.count(False)} for row in swept.frame()]
    measured = [swept.over_random(edit.name) for edit in edits]
    return {
        "measurements": [
            replace(m, name=m.name.replace("steering/", "residual_space/")) for m in measured
        ],
        "tables": {"residual_interventions": rows},
        "figures": [intervention_figure(rows, len(tokens))],
        "findings": _without(study, measured),
        "how": [
            f"Directions are taken out of all that writes to the stream; {RANDOM_EDITS} random "
            f"directions stand beside each; {len(prompts)} bare test requests."
        ],
    }


def _without(study: Study, measured: Sequence[Measurement]) -> list[str]:
    """Say what taking out the first direction does, and which of those beside it does more."""
    told = [(d.name, m) for d, m in zip(study.followed, measured) if _differs(m) is not None]
    if not told or told[0][0] != study.followed[0].name:
        return []
    said = (
        f"Without {told[0][0]} the log-odds of a refusing first token move by {_moved(told[0][1])} "
        f"beyond what random directions do"
        f"{'' if _differs(told[0][1]) else ', not shown to differ from 0'}"
    )
    name, most = max(told, key=lambda pair: abs(pair[1].value or 0.0))
    if name != told[0][0]:
        said += f"; without {name} by {_moved(most)}"
    return [f"{said}."]


def _differs(m: Measurement) -> bool | None:
    """Return whether the interval leaves out 0; None where there is none."""
    if m.value is None or m.low is None or m.high is None:
        return None
    return m.low > 0 or m.high < 0


def _moved(m: Measurement) -> str:
    return f"{m.value:+.2f} nats [{m.low:+.2f}, {m.high:+.2f}]"


def estimators(study: Study, *, seed: int) -> dict[str, Any]:
    """Return other ways to find the dominant direction, at its depth."""
    name = study.dominant
    if name is None:
        return {}
    depth = study.space[name].hidden_index
    try:
        names = [n for n in ESTIMATORS if study.space.of_training or n != "shift_svd"]
        found = compare_estimators(contrast_of(study, depth), names, seed=seed)
    except DataError as error:
        return {"how": [f"No other estimators: {error.message}"]}
    return {
        "tables": {"residual_estimators": found.frame(), "residual_estimator_pairs": found.pairs()},
        "figures": [estimator_figure(found.frame())],
    }


def contrast_of(study: Study, hidden_index: int) -> Contrast:
    """Return the aligned model's states of all prompts at one depth, for estimators."""
    paired, place = study.paired, study.space.position
    rows = [i for i, part in enumerate(paired.parts) if part is not None]
    states = paired.aligned.at(hidden_index, place)[rows]
    shift: Floats = paired.shift(hidden_index, place)[rows]
    parts = [paired.parts[i] for i in rows]
    return Contrast(
        states=states[:, None],
        labels=paired.harmful[rows].astype(np.int64),
        goals=tuple(paired.goals[i] for i in rows),
        splits=tuple(str(part) for part in parts),
        prompt_ids=tuple(paired.prompts[i].id for i in rows),
        hidden_indices=(hidden_index,),
        position=place,
        classes=(BENIGN, HARMFUL),
        model=paired.aligned.fingerprint,
        shift=shift[:, None],
    )
