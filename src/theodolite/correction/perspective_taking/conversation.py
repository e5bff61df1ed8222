"""The turns of a correction as the model reads them, and which of its answers may be cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from theodolite.providers.requests import CLOSED

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, ChatMessageAssistant, ModelOutput


class Conversation:
    """A chat that grows by questions and answers.

    Args:
        messages: what stands at its beginning; never cut.
        current: the last of them is the answer that is to be rewritten.

    Note: every answer that was asked for on the way may be cut where the model's window ends, but
        for the one that is being rewritten.
    """

    def __init__(self, messages: Sequence[ChatMessage], *, current: bool = False) -> None:
        self.messages: list[ChatMessage] = list(messages)
        self._answers: list[int] = []
        self._current: int | None = len(self.messages) - 1 if current else None

    @property
    def cuttable(self) -> tuple[int, ...]:
        """Places of the answers that may be cut."""
        return tuple(place for place in self._answers if place != self._current)

    def ask(self, words: str) -> None:
        """Add a user's turn."""
        from inspect_ai.model import ChatMessageUser

        self.messages.append(ChatMessageUser(content=words))

    def answer(self, message: ChatMessageAssistant, *, current: bool = False) -> None:
        """Add the model's turn.

        Args:
            current: it is what the stages after it are about.
        """
        self.messages.append(message)
        self._answers.append(len(self.messages) - 1)
        if current:
            self._current = self._answers[-1]

    def replace(self, place: int, words: str) -> None:
        """Put other words into the answer at a place."""
        from inspect_ai.model import ChatMessageAssistant

        self.messages[place] = ChatMessageAssistant(content=words)

    def branch(self) -> Self:
        """Return a copy that goes its own way."""
        other = type(self)(self.messages)
        other._answers, other._current = list(self._answers), self._current
        return other

    def take_last(self, other: Conversation) -> None:
        """Add the last question of another conversation and its answer."""
        question, answer = other.messages[-2:]
        self.messages += [question, answer]
        self._answers.append(len(self.messages) - 1)


def folded(turns: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return turns with the text of the system turns in front of the first user turn."""
    from inspect_ai.model import ChatMessageUser

    system = [turn.text for turn in turns if turn.role == "system"]
    rest = [turn for turn in turns if turn.role != "system"]
    place = next((i for i, turn in enumerate(rest) if turn.role == "user"), None)
    if place is None:
        return [ChatMessageUser(content="\n\n".join(system)), *rest]
    words = "\n\n".join([*system, rest[place].text])
    return [*rest[:place], ChatMessageUser(content=words), *rest[place + 1 :]]


def message_of(output: ModelOutput) -> ChatMessageAssistant:
    """Return the answer of an output; a provider that filtered it away gave an empty one."""
    from inspect_ai.model import ChatMessageAssistant

    return output.message if output.choices else ChatMessageAssistant(content=output.completion)


def joined(turns: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return turns in which a begun answer and what the model went on with are one."""
    from inspect_ai.model import ChatMessageAssistant

    if len(turns) < 2 or any(turn.role != "assistant" for turn in turns[-2:]):
        return list(turns)
    begun, rest = turns[-2:]
    if (begun.metadata or {}).get("theodolite") == CLOSED or getattr(begun, "tool_calls", None):
        return list(turns)
    return [*turns[:-2], ChatMessageAssistant(content=begun.text + rest.text)]
