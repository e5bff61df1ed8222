"""The neutral word: what stands in for a token whose influence is to be taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from theodolite.errors import CapabilityError
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

_PLAIN = (" ", ".", ",", " the", "a")


def neutral_token(model: LanguageModel) -> int:
    """Return the token that says nothing: the first of a few plain ones that is a single token.

    Raises: CapabilityError: none of them is.
    """
    for text in _PLAIN:
        ids = model.tokenizer.encode(text, add_special_tokens=False)
        if len(ids) == 1:
            return int(ids[0])
    raise CapabilityError(
        f"Replacing tokens of {model.name} by a neutral one",
        "its tokenizer has no single token for a space, a full stop or a comma",
        "Use the back end lrp or decomposition",
    )


def user_tokens(prompt: Encoded) -> range:
    """Return the places of the user's words; all tokens where no turn is the user's."""
    return range(*(prompt.instruction or (0, len(prompt))))


def neutral_prompt(
    model: LanguageModel, prompt: Encoded, places: Sequence[int] | None = None
) -> Encoded:
    """Return the prompt with neutral tokens at some places.

    Args:
        places: token indices; None is all of the user's words.
    """
    token, ids = neutral_token(model), list(prompt.ids)
    for place in user_tokens(prompt) if places is None else places:
        ids[place] = token
    return replace(prompt, ids=tuple(ids), key=content_key(ids))
