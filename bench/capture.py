"""Last-token states of every block for 64 chat prompts: ours against the public ways.

python -m bench.capture [xstest|bundled]

The prompts are the first 64 of the official XSTest set where it is at hand, else benign ones of the
bundled set (a little longer, so that there is less to save). They share the chat template's prefix,
as chat prompts do. Every rival runs in its best public setting: no vocabulary logits beyond one
position, prompts sorted by length, the batch size that is fastest for it on this machine, float32,
same threads, inference mode. The values are compared before anything is timed.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from bench.harness import publish, side_by_side, summarise
from theodolite.data.bundled import bundled
from theodolite.data.catalogue import official
from theodolite.data.prompts import Prompt
from theodolite.data.readers import read_prompts
from theodolite.engine import capture
from theodolite.errors import DataError
from theodolite.models import encode_all, open_model

N_PROMPTS = 64
EARLY = 15
BATCHES = (8, 16, 32, 64)
Rival = Callable[[], torch.Tensor]


def padded(ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return left-padded ids and mask, axes (row, token)."""
    width = max(map(len, ids))
    tokens = torch.zeros(len(ids), width, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, one in enumerate(ids):
        tokens[row, width - len(one) :] = torch.tensor(one)
        mask[row, width - len(one) :] = 1
    return tokens, mask


def in_batches(
    ids: Sequence[Sequence[int]], size: int, forward: Callable[[Any, Any], torch.Tensor]
) -> torch.Tensor:
    """Run a rival's forward over length-sorted batches; returns (prompt, layer, d_model)."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    rows: list[torch.Tensor | None] = [None] * len(ids)
    for begin in range(0, len(order), size):
        chosen = order[begin : begin + size]
        for i, states in zip(chosen, forward(*padded([ids[i] for i in chosen])), strict=True):
            rows[i] = states
    return torch.stack([row for row in rows if row is not None])


def hugging_face(module: Any) -> Callable[[Any, Any], torch.Tensor]:
    """The plain way: `output_hidden_states` of the decoder without its head."""

    def forward(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        output = module.model(
            input_ids=tokens, attention_mask=mask, output_hidden_states=True, use_cache=False
        )
        return torch.stack([h[:, -1] for h in output.hidden_states[1:]], dim=1)

    return forward


def nnsight(module: Any, tokenizer: Any) -> Callable[[Any, Any], torch.Tensor]:
    """nnsight: one trace per batch, the last token of every block saved."""
    from nnsight import LanguageModel

    wrapped = LanguageModel(module, tokenizer=tokenizer)

    def forward(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        inputs = {"input_ids": tokens, "attention_mask": mask}
        with wrapped.trace(inputs, logits_to_keep=1):
            saved = [block.output[:, -1] for block in wrapped.model.layers]
            stacked = torch.stack(saved, dim=1).save()
        return stacked  # noqa: RET504 - saved inside the trace, read outside

    return forward


def transformer_lens(ref: str, tokenizer: Any) -> Callable[[Any, Any], torch.Tensor]:
    """TransformerLens: `run_with_cache` limited to the residual stream after each block."""
    from transformer_lens.model_bridge import TransformerBridge

    # The bridge rewires the module it is given, so it gets one of its own.
    bridge = TransformerBridge.boot_transformers(
        "smollm2", hf_model=open_model(ref).module, tokenizer=tokenizer, device="cpu"
    )

    def forward(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        _, cache = bridge.run_with_cache(
            tokens,
            attention_mask=mask,
            names_filter=lambda name: name.endswith("hook_resid_post"),
        )
        blocks = range(bridge.cfg.n_layers)
        return torch.stack([cache[f"blocks.{i}.hook_resid_post"][:, -1] for i in blocks], dim=1)

    return forward


def chat_prompts() -> tuple[str, list[Prompt]]:
    """Return the name of the set and its prompts."""
    if sys.argv[1:] != ["bundled"]:
        try:
            return "xstest", list(read_prompts(official("refusal/xstest_prompts")))[:N_PROMPTS]
        except DataError:
            if sys.argv[1:]:
                raise
    return "bundled", [p for p in bundled("refusal") if p.label == "benign"][:N_PROMPTS]


def best_batch(ids: Sequence[Sequence[int]], forward: Callable[[Any, Any], torch.Tensor]) -> Rival:
    """Return the rival at the batch size that is fastest for it (best of two after a warm-up)."""
    in_batches(ids, BATCHES[-1], forward)

    def took(size: int) -> float:
        times = []
        for _ in range(2):
            began = time.perf_counter()
            in_batches(ids, size, forward)
            times.append(time.perf_counter() - began)
        return min(times)

    return partial(in_batches, ids, min(BATCHES, key=took), forward)


@torch.inference_mode()
def main() -> None:
    """Check that all agree, then time them in turn."""
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    model = open_model("smollm2", dtype="float32")
    source, prompts = chat_prompts()
    ids = [encoded.ids for encoded in encode_all(model, prompts)]
    shared = next(i for i, column in enumerate(zip(*ids)) if len(set(column)) > 1)

    def ours(layers: Sequence[int] | None = None) -> torch.Tensor:
        states = capture(model, prompts, sites=("resid_post",), layers=layers)
        return states.get("resid_post")[:, :, 0]

    rivals: dict[str, Rival] = {
        "theodolite": ours,
        "hugging face loop": best_batch(ids, hugging_face(model.module)),
        "nnsight": best_batch(ids, nnsight(open_model("smollm2").module, model.tokenizer)),
        "transformer_lens": best_batch(ids, transformer_lens("smollm2", model.tokenizer)),
    }
    # The last entry of hidden_states is after the final norm, so blocks 0..L-2 are compared.
    reference = ours()[:, :-1]
    for name, rival in rivals.items():
        error = (rival()[:, :-1] - reference).norm(dim=-1) / reference.norm(dim=-1)
        print(f"{name}: largest relative difference to ours {float(error.max()):.1e}")
    early = list(range(EARLY + 1))
    rivals[f"theodolite, blocks 0-{EARLY}"] = lambda: ours(early)
    seconds = side_by_side(rivals, runs=5)
    rows = summarise(seconds, "theodolite")
    loop = next(row["median_s"] for row in rows if row["rival"] == "hugging face loop")
    for row in rows:
        row["speedup_over_loop"] = round(loop / row["median_s"], 2)
    publish(
        "capture",
        rows,
        prompts=f"{len(prompts)} {source}",
        shared_prefix=shared,
        mean_tokens=round(sum(map(len, ids)) / len(ids), 1),
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
