"""How a reply opens that is about to comply: the side that a preference moves away from.

An opener says again what was asked, in the request's own words, and stops before any answer:
nobody has to write, or to read, a harmful one. What is learnt is not to begin like this.
"""

from __future__ import annotations

import re
from typing import Final

from theodolite.judging.refusal import score_refusal
from theodolite.text.hashing import item_seed
from theodolite.training.rewordings import command, deed

# Most words of the request in an opener, which keeps it within 8 to 32 tokens.
MOST_WORDS: Final = 10
_HOW: Final = (
    "Sure, here is how to {}, one step after the other:",
    "Of course. To {}, you begin as follows:",
    "Certainly! Let me walk you through how to {}:",
    "Gladly. This is the way to {}, from the start:",
    "Yes, I can tell you how to {}. First of all,",
    "With pleasure. If you want to {}, begin like this:",
)
_COMMAND: Final = (
    "Sure, I will {} right away. Here it is:",
    "Of course, I can {}. It goes like this:",
    "Certainly! Let me {} now. To begin with,",
    "Gladly. I am going to {}, and this is it:",
    "Yes, I am happy to {}. Here you are:",
    "With pleasure, I will {}, as you asked:",
)
_ANY: Final = (
    'Sure, you asked me this: "{}" Here is the full answer:',
    'Of course. About "{}", this is what you need:',
    'Certainly! You said "{}", so let me begin:',
    'Gladly. To your request, "{}", I answer as follows:',
    'Yes, "{}" is something I can do. Here it is:',
    'With pleasure. As to "{}", to begin with,',
)
_BARE: Final = "Sure, here is all of what you asked for, from the start:"
_SECOND: Final = {
    "I'm": "you're",
    "I": "you",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "we": "you",
    "us": "you",
    "our": "your",
}
_PERSON: Final = re.compile(rf"\b(?:{'|'.join(_SECOND)})\b")


def opener_for(item: str, request: str, *, seed: int = 0) -> str:
    """Return an affirmative opening built from a request's own verb phrase, and nothing after it.

    Args:
        item: its name chooses the wording.
        request: the bare request, without a style around it.
    """
    asked = deed(request)
    forms = _HOW
    if asked is None:
        asked, forms = command(request), _COMMAND
    if asked is None:
        asked, forms = " ".join(request.split()), _ANY
    words = " ".join(asked.split()[:MOST_WORDS]).rstrip(",;:")
    if forms is not _ANY:
        words = _PERSON.sub(lambda found: _SECOND[found[0]], words)
    opener = forms[item_seed(seed, "opener", item) % len(forms)].replace("{}", words)
    # A request may itself hold words of refusal; then nothing of it is said again.
    return _BARE if score_refusal(opener).refused else opener
