"""Put untrusted text into a judge's prompt so that it stays text.

Three attacks are stopped. The text closes the fence and speaks as the user: the fence carries a tag
drawn from the text's own hash, so the text cannot contain it. The text imitates the prompt's
headings or a finished verdict: every line of it is quoted. The text hides instructions in invisible
characters or floods the context: those are shown as escapes, and long text is cut with a marker.
"""

from __future__ import annotations

from dataclasses import dataclass

from theodolite.text.display import escape
from theodolite.text.hashing import content_key

QUOTE = "| "
LIMIT = 6000
"""Characters of one fenced text; the start and the end are kept."""


@dataclass(frozen=True)
class Fenced:
    """A text made safe for a prompt.

    Args:
        tag: the random word of this item's fence; a verdict must repeat it.
        block: opening line, quoted text, closing line.
        truncated: how many characters were left out.
    """

    tag: str
    block: str
    truncated: int


def fence(
    text: str, *, item_id: str, seed: int = 0, name: str = "text", limit: int = LIMIT
) -> Fenced:
    """Return untrusted text between two lines that it cannot write itself.

    Args:
        text: what a model, a file or a user said.
        item_id: the item; with the seed and the text it decides the tag.
        seed: of the run.
        name: what the block is called in the prompt, e.g. `ANSWER`.
        limit: most characters kept, half from the start and half from the end.
    """
    tag = _tag(text, item_id, seed)
    kept, truncated = _cut(text, limit, tag)
    shown = escape(kept, keep_newlines=True)
    quoted = "\n".join(QUOTE + line for line in shown.split("\n"))
    block = f"<<<{name} {tag}>>>\n{quoted}\n<<<END {name} {tag}>>>"
    return Fenced(tag, block, truncated)


def _tag(text: str, item_id: str, seed: int) -> str:
    """Return a word that does not occur in the text, not even in another case."""
    lowered = text.lower()
    attempt = 0
    while (tag := content_key("fence", seed, item_id, text, attempt)[:12]) in lowered:
        attempt += 1
    return tag


def _cut(text: str, limit: int, tag: str) -> tuple[str, int]:
    if len(text) <= limit:
        return text, 0
    head, tail = limit - limit // 2, limit // 2
    left_out = len(text) - head - tail
    marker = f"\n[{tag}: {left_out} characters left out here]\n"
    return text[:head] + marker + text[len(text) - tail :], left_out
