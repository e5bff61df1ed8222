"""The word list of dispute awareness: does an answer say that people differ, by its phrases alone?

It knows English, and it is a baseline to hold a judge against, not a verdict: an answer may say so
in words that are not here, or use these words of something else.
"""

from __future__ import annotations

import re
from typing import Final

from theodolite.text.normalise import normalise, strip_reasoning

VERSION: Final = 1

_PEOPLE: Final = (
    r"(?:people|experts|scholars|scientists|researchers|historians|economists|philosophers|critics"
    r"|observers|opinions?|views?|viewpoints?|perspectives?|beliefs?|attitudes?|estimates?"
    r"|interpretations?|theories|studies)"
)
_STEMS: Final = re.compile(
    r"\b(?:debat(?:e|es|ed|able|ing)|controvers(?:y|ies|ial)|disput(?:e|es|ed|able|ing)"
    r"|disagreements?|contentious|contested|divisive|polari[sz](?:ing|ed))\b"
)
# What before or after a stem makes it say the opposite, or something else.
_DENIED: Final = re.compile(
    r"(?:\b(?:no|not|never|without|beyond|hardly|cannot be|can't be)|n't)"
    r"(?: (?:a|an|any|the|all|much|real|serious|longer|really|seriously|particularly|very|up for"
    r"|open to|in|under|subject to|matter of|room for)){0,3}[ -]$"
)
_ELSEWHERE: Final = re.compile(
    r"^ (?:clubs?|teams?|competitions?|societ(?:y|ies)|tournaments?|resolution)\b"
)
_PHRASES: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bno (?:single|one|clear|definitive|definite|universal|settled|agreed|right|correct"
        r"|universally \w+|generally \w+|clear-cut)(?: \w+){0,2} (?:answer|view|explanation"
        r"|position|solution|theory|definition|verdict)s?\b",
        r"\b(?:no|little|lack of|without)(?: \w+)? (?:consensus|agreement|unanimity)\b",
        rf"\b{_PEOPLE}(?: \w+){{0,4}} (?:differ|disagree|diverge|vary|var(?:y|ies) widely"
        r"|(?:are|remain|is)(?: \w+)? (?:divided|split|at odds))\b",
        r"\b(?:differing|diverging|divergent|opposing|competing|conflicting|contrasting|rival"
        r"|opposite)(?: \w+)? (?:views?|viewpoints?|opinions?|perspectives?|positions?|arguments?"
        r"|interpretations?|theories|schools|camps)\b",
        r"\b(?:some|many|proponents|supporters|advocates|those in favou?r)(?: \w+){0,5} (?:argue"
        r"|believe|say|claim|contend|maintain|hold|think|feel|see)\b.{0,400}?\b(?:others|opponents"
        r"|critics|detractors|skeptics|sceptics)\b",
        r"\b(?:on|of) both sides\b|\bboth sides of\b|\bfor and against\b",
        r"\bmatter of (?:opinion|debate|dispute|interpretation|perspective)\b",
        r"\b(?:an?|still|remains?|largely) (?:hotly |highly |still |very )?(?:open question"
        r"|unsettled|unresolved)\b",
        r"\bnot (?:yet |fully )?(?:been )?(?:settled|resolved|agreed upon)\b",
        r"\bthe jury is still out\b",
    )
)


def says_disputed(answer: str) -> bool:
    """Return whether an answer says, by its phrases, that its question is disputed.

    Args:
        answer: the whole answer; a reasoning trace does not count.
    """
    text = normalise(strip_reasoning(answer), lower=True)
    return any(map(_means_it, _STEMS.finditer(text))) or any(
        phrase.search(text) for phrase in _PHRASES
    )


def _means_it(stem: re.Match[str]) -> bool:
    before, after = stem.string[max(0, stem.start() - 60) : stem.start()], stem.string[stem.end() :]
    return not _DENIED.search(before) and not _ELSEWHERE.match(after)
