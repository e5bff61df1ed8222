"""Rough KL of every head from a few backward passes: the Fisher form, sketched.

The gradient of KL at the intact model is zero, so attribution by first order sees nothing. The
second order is a quadratic form in the change d of the logits, KL ~ d'Fd / 2, F = diag(p) - pp'. It
is sketched by random vectors g with E[gg'] = F: one backward pass per g gives g'd of every head.
What a head's absence does up to the end of its own block, MLP included, is exact; only from there
on it is taken as linear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from theodolite.engine.budget import SHARE, memory_left, token_budget
from theodolite.engine.interventions import interventions_key
from theodolite.engine.passes import Rows, run_pass
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.rerun import Place, Rerun
from theodolite.engine.runner import halving, require_finite
from theodolite.errors import ConfigError, DataError
from theodolite.execution import Unit, map_units
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.sweep import HeadSweep
from theodolite.models.chat import Encoded, encode_all
from theodolite.models.taps import write
from theodolite.text.hashing import content_key, item_seed

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION = 1


def fisher_screen(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    ablation: HeadAblation,
    *,
    cotangents: int = 16,
    seed: int,
    references: Sequence[Encoded] = (),
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Approximate KL(intact || ablated) at the last prompt token, for every head alone.

    Source: ours: the second-order term of KL with a Hutchinson sketch of the Fisher matrix, and
        exact nonlinear parts before the linear rest, as AtP* has them (arXiv:2403.00745).

    Args:
        model: an open local model; active interventions act, and what is scored comes on top.
        encoded: prompts.
        ablation: what is done to a head.
        cotangents: random vectors; the relative error of one score falls as sqrt(2 / cotangents).
        seed: of the random vectors, which are a prompt's own whatever else is in its batch.
        references: see `HeadSweep`.
        batch_tokens: most tokens of one pass, padding included (default: by device and memory).
        journal: finished units are kept there and not computed again.
        progress: told of finished units, in prompts.

    Returns: nats, axes (prompt, layer, unit). Large effects are over- or underrated: use the order.

    Raises:
        CapabilityError: the operator is not defined on this family or under these interventions.
        ConfigError: the ablation or the number of cotangents makes no sense.
        DataError: there are no prompts, or the references do not fit them.
        NumericsError: a value is not finite.

    Note: one forward and `cotangents` backward passes, and every block's MLP once per head.
    """
    model.require("hidden_states", "interventions")
    ablation.check(model.anatomy)
    if cotangents < 1:
        raise ConfigError(f"cotangents is {cotangents}.", fix="Use at least 1; 16 is the default.")
    items = encode_all(model, encoded)
    if not items:
        raise DataError("There are no prompts to screen heads on.", fix="Give at least one.")
    budget = batch_tokens or _budget(model, max(len(item.ids) for item in items), cotangents)
    work = _Screening(model, items, ablation, tuple(references), cotangents, seed, budget)
    units = work.plan()
    results = map_units(units, work, journal=journal, progress=progress, label="screening heads")
    scores = np.empty((len(items), model.anatomy.n_layers, ablation.units(model.anatomy)))
    for unit, result in zip(units, results, strict=True):
        scores[list(unit.items)] = result["scores"]
    return scores


