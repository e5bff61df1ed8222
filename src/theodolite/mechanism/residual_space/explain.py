"""`theodolite explain residual-space`: what training changed in the stream, and what that reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.styles import style_names
from theodolite.errors import ConfigError
from theodolite.mechanism.lens.explain import check_tokens
from theodolite.mechanism.relevance.relevance import VERSION as RELEVANCE_VERSION
from theodolite.mechanism.residual_space import asides
from theodolite.mechanism.residual_space.contrast import (
    HARM,
    as_contrast,
    check_kind,
    contrast_study,
)
from theodolite.mechanism.residual_space.prompts import study_prompts
from theodolite.mechanism.residual_space.report import report
from theodolite.mechanism.residual_space.space import PRESETS
from theodolite.mechanism.residual_space.space import VERSION as SPACE_VERSION
from theodolite.mechanism.residual_space.study import Depth, Study, study
from theodolite.mechanism.residual_space.style_subspace import style_subspace, subspace_words
from theodolite.mechanism.residual_space.style_table import METHOD_VERSION
from theodolite.mechanism.residual_space.summary import by_depth
from theodolite.mechanism.steering.sweep import VERSION as SWEEP_VERSION
from theodolite.mechanism.verdict.outcomes import outcomes
from theodolite.models.positions import check_position
from theodolite.runs.panel import PanelResult, extended
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = METHOD_VERSION + SPACE_VERSION + RELEVANCE_VERSION + SWEEP_VERSION
TITLE: Final = "What safety training wrote into the model"
QUESTION: Final = (
    "How many directions did training write, and do they read the request or its wrapper?"
)
CONTRAST_TITLE: Final = "What one model does differently with one prompt than with another"
CONTRAST_QUESTION: Final = (
    "How many directions set the two apart, and do they read the request or its wrapper?"
)
_OF_OUTCOME: Final = {"refused": True, "complied": False}


@dataclass(frozen=True)
class Options:
    """What `theodolite explain residual-space` can be asked (`-T key=value`).

    Args:
        pairs: goals of each class to fit on, and as many others to test on.
        styles: wrappers to fit on beside the bare request: `benchmark`, or names joined by commas.
        held_out: wrappers of test goals alone: `held_out`, or names.
        preset: default (centred shift) or reference (uncentred, as published).
        position: where prompts are read.
        contrast: of one model, without one before training: harm (harmful minus benign twin) or
            style (wrapped minus bare).
        components: directions of each depth that are named and set against styles.
        followed: directions of the first one's best depth that are looked at from all sides.
        answers: requests of each class and part whose answers are written, for the label
            "refused"; 0 leaves it out.
        relevance: test goals of each class that are traced back to tokens; 0 leaves it out.
        interventions: test goals of each class that are asked without a direction; 0 leaves it out.
        tokens: what counts as a refusing first word there; as for `explain lens`.
        estimators: compare other ways to find the direction.
    """

    pairs: int = 24
    styles: str = "benchmark"
    held_out: str = "held_out"
    preset: str = "default"
    position: str = "prompt_last"
    contrast: str = HARM
    components: int = 5
    followed: int = 4
    answers: int = 12
    relevance: int = 4
    interventions: int = 24
    tokens: str = "en"
    estimators: bool = True

    def depth(self, *, quality: bool = True) -> Depth:
        """Return how much is looked at.

        Args:
            quality: whether the linear map is judged on held-out goals.
        """
        return Depth(
            components=self.components,
            followed=self.followed,
            preset=self.preset,
            position=self.position,
            quality=quality,
        )


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError or DataError: an unknown preset, position or style, or a count that is too
        small.
    """
    if request.jailbreak is not None:
        raise ConfigError(
            "--jailbreak has no part in `explain residual-space`.",
            fix="Give requests in styles as --harmful and --benign.",
        )
    if options.preset not in PRESETS:
        raise ConfigError(
            f"There is no preset '{options.preset}'.", fix=did_you_mean(options.preset, PRESETS)
        )
    check_position(options.position)
    check_kind(options.contrast)
    check_tokens(options.tokens)
    fitted, others = style_names(options.styles), style_names(options.held_out)
    both = [name for name in others if name in fitted]
    if both:
        raise ConfigError(
            f"The style {both[0]} is to be fitted on and held out.", fix="Name it once."
        )
    for name, least in (("pairs", 5), ("components", 1), ("followed", 1), ("answers", 0),
                        ("relevance", 0), ("interventions", 0)):  # fmt: skip
        if getattr(options, name) < least:
            raise ConfigError(
                f"task.{name} is {getattr(options, name)}.", fix=f"Give {least} or more."
            )


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Fit the space of a pair, or a contrast of one model, and look at it from all sides."""
    prompts = study_prompts(
        subject.requests,
        options.pairs,
        styles=style_names(options.styles),
        held_out=style_names(options.held_out),
    )
    kept: dict[str, Any] = {
        "journal": run.journal, "progress": progress, "template": subject.template
    }  # fmt: skip
    refused = None
    if options.answers:
        asked = first_pairs(prompts, options.answers)
        refused = refusals(subject.model, asked, **kept)
    work: dict[str, Any] = {"refused": refused, "seed": seed, **kept}
    if subject.pair is None:
        progress.message(
            f"It is not known what {subject.model.name} was trained from: this is a contrast "
            "within one model, not what training wrote."
        )
        found = contrast_study(*(subject.model, prompts, options.contrast, options.depth()), **work)
    else:
        found = study(subject.pair, prompts, options.depth(), **work)
    found.space.save(run)
    result = look(found, subject.model, options, seed=seed, **kept)
    bases = style_subspace(found)
    if bases:
        run.save_tensors("styles", bases)
    result = extended(result, how=[subspace_words(bases), *_training_words(subject.model)])
    return result if subject.pair is not None else as_contrast(result)


def _training_words(model: LanguageModel) -> list[str]:
    """Say by which method a model was trained, where it names one; methods are not to be mixed."""
    return [] if model.trained_by is None else [f"{model.name} was trained by {model.trained_by}."]


def headings(result: PanelResult) -> tuple[str, str]:
    """Return the title and the question of a result."""
    if _start(result) == "contrast":
        return CONTRAST_TITLE, CONTRAST_QUESTION
    return TITLE, QUESTION


def _start(result: PanelResult) -> str:
    """Return how the names of a result's tables begin."""
    return "contrast" if "contrast_layers" in result.tables else "residual"


