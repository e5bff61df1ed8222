"""A base whose heads are held against a model's: it reads the same tokens, or is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.models.tiny import tiny_model, tiny_tokenizer
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError
from theodolite.mechanism.heads.frames import encode_framed
from theodolite.mechanism.heads.second_model import check_same_heads, other_words, reading_as
from theodolite.models.chat import chat_format

ASKED = [Prompt("q", "How do I bake bread?")]


def base_with(words: Any) -> Any:
    """Return a base whose tokenizer was changed by `words`."""
    base = tiny_model()
    base.tokenizer = tiny_tokenizer()
    words(base.tokenizer)
    return base


def test_added_tokens_are_no_other_words() -> None:
    model, base = tiny_model(), base_with(lambda t: t.add_tokens(["<|tool|>"]))
    assert other_words(model, base) == set()
    check_same_heads(model, base, encode_framed(model, ASKED))


def test_other_words_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, base = tiny_model(), base_with(lambda _: None)
    vocabulary = dict(base.tokenizer.get_vocab())
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    monkeypatch.setattr(base.tokenizer, "get_vocab", lambda: vocabulary)
    assert other_words(model, base) == {"A", "B"}
    with pytest.raises(ConfigError, match="disagree about 2 words, such as 'A'"):
        check_same_heads(model, base, encode_framed(model, ASKED))


def test_other_families_are_refused() -> None:
    model = tiny_model()
    with pytest.raises(ConfigError, match="the families are llama and qwen2"):
        check_same_heads(model, tiny_model("qwen2"), encode_framed(model, ASKED))


def test_tokens_the_base_does_not_know_are_refused() -> None:
    model, base = tiny_model(), tiny_model()
    asked = encode_framed(model, ASKED)
    last = max(asked[0].ids)
    base.anatomy = replace(base.anatomy, vocab_size=last + 1)
    check_same_heads(model, base, asked)
    base.anatomy = replace(base.anatomy, vocab_size=last)
    with pytest.raises(ConfigError, match=f"hold the token {last}"):
        check_same_heads(model, base, asked)


def test_the_base_reads_with_the_tokenizer_and_template_of_the_model() -> None:
    model, base = tiny_model(), tiny_model()
    base.tokenizer = tiny_tokenizer(None)
    base.chat = chat_format(base.tokenizer)
    reader = reading_as(base, model)
    assert encode_framed(reader, ASKED) == encode_framed(model, ASKED)
    assert reader.module is base.module and reader.lock is base.lock
    assert reader.fingerprint not in (model.fingerprint, base.fingerprint)
    assert not base.chat.has_template
