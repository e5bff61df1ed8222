"""Words of a request with their relevance for the refusal, and requests with words replaced.

Words are spans of characters, so that nothing kept of an analysis holds a request's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from theodolite.data.prompts import Prompt, shown
from theodolite.errors import DataError
from theodolite.mechanism.probes.held_out import Floats
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.relevance.result import Relevance

NEUTRAL: Final = "something"
_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")

Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class WordRelevance:
    """The words of one request, and how much each speaks for the refusal.

    Args:
        prompt_id: of the request.
        spans: where each word stands in the request, in characters, end exclusive; in order.
        values: relevance, float64, axis (word); above 0 speaks for the refusal.

    Raises: DataError: there is not one finite value per word.
    """

    prompt_id: str
    spans: tuple[Span, ...]
    values: Floats

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float64)
        if values.shape != (len(self.spans),) or not np.isfinite(values).all():
            raise DataError(
                f"The relevance of prompt {shown(self.prompt_id)} is not one finite value for "
                f"each of its {len(self.spans)} words.",
                fix="Give one number per word.",
            )
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.spans)

    def most(self) -> list[int]:
        """Return the words, the most relevant first; ties in order of the text."""
        return [int(i) for i in np.argsort(-self.values, kind="stable")]

    def least(self) -> list[int]:
        """Return the words, those that matter least either way first; ties in order of the text."""
        return [int(i) for i in np.argsort(np.abs(self.values), kind="stable")]

    def random(self, seed: int, draw: int) -> list[int]:
        """Return the words in a random order that hangs on the prompt and the draw alone."""
        dice = np.random.default_rng(item_seed(seed, "random words", self.prompt_id, draw))
        return [int(i) for i in dice.permutation(len(self))]

    def words_for(self, share: float = 0.5) -> int | None:
        """Return how many words, most relevant first, hold a share of the positive relevance.

        Returns: None where no word speaks for the refusal.
        """
        positive = np.sort(self.values[self.values > 0])[::-1]
        if not len(positive):
            return None
        reached = np.cumsum(positive) >= share * positive.sum() * (1 - 1e-12)
        return int(np.argmax(reached)) + 1


def word_spans(text: str) -> tuple[Span, ...]:
    """Return the spans of the words of a text: letters and digits, with inner ' and -."""
    return tuple(match.span() for match in _WORD.finditer(text))


def by_words(
    prompt_id: str, text: str, tokens: Sequence[Span], values: Sequence[float]
) -> WordRelevance:
    """Return the relevance of the words of a text from that of its tokens.

    Args:
        text: the request.
        tokens: characters each token covers in it, end exclusive.
        values: relevance of each token.

    Note: a token counts for the word it shares most characters with; marks between words for none.
    """
    spans = word_spans(text)
    sums = np.zeros(len(spans))
    for (start, end), value in zip(tokens, values, strict=True):
        shared = [min(end, b) - max(start, a) for a, b in spans]
        if shared and max(shared) > 0:
            sums[int(np.argmax(shared))] += value
    return WordRelevance(prompt_id, spans, sums)


def without_words(prompt: Prompt, spans: Sequence[Span], *, name: str) -> Prompt:
    """Return the prompt with words of its request replaced by a neutral one.

    Args:
        spans: of the words, in characters of the request.
        name: ends the new id.
    """
    text = prompt.request
    first = NEUTRAL.capitalize() if text[:1].isupper() else NEUTRAL
    others = {span: first if span[0] == 0 else NEUTRAL for span in spans}
    return with_request(prompt, spliced(text, others), name=name)


def spliced(text: str, others: Mapping[Span, str]) -> str:
    """Return a text with other words in some of its spans."""
    for (start, end), word in sorted(others.items(), reverse=True):
        text = text[:start] + word + text[end:]
    return text


def with_request(prompt: Prompt, text: str, *, name: str) -> Prompt:
    """Return the prompt with another request, in a chat as its last user turn.

    Args:
        name: ends the new id.
    """
    moved = replace(prompt, id=f"{prompt.id}/{name}")
    if prompt.messages is None:
        return replace(moved, text=text)
    turns = list(prompt.messages)
    last = max(i for i, turn in enumerate(turns) if turn.role == "user")
    turns[last] = replace(turns[last], content=text)
    return replace(moved, messages=tuple(turns))


def from_relevance(
    found: Relevance, prompts: Sequence[Prompt], target: str | None = None
) -> list[WordRelevance]:
    """Return relevance traced to tokens as that of the words of each request.

    Args:
        found: with `to="tokens"`, of these prompts in this order.
        prompts: the requests, in their words.
        target: the direction (default: the first).

    Raises:
        DataError: the relevance is of other prompts, or a request does not stand in what was read.
    """
    column = 0 if target is None else found.target(target)
    _refuse_other_ids(found.prompt_ids, prompts)
    words = []
    for place, prompt in enumerate(prompts):
        own, request = found.prompts[place], prompt.request.rstrip()
        start = own.text.rfind(request)
        if start < 0:
            raise DataError(
                f"The request of prompt {shown(prompt.id)} does not stand in what was read.",
                fix="Read the relevance with its text.",
            )
        spans = [(int(a) - start, int(b) - start) for a, b in own.spans]
        inside = [i for i, (a, b) in enumerate(spans) if b > 0 and a < len(request)]
        values = found.of_prompt(place)[:, column]
        words.append(
            by_words(prompt.id, request, [spans[i] for i in inside], [values[i] for i in inside])
        )
    return words


def refuse_other_prompts(prompts: Sequence[Prompt], relevance: Sequence[WordRelevance]) -> None:
    """Refuse relevance of other prompts, or in another order.

    Raises: DataError: the ids differ.
    """
    _refuse_other_ids([own.prompt_id for own in relevance], prompts)


def _refuse_other_ids(ids: Sequence[str], prompts: Sequence[Prompt]) -> None:
    if list(ids) != [prompt.id for prompt in prompts]:
        raise DataError(
            "The relevance is not that of these prompts.", fix="Read it for them, in their order."
        )
