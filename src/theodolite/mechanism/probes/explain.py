"""`theodolite explain probes`: where harmful requests become readable, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet
from theodolite.data.styles import jailbreak_styles, styled
from theodolite.errors import ConfigError, DataError
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.detector.detector import train_detector
from theodolite.mechanism.items import JAILBREAK, Items, make_items
from theodolite.mechanism.lens.explain import check_tokens, token_classes
from theodolite.mechanism.probes.causality import probe_causality, probe_directions
from theodolite.mechanism.probes.causality_result import CausalityResult
from theodolite.mechanism.probes.fitting import METHOD_VERSION, PAPER, ProbeOptions, probe
from theodolite.mechanism.probes.report import (
    figures,
    findings,
    frame,
    labels,
    measurements,
    outcomes,
    over_base,
)
from theodolite.mechanism.probes.result import ProbeResult
from theodolite.mechanism.probes.transfer import by_language, transfer_matrix
from theodolite.mechanism.reader import Reader
from theodolite.mechanism.requests import TEST, TRAIN
from theodolite.mechanism.states import POSITIONS, States
from theodolite.models.positions import check_position
from theodolite.models.untrained import untrained
from theodolite.runs.panel import PanelResult

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.mechanism.lens.token_classes import TokenClasses
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = METHOD_VERSION
TITLE: Final = "What the model can tell apart"
QUESTION: Final = (
    "From which layer on can harmful requests be read, beyond what their words give away?"
)


@dataclass(frozen=True)
class Options:
    """What `theodolite explain probes` can be asked (`-T key=value`); lists are comma-separated.

    Args:
        preset: `paper` fits the published classifiers on their single split, prompts ending in a
            full stop, unscaled SVM; None is our protocol.
        probes: of logistic, difference_of_means, lda, svm, mlp; the first is the headline's.
        positions: of the request and the template.
        splits: random, group, source, category, frozen; `headline` is the strictest possible.
        repeats: resplits of random and group.
        untrained: networks with fresh weights that are probed beside the model.
        permutations: relabelings of the permutation test.
        causality: so many requests of each kind have the probe's direction taken out or put in;
            0 leaves this out.
        tokens: what counts as a refusing first word there; as for `explain lens`.
        three_way: also tell wrapped requests apart from both classes.
        export: a folder for the detector fitted on all requests.
    """

    preset: Literal["paper"] | None = None
    probes: str = "logistic,difference_of_means"
    positions: str = ",".join(POSITIONS)
    splits: str = "random,group,headline"
    repeats: int = 10
    untrained: int = 3
    permutations: int = 100
    causality: int = 16
    tokens: str = "en"
    three_way: bool = False
    export: str | None = None

    def probe_options(self) -> ProbeOptions:
        """Return what the probes themselves are told."""
        return ProbeOptions(
            names(self.probes), names(self.splits), self.repeats, self.permutations, self.preset
        )

    def places(self) -> tuple[str, ...]:
        """Return the positions that are read."""
        return ("prompt_last",) if self.preset == PAPER else names(self.positions)


def names(text: str) -> tuple[str, ...]:
    """Split a comma-separated option into names."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError: an unknown probe, position, token list or count; a folder that is taken.
    """
    options.probe_options().check()
    check_tokens(options.tokens)
    for position in options.places():
        check_position(position)
    if min(options.untrained, options.causality) < 0:
        raise ConfigError(
            "task.untrained and task.causality must be at least 0.", fix="Change that option."
        )
    if options.export is not None and Path(options.export).exists():
        raise ConfigError(
            f"{options.export} exists already.", fix="Name a new folder with -T export=FOLDER."
        )


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Read states, fit probes and their floors, and say what is left of the curve."""
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    read = Reader(subject.model, options.places(), subject.template, **kept)
    return fit(read, subject, options, seed=seed)


