"""Which of a few words a judge's answer would begin with: one forward pass, nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel

Floats = NDArray[np.float64]
Tokens = tuple[tuple[int, ...], ...]
"""The tokens with which each word may begin."""

_AT_ONCE: Final = 256  # questions whose whole distributions are in memory together


def first_tokens(model: LanguageModel, forms: Iterable[str]) -> set[int]:
    """Return the tokens with which an answer begins that is one of the forms, spaced or not."""
    spaced = (text for form in forms for text in (form, f" {form}"))
    return {int(ids[0]) for text in spaced if (ids := _ids(model, text))}


def word_tokens(model: LanguageModel, words: Mapping[str, Sequence[str]]) -> Tokens:
    """Return the tokens with which an answer begins that is each of the words.

    Args:
        model: an open local model.
        words: the forms of each word, e.g. `{"Yes": ("yes", "Yes"), "No": ("no", "No")}`.

    Raises:
        ConfigError: two words begin with the same token, so no first token tells them apart.
    """
    found = [first_tokens(model, forms) for forms in words.values()]
    if len(set().union(*found)) < sum(map(len, found)) or not all(found):
        listed = " and ".join(f"'{word}'" for word in words)
        raise ConfigError(
            f"{listed} begin with the same token under the tokenizer of {model.name}.",
            fix="Use another judge.",
        )
    return tuple(tuple(sorted(ids)) for ids in found)


def word_masses(model: LanguageModel, questions: Sequence[Prompt], tokens: Tokens) -> Floats:
    """Return how likely the answer to each question begins with each word.

    Args:
        model: an open local model; one forward pass per question.
        questions: rendered as chats.
        tokens: of each word, from `word_tokens`.

    Returns: log-probabilities in nats; axes (question, word).
    """
    from theodolite.engine import next_token

    found = [np.zeros((0, len(tokens)))]
    for begin in range(0, len(questions), _AT_ONCE):
        logs = next_token(model, questions[begin : begin + _AT_ONCE]).double().numpy()
        found.append(np.stack([log_sum(logs[:, list(ids)]) for ids in tokens], axis=1))
    return np.concatenate(found)


def share_of_first(masses: Floats) -> Floats:
    """Return the probability of the first of two words against the second; axis (question).

    Args:
        masses: log-probabilities; axes (question, word).
    """
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(masses[:, 1] - masses[:, 0])))


def log_sum(values: Floats) -> Floats:
    """Return the log of the sum of what log-probabilities stand for; axes (question, token)."""
    most = values.max(axis=1)
    return np.asarray(most + np.log(np.exp(values - most[:, None]).sum(axis=1)))


def _ids(model: LanguageModel, text: str) -> Sequence[int]:
    ids: Any = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    # A lone space before the word would be the same token for all of them.
    return [i for i in ids if str(model.tokenizer.decode([i])).strip()]
