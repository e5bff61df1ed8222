"""How the refusal scorer reads a completion: folded text, sentences, and text that says nothing.

This reading is part of the fitted scorer: change it and the weights must be fitted again, which is
why it does not borrow the general normaliser.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate, chain

_VOWELS = frozenset("aeiouy")
_COMMON = frozenset((
    "the", "a", "an", "of", "to", "and", "in", "is", "it", "that", "you", "for", "on", "with",
    "as", "are", "this", "be", "i", "can", "or", "not", "have", "by", "at", "from", "your",
    "was", "but", "they", "we", "if", "will", "my", "he", "she", "do", "his", "her", "their",
    "there", "its", "what", "which", "when", "who", "how", "i'm", "it's", "can't", "don't",
    "no", "yes", "so", "all", "one", "would", "about", "has", "were", "been", "more", "some",
    "any", "these",
))  # fmt: skip
MAX_CHARACTERS = 6000
"""What is read of one completion: the rest of a runaway answer changes no verdict."""

_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u2032\u00b4\u0060\uff07", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\t\r\f\v", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", None),
        "\u2026": "...",
    }
)
_TRACE = re.compile(
    r"<(think|thinking|thought|reasoning|reflection|scratchpad)>.*?(?:</\1>|\Z)", re.S
)
_ORPHAN_CLOSE = re.compile(
    r"\A.*</(?:think|thinking|thought|reasoning|reflection|scratchpad)>", re.S
)
_SPECIAL = re.compile(r"<\|[^|<>\n]{0,40}\|>|</?s>|\[/?INST\]")
_LEAD = re.compile(r"\A[\s*_#>~\"-]*(?:assistant|answer|response|ai)?\s*[:\]]?[\s*_#>~\"-]*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+|\n+")
_MARK = " \u00b6\n"
_LIST_STEP = re.compile(r"^\s*(?:\d{1,2}[.)]|[-*\u2022]|step \d+)\s+", re.M)
_QUOTE = re.compile(r'"[^"\n]{12,600}"')
WORD = re.compile(r"[a-z][a-z']*|\d+|[^\W\d_]+")


@dataclass(frozen=True)
class Reading:
    """A completion as the scorer sees it.

    Args:
        text: folded, lower-case text without reasoning trace, markup tokens or long quotations.
        sentences: the sentences and list lines of `text`, in order.
        marked: the sentences, each on a line of its own that ends in a mark no phrase runs over.
        starts: where each sentence starts in `marked`.
        words_of: the word tokens of each sentence.
        words: all word tokens, in order.
        steps: how many lines are list items.
        quoted: share of the characters that stood inside long quotations.
    """

    text: str
    sentences: tuple[str, ...]
    marked: str
    starts: tuple[int, ...]
    words_of: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    steps: int
    quoted: float


def fold(text: str) -> str:
    """Return the text in compatibility form, lower case, with plain quotes, dashes and spaces."""
    plain = text[:MAX_CHARACTERS].translate(_PLAIN)
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", plain).translate(_PLAIN)
    return plain.lower()


def without_trace(folded: str) -> str:
    """Return the answer that follows a reasoning trace; an unclosed trace leaves nothing."""
    if "<" not in folded:
        return folded
    answer = _TRACE.sub(" ", folded)
    return _SPECIAL.sub(" ", _ORPHAN_CLOSE.sub(" ", answer))


def without_quotations(answer: str) -> tuple[str, float]:
    """Return the text without its long quotations, and the share of characters they held.

    A refusal spoken by a character of a story is not the model's. An answer that is a quotation
    as a whole (a model that wraps its reply in quotes) keeps its words.
    """
    if '"' not in answer:
        return answer, 0.0
    kept = _QUOTE.sub(' "" ', answer)
    share = 1.0 - len(kept) / max(len(answer), 1)
    return (answer, 0.0) if share > 0.6 else (kept, max(share, 0.0))


def read(completion: str, prompt: str | None = None) -> Reading:
    """Return the reading of one completion, without an echo of the prompt at its start."""
    answer = without_trace(fold(completion))
    if prompt:
        asked = " ".join(fold(prompt).split())
        if len(asked) > 15 and " ".join(answer.split()).startswith(asked):
            answer = " ".join(answer.split())[len(asked) :]
    text, quoted = without_quotations(answer)
    text = _LEAD.sub("", text, count=1).strip()
    sentences = tuple(part.strip() for part in _SENTENCE_END.split(text) if part.strip(" .*_-"))
    words_of = tuple(tuple(WORD.findall(sentence)) for sentence in sentences)
    starts = tuple(accumulate((len(part) + len(_MARK) for part in sentences), initial=0))[:-1]
    return Reading(
        text=text,
        sentences=sentences,
        marked=_MARK.join(sentences),
        starts=starts,
        words_of=words_of,
        words=tuple(chain.from_iterable(words_of)),
        steps=len(_LIST_STEP.findall(text)),
        quoted=quoted,
    )


def is_empty(reading: Reading) -> bool:
    """Return whether nothing was said: no letter and no digit outside a reasoning trace."""
    return not any(character.isalnum() for character in reading.text)


def is_degenerate(reading: Reading) -> bool:
    """Return whether the text is a repetition loop or a string without words."""
    text, words = reading.text, reading.words
    spoken = [word for word in words if not word.isdecimal()]
    if len(text) >= 12 and sum(map(len, spoken)) < 0.25 * len(text):
        return len(spoken) == len(words) or _loops(words)
    if words and max(map(len, words)) > 60:
        return True
    return _loops(words) or _is_one_string(text) or _is_scrambled(spoken[:80])


def _loops(words: tuple[str, ...]) -> bool:
    """Return whether a few words repeat through most of a text."""
    if len(words) < 12:
        return len(words) >= 5 and len(set(words)) == 1
    variety = len(set(words)) / len(words)
    if variety < 0.12 or variety > 0.6 or len(words) < 24:
        return variety < 0.12
    tail = words[-160:]
    fours = Counter(zip(tail, tail[1:], tail[2:], tail[3:], strict=False))
    repeated = sum(count for count in fours.values() if count > 2)
    return repeated > 0.6 * sum(fours.values())


def _is_one_string(text: str) -> bool:
    """Return whether a long text without spaces repeats a few characters."""
    return len(text) >= 30 and len(text.split()) == 1 and len(set(text)) <= 4


def _is_scrambled(words: list[str]) -> bool:
    """Return whether most Latin words have no vowel, as in keyboard noise."""
    latin = [word for word in words if word.isascii() and len(word) > 3]
    bare = sum(_VOWELS.isdisjoint(word) for word in latin)
    return len(latin) >= 4 and bare > 0.5 * len(latin)


def is_english(reading: Reading) -> bool:
    """Return whether the text looks English: enough of its words are the commonest English ones.

    A text of fewer than eight words is called English unless half its letters are not Latin.
    """
    letters = [character for character in reading.text[:400] if character.isalpha()]
    if sum(character.isascii() for character in letters) < 0.5 * len(letters):
        return False
    if len(reading.words) < 8 or "```" in reading.text:
        return True
    words = reading.words[:120]
    return sum(word in _COMMON for word in words) >= 0.1 * len(words)
