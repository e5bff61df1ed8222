"""The batching queue: whole bursts, fair order, errors to their callers, loops that come and go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from theodolite.providers.batching import BatchQueue


class Recorder:
    """A work function that remembers its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[list[Any]] = []
        self.threads: set[int] = set()

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        return [("done", item) for item in items]


async def gather(queue: BatchQueue[Any, Any], items: Sequence[Any], **options: Any) -> list[Any]:
    return await asyncio.gather(*(queue.submit(item, **options) for item in items))


def test_each_caller_gets_its_own_result_in_full_batches() -> None:
    work = Recorder()
    queue: BatchQueue[int, Any] = BatchQueue(work, max_batch=8)
    results = asyncio.run(gather(queue, range(32)))
    assert results == [("done", i) for i in range(32)]
    assert work.batches == [list(range(start, start + 8)) for start in range(0, 32, 8)]
    assert len(work.threads) == 1 and threading.get_ident() not in work.threads


def test_a_lone_request_waits_no_longer_than_the_linger() -> None:
    queue: BatchQueue[int, Any] = BatchQueue(Recorder(), max_batch=8, linger=0.05)

    async def main() -> float:
        await queue.submit(0)
        start = time.perf_counter()
        await queue.submit(1)
        return time.perf_counter() - start

    assert 0.045 <= asyncio.run(main()) < 0.5


def test_a_batch_starts_at_once_when_every_open_connection_waits() -> None:
    work = Recorder()
    queue: BatchQueue[int, Any] = BatchQueue(work, max_batch=100, linger=60.0)
    asyncio.run(asyncio.wait_for(gather(queue, range(5), connections=5), timeout=10))
    assert work.batches == [[0, 1, 2, 3, 4]]


def test_a_batch_starts_at_once_when_it_is_full() -> None:
    work = Recorder()
    queue: BatchQueue[int, Any] = BatchQueue(work, max_batch=4, linger=60.0)
    asyncio.run(asyncio.wait_for(gather(queue, range(4)), timeout=10))
    assert work.batches == [[0, 1, 2, 3]]


def test_a_burst_that_keeps_the_loop_busy_is_gathered_whole() -> None:
    work = Recorder()
    queue: BatchQueue[int, Any] = BatchQueue(work, max_batch=64, linger=0.005)

    async def slow_caller(item: int) -> Any:
        time.sleep(0.002)  # blocks the loop, as parsing and logging do
        return await queue.submit(item)

    async def main() -> None:
        await asyncio.gather(*(slow_caller(item) for item in range(20)))

    asyncio.run(main())
    assert work.batches == [list(range(20))]


def test_only_equal_groups_share_a_batch_and_the_oldest_goes_first() -> None:
    work = Recorder()
    queue: BatchQueue[str, Any] = BatchQueue(work, max_batch=3)

    async def main() -> None:
        names = ["a1", "b1", "a2", "b2", "b3", "b4"]
        await asyncio.gather(*(queue.submit(name, group=name[0]) for name in names))

    asyncio.run(main())
    # b fills first, but a1 came before every b.
    assert work.batches == [["a1", "a2"], ["b1", "b2", "b3"], ["b4"]]


def test_a_steady_stream_of_full_batches_does_not_starve_the_odd_one_out() -> None:
    work = Recorder(seconds=0.005)
    queue: BatchQueue[str, Any] = BatchQueue(work, max_batch=2)

    async def stream() -> None:
        for _ in range(10):
            await asyncio.gather(*(queue.submit("common", group="c") for _ in range(4)))

    async def main() -> None:
        busy = asyncio.create_task(stream())
        await asyncio.sleep(0.012)
        await queue.submit("odd", group="o")
        assert not busy.done()
        await busy

    asyncio.run(main())
    assert ["odd"] in work.batches[:8]


def test_an_error_reaches_every_caller_of_its_batch_and_no_other() -> None:
    def work(items: Sequence[int]) -> list[int]:
        if 3 in items:
            raise ValueError("no threes")
        return list(items)

    queue: BatchQueue[int, int] = BatchQueue(work, max_batch=2)

    async def main() -> list[Any]:
        calls = (queue.submit(i) for i in range(6))
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(main())
    assert [str(r) for r in results] == ["0", "1", "no threes", "no threes", "4", "5"]


