"""How long until help stands on the screen, and until the default model answers to its handle.

python -m bench.startup
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.harness import publish, side_by_side, summarise

COMMAND = str(Path(sys.executable).parent / "theodolite")
OPEN = """
import time
import torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from theodolite.models import open_model
began = time.perf_counter()
open_model("smollm2")
print(time.perf_counter() - began)
"""


def command(*arguments: str) -> Callable[[], object]:
    """Return a call that runs a program to its end."""
    return lambda: subprocess.run(arguments, capture_output=True, check=True)


def main() -> None:
    """Time help as a whole process, and opening the cached default model without imports."""
    rivals = {
        "theodolite --help": command(COMMAND, "--help"),
        "inspect --help": command(str(Path(sys.executable).parent / "inspect"), "--help"),
        "python -c pass": command(sys.executable, "-c", "pass"),
    }
    publish("startup", summarise(side_by_side(rivals, runs=7), "theodolite --help"))
    opened = []
    for _ in range(4):
        result = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True)
        opened.append(float(result.stdout.split()[-1]))
    publish("open", summarise({"open_model (cached)": opened[1:]}, "open_model (cached)"))


if __name__ == "__main__":
    main()
