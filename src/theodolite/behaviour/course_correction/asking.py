"""What is asked of a model and how: options, begun replies, and the continuations it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.course_correction import adaptive, attacks, calibration
from theodolite.behaviour.course_correction.data import BUNDLED, load_rows
from theodolite.behaviour.course_correction.open_turn import CHAT, check_open_turn, check_provider
from theodolite.behaviour.course_correction.prefixes import (
    NO_OPENER,
    Prefix,
    check_ks,
    check_opener,
    make_prefixes,
)
from theodolite.behaviour.course_correction.scoring import ANY_DEPTH, CONTINUE, Item
from theodolite.behaviour.course_correction.suppression import check_steps
from theodolite.behaviour.course_correction.task import (
    ANSWER,
    DEPTHS,
    MAX_TOKENS,
    TEMPERATURE,
    TOP_P,
    check_task,
    correction_task,
    items_of,
)
from theodolite.behaviour.course_correction.yes_no_judge import judged_by_yes_no
from theodolite.data.correction_lists import VERSION as LISTS
from theodolite.data.prompts import PromptSet, shown
from theodolite.errors import ConfigError, RunError
from theodolite.judging.local import is_local
from theodolite.models.handle import ApiModel
from theodolite.providers.evaluate import evaluate as run_task
from theodolite.providers.log_samples import samples_of
from theodolite.text.lists import names_in, numbers_in

if TYPE_CHECKING:
    from inspect_ai.solver import Solver

    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

AUTO: Final = "auto"
NO_DEFENCE: Final = "none"
MOST_UNPARSED: Final = 0.02


@dataclass(frozen=True)
class Options:
    """What `theodolite eval course-correction` can be asked; see the task of the same name.

    Args:
        unit: `token` of the model, `word`, or `auto`: tokens of a local model, else words.
        prefill: one or several of `continue`, `new_turn` and `in_prompt`, joined by commas; with
            both `continue` and `new_turn` the effect of the header is measured.
        template: `chat`, or `plain` for a model without a chat template.
        adaptive_b: sample no more paths of a row and depth once the half width of its Wilson
            interval is this small; up to `paths`.
        sheet: a .csv file to be written, with continuations for people to label.
        labels: the .csv file that came back.
        attacks: a file of attack prompts to replay.
        suppress: also measure with refusing first tokens suppressed for so many steps.
        defence: also measure with `any_depth`, or `none`.
        harm_curve: let the judge say after every 8 tokens whether harm was added.
    """

    source: str = BUNDLED
    split: str = "test"
    ks: str = DEPTHS
    unit: str = AUTO
    opener: str = NO_OPENER
    prefill: str = CONTINUE
    where: str = ANSWER
    template: str = CHAT
    paths: int = 1
    adaptive_b: float | None = None
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    max_tokens: int = MAX_TOKENS
    limit: int | None = None
    benign: bool = True
    sheet: str | None = None
    labels: str | None = None
    attacks: str | None = None
    suppress: int = 0
    defence: str = NO_DEFENCE
    harm_curve: bool = False


def check(options: Options, *, seed: int = 0) -> None:
    """Refuse options that cannot be used.

    Raises:
        ConfigError: depths, unit, opener, prefill, place, paths, length or an addition are wrong.
        DataError: the rows, labels or attacks cannot be read, or the sheet not be written.
    """
    check_ks(numbers_in(options.ks, "task.ks"))
    check_opener(options.opener)
    check_task(prefills_of(options), options.where, options.paths, options.max_tokens)
    if options.unit not in (AUTO, "token", "word"):
        raise ConfigError(f"task.unit is {shown(options.unit)}.", fix="Use auto, token or word.")
    _check_additions(options)
    rows_of(options, seed)


def _check_additions(options: Options) -> None:
    """Refuse additions that cannot be measured; raises as `check`."""
    check_steps(options.suppress)
    if options.defence not in (NO_DEFENCE, ANY_DEPTH):
        raise ConfigError(
            f"There is no defence {shown(options.defence)}.", fix=f"Use {ANY_DEPTH} or none."
        )
    if options.adaptive_b is not None:
        adaptive.check_target(options.adaptive_b, options.paths)
    beside = options.suppress or options.defence != NO_DEFENCE or options.harm_curve
    if beside and CONTINUE not in prefills_of(options):
        raise ConfigError(
            "suppress, defence and harm_curve are about a turn that stays open.",
            fix="Add continue to -T prefill, or leave them out.",
        )
    if options.sheet is not None:
        calibration.check_sheet(Path(options.sheet))
    if options.labels is not None:
        calibration.read_labels(Path(options.labels))
    if options.attacks is not None:
        attacks.read_attacks(Path(options.attacks))


def prefills_of(options: Options) -> tuple[str, ...]:
    """Return the ways in which begun replies are put."""
    return names_in(options.prefill)


def rows_of(options: Options, seed: int) -> PromptSet:
    """Return the requests and replies that were asked for."""
    return load_rows(
        options.source,
        split=options.split,
        limit=options.limit,
        benign=options.benign,
        seed=seed,
    )


@dataclass(frozen=True)
class Asked:
    """What a model was asked, and what it made of it.

    Args:
        rows: requests and replies.
        prefixes: what was begun.
        items, texts: the scored continuations and their words, in one order.
        unit: in which depth was counted.
        facts: per prefill how begun replies were put.
    """

    rows: PromptSet
    prefixes: list[Prefix]
    items: list[Item]
    texts: list[str]
    unit: str
    facts: list[dict[str, Any]]


@dataclass(frozen=True)
class Asking:
    """A model, how it is asked, and who judges.

    Args:
        handle: an open local model, one behind an API, or an inspect model.
        judge: as for `evaluation.evaluate`.
    """

    handle: Any
    options: Options
    run: Run
    seed: int
    judge: str | None
    progress: Progress | None

    @property
    def is_local(self) -> bool:
        """Whether the model's own template and tokens are at hand."""
        return getattr(self.handle, "chat", None) is not None

    def continuations(
        self,
        prefixes: Sequence[Prefix],
        *,
        prefills: Sequence[str] = (CONTINUE,),
        paths: int | None = None,
        seed: int | None = None,
        solver: Solver | None = None,
    ) -> tuple[list[Item], list[str]]:
        """Let the model go on with begun replies; return the scored items and their words.

        Args:
            paths, seed: None takes those of the run.
            solver: answers in place of one plain generation.

        Raises: TheodoliteError: as `evaluation.evaluate`.
        """
        options, local = self.options, is_local(self.judge)
        task = correction_task(
            prefixes,
            prefills=prefills,
            where=options.where,
            paths=options.paths if paths is None else paths,
            temperature=options.temperature,
            top_p=options.top_p,
            max_tokens=options.max_tokens,
            seed=self.seed,
            solver=solver,
            sampled=options.paths > 1,
        )
        log = run_task(
            task,
            self.handle,
            run=self.run,
            seed=self.seed if seed is None else seed,
            judge=None if local else self.judge,
            progress=self.progress,
            in_step=solver is not None and self.is_local,
        )
        items, texts = items_of(log), [s.output.completion for s in samples_of(log)]
        if self.judge is not None and local:
            items = judged_by_yes_no(
                self.judge, items, prefixes, texts, seed=self.seed, progress=self.progress
            )
        _check_parsed(items)
        return items, texts


