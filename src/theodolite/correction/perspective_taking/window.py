"""Keep a conversation within the model's window: cut the middle of what it wrote on the way.

Never cut are the user's turns, so never a prompt, nor the text that is being rewritten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from theodolite.correction.perspective_taking.conversation import Conversation
from theodolite.models.render import render
from theodolite.providers.requests import chat_turns

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, Model

    from theodolite.models.handle import LanguageModel

GAP: Final = " [...] "
LEAST: Final = 60
"""Characters that are left of an answer at least."""
ROOM: Final = 64
"""Tokens kept free where a stage has no cap of its own."""


def local_model(model: Model) -> LanguageModel | None:
    """Return the handle behind an inspect model; None where another provider runs it."""
    from theodolite.providers.theodolite import TheodoliteAPI

    return model.api.model if isinstance(model.api, TheodoliteAPI) else None


def make_room(model: LanguageModel | None, conversation: Conversation, cap: int | None) -> bool:
    """Cut a conversation until a local model can read it and has room for an answer.

    Args:
        model: None where the window is not known; then nothing is done.
        cap: tokens of the answer at most.

    Returns: whether something was cut.
    """
    if model is None or model.max_context is None:
        return False
    cut = False
    while (over := _length(model, conversation.messages) + (cap or ROOM) - model.max_context) > 0:
        if not shorten(conversation, tokens=over):
            break
        cut = True
    return cut


def shorten(conversation: Conversation, tokens: int | None = None) -> bool:
    """Cut the longest answer that may be cut.

    Args:
        tokens: so many, each counted as three characters; None halves it.

    Returns: whether there was one long enough.
    """
    lengths = {place: len(conversation.messages[place].text) for place in conversation.cuttable}
    place = max(lengths, key=lambda p: (lengths[p], -p), default=None)
    if place is None or lengths[place] <= LEAST:
        return False
    length = lengths[place]
    kept = length // 2 if tokens is None else length - 3 * tokens - len(GAP)
    conversation.replace(place, cut_middle(conversation.messages[place].text, max(kept, LEAST)))
    return True


def cut_middle(text: str, limit: int) -> str:
    """Return at most `limit` characters of a text: its beginning and its end, at white space."""
    if len(text) <= limit:
        return text
    room = max(limit - len(GAP), 2)
    head, tail = text[: math.ceil(room / 2)], text[len(text) - room // 2 :]
    if " " in head:
        head = head.rsplit(" ", 1)[0]
    if " " in tail:
        tail = tail.split(" ", 1)[1]
    return f"{head.rstrip()}{GAP}{tail.lstrip()}"


def _length(model: LanguageModel, messages: Sequence[ChatMessage]) -> int:
    text = render(model.tokenizer, model.chat, chat_turns(messages)).text
    ids = model.tokenizer(text, add_special_tokens=not model.chat.has_template, verbose=False)
    return len(ids["input_ids"])
