"""What every benchmark shares: side-by-side timing, one table, one JSON file.

The machine is shared and noisy, so rivals are timed in turn (A B A B ...) after a warm-up and the
medians and their ratio are quoted, never single seconds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def side_by_side(
    rivals: Mapping[str, Callable[[], Any]], *, runs: int = 5, warmup: int = 1
) -> dict[str, list[float]]:
    """Return wall seconds per rival, all timed in turn in this process."""
    for _ in range(warmup):
        for work in rivals.values():
            work()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(runs):
        for name, work in rivals.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def summarise(seconds: Mapping[str, Sequence[float]], ours: str) -> list[dict[str, Any]]:
    """Return one row per rival: median, spread, and how many times slower than ours it is."""
    base = statistics.median(seconds[ours])
    return [
        {
            "rival": name,
            "median_s": round(statistics.median(times), 4),
            "min_s": round(min(times), 4),
            "max_s": round(max(times), 4),
            "times_ours": round(statistics.median(times) / base, 2),
        }
        for name, times in seconds.items()
    ]


def publish(name: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Print the table and write it with the machine's facts to bench/results/<name>.json."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    print(f"\n{name}" + "".join(f"  {key}={value}" for key, value in facts.items()))
    for line in (columns, *cells):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))
    RESULTS.mkdir(exist_ok=True)
    machine = {"cpus": os.cpu_count(), "platform": platform.platform()}
    document = {"name": name, "facts": facts, "machine": machine, "rows": list(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
