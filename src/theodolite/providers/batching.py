"""An event-driven batching queue: requests meet in the event loop, one thread does the work.

- Nothing polls and nothing sleeps. A request wakes the worker; a finished batch wakes its callers.
- Waiting requests are gathered in the event loop, not in the worker. A loop busy with bringing
  more requests fires its timers late, so a burst of arrivals is gathered whole.
- Each event loop has its own waiting room, touched by that loop's thread alone: no locks, and a
  loop that ends takes its callers with it while the worker goes on for the next loop.
- The worker is an executor's thread, so Python waits for the running batch before it exits;
  `abandoned` tells that batch when nobody waits for it any more.
- The oldest waiting request always goes next, together with everything that may share its batch.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LINGER_SECONDS = 0.010


@dataclass(eq=False)
class _Entry:
    """One request and the future its caller waits on."""

    item: Any
    answer: asyncio.Future[Any]
    number: int


@dataclass(frozen=True)
class _Job:
    """One batch on its way to the worker, and the room its answers go back to."""

    room: _WaitingRoom
    entries: Sequence[_Entry]


class BatchQueue(Generic[Item, Result]):
    """Coalesce concurrent requests into batches and work them off in one thread.

    Args:
        work: maps the items of a batch to their results, in order, in the worker thread; a result
            that is an exception is raised to that caller alone, an exception raised by `work`
            goes to every caller of the batch.
        max_batch: items in a batch at most.
        linger: seconds a batch may wait for company once the worker is free; None waits until it is
            full or every open connection is waiting.

    Note: a cancelled caller's item is dropped if its batch has not started; in a running batch
        its result is thrown away.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        max_batch: int,
        linger: float | None = LINGER_SECONDS,
    ) -> None:
        self.max_batch = max_batch
        self.linger = linger
        self._work = work
        self._rooms: dict[asyncio.AbstractEventLoop, _WaitingRoom] = {}
        self._worker: ThreadPoolExecutor | None = None
        self._guard = threading.Lock()  # of making and closing the worker
        self._running: _Job | None = None

    async def submit(
        self, item: Item, *, group: Hashable = None, connections: int | None = None
    ) -> Result:
        """Return the result of one item, computed in a batch with others of its group.

        Args:
            item: what `work` receives.
            group: items are batched only with items of an equal group.
            connections: how many callers can wait at once, where known; when all of them wait,
                nobody else can come and the batch starts at once.

        Raises: whatever `work` raised for this item or its batch.
        """
        loop = asyncio.get_running_loop()
        room = self._room(loop)
        answer: asyncio.Future[Any] = loop.create_future()
        entry = room.enter(item, answer, group, connections)
        try:
            result: Result = await answer
        finally:
            room.leave(entry, group)
        return result

    def expect(self, connections: int) -> None:
        """Tell how many callers can wait at once from now on; called in their event loop."""
        self._room(asyncio.get_running_loop()).expect(connections)

    @property
    def abandoned(self) -> bool:
        """Whether a batch is running that nobody waits for; long work may ask and stop."""
        job = self._running
        return job is not None and all(entry.answer.done() for entry in job.entries)

    def close(self) -> None:
        """Let the worker thread end after the batches it already has."""
        with self._guard:
            if self._worker is not None:
                self._worker.shutdown(wait=False)
                self._worker = None

    def _send(self, job: _Job) -> None:
        with self._guard:
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="theodolite-batches")
            self._worker.submit(self._serve, job)

    def _room(self, loop: asyncio.AbstractEventLoop) -> _WaitingRoom:
        if loop not in self._rooms:
            # Replaced, not changed: another loop's thread may be reading the old one.
            open_rooms = {old: room for old, room in self._rooms.items() if not old.is_closed()}
            room = _WaitingRoom(loop, self._send, self.max_batch, self.linger)
            self._rooms = {**open_rooms, loop: room}
        return self._rooms[loop]

    def _serve(self, job: _Job) -> None:
        live = [entry for entry in job.entries if not entry.answer.cancelled()]
        self._running = job
        outcomes = self._outcomes([entry.item for entry in live])
        self._running = None
        job.room.receive_from_worker(live, outcomes)

    def _outcomes(self, items: Sequence[Item]) -> Sequence[Result | BaseException]:
        if not items:
            return []
        try:
            results = self._work(items)
        except BaseException as error:  # delivered to the callers, who decide
            return [error] * len(items)
        if len(results) != len(items):
            lost = RuntimeError(f"a batch of {len(items)} items came back as {len(results)}")
            return [lost] * len(items)
        return results


