"""`theodolite explain triggers`: on which styles and words does a refusal hang?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from theodolite.data.prompts import SPLITS, Prompt
from theodolite.data.styles import STYLES_VERSION, style_names, with_own
from theodolite.data.wrappers import read_wrappers, wrapper_rows
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.mechanism.lens.explain import check_alone, check_tokens, token_classes
from theodolite.mechanism.relevance import BACKENDS
from theodolite.mechanism.requests import TEST, TRAIN, Requests
from theodolite.mechanism.triggers.refused import LOOKED_AT, refused_relevance
from theodolite.mechanism.triggers.replies import MAX_NEW_TOKENS
from theodolite.mechanism.triggers.rewrites import RewriteResistance, rewrite_resistance
from theodolite.mechanism.triggers.shared_words import SharedWords, shared_words
from theodolite.mechanism.triggers.tokens import DRAWS, MOST, TriggerWords, trigger_words
from theodolite.mechanism.triggers.weakness import METHOD_VERSION, StyleWeakness, style_weakness
from theodolite.models.refs import parse_reference
from theodolite.runs.panel import PanelResult, extended
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = METHOD_VERSION
TITLE: Final = "What a refusal hangs on"
QUESTION: Final = (
    "Which style around a harmful request weakens its refusal, and which words carry it?"
)

WRAPPERS: Final = "triggers_wrappers"
"""The table of a run that holds the user's own wrappers, so that they can be hardened."""


@dataclass(frozen=True)
class Options:
    """What `theodolite explain triggers` can be asked (`-T key=value`).

    Args:
        styles: wrappers: `jailbreak`, `benchmark`, `pressure`, `held_out`, `all`, or names joined
            by commas.
        wrappers: a file of wrappers of your own (`data.wrappers`), asked beside those styles.
        goals: the split that is measured; test goals are left alone by default, so that they can
            tell afterwards whether a repair worked.
        max_tokens: length of replies.
        tokens: as for `explain lens`.
        words: refused requests whose words are looked at; 0 leaves them out.
        most, draws: words replaced at most, and random orders beside them.
        backend: of the relevance: lrp, decomposition, integrated_gradients or leave_one_out.
        rewrites: refused requests that are reworded until they are answered, nearest wording
            first; 0 leaves this out.
        rewriter: a local model that writes further wordings, on your authority.
        keep_text: keep the words of rewrites in the run folder; else their hashes.
    """

    styles: str = "jailbreak"
    wrappers: str | None = None
    goals: str = "val"
    max_tokens: int = MAX_NEW_TOKENS
    tokens: str = "en"
    words: int = LOOKED_AT
    most: int = MOST
    draws: int = DRAWS
    backend: str = "lrp"
    rewrites: int = 0
    rewriter: str | None = None
    keep_text: bool = False


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError or DataError: an unknown style, split, back end or token list, a bad file of
        wrappers, a count, or a base model, which nothing would be compared with.
    """
    style_names(options.styles, read_wrappers(options.wrappers))
    check_tokens(options.tokens)
    check_alone(request)
    if options.goals not in SPLITS:
        raise ConfigError(
            f"There is no split '{options.goals}'.", fix=did_you_mean(options.goals, SPLITS)
        )
    if options.backend not in BACKENDS:
        raise ConfigError(
            f"There is no back end '{options.backend}'.",
            fix=did_you_mean(options.backend, BACKENDS),
        )
    counts = (options.max_tokens, options.most, options.draws)
    if min(counts) < 1 or min(options.words, options.rewrites) < 0:
        raise ConfigError(
            "task.max_tokens, task.most and task.draws must be at least 1, task.words and "
            "task.rewrites at least 0.",
            fix="Change that option.",
        )
    if options.rewrites and not options.words:
        raise ConfigError(
            "Rewrites begin at the words that carry the refusal, and task.words is 0.",
            fix="Set task.words, or leave task.rewrites out.",
        )
    if options.rewriter is not None and parse_reference(options.rewriter).kind == "api":
        raise ConfigError(
            f"The rewriter '{escape(options.rewriter, 80)}' is behind an API, and requests are "
            "reworded on this machine only.",
            fix="Name a local model.",
        )


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Ask every goal in every style, then take the words of refused requests away."""
    kept: dict[str, Any] = {
        "template": subject.template,
        "journal": run.journal,
        "progress": progress,
    }
    fitted, measured = parted(subject.requests, options.goals)
    classes = token_classes(subject.model, options.tokens, *fitted)
    own = read_wrappers(options.wrappers)
    styles = with_own(options.styles, own)
    found = style_weakness(
        subject.model,
        *measured,
        styles=styles,
        wrapped=wrapped_of(subject.requests, measured),
        classes=classes,
        max_new_tokens=options.max_tokens,
        **kept,
    )
    found.save(run)
    if own:
        run.save_table(WRAPPERS, wrapper_rows(own))
    result = report(found, subject.requests.source, options, seed)
    if not options.words:
        return result
    read = refused_relevance(
        subject.model,
        found,
        fitted,
        measured[0],
        most=options.words,
        backend=options.backend,
        seed=seed,
        **kept,
    )
    if isinstance(read, str):
        return extended(result, how=[f"Words were left out: {read}."])
    refused, carried = read
    words = trigger_words(
        subject.model,
        refused,
        carried,
        classes,
        most=options.most,
        draws=options.draws,
        seed=seed,
        **kept,
    )
    words.save(run)
    shared = shared_words(refused, carried)
    shared.save(run)
    result = with_shared_words(with_words(result, words, options), shared)
    if not options.rewrites:
        return result
    resistance = rewrite_resistance(
        subject.model,
        refused[: options.rewrites],
        relevance={own.prompt_id: own for own in carried},
        styles=styles,
        rewriter=rewriter_of(options, subject),
        keep_text=options.keep_text,
        max_new_tokens=options.max_tokens,
        seed=seed,
        **kept,
    )
    resistance.save(run)
    return with_rewrites(result, resistance)


