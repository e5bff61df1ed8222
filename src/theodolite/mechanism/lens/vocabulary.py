"""Words of a vocabulary: what each token spells, and the classes of tokens that e_l compares.

A token stands for the word it decodes to, without the spaces around it and without regard to case,
so one entry of a word list finds all spellings of a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from theodolite.errors import DataError
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

CLASSES = ("positive", "negative", "neutral")
_LOST = "\N{REPLACEMENT CHARACTER}"
_SPACE = "\N{OPEN BOX}"


@dataclass(frozen=True)
class TokenClasses:
    """Three disjoint sets of token ids of one tokenizer, and the words they come from.

    Args:
        positive, negative, neutral: token ids, ascending.
        name: where the lists come from.
        entries: per class, the distinct entries as they were listed.
        unmatched: entries that no token of the vocabulary spells.
        fragments: entries that are beginnings of words; those ending in `*` match every token
            that begins so, the others only the token itself.
    """

    positive: tuple[int, ...]
    negative: tuple[int, ...]
    neutral: tuple[int, ...]
    name: str
    entries: Mapping[str, tuple[str, ...]] = field(hash=False)
    unmatched: tuple[str, ...] = ()
    fragments: tuple[str, ...] = ()

    def class_of(self, token_id: int) -> str | None:
        """Return the class that a token belongs to, or None."""
        return next((name for name in CLASSES if token_id in getattr(self, name)), None)

    def check(self, vocab_size: int) -> None:
        """Refuse classes whose tokens do not exist in a vocabulary of this size.

        Raises: DataError: names the first such token.
        """
        beyond = [i for name in CLASSES for i in getattr(self, name) if i >= vocab_size]
        if beyond:
            raise DataError(
                f"The token classes '{escape(self.name, 80)}' name token {beyond[0]} of a "
                f"vocabulary of {vocab_size}.",
                fix="Match the word lists to this model.",
            )

    def to_json(self) -> dict[str, Any]:
        """Return the classes as plain JSON values."""
        ids = {name: list(getattr(self, name)) for name in CLASSES}
        entries = {name: list(words) for name, words in self.entries.items()}
        kept = {"unmatched": list(self.unmatched), "fragments": list(self.fragments)}
        return {**ids, "name": self.name, "entries": entries, **kept}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> TokenClasses:
        """Rebuild the classes from `to_json` output."""
        return cls(
            positive=tuple(record["positive"]),
            negative=tuple(record["negative"]),
            neutral=tuple(record["neutral"]),
            name=record["name"],
            entries={name: tuple(words) for name, words in record["entries"].items()},
            unmatched=tuple(record["unmatched"]),
            fragments=tuple(record["fragments"]),
        )


def token_words(model: LanguageModel) -> list[str | None]:
    """Return the casefolded word of each token id; None for control, blank and broken tokens.

    Note: tokens that are part of a character decode to replacement characters; they spell no word.
    """
    tokenizer = model.tokenizer
    size = min(len(tokenizer), model.anatomy.vocab_size)
    control = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    texts = tokenizer.batch_decode([[i] for i in range(size)], clean_up_tokenization_spaces=False)
    return [_word(text) if i not in control else None for i, text in enumerate(texts)]


def shown_token(text: str, token_id: int) -> str:
    """Return a token as it may be shown: its text, with a mark for each outer space.

    Note: parts of characters and spaces of other widths are told apart by id only.
    """
    inner = text.strip(" ")
    if _LOST in text or not text or (inner and not escape(inner).strip()):
        return f"#{token_id}"
    before = len(text) - len(text.lstrip(" "))
    return _SPACE * before + escape(inner) + _SPACE * (len(text) - before - len(inner))


def _word(text: str) -> str | None:
    word = text.strip().casefold()
    return word if word and _LOST not in word else None


def refusal_log_odds(logprobs: torch.Tensor, classes: TokenClasses) -> torch.Tensor:
    """Return e = logsumexp(positive) - logsumexp(negative), the log-odds against a refusal.

    Args:
        logprobs: log-probabilities or logits of next tokens, axes (..., vocab); what normalises
            them cancels.
        classes: the tokens counted on either side.

    Returns: nats, axes (...); below 0 where refusing tokens outweigh friendly ones.
    """
    positive, negative = (
        logprobs[..., torch.tensor(ids, device=logprobs.device)].logsumexp(-1)
        for ids in (classes.positive, classes.negative)
    )
    return positive - negative
