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
from theodolite.errors import ConfigError
from theodolite.mechanism.detector.file import LINEAR_PROBES
from theodolite.mechanism.items import JAILBREAK, Items, make_items
from theodolite.mechanism.lens.explain import check_tokens, token_classes
from theodolite.mechanism.probes.asides import (
    Placed,
    beside_base,
    between_languages,
    between_layers,
    causality,
    export,
)
from theodolite.mechanism.probes.fitting import METHOD_VERSION, PAPER, ProbeOptions, probe
from theodolite.mechanism.probes.report import (
    figures,
    findings,
    frame,
    labels,
    measurements,
    outcomes,
)
from theodolite.mechanism.probes.result import ProbeResult
from theodolite.mechanism.reader import Reader
from theodolite.mechanism.requests import TEST, TRAIN
from theodolite.mechanism.states import POSITIONS, States
from theodolite.models.positions import check_position
from theodolite.models.untrained import untrained
from theodolite.runs.panel import PanelResult, extended
from theodolite.text.lists import names_in

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
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
        layers: also score every layer with every other layer's probe.
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
    layers: bool = False
    three_way: bool = False
    export: str | None = None

    def probe_options(self) -> ProbeOptions:
        """Return what the probes themselves are told."""
        probes, splits = names_in(self.probes), names_in(self.splits)
        return ProbeOptions(probes, splits, self.repeats, self.permutations, self.preset)

    def places(self) -> tuple[str, ...]:
        """Return the positions that are read."""
        return ("prompt_last",) if self.preset == PAPER else names_in(self.positions)


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
    if options.export is not None and names_in(options.probes)[0] not in LINEAR_PROBES:
        raise ConfigError(
            f"A detector is a direction, and the first probe is {names_in(options.probes)[0]}.",
            fix=f"Put one of {', '.join(LINEAR_PROBES)} first.",
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
    result = PanelResult(
        measurements=[m for one in results for m in measurements(one)],
        tables={
            "probes": [row for one in results for row in frame(one)],
            "probes_outcomes": [row for one in results for row in outcomes(one)],
        },
        figures=[figure for one in results for figure in figures(one)],
        findings=[sentence for one in results for sentence in findings(one)],
        limits=LIMITS,
        how=_how(subject, states, items, results[0], options),
        labels={name: words for one in results for name, words in labels(one).items()},
    )
    place = Placed(states, items, options.places()[0], results[0].probes[0], seed)
    result = extended(result, **between_languages(place))
    if options.layers:
        result = extended(result, **between_layers(place))
    if subject.base is not None:
        base = replace(read, model=subject.base)(items.prompts)
        result = extended(result, **beside_base(place, base, results[0], how))
    if classes is not None:
        shown = [in_pairs(part, seed)[: options.causality] for part in subject.requests.part(TEST)]
        result = extended(result, **causality(place, read, shown, classes))
    if options.export is not None:
        result = extended(result, findings=[export(place, Path(options.export))])
    return result


LIMITS: Final = (
    "That a classifier can read a property does not show that the model uses it.",
    "Probes find what these requests have in common; other requests may differ.",
    "Intervals speak of these fitted probes on other requests like those tested; with few sources "
    "or categories held out they are too narrow for requests from a new one.",
)


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the headline's curve by layer, for the terminal."""
    every = result.tables["probes"]
    rows = [row for row in every if row["task"] == every[0]["task"]]
    kind = next((row["split"] for row in rows if row["headline"]), rows[0]["split"])
    position, name = rows[0]["position"], rows[0]["probe"]
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


def _how(
    subject: Subject, states: States, items: Items, result: ProbeResult, options: Options
) -> list[str]:
    dropped = {
        "exact duplicates": sum(items.exact_duplicates.values()),
        "near duplicates": sum(items.near_duplicates.values()),
    }
    left_out = ", ".join(f"{count} {what}" for what, count in dropped.items())
    sentences = [
        f"{items.counts} requests ({subject.requests.source}); left out: {left_out}; "
        f"{items.tied} pairs of look-alikes across classes never stand on both sides of a grouped "
        "split.",
        f"Headline split: {result.headline}. {result.why}",
        f"States are read with template {states.template}; hidden_index 0 is the embeddings.",
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
