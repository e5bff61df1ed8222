"""Benchmarks are found by name, light until used, and known to inspect_ai."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
from inspect_ai._util.registry import registry_lookup

from theodolite.behaviour.registry import BENCHMARKS, benchmark
from theodolite.errors import ConfigError

PARTS = ("task", "data", "prompts", "scoring", "panel", "evaluation")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_its_files_and_its_task(name: str) -> None:
    for part in PARTS:
        assert find_spec(f"{BENCHMARKS[name]}.{part}"), part
    folder = benchmark(name, "task").__file__ or ""
    for file in ("published.yaml", "CARD.md"):
        assert __import__("pathlib").Path(folder).with_name(file).is_file()
    assert registry_lookup("task", f"theodolite/{name.replace('-', '_')}") is not None


def test_an_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'refusal'"):
        benchmark("refusals", "task")


def test_naming_benchmarks_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "inspect_ai", "plotly")
    code = (
        "import sys, theodolite.behaviour.registry; "
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_inspects_entry_point_registers_provider_and_tasks_without_torch() -> None:
    code = (
        "import sys, theodolite.behaviour.inspect_entry; "
        "from inspect_ai._util.registry import registry_lookup as find; "
        "print(find('modelapi', 'theodolite/theodolite') is not None, "
        "find('task', 'theodolite/refusal') is not None, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["True", "True", "False"]
