"""A second model that reads the tokens of the first: what must fit, and how it is made to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from theodolite.errors import ConfigError
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

VERSION: Final = 1


def reading_as(base: LanguageModel, model: LanguageModel) -> LanguageModel:
    """Return the base with the tokenizer and the chat template of another model."""
    known = content_key("reading as", VERSION, base.fingerprint, model.fingerprint)
    reader = replace(base, tokenizer=model.tokenizer, chat=model.chat, fingerprint=known)
    reader.lock = base.lock  # the module is the same
    return reader


def other_words(model: LanguageModel, base: LanguageModel) -> set[str]:
    """Return the words that two tokenizers have different ids for; added tokens do not count."""
    return {word for word, _ in _words(model).items() ^ _words(base).items()}


def _words(model: LanguageModel) -> dict[str, int]:
    """Return the vocabulary without added tokens, of which a tuned model may have more."""
    added = model.tokenizer.added_tokens_decoder
    return {w: i for w, i in model.tokenizer.get_vocab().items() if i not in added}


def check_same_heads(model: LanguageModel, base: LanguageModel, asked: Sequence[Encoded]) -> None:
    """Refuse a model whose heads cannot be held against those of another one by one.

    Args:
        asked: what both are to read, as the model's tokenizer encodes it.

    Raises:
        ConfigError: family, number of layers or heads, or tokenizers differ, or the base has no
            token that is asked.
    """
    why = ""
    for what, name in (
        ("families", "family"),
        ("numbers of layers", "n_layers"),
        ("numbers of heads", "n_heads"),
        ("numbers of key heads", "n_kv_heads"),
    ):
        own, theirs = (getattr(each.anatomy, name) for each in (model, base))
        if own != theirs:
            why = f"the {what} are {escape(str(own), 40)} and {escape(str(theirs), 40)}"
            break
    else:
        words = other_words(model, base)
        longest = max(max(item.ids) for item in asked)
        if words:
            why = (
                f"their tokenizers disagree about {len(words)} words, such as "
                f"'{escape(min(words), 40)}'"
            )
        elif longest >= base.anatomy.vocab_size:
            why = f"the requests hold the token {longest}, and the base knows none beyond "
            why += f"{base.anatomy.vocab_size - 1}"
    if why:
        raise ConfigError(
            f"Heads of {escape(base.name, 80)} cannot be held against those of "
            f"{escape(model.name, 80)}: {why}.",
            fix="Give a model that both come from, or one tuned from the other.",
        )
