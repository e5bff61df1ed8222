"""`theodolite explain heads map`: every head taken out once, under harmful and benign requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from theodolite.errors import ConfigError
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.heads.ablation import OF_PROMPTS, parameter_fraction
from theodolite.mechanism.heads.analyses.options import (
    AblationOptions,
    ablation_of,
    at_least,
    check_common,
    in_words,
    made_with,
)
from theodolite.mechanism.heads.analyses.screened import Screened, screened_heads, told
from theodolite.mechanism.heads.figures import ANGLE, KL, concentration, head_map, leading_heads
from theodolite.mechanism.heads.frames import encode_framed, frame_hash, resolve_frame
from theodolite.mechanism.heads.result import TOP, HeadScores
from theodolite.mechanism.heads.screening import AUDITED
from theodolite.mechanism.heads.ships import head_ships
from theodolite.runs.panel import Figure, PanelResult

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = 1
TITLE: Final = "Heads that a refusal hangs on"
QUESTION: Final = (
    "Which attention heads change the next token after harmful requests most, and is that about "
    "harm?"
)


@dataclass(frozen=True)
class Options(AblationOptions):
    """What `theodolite explain heads map` can be asked (`-T key=value`).

    Args:
        level: query (each request's next token) or dataset (also how far the final states of all
            harmful requests turn together, which then ranks the heads).
        screen: fisher scores only the heads that a cheap approximation puts in front, and some
            others to check it.
        keep: so many heads at the top the screening is to get right.
        audit: heads outside the screening's choice that are scored all the same.
        cotangents: backward passes of the screening; more make it less rough.
        freeze_downstream: what the block's own MLP and later layers add stays as it was: the
            direct effect alone.
    """

    level: Literal["query", "dataset"] = "query"
    screen: Literal["fisher"] | None = None
    keep: int = TOP
    audit: int = AUDITED
    cotangents: int = 16
    freeze_downstream: bool = False


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError: an unknown operator, target or unit, a count that is too small, or a base
        model, which nothing would be compared with.
    """
    check_common(options, request)
    at_least(1, keep=options.keep, audit=options.audit, cotangents=options.cotangents)
    if options.screen is not None and ablation_of(options).name in OF_PROMPTS:
        raise ConfigError(
            f"The operator {options.operator} cannot be screened for.",
            fix="Leave out --screen, or use ua, sc, zero or head_mean.",
        )


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Take every head out once under every request, and see how far the next token moves."""
    model, requests = subject.model, subject.requests
    ablation = ablation_of(options)
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress, "seed": seed}
    chosen: Screened | None = None
    if options.screen is not None:
        encoded = encode_framed(model, requests.harmful, subject.template)
        chosen = screened_heads(
            model,
            encoded,
            ablation,
            keep=options.keep,
            audit=options.audit,
            cotangents=options.cotangents,
            **kept,
        )
    scores = head_ships(
        model,
        requests.harmful,
        requests.benign,
        ablation=ablation,
        template=subject.template,
        only=None if chosen is None else chosen.heads,
        freeze_downstream=options.freeze_downstream,
        **kept,
    )
    scores.save(run)
    frame = resolve_frame(model, subject.template)
    result = report(scores, chosen, level=options.level)
    share = parameter_fraction(model.anatomy, scores.ranking()[:1], ablation)
    how = [
        made_with(subject, frame, len(scores.harmful), len(scores.benign))
        + f" Wording of the frame: {frame_hash(frame)[:12]}.",
        *result.how,
        f"One {ablation.unit} is {share:.4%} of the parameters that such an edit would touch.",
    ]
    return replace(result, how=how)


def report(
    scores: HeadScores, chosen: Screened | None = None, *, level: str = "query"
) -> PanelResult:
    """Return head scores as measurements, tables, figures and words."""
    rows = scores.scores()
    measurements, said = in_order(scores.measurements()), findings(scores, rows)
    how = [
        f"Operator {scores.ablation.name} ({in_words(scores.ablation)}), target "
        f"{scores.ablation.at}, {scores.dtype}"
        + (", later layers frozen." if scores.freeze_downstream else ".")
    ]
    tables: dict[str, Any] = {"head_scores": rows, "heads": scores.frame()}
    if chosen is not None:
        certificate = chosen.certificate(scores)
        worth, row, sentence = told(chosen, certificate)
        # What single heads hold of all change is not known where not all were scored.
        measurements = [m for m in measurements if "/share of" not in m.name] + [worth]
        tables["screening"] = [row]
        how.append(sentence)
        said += [] if certificate.certified else [f"The screening is {certificate}."]
    return PanelResult(
        measurements=measurements,
        tables=tables,
        figures=figures(scores, rows, level=level, screened=chosen is not None),
        findings=said,
        limits=limits(scores, chosen),
        how=how,
        labels=labels(measurements),
    )


LEADING: Final = ("specific_heads", "top/specificity", "top/kl")


def in_order(found: Sequence[Measurement]) -> list[Measurement]:
    """Return measurements with those first that say whether a map is about harm."""
    ends = {one.name: one.name.partition("/")[2] for one in found}
    first = [one for name in LEADING for one in found if ends[one.name] == name]
    return [*first, *(one for one in found if one not in first)]


def figures(scores: HeadScores, rows: Sequence[Any], *, level: str, screened: bool) -> list[Figure]:
    """Return the map, the heads that lead it and, of all heads, how few hold how much."""
    words, unit = in_words(scores.ablation), scores.ablation.unit
    found = [head_map(rows, KL, how=words, unit=unit, noise=scores.noise), leading_heads(rows)]
    if level == "dataset" and ANGLE.column in scores.angles:
        angle = head_map(
            rows, ANGLE, how=words, unit=unit, noise=scores.noise_angle, name="heads_angle"
        )
        found.insert(0, angle)
    # Of a screened choice nothing can be said about the rest.
    return found if screened else [*found, concentration(rows)]


def findings(scores: HeadScores, rows: Sequence[Any]) -> list[str]:
    """Say which head leads, whether it is about harm, and whether few heads hold much."""
    first = rows[0]
    said = [
        f"Taking out head {first['name']} changes the next token after harmful requests most: "
        f"{_with_ends(first, 'kl')} nats. Other requests of this kind keep it among the top {TOP} "
        f"in {first['top_probability']:.0%} of resamples."
    ]
    difference = scores.specific
    if difference is None:
        said.append("No benign requests were given, so it is not known whether that is about harm.")
        return said
    shown = [row["name"] for row in rows if row["shown_specific"]]
    if not shown:
        said.append(
            "No head is shown to matter more under harmful than under benign requests, all heads "
            "taken together."
        )
    else:
        named = ", ".join(shown[:5]) + (" and others" if shown[5:] else "")
        said.append(
            f"{len(shown)} of {len(rows)} heads are shown to matter more under harmful than under "
            f"benign requests, all taken together: {named}."
        )
    if not first["shown_specific"]:
        who = f"Head {first['name']} is not among them" if shown else f"Head {first['name']}"
        said.append(
            f"{who}: under benign requests it changes {_with_ends(first, 'kl_benign')} nats."
        )
    return said


def _with_ends(row: Any, column: str) -> str:
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    ends = "" if low is None or high is None else f" [{low:.3g}, {high:.3g}]"
    return f"{row[column]:.3g}{ends}"


def limits(scores: HeadScores, chosen: Screened | None) -> list[str]:
    """Say what a map of single ablations does not show."""
    said = [
        "A divergence has no direction: a head that changes anything scores high. Read the "
        "difference to benign requests and delta_logp_refusal beside it.",
        "Only the next token after the request is read; whether the model then answers is what "
        "`explain heads asr` measures.",
    ]
    if not scores.freeze_downstream:
        said.append("Later heads may make up for a missing one, so single scores understate it.")
    if chosen is not None:
        said.append("Heads that were not scored exactly are left blank; they are in no ranking.")
    return said


def labels(found: Sequence[Measurement]) -> dict[str, str]:
    """Return plain words for the measurements."""
    words = {
        "top/kl": "what the highest head changes under harmful requests",
        "top/specificity": "the same, minus benign requests",
        "specific_heads": "heads shown to matter more under harmful requests",
        "noise": "what rounding alone changes",
        "screening/missed": "heads left out that may belong to the top, at most",
    }
    named = {}
    for one in found:
        figure = one.name.partition("/")[2]
        if figure.startswith("share of"):
            size = figure.rpartition(" ")[2]
            who = "the highest head holds" if size == "1" else f"the highest {size} heads hold"
            named[one.name] = f"share of all change that {who}"
        elif figure in words:
            named[one.name] = words[figure]
    return named


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the highest heads, for the terminal."""
    return [
        {
            "head": row["name"],
            "harmful (nats)": _with_ends(row, "kl"),
            "benign (nats)": "n/a" if row["kl_benign"] is None else _with_ends(row, "kl_benign"),
            "harm more?": {True: "shown", False: "not shown", None: "n/a"}[row["shown_specific"]],
            f"in top {TOP}": f"{row['top_probability']:.0%}",
        }
        for row in result.tables["head_scores"][:TOP]
    ]
