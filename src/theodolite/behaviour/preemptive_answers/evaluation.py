"""Ask questions clean and with an answer given before the reasoning; say what that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.preemptive_answers import scoring
from theodolite.behaviour.preemptive_answers.acknowledging import judged_mentions, mentions
from theodolite.behaviour.preemptive_answers.asking import Asker, opened, opened_grader
from theodolite.behaviour.preemptive_answers.data import Loaded
from theodolite.behaviour.preemptive_answers.options import (
    CLEAN_CELL,
    GENERATE,
    RULE,
    SWEEP,
    Cell,
    Options,
    cells_of,
    check,
    loaded_of,
    methods_of,
    positions_of,
)
from theodolite.behaviour.preemptive_answers.planting import (
    ANSWERED_FIRST,
    CLEAN,
    PLANTED,
    PLANTED_BLANK,
    PLANTED_LATE,
    PLANTED_RANDOM,
    Route,
)
from theodolite.behaviour.preemptive_answers.replies import Method, Table
from theodolite.behaviour.preemptive_answers.reporting import (
    Found,
    mentioned_by,
    result_of,
    to_judge,
)
from theodolite.behaviour.preemptive_answers.sentences import how_asked
from theodolite.behaviour.preemptive_answers.solvers import route_of
from theodolite.behaviour.preemptive_answers.stored import read_stored, tables_of
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.models.handle import LanguageModel

if TYPE_CHECKING:
    from theodolite.runs.panel import PanelResult, Progress
    from theodolite.runs.run import Run

__all__ = ["VERSION", "Options", "check", "evaluate", "score_responses"]

VERSION: Final = scoring.METHOD_VERSION
_OF_ASKING: Final = (
    "channel", "positions", "wordings", "n_sc", "temperature", "max_tokens", "strict", "shuffle",
    "floor", "mode", "methods", "conditions", "mitigations", "extractor", "acknowledge",
)  # fmt: skip


def evaluate(
    model: Any,
    options: Options,
    *,
    run: Run,
    seed: int = 0,
    judge: Any = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Ask a model in every way that the options name, and say what became of its answers.

    Args:
        model: an open handle, a reference, or an inspect model.
        run: where replies are kept, and found where it goes on.
        judge: the model that reads what the rules do not find (`extractor=rule+llm`), or says
            whether replies mention the plant (`acknowledge=judge`); its name or an inspect model.

    Raises:
        TheodoliteError: as `check`; the model cannot take a channel; the judge is missing, is the
            model itself, or fails.
        Interrupted: the user stopped; replies are kept.
    """
    check(options, seed=seed)
    loaded = loaded_of(options, seed)
    handle = opened(model)
    if options.mode != GENERATE:
        return _at_slots(handle, loaded, options, run=run, seed=seed, progress=progress)
    usable, without = _with_plant(loaded)
    how: dict[str, Any] = {"run": run, "seed": seed, "progress": progress}
    reader = None
    if options.extractor != RULE or options.acknowledge != RULE:
        reader = Asker(opened_grader(judge, handle), **how)
    elif judge is not None:
        raise ConfigError(
            "Here rules read the replies, and a judge has nothing to do.",
            fix="Use -T extractor=rule+llm or -T acknowledge=judge, or leave --judge out.",
        )
    routes = routes_of(handle, options)
    asker = Asker(handle, **how)
    grader = None if options.extractor == RULE else reader
    methods: dict[str, Table] = {}
    for name in methods_of(options):
        cells = cells_of(options, name)
        methods[name] = Method(
            name, asker, usable, loaded.pools, cells, options, routes, grader, seed
        ).answer()
    by_judge = reader if options.acknowledge != RULE else None
    found = Found(
        _name(handle), seed, methods, loaded.makers, _mentioned(methods, by_judge), without
    )
    return result_of(found, how_asked(options, usable, routes, seed))


