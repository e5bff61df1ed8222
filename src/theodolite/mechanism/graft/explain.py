"""`theodolite explain graft`: one layer's state replaced by that of friendly prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch

from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import HARMFUL, Prompt
from theodolite.engine import Completion, generate
from theodolite.errors import ConfigError
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.graft.fidelity import fidelity, fidelity_measurements
from theodolite.mechanism.graft.grafting import (
    CACHES,
    check_index,
    check_mode,
    generate_grafted,
    known,
)
from theodolite.mechanism.graft.plan import KINDS, METHOD_VERSION, cluster_of
from theodolite.mechanism.graft.report import CURVES
from theodolite.mechanism.graft.result import CONTROLS, GraftResult
from theodolite.mechanism.graft.sweep import graft_sweep
from theodolite.mechanism.lens.explain import check_alone, check_tokens, token_classes
from theodolite.mechanism.random_vectors import random_vector
from theodolite.mechanism.requests import TEST, TRAIN
from theodolite.mechanism.states import encode_for_states, read_states
from theodolite.mechanism.verdict.outcomes import MAX_NEW_TOKENS, OFFLINE_SCORER, Outcome, judged
from theodolite.mechanism.verdict.result import complied_by
from theodolite.runs.panel import PanelResult
from theodolite.text.hashing import item_seed
from theodolite.text.lists import names_in

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = METHOD_VERSION
TITLE: Final = "Grafting a friendly state"
QUESTION: Final = (
    "At which layers does the state of a friendly prompt take the refusal out of a harmful one?"
)


@dataclass(frozen=True)
class Options:
    """What `theodolite explain graft` can be asked (`-T key=value`); lists are comma-separated.

    Args:
        recipients, donors: so many requests of each kind.
        kinds: of donors: mean, fixed, matched.
        mode: replace or interpolate, and its `alpha`.
        window: graft so many consecutive layers.
        tokens: as for `explain lens`.
        answers: hidden indices at which whole answers are written under the mean donor's graft.
        preset: `paper` skips the grafted block for every position of those answers.
        cache: `keep` or `clean`, for later tokens of those answers.
        max_tokens: length of those answers.
    """

    recipients: int = 16
    donors: int = 16
    kinds: str = "mean"
    mode: Literal["replace", "interpolate"] = "replace"
    alpha: float = 1.0
    window: int = 1
    tokens: str = "en"
    answers: str = ""
    preset: Literal["paper"] | None = None
    cache: Literal["keep", "clean"] = "keep"
    max_tokens: int = MAX_NEW_TOKENS


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError: an unknown kind, cache or token list, a mode with an `alpha` it does not
        take, a count that is too small, options that say nothing without answers or do not fit
        them, or a base model, which nothing would be compared with.
    """
    check_mode(options.mode, options.alpha, None)
    known("cache", options.cache, CACHES)
    for kind in names_in(options.kinds):
        known("donor", kind, KINDS)
    check_tokens(options.tokens)
    check_alone(request)
    if min(options.recipients, options.donors, options.window, options.max_tokens) < 1:
        raise ConfigError(
            "task.recipients, task.donors, task.window and task.max_tokens must be at least 1.",
            fix="Change that option.",
        )
    _check_answers(options)


def _check_answers(options: Options) -> None:
    """Refuse options of whole answers that would be ignored or cannot be followed.

    Raises: ConfigError: naming them.
    """
    places = depths(options)
    if options.preset is not None and not places:
        raise ConfigError(
            "task.preset says how answers are grafted, and none are asked for.",
            fix="Name hidden indices, e.g. -T answers=10,20.",
        )
    if options.preset is not None and (options.mode != "replace" or 0 in places):
        raise ConfigError(
            "The preset 'paper' replaces the input of a block and skips it.",
            fix="Use mode 'replace' and hidden indices of at least 1.",
        )
    if places and options.window > 1:
        raise ConfigError(
            "Answers are grafted at one depth, and task.window asks for more.",
            fix="Leave out task.answers or task.window.",
        )


