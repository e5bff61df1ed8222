"""Options that all analyses of heads share, and the checks that need no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from theodolite.errors import ConfigError
from theodolite.judging.keywords import keyword_judge
from theodolite.mechanism.heads.ablation import (
    OF_PROMPTS,
    Head,
    HeadAblation,
    head_name,
    parse_heads,
)
from theodolite.mechanism.heads.analyses.words import many
from theodolite.mechanism.heads.asr import MAX_NEW_TOKENS, check_judge
from theodolite.text.lists import names_in

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.models.anatomy import Anatomy

WORDS = {
    "undifferentiated": "attention spread evenly over all it can see",
    "scale": "output scaled",
    "zero": "output set to zero",
    "head_mean": "replaced by the mean over the layer's heads",
    "dataset_mean": "output replaced by its mean over reference requests",
    "resample": "output replaced by that under another request",
}


@dataclass(frozen=True)
class AnswerOptions:
    """How answers are written and judged.

    Args:
        opener: put affirmative first words into the model's mouth.
        decoding: greedy, or topk (five sampled answers).
        max_tokens: length of an answer.
        keywords: ours or official (needs the delivered list).
        opinions: requests whose answers the refusal scorer reads whole.
        judge: a model that judges those, too, e.g. openai/gpt-4o.
    """

    opener: bool = False
    decoding: str = "greedy"
    max_tokens: int = MAX_NEW_TOKENS
    keywords: Literal["ours", "official"] = "ours"
    opinions: int = 40
    judge: str | None = None


@dataclass(frozen=True)
class AblationOptions:
    """How a head is taken out (see `HeadAblation`).

    Args:
        operator: ua, sc, zero, head_mean, dataset_mean or resample.
        epsilon: factor of ua and sc.
        target: q, k or v, where the operator has a choice.
        unit: head or kv_group.
    """

    operator: str = "ua"
    epsilon: float | None = None
    target: str | None = None
    unit: str = "head"


def ablation_of(options: AblationOptions) -> HeadAblation:
    """Return the ablation that options ask for."""
    return HeadAblation(options.operator, options.epsilon, options.target, options.unit)


def in_words(ablation: HeadAblation) -> str:
    """Return what is done to a head, for captions."""
    factor = f" by {ablation.factor:g}" if ablation.name == "scale" else ""
    if ablation.name == "undifferentiated" and ablation.factor:
        return f"queries times {ablation.factor:g}"
    return f"{WORDS[ablation.name]}{factor}"


def check_common(options: AblationOptions, request: ExplainRequest, *, base: str = "") -> None:
    """Refuse an ablation that does not exist, and a second model that is missing or not looked at.

    Args:
        base: "" (no part in the analysis), "may" or "must".

    Raises: ConfigError: naming the option.
    """
    ablation_of(options).check()
    if request.base is not None and not base:
        raise ConfigError(
            "--base has no part in this analysis.",
            fix="Use it with `explain heads overlap` or `explain heads transplant`.",
        )
    if request.base is None and base == "must":
        raise ConfigError(
            "--base is missing: whose weights are lent?",
            fix="Name the model that this one was tuned from.",
        )


def check_lasting(options: AblationOptions) -> None:
    """Refuse operators that are defined at the places of a prompt only.

    Raises: ConfigError: naming it.
    """
    name = ablation_of(options).name
    if name in OF_PROMPTS:
        raise ConfigError(
            f"The operator {name} takes heads out one at a time, and at the places of a request.",
            fix="Use ua, sc, zero or head_mean.",
        )


def at_least(low: int, **counts: int) -> None:
    """Refuse counts that are too small.

    Raises: ConfigError: naming the option.
    """
    for name, count in counts.items():
        if count < low:
            raise ConfigError(f"task.{name} is {count}.", fix=f"Give {low} or more.")


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not known.

    Raises: ConfigError: naming the known ones.
    """
    if value not in known:
        raise ConfigError(f"task.{name} is {value!r}.", fix=f"Use {', '.join(map(repr, known))}.")


def named_groups(text: str) -> dict[str, list[Head]]:
    """Read `18-8,12-3`, or several such groups parted by semicolons.

    Returns: the groups, named after their heads in order.

    Raises: ConfigError: a word is no head.
    """
    groups = [sorted(set(parse_heads(names_in(part)))) for part in text.split(";") if part.strip()]
    return {" ".join(map(head_name, group)): group for group in groups}


def no_benign(request: ExplainRequest) -> None:
    """Refuse benign requests where nothing reads them.

    Raises: ConfigError: there is a file of them.
    """
    if request.benign is not None:
        raise ConfigError("--benign has no part in this analysis.", fix="Leave it out.")


def check_judging(keywords: str, judge: str | None, seed: int) -> None:
    """Refuse judges that cannot be had, before a model is opened.

    Raises:
        DataError: the official keywords are asked for and not there.
        JudgeError: the judge model is not known.
    """
    keyword_judge(keywords)
    check_judge(judge, seed)


def ask_canaries(judge: str | None, seed: int) -> None:
    """Ask a judge model what it has to know, before there is anything to judge.

    Raises:
        JudgeError: it cannot be reached, or got a canary wrong.
    """
    if judge is not None:
        from theodolite.judging.judged_answers import open_judge, run

        run(open_judge(judge, seed=seed).check)


def check_sizes(
    anatomy: Anatomy, ablation: HeadAblation, size: int, random: int, *, disjoint: bool = True
) -> None:
    """Refuse a group, or random groups beside it, for which the model has too few heads.

    Args:
        size: heads of the largest group.
        random: random groups of that size.
        disjoint: whether random heads must lie outside the group.

    Raises: ConfigError: naming the option.
    """
    count = anatomy.n_layers * ablation.units(anatomy)
    if size > count:
        raise ConfigError(
            f"task.group_size is {size}, and the model has {many(count, 'head')}.",
            fix=f"Give {count} or less.",
        )
    if random and disjoint and 2 * size > count:
        raise ConfigError(
            f"A random group of {many(size, 'head')} does not fit beside the group: the model has "
            f"{count}.",
            fix=f"Use -T random=0, or a group_size of {count // 2} or less.",
        )


def made_with(subject: Subject, template: str, harmful: int, benign: int | None = None) -> str:
    """Return the sentence on what was looked at.

    Args:
        benign: how many benign requests were; None where the analysis has no use for any.
    """
    asked = many(harmful, "harmful request")
    if benign is not None:
        asked += f" and {many(benign, 'benign one')}" if benign else ", no benign ones"
    return f"{asked} ({subject.requests.source}), template {template}."
