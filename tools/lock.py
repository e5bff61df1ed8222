"""Rebuild the exact pins with hashes: `make lock` (needs the internet).

What is pinned stays as it is; `make lock LOCK_ARGS=--upgrade` takes the newest of everything.

torch and its CUDA wheels stay out of the files: which build of torch fits is the machine's
business (see the Makefile), everything else is the same everywhere.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
MACHINE_SPECIFIC = re.compile(r"(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
HEADER = "# Exact versions with hashes, made by `make lock`; {what}.\n"


def compile_pins(extras: list[str], target: Path, what: str, against: Path | None = None) -> None:
    """Resolve the project with extras and write one hashed pin per line of `target`."""
    torch_pin = ROOT / "build" / "torch-pin.txt"
    torch_pin.parent.mkdir(exist_ok=True)
    torch_pin.write_text(TORCH + "\n")
    command = [sys.executable, "-m", "uv", "pip", "compile", str(ROOT / "pyproject.toml")]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    command += ["--no-annotate", "--no-header", "-c", str(torch_pin)]
    command += [part for extra in extras for part in ("--extra", extra)]
    made = ROOT / "build" / target.name
    if target.exists():
        made.write_text(target.read_text())  # uv keeps the pins it finds in its output file
    command += ["--output-file", str(made), *sys.argv[1:]]
    if against is not None:
        command += ["-c", str(against)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    text = made.read_text()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    kept = [block for block in blocks if not MACHINE_SPECIFIC.match(block)]
    target.write_text(HEADER.format(what=what) + "\n".join(kept) + "\n")
    print(f"{target.name}: {len(kept)} packages")


if __name__ == "__main__":
    # The benchmark's peers cap some versions, so they are resolved first and the core follows them.
    everything = ROOT / "constraints-bench.txt"
    compile_pins(["dev", "train", "bench"], everything, "what `make bench` installs")
    pins = re.findall(r"^[\w.\[\]-]+==.*?(?= \\$)", everything.read_text(), re.M)
    unhashed = ROOT / "build" / "pins.txt"
    unhashed.write_text("\n".join(pins) + "\n")
    compile_pins(["dev", "train"], ROOT / "constraints.txt", "what `make setup` installs", unhashed)