def test_a_result_that_is_an_exception_is_raised_to_its_caller_alone() -> None:
    def work(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError("odd") if i % 2 else i for i in items]

    queue: BatchQueue[int, int] = BatchQueue(work, max_batch=4)

    async def main() -> list[Any]:
        calls = (queue.submit(i) for i in range(4))
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(main())
    assert [results[0], results[2]] == [0, 2]
    assert [str(results[1]), str(results[3])] == ["odd", "odd"]


def test_a_work_function_that_loses_items_is_an_error_not_a_hang() -> None:
    queue: BatchQueue[int, int] = BatchQueue(lambda items: list(items)[:-1], max_batch=2)
    with pytest.raises(RuntimeError, match="2 items came back as 1"):
        asyncio.run(gather(queue, range(2)))


def test_a_cancelled_caller_leaves_and_the_others_are_served() -> None:
    work = Recorder(seconds=0.05)
    queue: BatchQueue[Any, Any] = BatchQueue(work, max_batch=2)

    async def main() -> list[Any]:
        first = [asyncio.create_task(queue.submit(("first", i))) for i in range(2)]
        await asyncio.sleep(0.02)  # the first batch is running now
        waiting = asyncio.create_task(queue.submit("gone"))
        await asyncio.sleep(0)
        waiting.cancel()
        first[0].cancel()
        with anyio.move_on_after(0.001):
            await queue.submit("too slow")
        return await asyncio.gather(first[1], queue.submit("last"))

    assert asyncio.run(main()) == [("done", ("first", 1)), ("done", "last")]
    assert work.batches == [[("first", 0), ("first", 1)], ["last"]]


def test_a_cancelled_batch_that_has_not_started_is_not_computed() -> None:
    work = Recorder(seconds=0.05)
    queue: BatchQueue[Any, Any] = BatchQueue(work, max_batch=2)

    async def main() -> None:
        running = asyncio.create_task(gather(queue, ["a", "b"]))
        await asyncio.sleep(0.01)
        queued = [asyncio.create_task(queue.submit(name)) for name in "cd"]
        await asyncio.sleep(0.01)
        for task in queued:
            task.cancel()
        await running
        assert await queue.submit("e") == ("done", "e")

    asyncio.run(main())
    assert work.batches == [["a", "b"], ["e"]]


def test_one_event_loop_may_end_and_another_begin() -> None:
    work = Recorder(seconds=0.02)
    queue: BatchQueue[int, Any] = BatchQueue(work, max_batch=4)

    async def abandoned() -> None:
        with anyio.move_on_after(0.001):
            await gather(queue, range(4))  # still running when this loop closes

    asyncio.run(abandoned())
    for start in (10, 20):
        results = asyncio.run(gather(queue, range(start, start + 6)))
        assert results == [("done", i) for i in range(start, start + 6)]
    assert len(work.threads) == 1


def test_two_event_loops_at_once_share_the_worker() -> None:
    work = Recorder(seconds=0.005)
    queue: BatchQueue[int, Any] = BatchQueue(work, max_batch=4)
    results: dict[int, list[Any]] = {}

    def run(start: int) -> None:
        results[start] = asyncio.run(gather(queue, range(start, start + 20)))

    threads = [threading.Thread(target=run, args=(start,)) for start in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    for start in (0, 100):
        assert results[start] == [("done", i) for i in range(start, start + 20)]
    assert len(work.threads) == 1


def test_a_closed_queue_starts_again_when_it_is_used() -> None:
    work = Recorder()
    queue: BatchQueue[int, Any] = BatchQueue(work, max_batch=2)
    asyncio.run(gather(queue, [1]))
    queue.close()
    queue.close()
    assert asyncio.run(gather(queue, [2])) == [("done", 2)]
    assert len(work.threads) <= 2


def test_the_time_lost_per_batch_is_less_than_the_linger() -> None:
    """A small twin of bench/provider.py: connections refill the queue after every batch."""
    seconds, size, count = 0.03, 8, 64
    queue: BatchQueue[int, Any] = BatchQueue(Recorder(seconds=seconds), max_batch=size)

    async def main() -> float:
        slots = asyncio.Semaphore(size)

        async def call(item: int) -> None:
            async with slots:
                await queue.submit(item, connections=size)

        start = time.perf_counter()
        await asyncio.gather(*(call(item) for item in range(count)))
        return time.perf_counter() - start

    ideal = count / size * seconds
    best = min(asyncio.run(main()) for _ in range(3))
    assert (best - ideal) / (count / size) < 0.010
