"""`theodolite explain heads map`: every head taken out once, under harmful and benign requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from theodolite.errors import ConfigError, DataError
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
from theodolite.mechanism.heads.stability import FEW_CLUSTERS
from theodolite.runs.panel import Figure, PanelResult

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = 2
TITLE: Final = "Heads that a refusal hangs on"
QUESTION: Final = (
    "Which attention heads change the next token after harmful requests most, and is that about "
    "harm?"
)
RESAMPLED: Final = 8  # clusters below which resamples are too alike to tell of other requests
ALMOST: Final = 0.8  # of the change under harmful requests


@dataclass(frozen=True)
class Options(AblationOptions):
    """What `theodolite explain heads map` can be asked (`-T key=value`).

    Args:
        level: query (each request's next token) or dataset (also how far the final states of all
            harmful requests turn together, which then ranks the heads).
        screen: fisher scores only the heads that a cheap approximation puts in front, and some
            others to check it; at level query.
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
        model, which nothing would be compared with, or screening for what it does not foretell.
    """
    check_common(options, request)
    at_least(1, keep=options.keep, audit=options.audit, cotangents=options.cotangents)
    if options.screen is not None and ablation_of(options).name in OF_PROMPTS:
        raise ConfigError(
            f"The operator {options.operator} cannot be screened for.",
            fix="Leave out --screen, or use ua, sc, zero or head_mean.",
        )
    if options.screen is not None and options.level == "dataset":
        raise ConfigError(
            "Screening foretells the change of the next token, not the angle that --level dataset "
            "ranks by.",
            fix="Leave out --screen, or use --level query.",
        )


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Take every head out once under every request, and see how far the next token moves."""
    model, requests = subject.model, subject.requests
    if options.level == "dataset" and len(requests.harmful) < 2:
        raise DataError(
            "A single harmful request shares nothing with others, so --level dataset has no angle.",
            fix="Give two or more, or use --level query.",
        )
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
    share = parameter_fraction(
        model.anatomy, scores.ranking(ranked_by(options.level))[:1], ablation
    )
    how = [
        made_with(subject, frame, len(scores.harmful), len(scores.benign))
        + f" Wording of the frame: {frame_hash(frame)[:12]}.",
        *result.how,
        f"One {ablation.unit} is {100 * share:.3g} % of the parameters that such an edit would "
        "touch.",
    ]
    return replace(result, how=how)


def report(
    scores: HeadScores, chosen: Screened | None = None, *, level: str = "query"
) -> PanelResult:
    """Return head scores as measurements, tables, figures and words."""
    by = ranked_by(level)
    rows = scores.scores(by)
    measurements = in_order(scores.measurements(by=by))
    said = findings(scores, rows, by=by, screened=chosen is not None)
    how = [
        f"Operator {scores.ablation.name} ({in_words(scores.ablation)}), target "
        f"{scores.ablation.at}, {scores.dtype}"
        + (", later layers frozen." if scores.freeze_downstream else "."),
        *_rounding(scores),
    ]
    tables: dict[str, Any] = {"head_scores": rows, "heads": scores.frame()}
    if chosen is not None:
        certificate = chosen.certificate(scores)
        worth, row, sentence = told(chosen, certificate)
        # What single heads hold of all change is not known where not all were scored.
        measurements = [m for m in measurements if "/share of" not in m.name] + [worth]
        tables["screening"] = [row]
        how.append(sentence)
        said += [] if certificate.certified else [f"Screening: {certificate}."]
    return PanelResult(
        measurements=measurements,
        tables=tables,
        figures=figures(scores, rows, level=level, screened=chosen is not None),
        findings=said,
        limits=limits(scores, chosen),
        how=how,
        labels=labels(measurements),
    )


def ranked_by(level: str) -> str:
    """Return the column of `head_scores` that ranks the heads at a level."""
    return ANGLE.column if level == "dataset" else KL.column


def _rounding(scores: HeadScores) -> list[str]:
    """Say how much changes where no head is taken out."""
    if scores.noise is None:
        return []
    angle = "" if scores.noise_angle is None else f" and {scores.noise_angle:.2g} degrees"
    return [f"Rounding alone, with no head out, gives up to {scores.noise:.2g} nats{angle}."]


# The last words of the names of measurements, those first that say most.
LEADING: Final = (ANGLE.column, "specific_heads", "specificity", "kl")


def in_order(found: Sequence[Measurement]) -> list[Measurement]:
    """Return measurements with what ranks the heads and whether it is about harm in front."""
    ends = {one.name: one.name.rpartition("/")[2] for one in found}
    first = [one for name in LEADING for one in found if ends[one.name] == name]
    return [*first, *(one for one in found if one not in first)]


def figures(scores: HeadScores, rows: Sequence[Any], *, level: str, screened: bool) -> list[Figure]:
    """Return the map, the heads that lead it and, of all heads, how few hold how much."""
    words, unit = in_words(scores.ablation), scores.ablation.unit
    by_angle = ranked_by(level) == ANGLE.column
    found = [
        head_map(rows, KL, how=words, unit=unit, noise=scores.noise),
        leading_heads(rows, ANGLE if by_angle else KL),
    ]
    if by_angle:
        angle = head_map(
            rows,
            ANGLE,
            how=words,
            unit=unit,
            noise=scores.noise_angle,
            name="heads_angle",
            framed=(),
            note="An angle has no benign control: whether a head is about harm is read from the "
            "change of the next token.",
        )
        found.insert(0, angle)
    # Of a screened choice nothing can be said about the rest.
    return found if screened else [*found, concentration(rows)]


