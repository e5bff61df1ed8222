"""The tokens with which an answer begins behind the answer tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from theodolite.models.chat import encode_all

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel


def continuations(
    model: LanguageModel, tag: str, texts: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Return the tokens of each text as they stand behind the tag in an open assistant turn.

    Note: some tokenizers write a text differently at its beginning, so it is read off a chat; where
        the tag's last token would change, the text is tokenised alone.
    """
    texts = list(dict.fromkeys(texts))
    opening = [{"role": "user", "content": "Which?"}]
    chats = [[*opening, {"role": "assistant", "content": tag + more}] for more in ("", *texts)]
    before, *whole = (one.ids for one in encode_all(model, chats, continue_final=True))
    found = {}
    for text, ids in zip(texts, whole):
        joined = ids[: len(before)] == before and len(ids) > len(before)
        alone = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        found[text] = tuple(ids[len(before) :]) if joined else tuple(alone)
    return found
