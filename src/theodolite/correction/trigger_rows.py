"""Requests around trigger words: harm without these words, and these words without harm.

A refusal that hangs on a few words fails in two ways: the harm passes in other words, and the words
alarm where nothing is meant. So train goals are told in other words, as long as what makes them
harmful stays, and benign train requests that hold the words stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final

from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet
from theodolite.mechanism.triggers.rewrites import near_synonym
from theodolite.mechanism.triggers.shared_words import everyday_words
from theodolite.mechanism.triggers.words import NEUTRAL, spliced, with_request, word_spans

NAME: Final = "words"


@dataclass(frozen=True)
class WordRequests:
    """Bare requests around trigger words, of train goals.

    Args:
        harmful: told in other words.
        benign: with the words in them, as they stand.
        left_out: harmful requests that held a word and would not be harmful without it.
    """

    harmful: tuple[Prompt, ...] = ()
    benign: tuple[Prompt, ...] = ()
    left_out: int = 0


def word_requests(
    goals: PromptSet, words: Sequence[str], count: int, *, seed: int = 0
) -> WordRequests:
    """Return requests around trigger words, word by word in turn so that none outweighs the rest.

    Args:
        goals: bare requests, harmful ones with benign twins.
        words: the trigger words in lower case, most relevant first.
        count: harmful requests at most, and benign ones at most; a smaller count takes a part of a
            larger one.
        seed: of the order of the requests of one word.
    """
    ordered = in_pairs(goals, seed)
    twins = {p.pair_id: p for p in ordered if p.label == BENIGN and p.pair_id is not None}
    harmful: list[Prompt] = []
    left_out = 0
    for prompt in _in_turn([p for p in ordered if p.label == HARMFUL], words):
        if len(harmful) >= count:
            break
        moved = told_otherwise(prompt, words, twins.get(prompt.pair_id or ""))
        if moved is None:
            left_out += 1
        else:
            harmful.append(moved)
    benign = list(_in_turn([p for p in ordered if p.label == BENIGN], words))[:count]
    named = (replace(prompt, id=f"{prompt.id}/{NAME}") for prompt in benign)
    return WordRequests(tuple(harmful), tuple(named), left_out)


def told_otherwise(
    prompt: Prompt, words: Iterable[str], twin: Prompt | None = None
) -> Prompt | None:
    """Return a harmful request with trigger words exchanged, or None where its harm would go.

    Each becomes its near-synonym, or a neutral word. What makes the request harmful is taken to
    stay where a word with content of its own is left that its benign twin lacks.

    Args:
        prompt: holds at least one of the words.
        words: in lower case.
        twin: its benign twin; without one, any word with content will do.
    """
    text, leave = prompt.request, set(words)
    spans = [span for span in word_spans(text) if text[slice(*span)].lower() in leave]
    harmless = set() if twin is None else spellings(twin)
    if not spellings(prompt) - leave - harmless - everyday_words():
        return None
    others = {span: near_synonym(text[slice(*span)]) or NEUTRAL for span in spans}
    return with_request(prompt, spliced(text, others), name=NAME)


def spellings(prompt: Prompt) -> set[str]:
    """Return the words of a request in lower case."""
    text = prompt.request
    return {text[slice(*span)].lower() for span in word_spans(text)}


def _in_turn(prompts: Sequence[Prompt], words: Sequence[str]) -> Iterator[Prompt]:
    """Yield the prompts that hold a word, each once: one of the first word, one of the next, ..."""
    held = [(prompt, spellings(prompt)) for prompt in prompts]
    queues = [[prompt for prompt, own in held if word in own] for word in words]
    seen: set[str] = set()
    for turn in zip_longest(*queues):
        for prompt in turn:
            if prompt is not None and prompt.id not in seen:
                seen.add(prompt.id)
                yield prompt
