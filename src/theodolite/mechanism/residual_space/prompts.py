"""Which prompts a space is fitted on, and which it is tested on: other goals, and more styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import Prompt, PromptSet
from theodolite.data.styles import PLAIN, benchmark_styles, held_out_styles, styled
from theodolite.mechanism.requests import TEST, TRAIN

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
        pairs: requests of each class in either part, at most; of the bundled set twins.
        styles: wrappers of the training part beside the bare request; default: those that are
            measured by default.
        held_out: wrappers of test goals alone; default: those that are listed as held out.

    Returns: train prompts in every fitted style, then test prompts in these and in held-out ones;
        requests that already stand in styles are taken as they are.
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
        sides = [in_pairs(side)[:pairs] for side in requests.part(part)]
        bare = [replace(prompt, split=part) for side in sides for prompt in side]
        found += bare if own else _wrapped(bare, names)
    return found


def _wrapped(bare: Sequence[Prompt], names: Sequence[str]) -> list[Prompt]:
    """Return requests style by style, so that prompts with a common beginning stand together."""
    together = PromptSet("study", tuple(replace(prompt, style=None) for prompt in bare))
    return [prompt for name in names for prompt in styled(together, [name])]
