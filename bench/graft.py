"""The first-token grafting sweep over all depths: one cached trunk against whole forwards.

python -m bench.graft [recipients]

Recipients and donors are harmful and benign test prompts of the bundled set as chats. Every donor's
state is put into every recipient at every depth, and the logits of the first token to come are
read. Ours is timed from nothing: the recipients' trunk, the donors' states and the logits are in
its time. The rivals get the donors' states for free; they run whole forwards of the Hugging Face
module with a hook that overwrites the last position, without a cache, with logits of one position:
one recipient at a time, and all recipients in one left-padded batch. Float32, same threads. A whole
forward costs the same at every depth, so the rivals are timed at a few depths and scaled to all;
their logits at these depths are compared with ours before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from bench.capture import padded
from bench.harness import publish, side_by_side, summarise
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt
from theodolite.engine import LastTokenSweep, capture
from theodolite.models import encode_all, open_model

N_RECIPIENTS = 12
DONORS = (1, 4)
DEPTHS = (3, 15, 27)
ROWS_OF_LOGITS = 96


def donor_states(model: Any, donors: Sequence[Prompt]) -> torch.Tensor:
    """Return states at the last token, axes (donor, hidden_index, d_model)."""
    states = capture(model, donors, sites=("resid_pre", "resid_post"))
    first, blocks = states.get("resid_pre")[:, :1, 0], states.get("resid_post")[:, :, 0]
    return torch.cat([first, blocks], dim=1)


def ours(
    model: Any, recipients: Sequence[Prompt], donors: Sequence[Prompt], depths: Sequence[int]
) -> torch.Tensor:
    """Return logits, axes (depth, donor, recipient, vocab), computed from nothing."""
    states = donor_states(model, donors)[:, list(depths)].transpose(0, 1)
    sweep = LastTokenSweep(model, recipients)
    variants = states.flatten(0, 1)[:, None].expand(-1, len(recipients), -1)
    index = [depth for depth in depths for _ in donors]
    final = sweep.run(index, variants, logits=False).final.flatten(0, 1)
    logits = [model.anatomy.logits_from_final(rows) for rows in final.split(ROWS_OF_LOGITS)]
    return torch.cat(logits).view(len(depths), len(donors), len(recipients), -1)


@contextmanager
def overwritten(block: Any, vector: torch.Tensor) -> Iterator[None]:
    """Put a vector over the last position of what a block returns."""

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, -1] = vector
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = block.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def whole_forwards(
    module: Any, batches: Sequence[dict[str, torch.Tensor]], states: torch.Tensor
) -> torch.Tensor:
    """Return logits, axes (depth, donor, recipient, vocab), at the depths that are timed."""
    rows = []
    for depth in DEPTHS:
        for state in states[:, depth]:
            with overwritten(module.model.layers[depth - 1], state):
                outputs = [module(**b, use_cache=False, logits_to_keep=1).logits for b in batches]
            rows.append(torch.cat(outputs)[:, -1])
    return torch.stack(rows).view(len(DEPTHS), len(states), -1, rows[0].shape[-1])


def batches_of(
    ids: Sequence[Sequence[int]],
) -> tuple[list[dict[str, torch.Tensor]], list[dict[str, torch.Tensor]]]:
    """Return the recipients one by one, and all of them in one left-padded batch."""
    single = [{"input_ids": torch.tensor([list(row)])} for row in ids]
    tokens, mask = padded(ids)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    return single, [{"input_ids": tokens, "attention_mask": mask, "position_ids": places}]


@torch.inference_mode()
def compare(model: Any, recipients: Sequence[Prompt], donors: Sequence[Prompt]) -> list[Any]:
    """Check that all agree, then time them in turn; returns table rows for one number of donors."""
    every = range(model.anatomy.n_layers + 1)
    single, joint = batches_of([encoded.ids for encoded in encode_all(model, recipients)])
    states = donor_states(model, donors)
    reference = ours(model, recipients, donors, DEPTHS)
    for name, batches in (("one by one", single), ("batched", joint)):
        difference = (whole_forwards(model.module, batches, states) - reference).abs().max()
        print(f"{len(donors)} donors, {name}: largest difference of logits {difference:.1e}")
    seconds = side_by_side(
        {
            "theodolite": lambda: ours(model, recipients, donors, every),
            "one by one": lambda: whole_forwards(model.module, single, states),
            "batched": lambda: whole_forwards(model.module, joint, states),
        },
        runs=5,
    )
    scale = len(every) / len(DEPTHS)
    for name in ("one by one", "batched"):
        seconds[name] = [time * scale for time in seconds[name]]
    return [{"donors": len(donors), **row} for row in summarise(seconds, "theodolite")]


def main() -> None:
    """Time the sweep for several numbers of donors."""
    count = int(sys.argv[1]) if sys.argv[1:] else N_RECIPIENTS
    model = open_model("smollm2", dtype="float32")
    prompts = [p for p in bundled("refusal") if p.split == "test"]
    recipients = [p for p in prompts if p.label == "harmful"][:count]
    benign = [p for p in prompts if p.label == "benign"]
    rows = [row for n in DONORS for row in compare(model, recipients, benign[:n])]
    lengths = [len(encoded.ids) for encoded in encode_all(model, recipients)]
    publish(
        "graft",
        rows,
        recipients=len(recipients),
        depths=model.anatomy.n_layers + 1,
        timed_depths=len(DEPTHS),
        mean_tokens=round(sum(lengths) / len(lengths), 1),
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