def rewriter_of(options: Options, subject: Subject) -> LanguageModel | None:
    """Open the rewriter model that the user named."""
    if options.rewriter is None:
        return None
    from theodolite.models import open_model

    return cast("LanguageModel", open_model(options.rewriter, device=str(subject.model.device)))


def parted(
    requests: Requests, goals: str
) -> tuple[tuple[list[Prompt], list[Prompt]], tuple[list[Prompt], list[Prompt]]]:
    """Return the requests that directions are fitted on, and those that are measured.

    Where prompts name splits, `goals` is measured and train fitted on (val where train is
    measured); else they are parted by goal, half and half.

    Raises: DataError: prompts name splits, and none is of the one asked for.
    """
    splits = {prompt.split for prompt in requests.bare}
    if splits == {None}:
        return requests.part(TRAIN), requests.part(TEST)
    if goals not in splits:
        known = ", ".join(sorted(split for split in splits if split))
        raise DataError(f"No request is of the split '{goals}'.", fix=f"There is {known}.")
    fit = "val" if goals == "train" and "val" in splits else "train"
    sides = (requests.harmful, requests.benign)
    fitted, measured = (
        tuple([p for p in side if p.split == split] for side in sides) for split in (fit, goals)
    )
    return (fitted[0], fitted[1]), (measured[0], measured[1])


def wrapped_of(
    requests: Requests, measured: tuple[Sequence[Prompt], Sequence[Prompt]]
) -> list[Prompt]:
    """Return the user's wrapped requests whose goals are measured.

    Raises: DataError: there are wrapped requests, and none of them is of such a goal.
    """
    goals = {cluster_of(prompt) for side in measured for prompt in side}
    found = [prompt for prompt in requests.wrapped if cluster_of(prompt) in goals]
    if requests.wrapped and not found:
        raise DataError(
            "No wrapped request has the `goal_id` of a measured bare request.",
            fix="Give wrapped requests the goal_id (or id) of their bare form.",
        )
    return found


