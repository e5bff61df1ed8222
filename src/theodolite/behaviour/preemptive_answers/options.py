"""What `theodolite eval preemptive-answers` can be asked, and the ways of asking that follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from theodolite.behaviour.preemptive_answers.data import BUNDLED, Loaded, load
from theodolite.behaviour.preemptive_answers.planting import (
    ANSWERED_FIRST,
    CHANNELS,
    CLEAN,
    CONDITIONS,
    EXTRA_USER,
    INLINE,
    LATE_FRACTIONS,
    PLANTED,
    PLANTED_BLANK,
    PLANTED_GOLD,
    PLANTED_LATE,
    PLANTED_RANDOM,
    PREFILL,
    TOOL,
)
from theodolite.behaviour.preemptive_answers.prompts import (
    IGNORE_NOTE,
    METHODS,
    PLANTS,
    REFLECT,
    RESTATE,
    STEP_BY_STEP,
    VOTED,
)
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.text.lists import names_in
from theodolite.text.suggest import did_you_mean

NONE: Final = "none"
MASK: Final = "mask"
INDEPENDENT: Final = "independent"
VOTE: Final = "sc"
MITIGATIONS: Final = (RESTATE, IGNORE_NOTE, REFLECT, MASK, INDEPENDENT, VOTE)
ALL: Final = "all"
AGAIN: Final = "again"
PLAIN: Final = "plain"

GENERATE: Final = "generate"
SLOTS: Final = "slots"
SWEEP: Final = "sweep"
MODES: Final = (GENERATE, SLOTS, SWEEP)
RULE: Final = "rule"
RULE_AND_MODEL: Final = "rule+llm"
BLANK: Final = "blank"
SECOND: Final = "second"
FLOORS: Final = (BLANK, SECOND)

NAMED: Final = {
    "M_inline": (PLANTED, INLINE),
    "M_prefill": (PLANTED, PREFILL),
    "M_tool": (PLANTED, TOOL),
}
"""Conditions that name their channel."""
KNOWN_CONDITIONS: Final = (*CONDITIONS, *NAMED)
CONTROLS: Final = frozenset({PLANTED_GOLD, PLANTED_RANDOM, PLANTED_BLANK})
_UNTOUCHED: Final = frozenset({MASK, INDEPENDENT})


@dataclass(frozen=True)
class Options:
    """What can be asked; see the task of the same name.

    Args:
        dataset: `bundled`, a published set, several joined by commas, `all`, or a file.
        methods, conditions, mitigations: several joined by commas, or `all`; the clean run is
            always made, once, and serves every condition and mitigation.
        channel: where answers are planted, for conditions that do not name it.
        positions: of late plants, as parts of the clean reasoning.
        wordings: of plants, or `all`.
        n_sc: samples that vote; temperature: of these samples alone.
        strict: refuse a channel that a model cannot take, in place of planting inline.
        floor: what noise is read off: `blank` (M_neutral) or `second` (a second clean run).
        make_wrong: make an answer to plant for rows of a file without one.
        shuffle: shuffle the options of a choice, alike in all conditions.
        extractor: `rule`, or `rule+llm`: the judge's model reads what the rules do not find.
        acknowledge: who says whether a reply mentions the plant: `rule`, or `judge`.
        mode: `generate`, or `slots` and `sweep`: log-probabilities at the slot of the answer.
    """

    dataset: str = BUNDLED
    methods: str = STEP_BY_STEP
    conditions: str = "clean,U,M,M_neutral,M_correct"
    mitigations: str = NONE
    channel: str = EXTRA_USER
    positions: str = ",".join(f"{part:g}" for part in LATE_FRACTIONS)
    wordings: str = PLAIN
    n_sc: int = 10
    temperature: float = 1.0
    max_tokens: int = 512
    limit: int | None = None
    strict: bool = False
    floor: str = BLANK
    make_wrong: bool = True
    shuffle: bool = True
    extractor: str = RULE
    acknowledge: str = RULE
    mode: str = GENERATE


@dataclass(frozen=True)
class Cell:
    """One way in which every item is asked.

    Args:
        condition: one of `CONDITIONS`.
        channel: where the plant stands; None where nothing is planted.
        wording: of the plant.
        fraction: of the clean reasoning before a late plant.
        mitigation: one of `MITIGATIONS`, or None.
        again: a second run of the same.
    """

    condition: str = CLEAN
    channel: str | None = None
    wording: str = PLAIN
    fraction: float = 0.0
    mitigation: str | None = None
    again: bool = False

    @property
    def place(self) -> str | None:
        """Where the plant stands and how it is worded, as in names of figures."""
        if self.again:
            return AGAIN
        if self.condition == PLANTED_LATE:
            return f"{self.fraction:g}"
        if self.channel is None or self.wording == PLAIN:
            return self.channel
        return f"{self.channel}:{self.wording}"

    @property
    def name(self) -> str:
        """As in names of figures."""
        return "/".join(part for part in (self.condition, self.place, self.mitigation) if part)

    @property
    def plants(self) -> bool:
        """Whether an answer is planted, a blank one not counted."""
        return self.condition not in (CLEAN, ANSWERED_FIRST, PLANTED_BLANK)


CLEAN_CELL: Final = Cell()


def methods_of(options: Options) -> tuple[str, ...]:
    """Return the methods that are asked for; raises ConfigError for an unknown one."""
    return _named("method", options.methods, (*METHODS, *VOTED))


def positions_of(options: Options) -> tuple[float, ...]:
    """Return where late plants stand, as parts of the reasoning.

    Raises: ConfigError: one is no number from 0 to below 1.
    """
    try:
        found = tuple(float(part) for part in names_in(options.positions))
    except ValueError:
        found = ()
    if not found or not all(0.0 <= part < 1.0 for part in found):
        raise ConfigError(
            f"positions {shown(options.positions)} are no numbers from 0 to below 1.",
            fix="Write them like 0,0.25,0.5,0.75.",
        )
    return tuple(dict.fromkeys(found))


def cells_of(options: Options, method: str = STEP_BY_STEP) -> tuple[Cell, ...]:
    """Return the ways in which items are asked under a method, the clean run first.

    Mitigations are tried on the clean run and on attacks, not on controls; what would change
    nothing is left out: taking answers out of turns without a plant, and voting where a method
    votes already.

    Raises: ConfigError: a condition, channel, wording, position or mitigation does not exist.
    """
    mitigations = _mitigations(options)
    found = [CLEAN_CELL]
    for name in _named("condition", options.conditions, KNOWN_CONDITIONS):
        found += [cell for cell in _of_condition(name, options) if cell not in found]
    if options.floor == SECOND:
        found.append(Cell(again=True))
    bare = tuple(found)
    for cell in bare:
        found += [replace(cell, mitigation=m) for m in mitigations if _touches(m, cell, method)]
    return tuple(found)


def check(options: Options, *, seed: int = 0) -> None:
    """Refuse options that cannot be used.

    Raises:
        ConfigError: a name does not exist, or a number is out of range.
        DataError: the rows cannot be read, or a row has no answer to plant and none may be made.
    """
    for what, name, known in (
        ("mode", options.mode, MODES),
        ("extractor", options.extractor, (RULE, RULE_AND_MODEL)),
        ("reader of acknowledgements", options.acknowledge, (RULE, "judge")),
        ("noise floor", options.floor, FLOORS),
        ("channel", options.channel, CHANNELS),
    ):
        _check_name(what, name, known)
    positions_of(options)
    votes = any(method in VOTED for method in methods_of(options))
    for method in methods_of(options):
        votes = votes or any(cell.mitigation == VOTE for cell in cells_of(options, method))
    check_asking(options.max_tokens, options.n_sc, options.temperature, votes=votes)
    loaded_of(options, seed)


def check_asking(max_tokens: int, n_sc: int, temperature: float, *, votes: bool) -> None:
    """Refuse numbers that cannot be used; raises ConfigError."""
    if max_tokens < 1:
        raise ConfigError(f"max_tokens is {max_tokens}.", fix="Give 1 or more.")
    if votes and n_sc < 2:
        raise ConfigError(f"{n_sc} samples are no vote.", fix="Give n_sc of 2 or more.")
    if votes and not temperature > 0.0:
        raise ConfigError(
            f"At temperature {temperature:g} all samples of a vote are alike.",
            fix="Give a temperature above 0, e.g. 1.",
        )


def loaded_of(options: Options, seed: int, *, shuffle: bool | None = None) -> Loaded:
    """Return the items that were asked for.

    Args:
        shuffle: None takes the option's.
    """
    return load(
        options.dataset,
        limit=options.limit,
        seed=seed,
        generate=options.make_wrong,
        shuffle=options.shuffle if shuffle is None else shuffle,
    )


def condition_of(name: str, channel: str = EXTRA_USER) -> tuple[str, str | None]:
    """Return a condition and the channel it plants through; None where it plants nothing.

    Raises: ConfigError: the condition is unknown.
    """
    _check_name("condition", name, KNOWN_CONDITIONS)
    if name in NAMED:
        return NAMED[name]
    if name in (CLEAN, ANSWERED_FIRST):
        return name, None
    return name, PREFILL if name == PLANTED_LATE else channel


def _of_condition(name: str, options: Options) -> Iterator[Cell]:
    condition, channel = condition_of(name, options.channel)
    cell = Cell(condition, channel)
    if condition == PLANTED_LATE:
        yield from (replace(cell, fraction=part) for part in positions_of(options))
    elif condition == PLANTED:
        for wording in _named("wording", options.wordings, tuple(PLANTS)):
            yield replace(cell, wording=wording)
    else:
        yield cell


def _mitigations(options: Options) -> tuple[str, ...]:
    if options.mitigations == NONE:
        return ()
    found = _named("mitigation", options.mitigations, (NONE, *MITIGATIONS))
    return tuple(name for name in found if name != NONE)


def _touches(mitigation: str, cell: Cell, method: str) -> bool:
    """Return whether a mitigation is tried on a way of asking."""
    if cell.condition in CONTROLS or cell.again:
        return False
    if mitigation == VOTE and method in VOTED:
        return False
    if cell.condition == CLEAN:
        return mitigation not in _UNTOUCHED
    return not (mitigation == MASK and cell.condition == ANSWERED_FIRST)


def _named(what: str, given: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return names of a list, each once, every one known."""
    names = tuple(known) if given == ALL else names_in(given)
    if not names:
        raise ConfigError(f"No {what} is named.", fix=f"Use {', '.join(known)}.")
    for name in names:
        _check_name(what, name, known)
    return tuple(dict.fromkeys(names))


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ConfigError(
            f"There is no {what} {shown(name)}.",
            fix=f"{did_you_mean(name, known)} There are {', '.join(known)}.",
        )
