"""The same span under tokenizers that mark, trim or prepend spaces in their own ways."""

from __future__ import annotations

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import PreTrainedTokenizerFast

from tests.models.tiny import TEMPLATE, tiny_model
from theodolite.models.chat import chat_format, control_tokens, encode, encode_plain
from theodolite.models.handle import LanguageModel

TEXTS = ["hello there", " hello ", "a\n\nb ", "<|end|>hi<|start|> you", "é 🙂", "x"]


def _letters() -> Tokenizer:
    """Return a tokenizer of single characters, with bytes for the rest."""
    letters = [chr(c) for c in range(32, 127)] + ["\n", "▁"]
    words = ["<unk>", *(f"<0x{i:02X}>" for i in range(256)), *letters]
    vocab = {word: i for i, word in enumerate(words)}
    return Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))


def _bytes(trim: bool) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=trim)
    backend.decoder = decoders.ByteLevel()
    return backend


def _metaspace(scheme: str) -> Tokenizer:
    backend = _letters()
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)  # type: ignore[arg-type]
    return backend


def _prepend() -> Tokenizer:
    backend = _letters()
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return backend


def _bos() -> Tokenizer:
    backend = _bytes(trim=False)
    backend.add_special_tokens(["<|start|>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", backend.token_to_id("<|start|>"))]
    )
    return backend


KINDS = {
    "bytes": lambda: _bytes(trim=False),
    "bytes, trimmed offsets": lambda: _bytes(trim=True),
    "metaspace at the first word": lambda: _metaspace("first"),
    "metaspace always": lambda: _metaspace("always"),
    "prepended space": _prepend,
    "own bos": _bos,
}


def _model(kind: str, template: str | None) -> LanguageModel:
    backend = KINDS[kind]()
    backend.add_special_tokens([AddedToken(t, normalized=False) for t in ("<|start|>", "<|end|>")])
    model = tiny_model("llama")
    model.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|start|>", eos_token="<|end|>"
    )
    model.tokenizer.chat_template = template
    model.chat = chat_format(model.tokenizer)
    return model


def _letters_of(model: LanguageModel, ids: tuple[int, ...]) -> str:
    raw = b""
    for token in model.tokenizer.convert_ids_to_tokens(ids):
        if token.startswith("<0x"):
            raw += bytes([int(token[3:5], 16)])
        else:
            raw += token.replace("▁", " ").encode()
    return raw.decode()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_span_covers_the_words_and_nothing_else(kind: str, text: str) -> None:
    model = _model(kind, TEMPLATE)
    encoded = encode(model, text)
    assert encoded.instruction is not None
    span = encoded.ids[slice(*encoded.instruction)]
    if kind.startswith(("bytes", "own")):
        assert model.tokenizer.decode(span) == text
    else:
        assert _letters_of(model, span).replace(" ", "") == text.replace(" ", "")
        assert len(span) >= len(text)
    assert encoded.ids[encoded.template[0]] == model.tokenizer.eos_token_id
    control = control_tokens(model.tokenizer, model.chat)
    assert [control[i] for i in encoded.ids if i in control] == [
        "<|start|>",
        "<|end|>",
        "<|start|>",
    ]


def test_tokenizers_own_bos_is_added_to_plain_text_only() -> None:
    chat, plain = _model("own bos", TEMPLATE), _model("own bos", None)
    bos = chat.tokenizer.bos_token_id
    assert encode(chat, "hi").ids[:2].count(bos) == 1
    assert encode(plain, "hi").ids[0] == bos
    assert encode(plain, "hi").instruction == (1, 3)
    assert encode_plain(chat, "hi").ids == encode(plain, "hi").ids
