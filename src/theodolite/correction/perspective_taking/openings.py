"""The turns that ask for the first answer: with or without words of safety, before or within."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from theodolite.correction.perspective_taking.wording import Voice

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage

PLAIN: Final = "plain"
BASE: Final = "base"
PREHOC: Final = "prehoc"
PREHOC_USER: Final = "prehoc_user"


def opening(
    voice: Voice, kind: str, prompt: str | None, chat: Sequence[ChatMessage]
) -> list[ChatMessage]:
    """Return the opening turns of a sample.

    Args:
        voice: the words.
        kind: `plain` (no word of safety), `base`, `prehoc` (a statement before the system text) or
            `prehoc_user` (before the first user turn).
        prompt: the text to go on with; None for any other chat.
        chat: the sample's own turns; a chat opens with them as they stand.

    Note: the acknowledgement is ours, not the model's.
    """
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    if prompt is None:
        return _chat(voice, kind, chat)
    required = voice.say("plain_requirement" if kind == PLAIN else "requirement")
    turns: list[ChatMessage] = [
        ChatMessageSystem(content=voice.say("system")),
        ChatMessageUser(content=required),
        ChatMessageAssistant(content=voice.say("acknowledgement")),
        ChatMessageUser(content=voice.say("request", prompt=prompt)),
    ]
    return _chat(voice, kind, turns)


def contrasting(voice: Voice, prompt: str | None, chat: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return turns that ask for the contrary of the original.

    Of a text to go on with, it is asked without a word of safety; a chat, which has none, is asked
    with one.
    """
    if prompt is not None:
        return opening(voice, PLAIN, prompt, chat)
    return _before(list(chat), "system", voice.say("requirement"))


def _chat(voice: Voice, kind: str, turns: Sequence[ChatMessage]) -> list[ChatMessage]:
    if kind not in (PREHOC, PREHOC_USER):
        return list(turns)
    role = "system" if kind == PREHOC else "user"
    return _before(list(turns), role, voice.say("prehoc"))


def _before(turns: list[ChatMessage], role: str, words: str) -> list[ChatMessage]:
    """Return turns with words in front of the first one of a role; a system turn is added."""
    from inspect_ai.model import ChatMessageSystem

    place = next((i for i, turn in enumerate(turns) if turn.role == role), None)
    if place is None:
        return [ChatMessageSystem(content=words), *turns]
    turn = turns[place].model_copy(update={"content": f"{words}\n\n{turns[place].text}"})
    return [*turns[:place], turn, *turns[place + 1 :]]
