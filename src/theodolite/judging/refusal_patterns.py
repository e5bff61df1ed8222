"""All families of phrases the refusal scorer knows, and where in a text they stand.

Written from the grammar of refusals (who cannot or will not, do what, and why) and of answers, not
from the rows of any data set. The expressions read folded, lower-case text.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

from theodolite.judging.answering_phrases import ANSWERING
from theodolite.judging.judging_phrases import JUDGING
from theodolite.judging.phrase_family import Family
from theodolite.judging.refusal_text import Reading
from theodolite.judging.refusing_phrases import REFUSING

FAMILIES = (*REFUSING, *JUDGING, *ANSWERING)


ANCHORED = tuple(n for n, one in enumerate(FAMILIES) if one.expression.pattern.startswith("^"))
UNGATED = tuple(n for n, one in enumerate(FAMILIES) if not one.gates and n not in ANCHORED)


def _families_by_gate() -> dict[str, list[int]]:
    """Return, by gate, the families it opens; of a gate of several words the longest counts."""
    found: dict[str, list[int]] = {}
    for number, one in enumerate(FAMILIES):
        for gate in {max(gate.split(), key=len) for gate in one.gates}:
            found.setdefault(gate, []).append(number)
    return found


_BY_GATE = _families_by_gate()


@lru_cache(maxsize=200_000)
def _opened_by(word: str) -> tuple[int, ...]:
    """Return the families of which a gate stands in the word."""
    return tuple({n for gate, numbers in _BY_GATE.items() if gate in word for n in numbers})


def phrases(reading: Reading) -> list[tuple[Family, list[int]]]:
    """Return the families that occur, each with the sentence number of every occurrence, in order.

    An expression is tried where it can match only: at the start of sentences, in the sentences with
    a word that opens one of its gates, or everywhere if it has no gates. So ten thousand
    completions are read in seconds.
    """
    text, starts = reading.marked, reading.starts
    ends = (*starts[1:], len(text))
    found: dict[int, list[int]] = {}
    for number in ANCHORED:
        match = FAMILIES[number].expression.match
        places = enumerate(zip(starts, ends))
        found[number] = [place for place, (start, end) in places if match(text, start, end)]
    for number in UNGATED:
        matches = FAMILIES[number].expression.finditer(text)
        found[number] = [bisect_right(starts, match.start()) - 1 for match in matches]
    opened: dict[int, list[int]] = {}
    for place, words in enumerate(reading.words_of):
        for number in {number for word in words for number in _opened_by(word)}:
            opened.setdefault(number, []).append(place)
    for number, tried in opened.items():
        find = FAMILIES[number].expression.finditer
        found[number] = [place for place in tried for _ in find(text, starts[place], ends[place])]
    return [(FAMILIES[number], found[number]) for number in sorted(found) if found[number]]