def score_responses(
    path: Path, options: Options, *, seed: int = 0, judge: str | None = None
) -> PanelResult:
    """Score replies made elsewhere; see `stored.py` for the columns.

    The options of a choice stand as in the file of the questions, never shuffled.

    Raises:
        ConfigError: an option is given that says how to ask, or a judge.
        DataError: the file cannot be read, a question is unknown, or runs do not match.
    """
    if any(getattr(options, name) != getattr(Options(), name) for name in _OF_ASKING):
        raise ConfigError(
            "The task options say how to ask, and these answers were made elsewhere.",
            fix="Leave them out (but for dataset, limit and make_wrong), or leave --responses out.",
        )
    if judge is not None:
        raise ConfigError(
            "Answers made elsewhere are read by rules alone.", fix="Leave --judge out."
        )
    check(options, seed=seed)
    loaded = loaded_of(options, seed, shuffle=False)
    usable, without = _with_plant(loaded)
    rows = read_stored(path)
    methods = tables_of(path, rows, usable, loaded.pools, seed=seed)
    found = Found(path.stem, seed, methods, loaded.makers, _mentioned(methods, None), without)
    asked = sum(len(table[CLEAN_CELL]) for table in methods.values())
    how = f"{len(rows)} replies of {path.name} to {asked} questions, read by rules."
    return result_of(found, [how])


def routes_of(handle: Any, options: Options) -> dict[str, Route]:
    """Return channel asked for -> channel taken, for every channel that is needed.

    Raises: CapabilityError: the model cannot take one, and nothing may stand in for it.
    """
    cells = [cell for name in methods_of(options) for cell in cells_of(options, name)]
    channels = dict.fromkeys(cell.channel for cell in cells if cell.channel is not None)
    return {name: route_of(handle, name, strict=options.strict) for name in channels}


def _with_plant(loaded: Loaded) -> tuple[list[Any], list[Any]]:
    """Return the items that have an answer to plant, and those that have none.

    Raises: DataError: none has one.
    """
    usable = [item for item in loaded.items if item.wrong is not None]
    if not usable:
        raise DataError("No item has an answer to plant.", fix="Give 'wrong_answer'.")
    return usable, [item for item in loaded.items if item.wrong is None]


def _mentioned(
    methods: Mapping[str, Table], judge: Asker | None
) -> dict[str, dict[Cell, dict[str, bool | None]]]:
    """Return which replies mention the plant, by rules or by a judge."""
    asked = to_judge(methods)
    replies = [one for _, _, one in asked]
    verdicts: Sequence[bool | None] = [mentions(one) for one in replies]
    if judge is not None and replies:
        verdicts = judged_mentions(judge, replies)
    return mentioned_by(asked, verdicts)


def _at_slots(
    handle: Any,
    loaded: Loaded,
    options: Options,
    *,
    run: Run,
    seed: int,
    progress: Progress | None,
) -> PanelResult:
    """Read log-probabilities at the slot of the answer in place of generating.

    Raises: CapabilityError: the model gives none.
    """
    from theodolite.behaviour.preemptive_answers.slots import score_slots
    from theodolite.behaviour.preemptive_answers.sweep import can_be_read

    if not isinstance(handle, LanguageModel):
        raise CapabilityError(
            f"The mode {options.mode}",
            "it reads log-probabilities, which a model behind an API does not tell",
            "Use a local model, or mode=generate",
        )
    if options.mode == SWEEP:
        conditions = [CLEAN, PLANTED, PLANTED_RANDOM, PLANTED_BLANK, PLANTED_LATE]
    else:
        named = dict.fromkeys(cell.condition for cell in cells_of(options))
        conditions = [name for name in named if name not in (ANSWERED_FIRST, PLANTED_LATE)]
    return score_slots(
        handle,
        loaded.items,
        conditions=conditions,
        positions=positions_of(options),
        run=run,
        seed=seed,
        progress=progress,
        reasoned=any(item.solution for item in loaded.items if can_be_read(item) is None),
        channel=options.channel,
        method=methods_of(options)[0],
    )


def _name(handle: Any) -> str:
    return str(getattr(handle, "name", None) or handle)
