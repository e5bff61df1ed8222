"""The frame in which a moderator is asked about a message, and the two words it answers with."""

from __future__ import annotations

from typing import Final

# Raised by hand when the frame or the words change; a model trained on one is not read by another.
FRAME_VERSION: Final = 1
MODERATION: Final = "moderation"  # the frame's name among the templates that states are read with
SAFE: Final = "safe"
UNSAFE: Final = "unsafe"
_BEFORE: Final = "May an assistant serve this message?\n\n"
_AFTER: Final = f"\n\nAnswer {SAFE} or {UNSAFE}, and name the harm on a second line."


def moderation_frame(text: str) -> str:
    """Return the user turn in which a moderator reads a request; the request stands as it is."""
    return f"{_BEFORE}{text}{_AFTER}"
