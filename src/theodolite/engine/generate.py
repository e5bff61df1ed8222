"""Write answers: prompts share their prefixes, rows leave when they are done.

Calls that share a session also share what they read and wrote: of a conversation's next turn only
the new tokens are read (`session.py`). How answers are written stands in `writing.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from theodolite.engine.decoding.rules import DecodingRule
from theodolite.engine.variants import row_variants
from theodolite.engine.writing import VERSION, Job, Limits, Writer, decode_text, plan_jobs
from theodolite.errors import ConfigError, DataError
from theodolite.execution import Unit, map_units
from theodolite.models.chat import Encoded, encode_all
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.engine.interventions import Intervention
    from theodolite.engine.session import Session
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

__all__ = ["VERSION", "Completion", "decode_text", "end_tokens", "generate"]


@dataclass(frozen=True)
class Completion:
    """One answer.

    Args:
        prompt_id: of the prompt (its place where it has no id).
        text: without special tokens, and ending before a stop string.
        token_ids: all generated tokens, the closing one included.
        finish: "stop" (end token or stop string) or "length".
        sample: 0 to n - 1.
        prompt_tokens: tokens of the prompt.
    """

    prompt_id: str
    text: str
    token_ids: tuple[int, ...]
    finish: str
    sample: int
    prompt_tokens: int


def generate(
    model: LanguageModel,
    prompts: Sequence[Prompt | str | Encoded],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: Sequence[str] = (),
    seed: int = 0,
    n: int = 1,
    variants: Sequence[Sequence[Intervention]] | None = None,
    batch_rows: int | None = None,
    batch_tokens: int | None = None,
    session: Session | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Completion]:
    """Write `n` answers to every prompt.

    Args:
        model: an open local model; active interventions act on prompt and answer.
        prompts: requests (rendered as chats) or `Encoded` prompts.
        max_new_tokens: most tokens of an answer; fewer where the model's context ends.
        temperature: 0 is greedy (then the `n` answers of a prompt are equal).
        top_p: nucleus, after temperature and `top_k`.
        top_k: only the k most likely tokens; 0 keeps all.
        stop: strings that end an answer; not part of its text.
        seed: with the prompt's id and words and the sample index it fixes every random choice.
        n: answers per prompt.
        variants: for each prompt what acts on it alone, after the active interventions; prompts
            that differ in it are written together, as each would be alone under `apply`.
        batch_rows: most answers written together (default: by device and memory).
        batch_tokens: most tokens of one prefill pass (default: by device and memory).
        session: what earlier calls with it read and wrote is not read again, and it remembers this
            call's prompts and answers. Calls with variants are left out of it.
        journal: finished units are kept there and not written again.
        progress: told of finished units, in answers.

    Returns: completions ordered by prompt, then sample.

    Raises:
        ConfigError: an option is out of range, an intervention does not fit the model, or the
            session is another model's.
        CapabilityError: the model cannot be changed in this way.
        DataError: a prompt leaves no room in the model's context.
        NumericsError: the logits are not finite.

    Note: greedy tokens equal Hugging Face's, but for ties within rounding. Sampled answers do not
        depend on batch size or order, again up to rounding.
    """
    model.require("text")
    rule = DecodingRule(temperature, top_k, top_p)
    encoded = encode_all(model, prompts)
    _check_room(model, encoded)
    limits = _limits(model, max_new_tokens, [stop] if isinstance(stop, str) else stop)
    if n < 1:
        raise ConfigError("n must be at least 1.")
    of = row_variants(model, variants, len(encoded))
    jobs = plan_jobs(encoded, of, seed, 1 if rule.greedy else n)
    rows = of.select([job.prompt for job in jobs])
    writer = Writer(model, encoded, jobs, rows, rule, limits, session)
    units = writer.plan(batch_tokens, batch_rows)
    with rows.of.acting():
        results = map_units(units, writer, journal=journal, progress=progress, label="generate")
    writer.finish(units, results)
    return _completions(model, encoded, jobs, units, results, limits, n if rule.greedy else 1)


def _limits(model: LanguageModel, new_tokens: int, stop: Sequence[str]) -> Limits:
    """Return when an answer ends; refuses what can never be."""
    if new_tokens < 1:
        raise ConfigError("max_new_tokens must be at least 1.")
    if any(not text for text in stop):
        raise ConfigError("A stop string is empty.", fix="Leave it out.")
    ends = end_tokens(model) | _spelled_tokens(model, stop)
    return Limits(new_tokens, tuple(stop), ends, model.max_context)


def end_tokens(model: LanguageModel) -> frozenset[int]:
    """Return the ids that end an answer: the generation config's, and the tokenizer's own."""
    found: set[int | None] = set()
    config = getattr(model.module, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    for value in (named, model.tokenizer.eos_token_id):
        found.update(value if isinstance(value, list | tuple) else [value])
    return frozenset(token for token in found if token is not None)


def _spelled_tokens(model: LanguageModel, stop: Sequence[str]) -> frozenset[int]:
    """Return the special tokens among the stop strings: an answer's text leaves them out."""
    known = model.tokenizer.added_tokens_decoder.items()
    return frozenset(i for i, token in known if token.special and token.content in stop)


def _check_room(model: LanguageModel, encoded: Sequence[Encoded]) -> None:
    for place, item in enumerate(encoded):
        if model.max_context is not None and len(item.ids) >= model.max_context:
            raise DataError(
                f"Prompt '{escape(item.prompt_id or str(place), 80)}' has {len(item.ids)} tokens "
                f"and leaves no room to answer: {model.name} reads {model.max_context}.",
                fix="Shorten it or leave it out.",
            )


def _completions(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    jobs: Sequence[Job],
    units: Sequence[Unit],
    results: Sequence[dict[str, Any]],
    limits: Limits,
    repeat: int,
) -> list[Completion]:
    found: dict[int, Completion] = {}
    for unit, result in zip(units, results):
        for item, tokens, finish in zip(unit.items, result["tokens"], result["finish"]):
            job = jobs[item]
            text = decode_text(model, tokens)
            cuts = [text.index(stop) for stop in limits.stop if stop in text]
            found[item] = Completion(
                prompt_id=encoded[job.prompt].prompt_id or str(job.prompt),
                text=text[: min(cuts)] if cuts else text,
                token_ids=tuple(tokens),
                finish=finish,
                sample=job.sample,
                prompt_tokens=len(encoded[job.prompt].ids),
            )
    ordered = [found[item] for item in range(len(jobs))]
    if repeat == 1:
        return ordered
    return [replace(completion, sample=k) for completion in ordered for k in range(repeat)]
