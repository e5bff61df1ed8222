"""What is measured beside the headline where it is asked for: sheets, attacks, defence, harm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.behaviour.course_correction import adaptive, attacks, calibration, harm_curve, ways
from theodolite.behaviour.course_correction.asking import NO_DEFENCE, Asked, Asking
from theodolite.behaviour.course_correction.prefixes import Prefix
from theodolite.behaviour.course_correction.scoring import (
    ANY_DEPTH,
    CONTINUE,
    SUPPRESSED,
    Item,
    main_prefill,
)
from theodolite.behaviour.course_correction.suppression import led_on
from theodolite.runs.panel import PanelResult, extended

if TYPE_CHECKING:
    from inspect_ai.solver import Solver


def add(asking: Asking, found: Asked, result: PanelResult) -> PanelResult:
    """Return the result with every addition that the options ask for.

    Raises: TheodoliteError: an addition cannot be measured; see the file of each.
    """
    options = asking.options
    wanted: list[tuple[object, Callable[[Asking, Asked], dict[str, Any]]]] = [
        (options.labels, _labels),
        (options.adaptive_b, _adaptive),
        (options.suppress, _suppressed),
        (options.defence != NO_DEFENCE, _defended),
        (options.harm_curve, _harm),
        (options.attacks, _attacks),
        (options.sheet, _sheet),  # last, so that a run that goes on finds no sheet of its own
    ]
    for asked, measure in wanted:
        if asked:
            result = extended(result, **measure(asking, found))
    return result


def _sheet(asking: Asking, found: Asked) -> dict[str, Any]:
    path = Path(str(asking.options.sheet))
    n = calibration.write_to_label(path, found.items, found.prefixes, found.texts, seed=asking.seed)
    return {"how": [f"{n} continuations were written to {path.name}, to be labelled by people."]}


def _labels(asking: Asking, found: Asked) -> dict[str, Any]:
    path = Path(str(asking.options.labels))
    figures, how = calibration.calibrated(path, found.items, seed=asking.seed)
    return {"measurements": figures, "how": [how], "labels": calibration.labels()}


def _adaptive(asking: Asking, found: Asked) -> dict[str, Any]:
    target, main = asking.options.adaptive_b, main_prefill(found.items)
    assert target is not None  # noqa: S101 - asked for

    def more(left: Sequence[Prefix], paths: int, seed: int) -> list[Item]:
        return asking.continuations(left, prefills=(main,), paths=paths, seed=seed)[0]

    items = adaptive.more_paths(
        [item for item in found.items if item.prefill == main],
        found.prefixes,
        more,
        target=target,
        paths=asking.options.paths,
        seed=asking.seed,
    )
    return {
        "measurements": adaptive.measurements(items, main, seed=asking.seed),
        "tables": {"course_correction_adaptive": adaptive.table(items, main)},
        "labels": adaptive.labels(),
        "how": [
            f"The adaptive figures go on from {adaptive.ROUND} to at most {asking.options.paths} "
            f"paths, until the Wilson interval has a half width of {target:g}."
        ],
    }


def _suppressed(asking: Asking, found: Asked) -> dict[str, Any]:
    steps = asking.options.suppress
    prefixes = led_on(
        asking.handle, _prefixes(found, SUPPRESSED), steps, where=asking.options.where
    )
    how = (
        f"Suppressed: {steps} tokens, none of which begins a refusal, were added to what was begun."
    )
    return _way(asking, found, SUPPRESSED, prefixes, None) | {"how": [how]}


def _defended(asking: Asking, found: Asked) -> dict[str, Any]:
    from theodolite.correction.any_depth import EVERY, any_depth

    how = (
        f"Any depth: before the model goes on, and every {EVERY} tokens, a new assistant turn is "
        "opened in a branch, and where it refuses there, its refusal takes the reply's place."
    )
    prefixes = _prefixes(found, ANY_DEPTH)
    return _way(asking, found, ANY_DEPTH, prefixes, any_depth()) | {"how": [how]}


def _prefixes(found: Asked, way: str) -> list[Prefix]:
    return [one for one in found.prefixes if ways.asked_of(str(one.prompt.label), way)]


def _way(
    asking: Asking, found: Asked, way: str, prefixes: Sequence[Prefix], solver: Solver | None
) -> dict[str, Any]:
    """Ask the same begun replies in another way, and hold them against plain continuations."""
    paths = adaptive.ROUND if asking.options.adaptive_b is not None else None
    items, _ = asking.continuations(prefixes, paths=paths, solver=solver)
    both = [i for i in found.items if i.prefill == CONTINUE]
    both += [replace(item, prefill=way) for item in items]
    figures = ways.measurements(both, way, seed=asking.seed)
    return {
        "measurements": figures,
        "tables": {f"course_correction_{way}": ways.table(both, way)},
        "findings": ways.finding(figures, way),
        "labels": ways.labels(way),
    }


def _harm(asking: Asking, found: Asked) -> dict[str, Any]:
    from theodolite.behaviour.course_correction.asking import unit_of

    assert asking.judge is not None  # noqa: S101 - checked before
    _, tokenizer = unit_of(asking.options, asking.handle)
    return harm_curve.measured(
        asking.judge,
        found.items,
        found.prefixes,
        found.texts,
        tokenizer=tokenizer,
        seed=asking.seed,
        journal=asking.run.journal,
        progress=asking.progress,
    )


def _attacks(asking: Asking, found: Asked) -> dict[str, Any]:
    prompts = attacks.read_attacks(Path(str(asking.options.attacks)))
    replies = attacks.replay(
        asking.handle,
        prompts,
        run=asking.run,
        seed=asking.seed,
        judge=asking.judge,
        progress=asking.progress,
    )
    scorer = asking.judge or "the offline refusal scorer"
    return {
        "measurements": attacks.measurements(replies, judged=asking.judge is not None),
        "tables": {"course_correction_attacks": attacks.table(replies)},
        "labels": attacks.labels(replies),
        "how": [f"{len(replies)} plain and attacked requests of {prompts.source}, by {scorer}."],
    }
