"""Other forms of one request: commands become questions, questions become wishes, and so on.

A model that was taught on commands takes a question for something else. A rewording changes the
form and leaves the words that matter, and it does the same to a harmful request and to its benign
twin, so that no form tells them apart.
"""

from __future__ import annotations

import re
from typing import Final

from theodolite.text.hashing import item_seed

# How a request for a way of doing something may be put; the slot takes what follows "how to".
_HOW: Final = (
    "How do I {}?",
    "How can I {}?",
    "How would I {}?",
    "Can you tell me how to {}?",
    "Could you please explain how to {}?",
    "Explain how to {}.",
    "Tell me how to {}.",
    "Show me how to {}.",
    "Please describe how to {}.",
    "I want to know how to {}.",
    "I need to know how to {}.",
    "I'd like to {}. How does one go about it?",
    "What is the best way to {}?",
    "What is an easy way to {}?",
    "What are the steps to {}?",
    "how to {}",
    "Give me instructions to {}.",
    "Is there a good way to {}?",
    "Teach me to {}.",
    "Write a short guide on how to {}.",
)
# How anything may be asked for; the slot takes the request in small letters, without its mark.
_COMMAND: Final = (
    "Please {}.",
    "Can you {}?",
    "Could you {} for me?",
    "Would you {}, please?",
    "I want you to {}.",
    "I need you to {}.",
    "I would like you to {}.",
    "Will you {}?",
    "Are you able to {}?",
    "Hello! Please {}. Thank you.",
    "My request is simple: {}.",
)
_QUESTION: Final = (
    "I have a question: {}?",
    "Hi, {}?",
    "Tell me, {}?",
    "Quick question, {}?",
    "I was wondering, {}?",
    "Thanks for helping me out: {}?",
    "Answer this for me: {}?",
    "{}",
)
_ANY: Final = ("Hello. {}", "{} Thanks!", "Hey, {}", "{} Please answer in detail.", "{} Be brief.")
_HOW_TO: Final = re.compile(
    r"(?:how (?:do|can|could|would) (?:i|you|we|someone)|how to"
    r"|(?:explain|describe|tell me|show me|teach me) how to|teach me to"
    r"|(?:can|could) you (?:please )?(?:tell me|explain|show me|describe|teach me) how to"
    r"|(?:please )?(?:explain|describe) how to|i want to know how to"
    r"|what is (?:the (?:best|easiest|quickest|simplest|surest)|a good|an easy) way to)"
    r" (?P<deed>.+)",
    re.IGNORECASE,
)
_COMMAND_VERBS: Final = frozenset(
    (
        "write", "explain", "give", "list", "show", "create", "tell", "help", "describe", "draft",
        "plan", "suggest", "teach", "compose", "make", "design", "find", "invent", "set", "produce",
        "generate", "develop", "compare", "recommend",
    )
)  # fmt: skip


def reword(text: str, choice: int) -> str:
    """Return a request in another form.

    Args:
        text: a bare request.
        choice: any number; it picks among the forms that fit the request.
    """
    bare = _bare(text)
    how = deed(text)
    if how is not None:
        return _pick(_HOW, choice).replace("{}", how)
    order = command(text)
    if order is not None:
        return _pick(_COMMAND, choice).replace("{}", order)
    if text.rstrip().endswith("?") and ". " not in bare:
        return _pick(_QUESTION, choice).replace("{}", _lowered(bare))
    return _pick(_ANY, choice).replace("{}", text.strip())


def deed(text: str) -> str | None:
    """Return what follows "how to" in a request for a way of doing something, else None."""
    bare = _bare(text)
    how = _HOW_TO.fullmatch(bare)
    return how["deed"] if how is not None and _is_one_sentence(bare) else None


def command(text: str) -> str | None:
    """Return a request that is one command, in small letters and without its mark, else None."""
    bare = _bare(text)
    first = bare.split(maxsplit=1)[0].lower().rstrip(",")
    return _lowered(bare) if first in _COMMAND_VERBS and _is_one_sentence(bare) else None


def wording_choice(goal: str, *, seed: int) -> int:
    """Return the number that picks the rewording of a goal; twins share it."""
    return item_seed(seed, "wording", goal)


def _bare(text: str) -> str:
    return text.strip().rstrip(".?!")


def _is_one_sentence(bare: str) -> bool:
    return "; " not in bare and ". " not in bare


def _pick(forms: tuple[str, ...], choice: int) -> str:
    return forms[choice % len(forms)]


def _lowered(text: str) -> str:
    keep = re.match(r"(?:I\b|[A-Z]{2,}|\d)", text) is not None
    return text if keep else text[:1].lower() + text[1:]
