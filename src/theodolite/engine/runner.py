"""Planned batches, level by level: shared segments first, then the rows that hang below them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from theodolite.engine.kv import KV, Branch
from theodolite.engine.passes import WITHIN_PROMPT, PassResult, Rows, run_pass
from theodolite.engine.plan import Batch
from theodolite.engine.trie import Segment, Tokens
from theodolite.errors import NumericsError
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.engine.variants import RowVariants


class Runner:
    """Runs planned batches of one list of sequences, keeping the KV of prefixes many batches share.

    Args:
        model: an open LanguageModel.
        sequences: token ids of all planned sequences.
        prompt_lengths: for each sequence how many of its tokens are prompt (default: all).
        names: for each sequence the id errors show.
        until: taps after which nothing needs computing (default: run to the final norm).
        variants: of the sequences, where they differ in what acts on them.

    Note: `before` says for sequences whose plan does not begin at their first token where the keys
        and values of the tokens before it lie. `tokens_read` counts what went through the model in
        `shared` and `last_logits`, padding left out.
    """

    def __init__(
        self,
        model: Any,
        sequences: Sequence[Tokens],
        *,
        prompt_lengths: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        until: Mapping[Any, Any] | None = None,
        variants: RowVariants | None = None,
    ) -> None:
        self.model = model
        self.sequences = sequences
        self.prompt_lengths = prompt_lengths or [len(s) for s in sequences]
        self.names = names or [str(i) for i in range(len(sequences))]
        self.until = until or {}
        self.variants = variants
        self.before: Mapping[int, Branch] = {}
        self.tokens_read = 0
        self._kept: dict[tuple[tuple[int, ...], ...], KV] = {}

    def variants_of(self, items: Sequence[int]) -> RowVariants | None:
        """Return the variants of some of the sequences, None where there are none."""
        return None if self.variants is None else self.variants.select(items)

    def rows(
        self, segments: Sequence[Segment], done: Mapping[int, Branch], *, shared: bool
    ) -> Rows:
        """Return the pass that computes these segments below those already done."""
        return Rows(
            [self.sequences[s.item][s.start : s.stop] for s in segments],
            [done[s.parent] if s.parent >= 0 else self.before.get(s.item) for s in segments],
            [WITHIN_PROMPT if shared else self.prompt_lengths[s.item] for s in segments],
            self.variants_of([s.item for s in segments]),
        )

    def shared(
        self,
        batch: Batch,
        visit: Callable[[Rows, Sequence[Segment]], PassResult] | None = None,
    ) -> dict[int, Branch]:
        """Compute the shared segments of a batch, level by level.

        Args:
            batch: the planned batch.
            visit: runs a pass that also reads taps; None runs it plainly and may reuse kept KV.

        Returns: segment index -> where its KV lies.
        """
        done: dict[int, Branch] = {}
        for level in batch.levels():
            segments = [batch.segments[i] for i in level]
            rows = self.rows(segments, done, shared=True)
            alone = visit is None and len(segments) == 1 and rows.past[0] is None
            ids = rows.variants.ids if rows.variants is not None else ()
            key = (tuple(rows.tokens[0]), ids) if alone else ()
            kv = self._kept.get(key) if alone else None
            if kv is None:
                self.tokens_read += sum(map(len, rows.tokens))
                if visit is None:
                    kv = self._plainly(rows).kv
                else:
                    kv = visit(rows, segments).kv
            assert kv is not None  # noqa: S101 - passes run with keep=True return their KV
            if alone:
                self._kept = {key: kv}
            done.update({index: Branch(kv, row) for row, index in enumerate(level)})
        return done

    def forget(self) -> None:
        """Let go of keys and values kept for batches to come."""
        self._kept = {}

    def _plainly(self, rows: Rows) -> PassResult:
        """Compute keys and values alone, as deep as they will be needed."""
        if not self.until:
            return run_pass(self.model, rows, keep=True)
        return run_pass(
            self.model, rows, taps=self.until, sink=lambda *_: None, keep=True, finish=False
        )


def halving(batch: Batch, run: Callable[[Batch], None]) -> None:
    """Run a batch; when a GPU runs out of memory, run its halves instead, down to single rows."""
    try:
        run(batch)
    except torch.cuda.OutOfMemoryError:
        if len(batch.leaves) < 2:
            raise
        torch.cuda.empty_cache()
        for half in batch.halves():
            halving(half, run)


def require_finite(
    values: torch.Tensor, names: Sequence[str], layer: int | None, site: str
) -> None:
    """Refuse NaN and infinity.

    Args:
        values: axes (row, ...).
        names: the prompt id of each row.
        layer: block the values come from, None for the logits.
        site: what they are, for the message.

    Raises:
        NumericsError: naming the layer and the first prompt with a value that is not finite.
    """
    if bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all()):
        return
    row = int((~torch.isfinite(values.flatten(1)).all(dim=1)).nonzero()[0])
    where = f"in layer {layer} ({site})" if layer is not None else f"in the {site}"
    raise NumericsError(
        f"The forward pass gave a value that is not finite {where} for prompt "
        f"'{escape(names[row], 80)}'.",
        fix="Use dtype bfloat16 or float32, and check the adapter and the interventions.",
    )


def require_finite_logits(
    runner: Runner,
    logits: torch.Tensor,
    items: Sequence[int],
    written: Sequence[Sequence[int]] | None = None,
) -> None:
    """Refuse logits with NaN or infinity, naming the first layer whose output is not finite.

    Args:
        runner: what computed them.
        logits: axes (row, vocab).
        items: the sequence each row belongs to.
        written: tokens each row has written after its sequence.

    Raises:
        NumericsError: naming layer and prompt.
    """
    # One sum is cheap; only a suspicious one is looked at closely (masked tokens may be -inf).
    if bool(torch.isfinite(logits.sum())) or bool(torch.isfinite(logits).all()):
        return
    row = int((~torch.isfinite(logits)).any(dim=1).nonzero()[0])
    item = items[row]
    name = [runner.names[item]]
    anatomy = runner.model.anatomy
    tokens = (*runner.sequences[item], *(written[row] if written else ()))
    run_pass(
        runner.model,
        Rows([tokens], [None], [runner.prompt_lengths[item]], runner.variants_of([item])),
        taps={layer: anatomy.tap(layer, "resid_post") for layer in range(anatomy.n_layers)},
        sink=lambda layer, value: require_finite(value, name, layer, "resid_post"),
    )
    require_finite(logits[row : row + 1], name, None, "final norm or the logits")