def report(found: StyleWeakness, source: str, options: Options, seed: int = 0) -> PanelResult:
    """Return refusal by style as measurements, a table, a figure and words."""
    measurements = found.measurements()
    weakest = found.weakest(seed=seed) if found.harmful.wrapped else None
    return PanelResult(
        measurements=measurements,
        tables={
            "triggers_by_style": found.frame(seed=seed),
            "triggers_outcomes": found.outcomes(),
        },
        figures=[found.figure()],
        findings=[weakest.words] if weakest else [],
        limits=LIMITS,
        how=[
            f"{len(found.harmful.prompt_ids)} harmful goals and "
            f"{len(found.benign.prompt_ids) if found.benign else 0} benign ones ({source}), each "
            f"bare and in {len(found.harmful.wrapped)} styles (version {STYLES_VERSION}); greedy "
            f"replies of at most {options.max_tokens} tokens, scored in memory by the offline "
            "refusal scorer and not kept.",
        ],
        labels=labels(found),
    )


LIMITS: Final = (
    "A weak style is found on these goals and these wrappers; others may be weaker.",
    "Log-odds of the first token move with any style that opens replies in its own way; they tell "
    "of refusal only beside the replies.",
)


def labels(found: StyleWeakness) -> dict[str, str]:
    """Return plain words for the headline figures."""
    told = {}
    for side in found.sides:
        told[f"triggers/{side.label}/plain"] = f"bare {side.label} requests refused"
        told[f"triggers/{side.label}/all_wrapped"] = f"wrapped {side.label} requests refused"
    return told | {
        "triggers/words/half": "words that hold half of what speaks for a refusal",
        "triggers/words/vulnerability": "fall without such words, beyond random ones",
    }


def with_words(result: PanelResult, words: TriggerWords, options: Options) -> PanelResult:
    """Add what replacing words did."""
    return extended(
        result,
        measurements=words.measurements(),
        tables={"triggers_words": words.frame(), "triggers_words_prompts": words.rows()},
        figures=[words.figure()],
        findings=[words.finding()],
        how=[
            f"Words of {len(words.prompt_ids)} refused bare requests, ranked by relevance "
            f"({options.backend}) for the direction from benign to harmful requests of other "
            f"goals; replaced by '{words.settings['neutral']}'.",
        ],
    )


def with_shared_words(result: PanelResult, shared: SharedWords) -> PanelResult:
    """Add which words carry the refusals of several goals."""
    if not shared.words:
        return result
    return extended(
        result,
        measurements=[shared.shared()],
        tables={"triggers_by_word": shared.frame()},
        figures=[shared.figure()],
        findings=[shared.finding()],
        labels={"triggers/words/shared": "what speaks for a refusal on words of several goals"},
    )


def with_rewrites(result: PanelResult, found: RewriteResistance) -> PanelResult:
    """Add how far requests had to be reworded."""
    passed, distance = found.passed(), found.least_distance()
    said = f"{passed.value or 0:.0%} of {passed.n} refused requests were answered in other words"
    if distance.value is not None:
        said += f", the nearest {distance.value:.1f} words away"
    return extended(
        result,
        measurements=found.measurements(),
        tables={"triggers_rewrites": found.frame()},
        findings=[f"{said}."],
        limits=["Wordings come from a short list; a model that stands them may fall to others."],
        labels={
            "triggers/rewrites/passed": "refused requests answered in other words",
            "triggers/rewrites/distance": "words changed in the nearest such wording",
        },
    )


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return refusal by style, for the terminal."""
    return [
        {
            "class": row["label"],
            "style": row["style"],
            "refused": _cell(row, "refused", "low", "high"),
            "change": _cell(row, "change", "change_low", "change_high"),
            "p (Holm)": "" if row["p_holm"] is None else f"{row['p_holm']:.2g}",
        }
        for row in result.tables["triggers_by_style"]
    ]


def _cell(row: Any, value: str, low: str, high: str) -> str:
    if row[value] is None:
        return ""
    ends = "" if row[low] is None else f" [{row[low]:.2f}, {row[high]:.2f}]"
    return f"{row[value]:.2f}{ends}"
