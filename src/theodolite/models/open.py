"""Open a model: reference -> checked files -> loaded module -> proven anatomy -> handle."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch

from theodolite.errors import ConfigError, ModelError
from theodolite.models.adapters import adapter_method, apply_adapter, check_adapter
from theodolite.models.chat import chat_format
from theodolite.models.fingerprint import folder_content
from theodolite.models.handle import ApiModel, LanguageModel
from theodolite.models.prove import prove
from theodolite.models.quiet import quiet
from theodolite.models.refs import Reference, parse_reference
from theodolite.models.sources import Source, locate
from theodolite.text.display import escape
from theodolite.text.hashing import content_key
from theodolite.text.suggest import nearest

DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
QUANTIZATIONS: Final = ("8bit", "4bit")


def open_model(
    ref: str,
    *,
    revision: str | None = None,
    adapter: str | Path | None = None,
    dtype: str = "auto",
    device: str | None = None,
    quantization: str | None = None,
    trust_remote_code: bool = False,
    verify: bool = False,
    chat_options: Mapping[str, Any] | None = None,
) -> LanguageModel | ApiModel:
    """Open a model once, for text, log-probabilities, hidden states and interventions.

    Args:
        ref: bundled name, `org/name` on the hub, folder, `.gguf` file, or `api:PROVIDER/MODEL`.
        revision: hub branch, tag or commit.
        adapter: folder of a LoRA adapter (safetensors), merged in memory, on top of its own one.
        dtype: `auto` is float32 on a CPU and the checkpoint's own type elsewhere; or a name.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto` to spread over all devices; None is the
            first GPU, else the CPU.
        quantization: `8bit` or `4bit`, where bitsandbytes is installed.
        trust_remote_code: run the model's own Python code. Off: such models are refused.
        verify: hash every file in full instead of trusting sizes and change times.
        chat_options: variables of the model's chat template, as in {"enable_thinking": False}.

    Returns: `LanguageModel`, or `ApiModel` for `api:` references.

    Raises:
        ModelError: the reference is unknown, or its files are missing, broken or pickled.
        UnsupportedArchitecture: the anatomy could not be proven.
        ConfigError: an option is unknown or does not fit.
    """
    reference = parse_reference(ref)
    wanted, place = _dtype(dtype), _device(device)
    _check_quantization(quantization)
    if reference.kind == "api":
        return _open_api(reference, adapter, quantization, revision)
    if adapter is not None:
        check_adapter(Path(adapter))
    source = locate(reference, revision=revision, code=trust_remote_code, verify=verify)
    adapters = _adapters(source, adapter, reference, quantization)
    with quiet():
        module = _load_module(source, reference, wanted, place, quantization, trust_remote_code)
        tokenizer = _load_tokenizer(source, reference, trust_remote_code)
        for folder in adapters:
            module = apply_adapter(module, folder, merge=quantization is None)
        module.eval().requires_grad_(False)
        chat = chat_format(tokenizer, chat_options)
        anatomy = prove(module)
    return LanguageModel(
        ref=ref,
        name=reference.name if adapter is None else f"{reference.name}+{Path(adapter).name}",
        revision=source.revision,
        fingerprint=fingerprint_of(
            source,
            adapter,
            dtype=module.dtype,
            template_hash=chat.template_hash,
            quantization=quantization,
            verify=verify,
        ),
        module=module,
        tokenizer=tokenizer,
        anatomy=anatomy,
        chat=chat,
        dtype=module.dtype,
        device=module.get_input_embeddings().weight.device,
        max_context=getattr(module.config.get_text_config(), "max_position_embeddings", None),
        trained_by=" then ".join(filter(None, map(adapter_method, adapters))) or None,
    )


def _adapters(
    source: Source, adapter: str | Path | None, reference: Reference, quantization: str | None
) -> list[Path]:
    """Return the adapters to put on, the model's own first; raises ConfigError."""
    adapters = [Path(a) for a in (source.adapter, adapter) if a is not None]
    if quantization is not None and len(adapters) > 1:
        raise ConfigError(
            f"'{reference.name}' has an adapter of its own, and quantised weights take one only.",
            fix="Leave the quantization out.",
        )
    return adapters


