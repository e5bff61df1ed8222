"""Yes or no: read a judge's reply, or the two log-probabilities with which it would begin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from theodolite.judging.first_words import (
    Floats,
    first_tokens,
    log_sum,
    share_of_first,
    word_masses,
    word_tokens,
)

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel

__all__ = ["first_tokens", "p_yes", "read_yes_no", "yes_no_tokens", "yes_share"]

_REPLY = re.compile(r"\W*(yes|y|no|n)\b[\s.,!;:*\"')-]*\Z", re.IGNORECASE)
_FORMS: Final = {"Yes": ("yes", "Yes", "YES"), "No": ("no", "No", "NO")}


def read_yes_no(reply: str) -> bool | None:
    """Return a reply as true or false; None where it is neither, or says more than that."""
    found = _REPLY.match(reply)
    return None if found is None else found.group(1).lower() in ("yes", "y")


def yes_no_tokens(model: LanguageModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens with which an answer begins that says yes, and no.

    Raises:
        ConfigError: both begin with the same token, so no first token tells them apart.
    """
    yes, no = word_tokens(model, _FORMS)
    return yes, no


def p_yes(model: LanguageModel, questions: Sequence[Prompt]) -> Floats:
    """Return the probability of yes against no as the first token of each answer.

    Args:
        model: an open local model; one forward pass per question, nothing is generated.
        questions: the judge's questions, rendered as chats.

    Returns: axis (question), in [0, 1]: the softmax over the mass of both words' first tokens.
    """
    return share_of_first(word_masses(model, questions, yes_no_tokens(model)))


def yes_share(yes: Floats, no: Floats) -> Floats:
    """Return the share of yes; log-probabilities with axes (question, token)."""
    return share_of_first(np.stack([log_sum(yes), log_sum(no)], axis=1))