def cotangent(probabilities: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return random vectors g with E[gg'] = diag(p) - pp'.

    Args:
        probabilities: p, axes (row, vocab).
        noise: independent standard normal numbers, same axes.

    Returns: sqrt(p) * noise - p * sum(sqrt(p) * noise), same axes.
    """
    weighted = probabilities.sqrt() * noise
    return weighted - probabilities * weighted.sum(-1, keepdim=True)


def prompt_noise(prompt: Encoded, vocab: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield a prompt's own standard normal numbers, float32, axes (vocab), equal on any device."""
    generator = torch.Generator().manual_seed(item_seed(seed, "screening", prompt.key))
    while True:
        yield torch.randn(vocab, generator=generator)


@dataclass(eq=False)
class _Screening:
    """What is screened, and the work on one unit of it: the rough scores of a batch of prompts.

    Args:
        items: all prompts.
        references: for all prompts together, or for "resample" one per prompt.
        budget: most tokens of one pass.
        batches: unit key -> batch.
    """

    model: LanguageModel
    items: Sequence[Encoded]
    ablation: HeadAblation
    references: tuple[Encoded, ...]
    cotangents: int
    seed: int
    budget: int
    batches: dict[str, Batch] = field(default_factory=dict)

    def __post_init__(self) -> None:
        matched = self.ablation.name == "resample"
        if matched and len(self.references) != len(self.items):
            raise DataError(
                f"The operator resample needs one reference per prompt: there are "
                f"{len(self.references)} for {len(self.items)} prompts.",
                fix="Give as many references as prompts.",
            )
        self.own = [r.key for r in self.references] if matched else [""] * len(self.items)
        self.matched = matched

    def plan(self) -> list[Unit]:
        """Return the units, made before anything runs."""
        common = [
            *(VERSION, self.model.fingerprint, interventions_key(self.model), self.ablation.key),
            *(self.cotangents, self.seed, [r.key for r in self.references if not self.matched]),
        ]
        sequences = [item.ids for item in self.items]
        units = []
        for batch in plan_batches(sequences, self.budget, share=False, kinds=self.own):
            rows = [(self.items[i].key, self.own[i]) for i in batch.items]
            unit = Unit(content_key("fisher screen", common, rows), batch.items, len(rows))
            self.batches[unit.key] = batch
            units.append(unit)
        return units

    def __call__(self, unit: Unit) -> dict[str, Any]:
        batch = self.batches[unit.key]
        found: dict[int, torch.Tensor] = {}

        def run(part: Batch) -> None:
            scores = self._scores([leaf.item for leaf in part.leaves])
            for row, copies in enumerate(part.copies):
                found.update(dict.fromkeys(copies, scores[row]))

        # A caller's inference mode would forbid the backward passes.
        with torch.inference_mode(False):
            halving(batch, run)
        return {"scores": torch.stack([found[item] for item in batch.items]).numpy()}

    def _scores(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the rough scores of different prompts, on the CPU, axes (row, layer, unit)."""
        prompts = [self.items[row] for row in rows]
        names = [prompt.prompt_id or str(row) for row, prompt in zip(rows, prompts)]
        noise = [prompt_noise(p, self.model.anatomy.vocab_size, self.seed) for p in prompts]
        draws = (torch.stack([next(own) for own in noise]) for _ in range(self.cotangents))
        pulls = _pulls(self.model, prompts, names, draws, self.cotangents)
        references = [self.references[row] for row in rows] if self.matched else self.references
        sweep = HeadSweep(
            self.model, prompts, self.ablation, references=references, batch_tokens=self.budget
        )
        members = _members(sweep)
        units = range(self.ablation.units(self.model.anatomy))
        scores = torch.empty(len(rows), len(pulls), len(units), dtype=torch.float64)
        for layer, pull in enumerate(pulls):
            felt = pull.new_zeros(len(pull), len(rows), len(units))
            for part in sweep.sweep.rows():
                moved = _moved(sweep, layer, part, units, self.budget).to(pull)
                for row, length in enumerate(part.lengths):
                    items = members[Place(part, row)]
                    seen = pull[:, items, part.start : part.start + length]
                    felt[:, items] += torch.einsum("gipd,upd->giu", seen, moved[:, row, :length])
            scores[:, layer] = felt.double().square().mean(0).cpu() / 2
            require_finite(scores[:, layer], names, layer, "resid_post")
        return scores


def _pulls(
    model: LanguageModel,
    prompts: Sequence[Encoded],
    names: Sequence[str],
    draws: Iterator[torch.Tensor],
    count: int,
) -> list[torch.Tensor]:
    """Return how each random vector's product with the logits grows along the stream.

    Args:
        prompts: run in one pass, right padded.
        names: the prompts' ids, for messages.
        draws: standard normal numbers, axes (prompt, vocab) each.
        count: how many to draw.

    Returns: per layer the gradient at resid_post, axes (vector, prompt, position, d_model).
    """
    anatomy = model.anatomy
    lengths = [len(prompt.ids) for prompt in prompts]
    taps = {layer: anatomy.tap(layer, "resid_post") for layer in range(anatomy.n_layers)}
    stream: dict[int, torch.Tensor] = {}
    rows = Rows([prompt.ids for prompt in prompts], [None] * len(prompts), lengths)
    with torch.enable_grad(), model.lock, _from_embeddings(model):
        hidden = run_pass(model, rows, taps=taps, sink=stream.__setitem__).hidden
        assert hidden is not None  # noqa: S101 - the pass ran to its end
        last = torch.tensor(lengths, device=hidden.device) - 1
        ends = hidden[torch.arange(len(last), device=last.device), last]
        require_finite(ends.detach(), names, anatomy.n_layers - 1, "resid_post")
        # Some models pad their output layer beyond the vocabulary.
        logits = anatomy.logits_from_final(ends)[:, : anatomy.vocab_size]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    probabilities = logits.detach().softmax(-1)
    inputs = [stream[layer] for layer in taps]
    found = [hidden.new_empty(count, *value.shape) for value in inputs]
    for place in range(count):
        g = cotangent(probabilities, next(draws).to(probabilities))
        for layer, pull in enumerate(torch.autograd.grad(logits, inputs, g, retain_graph=True)):
            found[layer][place] = pull
    return found


@contextmanager
def _from_embeddings(model: LanguageModel) -> Iterator[None]:
    """Let the graph of a backward pass begin at the first block; no weight gets a gradient."""
    entry = model.anatomy.tap(0, "resid_pre")
    with write(entry, lambda value: value.detach().requires_grad_(True)):
        yield


def _members(sweep: HeadSweep) -> dict[Place, list[int]]:
    """Return which prompts each row of a sweep is a part of."""
    found: dict[Place, list[int]] = {}
    for part in sweep.sweep.rows():
        for item, row in zip(*sweep.sweep.last(part), strict=True):
            place: Place | None = Place(part, row)
            while place is not None:
                found.setdefault(place, []).append(item)
                place = place.rows.parents[place.row]
    return found


def _moved(
    sweep: HeadSweep, layer: int, part: Rerun, units: Sequence[int], budget: int
) -> torch.Tensor:
    """Return how far each unit's absence moves the stream behind its own block.

    Returns: axes (unit, row, position, d_model).
    """
    anatomy = sweep.model.anatomy
    with torch.inference_mode():
        new = sweep.variants(layer, part, units)
        intact = part.values(layer, "attn_out")[None]
        moved = new - intact
        if not anatomy.parallel_blocks:  # there the MLP does not read what attention adds
            out = _mlp_out(part, layer, torch.cat([intact, new]), budget)
            moved = moved + (out[1:] - out[:1])
    return moved.clone()


def _mlp_out(part: Rerun, layer: int, attn_out: torch.Tensor, budget: int) -> torch.Tensor:
    """Return what a block's MLP adds for variants of its attention's output, axes as these."""
    step = max(1, budget // (len(part.tokens) * part.width))
    return torch.cat([part.mlp_out(layer, some) for some in torch.split(attn_out, step)])


def _budget(model: LanguageModel, longest: int, cotangents: int) -> int:
    """Return the most tokens of one pass: every layer keeps its values and its gradients."""
    anatomy = model.anatomy
    config: Any = model.module.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * anatomy.d_model
    graph = 10 * anatomy.d_model + 8 * anatomy.n_heads * anatomy.head_dim + 5 * inner
    each = anatomy.n_layers * (graph + cotangents * anatomy.d_model) * model.dtype.itemsize
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    # More than a few prompts at once save little time, so memory stays that of a few models.
    room = min(memory_left(model) * SHARE, 2 * weights)
    budget = token_budget(model, longest)
    while budget > max(longest, 64) and budget * each > room:
        budget //= 2
    return budget
