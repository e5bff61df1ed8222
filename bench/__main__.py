"""Run the benchmarks: `python -m bench` for all, `python -m bench capture startup` for some."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    *("startup", "capture", "probes", "graft", "heads", "steering", "relevance"),
    *("residual_space", "course_correction", "preference", "debateqa"),
    *("perspective_taking", "mr_ben", "preemptive_answers", "provider", "memory"),
)


def main() -> int:
    """Run each benchmark in its own process, so that none warms up or crowds another."""
    chosen = sys.argv[1:] or list(NAMES)
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    codes = [subprocess.run([sys.executable, "-m", f"bench.{name}"]).returncode for name in chosen]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