def fit(read: Reader, subject: Subject, options: Options, *, seed: int) -> PanelResult:
    """Fit probes on what a reader reads at `options.places()`."""
    items = _items(subject, options)
    states = read(items.prompts)
    # Word lists that the vocabulary cannot spell are refused before anything is fitted.
    parts = subject.requests.part(TRAIN)
    classes = token_classes(read.model, options.tokens, *parts) if options.causality else None
    others = [
        replace(read, model=untrained(subject.model, number))(items.prompts)
        for number in range(options.untrained)
    ]
    how: dict[str, Any] = {
        "options": options.probe_options(),
        "seed": seed,
        "journal": read.journal,
        "progress": read.progress,
    }
    results = [probe(states, items, untrained=others, **how)]
    if options.three_way or subject.requests.wrapped:
        wrapped = _three_classes(subject)
        results.append(probe(read(wrapped.prompts), wrapped, task="three_way", **how))
    tables: dict[str, Sequence[Mapping[str, Any]]] = {
        "probes": [row for result in results for row in frame(result)],
        "probes_outcomes": [row for result in results for row in outcomes(result)],
    }
    found = [m for result in results for m in measurements(result)]
    sentences = [sentence for result in results for sentence in findings(result)]
    drawn = [figure for result in results for figure in figures(result)]
    plain = {name: words for result in results for name, words in labels(result).items()}
    between, left_out = _between_languages(states, items, options, seed)
    tables |= between
    if subject.base is not None:
        tables_, extra = _beside_base(read, subject, items, options, results[0], how)
        tables |= tables_
        found += extra
    if classes is not None:
        caused = _causality(read, subject, states, items, classes, options, seed)
        tables["probes_causality"] = caused.frame()
        found += caused.measurements()
        plain |= {one.name: _causal_label(one.name) for one in caused.measurements()}
        drawn.append(caused.figure())
    if options.export is not None:
        sentences.append(_export(states, items, Path(options.export), options, seed))
    return PanelResult(
        measurements=found,
        tables=tables,
        figures=drawn,
        findings=sentences,
        limits=LIMITS,
        how=[*_how(subject, items, results[0], options), *left_out],
        labels=plain,
    )


DEPTHS: Final = 5  # at which directions are taken out and put in, evenly spread
LIMITS: Final = (
    "That a classifier can read a property does not show that the model uses it.",
    "Probes find what these requests have in common; other requests may differ.",
)


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the headline's curve by layer, for the terminal."""
    every = result.tables["probes"]
    rows = [row for row in every if row["task"] == every[0]["task"]]
    kind, position, name = rows[-1]["split"], rows[0]["position"], rows[0]["probe"]
    return [
        {
            "hidden index": row["hidden_index"],
            f"{name}, {position}": f"{row['accuracy']:.3f} {_interval(row)}",
            "permuted": f"{row['control']:.3f}",
            "untrained": _share(row["untrained_floor"]),
            "words": f"{row['text_floor']:.3f}",
        }
        for row in rows
        if (row["split"], row["position"], row["probe"]) == (kind, position, name)
    ]


