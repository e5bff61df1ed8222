"""What each family of models calls its parts: names and facts, one row each, no behaviour.

A row is a claim. It is never believed: `selfcheck` proves it on every model that is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Family:
    """Dotted names of a family's modules, and the facts its configuration does not spell alike.

    Args:
        when: config fields and the values for which this row holds (a family may have several).
        decoder: the inner model, seen from the causal language model.
        blocks, final_norm: seen from the decoder.
        attn, mlp: the module whose output, times its scale, is added to the stream; seen from a
            block. Where a norm follows the module before the addition, it is that norm.
        out_proj: the projection from all heads to the stream, seen from a block.
        transposed: `out_proj.weight` has axes (in, out) instead of (out, in).
        parallel: attention and MLP read the same stream.
        post_norm: a norm stands between `out_proj` and the stream, so head outputs do not add up to
            `attn_out`.
        mlp_in_place: the block adds to the MLP's output tensor in place.
        mlp_folded: the MLP's output has axes (batch * position, d_model).
        attn_scale, mlp_scale: config field that multiplies the vector before the addition.
        logit_scale, logit_divisor, logit_softcap: config fields, applied in this order.
        head_dim, kv_heads: config fields; where absent, d_model / n_heads and n_heads.
        layer_kinds, window: config fields with the attention kind per layer and the window's size.
        chunked: the window does not slide: positions see their own stretch of so many tokens.
        sinks: learned scores of a place without a value, one per head; seen from a block.
        interface: attention goes through the interface of transformers, once per block and pass.
        position_bias: scores depend on the distance even where queries are 0; True, or the config
            field that says so.
        heads_mixed: heads are normed or combined between attention and `out_proj`.
    """

    when: Mapping[str, Any] = field(default_factory=dict)
    decoder: str = "model"
    blocks: str = "layers"
    final_norm: str = "norm"
    attn: str = "self_attn"
    mlp: str = "mlp"
    out_proj: str = "self_attn.o_proj"
    transposed: bool = False
    parallel: bool = False
    post_norm: bool = False
    mlp_in_place: bool = False
    mlp_folded: bool = False
    attn_scale: str | None = None
    mlp_scale: str | None = None
    logit_scale: str | None = None
    logit_divisor: str | None = None
    logit_softcap: str | None = None
    head_dim: str = "head_dim"
    kv_heads: str | int = "num_key_value_heads"
    layer_kinds: str = "layer_types"
    window: str = "sliding_window"
    chunked: bool = False
    sinks: str | None = None
    interface: bool = True
    position_bias: bool | str = False
    heads_mixed: bool = False


LLAMA_LIKE = Family()
POST_NORM = Family(
    attn="post_attention_layernorm", mlp="post_feedforward_layernorm", post_norm=True
)
COHERE = Family(parallel=True, logit_scale="logit_scale")
GEMMA2 = replace(POST_NORM, logit_softcap="final_logit_softcapping")
GEMMA2_PRE_NORM = Family(logit_softcap="final_logit_softcapping")
GRANITE = Family(
    attn_scale="residual_multiplier",
    mlp_scale="residual_multiplier",
    logit_divisor="logits_scaling",
)
LATENT_ATTENTION = Family(head_dim="v_head_dim")
FAIRSEQ = Family(final_norm="layer_norm", mlp="fc2", mlp_folded=True, out_proj="self_attn.out_proj")
GPT2 = Family(
    decoder="transformer",
    blocks="h",
    final_norm="ln_f",
    attn="attn",
    out_proj="attn.c_proj",
    transposed=True,
)
GPTJ = replace(GPT2, out_proj="attn.out_proj", transposed=False, parallel=True, interface=False)
BIGCODE = replace(GPT2, transposed=False)
NEOX = Family(
    decoder="gpt_neox",
    final_norm="final_layer_norm",
    attn="attention",
    out_proj="attention.dense",
)
FALCON = Family(
    decoder="transformer",
    blocks="h",
    final_norm="ln_f",
    attn="self_attention",
    out_proj="self_attention.dense",
    kv_heads="num_attention_heads",
    interface=False,
    position_bias="alibi",
)
FALCON_PARALLEL = replace(FALCON, parallel=True, mlp_in_place=True)
_OLD, _NEW = {"new_decoder_architecture": False}, {"new_decoder_architecture": True}

FAMILIES: dict[str, tuple[Family, ...]] = {
    "apertus": (LLAMA_LIKE,),
    "arcee": (LLAMA_LIKE,),
    "biogpt": (replace(FAIRSEQ, decoder="biogpt"),),
    "bitnet": (replace(LLAMA_LIKE, heads_mixed=True),),
    "bloom": (
        replace(
            FALCON,
            attn="self_attention.dense",
            mlp="mlp.dense_4h_to_h",
            position_bias=True,
        ),  # its modules add the residual themselves, so the taps are inside
    ),
    "codegen": (GPTJ,),
    "cohere": (COHERE,),
    "cohere2": (COHERE,),
    "deepseek_v2": (LATENT_ATTENTION,),
    "deepseek_v3": (LATENT_ATTENTION,),
    "diffllama": (replace(LLAMA_LIKE, heads_mixed=True, interface=False),),
    "ernie4_5": (LLAMA_LIKE,),
    "ernie4_5_moe": (LLAMA_LIKE,),
    "exaone4": (POST_NORM,),
    "falcon": (
        replace(FALCON_PARALLEL, when=_NEW, kv_heads="num_kv_heads"),
        replace(
            FALCON_PARALLEL, when={**_OLD, "parallel_attn": True, "multi_query": True}, kv_heads=1
        ),
        replace(FALCON_PARALLEL, when={**_OLD, "parallel_attn": True, "multi_query": False}),
        replace(FALCON, when={**_OLD, "parallel_attn": False, "multi_query": True}, kv_heads=1),
        replace(FALCON, when={**_OLD, "parallel_attn": False, "multi_query": False}),
    ),
    "flex_olmo": (POST_NORM,),
    "gemma": (LLAMA_LIKE,),
    "gemma2": (GEMMA2,),
    "gemma3": (replace(GEMMA2, decoder="model.language_model"),),
    "gemma3_text": (GEMMA2,),
    "glm": (LLAMA_LIKE,),
    "glm4": (replace(POST_NORM, attn="post_self_attn_layernorm", mlp="post_mlp_layernorm"),),
    "glm4_moe": (LLAMA_LIKE,),
    "gpt2": (GPT2,),
    "gpt_bigcode": (
        replace(BIGCODE, when={"multi_query": True}, kv_heads=1),
        replace(BIGCODE, when={"multi_query": False}, kv_heads="num_attention_heads"),
    ),
    "gpt_neo": (
        replace(
            GPT2,
            out_proj="attn.attention.out_proj",
            transposed=False,
            layer_kinds="attention_layers",
            window="window_size",
            interface=False,
        ),
    ),
    "gpt_neox": (
        replace(NEOX, when={"use_parallel_residual": True}, parallel=True),
        replace(NEOX, when={"use_parallel_residual": False}),
    ),
    "gpt_oss": (replace(LLAMA_LIKE, sinks="self_attn.sinks"),),
    "gptj": (GPTJ,),
    "granite": (GRANITE,),
    "granitemoe": (replace(GRANITE, mlp="block_sparse_moe"),),
    "helium": (LLAMA_LIKE,),
    "hunyuan_v1_dense": (LLAMA_LIKE,),
    "llama": (LLAMA_LIKE,),
    "llama4_text": (
        replace(
            LLAMA_LIKE,
            mlp="feed_forward",
            mlp_folded=True,
            window="attention_chunk_size",
            chunked=True,
        ),
    ),
    "minimax_m2": (LLAMA_LIKE,),
    "ministral": (LLAMA_LIKE,),
    "ministral3": (LLAMA_LIKE,),
    "mistral": (LLAMA_LIKE,),
    "mixtral": (LLAMA_LIKE,),
    "mpt": (
        replace(
            GPT2,
            blocks="blocks",
            final_norm="norm_f",
            mlp="ffn.down_proj",  # `ffn` adds the residual itself
            out_proj="attn.out_proj",
            transposed=False,
            interface=False,
            position_bias=True,
        ),
    ),
    "nemotron": (LLAMA_LIKE,),
    "olmo": (LLAMA_LIKE,),
    "olmo2": (POST_NORM,),
    "olmo3": (POST_NORM,),
    "olmoe": (LLAMA_LIKE,),
    "opt": (replace(FAIRSEQ, decoder="model.decoder", final_norm="final_layer_norm"),),
    "persimmon": (Family(final_norm="final_layernorm", out_proj="self_attn.dense"),),
    "phi": (Family(final_norm="final_layernorm", out_proj="self_attn.dense", parallel=True),),
    "phi3": (LLAMA_LIKE,),
    "phimoe": (LLAMA_LIKE,),
    "qwen2": (LLAMA_LIKE,),
    "qwen2_moe": (LLAMA_LIKE,),
    "qwen3": (LLAMA_LIKE,),
    "qwen3_moe": (LLAMA_LIKE,),
    "seed_oss": (LLAMA_LIKE,),
    "smollm3": (LLAMA_LIKE,),
    "solar_open": (LLAMA_LIKE,),
    "stablelm": (
        replace(LLAMA_LIKE, when={"use_parallel_residual": True}, parallel=True),
        replace(LLAMA_LIKE, when={"use_parallel_residual": False}),
    ),
    "starcoder2": (LLAMA_LIKE,),
    "vaultgemma": (GEMMA2_PRE_NORM,),
    "xglm": (replace(FAIRSEQ, interface=False),),
}
