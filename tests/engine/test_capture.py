"""What capture stores, streams, resumes and refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import bare
from tests.oracles import engine_forward as oracle
from theodolite.engine import passes, runner
from theodolite.engine.activations import Activations
from theodolite.engine.capture import capture
from theodolite.engine.generate import generate
from theodolite.errors import ConfigError, DataError, NumericsError
from theodolite.models.chat import Encoded
from theodolite.runs.journal import Journal

# The package's name `capture` is the function.
CAPTURE = import_module("theodolite.engine.capture")


def test_heads_add_up_to_attention(family: Any, prompts: list[Encoded]) -> None:
    found = capture(family, prompts[:5], sites=("head_out", "attn_out"))
    projection = family.anatomy.out_projection(0)
    if not projection.adds_up:
        pytest.skip("a norm stands between the heads and the stream in this family")
    total = found.get("head_out").sum(dim=3)
    for layer in range(family.anatomy.n_layers):
        projection = family.anatomy.out_projection(layer)
        bias = 0.0 if projection.bias is None else projection.bias * projection.scale
        expected = found.get("attn_out", layer=layer)
        assert torch.allclose(total[:, layer] + bias, expected, atol=1e-4)


def test_embeddings_are_what_enters_block_0(llama: Any, prompts: list[Encoded]) -> None:
    found = capture(llama, prompts, sites=("resid_pre",), layers=[0]).get("resid_pre")
    last = torch.tensor([prompt.ids[-1] for prompt in prompts])
    assert torch.equal(found[:, 0, 0], llama.anatomy.embed(last))


def test_streaming_equals_memory(llama: Any, prompts: list[Encoded], tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "sites": ("resid_post", "head_out", "final_norm"),
        "positions": ("prompt_last", 3),
        "batch_tokens": 60,
    }
    for dtype in ("float32", "bfloat16"):
        memory = capture(llama, prompts, dtype=dtype, **asked)
        disk = capture(llama, prompts, dtype=dtype, out=tmp_path / dtype, **asked)
        memory.save(tmp_path / f"saved-{dtype}")
        for other in (disk, Activations.load(tmp_path / f"saved-{dtype}")):
            assert (other.sites, other.layers) == (memory.sites, memory.layers)
            assert other.prompt_ids == memory.prompt_ids
            assert other.positions == ("prompt_last", 3)
            for site in memory.sites:
                assert other.get(site).dtype == getattr(torch, dtype)
                assert torch.equal(other.get(site), memory.get(site))
        assert not list((tmp_path / dtype).rglob("units/*"))


@pytest.mark.parametrize("streamed", [False, True])
def test_finished_units_are_not_computed_again(
    llama: Any,
    prompts: list[Encoded],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    streamed: bool,
) -> None:
    plain = capture(llama, prompts, batch_tokens=60)
    calls = []
    original = passes.run_pass

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(CAPTURE, "run_pass", counted)
    out = tmp_path / "out" if streamed else None
    with Journal(tmp_path / "journal.jsonl") as journal:
        with pytest.raises(Exception, match="Stopped during capture"):
            capture(llama, prompts, batch_tokens=60, journal=journal, out=out)
        kept = len(journal)
        calls.clear()
        calls.extend([0] * 10)
        found = capture(llama, prompts, batch_tokens=60, journal=journal, out=out)
        assert 0 < kept < len(journal)
        assert torch.equal(found.get("resid_post"), plain.get("resid_post"))


def test_a_lost_unit_file_is_computed_again(
    llama: Any, prompts: list[Encoded], tmp_path: Path
) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = capture(llama, prompts, journal=journal, out=tmp_path / "a")
        again = capture(llama, prompts, journal=journal, out=tmp_path / "b")
    assert torch.equal(first.get("resid_post"), again.get("resid_post"))


def test_prefix_passes_are_shared_between_batches(
    llama: Any, prompts: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    original = passes.decode

    def counted(model: Any, inputs: Any, **kwargs: Any) -> Any:
        rows.append(inputs["input_ids"].numel())
        return original(model, inputs, **kwargs)

    monkeypatch.setattr(passes, "decode", counted)
    capture(llama, prompts)
    assert sum(rows) < 0.55 * sum(len(prompt.ids) for prompt in prompts)


def test_what_is_refused(llama: Any, prompts: list[Encoded]) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"sites": ("resid_mid",)}, "no site 'resid_mid'"),
        ({"dtype": "float16"}, "not stored as 'float16'"),
        ({"layers": [3]}, "no layer 3"),
        ({"layers": []}, "At least one"),
        ({"positions": ("middle",)}, "no position 'middle'"),
    ]
    for wrong, message in cases:
        with pytest.raises(ConfigError, match=message):
            capture(llama, prompts, **wrong)
    with pytest.raises(DataError, match="'p0' has 23 tokens"):
        capture(llama, prompts[:1], positions=(40,))
    found = capture(llama, prompts)
    for wrong in ({"site": "mlp_out"}, {"site": "resid_post", "layer": 7}):
        with pytest.raises(ConfigError, match="was not captured"):
            found.get(**wrong)


def test_nan_names_layer_and_prompt(llama: Any, prompts: list[Encoded]) -> None:
    weight = llama.anatomy.embed.weight
    token = prompts[2].ids[-1]
    first = next(p.prompt_id for p in prompts if p.ids[-1] == token)
    saved = weight.clone()
    weight[token] = torch.inf
    try:
        with pytest.raises(NumericsError, match=rf"layer 0 \(resid_post\) for prompt '{first}'"):
            capture(llama, prompts)
    finally:
        weight.copy_(saved)


def test_an_out_of_memory_gpu_gets_halves(
    llama: Any, prompts: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = capture(llama, prompts).get("resid_post")
    original = passes.run_pass

    def small(model: Any, rows: Any, **kwargs: Any) -> Any:
        if len(rows.tokens) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(model, rows, **kwargs)

    monkeypatch.setattr(CAPTURE, "run_pass", small)
    monkeypatch.setattr(runner, "run_pass", small)
    found = capture(llama, prompts).get("resid_post")
    assert torch.allclose(found, expected, atol=1e-4)
    assert oracle.margin(llama, prompts[0].ids) >= 0.0


def test_a_broken_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no readable activations"):
        Activations.load(tmp_path)


def test_more_copies_than_one_batch_holds_are_all_read(llama: Any, tmp_path: Path) -> None:
    copies = [bare([5, 6, 7, 8])] * 2048  # two units of equal content: one key
    expected = capture(llama, copies[:1], layers=[1]).get("resid_post")
    for out in (None, tmp_path):
        found = capture(llama, copies, layers=[1], out=out).get("resid_post")
        assert torch.allclose(found, expected.expand_as(found), atol=1e-5)


def test_a_finished_stream_is_not_computed_again(
    llama: Any, prompts: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = capture(llama, prompts, out=out, journal=journal).get("resid_post").clone()
        monkeypatch.setattr(CAPTURE, "run_pass", lambda *_, **__: 1 / 0)
        again = capture(llama, prompts, out=out, journal=journal).get("resid_post")
        assert torch.equal(first, again)
        with pytest.raises(ZeroDivisionError):
            capture(llama, prompts[:-1], out=out, journal=journal)
    assert not list(out.rglob("*.part"))


def test_a_prompt_without_id_is_named_by_its_place(llama: Any) -> None:
    with pytest.raises(DataError, match="Prompt '1' has 3 tokens"):
        capture(llama, [bare([3, 4, 5, 6]), bare([3, 4, 5])], positions=(3,))


def test_threads_do_not_disturb_each_other(llama: Any, prompts: list[Encoded]) -> None:
    expected = capture(llama, prompts, batch_tokens=120).get("resid_post")
    answers = generate(llama, prompts[:6], max_new_tokens=4)

    def read(_: int) -> bool:
        found = capture(llama, prompts, batch_tokens=120).get("resid_post")
        return torch.equal(found, expected)

    def write(_: int) -> bool:
        return generate(llama, prompts[:6], max_new_tokens=4) == answers

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(work, i) for i in range(8) for work in (read, write)]
        assert all(job.result() for job in done)
