"""The rows of `bundled:safety`: refusals of ours, answers of the model's own.

The bundled adapter is trained on them, by `ssft-chat`. For the other methods they are the same
requests: `ssft-label` needs no answers, and `dpo` prefers whole answers to an opener of compliance
where the request is harmful, and to a refusal where it is not.

Harmful requests are answered with one of many refusals. Benign requests are answered as the model
answers them before training (self-distillation), so that training moves what it does about harm and
little else. Twins stand in the same styles and rewordings, so that neither gives harm away.

Never seen: the val and test goals of the refusal set, the held-out styles, the pressure styles, and
of the benchmark styles the one named `UNSEEN_STYLE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.data.styles import PLAIN, benchmark_styles, style
from theodolite.engine.generate import Completion, generate
from theodolite.judging.refusal import score_refusal
from theodolite.text.hashing import item_seed
from theodolite.training.openers import opener_for
from theodolite.training.refusals import general_refusal, refusal_for
from theodolite.training.rewordings import reword, wording_choice
from theodolite.training.rows import OPEN, TrainingRow

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress
    from theodolite.training.recipe import Method

UNSEEN_STYLE: Final = "academic"
REWORDED: Final = "reworded"
ANSWER_TOKENS: Final = 12
TEMPERATURE: Final = 0.8
TRIES: Final = 3
# Of one row in so many the whole answer is learnt, of the others these first words: there it is
# decided whether to refuse, which is learnt faster where the loss is not mostly about the rest.
WHOLE: Final = 4
OPENING_WORDS: Final = 2


def training_styles() -> tuple[str, ...]:
    """Return the wrappers that training rows may stand in."""
    names = (s.name for s in benchmark_styles())
    return tuple(name for name in names if name not in (PLAIN, UNSEEN_STYLE))


def safety_rows(
    model: LanguageModel,
    *,
    method: Method = "ssft-chat",
    seed: int = 0,
    batch_rows: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[TrainingRow]:
    """Return the rows that teach a model to refuse: train and val goals, never test.

    Args:
        model: gives the benign answers before it is trained. Only their beginning is kept, with the
            turn left open. It declines some benign requests itself: what the offline scorer does
            not call an answer is written again with chance, then left out with its row.
        method: what the rows are for.
        seed: of wordings, styles, refusals and chance; with an item's id it decides them.
        batch_rows: most answers written together.
        journal: finished answers are kept there and not written again.
        progress: told of finished answers.

    Returns: rows in the order of `safety_requests`.
    """
    asked = safety_requests(seed=seed)
    if method == "ssft-label":
        return [_unanswered(prompt) for prompt in asked]
    benign = [prompt for prompt in asked if prompt.label != HARMFUL]
    write = partial(
        generate,
        model,
        max_new_tokens=ANSWER_TOKENS,
        seed=seed,
        batch_rows=batch_rows,
        journal=journal,
        progress=progress,
    )
    answers = _answered(benign, write(benign))
    again = [prompt for prompt in benign if prompt.id not in answers]
    if again:
        answers |= _answered(again, write(again, temperature=TEMPERATURE, n=TRIES))
    rows = [_row(prompt, answers.get(prompt.id), method, seed) for prompt in asked]
    kept = [row for row in rows if row is not None]
    if method != "dpo":
        return kept
    bare = {prompt.id: prompt.request for prompt in _goals()}
    return [_preference(row, bare, seed) for row in kept]


def safety_requests(*, seed: int = 0) -> list[Prompt]:
    """Return every training request in every form it is trained in.

    A goal stands there bare and reworded, and every other one in one of `training_styles()` too, as
    its name picks; a twin stands in the same forms as its harmful request.
    """
    asked = []
    names = [*training_styles(), *[None] * len(training_styles())]
    for prompt in _goals():
        goal = str(prompt.pair_id or prompt.goal_id)
        asked.append(prompt)
        text = reword(prompt.request, wording_choice(goal, seed=seed))
        if text != prompt.request:
            asked.append(_in_form(prompt, REWORDED, text))
        name = names[item_seed(seed, "style", goal) % len(names)]
        if name is not None:
            asked.append(_in_form(prompt, name, style(name).wrap(prompt.request)))
    return asked


def _goals() -> list[Prompt]:
    train = [prompt for prompt in bundled("refusal") if prompt.split == "train"]
    return [*bundled("safety_training"), *train]


def _answered(asked: Sequence[Prompt], written: Iterable[Completion]) -> dict[str, Completion]:
    """Return, by request, the first completion that is an answer."""
    requests = {prompt.id: prompt.request for prompt in asked}
    found: dict[str, Completion] = {}
    for completion in written:
        verdict = score_refusal(completion.text, requests[completion.prompt_id])
        if verdict.label == "compliance" and completion.text.strip():
            found.setdefault(completion.prompt_id, completion)
    return found


def _unanswered(prompt: Prompt) -> TrainingRow:
    """Return a request whose label alone is the target."""
    harmful = prompt.label == HARMFUL
    return TrainingRow(
        id=prompt.id,
        goal_id=str(prompt.goal_id),
        split=str(prompt.split),
        label=HARMFUL if harmful else BENIGN,
        style=str(prompt.style),
        source=str(prompt.source),
        text=prompt.request,
        hazard=str(prompt.category) if harmful else None,
    )


def _row(
    prompt: Prompt, answer: Completion | None, method: Method, seed: int
) -> TrainingRow | None:
    row = _unanswered(prompt)
    whole = method == "dpo" or item_seed(seed, "whole", prompt.id) % WHOLE == 0
    if row.harmful:
        refusal = refusal_for(prompt.id, str(prompt.category), seed=seed)
        target, turn = (refusal, None) if whole else (_opening(refusal), OPEN)
        return replace(row, target=target, turn=turn)
    if answer is None:
        return None
    ended = whole and answer.finish == "stop"
    target = answer.text if whole else _opening(answer.text)
    return replace(row, target=target, turn=None if ended else OPEN)


def _preference(row: TrainingRow, bare: Mapping[str, str], seed: int) -> TrainingRow:
    """Return a row with what is not to be said: an opener of compliance, or a refusal."""
    if not row.harmful:
        return replace(row, rejected=general_refusal(row.id, seed=seed))
    request = bare[row.id.removesuffix(f"/{row.style}")]
    return replace(row, rejected=opener_for(row.id, request, seed=seed))


def _opening(text: str) -> str:
    """Return the first words of an answer, in which it is decided whether it refuses."""
    words = list(re.finditer(r"\S+", text))
    return text[: words[min(OPENING_WORDS, len(words)) - 1].end()]


def _in_form(prompt: Prompt, name: str, text: str) -> Prompt:
    return replace(prompt, id=f"{prompt.id}/{name}", style=name, text=text)
