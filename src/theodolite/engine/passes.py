"""The forward primitive: rows of tokens on a branched past, read by taps, stopped when done.

Rows are padded at the right: in a causal model the padding comes after everything that is read, so
no mask is needed, and the Hugging Face decoder runs as it is. A pass ends at its last wanted value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from theodolite.engine.kv import KV, Branch, BranchLayer, DecodeState, Past, branch, cache_of
from theodolite.engine.trie import Tokens
from theodolite.models.taps import read

if TYPE_CHECKING:
    from theodolite.engine.variants import RowVariants

# Packing costs a copy each way; below this share of padding it does not pay.
PADDING_WORTH_PACKING = 0.02
# Prompt length of a shared segment: all its positions lie before any prompt's last one.
WITHIN_PROMPT = 1 << 40


@dataclass(frozen=True)
class PassContext:
    """What the running pass computes; interventions resolve their positions with it.

    Args:
        positions: absolute position of each token, -1 for padding; long, axes (row, position).
        prompt_lengths: tokens of the prompt each row belongs to; long, axes (row).
        variants: of the rows; None where the active interventions act on all rows alike.
    """

    positions: torch.Tensor
    prompt_lengths: torch.Tensor
    variants: RowVariants | None = None


current_pass: ContextVar[PassContext | None] = ContextVar("current_pass", default=None)


class _Done(Exception):
    """Raised inside a forward when everything wanted has been read."""


@dataclass(frozen=True)
class Rows:
    """Tokens of one pass.

    Args:
        tokens: new tokens of each row.
        past: where each row's past comes from, None at position 0.
        prompt_lengths: tokens of each row's prompt.
        variants: of the rows, where they differ in what acts on them.
    """

    tokens: Sequence[Tokens]
    past: Sequence[Branch | None]
    prompt_lengths: Sequence[int]
    variants: RowVariants | None = None

    @property
    def starts(self) -> list[int]:
        """Absolute position of each row's first new token."""
        return [0 if source is None else source.length for source in self.past]


@dataclass
class PassResult:
    """What a pass leaves behind.

    Args:
        hidden: output of the final norm, axes (row, position, d_model); None if it stopped before.
        kv: keys and values, None unless they were asked for.
    """

    hidden: torch.Tensor | None
    kv: KV | None


@dataclass(frozen=True)
class Only:
    """The one token of each row that anything after a block will read.

    Args:
        layer: the last block computed.
        columns: place of the token in each row of the pass.
    """

    layer: int
    columns: Sequence[int]


Sink = Callable[[Any, torch.Tensor], None]


def run_pass(
    model: Any,
    rows: Rows,
    *,
    taps: Mapping[Any, Any] | None = None,
    sink: Sink | None = None,
    keep: bool = False,
    finish: bool = True,
    only: Only | None = None,
) -> PassResult:
    """Run rows of tokens through the decoder on their past.

    Args:
        model: an open LanguageModel.
        rows: new tokens and their past.
        taps: key -> Tap to read.
        sink: called with (key, tensor (row, position, width)) for every tap.
        keep: return keys and values for later branching.
        finish: run to the final norm; False stops as soon as every tap was read.
        only: the one token of each row that is read after a block; spares its MLP the others.

    Returns: the final hidden states where `finish`, and the KV where `keep`.
    """
    lengths = [len(tokens) for tokens in rows.tokens]
    past = branch(rows.past)
    inputs = _inputs(model, rows, lengths, past)
    layers = _layers(model, past, keep)
    if layers is not None:
        inputs["past_key_values"] = cache_of(layers)
    context = _context(inputs.pop("positions"), lengths, rows)
    hidden = None
    # The pass may end by raising `_Done` from a tap.
    reading = _reading(taps or {}, sink, stop=not finish)
    own = rows.variants.of.interventions if rows.variants is not None else ()
    spared = _spared(model, lengths, only, (*model.interventions, *own))
    with model.lock, published(context), spared, reading, suppress(_Done):
        hidden = decode(model, inputs, use_cache=layers is not None)
    if not keep or layers is None:
        return PassResult(hidden, None)
    width = past.width if past is not None else 0
    before = past.lengths if past is not None else [0] * len(lengths)
    kept = {i: layer.kept for i, layer in enumerate(layers) if layer.kept is not None}
    starts = [width - length for length in before]
    return PassResult(hidden, KV(kept, starts, [a + b for a, b in zip(before, lengths)]))


