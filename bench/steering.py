"""Edits read at the first token: one sweep against one hooked forward for each edit and prompt.

python -m bench.steering [last] [layer] [all]      (all three where none is named)

20 settings (4 directions, 5 strengths each) on 60 prompts of the bundled test set as chats, SmolLM2
in float32. Cases:
  last     subtract at the last prompt token, at the output of every block (arXiv:2502.09674);
  layer    subtract at every token, at the output of one block in the middle;
  all      subtract at every token, at the output of every block.

Rivals are bare PyTorch hooks on the Hugging Face module, inference mode, same threads:
  one by one   one hooked full forward per setting and prompt, with the logits of every position, as
               the published code does;
  lean         the same with the logits of the last position only;
  batched      per setting, all prompts in left-padded batches, logits of the last position.
They are timed on some of the settings (and `one by one` on some of the prompts) and scaled. Ours is
timed whole: the prompts' own run, every setting, log-odds and KL in float64. Before anything is
timed the log-probabilities of the rivals' settings are compared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from bench.capture import padded
from bench.harness import publish, side_by_side, summarise
from theodolite.data.bundled import bundled
from theodolite.mechanism.lens.token_classes import default_token_classes
from theodolite.mechanism.states import encode_for_states
from theodolite.mechanism.steering.edits import Edit, along
from theodolite.mechanism.steering.sweep import steer_sweep
from theodolite.models import open_model

N_PROMPTS = 60
STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
N_DIRECTIONS = 4
TIMED_SETTINGS = 2
TIMED_PROMPTS = 12
BATCH = 20
RUNS = 3


def edits_of(case: str, model: Any) -> list[Edit]:
    """Return the settings of a case; directions are random, which costs what any other costs."""
    drawn = np.random.default_rng(0).standard_normal((N_DIRECTIONS, model.anatomy.d_model))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    middle = model.anatomy.n_layers // 2
    where: dict[str, Any] = {
        "last": {"positions": "prompt_last"},
        "layer": {"layers": (middle,)},
        "all": {},
    }[case]
    return [
        Edit([one], "subtract", alpha=alpha, **where)
        for one in along(drawn, hidden_index=middle)
        for alpha in STRENGTHS
    ]


@contextmanager
def subtracted(module: Any, edit: Edit) -> Iterator[None]:
    """Subtract an edit's vector from what blocks put out, with bare hooks."""
    vector = edit.alpha * torch.from_numpy(edit.directions[0].vector).float()
    blocks = (
        module.model.layers
        if edit.layers == "all"
        else [module.model.layers[n] for n in edit.layers]
    )

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        if edit.positions == "all":
            hidden = hidden - vector
        else:
            hidden = hidden.clone()
            hidden[:, -1] -= vector
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_hook(hook).remove)
        yield


def forwards(
    module: Any, batches: Sequence[dict[str, torch.Tensor]], edits: Sequence[Edit], **options: Any
) -> torch.Tensor:
    """Return log-probabilities of the first token, axes (setting, prompt, vocab)."""
    rows = []
    for edit in edits:
        with subtracted(module, edit):
            logits = [module(**b, use_cache=False, **options).logits[:, -1] for b in batches]
        rows.append(torch.cat(logits).double().log_softmax(-1))
    return torch.stack(rows)


def batches_of(ids: Sequence[Sequence[int]], size: int) -> list[dict[str, torch.Tensor]]:
    """Return prompts of similar length in left-padded batches."""
    found = []
    for begin in range(0, len(ids), size):
        tokens, mask = padded(ids[begin : begin + size])
        places = (mask.cumsum(1) - 1).clamp(min=0)
        found.append({"input_ids": tokens, "attention_mask": mask, "position_ids": places})
    return found


@torch.inference_mode()
def compare(model: Any, case: str) -> list[dict[str, Any]]:
    """Check that all agree, then time them in turn; returns table rows."""
    prompts = [p for p in bundled("refusal") if p.split == "test"][:N_PROMPTS]
    prompts.sort(key=lambda p: len(p.request))
    tokens = default_token_classes(model).negative
    edits = edits_of(case, model)
    ids = [list(item.ids) for item in encode_for_states(model, prompts)]
    single = [{"input_ids": torch.tensor([row])} for row in ids]
    joint = batches_of(ids, BATCH)
    some = edits[:: len(edits) // TIMED_SETTINGS][:TIMED_SETTINGS]
    few = single[:: len(single) // TIMED_PROMPTS]

    def ours() -> Any:
        return steer_sweep(model, prompts, edits, tokens=tokens)

    found = ours()
    expected = forwards(model.module, joint, some, logits_to_keep=1)[..., list(tokens)].numpy()
    places = [found.settings.row(edit.name) for edit in some]
    largest = float(np.abs(found.logprobs[places] - expected).max())
    rivals: dict[str, Callable[[], Any]] = {
        "theodolite": ours,
        "one by one": lambda: forwards(model.module, few, some),
        "lean": lambda: forwards(model.module, few, some, logits_to_keep=1),
        "batched": lambda: forwards(model.module, joint, some, logits_to_keep=1),
    }
    seconds = side_by_side(rivals, runs=RUNS, warmup=0)
    share = sum(len(row) for row in ids) / sum(b["input_ids"].shape[1] for b in few)
    scale = len(edits) / len(some)
    for name, factor in {"one by one": share, "lean": share, "batched": 1.0}.items():
        seconds[name] = [time * factor * scale for time in seconds[name]]
    rows = summarise(seconds, "theodolite")
    return [{"case": case, **row, "largest_difference": f"{largest:.1e}"} for row in rows]


def main() -> None:
    """Time every case and print one table."""
    model = open_model("smollm2", dtype="float32")
    rows = [
        row for case in sys.argv[1:] or ("last", "layer", "all") for row in compare(model, case)
    ]
    publish(
        "steering",
        rows,
        settings=N_DIRECTIONS * len(STRENGTHS),
        prompts=N_PROMPTS,
        timed_settings=TIMED_SETTINGS,
        timed_prompts=TIMED_PROMPTS,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