class _WaitingRoom:
    """The requests of one event loop that have not gone to the worker yet.

    At most one batch is with the worker while requests trickle in; a full batch may queue behind
    it, so that a busy model never waits for the event loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[_Job], None],
        max_batch: int,
        linger: float | None,
    ) -> None:
        self._loop = loop
        self._send_job = send
        self._max_batch = max_batch
        self._linger = linger
        self._waiting: dict[Hashable, deque[_Entry]] = {}
        self._arrivals = 0
        self._connections: int | None = None
        self._with_worker = 0
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = False

    def enter(
        self,
        item: Any,
        answer: asyncio.Future[Any],
        group: Hashable,
        connections: int | None,
    ) -> _Entry:
        """Take in one request, and send a batch off if this one completes it."""
        self._arrivals += 1
        entry = _Entry(item, answer, self._arrivals)
        self._waiting.setdefault(group, deque()).append(entry)
        self.expect(connections)
        return entry

    def expect(self, connections: int | None) -> None:
        """Take note of how many callers there are, and send a batch off if all of them wait."""
        self._connections = connections
        self._send_what_is_due()

    def leave(self, entry: _Entry, group: Hashable) -> None:
        """Forget a request whose caller was cancelled while it waited here."""
        entries = self._waiting.get(group)
        if entries is not None and entry in entries:
            entries.remove(entry)
            if not entries:
                del self._waiting[group]
            if not self._waiting:
                self._stop_timer()

    def receive_from_worker(self, entries: Sequence[_Entry], outcomes: Sequence[Any]) -> None:
        """Hand a finished batch back to the event loop; called in the worker thread."""
        try:
            self._loop.call_soon_threadsafe(self._deliver, entries, outcomes)
        except RuntimeError:
            return  # the loop has ended, and its callers with it

    def _deliver(self, entries: Sequence[_Entry], outcomes: Sequence[Any]) -> None:
        for entry, outcome in zip(entries, outcomes, strict=True):
            if entry.answer.done():
                continue
            if isinstance(outcome, BaseException):
                entry.answer.set_exception(outcome)
            else:
                entry.answer.set_result(outcome)
        self._with_worker -= 1
        self._send_what_is_due()

    def _send_what_is_due(self) -> None:
        while self._waiting:
            group = min(self._waiting, key=lambda name: self._waiting[name][0].number)
            if self._with_worker == 0:
                if not (self._overdue or self._nobody_can_join()):
                    self._start_timer()
                    return
            elif self._with_worker > 1 or len(self._waiting[group]) < self._max_batch:
                return
            self._send(group)

    def _nobody_can_join(self) -> bool:
        """Tell whether a batch is full or every open connection is waiting here."""
        sizes = [len(entries) for entries in self._waiting.values()]
        everyone = self._connections is not None and sum(sizes) >= self._connections
        return everyone or max(sizes) >= self._max_batch

    def _send(self, group: Hashable) -> None:
        entries = self._waiting[group]
        batch = [entries.popleft() for _ in range(min(self._max_batch, len(entries)))]
        if not entries:
            del self._waiting[group]
        self._stop_timer()
        self._with_worker += 1
        self._send_job(_Job(self, batch))

    def _start_timer(self) -> None:
        if self._timer is None and self._linger is not None:
            self._timer = self._loop.call_later(self._linger, self._time_is_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._overdue = False

    def _time_is_up(self) -> None:
        self._timer = None
        self._overdue = True
        self._send_what_is_due()
