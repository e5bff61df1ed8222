"""Whose doing is it: trace a direction of the stream back to tokens, or to earlier directions.

A pass stops at the targets' depth; the blocks above are never run. One forward pass serves all
targets, and one backward pass down to a depth serves every earlier direction there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from theodolite.data.prompts import Prompt, shown
from theodolite.engine.budget import SHARE, bytes_per_token, memory_left
from theodolite.engine.interventions import interventions_key
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.runner import halving
from theodolite.errors import ConfigError, DataError
from theodolite.execution import Unit, map_units
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.relevance.backward import (
    Rules,
    check_rules,
    prove_rules,
    relevance_rules,
)
from theodolite.mechanism.relevance.decomposition import by_parts
from theodolite.mechanism.relevance.exact import by_leaving_out
from theodolite.mechanism.relevance.gradients import by_gradients
from theodolite.mechanism.relevance.lrp import by_rules
from theodolite.mechanism.relevance.query import Query, make_query, token_groups
from theodolite.mechanism.relevance.result import PromptTokens, Relevance
from theodolite.mechanism.relevance.spans import token_spans, word_numbers
from theodolite.mechanism.states import encode_for_states, resolve_template
from theodolite.text.hashing import content_key
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION = 1
Backend = Literal["lrp", "decomposition", "integrated_gradients", "leave_one_out"]
BACKENDS = ("lrp", "decomposition", "integrated_gradients", "leave_one_out")
# Wider batches gain nothing on a CPU: all targets of a few prompts fill its caches.
CPU_TOKENS = 192
GPU_TOKENS = 8192
Explain = Callable[["LanguageModel", Query, Sequence["Encoded"]], dict[str, Tensor]]


def relevance(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    targets: Sequence[Direction],
    *,
    to: str | Sequence[Direction] = "tokens",
    rules: Rules = "attnlrp",
    backend: Backend = "lrp",
    position: str | int = "prompt_last",
    template: str = "auto",
    span: bool = False,
    boundaries: Sequence[int] = (),
    normalize: Literal["prompt"] | None = None,
    force: bool = False,
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Relevance:
    """Trace the components of prompts' streams along directions back to what they come from.

    Source: arXiv:2502.09674, section on partial relevance; rules of arXiv:2402.05602. Ours: scores
    keep their sign, relevance of every position is kept, and what the sum loses is reported.

    Args:
        model: an open local model.
        prompts: with different ids.
        targets: directions at one hidden_index, 1 to n_layers.
        to: "tokens", or directions of one smaller hidden_index.
        rules: of the back end lrp: "attnlrp", or "cplrp", which keeps the sum.
        backend: "lrp"; "decomposition" (parts carried forward, no backward pass);
            "integrated_gradients"; "leave_one_out" (exact, one pass per token or direction).
        position: where the stream is read; see `models.positions`.
        template: "chat", "none" or "auto".
        span: explain the length of the projection on the targets' span instead of each target.
        boundaries: depths at which the sum is checked besides the source; back end lrp.
        normalize: "prompt" divides what a prompt has by its score.
        force: also take directions of another model of the same width: those of a trained model in
            the one it was trained from, say.
        journal, progress: of finished units, in prompts; the work can be stopped and resumed.
        seed: of the resamples behind intervals.

    Returns: relevance by token occurrence, or by earlier direction and group of positions.

    Raises:
        CapabilityError: the model has no rules, or does not keep them (see `relevance_rules`).
        ConfigError: an unknown option, or depths that do not fit.
        DataError: no prompts, ids that occur twice, or directions of another model without `force`.
        NumericsError: the stream is not finite.

    Note: back end lrp costs one forward pass and one batched backward pass to the targets' depth.
        Deterministic for a list of prompts and a machine.
    """
    model.require("hidden_states")
    _check(prompts, rules, backend, boundaries, normalize)
    query = make_query(
        *(model, targets, to), span=span, position=position, boundaries=boundaries, force=force
    )
    encoded = encode_for_states(model, prompts, template=template)
    found = Relevance(
        targets=("span",) if span else tuple(target.name for target in targets),
        sources=() if isinstance(to, str) else tuple(source.name for source in to),
        normalize=None,
        template=resolve_template(model, template),
        seed=seed,
        **_read(model, prompts, encoded, position),
        **_explained(model, query, encoded, backend, rules, journal, progress),
    )
    return found.per_prompt() if normalize == "prompt" else found


def _check(
    prompts: Sequence[Prompt],
    rules: str,
    backend: str,
    boundaries: Sequence[int],
    normalize: str | None,
) -> None:
    check_rules(rules)
    if backend not in BACKENDS:
        raise ConfigError(
            f"There is no back end {shown(backend)}.", fix=did_you_mean(backend, BACKENDS)
        )
    if boundaries and backend != "lrp":
        raise ConfigError(
            f"The back end {backend} has no sums on the way.",
            fix="Leave boundaries out, or use the back end lrp.",
        )
    if normalize not in (None, "prompt"):
        raise ConfigError(
            f"Relevance is not normalised by {shown(str(normalize))}.", fix='Use "prompt" or None.'
        )
    if not prompts:
        raise DataError("There are no prompts to explain.", fix="Give at least one.")
    ids = [prompt.id for prompt in prompts]
    twice = next((i for i in ids if ids.count(i) > 1), None) if len(set(ids)) < len(ids) else None
    if twice is not None:
        raise DataError(
            f"The prompt id {shown(twice)} occurs twice.", fix="Give every prompt its own id."
        )


def _read(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    encoded: Sequence[Encoded],
    position: str | int,
) -> dict[str, Any]:
    """Return what a result says of its prompts and of the model that read them."""
    return {
        "position": position,
        "prompt_ids": tuple(prompt.id for prompt in prompts),
        "goals": tuple(prompt.goal_id or prompt.id for prompt in prompts),
        "prompts": tuple(_tokens(model, item, position) for item in encoded),
        "model": model.name,
        "fingerprint": model.fingerprint,
    }


def _explained(
    model: LanguageModel,
    query: Query,
    encoded: Sequence[Encoded],
    backend: Backend,
    rules: Rules,
    journal: Journal | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Return what a result says of its tables, and how and how deep they were traced.

    The tables come from planned units or from the journal.
    """
    in_force = rules if backend == "lrp" else ""  # only lrp goes by any
    units, batches = _planned(model, query, encoded, (backend, in_force))
    with _explaining(model, query, backend, rules) as explain:
        work = _Work(model, query, encoded, batches, explain)
        results = map_units(units, work, journal=journal, progress=progress, label="relevance")
    return _joined(units, results, encoded) | {
        "hidden_index": query.hidden_index,
        "boundaries": query.boundaries,
        "backend": backend,
        "rules": in_force,
    }


