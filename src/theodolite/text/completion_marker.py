"""Find what a model wrote behind the word "Completion:", among all that it says around it.

The marker stands at the beginning of a line. A model may say it twice, write it bold, put the words
on the next line, quote them, or begin with the text it was to go on from. What cannot be read is
kept and counted: an empty body is no clean text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

MARKER: Final = "Completion:"
"""What a model is asked to write before its words, in every language."""
Rule = Literal["same_line", "next_line", "no_marker"]

_MARK: Final = re.compile(
    r"^(?:[^\w\n]|_)*?(?P<open>[*_`]{0,3})completion(?P<close>(?:[^\w\n]|_)*?)[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE: Final = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[ \t]*[\w+-]*[ \t]*(?:\n|\Z)", re.MULTILINE)
_BOLD: Final = ("***", "**", "__")
# Opening quote -> the closing ones that go with it.
_QUOTES: Final = {
    '"': '"',
    "'": "'",
    "“": "”",
    "„": "“”",
    "‘": "’",
    "«": "»",
    "»": "«",
    "「": "」",
    "『": "』",
}


@dataclass(frozen=True)
class ParsedCompletion:
    """What was read of an answer.

    Args:
        body: the words asked for; "" where there are none.
        rule: where they stood: on the marker's line, below it, or in an answer without a marker.
        dropped_lines: lines of the answer before the marker and from the next one on.
        ok: there is a body; where there is none, only the whole answer can be scored.
    """

    body: str
    rule: Rule
    dropped_lines: int
    ok: bool

    def scored(self, text: str) -> str:
        """Return what stands for an answer: its body, or all of it where there is none."""
        return self.body if self.ok else text


def parse_completion(
    text: str, prompt: str | None = None, *, first: bool = False
) -> ParsedCompletion:
    """Return the completion that an answer holds: from its marker to the next one or the end.

    Args:
        text: the answer, as decoded.
        prompt: the text it was to go on from; cut off where the body begins with it (case and
            punctuation do not count).
        first: take the first marker of several, not the last.

    Returns: the body without code fences, bold marks and one pair of quotes around it; without a
        marker, the whole answer, treated alike.
    """
    plain = _FENCE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    marks = list(_MARK.finditer(plain))
    body, dropped = _without_bold(plain.strip(), ""), 0
    rule: Rule = "no_marker"
    if marks:
        place = 0 if first else len(marks) - 1
        mark = marks[place]
        end = marks[place + 1].start() if place + 1 < len(marks) else len(plain)
        opened = "" if mark["open"] and mark["open"] in mark["close"] else mark["open"]
        after = plain[mark.end() : end]
        rule = "same_line" if after.split("\n", 1)[0].strip(" \t*_`") else "next_line"
        body = _without_bold(after.strip(), opened)
        dropped = _lines(plain[: mark.start()]) + _lines(plain[end:])
    body = _without_quotes(body)
    if prompt is not None:
        body = _without_echo(body, prompt)
    return ParsedCompletion(body, rule, dropped, bool(body))


def reference_parse(text: str) -> str:
    """Return what the published code scores: the rest of the line behind the first marker.

    It looks for "Completion", else for "completion", and keeps the colon: where the words stand on
    the next line, ":" is all that is scored, which any scorer finds clean. For comparison only.

    Source: arXiv:2407.15366.
    """
    for word in ("Completion", "completion"):
        _, found, rest = text.partition(word)
        if found:
            return rest.split("\n", 1)[0].strip()
    return text.strip()


def _lines(text: str) -> int:
    return sum(1 for line in text.split("\n") if line.strip())


def _without_bold(body: str, opened: str) -> str:
    """Return a body without the mark that was opened before it, or that stands around it."""
    if opened:
        if body.startswith(opened):
            return body[len(opened) :].strip()
        return body.removesuffix(opened).strip()
    for mark in _BOLD:
        inner = body[len(mark) : -len(mark)]
        if inner and body == mark + inner + mark and mark not in inner:
            return inner.strip()
    return body


def _without_quotes(body: str) -> str:
    """Return a body without the one pair of quotes around it, if it is a pair."""
    closing = _QUOTES.get(body[:1])
    if closing is None or len(body) < 2 or body[-1] not in closing:
        return body
    opening, inner = body[0], body[1:-1]
    for place, char in enumerate(inner):
        if char != opening and char not in closing:
            continue
        before = inner[place - 1 : place]
        after = inner[place + 1 : place + 2]
        if char in closing and before.strip() and not after.isalnum():
            return body  # it closes here already: "a" and "b"
        if not before.strip():
            break  # a quote within the quote
    return inner.strip()


def _without_echo(body: str, prompt: str) -> str:
    """Return a body without the prompt it begins with; case and punctuation do not count."""
    wanted = [char for char, _ in _letters(prompt)]
    found = _letters(body)
    if not wanted or [char for char, _ in found[: len(wanted)]] != wanted:
        return body
    end = found[len(wanted) - 1][1]
    if body[end : end + 1].isalnum():
        return body  # the prompt ends within a word of the body
    rest = body[end:].lstrip()
    for mark in prompt.rstrip()[-1:], *_QUOTES.values():
        if mark and not mark.isalnum() and rest[:1] in mark:
            rest = rest[1:].lstrip()
    return rest


def _letters(text: str) -> list[tuple[str, int]]:
    """Return letters and digits without their case, each with the place where it ends."""
    return [(char.casefold(), i) for i, char in enumerate(text, 1) if char.isalnum()]
