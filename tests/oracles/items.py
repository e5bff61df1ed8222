"""The slow, obvious way to find near-duplicates and what they tie together."""

from __future__ import annotations

from collections.abc import Sequence

from theodolite.data.prompts import Prompt


def jaccard(a: str, b: str) -> float:
    """Return the shared share of the character 5-grams of two texts."""
    first, second = (
        {t[i : i + 5] for i in range(len(t) - 4)} or {t} for t in (a.lower(), b.lower())
    )
    return len(first & second) / len(first | second)


def near_pairs(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs above 0.8."""
    size = len(texts)
    return [
        (i, j) for i in range(size) for j in range(i + 1, size) if jaccard(texts[i], texts[j]) > 0.8
    ]


def groups(prompts: Sequence[Prompt]) -> list[str]:
    """Return the smallest id of everything that hangs together, by spreading it until it rests."""
    names = [p.id for p in prompts]
    tied = [
        (i, j)
        for i, p in enumerate(prompts)
        for j, q in enumerate(prompts)
        if (p.goal_id is not None and p.goal_id == q.goal_id)
        or (p.pair_id is not None and p.pair_id == q.pair_id)
        or jaccard(p.request, q.request) > 0.8
    ]
    moved = True
    while moved:
        moved = False
        for i, j in tied:
            if names[i] != names[j]:
                names[i] = names[j] = min(names[i], names[j])
                moved = True
    return names
