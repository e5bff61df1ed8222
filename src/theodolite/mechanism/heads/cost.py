"""What taking heads out costs elsewhere: reading plain text, and answering plain requests.

A change that makes a model answer everything may simply have broken it. So the same heads are taken
out while it reads passages that have nothing to do with harm, and while it answers benign requests;
beside them stand random groups of as many heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, Prompt, PromptSet
from theodolite.engine import apply, generate
from theodolite.errors import ConfigError
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.asr_conditions import Condition, Groups, conditions_of
from theodolite.mechanism.heads.cost_result import CostResult
from theodolite.mechanism.heads.frames import encode_framed, resolve_frame
from theodolite.mechanism.perplexity import Nats, passage_nats, passage_pairs
from theodolite.mechanism.verdict.outcomes import MAX_NEW_TOKENS, judged
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.engine import Intervention
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress


def benign_requests() -> PromptSet:
    """Return the benign requests of the bundled test set."""
    test = bundled("refusal").split("test")
    return test.derive([prompt for prompt in test if prompt.label == BENIGN])


def ablation_cost(
    model: LanguageModel,
    groups: Groups,
    ablation: HeadAblation | None = None,
    *,
    passages: Sequence[Prompt] | None = None,
    benign: Sequence[Prompt] | None = None,
    template: str = "auto",
    random_groups: int = 5,
    max_new_tokens: int = MAX_NEW_TOKENS,
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> CostResult:
    """Measure what taking groups of heads out does to plain text and to benign requests.

    Source: the helpfulness check of arXiv:2410.13708, which uses five multiple-choice benchmarks;
    perplexity, benign answers and the random groups beside them are ours.

    Args:
        model: an open local model; interventions that are active on it act throughout.
        groups: (layer, unit) pairs by name; bare pairs are one group named after them.
        ablation: how they are taken out; None is undifferentiated attention.
        passages: plain texts for perplexity (default: ours), read outside any chat; a first token
            is scored only where the tokenizer puts one before it.
        benign: requests for the answers (default: the 48 benign ones of the bundled test set).
        template: frame of the requests, one of `frames.TEMPLATES`.
        random_groups: random groups for every size that occurs.
        max_new_tokens: of an answer; greedy.
        seed: of the random groups.

    Returns: `CostResult`; no text of any answer is in it.

    Raises:
        ConfigError: a head, name or ablation is not known, or a group differs by prompt; nothing
            was run.
        CapabilityError: the operator is defined on prompts only.
        DataError: a passage or request cannot be used.

    Note: for the intact model and every group, one pass over the passages and one answer to every
        request. The scorer of answers is validated on English only.
    """
    ablation = ablation or HeadAblation()
    texts: Sequence[Prompt] = list(bundled("passages") if passages is None else passages)
    asked: Sequence[Prompt] = list(benign_requests() if benign is None else benign)
    frame = resolve_frame(model, template)
    conditions = _conditions(model, groups, ablation, random_groups, seed)
    changes = [ablation.interventions(model.anatomy, c.of(0)) for c in conditions]
    pairs = passage_pairs(model, texts)
    encoded = encode_framed(model, asked, frame)
    nats, labels = _read_and_judged(
        *(model, changes, pairs, asked, encoded, max_new_tokens), journal=journal, progress=progress
    )
    return CostResult(
        conditions=tuple(conditions),
        nats=nats,
        tokens=np.array([len(tokens) for _, tokens in pairs]),
        labels=labels,
        passage_ids=tuple(prompt.id for prompt in texts),
        prompt_ids=tuple(prompt.id for prompt in asked),
        clusters=tuple(map(cluster_of, asked)),
        **ablation.facts,
        template=frame,
        max_new_tokens=max_new_tokens,
        model=model.name,
        dtype=str(model.dtype).removeprefix("torch."),
        vocabulary=model.anatomy.vocab_size,
        seed=seed,
    )


def _read_and_judged(
    model: LanguageModel,
    changes: Sequence[Sequence[Intervention]],
    pairs: Sequence[tuple[Encoded, tuple[int, ...]]],
    asked: Sequence[Prompt],
    encoded: Sequence[Encoded],
    max_new_tokens: int,
    *,
    journal: Journal | None,
    progress: Progress | None,
) -> tuple[Nats, tuple[tuple[str, ...], ...]]:
    """Read the passages and answer the requests under every change.

    Returns: nats, axes (change, passage), and labels of the answers, [change][request].
    """
    nats, labels = [], []
    for change in changes:
        with apply(model, *change):
            nats.append(passage_nats(model, pairs, journal=journal, progress=progress))
            written = generate(
                model, encoded, max_new_tokens=max_new_tokens, journal=journal, progress=progress
            )
        labels.append(tuple(judged(p, a.text).label for p, a in zip(asked, written, strict=True)))
    return np.array(nats), tuple(labels)


def _conditions(
    model: LanguageModel, groups: Groups, ablation: HeadAblation, random_groups: int, seed: int
) -> list[Condition]:
    """Return the intact model, the groups and random groups; all of them fit every text."""
    if random_groups < 0:
        raise ConfigError(f"random_groups is {random_groups}.", fix="Give 0 or more.")
    if isinstance(groups, Mapping):
        for name, group in groups.items():
            if any(not isinstance(head[0], Integral) for head in group):
                raise ConfigError(
                    f"The group '{escape(name, 60)}' has other heads for every prompt, and plain "
                    "texts have none of their own.",
                    fix="Give one list of heads for all.",
                )
    return conditions_of(
        model.anatomy, groups, ablation, prompts=1, random_groups=random_groups, seed=seed
    )
