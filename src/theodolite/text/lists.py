"""Options that hold several names."""

from __future__ import annotations


def names_in(text: str | None) -> tuple[str, ...]:
    """Split a comma-separated option into names."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
