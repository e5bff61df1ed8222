"""What continuations are worth beside their score: variety, likeness to base, and perplexity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.continuations import BASE
from theodolite.behaviour.continuing.answers import Answer
from theodolite.behaviour.toxicity.quality import Text, conditional_perplexity, quality
from theodolite.data.prompts import Prompt
from theodolite.judging.toxicity import EMPTY
from theodolite.measure.measurement import Measurement, Unscored, not_measured
from theodolite.measure.records import as_records
from theodolite.models.chat import Encoded, encode_plain
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

HEADLINES: Final = ("distinct/2", "self_repetition", "chrf")
"""Figures that are printed; all of them stand in the table."""
NO_ROOM: Final = "the prompt fills the language model's window"
NO_TEXT: Final = "no continuation has a word"

Pair = tuple[Encoded, tuple[int, ...]]


def by_method(answers: Sequence[Answer]) -> dict[str, list[Text]]:
    """Return the continuations of each method that have words, with those of base beside them."""
    base = {one.place: one.text for one in answers if one.method == BASE and one.text.strip()}
    found: dict[str, list[Text]] = {answer.method: [] for answer in answers}
    for answer in answers:
        if answer.text.strip():
            found[answer.method].append(
                Text(
                    prompt=answer.prompt.id,
                    goal=answer.prompt.goal_id or answer.prompt.id,
                    sample=answer.sample,
                    text=answer.text,
                    base=base.get(answer.place),
                )
            )
    return found


def quality_measurements(answers: Sequence[Answer], name: str) -> list[Measurement]:
    """Return every figure of quality but perplexity, by method.

    Args:
        answers: of all methods.
        name: the front of the figures' names, as in `<name>/<method>/chrf`.
    """
    texts = by_method(answers)
    return [
        figure
        for method, own in texts.items()
        if own
        for figure in quality(own, f"{name}/{method}", baseline=method == BASE or BASE not in texts)
    ]


def is_headline(figure: Measurement) -> bool:
    """Return whether a figure of quality is printed beside the scores."""
    return figure.name.split("/", 2)[-1] in HEADLINES


def quality_table(figures: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return one row per figure of quality: its value, interval, count and floor."""
    kept = ("name", "value", "low", "high", "unit", "n", "n_clusters", "floor_name", "floor_value")
    return [{key: row[key] for key in kept} for row in as_records(figures)]


def perplexities(
    model: LanguageModel,
    answers: Sequence[Answer],
    name: str,
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Return the perplexity of each method's continuations given their prompts.

    Args:
        model: a local language model; it reads prompt and continuation as one plain text.
        answers: of all methods; equal continuations of a prompt are read once.
        name: as for `quality_measurements`.
    """
    from theodolite.engine import score

    pairs = _pairs(model, answers)
    readable = {key: pair for key, pair in pairs.items() if pair is not None}
    read = score(model, list(readable.values()), journal=journal, progress=progress)
    nats = {key: -one.sum for key, one in zip(readable, read, strict=True)}
    found = []
    for method in dict.fromkeys(answer.method for answer in answers):
        own = [answer for answer in answers if answer.method == method]
        known = [answer for answer in own if _key(answer) in nats]
        blank = sum(not answer.text.strip() for answer in own)
        lost = {EMPTY: blank, NO_ROOM: len(own) - len(known) - blank}
        reasons = {reason: count for reason, count in lost.items() if count}
        unscored = Unscored(sum(reasons.values()), reasons, None, None)
        title = f"{name}/{method}/perplexity"
        if not known:
            found.append(not_measured(title, "", NO_TEXT, unscored=unscored))
            continue
        figure = conditional_perplexity(
            title,
            [nats[_key(answer)] for answer in known],
            [len(readable[_key(answer)][1]) for answer in known],
            goals=[answer.prompt.goal_id or answer.prompt.id for answer in known],
            vocabulary=model.anatomy.vocab_size,
            model=model.name,
        )
        found.append(replace(figure, unscored=unscored))
    return found


def _key(answer: Answer) -> tuple[str, str]:
    return answer.prompt.id, answer.text


def _pairs(
    model: LanguageModel, answers: Sequence[Answer]
) -> Mapping[tuple[str, str], Pair | None]:
    """Return prompt and continuation in tokens, each pair once; None where there is no room."""
    prompts: dict[str, Encoded] = {}
    pairs: dict[tuple[str, str], Pair | None] = {}
    for answer in answers:
        key = _key(answer)
        if key in pairs or not answer.text.strip():
            continue
        if answer.prompt.id not in prompts:
            prompts[answer.prompt.id] = _beginning(model, answer.prompt)
        prompt = prompts[answer.prompt.id]
        own = _tokens(model, joined(answer.text))
        room = len(own) if model.max_context is None else model.max_context - len(prompt.ids)
        pairs[key] = (prompt, own[:room]) if own and room > 0 else None
    return pairs


def _beginning(model: LanguageModel, prompt: Prompt) -> Encoded:
    """Return a prompt in tokens, without what the tokenizer puts after a text."""
    text = prompt.request.rstrip()
    whole = encode_plain(model, text, prompt_id=prompt.id)
    ids = whole.ids[: whole.template[0]]
    return Encoded(ids, text, (0, len(ids)), (len(ids), len(ids)), content_key(ids), prompt.id)


def joined(text: str) -> str:
    """Return a continuation as it stands behind its prompt: after a space, or at once."""
    own = text.strip()
    return own if own[:1] in ".,;:!?)’'" else f" {own}"


def _tokens(model: LanguageModel, text: str) -> tuple[int, ...]:
    ids = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return tuple(map(int, ids))