def asking_of(
    model: Any,
    options: Options,
    *,
    run: Run,
    seed: int = 0,
    judge: str | None = None,
    progress: Progress | None = None,
) -> Asking:
    """Return what asks a model.

    Args: as for `go_on`.
    Raises: TheodoliteError: as `check`, and for additions that this model or no judge can do.
    """
    check(options, seed=seed)
    found = Asking(opened(model), options, run, seed, judge, progress)
    if options.harm_curve and judge is None:
        raise ConfigError("A harm curve needs a judge.", fix="Name one with --judge.")
    for name, asked in (("suppress", options.suppress), ("defence", options.defence != NO_DEFENCE)):
        if asked and not found.is_local:
            raise ConfigError(
                f"The option {name} needs a local model: its tokens and its turns.",
                fix=f"Leave -T {name} out.",
            )
    return found


def go_on(
    model: Any,
    options: Options,
    *,
    run: Run,
    seed: int = 0,
    judge: str | None = None,
    progress: Progress | None = None,
) -> Asked:
    """Let the model go on with begun replies, and score what it writes.

    Args:
        model: an open handle, a reference, or an inspect model.
        judge: an inspect model that judges; a local one (`theodolite/REF`) is read by its
            probabilities of yes and no. None takes the lexical scorer.

    Raises:
        TheodoliteError: as `check`; the template or provider cannot leave a turn open; the judge is
            down, fails its canaries or cannot be read.
    """
    how: dict[str, Any] = {"run": run, "seed": seed, "judge": judge, "progress": progress}
    return ask(asking_of(model, options, **how))


