"""How questions are put: bare, with a style, or with documents. Nothing hints at a dispute.

A hint would be answered by an acknowledgement of it, and D.A. would measure obedience: only the
style `views` asks for different views, and its figures stand apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from theodolite.data.debates import Document
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.text.suggest import did_you_mean

PLAIN: Final = "plain"
STYLES: Final[Mapping[str, str]] = {
    PLAIN: "{question}",
    "brief": "{question}\n\nAnswer in one or two sentences.",
    "detail": "{question}\n\nAnswer in detail.",
    "views": "{question}\n\nDescribe the different views that people hold.",
}
_READ: Final = """\
Here are {count} texts that may help with the question after them. Use them where they are of use, \
and answer in your own words. They need not agree with each other.

{texts}

Question: {question}"""
_PLACE: Final = re.compile(r"\{(count|texts|question)\}")


def check_style(style: str) -> None:
    """Refuse a style that does not exist; raises ConfigError."""
    if style not in STYLES:
        raise ConfigError(f"There is no style {shown(style)}.", fix=did_you_mean(style, STYLES))


def put(question: str, style: str = PLAIN, documents: Sequence[Document] = ()) -> str:
    """Return the user's turn for a question.

    Args:
        documents: what the model may read first, in that order.
    """
    asked = STYLES[style].replace("{question}", question)
    if not documents:
        return asked
    texts = "\n\n".join(
        f"[{number}] {document.title}\n{document.text}"
        for number, document in enumerate(documents, 1)
    )
    given = {"count": str(len(documents)), "texts": texts, "question": asked}
    # In one pass: nothing that is filled in is read as a place to fill.
    return _PLACE.sub(lambda place: given[place[1]], _READ)