def _planned(
    model: LanguageModel, query: Query, encoded: Sequence[Encoded], how: tuple[str, str]
) -> tuple[list[Unit], dict[str, Batch]]:
    sequences = [prompt.ids for prompt in encoded]
    kinds = [(prompt.instruction, prompt.template) for prompt in encoded]
    budget = _token_budget(model, query, max(map(len, sequences)))
    batches = plan_batches(sequences, budget, share=False, kinds=kinds)
    common = [VERSION, model.fingerprint, interventions_key(model), query.key, how]
    units = []
    for batch in batches:
        rows = [(encoded[i].key, *kinds[i]) for i in batch.items]
        units.append(Unit(content_key("relevance", common, rows), batch.items, len(batch.items)))
    return units, {unit.key: batch for unit, batch in zip(units, batches, strict=True)}


def _token_budget(model: LanguageModel, query: Query, longest: int) -> int:
    """Return the most tokens of one pass, whose blocks keep what their backward pass needs."""
    budget = CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS
    each = 2 * bytes_per_token(model) * (query.hidden_index + query.n_targets)
    while budget > max(longest, 16) and budget * each > memory_left(model) * SHARE:
        budget //= 2
    return budget


@contextmanager
def _explaining(
    model: LanguageModel, query: Query, backend: Backend, rules: Rules
) -> Iterator[Explain]:
    """Give the function that explains a batch, with the model made ready for it."""
    if backend == "lrp":
        with relevance_rules(model, rules):
            yield by_rules
    elif backend == "decomposition":
        yield partial(by_parts, proven=prove_rules(model, "cplrp"))
    else:
        yield by_gradients if backend == "integrated_gradients" else by_leaving_out


@dataclass(frozen=True, eq=False)
class _Work:
    """Explains the prompts of a planned batch."""

    model: LanguageModel
    query: Query
    encoded: Sequence[Encoded]
    batches: dict[str, Batch]
    explain: Explain

    def __call__(self, unit: Unit) -> dict[str, Any]:
        """Return the tables of one batch; tokens of all prompts one after the other."""
        found: dict[int, dict[str, np.ndarray]] = {}
        halving(self.batches[unit.key], partial(self._run, found=found))
        rows = [found[item] for item in unit.items]
        tables: dict[str, Any] = {
            name: np.stack([row[name] for row in rows]) for name in rows[0] if name != "tokens"
        }
        if "tokens" in rows[0]:
            tables["tokens"] = np.concatenate([row["tokens"] for row in rows])
        return tables

    def _run(self, batch: Batch, found: dict[int, dict[str, np.ndarray]]) -> None:
        items = [leaf.item for leaf in batch.leaves]
        prompts = [self.encoded[item] for item in items]
        with self.model.lock:
            tables = self.explain(self.model, self.query, prompts)
        for row, (prompt, copies) in enumerate(zip(prompts, batch.copies, strict=True)):
            own = {name: table[row].to("cpu").numpy() for name, table in tables.items()}
            if "tokens" in own:
                own["tokens"] = own["tokens"][: len(prompt)]
            found.update(dict.fromkeys(copies, own))


def _joined(
    units: Sequence[Unit], results: Sequence[dict[str, Any]], encoded: Sequence[Encoded]
) -> dict[str, Any]:
    """Return the tables of all prompts, in their order."""
    rows: dict[int, dict[str, np.ndarray]] = {}
    for unit, result in zip(units, results, strict=True):
        tables = {name: np.asarray(torch.as_tensor(value)) for name, value in result.items()}
        ends = np.cumsum([len(encoded[item]) for item in unit.items])
        for place, item in enumerate(unit.items):
            rows[item] = {n: t[place] for n, t in tables.items() if n != "tokens"}
            if "tokens" in tables:
                rows[item]["tokens"] = tables["tokens"][
                    ends[place] - len(encoded[item]) : ends[place]
                ]
    ordered = [rows[item] for item in range(len(encoded))]
    joined: dict[str, Any] = dict.fromkeys(("parts", "rest", "tokens"))
    for name in ordered[0]:
        pieces = [row[name] for row in ordered]
        joined[name] = np.concatenate(pieces) if name == "tokens" else np.stack(pieces)
    return joined


def _tokens(model: LanguageModel, prompt: Encoded, position: str | int) -> PromptTokens:
    spans = token_spans(model, prompt)
    return PromptTokens(
        text=prompt.text,
        ids=np.array(prompt.ids, np.int64),
        spans=np.array(spans, np.int64).reshape(-1, 2),
        words=word_numbers(prompt, spans),
        groups=token_groups(prompt, position),
    )
