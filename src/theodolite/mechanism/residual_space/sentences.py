"""A study of a pair in plain sentences: each true of its figures, none beyond them."""

from __future__ import annotations

from typing import Final

import numpy as np

from theodolite.measure.measurement import Measurement
from theodolite.mechanism.directions.direction import parse_component
from theodolite.mechanism.residual_space.dynamics import PROMOTES, SUPPRESSES
from theodolite.mechanism.residual_space.stability import NOT_IDENTIFIED
from theodolite.mechanism.residual_space.study import HARM, Study

START: Final = "residual_space"
LIMITS: Final = (
    "Directions are those of these prompts and models; other prompts may show others.",
    "That a direction tells classes apart does not show that the model uses it: see what happens "
    "without it.",
    "Tokens that the output layer has along a direction are a weak hint: later blocks read the "
    "direction first.",
    "Components of nearly equal size turn into each other in other samples; those marked 'not "
    "individually identified' are to be read as a subspace.",
)


def findings(study: Study) -> list[str]:
    """Say how wide the change is, what its first direction tells, and what the others read."""
    name = study.dominant
    if name is None and study.space.of_training:
        return ["The two models have the same states: training changed nothing that is read here."]
    if name is None:
        return [*_of_one_model(study), "No prompt differs from its counterpart."]
    ranks = {h: rank or 0 for h, rank in study.space.effective_rank(0.9).items()}
    widest = max(ranks, key=lambda h: (ranks[h], -h))
    width = (
        f"At most {ranks[widest]} directions of {study.space.layers[-1].mean_shift.size} hold 90 % "
        f"of {study.space.what} (hidden index {widest}). "
    )
    return [*_of_one_model(study), width + detects(study), *_reads(study), *_others(study)]


def called(study: Study, name: str) -> str:
    """Return a direction's name, with a mark where other goals would not give it again."""
    note = unstable(study, name)
    return f"{name} ({note})" if note else name


def unstable(study: Study, name: str) -> str:
    """Return what is said of a direction that other goals would not give again, else nothing."""
    hidden_index, number = parse_component(name)
    steady = study.space.layer(hidden_index).identified(number)
    return NOT_IDENTIFIED if steady is False else ""


def _of_one_model(study: Study) -> list[str]:
    """Say of a contrast what it is not."""
    if study.space.of_training:
        return []
    return [
        f"This is a contrast within one model, {study.space.what}, and not what training wrote: "
        "no model before training stands beside it."
    ]


def detects(study: Study) -> str:
    """Say how well the dominant direction tells classes apart, against what it stands beside."""
    name, table = str(study.dominant), study.harm
    own, what, floor = table.auroc(name), "", table.auroc(name).floor
    beside = [] if floor is None else [f"19 of 20 random directions below {floor.value:.2f}"]
    reached = 0.5 if floor is None else floor.value
    if study.styles is not None:
        found = {m.name.rpartition("/")[2]: m for m in study.styles.measurements(name)}
        own, what = found["harmful_auroc_within_styles"], " within a style"
        if own.floor is not None:
            reached = own.floor.value
            beside = [f"19 of 20 random directions below {reached:.2f}"]
        beside.append(f"{_ends(table.auroc(name))} over all styles together")
    beside.append(f"words alone {study.words:.2f}")
    means = {b.name: float(b.areas[b.chosen]) for b in table.baselines}
    if "difference in means" in means:
        beside.append(f"difference in means {means['difference in means']:.2f}")
    above = own.low is not None and own.low > max(reached, study.words)
    verdict = "tells" if above else "is not shown to tell"
    return (
        f"The first direction, {called(study, name)}, {verdict} harmful prompts from others on new "
        f"goals{what} better than random directions or words do (AUROC {_ends(own)}; "
        f"{', '.join(beside)})."
    )


def _reads(study: Study) -> list[str]:
    """Say whether the dominant direction reads the request or its wrapper."""
    name = str(study.dominant)
    if study.styles is None:
        return []
    at = study.styles.place(name)
    value, low, high = (float(end[at]) for end in study.styles.spurious)
    if not np.isfinite(value):
        return [f"Neither harm nor style explains anything along {name}."]
    share = f"{value:.0%}" + (f" [{low:.0%}, {high:.0%}]" if np.isfinite(low) else "")
    lean = "it is not shown to read the one more than the other"
    if np.isfinite(low):
        if low > 0.5:
            lean = "it reads the wrapper more than the request"
        elif high < 0.5:
            lean = "it reads the request more than the wrapper"
    floor = ""
    if "spurious" in study.styles.random:
        usual = float(study.styles.random["spurious"][at])
        floor = f"; random directions: {usual:.0%}"
        if np.isfinite(high) and high < usual:
            lean += "; it reads the wrapper less than random directions do"
    return [
        f"Style explains {share} of what style and harm explain along {name} (spurious "
        f"index{floor}): {lean}."
    ]


