"""Which characters of a prompt a token stands for, and which tokens make up a word."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

Span = tuple[int, int]
# Scripts that write no spaces between words: there every token is a word of its own.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def token_spans(model: LanguageModel, prompt: Encoded) -> list[Span]:
    """Return the characters of `prompt.text` that each token stands for, end exclusive.

    Note: tokens that spell out a control token of the user's share its characters.
    """
    for special in (False, True):
        batch = model.tokenizer([prompt.text], add_special_tokens=special, verbose=False)
        encoding = batch.encodings[0]
        if tuple(encoding.ids) == prompt.ids:
            return [(int(a), int(b)) for a, b in encoding.offsets]
    plain = model.tokenizer(
        [prompt.text], add_special_tokens=not model.chat.has_template, verbose=False
    ).encodings[0]
    return _aligned(plain.ids, plain.offsets, prompt.ids)


def _aligned(ids: Sequence[int], offsets: Sequence[Span], wanted: Sequence[int]) -> list[Span]:
    """Carry offsets over to other ids: where these differ, they share what they replace."""
    found: list[Span] = []
    matcher = SequenceMatcher(a=list(ids), b=list(wanted), autojunk=False)
    for kind, low, high, first, last in matcher.get_opcodes():
        if kind == "equal":
            found += [(int(a), int(b)) for a, b in offsets[low:high]]
        else:
            start = offsets[low][0] if low < len(offsets) else (offsets[-1][1] if offsets else 0)
            end = offsets[high - 1][1] if high > low else start
            found += [(int(start), int(end))] * (last - first)
    return found


def word_numbers(prompt: Encoded, spans: Sequence[Span]) -> NDArray[np.int64]:
    """Return the word each token belongs to, counted from 0 along the prompt.

    Tokens are one word where they touch without white space, both borders are letters, digits or
    marks of a script that spaces its words, and neither or both are the user's.
    """
    numbers = np.zeros(len(spans), np.int64)
    user = range(*(prompt.instruction or (0, len(prompt))))
    word = 0
    for place in range(1, len(spans)):
        same_side = (place in user) == (place - 1 in user)
        if not (same_side and _joined(prompt.text, spans[place - 1], spans[place])):
            word += 1
        numbers[place] = word
    return numbers


def _joined(text: str, left: Span, right: Span) -> bool:
    if left == right and left[0] < left[1]:
        return True  # pieces of one character, or of one spelled control token
    before, after = text[left[0] : left[1]], text[right[0] : right[1]]
    if not before or not after or left[1] != right[0]:
        return left[0] <= right[0] < left[1]  # pieces of a character overlap
    return _of_word(before[-1]) and _of_word(after[0])


def _of_word(char: str) -> bool:
    if char in "'’":
        return True
    if not (char.isalnum() or unicodedata.category(char).startswith("M")):
        return False
    return not unicodedata.name(char, "").startswith(_UNSPACED)
