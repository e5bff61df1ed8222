"""The unit of work: a batch planned from the whole item list, pure and named by its content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Unit:
    """One planned piece of work; what it computes depends on its items and settings only.

    Args:
        key: the content key of everything the result depends on (model fingerprint, template,
            items, settings, method version).
        items: what the work reads, in order.
        cost: expected work in the caller's measure (tokens, mostly), for progress and placement.
    """

    key: str
    items: tuple[Any, ...]
    cost: int = 1


Work = Callable[[Unit], dict[str, Any]]


class Executor(Protocol):
    """A place where units run: this process, other processes, other machines."""

    def __call__(
        self, units: Sequence[Unit], work: Work, /
    ) -> Iterable[tuple[Unit, dict[str, Any]]]:
        """Yield every unit with its result as it finishes, in any order."""
