"""A reader of states: each prompt is read once, however many analyses ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.data.prompts import Prompt
from theodolite.mechanism.states import POSITIONS, States, read_states
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress


@dataclass(eq=False)
class Reader:
    """Reads states of one model at the same positions, and remembers them.

    Args:
        model, positions, template, journal, progress: as for `read_states`.
    """

    model: LanguageModel
    positions: tuple[str, ...] = POSITIONS
    template: str = "auto"
    journal: Journal | None = None
    progress: Progress | None = None
    _known: States | None = field(default=None, init=False, repr=False)
    _words: dict[str, list[dict[str, Any]]] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, prompts: Sequence[Prompt]) -> States:
        """Return the states of prompts, in their order, at every hidden index.

        A prompt that comes back under its id with other words is read again.
        """
        new = [p for p in prompts if self._words.get(p.id) != p.as_messages()]
        if new:
            found = read_states(
                self.model,
                new,
                positions=self.positions,
                template=self.template,
                journal=self.journal,
                progress=self.progress,
            )
            stay = [i for i in self._words if i not in set(found.prompt_ids)]
            old = self._known.rows(stay) if self._known is not None and stay else None
            self._known = found if old is None else joined(old, found)
            self._words |= {p.id: p.as_messages() for p in new}
        assert self._known is not None  # noqa: S101 - reading no prompts is refused
        return self._known.rows([prompt.id for prompt in prompts])


def joined(first: States, second: States) -> States:
    """Return the states of both, which were read from one model at the same places."""
    return replace(
        first,
        values=np.concatenate([first.values, second.values]),
        prompt_ids=(*first.prompt_ids, *second.prompt_ids),
        key=content_key("states joined", first.key, second.key),
        border_merged=(*first.border_merged, *second.border_merged),
    )