def _others(study: Study) -> list[str]:
    """Say which of the directions beside the dominant one have a theme that holds."""
    if study.naming is None:
        return []
    depth = str(study.dominant).partition("-")[0]
    rows = zip(study.naming.names, study.naming.labels, study.naming.accuracy, strict=True)
    others = [
        (name, label, accuracy)
        for name, label, accuracy in rows
        if name.partition("-")[0] == depth and name != study.dominant
    ]
    held = [
        f"{name} ({', '.join(filter(None, (label.words, _ends(accuracy), unstable(study, name))))})"
        for name, label, accuracy in others
        if name in study.naming.holding
    ]
    if not others:
        return []
    if not held:
        return [
            f"None of the {len(others)} next directions at that depth has a theme that holds on "
            "new goals."
        ]
    return [
        f"Of the {len(others)} next directions at that depth, {len(held)} "
        f"{'has a theme that holds' if len(held) == 1 else 'have themes that hold'} on new goals "
        f"(share of pairs told right by the name alone, chance .5; adjusted over all named "
        f"directions): {'; '.join(held)}."
    ]


def _ends(m: Measurement) -> str:
    value = "n/a" if m.value is None else f"{m.value:.2f}"
    return value if m.low is None or m.high is None else f"{value} [{m.low:.2f}, {m.high:.2f}]"


def how(study: Study) -> list[str]:
    """Say what was fitted on what, and read where."""
    parts, space = study.paired.parts, study.space
    models = f"{space.base} before and {space.aligned} after training"
    if not space.of_training:
        models = f"{space.aligned} alone, {space.kind}"
    said = [
        f"{models}; basis {space.basis}, read at {space.position.replace('_', ' ')}.",
        f"Fitted on {space.n} prompts of {space.n_goals} training goals; figures are of "
        f"{parts.count('test')} prompts of {len(set(study.harm.test_goals)) or 'no'} test goals.",
    ]
    if study.styles is not None:
        names = ", ".join(study.styles.design.held_out) or "none"
        said.append(
            f"Every style goes around harmful requests and their benign twins alike; styles that "
            f"nothing was fitted on: {names}."
        )
    elif study.no_styles:
        said.append(f"No style table: {study.no_styles}")
    if study.dynamics is not None:
        said.append(_who_writes(study))
    return [*said, *space.warnings]


def _who_writes(study: Study) -> str:
    assert study.dynamics is not None  # noqa: S101 - see the caller
    first = study.dynamics.names[0]
    up, down = (study.dynamics.writers(0, role) for role in (PROMOTES, SUPPRESSES))
    told = ", ".join(up[:4]) or "no block alone"
    back = f"; taken back most by {', '.join(down[:3])}" if down else ""
    return f"{first} is written by {told} (shown over all blocks and directions at once){back}."


def limits(study: Study) -> list[str]:
    """Say what the study does not show, its size first."""
    goals, width = len(set(study.harm.test_goals)), study.space.layers[-1].mean_shift.size
    said = [
        f"{study.space.n} training prompts lie in at most that many of {width} dimensions, so "
        "small components are those of these prompts; intervals rest on "
        f"{goals} test goals."
    ]
    if study.space.n < width and study.space.of_training:
        said.append(
            "With fewer prompts than dimensions a linear map can explain the training shift "
            "whatever it is; only its held-out quality counts."
        )
    return [*said, *LIMITS]


def labels(study: Study) -> dict[str, str]:
    """Return plain words for the figures that a reader meets first."""
    name = study.dominant or "none"
    words = {
        f"{START}/dominant/{HARM}_auroc": f"first direction ({name}) tells harm, all styles",
        f"{START}/dominant/{HARM}_balanced_accuracy": "the same, balanced accuracy",
        f"{START}/dominant/{HARM}_auroc_within_styles": "the same, compared within each style",
        f"{START}/dominant/refused_auroc": "first direction tells refused prompts",
        f"{START}/dominant/spurious index": f"spurious index of {name}: wrapper, not request",
        f"{START}/chosen/{HARM}_auroc": "best direction of all depths, chosen on other goals",
        f"{START}/baseline/difference in means/{HARM}_auroc": "difference in means, fitted to it",
        f"{START}/baseline/words/{HARM}_auroc": "the words alone",
    }
    if study.naming is not None:
        words |= {
            f"{START}/{n}/label": f"{called(study, n)} named '{label.words}': pairs told right by "
            "the name"
            for n, label in zip(study.naming.names, study.naming.labels, strict=True)
        }
    return words
