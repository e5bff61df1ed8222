"""What the provider's queue costs: a model that takes exactly 0.2 s per batch, whatever is in it.

    python bench/provider.py              # both providers, about two minutes
    python bench/provider.py --ours       # ours alone, about 20 seconds

Every row is N requests at `ModelAPI.generate`, held to `connections` at a time as inspect_ai holds
them. Rendering, tokenising and the model are replaced by nothing on both sides, so what is left is
the queue; the garbage of the imports is collected before. Overhead per batch = (wall time - ideal)
/ ideal batches, where the ideal is ceil(N / batch) x 0.2 s. inspect_ai's own Hugging Face provider
takes its batch size from max_connections, so it has one row per batch size.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from inspect_ai.model import ChatMessageUser, GenerateConfig, ModelAPI
from inspect_ai.model._providers import hf

from theodolite.providers.answers import Answer
from theodolite.providers.requests import Request, Settings
from theodolite.providers.theodolite import TheodoliteAPI

SECONDS_PER_BATCH = 0.2
REQUESTS = 512
BATCHES = (32, 256)
RESULTS = Path(__file__).parent / "results"


class ZeroWorkAPI(TheodoliteAPI):
    """Our provider with a model that does nothing for 0.2 s per batch."""

    def __init__(self, batch: int) -> None:
        handle = SimpleNamespace(fingerprint="none", require=lambda *_: None)
        super().__init__("zero-work", handle=handle, batch=batch)  # type: ignore[arg-type]
        self.sizes: list[int] = []

    def request(self, messages: Any, config: GenerateConfig, epoch: int | None = None) -> Request:
        encoded = SimpleNamespace(ids=(0,))
        return Request(encoded, Settings(config.max_tokens or 1))  # type: ignore[arg-type]

    def key(self, request: Request) -> str:
        return "none"

    def complete(self, requests: Sequence[Request]) -> list[tuple[Answer, ...]]:
        self.sizes.append(len(requests))
        time.sleep(SECONDS_PER_BATCH)
        return [(Answer("", (), "stop"),)] * len(requests)


def nothing() -> None:
    """Stand in for a tokenizer and a model that are never called."""


nothing.batch_decode = nothing  # type: ignore[attr-defined]


class ZeroWorkHuggingFace(hf.HuggingFaceAPI):
    """inspect_ai's provider with its own queue and the same zero-work batch function."""

    def __init__(self) -> None:
        ModelAPI.__init__(self, "zero-work")
        self.model = SimpleNamespace(generate=nothing, device="cpu")
        self.tokenizer = nothing
        self.tokenizer_call_args = {}
        self.do_sample, self.hidden_states = False, None
        self.sizes: list[int] = []

    def hf_chat(self, messages: Any, tools: Any) -> str:
        return ""

    def patch(self) -> None:
        def zero_work(batch: Sequence[Any]) -> None:
            self.sizes.append(len(batch))
            time.sleep(SECONDS_PER_BATCH)
            for item in batch:
                item.future.set_result(hf.GenerateOutput("", 1, 1, 2, None, None, 0.0))

        hf._generate_batch = zero_work


async def drive(api: ModelAPI, connections: int) -> float:
    """Return the seconds that REQUESTS concurrent requests take."""
    slots = asyncio.Semaphore(connections)
    config = GenerateConfig(max_connections=connections, max_tokens=1)
    messages: list[Any] = [ChatMessageUser(content="")]

    async def one() -> None:
        async with slots:
            await api.generate(messages, [], "none", config)

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(REQUESTS)))
    return time.perf_counter() - start


def row(name: str, api: Any, batch: int, connections: int) -> dict[str, Any]:
    """Measure one provider at one batch size."""
    gc.collect()
    gc.freeze()  # or one full collection (0.25 s) falls into some row
    seconds = asyncio.run(drive(api, connections))
    batches = math.ceil(REQUESTS / batch)
    ideal = batches * SECONDS_PER_BATCH
    return {
        "provider": name,
        "batch": batch,
        "connections": connections,
        "requests": REQUESTS,
        "batches": len(api.sizes),
        "seconds": round(seconds, 4),
        "ideal_seconds": round(ideal, 4),
        "overhead_ms_per_batch": round((seconds - ideal) / batches * 1000, 2),
    }


def measure(*, ours_only: bool) -> list[dict[str, Any]]:
    """Return one row per provider, batch size and number of connections."""
    rows = []
    for batch in BATCHES:
        for connections in (batch, 2 * batch):
            rows.append(row("theodolite", ZeroWorkAPI(batch), batch, connections))
        if not ours_only:
            peer = ZeroWorkHuggingFace()
            peer.patch()
            rows.append(row("inspect_ai hf", peer, batch, batch))
    return rows


def main() -> None:
    """Print the table and write it to bench/results/provider.json."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ours", action="store_true", help="skip inspect_ai's own provider")
    rows = measure(ours_only=options.parse_args().ours)
    columns = ("provider", "batch", "connections", "batches", "seconds", "ideal_seconds")
    print(" ".join(f"{name:>13}" for name in (*columns, "ms/batch lost")))
    for found in rows:
        cells = (*(found[name] for name in columns), found["overhead_ms_per_batch"])
        print(" ".join(f"{cell!s:>13}" for cell in cells))
    RESULTS.mkdir(exist_ok=True)
    document = {
        "claim": "the provider's queue costs at most 10 ms per batch",
        "seconds_per_batch": SECONDS_PER_BATCH,
        "python": platform.python_version(),
        "inspect_ai": version("inspect_ai"),
        "rows": rows,
    }
    (RESULTS / "provider.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
