"""How a refusal or a turn begins, as tokens: the first ones of our list, and whole triggers.

A word has other tokens at the beginning of a text, after a space and after a line break, and which
ones depends on the tokenizer. So every phrase is tokenised behind what it would follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.correction_lists import REFUSING_STARTS, TRIGGERS
from theodolite.data.correction_lists import VERSION as LISTS_VERSION
from theodolite.data.prompts import Message, Prompt
from theodolite.mechanism.lens.vocabulary import shown_token
from theodolite.models.chat import check_tokens, encode_all

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

PHRASES: Final = (*TRIGGERS.values(), *REFUSING_STARTS)
# What a phrase may follow: nothing, a word and a space, a line break.
_BEFORE: Final = ("", "x ", "\n")


@dataclass(frozen=True)
class OpeningTokens:
    """The tokens with which the phrases of our list begin.

    Args:
        ids: ascending, each once.
        texts: each token as it may be shown.
        phrases: for each token, the phrases that begin with it.
        version: of the list.
    """

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    version: str = LISTS_VERSION

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per token."""
        return [
            {"token_id": i, "token": text, "begins": "; ".join(phrases), "list": self.version}
            for i, text, phrases in zip(self.ids, self.texts, self.phrases, strict=True)
        ]


def opening_tokens(model: LanguageModel, phrases: Sequence[str] = PHRASES) -> OpeningTokens:
    """Return the first tokens of phrases at the beginning of a text, after a space and a newline.

    Raises: DataError: a token lies outside the model's vocabulary.
    """
    begins: dict[int, list[str]] = {}
    for phrase in phrases:
        for before in _BEFORE:
            first = tokens_after(model.tokenizer, before, phrase)[0]
            begins.setdefault(first, []).append(phrase)
    ids = tuple(sorted(begins))
    check_tokens(model, ids, "The list of refusing openings")
    texts = model.tokenizer.batch_decode([[i] for i in ids], clean_up_tokenization_spaces=False)
    return OpeningTokens(
        ids=ids,
        texts=tuple(shown_token(text, i) for text, i in zip(texts, ids, strict=True)),
        phrases=tuple(tuple(dict.fromkeys(begins[i])) for i in ids),
    )


def tokens_after(tokenizer: Any, before: str, text: str) -> tuple[int, ...]:
    """Return the tokens that cover any character of a text where it follows another."""
    encoded = tokenizer(
        before + text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return tuple(int(token) for token, (_, end) in pairs if end > len(before))


@dataclass(frozen=True)
class Triggers:
    """The tokens of every trigger, by what it follows; the order is that of the list.

    Args:
        opening: where it is the first thing that the reply says.
        after_word: behind a word, with a space between.
        after_space: behind white space.
    """

    opening: tuple[tuple[int, ...], ...]
    after_word: tuple[tuple[int, ...], ...]
    after_space: tuple[tuple[int, ...], ...]

    @property
    def longest(self) -> int:
        """Tokens of the longest trigger, wherever it stands."""
        return max(map(len, (*self.opening, *self.after_word, *self.after_space)))

    def after(self, begun: str) -> tuple[tuple[int, ...], ...]:
        """Return the tokens of the triggers behind a begun reply that ends with this text."""
        if not begun:
            return self.opening
        return self.after_space if begun[-1].isspace() else self.after_word


def trigger_tokens(
    model: LanguageModel, prompt: Prompt, triggers: Mapping[str, str] = TRIGGERS
) -> Triggers:
    """Return the tokens of triggers as they go on with a reply.

    Args:
        prompt: any request; a trigger that opens the reply is tokenised behind its template.
    """
    words = tuple(triggers.values())
    openings = [
        Prompt(id=name, messages=answered(prompt, trigger)) for name, trigger in triggers.items()
    ]
    return Triggers(
        opening=tuple(
            one.ids[one.template[1] :] for one in encode_all(model, openings, continue_final=True)
        ),
        after_word=tuple(tokens_after(model.tokenizer, "x", f" {text}") for text in words),
        after_space=tuple(tokens_after(model.tokenizer, "\n", text) for text in words),
    )


def answered(prompt: Prompt, reply: str) -> tuple[Message, ...]:
    """Return a request's chat with a reply at its end."""
    turns = prompt.messages or (Message("user", prompt.request),)
    return (*turns, Message("assistant", reply))
