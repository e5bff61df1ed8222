"""Going on with begun replies at many depths: one shared prefill against a loop over the depths.

python -m bench.course_correction [greedy] [sampled]      (both where none is named)

SmolLM2 in float32 on bundled harmless rows, 8 depths (10 to 80 tokens), 32 new tokens. Cases:
  greedy    8 rows, one path each;
  sampled   4 rows, 20 paths each at temperature .8 and top-p .7.

Rivals use Hugging Face's `generate` (inference mode, same threads):
  per k       one call per row, depth and path;
  batch 10    left-padded batches of 10, as the published code does it, prefilled anew for every
              depth and path.
They are timed on some of the rows (and paths) and scaled; ours is timed whole. Greedy continuations
are compared token by token first: equal, or apart only where the two likeliest tokens lie within
1e-3 of each other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from bench.harness import publish, side_by_side, summarise
from theodolite.behaviour.course_correction.data import load_rows
from theodolite.behaviour.course_correction.prefixes import KS, make_prefixes
from theodolite.engine import generate
from theodolite.models import open_model
from theodolite.models.chat import encode_all

NEW_TOKENS = 32
ROWS = {"greedy": 8, "sampled": 4}
PATHS = {"greedy": 1, "sampled": 20}
TIMED_ROWS = 2
BATCH = 10
RUNS = 3
NEAR_TIE = 1e-3
SAMPLING: dict[str, Any] = {"temperature": 0.8, "top_p": 0.7}


def encoded_prefixes(model: Any, rows: int) -> list[Any]:
    """Return the chats whose assistant's turn is open after each prefix, row by row."""
    prompts = list(load_rows(limit=rows, benign=False))
    prefixes = make_prefixes(prompts, KS, tokenizer=model.tokenizer)
    chats = [
        [
            {"role": "user", "content": prefix.prompt.request},
            {"role": "assistant", "content": prefix.text},
        ]
        for prefix in prefixes
    ]
    return encode_all(model, chats, continue_final=True)


def hf_generate(model: Any, batch: Sequence[Sequence[int]], **how: Any) -> list[list[int]]:
    """Return Hugging Face's continuations of token ids, left-padded into one batch."""
    width = max(map(len, batch))
    pad = model.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in batch])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
    found = model.module.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, pad_token_id=pad, **how
    )
    ends = model.tokenizer.eos_token_id
    continued = []
    for row in found[:, width:].tolist():
        stop = row.index(ends) + 1 if ends in row else len(row)
        continued.append(row[:stop])
    return continued


@torch.inference_mode()
def near_ties(model: Any, encoded: Sequence[Any]) -> tuple[int, int]:
    """Return how many greedy continuations are equal, and how many part at a near tie.

    Raises: AssertionError: two part where the likeliest token is clear.
    """
    equal = tied = 0
    ours = [list(c.token_ids) for c in generate(model, list(encoded), max_new_tokens=NEW_TOKENS)]
    for item, own in zip(encoded, ours, strict=True):
        (other,) = hf_generate(model, [item.ids], do_sample=False)
        if own == other:
            equal += 1
            continue
        place = next(i for i, (a, b) in enumerate(zip(own, other)) if a != b)
        ids = torch.tensor([[*item.ids, *other[:place]]])
        top = model.module(ids, logits_to_keep=1).logits[0, -1].topk(2).values
        assert float(top[0] - top[1]) < NEAR_TIE, item.prompt_id
        tied += 1
    return equal, tied


@torch.inference_mode()
def compare(model: Any, case: str) -> list[dict[str, Any]]:
    """Compare the continuations, then time everything in turn; returns table rows."""
    encoded = encoded_prefixes(model, ROWS[case])
    paths = PATHS[case]
    greedy = paths == 1
    few = [item.ids for item in encoded[: TIMED_ROWS * len(KS)]]
    equal, tied = near_ties(model, encoded) if greedy else (0, 0)
    how: dict[str, Any] = {"do_sample": False} if greedy else {"do_sample": True, **SAMPLING}

    def ours() -> Any:
        chance = {} if greedy else {**SAMPLING, "n": paths}
        return generate(model, list(encoded), max_new_tokens=NEW_TOKENS, **chance)

    def in_batches() -> None:
        for start in range(0, len(few), BATCH):
            hf_generate(model, few[start : start + BATCH], **how)

    rivals: dict[str, Callable[[], Any]] = {
        "theodolite": ours,
        "per k": lambda: [hf_generate(model, [ids], **how) for ids in few],
        "batch 10": in_batches,
    }
    seconds = side_by_side(rivals, runs=RUNS, warmup=0)
    scale = len(encoded) / len(few) * paths
    for name in ("per k", "batch 10"):
        seconds[name] = [time * scale for time in seconds[name]]
    facts = {"case": case, "rows": ROWS[case], "paths": paths}
    same = {"equal": equal, "near_ties": tied} if greedy else {}
    return [{**facts, **row, **same} for row in summarise(seconds, "theodolite")]


def main() -> None:
    """Time every case and print one table."""
    model = open_model("smollm2", dtype="float32")
    rows = [row for case in sys.argv[1:] or list(ROWS) for row in compare(model, case)]
    publish(
        "course_correction",
        rows,
        depths=len(KS),
        new_tokens=NEW_TOKENS,
        timed_rows=TIMED_ROWS,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