def depths(options: Options) -> list[int]:
    """Return the hidden indices at which answers are written.

    Raises: ConfigError: one is not a whole number.
    """
    found = names_in(options.answers)
    for word in found:
        if not word.isdecimal():
            raise ConfigError(
                f"task.answers holds {word!r}.", fix="Give hidden indices, e.g. answers=10,20."
            )
    return [int(word) for word in found]


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Graft donors' states into recipients at every depth, and read the first token to come."""
    requests = subject.requests
    for index in depths(options):
        check_index(subject.model, index)
    wrapped = [p for p in requests.wrapped if p.label == HARMFUL]
    recipients = in_pairs(wrapped or requests.part(TEST)[0], seed)[: options.recipients]
    donors = in_pairs(requests.part(TRAIN)[1], seed)[: options.donors]
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    result = graft_sweep(
        subject.model,
        recipients,
        donors,
        classes=token_classes(subject.model, options.tokens, *requests.part(TRAIN)),
        kinds=names_in(options.kinds),
        mode=options.mode,
        alpha=options.alpha,
        window=options.window,
        template=subject.template,
        seed=seed,
        **kept,
    )
    found = list(result.measurements())
    tables: dict[str, Any] = {
        "graft": result.frame(),
        "graft_recipients": result.rows(),
        "graft_outcomes": result.outcomes(),
    }
    if depths(options):
        rows, extra = _answers(subject, recipients, donors, options, seed, kept)
        tables["graft_answers"] = rows
        found += extra
    return PanelResult(
        measurements=found,
        tables=tables,
        figures=[result.figure()],
        findings=findings(result),
        limits=LIMITS,
        how=[
            f"{len(recipients)} harmful requests receive the state of {len(donors)} benign ones "
            f"({requests.source}) at the prompt's last token, at one depth at a time; the first "
            "token to come is read.",
            f"Mode {options.mode}; token lists: {result.classes}. Controls: a random vector of "
            "the donor's length, another request's state, and a random step as far as the donor's.",
        ],
        labels=labels(found),
    )


LIMITS: Final = (
    "A graft carries everything the donor's state holds, its topic included, not only its tone.",
    "Grafts weaken refusal inside this measurement only; nothing of it is kept.",
)


def _answers(
    subject: Subject,
    recipients: Sequence[Prompt],
    donors: Sequence[Prompt],
    options: Options,
    seed: int,
    kept: dict[str, Any],
) -> tuple[list[dict[str, Any]], list[Measurement]]:
    """Write whole answers under the mean donor's graft and under a random vector's."""
    model, template = subject.model, subject.template
    places = tuple(depths(options))
    states = read_states(
        model,
        donors,
        positions=("prompt_last",),
        template=template,
        hidden_indices=tuple(sorted(set(places))),
        **kept,
    )
    settings: dict[str, Any] = {
        "mode": options.mode,
        "alpha": options.alpha,
        "preset": options.preset,
        "cache": options.cache,
        "max_new_tokens": options.max_tokens,
        "template": template,
        **kept,
    }
    plain = encode_for_states(model, recipients, template=template)
    intact = generate(model, plain, max_new_tokens=options.max_tokens, **kept)
    rows = _answer_rows("intact", None, recipients, intact)
    found: list[Measurement] = []
    for index in places:
        mean = states.at(index, "prompt_last").mean(0)
        norm = float(np.linalg.norm(mean))
        drawn = random_vector(len(mean), norm, item_seed(seed, "graft answers", index))
        written = {}
        for donor, vector in (("mean", mean), ("random", drawn)):
            written[donor] = generate_grafted(
                model, recipients, index, torch.from_numpy(vector), **settings
            )
            rows += _answer_rows(donor, index, recipients, written[donor])
        found += _answer_measurements(index, recipients, donors, written, seed)
    return rows, found


def _told(recipients: Sequence[Prompt], written: Sequence[Completion]) -> list[Outcome]:
    return [judged(p, answer.text) for p, answer in zip(recipients, written, strict=True)]


def _answer_rows(
    donor: str, index: int | None, recipients: Sequence[Prompt], written: Sequence[Completion]
) -> list[dict[str, Any]]:
    """Return what became of each recipient, and how much of its topic the answer takes up."""
    told = _told(recipients, written)
    return [
        {
            "donor": donor,
            "hidden_index": index,
            "id": prompt.id,
            "outcome": one.label,
            "fidelity": fidelity(answer.text, prompt.request),
        }
        for prompt, answer, one in zip(recipients, written, told, strict=True)
    ]