def fingerprint_of(
    source: Source,
    adapter: str | Path | None,
    *,
    dtype: torch.dtype,
    template_hash: str,
    quantization: str | None = None,
    verify: bool = False,
) -> str:
    """Return the content key of everything that decides an opened model's numbers.

    Args:
        source, adapter: where its weights come from; hashed on disk.
        dtype, template_hash, quantization: of the opened model.
        verify: hash every file again.
    """
    weights = source.content or folder_content(source.folder, verify=verify)
    added = None if adapter is None else folder_content(Path(adapter), verify=verify)
    return content_key([weights, added], str(dtype), quantization, template_hash)


def _open_api(
    reference: Reference, adapter: object, quantization: str | None, revision: str | None
) -> ApiModel:
    if adapter is not None or quantization is not None or revision is not None:
        raise ConfigError(
            f"'{escape(reference.text, 120)}' runs elsewhere, so adapter, quantization and "
            "revision do not apply.",
            fix="Leave them out, or open a local model.",
        )
    return ApiModel(
        ref=reference.text, name=reference.target, fingerprint=content_key("api", reference.target)
    )


def _dtype(name: str) -> torch.dtype | None:
    if name == "auto":
        return None
    if name not in DTYPES:
        near = nearest(name, ("auto", *DTYPES))
        raise ConfigError(
            f"There is no dtype '{escape(name, 40)}'.",
            fix=f"Did you mean '{near}'?" if near else f"Use auto, {', '.join(DTYPES)}.",
        )
    return DTYPES[name]


def _device(name: str | None) -> str:
    gpu = torch.cuda.is_available()
    if name is None:
        return "cuda" if gpu else "cpu"
    try:
        kind = name if name == "auto" else torch.device(name).type
    except RuntimeError:
        raise ConfigError(
            f"There is no device '{escape(name, 40)}'.", fix="Use cpu, cuda, cuda:1, mps or auto."
        ) from None
    if kind == "cuda" and not gpu:
        raise ConfigError(f"Device '{escape(name, 40)}' needs a GPU torch can see.", fix="Use cpu.")
    return name


def _check_quantization(name: str | None) -> None:
    if name is None:
        return
    if name not in QUANTIZATIONS:
        raise ConfigError(
            f"There is no quantization '{escape(name, 40)}'.", fix="Use 8bit or 4bit."
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"Quantization '{name}' needs bitsandbytes.", fix="Run: pip install bitsandbytes"
        )


def _load_module(
    source: Source,
    reference: Reference,
    dtype: torch.dtype | None,
    device: str,
    quantization: str | None,
    trust_remote_code: bool,
) -> Any:
    """Load the weights; a checkpoint that would leave any of them at random is refused."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    options: dict[str, Any] = {
        # no attn_implementation: SDPA where the family has it, else its own
        "dtype": dtype or (torch.float32 if device == "cpu" else "auto"),
        "use_safetensors": True,
        "trust_remote_code": trust_remote_code,
        "local_files_only": True,
        "output_loading_info": True,
    }
    if quantization is not None:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=quantization == "8bit", load_in_4bit=quantization == "4bit"
        )
    if device != "cpu":
        options["device_map"] = device
    try:
        module, info = AutoModelForCausalLM.from_pretrained(str(source.folder), **options)
    except (ValueError, OSError, RuntimeError, ImportError, KeyError, TypeError) as error:
        raise ModelError(
            f"'{escape(reference.text, 120)}' could not be loaded: {_first_line(error)}.",
            fix=_hint(error),
        ) from error
    for kind in ("missing_keys", "mismatched_keys"):
        names = sorted(str(name) for name in info[kind])
        if names:
            raise ModelError(
                f"The weights of '{escape(reference.text, 120)}' do not fit its config: "
                f"{kind.replace('_', ' ')} {escape(', '.join(names[:3]), 160)}.",
                fix="Copy or download the folder again.",
            )
    return module


def _load_tokenizer(source: Source, reference: Reference, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(source.folder), trust_remote_code=trust_remote_code, local_files_only=True
        )
    except (ValueError, OSError, RuntimeError, ImportError, KeyError, TypeError) as error:
        raise ModelError(
            f"The tokenizer of '{escape(reference.text, 120)}' could not be loaded: "
            f"{_first_line(error)}.",
            fix="The folder needs a tokenizer.json.",
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of '{escape(reference.text, 120)}' does not report character offsets.",
            fix="Save it in the fast form (tokenizer.json).",
        )
    return tokenizer


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return escape(lines[0].rstrip("."), 200)


def _hint(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return "It brings its own code: read that code, then pass trust_remote_code=True."
    return "Check that the folder is a causal language model this version of transformers knows."