def decode(model: Any, inputs: dict[str, Any], *, use_cache: bool) -> torch.Tensor:
    """Call the Hugging Face decoder and return the final hidden states (row, position, d_model)."""
    output = model.anatomy.decoder(**inputs, use_cache=use_cache, return_dict=True)
    return output.last_hidden_state  # type: ignore[no-any-return]


def takes_position_ids(model: Any) -> bool:
    """Whether the decoder's forward accepts `position_ids` (BLOOM, for one, does not)."""
    return "position_ids" in inspect.signature(model.anatomy.decoder.forward).parameters


def step(
    model: Any,
    state: DecodeState,
    tokens: torch.Tensor,
    prompts: torch.Tensor,
    variants: RowVariants | None = None,
) -> torch.Tensor:
    """Decode one token per row and return final hidden states (row, d_model).

    Args:
        model: an open LanguageModel.
        state: keys and values of the rows; grows by one slot.
        tokens: the last token of each row, long, axes (row).
        prompts: prompt lengths, long, axes (row).
        variants: of the rows, where they differ in what acts on them.
    """
    device = tokens.device
    positions = torch.tensor(state.lengths, device=device)[:, None]
    inputs: dict[str, Any] = {"input_ids": tokens[:, None], "past_key_values": state.cache}
    if takes_position_ids(model):
        inputs["position_ids"] = positions
    if any(state.padding):
        slots = torch.arange(state.cache.get_seq_length() + 1, device=device)
        padding = torch.tensor(state.padding, device=device)[:, None]
        inputs["attention_mask"] = (slots >= padding).long()
    state.lengths = [length + 1 for length in state.lengths]
    with model.lock, published(PassContext(positions, prompts, variants)):
        return decode(model, inputs, use_cache=True)[:, -1]


@contextmanager
def published(context: PassContext) -> Iterator[None]:
    """Make a pass known to the interventions' hooks while it runs."""
    token = current_pass.set(context)
    try:
        yield
    finally:
        current_pass.reset(token)


@contextmanager
def _reading(taps: Mapping[Any, Any], sink: Sink | None, *, stop: bool) -> Iterator[None]:
    if not taps or sink is None:
        yield
        return
    missing = set(taps)

    def receive(key: Hashable, value: torch.Tensor) -> None:
        sink(key, value)
        missing.discard(key)
        if stop and not missing:
            raise _Done

    with read(taps, receive):
        yield


@contextmanager
def _spared(
    model: Any, lengths: Sequence[int], only: Only | None, acting: Sequence[Any]
) -> Iterator[None]:
    """Spare the MLPs, three quarters of the work, the tokens that nothing will read.

    An MLP works token by token, so it is given the rows without their padding, and in the last
    block only the tokens that are read. Left alone where the family folds positions away, adds in
    place, or norms the MLP's output before it is added; the last block is left whole where
    interventions come after its MLP.
    """
    row = model.anatomy.row
    if row.mlp_in_place or row.mlp_folded or row.mlp != "mlp":
        yield
        return
    last = only.layer if only is not None else len(model.anatomy.blocks)
    padding = 1 - sum(lengths) / (len(lengths) * max(lengths))
    with ExitStack() as hooks:
        if padding > PADDING_WORTH_PACKING:
            places = _places(lengths, model.device)
            for block in model.anatomy.blocks[:last]:
                _pack(hooks, block.get_submodule(row.mlp), places)
        if only is not None and not any(_late(item, last) for item in acting):
            _narrow(hooks, model.anatomy.blocks[last].get_submodule(row.mlp), only.columns)
        yield


