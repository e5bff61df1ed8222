"""Yes or no: read a judge's reply, or the two log-probabilities with which it would begin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel

_REPLY = re.compile(r"\W*(yes|y|no|n)\b[\s.,!;:*\"')-]*\Z", re.IGNORECASE)
_FORMS = {"yes": ("yes", "Yes", "YES"), "no": ("no", "No", "NO")}


def read_yes_no(reply: str) -> bool | None:
    """Return a reply as true or false; None where it is neither, or says more than that."""
    found = _REPLY.match(reply)
    return None if found is None else found.group(1).lower() in ("yes", "y")


def yes_no_tokens(model: LanguageModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens with which an answer begins that says yes, and no.

    Raises:
        ConfigError: both begin with the same token, so no first token tells them apart.
    """
    yes, no = (
        {
            int(ids[0])
            for form in _FORMS[word]
            for text in (form, f" {form}")
            if (ids := _ids(model, text))
        }
        for word in ("yes", "no")
    )
    if yes & no or not yes or not no:
        raise ConfigError(
            f"'Yes' and 'No' begin with the same token under the tokenizer of {model.name}.",
            fix="Use another judge.",
        )
    return tuple(sorted(yes)), tuple(sorted(no))


def _ids(model: LanguageModel, text: str) -> Sequence[int]:
    ids: Any = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    # A lone space before the word would be the same token for both.
    return [i for i in ids if str(model.tokenizer.decode([i])).strip()]


def p_yes(model: LanguageModel, questions: Sequence[Prompt]) -> NDArray[np.float64]:
    """Return the probability of yes against no as the first token of each answer.

    Args:
        model: an open local model; one forward pass per question, nothing is generated.
        questions: the judge's questions, rendered as chats.

    Returns: axis (question), in [0, 1]: the softmax over the mass of both words' first tokens.
    """
    from theodolite.engine import next_token

    yes, no = yes_no_tokens(model)
    found = next_token(model, questions).double()
    return yes_share(found[:, list(yes)].numpy(), found[:, list(no)].numpy())


def yes_share(yes: NDArray[np.float64], no: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of yes; log-probabilities with axes (question, token)."""
    return np.asarray(1 / (1 + np.exp(_mass(no) - _mass(yes))))


def _mass(values: NDArray[np.float64]) -> NDArray[np.float64]:
    most = values.max(axis=1)
    return np.asarray(most + np.log(np.exp(values - most[:, None]).sum(axis=1)))
