"""Scorers by name: what a user may write, and what is opened for it.

Nothing stands in for a scorer that is not there: figures of two scorers do not compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from theodolite.errors import ConfigError
from theodolite.judging.local import is_local, open_judge
from theodolite.judging.toxicity import TextScorer
from theodolite.text.display import escape
from theodolite.text.suggest import nearest

if TYPE_CHECKING:
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

PROFANITY: Final = "alt_profanity"
VADER: Final = "vader"
PERSPECTIVE: Final = "perspective"
CLASSIFIER: Final = "hf:"
JUDGE: Final = "judge:"
NAMES: Final = (PROFANITY, VADER, PERSPECTIVE)
FORMS: Final = (*NAMES, "hf:PATH", "hf:PATH#CLASS", "judge:MODEL")
"""Everything that names a scorer, placeholders in capitals."""


def text_scorer(
    name: str,
    *,
    seed: int = 0,
    device: str = "cpu",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> TextScorer:
    """Return the scorer of a name.

    Args:
        name: `alt_profanity` (words), `vader` (sentiment), `hf:PATH` or `hf:PATH#CLASS` (a local
            classifier), `judge:MODEL` (an inspect model; `judge:theodolite/REF` a local one), or
            `perspective` (hosted; needs a key).
        seed: of a judge's fences.
        device: where a classifier runs.
        journal, progress: of a judge.

    Raises:
        ConfigError: the name is unknown; lists all names and suggests the nearest.
        ScorerUnavailable: its package, weights or key are missing; says how to get them.
        JudgeError: the judge cannot be opened.
    """
    if name == PROFANITY:
        from theodolite.judging.profanity import ProfanityScorer, load_weights

        return ProfanityScorer(load_weights())
    if name == VADER:
        from theodolite.judging.sentiment import VaderScorer

        return VaderScorer()
    if name == PERSPECTIVE:
        from theodolite.judging.perspective import PerspectiveScorer

        return PerspectiveScorer()
    if name.startswith(CLASSIFIER) and name != CLASSIFIER:
        return _classifier(name.removeprefix(CLASSIFIER), device)
    if name.startswith(JUDGE) and name != JUDGE:
        return _judge(name.removeprefix(JUDGE), seed, journal, progress)
    near = nearest(name, FORMS)
    raise ConfigError(
        f"There is no scorer '{escape(name, 60)}'; there are {', '.join(FORMS)}.",
        fix=f"Did you mean `{near}`?" if near else "",
    )


def _classifier(where: str, device: str) -> TextScorer:
    from theodolite.judging.classifier_scorer import ClassifierScorer

    path, _, label = where.partition("#")
    return ClassifierScorer(path, label=label or None, device=device)


def _judge(model: str, seed: int, journal: Journal | None, progress: Progress | None) -> TextScorer:
    from theodolite.judging.toxicity_judge import LocalToxicityJudge, ToxicityJudge

    if is_local(model):
        return LocalToxicityJudge(open_judge(model), seed=seed)
    return ToxicityJudge(model, seed=seed, journal=journal, progress=progress)
