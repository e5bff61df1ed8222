"""Let the samples of an evaluation go in step, so that all their turns are planned.

Where a task asks its model several times per sample, only the first turns are known beforehand, and
which later requests meet in a batch would hang on which sample was quicker. In step, a sample waits
until every other one waits too, or is done; what they ask then is planned as a whole, as first
turns are, and kept unit by unit. So a resumed run computes the very batches of the first one.

What a model reads and writes at one step is remembered for the next (`engine/session.py`): of a
conversation's next turn only the new tokens are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from theodolite.providers.answers import Answer
from theodolite.providers.batching import BatchQueue

if TYPE_CHECKING:
    from theodolite.providers.requests import Request
    from theodolite.providers.theodolite import TheodoliteAPI

Plan = Callable[[Sequence["Request"]], None]


class Step:
    """Where the samples of one evaluation meet.

    Args:
        api: the provider they ask.
        plan: answers requests, so that the provider knows the answers; runs in a worker thread.
        members: samples that are not done, each of which asks one thing at a time.

    Note: all members must be able to run at once, or those that run wait for ever.
    """

    def __init__(self, api: TheodoliteAPI, plan: Plan, members: int) -> None:
        self._api = api
        self._plan = plan
        self._members = members
        self._queue: BatchQueue[Request, tuple[Answer, ...]] = BatchQueue(
            self._answer, max_batch=max(members, 1), linger=None
        )

    async def ask(self, request: Request) -> tuple[Answer, ...]:
        """Return the answers to a request, once every member asks one."""
        return await self._queue.submit(request, connections=self._members)

    def leave(self) -> None:
        """Say that a member is done; called in the event loop."""
        self._members -= 1
        self._queue.expect(self._members)

    def close(self) -> None:
        """Let the worker thread end."""
        self._queue.close()

    def _answer(self, requests: Sequence[Request]) -> list[tuple[Answer, ...]]:
        keys = [self._api.key(request) for request in requests]
        # In the order of their content: who came first is chance.
        ordered = sorted(dict(zip(keys, requests)).items())
        with self._api.watched(self._queue):
            self._plan([request for _, request in ordered])
        return [self._api.answers.get(key) or () for key in keys]
