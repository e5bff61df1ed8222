"""Tiny random models of many families and a tiny tokenizer: no downloads, float32, seconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from theodolite.models.anatomy import Anatomy
from theodolite.models.chat import chat_format
from theodolite.models.handle import LanguageModel
from theodolite.models.prove import prove

VOCAB = 368
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
_TEXT = [
    "How do I bake bread at home? Write a short story about a small boat on a quiet lake.",
    "The system and the user and the assistant answer questions about the weather in the city.",
    "I cannot help with that, but here is another way to think about the same question.",
]


@cache
def _backend() -> str:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_TEXT, trainer)
    return backend.to_str()


def tiny_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer; like SmolLM2's, its BOS opens every turn and pad = eos."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_backend()),
        bos_token="<|start|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
    )
    tokenizer.chat_template = template
    return tokenizer


def _build(config: Any, seed: int = 0) -> PreTrainedModel:
    """Return a random model whose norms and biases are random too, so that no part is idle."""
    torch.manual_seed(seed)
    model = hf.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                start = 1.0 if "norm" in name or "ln_" in name else 0.0
                parameter.copy_(start + 0.1 * torch.randn_like(parameter))
            else:
                parameter.normal_(0.0, 0.15)
    return model.float().eval().requires_grad_(False)


_SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}

_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_MLA = {
    "num_key_value_heads": 4,  # these families have as many as heads
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
}
_HEAD = {"head_dim": 12}
_LAYERS = {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}


def _of(kind: str, **more: Any) -> Callable[[], PreTrainedModel]:
    """Return a builder of a random model of a `model_type`; an option of None is left out."""
    options = {k: v for k, v in {**_SIZES, **more}.items() if v is not None}
    return lambda: _build(hf.AutoConfig.for_model(kind, **options))


def _gemma3() -> PreTrainedModel:
    """Return the picture-reading Gemma 3: its language model lies one level deeper."""
    text = {**_SIZES, **_HEAD, "sliding_window": 8, **_LAYERS}
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    return _build(hf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4))


_FALCON = {"intermediate_size": None, "num_key_value_heads": None}
_GPT2 = {"intermediate_size": None, "num_key_value_heads": None, "n_inner": 48}

TINY: dict[str, Callable[[], PreTrainedModel]] = {
    "apertus": _of("apertus"),
    "arcee": _of("arcee"),
    "biogpt": _of("biogpt", num_key_value_heads=None),
    "bitnet": _of("bitnet"),
    "bloom": _of("bloom", intermediate_size=None, num_key_value_heads=None),
    "codegen": _of("codegen", **_GPT2, rotary_dim=4),
    "cohere": _of("cohere", logit_scale=0.25),
    "cohere2": _of("cohere2", logit_scale=0.25, sliding_window=8, **_LAYERS),
    "deepseek_v2": _of(
        "deepseek_v2",
        **_MLA,
        first_k_dense_replace=1,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        n_group=1,
        topk_group=1,
    ),
    "deepseek_v3": _of(
        "deepseek_v3",
        **_MLA,
        first_k_dense_replace=1,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        n_group=1,
        topk_group=1,
    ),
    "diffllama": _of("diffllama"),
    "ernie4_5": _of("ernie4_5"),
    "ernie4_5_moe": _of("ernie4_5_moe", moe_num_experts=4, moe_k=2, moe_intermediate_size=16),
    "exaone4": _of("exaone4", sliding_window=8, **_LAYERS),
    "falcon-new": _of("falcon", **_FALCON, new_decoder_architecture=True, num_kv_heads=2),
    "falcon-parallel": _of(
        "falcon", **_FALCON, new_decoder_architecture=False, parallel_attn=True, multi_query=True
    ),
    "falcon-heads": _of(
        "falcon", **_FALCON, new_decoder_architecture=False, parallel_attn=True, multi_query=False
    ),
    "falcon-sequential": _of(
        "falcon", **_FALCON, new_decoder_architecture=False, parallel_attn=False, multi_query=True
    ),
    "falcon-alibi": _of(
        "falcon",
        **_FALCON,
        new_decoder_architecture=False,
        parallel_attn=False,
        multi_query=False,
        alibi=True,
        bias=True,
    ),
    "flex_olmo": _of("flex_olmo", num_experts=4, num_experts_per_tok=2),
    "gemma": _of("gemma", **_HEAD),
    "gemma2": _of("gemma2", **_HEAD, sliding_window=8, **_LAYERS),
    "gemma3": _gemma3,
    "gemma3_text": _of("gemma3_text", **_HEAD, sliding_window=8, **_LAYERS),
    "glm": _of("glm", head_dim=8),
    "glm4": _of("glm4", head_dim=8),
    "glm4_moe": _of(
        "glm4_moe",
        head_dim=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        first_k_dense_replace=1,
    ),
    "gpt2": _of("gpt2", **_GPT2),
    "gpt_bigcode": _of("gpt_bigcode", **_GPT2, multi_query=True),
    "gpt_bigcode-heads": _of("gpt_bigcode", **_GPT2, multi_query=False),
    "gpt_neo": _of(
        "gpt_neo",
        num_key_value_heads=None,
        window_size=8,
        attention_types=[[["global", "local", "global"], 1]],
    ),
    "gpt_neox": _of("gpt_neox", num_key_value_heads=None, use_parallel_residual=True),
    "gpt_neox-sequential": _of("gpt_neox", num_key_value_heads=None, use_parallel_residual=False),
    "gpt_oss": _of(
        "gpt_oss",
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=8,
        **_LAYERS,
    ),
    "gptj": _of("gptj", **_GPT2, rotary_dim=4),
    "granite": _of(
        "granite",
        residual_multiplier=0.22,
        logits_scaling=8.0,
        embedding_multiplier=12.0,
        attention_multiplier=0.1,
    ),
    "granitemoe": _of(
        "granitemoe",
        residual_multiplier=0.22,
        logits_scaling=8.0,
        num_local_experts=4,
        num_experts_per_tok=2,
    ),
    "helium": _of("helium", head_dim=8),
    "hunyuan_v1_dense": _of("hunyuan_v1_dense", head_dim=8),
    "llama": _of("llama"),
    "llama4_text": _of(
        "llama4_text",
        head_dim=8,
        num_local_experts=4,
        intermediate_size_mlp=48,
        interleave_moe_layer_step=2,
    ),
    "minimax_m2": _of("minimax_m2", head_dim=8, num_local_experts=4, num_experts_per_tok=2),
    "ministral": _of("ministral", head_dim=8, sliding_window=8, **_LAYERS),
    "ministral3": _of("ministral3", head_dim=8),
    "mistral": _of("mistral", sliding_window=8),
    "mixtral": _of("mixtral", num_local_experts=4),
    "mpt": _of(
        "mpt",
        intermediate_size=None,
        num_key_value_heads=None,
        max_position_embeddings=None,
        max_seq_len=512,
    ),
    "nemotron": _of("nemotron"),
    "olmo": _of("olmo"),
    "olmo2": _of("olmo2"),
    "olmo3": _of("olmo3", sliding_window=8, **_LAYERS),
    "olmoe": _of("olmoe", num_experts=4, num_experts_per_tok=2),
    "opt": _of(
        "opt", intermediate_size=None, num_key_value_heads=None, ffn_dim=48, word_embed_proj_dim=32
    ),
    "persimmon": _of("persimmon", num_key_value_heads=None),
    "phi": _of("phi", num_key_value_heads=4),
    "phi3": _of("phi3", sliding_window=8),
    "phimoe": _of("phimoe", num_local_experts=4),
    "qwen2": _of("qwen2"),
    "qwen2_moe": _of("qwen2_moe", **_MOE, shared_expert_intermediate_size=16),
    "qwen3": _of("qwen3", **_HEAD),
    "qwen3_moe": _of("qwen3_moe", **_MOE, **_HEAD),
    "seed_oss": _of("seed_oss", **_HEAD),
    "smollm3": _of("smollm3"),
    "solar_open": _of(
        "solar_open",
        head_dim=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
    ),
    "stablelm": _of("stablelm", use_parallel_residual=False),
    "stablelm-parallel": _of("stablelm", use_parallel_residual=True),
    "starcoder2": _of("starcoder2", sliding_window=8),
    "vaultgemma": _of("vaultgemma", head_dim=8),
    "xglm": _of("xglm", intermediate_size=None, num_key_value_heads=None, ffn_dim=48),
}


REFUSED: dict[str, Callable[[], PreTrainedModel]] = {
    "gemma4_text": _of(
        "gemma4_text", head_dim=8, vocab_size_per_layer_input=VOCAB, sliding_window=8, **_LAYERS
    ),
    "lfm2": _of("lfm2", layer_types=["full_attention", "conv", "full_attention"]),
    "mamba": _of("mamba"),
    "nanochat": _of("nanochat"),
    "openai-gpt": _of("openai-gpt", **_GPT2),
    "opt-350m": _of(
        "opt",
        intermediate_size=None,
        num_key_value_heads=None,
        ffn_dim=48,
        word_embed_proj_dim=16,
        do_layer_norm_before=False,
    ),
    "bloom-post-norm": _of(
        "bloom",
        intermediate_size=None,
        num_key_value_heads=None,
        apply_residual_connection_post_layernorm=True,
    ),
    "qwen3_next": _of("qwen3_next", **_MOE, head_dim=8),
}


def tiny_model(family: str = "llama", *, template: str | None = TEMPLATE) -> LanguageModel:
    """Return an opened tiny random model of a family; its anatomy is proven like any other's."""
    module = TINY[family]()
    return handle(module, prove(module), template=template, name=f"tiny-{family}")


def handle(
    module: PreTrainedModel, anatomy: Anatomy, *, template: str | None = TEMPLATE, name: str
) -> LanguageModel:
    """Wrap a module and a tiny tokenizer into a handle."""
    tokenizer = tiny_tokenizer(template)
    return LanguageModel(
        ref=name,
        name=name,
        revision=None,
        fingerprint=name,
        module=module,
        tokenizer=tokenizer,
        anatomy=anatomy,
        chat=chat_format(tokenizer),
        dtype=module.dtype,
        device=module.device,
        max_context=512,
    )
