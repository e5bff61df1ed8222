"""What an edit costs where nothing is wrong: benign answers drift, and plain text reads worse.

Drift is KL(no edit || edit) of the next token along the model's own greedy answers to benign
prompts, which are held fixed: an edit is asked what it would have said at every step of the same
answer. Logits are taken as they come, before anything that rules tokens out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from theodolite.data.bundled import bundled
from theodolite.engine import apply, generate
from theodolite.engine.budget import token_budget
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.passes import run_pass
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.runner import Runner, halving
from theodolite.errors import ConfigError, DataError, NumericsError
from theodolite.execution import Unit, map_units
from theodolite.mechanism.distributions import divergence
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.mechanism.perplexity import passage_nats, passage_pairs
from theodolite.mechanism.states import encode_for_states
from theodolite.mechanism.steering.drift_result import DriftResult
from theodolite.mechanism.steering.settings import settings_of
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.engine import Intervention
    from theodolite.mechanism.steering.benign import BenignStates
    from theodolite.mechanism.steering.edits import Edit
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION: Final = 1
POSITIONS: Final = 32
# Logits of this many tokens are in memory at once.
_LOGIT_TOKENS: Final = 128


def edit_drift(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    edits: Sequence[Edit],
    *,
    benign: BenignStates | None = None,
    passages: Sequence[Prompt] | None = None,
    positions: int = POSITIONS,
    random_draws: int = 5,
    template: str = "auto",
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> DriftResult:
    """Measure what edits do to benign answers and to plain text.

    Source: the drift of arXiv:2406.11717 (there at the first token) along the first tokens of the
        answer; perplexity is on short passages of ours. Intervals and random edits are ours.

    Args:
        model: an open local model; active interventions act under every edit and without one.
        prompts: benign requests that no edit was made from.
        edits: of different names.
        benign: states for the edits that go back to them, see `BenignStates.read`.
        passages: plain texts (default: ours), read outside any chat; their first token counts as
            the prompt, all others as generated.
        positions: most answer tokens of a prompt.
        random_draws: random edits beside all that do the same along other directions, as a floor.
        template: how prompts are rendered, as for `read_states`.
        batch_tokens: most tokens of one pass (default: by device and memory).
        journal, progress: of finished units; the work can be stopped and resumed.
        seed: of the random directions.

    Raises:
        ConfigError: an edit does not fit, two share a name, or positions is below 1.
        DataError: no prompts, or their answers have fewer than 32 tokens in all.
        NumericsError: a divergence is not a number.

    Note: for every setting one pass over prompts with their answers and one over the passages.
    """
    _check(model, prompts, positions)
    settings, variants = settings_of(model.anatomy, edits, benign, random_draws, seed)
    texts = list(bundled("passages") if passages is None else passages)
    pairs = passage_pairs(model, texts)
    encoded = encode_for_states(model, prompts, template=template)
    answers = _own_answers(model, encoded, positions, journal, progress)
    work = _Answers(model, encoded, answers, variants, batch_tokens)
    units = [Unit(work.key(i), (i,), len(encoded)) for i in range(len(variants))]
    found = map_units(units, work, journal=journal, progress=progress, label="drift")
    nats = []
    for items in ([], *variants):
        with apply(model, *items):
            nats.append(passage_nats(model, pairs, journal=journal, progress=progress))
    return DriftResult(
        settings=settings,
        kl=np.stack([np.asarray(result["kl"]) for result in found]),
        nats=np.stack(nats[1:]),
        intact_nats=nats[0],
        tokens=np.array([len(rest) for _, rest in pairs]),
        prompt_ids=tuple(prompt.id for prompt in prompts),
        clusters=tuple(map(cluster_of, prompts)),
        passage_ids=tuple(prompt.id for prompt in texts),
        positions=positions,
        model=model.name,
        vocabulary=model.anatomy.vocab_size,
        seed=seed,
    )


def _check(model: LanguageModel, prompts: Sequence[Prompt], positions: int) -> None:
    model.require("text", "logprobs", "interventions")
    if positions < 1:
        raise ConfigError(f"positions is {positions}.", fix="Give 1 or more.")
    if not prompts:
        raise DataError("There are no prompts.", fix="Give at least one benign request.")


def _own_answers(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    positions: int,
    journal: Journal | None,
    progress: Progress | None,
) -> list[tuple[int, ...]]:
    """Return the tokens of the model's own greedy answers, which are held fixed from here on.

    Raises: DataError: they are too short in all.
    """
    written = generate(model, encoded, max_new_tokens=positions, journal=journal, progress=progress)
    answers = [answer.token_ids for answer in written]
    total = sum(map(len, answers))
    if total < POSITIONS:
        raise DataError(
            f"The answers have {total} tokens in all, and drift needs {POSITIONS}.",
            fix="Give more prompts.",
        )
    return answers


class _Answers:
    """Reads next-token distributions along fixed answers, with an edit and without."""

    def __init__(
        self,
        model: LanguageModel,
        encoded: Sequence[Encoded],
        answers: Sequence[tuple[int, ...]],
        variants: Sequence[Sequence[Intervention]],
        batch_tokens: int | None,
    ) -> None:
        self.model = model
        self.encoded = encoded
        self.answers = answers
        self.variants = variants
        self.widest = max(map(len, answers))
        # What follows the last token of an answer is not part of it.
        self.sequences = [
            (*e.ids, *answer[:-1]) for e, answer in zip(encoded, answers, strict=True)
        ]
        self.budget = batch_tokens or token_budget(model, max(map(len, self.sequences)))
        self.names = [item.prompt_id or str(i) for i, item in enumerate(encoded)]
        self._intact: torch.Tensor | None = None

    def key(self, setting: int) -> str:
        """Return the content key of a unit."""
        common = [self.model.fingerprint, interventions_key(self.model), self.budget]
        prompts = [[e.key, a] for e, a in zip(self.encoded, self.answers, strict=True)]
        acting = [item.key for item in self.variants[setting]]
        return content_key("drift", VERSION, common, prompts, acting)

    def __call__(self, unit: Unit) -> dict[str, Any]:
        with torch.inference_mode():
            if self._intact is None:
                self._intact = self._finals()
            with apply(self.model, *self.variants[unit.items[0]]):
                changed = self._finals()
            return {"kl": self._divergences(self._intact, changed).cpu().numpy()}

    def _finals(self) -> torch.Tensor:
        """Return final hidden states along the answers, axes (prompt, position, d_model)."""
        model, count = self.model, len(self.encoded)
        found = torch.zeros(
            count, self.widest, model.anatomy.d_model, dtype=model.dtype, device=model.device
        )
        lengths = [len(item.ids) for item in self.encoded]
        runner = Runner(model, self.sequences, prompt_lengths=lengths, names=self.names)

        def run(batch: Batch) -> None:
            done = runner.shared(batch)
            hidden = run_pass(model, runner.rows(batch.leaves, done, shared=False)).hidden
            assert hidden is not None  # noqa: S101 - the pass ran to its end
            for row, (leaf, copies) in enumerate(zip(batch.leaves, batch.copies, strict=True)):
                begin = lengths[leaf.item] - 1 - leaf.start
                size = len(self.answers[leaf.item])
                found[list(copies), :size] = hidden[row, begin : begin + size]

        limits = [shareable(model, length) for length in lengths]
        for batch in plan_batches(
            self.sequences, self.budget, limits=limits, kinds=[*zip(lengths, self.answers)]
        ):
            halving(batch, run)
        return found

    def _divergences(self, intact: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
        """Return KL(intact || changed), axes (prompt, position); NaN beyond an answer's end."""
        found = torch.full(intact.shape[:2], float("nan"), dtype=torch.float64)
        places = [(row, at) for row, a in enumerate(self.answers) for at in range(len(a))]
        for begin in range(0, len(places), _LOGIT_TOKENS):
            chunk = tuple(torch.tensor(places[begin : begin + _LOGIT_TOKENS]).T)
            before, after = (self._logprobs(side[chunk]) for side in (intact, changed))
            found[chunk] = divergence(before, after).cpu()
        for row, answer in enumerate(self.answers):
            if not bool(torch.isfinite(found[row, : len(answer)]).all()):
                raise NumericsError(
                    f"The divergence along the answer to '{escape(self.names[row], 80)}' is not a "
                    "finite number.",
                    fix="Use dtype bfloat16 or float32, and weaker edits.",
                )
        return found

    def _logprobs(self, final: torch.Tensor) -> torch.Tensor:
        logits = self.model.anatomy.logits_from_final(final)
        # Some models pad their output layer beyond the vocabulary.
        return logits[:, : self.model.anatomy.vocab_size].double().log_softmax(-1)
