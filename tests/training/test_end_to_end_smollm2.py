"""From rows to a safety direction, in one go: train, compare with the base, decompose, ablate.

The slow test runs SmolLM2 (some minutes on two cores); its twin walks the same way with a tiny
random model. A direction is chosen on training goals and judged on goals that were never seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import Training
from tests.training.made_rows import label_rows
from theodolite.data.bundled import bundled
from theodolite.data.moderation import moderation_frame
from theodolite.data.prompts import HARMFUL, Prompt
from theodolite.data.records import read_records
from theodolite.engine import DirectionIntervention, apply, next_token
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.random_vectors import random_vector
from theodolite.mechanism.residual_space.baselines import random_areas
from theodolite.mechanism.residual_space.collect import PairedStates, collect_pair
from theodolite.mechanism.residual_space.scores import areas
from theodolite.mechanism.residual_space.space import ResidualSpace
from theodolite.models.pair import open_pair
from theodolite.runs.progress import SilentProgress
from theodolite.training.examples import check_label_words
from theodolite.training.recipe import Data, Lora, Recipe
from theodolite.training.rows import TrainingRow, rows_of, write_rows
from theodolite.training.train import run_training

OFFICIAL = "safety-residual-space/prompts_sample.csv"
OF_EACH = 64
DRAWS = 200
RANDOM = 5
SEEN = 16
PLAIN_UNSEEN = 60
TWIN = "twin"


@dataclass(frozen=True)
class Found:
    """What the dominant direction of the chosen layer does.

    Args:
        hidden_index: chosen by AUROC and separation on training goals.
        area, random_high: AUROC of unseen harmful against plain harmless requests, and the 95th
            percentile of random directions.
        twin_area, twin_random_high: the same against benign twins, which share the words.
        odds: mean first-token log-odds of `unsafe` on unseen harmful requests.
        ablated, random_ablated: how ablating it changes those odds, and how far random directions
            do on average.
    """

    hidden_index: int
    area: float
    random_high: float
    twin_area: float
    twin_random_high: float
    odds: float
    ablated: float
    random_ablated: float


def dominant_direction(base: str, adapter: Path, prompts: Sequence[Prompt]) -> Found:
    """Return what the dominant direction of training does on prompts of split test.

    Benign test prompts of the category `TWIN` are look-alikes of harmful ones, others are plain.
    """
    pair = open_pair(base, adapter=adapter)
    paired = collect_pair(pair, prompts)
    train, test = paired.part("train"), paired.part("test")
    space = ResidualSpace.fit(train, preset="default", resamples=0, quality=False)
    depths = [h for h in space.hidden_indices if not space.layer(h).empty]
    chosen = max(depths, key=lambda h: _separation(space, train, h))
    direction = _oriented(space, train, chosen)
    fitted = train.aligned.at(chosen, "prompt_last")
    seen = test.aligned.at(chosen, "prompt_last")
    twin = np.array([prompt.category == TWIN for prompt in test.prompts])

    def judged(benign: np.ndarray) -> tuple[float, float]:
        """Return the AUROC of harmful against some benign prompts; not a number without any."""
        if not benign.any():
            return float("nan"), float("nan")
        asked = test.harmful | benign
        states, harm = seen[asked], test.harmful[asked]
        drawn = random_areas(
            fitted[:, None], train.harmful, states[:, None], harm, draws=DRAWS, seed=0
        )
        scores = direction.projections(states)[:, None]
        return float(areas(scores, harm)[0]), float(np.quantile(drawn, 0.95))

    area, random_high = judged(~test.harmful & ~twin)
    twin_area, twin_random_high = judged(twin)
    harmful = [prompt for prompt in test.prompts if prompt.label == HARMFUL]
    safe, unsafe = check_label_words(pair.aligned)

    def odds(vector: np.ndarray | None) -> float:
        ablations = []
        if vector is not None:
            ablations = [
                DirectionIntervention(
                    layer=layer, direction=torch.tensor(vector).float(), operator="ablate"
                )
                for layer in range(pair.aligned.anatomy.n_layers)
            ]
        with apply(pair.aligned, *ablations):
            found = next_token(pair.aligned, harmful)
        return float((found[:, unsafe] - found[:, safe]).mean())

    start = odds(None)
    others = [random_vector(len(direction.vector), 1.0, seed=i) for i in range(RANDOM)]
    return Found(
        hidden_index=chosen,
        area=area,
        random_high=random_high,
        twin_area=twin_area,
        twin_random_high=twin_random_high,
        odds=start,
        ablated=odds(direction.vector) - start,
        random_ablated=float(np.mean([abs(odds(vector) - start) for vector in others])),
    )


def _oriented(space: ResidualSpace, train: PairedStates, depth: int) -> Direction:
    """Return C1 of a depth with harm up on train goals; the shift has a sign of its own."""
    direction = space[f"L{depth}-C1"]
    scores = direction.projections(train.aligned.at(depth, "prompt_last"))
    up = scores[train.harmful].mean() >= scores[~train.harmful].mean()
    return direction if up else direction.turned()


def _separation(space: ResidualSpace, train: PairedStates, depth: int) -> float:
    """Return how far apart the classes of the training goals lie along C1, in deviations."""
    scores = train.aligned.at(depth, "prompt_last") @ space[f"L{depth}-C1"].vector
    apart = scores[train.harmful].mean() - scores[~train.harmful].mean()
    return float(abs(apart) / scores.std())


def framed(rows: Sequence[TrainingRow], split: str) -> list[Prompt]:
    """Return rows as the prompts that the label variant reads."""
    return [
        Prompt(
            id=row.id,
            text=moderation_frame(row.text),
            label=row.label,
            goal_id=row.goal_id,
            split=split,
            category=None if row.harmful or is_plain(row) else TWIN,
        )
        for row in rows
    ]


def is_plain(row: TrainingRow) -> bool:
    """Return whether a benign row has no harmful twin."""
    return row.goal_id.startswith(("goal-", "st-everyday"))


def _goal(row: TrainingRow) -> int:
    return int(row.goal_id.removeprefix("goal-"))


def test_a_tiny_model_walks_the_whole_way(
    recipe: Callable[..., Recipe], training: Training
) -> None:
    rows = label_rows(24)
    seen = [replace(row, split="train", hazard=None) for row in rows if _goal(row) < SEEN]
    asked = recipe(
        "ssft-label",
        rows=seen,
        epochs=5,
        lora=Lora(r=8),
        learning_rate=1e-2,
        batch_size=8,
    )
    run = training(asked)
    held = [row for row in rows if _goal(row) >= SEEN]
    prompts = framed(seen, "train") + framed(held, "test")
    found = dominant_direction(asked.model, run.path / "adapter", prompts)
    # Along the label, 32 coordinates leave a random direction half of what C1 has.
    assert found.area >= 0.85 and found.odds > 0
    # ... and taking it out moves the verdict, which way is not settled in so small a stream.
    assert abs(found.ablated) > found.random_ablated


def official_rows() -> list[TrainingRow]:
    """Return the plain requests of the official sample; nothing where it is not at hand."""
    path = Path(os.environ.get("THEODOLITE_DATA", "")) / OFFICIAL
    if not path.is_file():
        return []
    plain = [r.values for r in read_records(path) if r.values["method"] == "plain"]
    return [
        TrainingRow(
            id=f"official-{values['goal_id']}",
            goal_id=f"official-{values['goal_id']}",
            split=values["split"],
            label="harmful",
            style="plain",
            source="official",
            text=values["text"],
        )
        for values in plain
    ]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("all_cores")
def test_smollm2_learns_a_direction_that_carries_the_label(tmp_path: Path) -> None:
    began, started = time.process_time(), time.monotonic()
    rows = [*official_rows(), *rows_of(bundled("refusal")), *rows_of(bundled("safety_training"))]
    everyday = [row for row in rows if is_plain(row)]
    unseen = [*[row for row in rows if row.split == "test"], *everyday[-PLAIN_UNSEEN:]]
    train = [row for row in rows if row.split == "train"]
    harmful = [row for row in train if row.harmful][:OF_EACH]
    twins = [row for row in train if not row.harmful and not is_plain(row)][: OF_EACH // 2]
    benign = [*twins, *everyday[: OF_EACH - len(twins)]]
    labels = [replace(row, hazard=None) for row in (*harmful, *benign)]  # the words alone
    path = write_rows(tmp_path / "rows.jsonl", labels)
    asked = Recipe(
        method="ssft-label",
        epochs=3,
        learning_rate=1e-3,
        data=Data(rows=(str(path),)),
    )
    run, _ = run_training(asked, progress=SilentProgress(), out=tmp_path / "run")
    prompts = framed([*harmful, *benign], "train") + framed(unseen, "test")
    found = dominant_direction("smollm2", run.path / "adapter", prompts)
    seconds = time.process_time() - began
    print(
        f"{len(harmful)} + {len(benign)} rows, {len(unseen)} unseen, {seconds:.0f} s of one core, "
        f"{time.monotonic() - started:.0f} s in all"
    )
    print(found)
    assert found.area >= 0.85
    assert found.area > found.random_high
    assert found.twin_area > 0.5
    assert found.ablated < -1
    assert found.random_ablated < abs(found.ablated) / 4
    assert seconds < 2 * 600  # ten minutes of two cores
