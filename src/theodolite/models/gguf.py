"""GGUF: dequantise a file once into float32 safetensors that open in a second."""

from __future__ import annotations

import json
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from theodolite.errors import ModelError
from theodolite.models.cache import build_once, cache_root, file_sha256, read_sha256
from theodolite.models.quiet import quiet
from theodolite.text.display import escape

CONVERTER = 1  # raised by hand when the converted files change
_RECORD = "conversion.json"


@dataclass(frozen=True)
class Converted:
    """A folder made from a GGUF file, and what decides its numbers: source hash and converter."""

    folder: Path
    content: dict[str, str | int]


def convert_once(path: Path, *, verify: bool = False) -> Converted:
    """Return a folder with the dequantised weights, config and tokenizer of a GGUF file.

    Args:
        path: the GGUF file; its hash names the folder, so a changed file is converted anew.
        verify: hash source and converted weights in full instead of trusting sizes and times.

    Raises:
        ModelError: it is not a GGUF file, or it is cut short or of an unknown kind.

    Note: the first call takes about 10 s for 135M parameters and 4 bytes per weight of disk.
    """
    _check_header(path)
    digest = file_sha256(path, verify=verify)
    name = f"{path.stem}-{digest[:16]}-v{CONVERTER}"
    folder = build_once(cache_root() / "gguf" / name, lambda folder: _convert(path, folder))
    if verify:
        _verify(folder)
    return Converted(folder, {"gguf": digest, "converter": CONVERTER})


def _verify(folder: Path) -> None:
    """Compare the converted weights with the hashes written at conversion."""
    for name, digest in json.loads((folder / _RECORD).read_text("utf-8")).items():
        if read_sha256(folder / name) != digest:
            raise ModelError(
                f"The converted file {escape(str(folder / name))} was changed.",
                fix=f"Delete the folder {escape(str(folder))}; it will be made again.",
            )


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelError(
            f"{escape(str(path))} is not a GGUF file.", fix="Download it again, or check the path."
        )


def _convert(path: Path, folder: Path) -> None:
    try:
        with quiet(), redirect_stderr(StringIO()):  # the reader draws its own progress bar
            model, tokenizer = _load(path)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            hashes = {p.name: read_sha256(p) for p in sorted(folder.glob("*.safetensors"))}
            (folder / _RECORD).write_text(json.dumps(hashes), "utf-8")
    except (OSError, ModelError):
        raise
    except Exception as error:
        raise ModelError(
            f"{escape(str(path))} could not be converted: {escape(str(error), 200)}.",
            fix="It may be cut short, or of a kind transformers cannot read; download it again.",
        ) from error


def _load(path: Path) -> tuple[Any, Any]:
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    GGUFReader(path)  # fails early where a tensor lies beyond the end of the file
    place = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    model, info = AutoModelForCausalLM.from_pretrained(
        **place, dtype=torch.float32, output_loading_info=True
    )
    if info["missing_keys"]:
        raise ModelError(
            f"{escape(str(path))} lacks weights its architecture needs: "
            f"{escape(', '.join(sorted(info['missing_keys'])[:3]), 160)}.",
            fix="Download it again, or use the safetensors form of this model.",
        )
    tokenizer = AutoTokenizer.from_pretrained(**place)
    # The weights are plain float32 now; a config that still claims a quantisation cannot be saved.
    model.config.__dict__.pop("quantization_config", None)
    model.hf_quantizer = None
    model.is_quantized = False
    return model, tokenizer
