"""Tiny models on disk: a safetensors folder, a LoRA adapter, and a GGUF file made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import PreTrainedModel

from tests.models.tiny import TEMPLATE, TINY, tiny_tokenizer


def save_folder(
    folder: Path, family: str = "llama", *, template: str | None = TEMPLATE, wide: bool = False
) -> Path:
    """Write a tiny model and tokenizer the way `save_pretrained` does.

    Args:
        wide: it reads 4,096 tokens, for prompts that are long in the tiny tokenizer's pieces.
    """
    model = TINY[family]()
    if wide:
        model.config.max_position_embeddings = 4096
    model.save_pretrained(folder)
    tiny_tokenizer(template).save_pretrained(folder)
    return folder


def save_adapter(folder: Path, base: Path, *, embeddings: bool | str = "auto", **more: Any) -> Path:
    """Write a random LoRA adapter for the model in `base`.

    Args:
        embeddings: peft's `save_embedding_layers`.
        more: fields of the LoRA config.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    fields = {"target_modules": ["q_proj", "o_proj"]} | more
    wrapped = get_peft_model(model, LoraConfig(r=2, **fields))
    torch.manual_seed(3)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    wrapped.save_pretrained(folder, save_embedding_layers=embeddings)
    return folder


def save_gguf(path: Path) -> PreTrainedModel:
    """Write a tiny Llama as a float32 GGUF file and return the model it came from."""
    model = TINY["llama"]()
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer)
    _add_tensors(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    import json

    tokenizer = tiny_tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    control = {token["content"] for token in state["added_tokens"]}
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([word for word, _ in words])
    writer.add_token_types([kinds.CONTROL if w in control else kinds.NORMAL for w, _ in words])
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(TEMPLATE)


def _add_tensors(writer: gguf.GGUFWriter, model: PreTrainedModel) -> None:
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        for part, count in heads.items():
            if part in name:  # GGUF keeps the rotary halves of a head interleaved
                tensor = (
                    tensor.reshape(count, 2, tensor.shape[0] // count // 2, tensor.shape[1])
                    .swapaxes(1, 2)
                    .reshape(tensor.shape)
                )
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(target, tensor.contiguous().numpy())
