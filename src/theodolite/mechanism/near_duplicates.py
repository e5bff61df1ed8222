"""Which requests are nearly the same one: likeness of what they ask for, not of their wrapper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import Prompt
from theodolite.data.styles import PLAIN

GRAM = 5  # characters
NEAR = 0.8  # Jaccard similarity above which two requests count as one
_ROWS = 512  # of the similarity matrix at a time
Pairs = NDArray[np.int64]


def near_pairs(texts: Sequence[str]) -> Pairs:
    """Return the pairs of texts whose character 5-grams have a Jaccard similarity above 0.8.

    Returns: int (pair, 2), first < second, in ascending order.

    Note: a text shorter than 5 characters is one gram of its own; case does not count.
    """
    from scipy.sparse import csr_matrix

    grams = [_grams(text.lower()) for text in texts]
    columns: dict[str, int] = {}
    places = [columns.setdefault(gram, len(columns)) for found in grams for gram in found]
    sizes = np.array([len(found) for found in grams])
    matrix = csr_matrix(
        (np.ones(len(places), np.int32), places, np.concatenate([[0], np.cumsum(sizes)])),
        shape=(len(texts), len(columns)),
    )
    pairs = []
    for start in range(0, len(texts), _ROWS):
        shared = (matrix[start : start + _ROWS] @ matrix.T).tocoo()
        first, second = shared.row + start, shared.col
        union = sizes[first] + sizes[second] - shared.data
        near = (first < second) & (shared.data > NEAR * union)
        pairs.append(np.stack([first[near], second[near]], axis=1).astype(np.int64))
    found = np.concatenate([*pairs, np.zeros((0, 2), np.int64)])
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def alike(prompts: Sequence[Prompt], names: Sequence[str], pairs: Pairs) -> Pairs:
    """Return the pairs that are alike in what they ask for: a wrapped form speaks by its bare ones.

    One style may have several wrappers, so that forms of different goals share nearly all words.

    Args:
        prompts, names: the requests and the class of each.
        pairs: int (pair, 2): those whose wording is near, wrappers of one style taken off.
    """
    goals = [(prompt.goal_id or prompt.id, n) for prompt, n in zip(prompts, names, strict=True)]
    wrapped = [style_of(prompt) != PLAIN for prompt in prompts]
    bare: dict[tuple[str, str], list[int]] = {}
    for i, goal in enumerate(goals):
        if not wrapped[i]:
            bare.setdefault(goal, []).append(i)
    speak = [bare.get(goal, [i]) if wrapped[i] else [i] for i, goal in enumerate(goals)]
    near = {(i, j) for i, j in pairs.tolist()}
    kept = [
        any(a == b or (min(a, b), max(a, b)) in near for a in speak[i] for b in speak[j])
        for i, j in pairs.tolist()
    ]
    return np.asarray(pairs[np.array(kept, bool)])


def near_repeats(pairs: Pairs, kinds: Sequence[tuple[str, str]], gone: set[int]) -> set[int]:
    """Return the items that are nearly an earlier one of their class and style that stays."""
    near: set[int] = set()
    for first, second in sorted(pairs.tolist(), key=lambda pair: (pair[1], pair[0])):
        if kinds[first] == kinds[second] and not {first, second} & (gone | near):
            near.add(second)
    return near


def without_wrappers(prompts: Sequence[Prompt], wording: Sequence[str]) -> list[str]:
    """Return what differs between the requests in one wrapper: the words inside it."""
    wrapped: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        wrapper = _wrapper(prompt)
        if wrapper is not None:
            wrapped.setdefault(wrapper, []).append(i)
    inner = list(wording)
    for members in wrapped.values():
        texts = {wording[i] for i in members}
        if len(texts) > 1:
            start = _shared_start(texts)
            end = _shared_start([text[start:][::-1] for text in texts])
            for i in members:
                inner[i] = wording[i][start : len(wording[i]) - end]
    return inner


def style_of(prompt: Prompt) -> str:
    """Return the style of a prompt; one that names none is plain."""
    return prompt.style or PLAIN


def _shared_start(texts: Iterable[str]) -> int:
    """Return how many characters all texts have in common at their start."""
    first, last = min(texts), max(texts)
    apart = (i for i, (a, b) in enumerate(zip(first, last)) if a != b)  # first may be the shorter
    return next(apart, min(len(first), len(last)))


def _wrapper(prompt: Prompt) -> str | None:
    """Return what other prompts share on purpose: a style, or a system turn."""
    if style_of(prompt) != PLAIN:
        return prompt.style
    return "\n".join(m.content for m in prompt.messages or () if m.role == "system") or None


def _grams(text: str) -> set[str]:
    return {text[i : i + GRAM] for i in range(max(len(text) - GRAM + 1, 1))}
