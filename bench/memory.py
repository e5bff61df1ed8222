"""Does memory stay flat when thousands of prompts are captured to disk?

python -m bench.memory [PROMPTS]

Captures the last token of every block for N prompts, streamed to safetensors, in a process of its
own per N, and compares the peak resident memory of a short and a long run.
"""

from __future__ import annotations

import subprocess
import sys

from bench.harness import publish

WORK = """
import resource, sys, tempfile, time
from pathlib import Path
from theodolite.data.prompts import Prompt
from theodolite.engine import capture
from theodolite.models import open_model

count = int(sys.argv[1])
words = ("river", "letter", "engine", "garden", "music", "winter", "market", "island")
prompts = [
    Prompt(id=str(i), text=f"Write one line about a {words[i % 8]} and the number {i}.")
    for i in range(count)
]
model = open_model("smollm2")
began = time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    capture(model, prompts, sites=("resid_post",), positions=("prompt_last",), out=Path(folder))
    size = sum(f.stat().st_size for f in Path(folder).rglob("*.safetensors"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(peak, time.perf_counter() - began, size / 2**20)
"""


def main() -> None:
    """Print peak memory for 500 prompts and for N."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rows = []
    for count in (500, most):
        done = subprocess.run(
            [sys.executable, "-c", WORK, str(count)], capture_output=True, text=True, check=True
        )
        peak, seconds, written = (float(part) for part in done.stdout.split()[-3:])
        rows.append(
            {
                "prompts": count,
                "peak_mib": round(peak),
                "seconds": round(seconds, 1),
                "written_mib": round(written),
                "prompts_per_s": round(count / seconds, 1),
            }
        )
    publish("memory", rows, growth_mib=rows[1]["peak_mib"] - rows[0]["peak_mib"])


if __name__ == "__main__":
    main()
