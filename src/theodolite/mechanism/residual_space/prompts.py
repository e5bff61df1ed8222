"""Which prompts a space is fitted on, and which it is tested on: other goals, and more styles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import Prompt, PromptSet
from theodolite.data.styles import PLAIN, benchmark_styles, held_out_styles, styled
from theodolite.mechanism.requests import TEST, TRAIN
from theodolite.mechanism.residual_space.goals import goal_groups
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.requests import Requests


def held_out_names() -> tuple[str, ...]:
    """Return the names of the styles that nothing is fitted on."""
    return tuple(style.name for style in held_out_styles())


def study_prompts(
    requests: Requests,
    pairs: int,
    *,
    styles: Sequence[str] = (),
    held_out: Sequence[str] = (),
) -> list[Prompt]:
    """Return prompts to fit on and to test on, each with its split.

    Args:
        requests: harmful and benign ones, bare, or already in styles of the user's own.
        pairs: goals of each class in either part, at most; of the bundled set twins.
        styles: wrappers of the training part beside the bare request; default: those that are
            measured by default.
        held_out: wrappers of test goals alone; default: those that are listed as held out.

    Returns: train prompts in every fitted style, then test prompts in these and in held-out ones;
        requests that already stand in styles are taken as they are, every form of a goal and of
        its twin or none.
    """
    fitted = list(styles) or [style.name for style in benchmark_styles()]
    others = list(held_out) or held_out_names()
    wrappers = {
        TRAIN: list(dict.fromkeys([PLAIN, *fitted])),
        TEST: list(dict.fromkeys([PLAIN, *fitted, *others])),
    }
    own = any((prompt.style or PLAIN) != PLAIN for prompt in requests.bare)
    found: list[Prompt] = []
    for part, names in wrappers.items():
        sides = requests.part(part)
        if own:
            kept = _whole_goals([prompt for side in sides for prompt in side], pairs)
            found += [replace(prompt, split=part) for prompt in kept]
        else:
            first = [prompt for side in sides for prompt in in_pairs(side)[:pairs]]
            found += _wrapped([replace(prompt, split=part) for prompt in first], names)
    return found


def _whole_goals(prompts: Sequence[Prompt], pairs: int) -> list[Prompt]:
    """Return all forms of some goals, drawn by a fixed seed, so many of each class at most.

    What shares a goal, a pair or nearly its wording counts as one goal, and is kept or left whole.
    """
    if len({prompt.label for prompt in prompts}) < 2:
        return list(prompts)  # which part lacks a class is said where states are read
    groups = goal_groups(prompts)
    classes: dict[str, set[str | None]] = {}
    for prompt, group in zip(prompts, groups, strict=True):
        classes.setdefault(group, set()).add(prompt.label)
    kept: set[str] = set()
    count: Counter[str | None] = Counter()
    for group in sorted(classes, key=lambda name: item_seed(0, "goal", name)):
        if all(count[label] < pairs for label in classes[group]):
            kept.add(group)
            count.update(classes[group])
    return [prompt for prompt, group in zip(prompts, groups, strict=True) if group in kept]


def _wrapped(bare: Sequence[Prompt], names: Sequence[str]) -> list[Prompt]:
    """Return requests style by style, so that prompts with a common beginning stand together."""
    together = PromptSet("study", tuple(replace(prompt, style=None) for prompt in bare))
    return [prompt for name in names for prompt in styled(together, [name])]
