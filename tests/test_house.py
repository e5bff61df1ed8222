"""The rules of the house that a reader cannot see in any one file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import theodolite.errors as errors

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "theodolite"
FILES = sorted(SOURCE.rglob("*.py"))
HEAVY = (
    "torch",
    "transformers",
    "inspect_ai",
    "plotly",
    "sklearn",
    "pandas",
    "statsmodels",
    "rich",
    "sacrebleu",
)
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
FORBIDDEN_ATTRIBUTES = {
    ("torch", "load"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("os", "system"),
}
SAYS_NOTHING = {"utils.py", "util.py", "helpers.py", "helper.py", "misc.py", "common.py"}


def dangerous(tree: ast.AST) -> Iterator[str]:
    """Yield what a syntax tree holds that runs code from data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            f = node.func
            if isinstance(f, ast.Name) and f.id in FORBIDDEN_CALLS:
                yield f.id
            if (
                isinstance(f, ast.Attribute)
                and isinstance(f.value, ast.Name)
                and (f.value.id, f.attr) in FORBIDDEN_ATTRIBUTES
            ):
                yield f"{f.value.id}.{f.attr}"
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_IMPORTS)
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").split(".")[0] in FORBIDDEN_IMPORTS
        ):
            yield str(node.module)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_source_runs_no_code_from_data(path: Path) -> None:
    assert list(dangerous(ast.parse(path.read_text("utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    ["eval('1')", "import pickle", "from joblib import load", "torch.load(f)", "yaml.load(f)"],
)
def test_the_check_for_dangerous_code_can_fail(code: str) -> None:
    assert list(dangerous(ast.parse(code)))


def test_files_tell_one_story() -> None:
    long = {p.name: n for p in FILES if (n := p.read_text("utf-8").count("\n")) > 450}
    assert long == {}
    assert [p for p in FILES if p.name in SAYS_NOTHING] == []


def test_every_error_has_a_page() -> None:
    codes = {
        c.code for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)
    }
    assert codes == {p.stem for p in (ROOT / "docs" / "errors").glob("*.md")}


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("module", ["theodolite", "theodolite.cli.main"])
def test_start_is_light(module: str) -> None:
    found = run_python(f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert found == "[]"


def test_help_costs_little_more_than_python_itself() -> None:
    """A ratio, not seconds: help may cost a few starts of the bare interpreter with typer."""
    import time

    def took(code: str) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            run_python(code)
            times.append(time.perf_counter() - began)
        return sorted(times)[2]

    bare = took("import typer")
    ours = took(
        "import sys; sys.argv = ['theodolite', '--help']\n"
        "from theodolite.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass"
    )
    assert ours < 6 * bare


def test_the_page_on_models_lists_the_families_of_the_table() -> None:
    from theodolite.models.families import FAMILIES

    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert [name for name in FAMILIES if f"`{name}`" not in page] == []