def findings(
    scores: HeadScores, rows: Sequence[Any], *, by: str = KL.column, screened: bool = False
) -> list[str]:
    """Say which head leads, whether it is about harm, and whether few heads hold much.

    Args:
        rows: of the table `head_scores`, the highest first.
        by: the column that ranks them.
        screened: whether some heads only were scored.
    """
    first, noise = rows[0], scores.rounding(by)
    score = ANGLE if by == ANGLE.column else KL
    if noise is not None and first[by] <= noise:
        return [
            f"No head changes anything above rounding: the highest, {first['name']}, gives "
            f"{first[by]:.2g} {score.unit}, rounding alone up to {noise:.2g}."
        ]
    if score is ANGLE:
        leads = (
            f"Taking out head {first['name']} turns what all harmful requests share most: "
            f"{first[by]:.3g} degrees. It changes the next token by {_with_ends(first, 'kl')} nats."
        )
    else:
        leads = (
            f"Taking out head {first['name']} changes the next token after harmful requests most: "
            f"{_with_ends(first, 'kl')} nats.{_stays(scores, first, screened)}"
        )
    return [leads, *_about_harm(scores, rows)]


def _stays(scores: HeadScores, first: Any, screened: bool) -> str:
    """Say how often resamples keep the highest head at the top, where there are enough of them."""
    found = scores.over_harmful
    if found.n_clusters < RESAMPLED or first["top_probability"] is None:
        return ""
    who = f"the top {TOP} of the heads scored" if screened else f"the top {TOP}"
    return (
        f" It is among {who} in {first['top_probability']:.0%} of resamples of these {found.n} "
        "requests."
    )


def _about_harm(scores: HeadScores, rows: Sequence[Any]) -> list[str]:
    """Say how many heads matter more under harmful requests, and whether the highest is one."""
    difference, first = scores.specific, rows[0]
    if difference is None:
        return ["No benign requests were given, so it is not known whether that is about harm."]
    shown = [row["name"] for row in rows if row["shown_specific"]]
    if shown:
        named = ", ".join(shown[:5]) + (" and others" if shown[5:] else "")
        said = (
            f"{len(shown)} of {len(rows)} heads are shown to matter more under harmful than under "
            f"benign requests, all taken together: {named}."
        )
    elif difference.n_clusters < FEW_CLUSTERS:
        kind = "pairs" if difference.paired else "independent requests a side"
        said = (
            f"{difference.n_clusters} {kind} are too few to show one head out of "
            f"{scores.kl[0].size} to matter more under harmful than under benign requests. Use "
            "more requests; an audit has more with --profile standard."
        )
    else:
        said = (
            "No head is shown to matter more under harmful than under benign requests, all heads "
            "taken together."
        )
    if first["shown_specific"]:
        return [said]
    beside = f"Head {first['name']}" + (" is not among them: it" if shown else "")
    return [said, f"{beside} {_under_benign(first)}"]


def _under_benign(first: Any) -> str:
    """Say what a head that is not shown to be about harm does under benign requests."""
    both = f"{_with_ends(first, 'kl_benign')} vs {_with_ends(first, 'kl')} nats"
    if first["kl_benign"] >= first["kl"]:
        return f"changes the next token at least as much under benign requests: {both}."
    if first["kl_benign"] >= ALMOST * first["kl"]:
        return f"changes the next token almost as much under benign requests: {both}."
    return (
        f"changes the next token less under benign requests ({both}), but not by enough to be "
        "shown."
    )


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
    if chosen is None:
        said.append(
            "Heads are ranked by the same requests that score them, so the shares that the highest "
            "heads hold are too large, the more so with few requests."
        )
    else:
        said.append("Heads that were not scored exactly are left blank; they are in no ranking.")
    return said


def labels(found: Sequence[Measurement]) -> dict[str, str]:
    """Return plain words for the measurements."""
    words = {
        "kl": "change under harmful requests",
        "specificity": "change under harmful minus benign requests",
        ANGLE.column: ANGLE.title,
        "specific_heads": "heads shown to matter more under harmful requests",
        "missed": "top heads that the screening may have left out, at most",
    }
    named = {}
    for one in found:
        figure = one.name.rpartition("/")[2]
        head = one.name.partition("/head ")[2].partition("/")[0]
        if figure.startswith("share of"):
            size = figure.rpartition(" ")[2]
            who = "the highest head holds" if size == "1" else f"the highest {size} heads hold"
            named[one.name] = f"share of all change that {who}"
        elif figure in words:
            named[one.name] = f"head {head}: {words[figure]}" if head else words[figure]
    return named


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the highest heads, for the terminal."""
    by_angle = any(one.name.endswith(f"/{ANGLE.column}") for one in result.measurements)
    return [
        {
            "head": row["name"],
            **({"turn (degrees)": f"{row[ANGLE.column]:.3g}"} if by_angle else {}),
            "harmful (nats)": _with_ends(row, "kl"),
            "benign (nats)": "n/a" if row["kl_benign"] is None else _with_ends(row, "kl_benign"),
            "harm more?": {True: "shown", False: "not shown", None: "n/a"}[row["shown_specific"]],
            # It is the place by the change of the next token.
            **({} if by_angle else {f"in top {TOP}": _percent(row["top_probability"])}),
        }
        for row in result.tables["head_scores"][:TOP]
    ]


def _percent(share: float | None) -> str:
    return "n/a" if share is None else f"{share:.0%}"