def ask(asking: Asking) -> Asked:
    """Let a model go on with every begun reply; raises as `go_on`."""
    options = asking.options
    facts = [_facts(asking, prefill) for prefill in prefills_of(options)]
    rows = rows_of(options, asking.seed)
    unit, tokenizer = unit_of(options, asking.handle)
    prefixes = make_prefixes(
        list(rows),
        numbers_in(options.ks, "task.ks"),
        unit=unit,
        tokenizer=tokenizer,
        opener=options.opener,
        seed=asking.seed,
    )
    paths = options.paths if options.adaptive_b is None else adaptive.ROUND
    items, texts = asking.continuations(prefixes, prefills=prefills_of(options), paths=paths)
    return Asked(rows, prefixes, items, texts, unit, facts)


def how_asked(found: Asked, options: Options, seed: int, judge: str | None = None) -> str:
    """Return one sentence on what was asked and how."""
    return (
        f"{len({i.row for i in found.items})} rows ({found.rows.source}), "
        f"{len({i.goal_id for i in found.items})} requests; depths {options.ks} in {found.unit}s, "
        f"opener: {options.opener} ({LISTS}), prefill: {options.prefill}; {_decoding(options)}, at "
        f"most {options.max_tokens} tokens, seed {seed}; scored by "
        f"{judge or 'the lexical scorer'}."
    )


def opened(model: Any) -> Any:
    """Return a handle for a reference; what is open stays as it is."""
    from theodolite.models import open_model

    return open_model(model) if isinstance(model, str) else model


def unit_of(options: Options, handle: Any) -> tuple[Any, Any]:
    """Return the unit of depth and the tokenizer that counts it.

    Raises: ConfigError: tokens were asked for and the model's tokenizer is not at hand.
    """
    tokenizer = getattr(handle, "tokenizer", None)
    if options.unit == AUTO:
        return ("word", None) if tokenizer is None else ("token", tokenizer)
    if options.unit == "token" and tokenizer is None:
        raise ConfigError(
            "The tokenizer of a model behind an API is not at hand.", fix="Use -T unit=word."
        )
    return options.unit, tokenizer


def _facts(asking: Asking, prefill: str) -> dict[str, Any]:
    handle = asking.handle
    if asking.is_local:
        return check_open_turn(handle, prefill, asking.options.template)
    check_provider(handle.name if isinstance(handle, ApiModel) else str(handle), prefill)
    return {"prefill": prefill, "open_turn": prefill == CONTINUE, "skeleton": "the provider's own"}


def _decoding(options: Options) -> str:
    if options.paths == 1:
        return "greedy"
    paths = options.paths if options.adaptive_b is None else adaptive.ROUND
    return f"{paths} paths, temperature {options.temperature}, top-p {options.top_p}"


def _check_parsed(items: Sequence[Item]) -> None:
    """Stop where a judge's replies could not be read too often to mean anything.

    Raises: RunError: more than 2 % of the continuations have no verdict.
    """
    unread = sum(item.outcome is None for item in items)
    if unread > MOST_UNPARSED * len(items):
        raise RunError(
            f"{unread} of {len(items)} continuations have no verdict, more than "
            f"{MOST_UNPARSED:.0%}.",
            fix="Use a judge that follows the form, or leave it out for the lexical scorer.",
        )
