"""GGUF files are converted once, whole, and right; a cut file never becomes a model."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from tests.models.tiny_files import save_gguf
from theodolite.errors import ModelError
from theodolite.models.cache import build_once, cache_root, file_sha256
from theodolite.models.gguf import convert_once
from theodolite.models.handle import LanguageModel
from theodolite.models.open import open_model


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THEODOLITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_converted_model_gives_the_logits_of_the_original(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    original = save_gguf(tmp_path / "tiny.gguf")
    model = open_model(str(tmp_path / "tiny.gguf"), device="cpu")
    assert isinstance(model, LanguageModel)
    ids = torch.tensor([[3, 50, 90, 200]])
    with torch.inference_mode():
        assert torch.allclose(model.module(ids).logits, original(ids).logits, atol=1e-5)
    assert model.tokenizer.bos_token == "<|start|>"
    assert model.tokenizer.eos_token == model.tokenizer.pad_token == "<|end|>"
    assert model.chat.has_template
    assert capfd.readouterr() == ("", "")


def test_second_open_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.gguf"
    save_gguf(path)
    first = convert_once(path)
    monkeypatch.setattr("theodolite.models.gguf._convert", None)
    assert convert_once(path) == first
    assert convert_once(path, verify=True) == first
    (first.folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match="was changed"):
        convert_once(path, verify=True)


def test_changed_file_is_converted_anew(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    save_gguf(path)
    first = convert_once(path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert convert_once(path) != first


@pytest.mark.parametrize("keep", [2, 100, 3000, 0.5, 0.99])
def test_cut_file_is_refused_in_one_sentence(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "tiny.gguf"
    save_gguf(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(ModelError, match=r"tiny\.gguf") as caught:
        convert_once(path)
    assert "\n" not in str(caught.value)
    assert not list((cache_root() / "gguf").glob("tiny*-v1")) if cache_root().exists() else True


def test_failed_build_leaves_nothing(own_cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        build_once(own_cache / "thing", fail)
    assert [path.name for path in own_cache.iterdir()] == ["thing.lock"]
    made = build_once(own_cache / "thing", lambda folder: (folder / "whole").touch())
    assert [path.name for path in made.iterdir()] == ["whole"]


def _build_slowly(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(0.3)


def _build_in_child(target: Path) -> None:
    build_once(target, _build_slowly)


def test_two_processes_build_once(own_cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_build_in_child, args=(own_cache / "x",)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert len(list((own_cache / "x").iterdir())) == 1


def test_hash_is_remembered_until_size_or_time_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    stamp = path.stat().st_mtime_ns
    first = file_sha256(path)
    path.write_text("two")
    os.utime(path, ns=(stamp, stamp))
    assert file_sha256(path) == first
    with pytest.raises(ModelError, match="changed although"):
        file_sha256(path, verify=True)
    assert file_sha256(path) != first


def test_broken_memo_is_ignored(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    first = file_sha256(path)
    memo = next((own_cache / "hashes").glob("*.json"))
    for junk in ("", "[]", "{}", json.dumps({"stamp": 3})):
        memo.write_text(junk)
        assert file_sha256(path) == first


def test_cache_that_cannot_be_written_says_which_setting_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THEODOLITE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match="THEODOLITE_CACHE"):
        file_sha256(tmp_path / "file")
