"""`theodolite explain steering`: what edits along directions do to refusal, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.data.styles import STYLES_VERSION, style_names
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.contrast import Contrast
from theodolite.mechanism.directions.readers import Leace
from theodolite.mechanism.directions.refusal import fitting_requests, refusal_contrast
from theodolite.mechanism.lens.explain import check_tokens, token_classes
from theodolite.mechanism.residual_space.components import check_space
from theodolite.mechanism.steering.benign import BenignStates
from theodolite.mechanism.steering.doses import (
    ERASE,
    TABLE,
    Dose,
    Layers,
    dose_figure,
    dose_findings,
    dose_rows,
    doses_of,
    erasures,
    largest,
)
from theodolite.mechanism.steering.doses import SAID as STEERED
from theodolite.mechanism.steering.drift import edit_drift
from theodolite.mechanism.steering.style_matrix import TABLE as STYLES
from theodolite.mechanism.steering.style_matrix import style_matrix
from theodolite.mechanism.steering.sweep import steer_sweep
from theodolite.mechanism.steering.targets import (
    REFUSAL,
    Search,
    Target,
    angles,
    check_targets,
    find_targets,
)
from theodolite.models.positions import check_position
from theodolite.runs.panel import PanelResult, extended
from theodolite.text.display import escape
from theodolite.text.lists import names_in
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.mechanism.steering.drift_result import DriftResult
    from theodolite.mechanism.steering.sweep_result import SweepResult
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = 1
TITLE: Final = "What edits along a direction do"
QUESTION: Final = (
    "Does taking a direction out, or adding it, move refusal further than random directions do, "
    "and what does it cost elsewhere?"
)
# Random edits whose drift along answers and perplexity is read beside each kind of edit.
DRIFT_DRAWS: Final = 2
LIMITS: Final = (
    "The first token to come is read, by its log-odds of opening a refusal; no answer is judged "
    "unless selectivity is asked for.",
    "An edit that moves nothing does not prove that a direction means nothing: other directions "
    "may stand in.",
    "Edits act inside the measurement alone; nothing that was edited is kept.",
)


@dataclass(frozen=True)
class Options:
    """What `theodolite explain steering` can be asked (`-T key=value`).

    Args:
        target: `refusal`, or components like L14-C1,L14-C6, or both.
        estimator: what finds the refusal direction, several joined by commas:
            difference_in_means, logistic, lda, leace, inlp, som; or, asking the model itself,
            selection (three readings of the requests for each of four in five blocks), rdo or cone
            (each step differentiates 24 answers; a cone 10 times over).
        requests, steps: of each class, and at most, for selection, rdo and cone.
        space: a run folder of `explain residual-space` whose components these are; None fits the
            space where the model before training is known.
        modes: ablate, affine, clamp, subtract, add, joined by commas; and erase (LEACE at every
            depth, whatever the target: the bound on what linear erasure costs).
        alphas: doses: a share of the way; of subtract and add in distances between the mean
            harmful and the mean benign training state.
        layers: auto (subtract and add at the direction's own depth, all else at every block), all
            or own.
        sites: of edits at every block: resid_post, or all that writes to the stream.
        positions: all, prompt, prompt_last or generated.
        position: where directions are read.
        tokens: what opens a refusal, as for `explain lens`.
        draws: random directions beside every mode and dose.
        drift: benign requests along whose answers drift is read, with the perplexity of plain
            passages; 0 leaves both out.
        selectivity: ask in every style, too, with the first mode at its largest dose: an answer
            for every direction and every random one, goal and style.
        styles: of selectivity, as for `explain triggers`; two or more.
        goals: of either class, for selectivity.
    """

    target: str = REFUSAL
    estimator: str = "difference_in_means"
    requests: int = 16
    steps: int = 20
    space: str | None = None
    modes: str = "ablate,affine,add"
    alphas: str = "0.5,1"
    layers: str = "auto"
    sites: str = "resid_post"
    positions: str = "all"
    position: str = "prompt_last"
    tokens: str = "en"
    draws: int = 20
    drift: int = 8
    selectivity: bool = False
    styles: str = "benchmark"
    goals: int = 8


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError or DataError: an unknown target, estimator, mode, place, token list or
        space, or a number that makes no sense.
    """
    check_targets(names_in(options.target), names_in(options.estimator))
    check_space(options.space)
    check_tokens(options.tokens)
    check_position(options.position)
    modes = names_in(options.modes)
    for mode in modes:
        if mode not in STEERED:
            raise ConfigError(
                f"There is no mode {escape(mode, 60)!r} to steer by.",
                fix=did_you_mean(mode, STEERED),
            )
    amounts = amounts_in(options.alphas)
    for words, what in ((modes, "modes"), (amounts, "alphas")):
        if not words or len(set(words)) < len(words):
            raise ConfigError(
                f"task.{what} names nothing, or one thing twice.", fix="Name each once."
            )
    known = {
        "layers": ("auto", "all", "own"),
        "sites": ("resid_post", "all"),
        "positions": ("all", "prompt", "prompt_last", "generated"),
    }
    for name, words in known.items():
        if getattr(options, name) not in words:
            raise ConfigError(
                f"task.{name} is {escape(getattr(options, name), 60)!r}.",
                fix=f"Use {', '.join(words)}.",
            )
    if len(style_names(options.styles)) < 2:
        raise ConfigError("task.styles names one style.", fix="Name two or more.")
    for name, least in {"requests": 2, "steps": 1, "draws": 0, "drift": 0, "goals": 1}.items():
        if getattr(options, name) < least:
            raise ConfigError(
                f"task.{name} is {getattr(options, name)}.", fix=f"Give {least} or more."
            )


def amounts_in(text: str) -> tuple[float, ...]:
    """Return the doses that an option lists.

    Raises: ConfigError: one is no number above 0.
    """
    found = []
    for word in names_in(text):
        try:
            amount = float(word)
        except ValueError:
            amount = math.nan
        if not (amount > 0 and math.isfinite(amount)):
            raise ConfigError(
                f"task.alphas holds {escape(word, 40)!r}.", fix="Give numbers above 0, like 0.5,1."
            )
        found.append(amount)
    return tuple(found)


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Edit along directions, and read what comes next."""
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    model, template = subject.model, subject.template
    harmful, benign = (fitting_requests(label) for label in (HARMFUL, BENIGN))
    tokens = token_classes(model, options.tokens, harmful, benign).negative
    contrast = refusal_contrast(
        model, position=options.position, template=template, seed=seed, **kept
    )
    targets, where = find_targets(
        *(subject, contrast, names_in(options.target), names_in(options.estimator)),
        tokens=tokens,
        search=Search(options.requests, options.steps),
        space=options.space,
        seed=seed,
        **kept,
    )
    doses = dosed(targets, contrast, options)
    edits = [one.edit for one in doses]
    states = BenignStates.read(model, benign, edits, template=template, **kept)
    shared: dict[str, Any] = {"benign": states, "template": template, "seed": seed, **kept}
    swept = steer_sweep(
        *(model, labelled(subject), edits), tokens=tokens, random_draws=options.draws, **shared
    )
    swept.save(run)
    drifted, why = drift_of(subject, options, doses, shared)
    if drifted is not None:
        drifted.save(run)
    result = report(doses, swept, drifted)
    if options.selectivity:
        result = extended(result, **by_style(subject, options, doses, tokens, run, shared))
    return extended(
        result,
        tables={"steering_angles": angles(targets)} if len(targets) > 1 else {},
        how=[*where, *how(subject, options, len(tokens)), *why],
    )


def dosed(targets: Sequence[Target], contrast: Contrast, options: Options) -> list[Dose]:
    """Return the edits that were asked for."""
    modes, amounts = names_in(options.modes), amounts_in(options.alphas)
    found = doses_of(
        targets,
        [mode for mode in modes if mode != ERASE],
        amounts,
        layers=cast(Layers, options.layers),
        sites=options.sites,
        positions=options.positions,
    )
    if ERASE in modes:
        estimate = Leace().fit(contrast, seed=0)
        found += erasures(estimate, amounts, positions=options.positions)
    return found


def labelled(subject: Subject) -> list[Prompt]:
    """Return the requests that are measured, each with its class."""
    requests = subject.requests
    sides = ((requests.harmful, HARMFUL), (requests.benign, BENIGN))
    return [replace(prompt, label=label) for side, label in sides for prompt in side]


def drift_of(
    subject: Subject, options: Options, doses: Sequence[Dose], shared: dict[str, Any]
) -> tuple[DriftResult | None, list[str]]:
    """Return what the edits do to benign answers and plain text, or why that was left out."""
    prompts = in_pairs(subject.requests.benign)[: options.drift]
    if not prompts:
        return None, []
    edits = [one.edit for one in doses]
    try:
        found = edit_drift(
            subject.model, prompts, edits, random_draws=min(DRIFT_DRAWS, options.draws), **shared
        )
    except DataError as error:
        return None, [f"Drift along answers was left out: {error.message}"]
    return found, [
        f"Drift along the answers to {len(prompts)} benign requests, beside "
        f"{min(DRIFT_DRAWS, options.draws)} random edits of each kind."
    ]


def by_style(
    subject: Subject,
    options: Options,
    doses: Sequence[Dose],
    tokens: Sequence[int],
    run: Run,
    shared: dict[str, Any],
) -> dict[str, Any]:
    """Return what one edit of each direction opens by style, as entries of a panel's result."""
    mode = names_in(options.modes)[0]
    sides = (subject.requests.harmful, subject.requests.benign)
    harmful, benign = (in_pairs(side)[: options.goals] for side in sides)
    found = style_matrix(
        *(subject.model, (harmful, benign)),
        [one.edit for one in largest(doses) if one.mode == mode],
        tokens=tokens,
        styles=style_names(options.styles),
        random_draws=options.draws,
        **shared,
    )
    found.harmful.save(run)
    return {
        "measurements": found.measurements(),
        "tables": {STYLES: found.frame()},
        "figures": found.figures(),
        "findings": found.findings(),
        "how": [
            f"{len(harmful)} harmful and {len(benign)} benign goals in {len(found.harmful.styles)} "
            f"styles (version {STYLES_VERSION}) for selectivity; answers of "
            f"{found.harmful.max_new_tokens} tokens, scored in memory by the offline scorer and "
            "not kept."
        ],
    }


def report(doses: Sequence[Dose], swept: SweepResult, drifted: DriftResult | None) -> PanelResult:
    """Return effects and costs as measurements, a table, figures and words."""
    measurements = []
    for one in doses:
        for label in (HARMFUL, BENIGN):
            measurements += [swept.effect(one.name, label), swept.over_random(one.name, label)]
        measurements.append(swept.drift(one.name))
    figures = [dose_figure(doses, swept, label) for label in (HARMFUL, BENIGN)]
    if any(swept.benign):
        figures.append(replace(swept.figure(), table=TABLE))
    if drifted is not None:
        measurements += drifted.measurements()
        figures.append(replace(drifted.figure(), table=TABLE))
    return PanelResult(
        measurements=measurements,
        tables={TABLE: dose_rows(doses, swept, drifted)},
        figures=[figure for figure in figures if figure is not None],
        findings=dose_findings(doses, swept, drifted),
        limits=LIMITS,
        labels={
            swept.effect(one.name).name: f"refusing log-odds, {one.mode} {one.target}, dose "
            f"{one.dose:g}"
            for one in largest(doses)
        },
    )


def how(subject: Subject, options: Options, tokens: int) -> list[str]:
    """Say what was edited where, and what was read."""
    requests = subject.requests
    where = {
        "auto": "subtract and add act at the direction's own depth, all else at every block",
        "all": "edits act at every block",
        "own": "edits act at the direction's own depth",
    }[options.layers]
    return [
        f"{len(requests.harmful)} harmful and {len(requests.benign)} benign requests "
        f"({requests.source}), {tokens} refusing first tokens; {where} ({options.sites}, positions "
        f"{options.positions}); {options.draws} random directions beside every mode and dose.",
    ]


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return effect and cost of every dose, for the terminal."""
    return [
        {
            "direction": row["direction"],
            "mode": row["mode"],
            "dose": f"{row['dose']:g}",
            "harmful (nats)": _cell(row, "harmful"),
            "random": "" if row["harmful_random"] is None else f"{row['harmful_random']:+.2f}",
            "beyond random": _YES_NO[row["harmful_beyond_random"]],
            "benign (nats)": _cell(row, "benign"),
            "first-token KL": _cell(row, "first_token_kl"),
            "perplexity %": _cell(row, "perplexity_change"),
        }
        for row in result.tables[TABLE]
    ]


_YES_NO: Final = {True: "shown", False: "not shown", None: ""}


def _cell(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return ""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    ends = "" if low is None else f" [{low:+.2f}, {high:+.2f}]"
    return f"{row[name]:+.2f}{ends}"
