"""Ask a judge whether a reason names the error that experts found, and read its decision.

The candidate stands between fences with a tag it cannot know, every line quoted, and a decision
planted in it is taken out; nothing says whose text it is.
"""

from __future__ import annotations

import re
from typing import Final

from theodolite.behaviour.mr_ben.prompts import filled, wording
from theodolite.data.step_critique import CritiqueSample
from theodolite.judging.fence import fence
from theodolite.text.display import escape
from theodolite.text.hashing import content_key
from theodolite.text.normalise import normalise, strip_reasoning

VERSION: Final = 1
PLANTED: Final = "[words taken out]"
LIMIT: Final = 12_000
NO_REASON: Final = "(no explanation)"
_BETWEEN: Final = r"(?:[\W_]|\\u[0-9a-f]{4}|\\x[0-9a-f]{2})*"
_DECISION: Final = re.compile(rf"final{_BETWEEN}decision", re.I)
_LINE: Final = re.compile(r"\W*final\W*decision\W+(?P<said>not correct|incorrect|correct|wrong)\W*")
_ANY: Final = re.compile(r"final\W*decision\W*:\W*(not correct|incorrect|correct|wrong)\b")


def reason_prompt(sample: CritiqueSample, reason: str, *, line: str = "", seed: int = 0) -> str:
    """Return the judge's question about one reason.

    Args:
        reason: the candidate's, untrusted.
        line: for code, the line the candidate names; untrusted.
        seed: of the fences.
    """
    student = reason.strip() or NO_REASON
    if sample.coding:
        student = f"Line: {line.strip() or '(none)'}\n{student}"
    texts = {
        "question": _fenced(sample, "QUESTION", sample.question, seed),
        "solution": _fenced(sample, "SOLUTION", "\n".join(sample.lines), seed),
        "gold": _gold(sample),
        "expert": _fenced(sample, "EXPERT", _expert(sample), seed),
        "student": _fenced(sample, "STUDENT", neutralised(student), seed),
    }
    return filled(wording()["judge"]["steps"].strip("\n"), texts)


def neutralised(text: str) -> str:
    """Return a text in which no "Final Decision" is left, however it is spaced or marked."""
    plain = normalise(text, compatibility=True, keep_lines=True)
    return _DECISION.sub(PLANTED, escape(plain, keep_newlines=True))


def parse_decision(reply: str) -> bool | None:
    """Return whether a judge accepts; None where its last line is no decision, or two differ."""
    plain = normalise(strip_reasoning(reply), compatibility=True, lower=True, keep_lines=True)
    lines = [line for line in plain.split("\n") if line.strip()]
    last = _LINE.fullmatch(lines[-1]) if lines else None
    if last is None:
        return None
    said = {word == "correct" for word in _ANY.findall(plain)}
    said.add(last["said"] == "correct")
    return said.pop() if len(said) == 1 else None


def judgement_key(sample: CritiqueSample, reason: str, *, line: str = "", judge: str = "") -> str:
    """Return the key under which a verdict is kept: equal reasons on one solution share it."""
    return content_key("mr-ben reason", VERSION, judge, sample.id, reason.strip(), line.strip())


def _gold(sample: CritiqueSample) -> str:
    if sample.gold_step is not None:
        return f"Step {sample.gold_step}"
    return escape(sample.gold_line.strip(), 300) or "no line is marked"


def _expert(sample: CritiqueSample) -> str:
    parts = [f"Reason {i}: {text.strip()}" for i, text in enumerate(sample.reasons, 1)]
    parts += [f"Correction {i}: {text.strip()}" for i, text in enumerate(sample.fixes, 1)]
    return "\n".join(parts)


def _fenced(sample: CritiqueSample, name: str, text: str, seed: int) -> str:
    return fence(text, item_id=sample.id, seed=seed, name=name, limit=LIMIT).block