def look(
    found: Study,
    model: LanguageModel,
    options: Options,
    *,
    seed: int,
    template: str = "auto",
    **kept: Any,
) -> PanelResult:
    """Return a study with what stands beside it, as far as it is asked for.

    Args:
        model: whose directions they are.
        kept: journal and progress.
    """
    work: dict[str, Any] = {"seed": seed, "template": template, **kept}
    beside: list[Mapping[str, Any]] = []
    if options.relevance:
        causes = asides.causes(found, model, options.relevance, **work)
        found = asides.with_words(found, causes)
        beside += [causes, asides.flow(found, model, options.relevance, **work)]
    if options.interventions:
        asked = (options.interventions, options.tokens)
        beside.append(asides.interventions(found, model, *asked, **work))
    if options.estimators:
        beside.append(asides.estimators(found, seed=seed))
    result = report(found)
    for entries in beside:
        result = extended(result, **entries)
    return result


def first_pairs(prompts: list[Prompt], pairs: int) -> list[Prompt]:
    """Return the prompts of the first goals of either part, in every style."""
    chosen: dict[tuple[str | None, str | None], dict[str, None]] = {}
    for prompt in prompts:
        goals = chosen.setdefault((prompt.split, prompt.label), {})
        if len(goals) < pairs:
            goals[prompt.goal_id or prompt.id] = None
    kept = {goal for goals in chosen.values() for goal in goals}
    return [prompt for prompt in prompts if (prompt.goal_id or prompt.id) in kept]


def refusals(
    model: LanguageModel,
    prompts: list[Prompt],
    *,
    known: Mapping[str, str | None] | None = None,
    **kept: Any,
) -> dict[str, bool | None]:
    """Return whether a model refuses, by prompt id; None where the answer is broken.

    Args:
        prompts: of both parts.
        known: verdicts made before, by prompt id.
        kept: template, journal and progress, as for `outcomes`.
    """
    found = outcomes(model, prompts, known=known, **kept)
    return {name: _OF_OUTCOME.get(outcome.label) for name, outcome in found.items()}


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return one row per depth, for the terminal."""
    return by_depth(result.tables, _start(result))