def _late(intervention: Any, layer: int) -> bool:
    """Whether an intervention sees what the MLP of a block puts out."""
    return intervention.layer == layer and intervention.at in ("mlp_out", "resid_post")


def _places(lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return the flat indices, into (row * position), of the tokens that are no padding."""
    columns = torch.arange(max(lengths))
    real = columns < torch.tensor(lengths)[:, None]
    return real.flatten().nonzero()[:, 0].to(device)


def _pack(hooks: ExitStack, mlp: Any, places: torch.Tensor) -> None:
    """Let an MLP see its tokens packed, axes (1, token, d_model), and put its output back."""
    shape: list[int] = []

    def pack(hidden: torch.Tensor) -> torch.Tensor:
        shape[:] = hidden.shape
        return hidden.flatten(0, 1)[places][None]

    def unpack(_module: Any, _args: Any, output: Any) -> Any:
        packed = output[0] if isinstance(output, tuple) else output
        whole = packed.new_zeros(shape[0] * shape[1], shape[2])
        whole[places] = packed[0]
        whole = whole.view(shape)
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    _before(hooks, mlp, pack)
    # First of all hooks, so that whoever reads or changes the output sees rows and positions.
    hooks.callback(mlp.register_forward_hook(unpack, prepend=True).remove)


def _narrow(hooks: ExitStack, mlp: Any, columns: Sequence[int]) -> None:
    """Let an MLP see one token per row.

    Its output has one position per row, which the addition to the stream spreads over all of them:
    right at the token that is read, meaningless elsewhere.
    """
    rows = list(range(len(columns)))
    _before(hooks, mlp, lambda hidden: hidden[rows, list(columns)][:, None])


def _before(hooks: ExitStack, module: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change what a module reads, whether it comes by position or by name."""

    def visit(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    hooks.callback(module.register_forward_pre_hook(visit, with_kwargs=True).remove)


def _layers(model: Any, past: Past | None, keep: bool) -> list[BranchLayer] | None:
    """Return cache layers, or None where neither past nor future needs any."""
    if past is None and not keep:
        return None
    width = past.width if past is not None else 0
    old = past.layers if past is not None else {}
    return [BranchLayer(old.get(i), width, keep) for i in range(len(model.anatomy.blocks))]


def _inputs(model: Any, rows: Rows, lengths: Sequence[int], past: Past | None) -> dict[str, Any]:
    """Return ids, positions and, where rows' pasts differ in length, the mask."""
    widest = max(lengths)
    ids = torch.zeros(len(lengths), widest, dtype=torch.long)
    for row, tokens in enumerate(rows.tokens):
        ids[row, : len(tokens)] = torch.as_tensor(tokens, dtype=torch.long)
    starts = torch.tensor(rows.starts)[:, None]
    ends = starts + torch.tensor(lengths)[:, None]
    # Padding repeats the row's last position: learned position tables may have no row beyond it.
    positions = torch.minimum(starts + torch.arange(widest), ends - 1)
    device = model.device
    inputs: dict[str, Any] = {"input_ids": ids.to(device), "positions": positions.to(device)}
    if past is None:
        return inputs
    if takes_position_ids(model):
        inputs["position_ids"] = inputs["positions"]
    if past.padded:
        slots = torch.arange(past.width + widest)
        first = past.width - torch.tensor(past.lengths)[:, None]
        last = past.width + torch.tensor(lengths)[:, None]
        inputs["attention_mask"] = ((slots >= first) & (slots < last)).long().to(device)
    return inputs


def _context(positions: torch.Tensor, lengths: Sequence[int], rows: Rows) -> PassContext:
    device = positions.device
    columns = torch.arange(positions.shape[1], device=device)
    valid = columns < torch.tensor(lengths, device=device)[:, None]
    known = positions.masked_fill(~valid, -1)
    return PassContext(known, torch.tensor(rows.prompt_lengths, device=device), rows.variants)
