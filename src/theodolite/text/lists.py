"""Options that hold several names or numbers."""

from __future__ import annotations

from collections.abc import Sequence

from theodolite.errors import ConfigError
from theodolite.text.display import escape


def names_in(text: str | None) -> tuple[str, ...]:
    """Split a comma-separated option into names."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def numbers_in(given: str | int | Sequence[int], option: str) -> tuple[int, ...]:
    """Return the whole numbers of an option: joined by commas, a single one, or a list.

    Args:
        option: what it is called, for the message.

    Raises: ConfigError: one of them is no whole number.
    """
    parts = names_in(given) if isinstance(given, str) else given
    try:
        found = tuple(int(part) for part in ([parts] if isinstance(parts, int) else parts))
    except (TypeError, ValueError):
        found = ()
    if not found:
        raise ConfigError(
            f"{option} {escape(str(given), 40)!r} is not a list of whole numbers.",
            fix="Write it like 8,16,48.",
        )
    return found
