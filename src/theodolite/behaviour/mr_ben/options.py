"""What can be asked of the benchmark, and the prompts that follow from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from theodolite.behaviour.mr_ben.data import AUTO, BUNDLED, load_demos, load_rows
from theodolite.behaviour.mr_ben.prompts import (
    FORMATS,
    MOST_SHOTS,
    PLAIN,
    demos_for,
    incorrect_share,
    refine_turns,
    task_prompt,
)
from theodolite.behaviour.mr_ben.slots import fitted
from theodolite.data.mr_ben import Demo
from theodolite.data.prompts import shown
from theodolite.data.step_critique import CritiqueSample, CritiqueSet
from theodolite.errors import ConfigError, DataError
from theodolite.text.lists import names_in
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

FULL: Final = "full"
VERDICT, STEPWISE, STEPS = "verdict", "stepwise", "steps"
CHEAP: Final = (VERDICT, STEPWISE, STEPS)
MODES: Final = (FULL, *CHEAP)
INCORRECT: Final = "incorrect"
PLACEBO: Final = "placebo"
PRIORS: Final = (INCORRECT, PLACEBO)
LLM: Final = "llm"
VOTES: Final = "llm_vote3"
HUMAN: Final = "human"
WORDS: Final = "words"
NONE: Final = "none"
JUDGES: Final = (AUTO, LLM, VOTES, HUMAN, WORDS, NONE)
MAX_TOKENS: Final = 2048


@dataclass(frozen=True)
class Options:
    """What `theodolite eval mr-ben` can be asked; see the task of the same name.

    Args:
        mode: `full` lets the model write; `verdict`, `stepwise` and `steps` read its
            log-probabilities (see `logprob.py`).
        judge: who says whether a reason is right: `llm` (the model of --judge), `llm_vote3` (asked
            three times), `human` (a sheet with verdicts), `words` (the experts' own words),
            `none`, or `auto`: the model, else the sheet, else nobody.
        verdicts: the .csv file that people filled in.
        sheet: a .csv file to be written, with the reasons that wait for a verdict.
        validate: hold the judge against so many reasons that people judged (official data).
        reference: also score as the released scripts do.
        lenient: leave out rows that cannot be read, and tell how many.
        allow_missing: of answers made elsewhere, score those that are there.
    """

    source: str = BUNDLED
    file_format: str = AUTO
    subjects: str | None = None
    mode: str = FULL
    k_shot: int = 0
    demos: str | None = None
    steps_format: str = PLAIN
    analysis: bool = True
    self_refine: bool = False
    prior: str | None = None
    judge: str = AUTO
    verdicts: str | None = None
    sheet: str | None = None
    validate: int = 0
    limit: int | None = None
    max_tokens: int = MAX_TOKENS
    reference: bool = False
    lenient: bool = False
    allow_missing: bool = False


def check(options: Options, *, seed: int = 0) -> None:
    """Refuse options that cannot be used.

    Raises:
        ConfigError: a mode, format, prior, judge or number is wrong, or two exclude each other.
        DataError: the rows, worked examples or verdicts cannot be read, or the sheet not be
            written.
    """
    for name, known in (("mode", MODES), ("steps_format", FORMATS), ("judge", JUDGES)):
        value = getattr(options, name)
        if value not in known:
            raise ConfigError(f"There is no {name} {shown(value)}.", fix=did_you_mean(value, known))
    if options.prior is not None and options.prior not in PRIORS:
        raise ConfigError(
            f"There is no prior {shown(options.prior)}.", fix=did_you_mean(options.prior, PRIORS)
        )
    if not 0 <= options.k_shot <= MOST_SHOTS:
        raise ConfigError(
            f"{options.k_shot} worked examples cannot be shown.", fix="Give k_shot 0 to 3."
        )
    for name, least in (("max_tokens", 1), ("validate", 0)):
        if getattr(options, name) < least:
            raise ConfigError(
                f"`{name}` is {getattr(options, name)}.", fix=f"Give {least} or more."
            )
    _check_together(options)
    rows_of(options, demos_of(options))


def _check_together(options: Options) -> None:
    """Refuse options that exclude each other, and sheets that cannot be used."""
    from theodolite.behaviour.mr_ben.judging import read_verdicts
    from theodolite.behaviour.sheets import check_ending

    writes = ("self_refine", "prior", "verdicts", "sheet", "validate", "reference", "judge")
    if options.mode != FULL:
        for name in (*writes, "analysis"):
            if getattr(options, name) != getattr(Options(), name):
                raise ConfigError(
                    f"The mode {options.mode} writes no answer, so {name} has no effect.",
                    fix=f"Leave {name} out, or use -T mode=full.",
                )
        from theodolite.behaviour.mr_ben.logprob import check_modes

        check_modes(options.mode, k_shot=options.k_shot, steps_format=options.steps_format)
    if options.prior is not None and options.self_refine:
        raise ConfigError("A prior and self_refine are two runs.", fix="Leave one of them out.")
    if options.self_refine and not options.analysis:
        raise ConfigError(
            "Second thoughts ask for the four parts again, and analysis=false asks for three.",
            fix="Leave one of them out.",
        )
    if options.judge == HUMAN and options.verdicts is None:
        raise ConfigError(
            "The judge `human` needs a sheet with verdicts.",
            fix="Write one with -T sheet=FILE.csv, and name it with -T verdicts= once filled in.",
        )
    if options.verdicts is not None:
        if options.judge not in (AUTO, HUMAN):
            raise ConfigError(
                f"The judge {options.judge} takes no verdicts of people.",
                fix="Leave `judge` or `verdicts` out.",
            )
        read_verdicts(Path(options.verdicts))
    if options.sheet is not None:
        check_ending(Path(options.sheet))


def subjects_of(options: Options) -> tuple[str, ...] | None:
    """Return the subjects that are named; None where all are taken.

    Raises: ConfigError: one is named twice.
    """
    named = names_in(options.subjects)
    twice = [name for name, count in Counter(named).items() if count > 1]
    if twice:
        raise ConfigError(f"The subject {shown(twice[0])} is named twice.", fix="Name it once.")
    return named or None


def demos_of(options: Options) -> Mapping[str, tuple[Demo, ...]]:
    """Return the worked examples by sub-subject; {} where none are shown."""
    if not options.k_shot:
        return {}
    return load_demos(options.source, options.file_format, options.demos)


def rows_of(options: Options, demos: Mapping[str, Sequence[Demo]] | None = None) -> CritiqueSet:
    """Return the solutions that are checked; under a prior the incorrect ones alone.

    Args:
        demos: the worked examples; each solution must have as many as are shown.

    Raises: DataError: they cannot be read, or none is left.
    """
    found = load_rows(
        options.source,
        file_format=options.file_format,
        subjects=subjects_of(options),
        limit=options.limit,
        strict=not options.lenient,
    )
    if options.prior is not None:
        kept = tuple(row for row in found if not row.gold_correct)
        found = replace(found, samples=kept)
    if not len(found):
        raise DataError(
            f"No solution is left to check from {shown(options.source)}.",
            fix="Name another source, or leave the limit or the prior out.",
        )
    twice = [name for name, n in Counter(row.id for row in found).items() if n > 1]
    if twice:
        raise DataError(
            f"The solution {shown(twice[0])} stands in two subjects.", fix="Give each its own id."
        )
    for row in found if demos else ():
        demos_for(row, demos or {}, options.k_shot)
    return found


@dataclass(frozen=True)
class Asked:
    """A solution and the prompt that asks about it.

    Args:
        sample: the solution.
        prompt: the user's turn.
        shots: worked examples it shows.
        incorrect_shots: which share of them is incorrect; None without any.
    """

    sample: CritiqueSample
    prompt: str
    shots: int
    incorrect_shots: float | None


def asked_of(
    rows: CritiqueSet,
    demos: Mapping[str, Sequence[Demo]],
    options: Options,
    *,
    model: LanguageModel | None = None,
    prior: str | None = None,
) -> list[Asked]:
    """Return the prompts, each with as many worked examples as the model's context has room for.

    Examples are left out from the last one on until prompt and answer fit. Neither a question nor a
    solution is ever cut.

    Args:
        model: an open local model; None where the tokens cannot be counted: a provider then
            refuses what is too long.

    Raises: DataError: a prompt leaves no room for an answer even without examples.
    """
    by_shots: dict[str, Asked] = {}
    for shots in range(options.k_shot, -1, -1):
        left = [row for row in rows if row.id not in by_shots]
        made = [_asked(row, demos_for(row, demos, shots), options, prior) for row in left]
        fit = _fits(model, [one.prompt for one in made], options.max_tokens)
        by_shots |= {one.sample.id: one for one, fits in zip(made, fit, strict=True) if fits}
    for row in rows:
        if row.id not in by_shots:
            raise _too_long(model, row, options.max_tokens)
    found = [by_shots[row.id] for row in rows]
    if options.self_refine:
        _check_turns(model, found, options)
    return found


def _asked(
    row: CritiqueSample, chosen: Sequence[Demo], options: Options, prior: str | None
) -> Asked:
    prompt = task_prompt(
        row, chosen, steps_format=options.steps_format, prior=prior, analysis=options.analysis
    )
    return Asked(row, prompt, len(chosen), incorrect_share(chosen))


def _check_turns(model: LanguageModel | None, found: Sequence[Asked], options: Options) -> None:
    """Refuse a conversation of three turns that might not fit; raises DataError."""
    turns, room = "\n".join(refine_turns()), 3 * options.max_tokens
    for one, fits in zip(found, _fits(model, [f"{one.prompt}\n{turns}" for one in found], room)):
        if not fits:
            raise _too_long(model, one.sample, room)


def _fits(model: LanguageModel | None, prompts: Sequence[str], room: int) -> list[bool]:
    """Return which prompts leave so much room for an answer."""
    if model is None:
        return [True] * len(prompts)
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    return [one is not None for one in fitted(model, chats, room, continued=False)]


def _too_long(model: LanguageModel | None, row: CritiqueSample, room: int) -> DataError:
    most, name = (None, "") if model is None else (model.max_context, model.name)
    return DataError(
        f"The prompt about {shown(row.id)} and {room} tokens for what is written do not fit into "
        f"the {most} tokens that {name} reads, even without worked examples.",
        fix="Lower -T max_tokens, or use a model with a longer context; solutions are never cut.",
    )