def _answer_measurements(
    index: int,
    recipients: Sequence[Prompt],
    donors: Sequence[Prompt],
    written: dict[str, list[Completion]],
    seed: int,
) -> list[Measurement]:
    """Return how often grafted recipients comply, how much more often than under noise, and whose
    topic the answers keep to.

    Broken text is neither: it counts as unscored, so that noise cannot pass for compliance.
    """
    clusters = [cluster_of(p) for p in recipients]
    told = {donor: _told(recipients, answers) for donor, answers in written.items()}
    complied = {
        donor: [None if one.label == "degenerate" else one.label == "complied" for one in found]
        for donor, found in told.items()
    }
    sound = [value for value in complied["random"] if value is not None]
    floor = Floor("random vector", float(np.mean(sound))) if sound else None
    name = f"graft/answers/{index}"
    # One recipient has no others beside it, from whose words a floor could be taken.
    topics = (
        fidelity_measurements(
            [answer.text for answer in written["mean"]],
            recipients,
            donors,
            clusters,
            name=f"{name}/topic",
            seed=seed,
        )
        if len(recipients) > 1
        else []
    )
    return [
        proportion(
            f"{name}/complied",
            complied["mean"],
            clusters=clusters,
            floor=floor,
            reasons=[one.reason for one in told["mean"]],
            judge=complied_by(OFFLINE_SCORER),
            seed=seed,
        ),
        paired_difference(
            complied["mean"],
            complied["random"],
            clusters,
            name=f"{name}/complied_over_random",
            floor=Floor("as under a random vector", 0.0),
            seed=seed,
        ),
        *topics,
    ]


FIGURES: Final = {
    "change": "change of the log-odds against a refusal",
    "flips": "refusing first tokens replaced",
    "turned": "leanings to refusal turned round",
    "kl": "distance from the intact next token",
    "complied": "grafted answers that comply",
    "complied_over_random": "grafted answers that comply, beyond a random vector",
    "topic/recipient": "words of the request in its grafted answer",
    "topic/donor": "words of the donors in the grafted answer",
    "topic/kept": "words of the request, minus those of other requests",
}


def labels(found: Sequence[Measurement]) -> dict[str, str]:
    """Return plain words for the measurements."""
    return {one.name: _label(one.name) for one in found}


def _label(name: str) -> str:
    """Return plain words for `graft/<donor>/<figure>` or `graft/answers/<index>/<figure>`."""
    _, donor, figure = name.split("/", 2)
    if donor == "answers":
        index, figure = figure.split("/", 1)
        return f"{FIGURES[figure]}, hidden index {index}"
    words = CURVES.get(donor, "random vector")
    if figure.startswith("over_"):
        return f"{words}: more than {CONTROLS[figure.removeprefix('over_')]}"
    return f"{words}: {FIGURES[figure]}"


def findings(result: GraftResult) -> list[str]:
    """Say at which depths the donor does more than its controls."""
    donor = result.kinds[0]
    decisive = result.decisive(donor)
    if not decisive:
        return [
            "At no depth does the friendly state move the first token away from refusal more than "
            "random and same-class states do, all depths taken together."
        ]
    spans = f"{decisive[0]}" if len(decisive) == 1 else f"{decisive[0]} to {decisive[-1]}"
    return [
        f"A friendly state moves the first token away from refusal, beyond every control, at "
        f"{len(decisive)} of {len(result.hidden_indices)} depths (hidden_index {spans})."
    ]


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the change by depth, for the terminal: controls without intervals, to fit a line."""
    rows: dict[int, dict[str, Any]] = {}
    for row in result.tables["graft"]:
        line = rows.setdefault(row["hidden_index"], {"hidden index": row["hidden_index"]})
        bare = row["low"] is None or row["donor"] in CONTROLS
        ends = "" if bare else f" [{row['low']:+.2f}, {row['high']:+.2f}]"
        value = "n/a" if row["change"] is None else f"{row['change']:+.2f}{ends}"
        unit = "" if row["donor"] in CONTROLS else " (nats)"
        line[f"{row['donor'].replace('_', ' ')}{unit}"] = value
    return list(rows.values())
