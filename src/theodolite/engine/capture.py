"""Read activations of many prompts: shared prefixes once, no further than the last wanted layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from theodolite.engine.activations import Activations
from theodolite.engine.budget import token_budget
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.passes import Only, PassResult, Rows, run_pass
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.runner import Runner, halving, require_finite
from theodolite.engine.streaming import to_disk
from theodolite.engine.trie import Segment
from theodolite.errors import ConfigError
from theodolite.execution import Unit, map_units
from theodolite.models.anatomy import BLOCK_SITES
from theodolite.models.chat import Encoded, encode_all
from theodolite.models.positions import check_position, resolve_position
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION = 1
CAPTURE_SITES = (*BLOCK_SITES, "head_out", "final_norm")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# A token of one prompt, and where its value goes: (token, place on the position axis, weight).
Target = tuple[int, int, float]


@dataclass(frozen=True)
class Request:
    """What is read from every prompt.

    Args:
        sites: names of `CAPTURE_SITES`.
        layers: blocks, ascending.
        positions: names or indices.
        dtype: "float32" or "bfloat16", for storage.
    """

    sites: tuple[str, ...]
    layers: tuple[int, ...]
    positions: tuple[str | int, ...]
    dtype: str

    def layers_of(self, site: str, n_layers: int) -> tuple[int, ...]:
        """Return the layer axis of a site."""
        return (n_layers - 1,) if site == "final_norm" else self.layers


def capture(
    model: LanguageModel,
    prompts: Sequence[Prompt | str | Encoded],
    *,
    sites: Sequence[str] = ("resid_post",),
    layers: Sequence[int] | None = None,
    positions: Sequence[str | int] = ("prompt_last",),
    dtype: str = "float32",
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
    out: Path | None = None,
) -> Activations:
    """Read sites of the residual stream, the heads or the final norm at positions of prompts.

    Args:
        model: an open local model; active interventions act.
        prompts: requests (rendered as chats) or `Encoded` prompts.
        sites: of `resid_pre, head_z, attn_out, mlp_out, resid_post, head_out, final_norm`;
            embeddings are (0, resid_pre).
        layers: blocks 0 to n_layers - 1 (default: all); nothing after the last one is computed.
        positions: `prompt_last`, `instruction_last`, `instruction_mean`, `template[i]` or indices.
        dtype: storage, "float32" or "bfloat16".
        batch_tokens: most tokens of one pass, padding included (default: by device and model).
        journal: finished units are kept there and not computed again.
        progress: told of finished units, in prompts.
        out: folder the values are streamed to, a unit at a time; the result then reads from disk.

    Returns: float32 (or bfloat16) values on the CPU, axes (prompt, layer, position, width).

    Raises:
        CapabilityError: the model shows no hidden states.
        ConfigError: an unknown site, layer, position or dtype.
        NumericsError: a value is not finite.

    Note: equal to an unbatched, uncached forward to 1e-4 relative in float32; deterministic for a
        given list and budget.
    """
    model.require("hidden_states")
    request = _request(model, sites, layers, positions, dtype)
    encoded = _named(encode_all(model, prompts))
    targets = [_targets(item, request.positions) for item in encoded]
    limits = [shareable(model, len(item.ids)) for item in encoded]
    sequences = [item.ids for item in encoded]
    budget = batch_tokens or token_budget(model, max(map(len, sequences), default=1))
    batches = plan_batches(sequences, budget, limits=limits)
    units = _units(model, encoded, targets, batches, request, "disk" if out else "memory")
    reader = Reader(model, encoded, targets, request, dict(zip((u.key for u in units), batches)))
    for unit in units:
        reader.places.setdefault(unit.key, []).append(list(unit.items))
    if out is not None:
        return to_disk(reader, units, journal, progress, Path(out))
    if journal is None:
        reader.whole = reader.empty(len(encoded))
    results = map_units(units, reader, journal=journal, progress=progress, label="capture")
    tensors = reader.whole or reader.empty(len(encoded))
    if journal is not None:
        for unit, result in zip(units, results):
            for site in request.sites:
                tensors[site][list(unit.items)] = result[site]
    return reader.activations(tensors)


def _request(
    model: LanguageModel,
    sites: Sequence[str],
    layers: Sequence[int] | None,
    positions: Sequence[str | int],
    dtype: str,
) -> Request:
    n_layers = model.anatomy.n_layers
    for site in sites:
        if site not in CAPTURE_SITES:
            raise ConfigError(
                f"There is no site '{site}'.", fix=f"Use one of {', '.join(CAPTURE_SITES)}."
            )
    if dtype not in DTYPES:
        raise ConfigError(
            f"Activations are not stored as '{dtype}'.",
            fix="Use float32 or bfloat16 (float16 overflows on large activations).",
        )
    chosen = sorted(set(range(n_layers) if layers is None else layers))
    if not sites or not positions or not chosen:
        raise ConfigError("At least one site, layer and position must be given.")
    if chosen[0] < 0 or chosen[-1] >= n_layers:
        wrong = next(layer for layer in chosen if not 0 <= layer < n_layers)
        raise ConfigError(
            f"There is no layer {wrong}: {model.name} has {n_layers} layers.",
            fix=f"Use 0 to {n_layers - 1}.",
        )
    for position in positions:
        check_position(position)
    return Request(tuple(dict.fromkeys(sites)), tuple(chosen), tuple(positions), dtype)


def _named(encoded: Sequence[Encoded]) -> list[Encoded]:
    """Give prompts without an id their place as one, for messages and results."""
    return [p if p.prompt_id else replace(p, prompt_id=str(i)) for i, p in enumerate(encoded)]


def _targets(encoded: Encoded, positions: Sequence[str | int]) -> tuple[Target, ...]:
    found: list[Target] = []
    for place, position in enumerate(positions):
        tokens = resolve_position(encoded, position)
        found += [(token, place, 1.0 / len(tokens)) for token in tokens]
    return tuple(found)


def _units(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    targets: Sequence[Sequence[Target]],
    batches: Sequence[Batch],
    request: Request,
    kept: str,
) -> list[Unit]:
    common = [model.fingerprint, interventions_key(model), request.sites, request.layers]
    units = []
    for batch in batches:
        rows = [(encoded[i].key, targets[i]) for i in batch.items]
        shape = [(s.start, s.stop, s.parent) for s in (*batch.segments, *batch.leaves)]
        key = content_key("capture", VERSION, kept, common, request.dtype, rows, shape)
        units.append(Unit(key, batch.items, len(batch.items)))
    return units


class Reader:
    """Computes one unit: runs its batch with taps and puts each value where it belongs."""

    def __init__(
        self,
        model: LanguageModel,
        encoded: Sequence[Encoded],
        targets: Sequence[Sequence[Target]],
        request: Request,
        batches: dict[str, Batch],
    ) -> None:
        self.model = model
        self.encoded = encoded
        self.targets = targets
        self.request = request
        self.batches = batches
        self.names = [item.prompt_id for item in encoded]
        self.places: dict[str, list[list[int]]] = {}  # units with one key are computed once
        self.whole: dict[str, torch.Tensor] | None = None
        self.taps = {
            (site, layer): model.anatomy.tap(layer, site)
            for site in dict.fromkeys("head_z" if s == "head_out" else s for s in request.sites)
            for layer in request.layers_of(site, model.anatomy.n_layers)
        }
        sequences = [item.ids for item in encoded]
        self.runner = Runner(model, sequences, names=self.names, until=self.taps)

    def shape(self, site: str) -> tuple[int, ...]:
        """Return the axes of a site after the prompt axis."""
        anatomy = self.model.anatomy
        layers = len(self.request.layers_of(site, anatomy.n_layers))
        width: tuple[int, ...] = (anatomy.d_model,)
        if site == "head_z":
            width = (anatomy.n_heads * anatomy.head_dim,)
        elif site == "head_out":
            width = (anatomy.n_heads, anatomy.d_model)
        return (layers, len(self.request.positions), *width)

    def empty(self, prompts: int) -> dict[str, torch.Tensor]:
        """Return room for all values of some prompts, in storage dtype, on the CPU."""
        dtype = DTYPES[self.request.dtype]
        return {s: torch.zeros(prompts, *self.shape(s), dtype=dtype) for s in self.request.sites}

    def __call__(self, unit: Unit) -> dict[str, Any]:
        values = self.read(self.batches[unit.key])
        if self.whole is None:
            return values
        for site, tensor in values.items():
            for items in self.places[unit.key]:
                self.whole[site][items] = tensor
        return {}

    def read(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the values of one batch, first axis in the order of `batch.items`."""
        slots = {item: slot for slot, item in enumerate(batch.items)}
        device = self.model.device
        sums = {
            site: torch.zeros(len(slots), *self.shape(site), device=device)
            for site in dict.fromkeys(site for site, _ in self.taps)
        }
        with torch.inference_mode():
            halving(batch, lambda part: self._run(part, slots, sums))
        values = {}
        for site in self.request.sites:
            tensor = self._heads(sums["head_z"]) if site == "head_out" else sums[site]
            values[site] = tensor.to("cpu", DTYPES[self.request.dtype])
        return values

    def _run(self, batch: Batch, slots: dict[int, int], sums: dict[str, torch.Tensor]) -> None:
        below = _items_below(batch)
        for tensor in sums.values():  # a halved batch writes its rows anew
            tensor[[slots[item] for item in batch.items]] = 0.0
        inside = any(
            segment.start <= token < segment.stop
            for index, segment in enumerate(batch.segments)
            for item in below[index]
            for token, _, _ in self.targets[item]
        )

        def visit(rows: Rows, segments: Sequence[Segment]) -> PassResult:
            members = [below[batch.segments.index(segment)] for segment in segments]
            return self._pass(rows, segments, members, slots, sums, keep=True)

        done = self.runner.shared(batch, visit if inside else None)
        rows = self.runner.rows(batch.leaves, done, shared=False)
        self._pass(rows, batch.leaves, batch.copies, slots, sums, keep=False)

    def _pass(
        self,
        rows: Rows,
        segments: Sequence[Segment],
        members: Sequence[Sequence[int]],
        slots: dict[int, int],
        sums: dict[str, torch.Tensor],
        *,
        keep: bool,
    ) -> PassResult:
        """Run one pass and add what it shows of each member's targets to `sums`."""
        found = [
            (row, token - segment.start, slots[item], place, weight)
            for row, (segment, items) in enumerate(zip(segments, members))
            for item in items
            for token, place, weight in self.targets[item]
            if segment.start <= token < segment.stop
        ]
        if not found:
            return run_pass(self.model, rows, taps=self.taps, sink=_ignore, keep=keep, finish=False)
        device = self.model.device
        row, column, slot, place = (
            torch.tensor([entry[i] for entry in found], device=device) for i in range(4)
        )
        weight = torch.tensor([entry[4] for entry in found], device=device)
        pieces: dict[tuple[str, int], torch.Tensor] = {}

        def sink(key: tuple[str, int], value: torch.Tensor) -> None:
            here = value[row.to(value.device), column.to(value.device)]
            pieces[key] = here.to(device, torch.float32)

        result = run_pass(
            self.model,
            rows,
            taps=self.taps,
            sink=sink,
            keep=keep,
            finish=False,
            only=self._only([entry[:2] for entry in found], len(segments)),
        )
        names = [self.names[segments[r].item] for r in row.tolist()]
        for site, total in sums.items():
            layers = self.request.layers_of(site, self.model.anatomy.n_layers)
            stacked = torch.stack([pieces[site, layer] for layer in layers], dim=1)
            if not bool(torch.isfinite(stacked.sum())):
                for at, layer in enumerate(layers):
                    require_finite(stacked[:, at], names, layer, site)
            stacked *= weight[:, None, None]
            total.permute(0, 2, 1, 3).index_put_((slot, place), stacked, accumulate=True)
        return result

    def _only(self, read: Sequence[tuple[int, int]], rows: int) -> Only | None:
        """Return the one token of each row that is read, or None where there are more."""
        places = dict(read)
        single = len(set(read)) == len(places) == rows
        last = max(layer for _, layer in self.taps)
        if not single or ("mlp_out", last) in self.taps:
            return None
        return Only(last, [places[row] for row in range(rows)])

    def _heads(self, z: torch.Tensor) -> torch.Tensor:
        """Map head_z, axes (prompt, layer, position, heads * head_dim), to what each head adds."""
        anatomy = self.model.anatomy
        outputs = []
        for at, layer in enumerate(self.request.layers):
            projection = anatomy.out_projection(layer)
            heads = z[:, at].reshape(*z.shape[:1], z.shape[2], anatomy.n_heads, anatomy.head_dim)
            weight = projection.weight.to(heads)
            added = torch.einsum("nphe,hed->nphd", heads, weight)
            outputs.append(added * projection.scale)
        return torch.stack(outputs, dim=1)

    def activations(self, tensors: dict[str, torch.Tensor]) -> Activations:
        """Return the finished result."""
        n_layers = self.model.anatomy.n_layers
        return Activations(
            tensors=tensors,
            layers={site: self.request.layers_of(site, n_layers) for site in self.request.sites},
            positions=self.request.positions,
            prompt_ids=tuple(self.names),
            prompt_keys=tuple(item.key for item in self.encoded),
            model=self.model.fingerprint,
        )


def _ignore(_key: object, _value: torch.Tensor) -> None:
    """Take part in a pass only to say where it may stop."""


def _items_below(batch: Batch) -> list[list[int]]:
    """Return, for each segment, the items that contain it."""
    below: list[list[int]] = [[] for _ in batch.segments]
    for leaf, items in zip(batch.leaves, batch.copies):
        above = leaf.parent
        while above >= 0:
            below[above].extend(items)
            above = batch.segments[above].parent
    return below