def _interval(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return "[no interval]"
    return f"[{row['low']:.2f}, {row['high']:.2f}]"


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _items(subject: Subject, options: Options) -> Items:
    classes = {BENIGN: list(subject.requests.benign), HARMFUL: list(subject.requests.harmful)}
    if options.preset == PAPER:
        classes = {name: [_punctuated(p) for p in prompts] for name, prompts in classes.items()}
        items = make_items(classes, dedupe=False)
        # The published split numbers the rows, and the harmful ones came first.
        return items.select(np.argsort(-items.labels, kind="stable"))
    return make_items(classes)


def _punctuated(prompt: Prompt) -> Prompt:
    """Let a request end in a full stop unless it ends in one or in a question mark."""
    if prompt.text is None or prompt.text.rstrip().endswith((".", "?")):
        return prompt
    return replace(prompt, text=f"{prompt.text.rstrip()}.")


def _three_classes(subject: Subject) -> Items:
    """Return bare requests of both kinds beside wrapped harmful ones."""
    requests = subject.requests
    wrapped = [p for p in requests.wrapped if p.label == HARMFUL]
    return make_items(
        {
            BENIGN: requests.benign,
            HARMFUL: requests.harmful,
            JAILBREAK: wrapped or styled_harmful(requests.harmful),
        }
    )


def styled_harmful(harmful: Sequence[Prompt]) -> list[Prompt]:
    """Return harmful requests in the listed styles, one style each in turn, so the class is as
    large as the bare one.
    """
    styles = jailbreak_styles()
    found: list[Prompt] = []
    for i, prompt in enumerate(harmful):
        found += styled(PromptSet("wrapped", (prompt,)), [styles[i % len(styles)]])
    return found


def _transfer_options(items: Items, options: Options, seed: int) -> dict[str, Any]:
    name = options.probe_options().resolved(items).probes[0]
    return {"position": options.places()[0], "probe": name, "seed": seed}


def _beside_base(
    read: Reader,
    subject: Subject,
    items: Items,
    options: Options,
    own: ProbeResult,
    how: dict[str, Any],
) -> tuple[dict[str, Sequence[Mapping[str, Any]]], list[Measurement]]:
    """Probe the base model on the same splits, and each model with the other's probes."""
    assert subject.base is not None  # noqa: S101 - asked for only with a base
    both = {"model": read(items.prompts), "base": replace(read, model=subject.base)(items.prompts)}
    result = probe(both["base"], items, **how)
    between = transfer_matrix(
        both, dict.fromkeys(both, items), **_transfer_options(items, options, seed=own.seed)
    )
    tables: dict[str, Sequence[Mapping[str, Any]]] = {
        "probes_base": frame(result),
        "probes_between_models": between.frame(),
    }
    return tables, [over_base(own, result)]


def _between_languages(
    states: States, items: Items, options: Options, seed: int
) -> tuple[dict[str, Sequence[Mapping[str, Any]]], list[str]]:
    """Return the transfer table where there are several languages, or why there is none."""
    if len({tag for tag in items.languages if tag}) < 2:
        return {}, []
    try:
        matrix = transfer_matrix(
            *by_language(states, items), **_transfer_options(items, options, seed)
        )
    except DataError as error:
        return {}, [f"Transfer between languages was left out: {error.message}"]
    return {"probes_by_language": matrix.frame()}, []


def _causality(
    read: Reader,
    subject: Subject,
    states: States,
    items: Items,
    classes: TokenClasses,
    options: Options,
    seed: int,
) -> CausalityResult:
    """Take the probes' directions out of other requests, and put them in."""
    harmful, benign = (
        in_pairs(part, seed)[: options.causality] for part in subject.requests.part(TEST)
    )
    apart = {prompt.id for prompt in (*harmful, *benign)}
    groups = {g for g, p in zip(items.groups, items.prompts, strict=True) if p.id in apart}
    train = items.select([i for i, group in enumerate(items.groups) if group not in groups])
    position = options.places()[0]
    top = subject.model.anatomy.n_layers
    depths = sorted({max(1, round(top * i / (DEPTHS + 1))) for i in range(1, DEPTHS + 1)})
    directions = probe_directions(
        states.rows(train.ids), train, position=position, hidden_indices=depths, seed=seed
    )
    return probe_causality(
        read.model,
        directions,
        harmful,
        benign,
        classes,
        fitted_on=(states.rows(train.ids), train),
        position=position,
        template=subject.template,
        seed=seed,
        progress=read.progress,
    )


def _causal_label(name: str) -> str:
    """Return plain words for `causality/<what was done>/<hidden index>`."""
    _, done, index = name.split("/")
    words = {
        "removal": "lean to refusal, harmful requests without the direction",
        "addition": "lean to refusal, benign requests with the direction",
    }
    return f"{words[done]}, hidden index {index}"


def _export(states: States, items: Items, folder: Path, options: Options, seed: int) -> str:
    probe_name = options.probe_options().resolved(items).probes[0]
    detector = train_detector(
        states, items, position=options.places()[0], probe=probe_name, seed=seed
    )
    detector.save(folder)
    return (
        f"The detector was written to {folder}: hidden_index {detector.hidden_index}, "
        f"{detector.position}."
    )


def _how(subject: Subject, items: Items, result: ProbeResult, options: Options) -> list[str]:
    counts = ", ".join(
        f"{int((items.labels == i).sum())} {name}" for i, name in enumerate(items.classes)
    )
    dropped = {
        "exact duplicates": sum(items.exact_duplicates.values()),
        "near duplicates": sum(items.near_duplicates.values()),
    }
    left_out = ", ".join(f"{count} {what}" for what, count in dropped.items())
    sentences = [
        f"{counts} requests ({subject.requests.source}); left out: {left_out}; {items.tied} pairs "
        "of look-alikes across classes never stand on both sides of a grouped split.",
        f"Headline split: {result.headline} ({result.why}).",
        f"States are read with template {subject.template}; hidden_index 0 is the embeddings.",
    ]
    if result.untrained:
        sentences.append(
            f"{result.untrained} networks of the same architecture with untrained weights were "
            "probed on the very same splits."
        )
    if options.preset == PAPER:
        sentences.append(
            "Preset paper (arXiv:2406.05644): one unstratified split of 70 to 30, an unscaled "
            "linear SVM and an MLP of 100 units at the prompt's last token; a full stop is added "
            "where the prompt ends in neither a full stop nor a question mark."
        )
    return [*sentences, *result.warnings]
