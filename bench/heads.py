"""Scores of all heads: the suffix sweep against the plain loop, one whole forward per head.

python -m bench.heads [one] [chats] [system]      (all where none is named)

Cases, all with SmolLM2 in float32 and even attention:
  one      one prompt in the parity frame;
  chats    32 prompts as chats, which share the template's beginning;
  system   32 short requests as chats below one long system prompt.
Prompts are MaliciousInstruct's where THEODOLITE_DATA is set, else the bundled set's.

The plain loop runs the Hugging Face module once per head with a hook that scales the head's query
by 0, one prompt at a time, SDPA, inference mode, logits of one position, same threads. It is timed
on two of the prompts (`system`: on every ninth head of two) and scaled to all, by prompt length.
Ours is timed whole: the prompts' own run, all heads, KL in float64, the angles. Before anything is
timed the scores of the loop's heads are compared. `flop_bound` is the ratio of multiplications and
additions in matrix products, the loop's by ours; a higher measured ratio is what batches add.
"""

from __future__ import annotations

import csv
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.harness import publish
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Message, Prompt
from theodolite.mechanism.distributions import divergence
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.frames import encode_framed
from theodolite.mechanism.heads.ships import head_ships
from theodolite.mechanism.heads.sweep import HeadSweep
from theodolite.models import open_model

SYSTEM = " ".join(
    f"Rule {n}: answer in plain words, keep to the question, and say what you are unsure of."
    for n in ("one", "two", "three", "four", "five", "six", "seven")
)
LOOP_PROMPTS = 2


@dataclass(frozen=True)
class Case:
    """One setting that is timed.

    Args:
        heads: every so many heads are run by the loop.
        runs: of ours; the loop is run once per run of ours, up to three times.
    """

    name: str
    prompts: Sequence[Prompt]
    template: str
    heads: int
    runs: int


@contextmanager
def scaled_query(block: Any, head: int, width: int) -> Iterator[None]:
    """Let a block's query projection give 0 for one head."""

    def hook(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        new = output.clone()
        new[..., head * width : (head + 1) * width] *= 0.0
        return new

    handle = block.self_attn.q_proj.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def plain(model: Any, ids: Sequence[int], heads: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Return KL(intact || ablated), axes (head), by one whole forward per head."""
    tokens = torch.tensor([list(ids)])

    def logprobs() -> torch.Tensor:
        logits = model.module(input_ids=tokens, use_cache=False, logits_to_keep=1).logits
        return logits[0, -1].double().log_softmax(-1)

    intact, found = logprobs(), []
    for layer, head in heads:
        with scaled_query(model.anatomy.blocks[layer], head, model.anatomy.head_dim):
            found.append(divergence(intact, logprobs()))
    return torch.stack(found)


def block_flops(model: Any) -> tuple[int, int]:
    """Return multiplications of one token in a whole block, and in its MLP alone."""
    block = model.anatomy.blocks[0]
    mlp = sum(p.numel() for p in block.mlp.parameters())
    return mlp + sum(p.numel() for p in block.self_attn.parameters()), mlp


def flop_bound(model: Any, encoded: Sequence[Any]) -> float:
    """Return the multiplications of the plain loop by those of the sweep, heads all scored."""
    anatomy = model.anatomy
    layers, heads = anatomy.n_layers, anatomy.n_heads
    whole, mlp = block_flops(model)
    head = anatomy.d_model * anatomy.vocab_size
    forwards = sum(len(e.ids) * layers * whole + head for e in encoded)
    loop = forwards * (1 + layers * heads)
    sweep = HeadSweep(model, encoded, HeadAblation()).sweep
    prefixes = sum(sum(rows.lengths) for rows in sweep._levels)
    tokens = prefixes + sum(sum(leaf.rows.lengths) for leaf in sweep._leaves)
    ours = forwards + heads * layers * len(encoded) * head
    for layer in range(layers - 1):
        # The last block's MLP sees one token per prompt.
        ours += heads * tokens * (mlp + (layers - 1 - layer) * whole - mlp)
        ours += heads * len(encoded) * mlp
    ours += heads * len(encoded) * mlp
    return loop / ours


def timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@torch.inference_mode()
def compare(model: Any, case: Case) -> dict[str, Any]:
    """Check that both agree, then time them in turn."""
    encoded = encode_framed(model, list(case.prompts), case.template)
    every = [(n, h) for n in range(model.anatomy.n_layers) for h in range(model.anatomy.n_heads)]
    some = every[:: case.heads]
    length = statistics.mean(len(e.ids) for e in encoded)
    order = sorted(range(len(encoded)), key=lambda i: abs(len(encoded[i].ids) - length))
    chosen = sorted(order[:LOOP_PROMPTS])

    def ours() -> Any:
        return head_ships(model, case.prompts, template=case.template)

    def loop() -> list[torch.Tensor]:
        return [plain(model, encoded[i].ids, some) for i in chosen]

    scores, expected = ours(), loop()
    difference = max(
        abs(scores.kl[i, *head] - float(kl))
        for i, found in zip(chosen, expected)
        for head, kl in zip(some, found)
    )
    own, plains = [], []
    for run in range(case.runs):
        own.append(timed(ours))
        if run < 3:
            plains.append(timed(loop))
    tokens = sum(len(encoded[i].ids) for i in chosen)
    scale = sum(len(e.ids) for e in encoded) / tokens * len(every) / len(some)
    mine, theirs = statistics.median(own), statistics.median(plains) * scale
    sweep = HeadSweep(model, encoded, HeadAblation()).sweep
    return {
        "case": case.name,
        "prompts": len(encoded),
        "mean_tokens": round(length, 1),
        "shared": max((rows.start + rows.width for rows in sweep._levels), default=0),
        "heads": len(every),
        "loop_s": round(theirs, 1),
        "ours_s": round(mine, 2),
        "ratio": round(theirs / mine, 2),
        "flop_bound": round(flop_bound(model, encoded), 2),
        "largest_kl_difference": f"{difference:.1e}",
        "runs": f"{len(own)}/{len(plains)}",
    }


def requests() -> list[Prompt]:
    """Return the official requests where they are at hand, else the bundled ones."""
    folder = os.environ.get("THEODOLITE_DATA")
    if folder is None:
        return [p for p in bundled("refusal") if p.label == "harmful"]
    with (Path(folder) / "safety-heads" / "maliciousinstruct.csv").open(encoding="utf-8") as file:
        texts = [row["input"] for row in csv.DictReader(file)]
    return [Prompt(id=f"malicious-{i}", text=text) for i, text in enumerate(texts)]


def below_system(prompt: Prompt) -> Prompt:
    """Return a request below the long system prompt."""
    turns = (Message("system", SYSTEM), Message("user", prompt.request))
    return Prompt(id=prompt.id, messages=turns)


def main() -> None:
    """Time every case and print one table."""
    model, prompts = open_model("smollm2", dtype="float32"), requests()
    below = [below_system(prompt) for prompt in prompts[:32]]
    cases = [
        Case("one", prompts[:1], "parity", heads=1, runs=5),
        Case("chats", prompts[:32], "chat", heads=1, runs=3),
        Case("system", below, "chat", heads=9, runs=1),
    ]
    chosen = sys.argv[1:] or [case.name for case in cases]
    rows = [compare(model, case) for case in cases if case.name in chosen]
    source = "maliciousinstruct" if "THEODOLITE_DATA" in os.environ else "bundled"
    publish("heads", rows, source=source, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
