"""Paired states of a base and an aligned model, and the space of their shift.

python -m bench.residual_space [extraction|fitting] [--prompts N] [--layers N] [--adapter FOLDER]
    [--naive-fit]

Extraction: the last token's state after every block, in both models. The naive loop is the
published way: both models loaded in float32, one prompt at a time, vocabulary logits of every
position in float64, every layer copied to the host. The prompts are bundled ones, twins side by
side. Values are compared before anything is timed.

Fitting: a synthetic shift of 2,600 prompts and 4,096 coordinates, as large as the paper's: centred
spectrum, 256 components with their signs, effective ranks at five shares, entropy rank and
participation ratio. `--layers` are timed one after the other and scaled to 33; `--naive-fit` adds
what the paper's code does for one layer (least squares, then a full SVD of the fitted shift).
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.harness import publish, side_by_side, summarise
from theodolite.data.bundled import bundled
from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import Prompt
from theodolite.mechanism.residual_space.collect import PairedStates, collect_pair
from theodolite.mechanism.residual_space.space import ResidualSpace
from theodolite.mechanism.states import States, encode_for_states
from theodolite.models.open import open_model
from theodolite.models.pair import open_pair

RUNS = 3
LAYERS, ROWS, WIDTH = 33, 2600, 4096
DEMANDED_SECONDS = 120
Array = np.ndarray[Any, Any]


def naive_loop(models: list[Any], ids: list[tuple[int, ...]]) -> Array:
    """Return states, axes (model, prompt, block, d_model), the published way."""
    found = []
    for model in models:
        rows, logits = [], []
        for one in ids:
            output = model.module(torch.tensor([one]), output_hidden_states=True)
            logits.append(output.logits[0].double().numpy()[-1])
            states = [hidden[0].double().numpy() for hidden in output.hidden_states]
            rows.append(np.stack([hidden[-1] for hidden in states]))
        found.append(np.stack(rows))
    return np.stack(found)


@torch.inference_mode()
def extraction(prompts: int, adapter: Path | None) -> None:
    """Check that both read the same states, then time them in turn."""
    target: dict[str, Any] = {"adapter": adapter} if adapter else {"aligned": "smollm2-aligned"}
    pair = open_pair("smollm2", dtype="float32", **target)
    merged = open_model(
        "smollm2" if adapter else "smollm2-aligned", dtype="float32", adapter=adapter
    )
    rows = in_pairs(bundled("refusal"))[:prompts]
    models = [open_model("smollm2", dtype="float32"), merged]
    ids = [encoded.ids for encoded in encode_for_states(pair.base, rows)]
    rivals = {
        "theodolite": lambda: collect_pair(pair, rows),
        "naive loop": lambda: naive_loop(models, ids),
    }
    paired, reference = rivals["theodolite"](), rivals["naive loop"]()
    ours = np.stack([paired.base.values[:, :, 0], paired.aligned.values[:, :, 0]])
    # The last entry of hidden_states is after the final norm, so it is left out.
    error = np.linalg.norm((ours - reference)[:, :, :-1], axis=-1)
    relative = float((error / np.linalg.norm(reference[:, :, :-1], axis=-1)).max())
    table = summarise(side_by_side(rivals, runs=RUNS, warmup=0), "theodolite")
    publish(
        "residual_space_extraction",
        table,
        prompts=f"{len(rows)} bundled, two models",
        mean_tokens=round(sum(map(len, ids)) / len(ids), 1),
        shared_load=pair.shared,
        largest_difference=f"{relative:.1e}",
        demanded="3 times",
        threads=torch.get_num_threads(),
    )


def synthetic(seed: int) -> PairedStates:
    """Return paired states of one layer whose shift falls off as measured ones do."""
    random = np.random.default_rng(seed)
    sizes = np.exp(-np.arange(400) / 60)
    basis = random.standard_normal((400, WIDTH)) / WIDTH**0.5
    x = random.standard_normal((ROWS, WIDTH)).astype(np.float32)
    shift = (random.standard_normal((ROWS, 400)) * sizes) @ basis
    shift += 0.002 * random.standard_normal((ROWS, WIDTH))
    names = [f"{i:05d}" for i in range(ROWS)]
    rows = tuple(Prompt(n, text=n, label=("harmful", "benign")[i % 2]) for i, n in enumerate(names))

    def states(values: Array, name: str) -> States:
        array = values.astype(np.float32)[:, None, None]
        return States(array, tuple(names), ("prompt_last",), (0,), name, name, "none", name, ())

    return PairedStates(states(x, "base"), states(x + shift, "aligned"), rows, tuple(names))


def naive_fit(paired: PairedStates) -> Array:
    """Return the singular values of the fitted shift, as the paper's code works them out."""
    x, y = paired.base.at(0, "prompt_last"), paired.aligned.at(0, "prompt_last")
    fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0] - x
    return np.linalg.svd(fitted, full_matrices=False)[1]


def fitting(layers: int, *, naive: bool) -> None:
    """Time the fit and the ranks, one layer after the other."""
    seconds = []
    for seed in range(layers):
        paired = synthetic(seed)
        began = time.perf_counter()
        space = ResidualSpace.fit(paired, quality=False, resamples=0)
        space.layer_frame()
        seconds.append(time.perf_counter() - began)
    each = statistics.median(seconds)
    rows = [{"way": "theodolite", "layer_s": round(each, 2), "all_layers_s": round(each * LAYERS)}]
    facts: dict[str, Any] = {}
    if naive:
        began = time.perf_counter()
        sigma = naive_fit(paired)
        took = time.perf_counter() - began
        rows.append(
            {"way": "naive", "layer_s": round(took, 2), "all_layers_s": round(took * LAYERS)}
        )
        reference = ResidualSpace.fit(paired, preset="reference", quality=False, resamples=0)
        own = reference.layer(0).spectrum.sigma[:256]
        facts["largest_difference"] = f"{np.abs(own / sigma[:256] - 1).max():.1e}"
    publish(
        "residual_space_fitting",
        rows,
        rows_and_width=f"{ROWS} x {WIDTH}",
        layers_timed=layers,
        rank_at_90_percent=space.layer(0).effective_rank(0.9),
        demanded=f"{DEMANDED_SECONDS} s for {LAYERS} layers on 2 cores",
        threads=torch.get_num_threads(),
        **facts,
    )


def main() -> None:
    """Time the part that is named, or both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=["extraction", "fitting"])
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--naive-fit", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    if "extraction" in options.parts:
        extraction(options.prompts, options.adapter)
    if "fitting" in options.parts:
        fitting(options.layers, naive=options.naive_fit)


if __name__ == "__main__":
    main()
