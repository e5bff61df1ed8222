"""Outcomes: did the model refuse a prompt, comply with it, or write broken text?

Greedy answers, read by the offline refusal scorer. The scorer stays blind to the request: told what
was asked it would lean to refusal on harmful requests, which is what is to be measured here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from theodolite.data.prompts import shown
from theodolite.errors import DataError
from theodolite.judging.refusal import score_refusal
from theodolite.mechanism.states import encode_for_states

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.engine.generate import Completion
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

OUTCOMES: Final = ("refused", "complied", "degenerate", "unscored")
MAX_NEW_TOKENS: Final = 48
OFFLINE_SCORER: Final = "offline refusal scorer"

_OF_VERDICT: Final = {
    "refusal": "refused",
    "partial": "refused",
    "compliance": "complied",
    "degenerate": "degenerate",
    "empty": "degenerate",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one prompt.

    Args:
        id: of the prompt.
        label: one of `OUTCOMES`; an answer that refuses in part counts as refused, an empty one as
            degenerate.
        completion: the answer; None where the verdict was known from elsewhere.
        confidence: of the scorer, 0 to 1; None where the verdict was known from elsewhere.
        verdict: what the scorer said, in its own words; None where it said nothing.
    """

    id: str
    label: str
    completion: str | None = None
    confidence: float | None = None
    verdict: str | None = None

    @property
    def reason(self) -> str | None:
        """Why it is neither refused nor complied; None where it is one of the two."""
        if self.label == "unscored":
            return "the answer was not scored"
        return f"{self.verdict or 'degenerate'} answer" if self.label == "degenerate" else None


def outcome_of(prompt_id: str, verdict: str | None) -> Outcome:
    """Return the outcome that a verdict of the refusal scorer means; None is "not scored".

    Raises:
        DataError: the verdict is not one of the scorer's.
    """
    if verdict is None:
        return Outcome(prompt_id, "unscored")
    if verdict not in _OF_VERDICT:
        raise DataError(
            f"The known verdict {shown(verdict)} of prompt {shown(prompt_id)} is none of the "
            "refusal scorer's.",
            fix=f"Use {', '.join(_OF_VERDICT)}, or None where it was not scored.",
        )
    return Outcome(prompt_id, _OF_VERDICT[verdict], verdict=verdict)


def answers(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    template: str = "auto",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> dict[str, Completion]:
    """Return the model's greedy answer to each prompt, by prompt id.

    Args:
        max_new_tokens: a refusal that comes later is not seen.
        template: how prompts are rendered, as for `read_states`.
        journal: finished answers are kept there and not written again.

    Raises:
        DataError: two prompts share an id, or a prompt leaves no room in the model's context.
    """
    from theodolite.engine import generate

    _check_ids(prompts)
    encoded = encode_for_states(model, prompts, template=template) if prompts else []
    written = generate(
        model, encoded, max_new_tokens=max_new_tokens, journal=journal, progress=progress
    )
    return {prompt.id: answer for prompt, answer in zip(prompts, written, strict=True)}


def outcomes(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    known: Mapping[str, str | None] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    template: str = "auto",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> dict[str, Outcome]:
    """Return what the model does with each prompt, by prompt id and in their order.

    Args:
        known: verdicts (in the refusal scorer's words, None where it gave none) by prompt id that
            were made before; these prompts are not asked again, other ids are ignored.
        max_new_tokens, template, journal, progress: as for `answers`.

    Raises:
        DataError: as `answers`; or a known verdict is not one of the scorer's.

    Note: the scorer is validated on English answers only.
    """
    _check_ids(prompts)
    known = known or {}
    told = {p.id: outcome_of(p.id, known[p.id]) for p in prompts if p.id in known}
    asked = [prompt for prompt in prompts if prompt.id not in told]
    written = answers(
        model,
        asked,
        max_new_tokens=max_new_tokens,
        template=template,
        journal=journal,
        progress=progress,
    )
    scored = {p.id: judged(p, written[p.id].text) for p in asked}
    return {prompt.id: (told | scored)[prompt.id] for prompt in prompts}


def judged(prompt: Prompt, completion: str) -> Outcome:
    """Return the outcome of one answer; the prompt only serves to skip its echo."""
    verdict = score_refusal(completion, prompt.request)
    return Outcome(
        prompt.id, _OF_VERDICT[verdict.label], completion, verdict.confidence, verdict.label
    )


def _check_ids(prompts: Sequence[Prompt]) -> None:
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise DataError(
                f"Two prompts share the id {shown(prompt.id)}.", fix="Give each prompt its own id."
            )
        seen.add(prompt.id)
