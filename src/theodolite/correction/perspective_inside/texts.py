"""Texts of two kinds, toxic and not, from which the direction is taken: of a file, or scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.correction.perspective_taking.method import RECORD
from theodolite.correction.perspective_taking.registry import make_solver
from theodolite.correction.perspective_taking.setting import PROMPT_KEY, Setting
from theodolite.correction.perspective_taking.severity import severities
from theodolite.data.aliases import fold
from theodolite.data.forced_replies import goal_of
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, check_text, shown
from theodolite.data.records import Place, read_records
from theodolite.errors import DataError
from theodolite.judging.toxicity import TextScorer
from theodolite.mechanism.items import Items, make_items
from theodolite.providers.evaluate import evaluate
from theodolite.providers.log_samples import samples_of

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

TEMPERATURE: Final = 1.0
"""Of the continuations that are scored: greedy ones would be as many texts as prompts."""
_TRUE: Final = frozenset({"1", "true", "yes"})
_FALSE: Final = frozenset({"0", "false", "no"})


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Texts of two kinds.

    Args:
        items: the texts; toxic ones are the positive class.
        how: a sentence on where they come from.
    """

    items: Items
    how: str


def read_labelled(path: Path | str) -> LabelledTexts:
    """Return the texts of a file.

    Args:
        path: rows with `text` and `toxic` (0 or 1); `id` and `goal_id` are optional. Texts of one
            goal stay together where some are held out.

    Raises: DataError: a row lacks a field, or one kind is missing; names file, line and field.
    """
    path = Path(path)
    sides: dict[str, list[Prompt]] = {BENIGN: [], HARMFUL: []}
    for number, record in enumerate(read_records(path)):
        place = Place(path, record.line)
        values = {fold(name): value for name, value in record.values.items()}
        text = values.get("text")
        if not isinstance(text, str) or not text.strip():
            raise place._replace(field="text").error("the text is missing.", "Add it.")
        check_text("text", text)
        said = str(values.get("toxic")).strip().lower().removesuffix(".0")
        if said not in _TRUE | _FALSE:
            raise place._replace(field="toxic").error(
                f"{shown(said)} does not say whether the text is toxic.", "Write 0 or 1."
            )
        own = Prompt(
            str(values.get("id") or f"{path.stem}/{number}"),
            text=text,
            goal_id=str(values.get("goal_id") or goal_of(text)),
        )
        sides[HARMFUL if said in _TRUE else BENIGN].append(own)
    return LabelledTexts(make_items(sides), f"the texts of {path.name}, as labelled there")


def scored_texts(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    scorer: TextScorer,
    *,
    samples: int,
    setting: Setting,
    run: Run,
    seed: int = 0,
    progress: Progress | None = None,
) -> LabelledTexts:
    """Return what a model goes on with by itself: its most and least toxic third by a scorer.

    Args:
        prompts: beginnings; each is gone on with without a word of safety.
        samples: of each.

    Raises: DataError: the scorer does not tell the thirds apart.
    """
    task = _task(prompts, samples, setting)
    log = evaluate(task, model, run=run, seed=seed, progress=progress, in_step=True)
    goals = {one.id: one.goal_id for one in prompts}
    texts = [
        Prompt(
            f"{sample.id}/{sample.epoch}",
            text=str(sample.metadata[RECORD]["original"]).strip(),
            goal_id=goals[str(sample.id)],
        )
        for sample in samples_of(log)
        if str(sample.metadata[RECORD]["original"]).strip()
    ]
    scores = severities(scorer, [text.request for text in texts])
    ranked = sorted(
        ((score, text.id, text) for score, text in zip(scores, texts, strict=True)
         if score is not None),
        key=lambda one: one[:2],
    )  # fmt: skip
    third = len(ranked) // 3
    if not third or ranked[third - 1][0] >= ranked[-third][0]:
        raise DataError(
            f"{scorer.id} does not tell the {len(ranked)} continuations of {model.name} apart: "
            "their most and least toxic third have equal scores.",
            fix="Give labelled texts with --texts FILE, or another scorer.",
        )
    sides = {HARMFUL: ranked[-third:], BENIGN: ranked[:third]}
    items = make_items({name: [text for *_, text in side] for name, side in sides.items()})
    low, high = ranked[third - 1][0], ranked[-third][0]
    return LabelledTexts(
        items,
        f"{samples} continuations of each beginning by the model itself, the third that "
        f"{scorer.id} scores highest (from {high:.2f}) and lowest (to {low:.2f})",
    )


def _task(prompts: Sequence[Prompt], samples: int, setting: Setting) -> Any:
    from inspect_ai import Task
    from inspect_ai.model import GenerateConfig

    return Task(
        dataset=dataset_of(prompts),
        solver=make_solver("raw", setting=setting),
        epochs=samples,
        config=GenerateConfig(temperature=TEMPERATURE),
        name="perspective_texts",
    )


def dataset_of(prompts: Sequence[Prompt]) -> Any:
    """Return beginnings as the samples that the solvers go on with."""
    from inspect_ai.dataset import MemoryDataset, Sample

    return MemoryDataset(
        [
            Sample(input=one.request, id=one.id, metadata={PROMPT_KEY: one.request})
            for one in prompts
        ],
        name="perspective_inside",
    )
