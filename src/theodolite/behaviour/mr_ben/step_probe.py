"""Does the network know the first wrong step where it has just read it?

The stream is read at the last token of every step, and a logistic probe is fitted at each depth to
tell first wrong steps from right ones. Questions are split, never steps. Errors come late in long
solutions, so the floor is what the step's place alone tells; labels that were shuffled show what
the probe makes of nothing. Steps behind the first wrong one are neither, and are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.behaviour.mr_ben.data import limited
from theodolite.behaviour.mr_ben.scoring import NAME
from theodolite.behaviour.mr_ben.slots import TOO_LONG
from theodolite.behaviour.mr_ben.stepwise import prompts_of
from theodolite.behaviour.mr_ben.walks import Walk, walk_of
from theodolite.data.step_critique import CritiqueSet
from theodolite.errors import ConfigError, DataError
from theodolite.measure.closed_form import Floats
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.ranking import auroc
from theodolite.mechanism.probes.classifiers import Design, fit_many
from theodolite.mechanism.probes.held_out import area_under_curve, fit_apart
from theodolite.mechanism.probes.splits import inner_folds
from theodolite.mechanism.probes.threads import one_blas_thread
from theodolite.runs.figures import FloorLine, Series, curve_by_layer
from theodolite.runs.panel import Figure, PanelResult
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

METHOD_VERSION: Final = 1
PROBE: Final = "logistic"
TRAIN_SHARE: Final = 0.6
CHOOSING_SHARE: Final = 0.25  # of the training questions, held back to choose the depth
CONTROLS: Final = 3
QUESTIONS: Final = 50  # of each subject; the probe's cost grows with the square of the steps
UNKNOWN: Final = "the gold step is no label of the solution"
UNPLACED: Final = "its steps cannot be placed among the tokens"


@dataclass(frozen=True, eq=False)
class StepStates:
    """The stream at the last token of each step.

    Args:
        values: float32, axes (step, layer, d_model).
        layers: blocks whose output is read, ascending.
        wrong: whether each step is the first wrong one; axis (step).
        places: of each step in its solution, from 0; axis (step).
        questions: of each step.
        left_out: reason -> solutions without states.
    """

    values: NDArray[np.float32]
    layers: tuple[int, ...]
    wrong: NDArray[np.bool_]
    places: NDArray[np.int64]
    questions: tuple[str, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class StepProbe:
    """What probes make of steps of questions they have not seen.

    Args:
        layers: blocks, ascending.
        scores: above 0 means first wrong step; axes (layer, test step).
        wrong, places, questions: of the test steps.
        chosen: the layer that held-back training questions choose.
        choosing: AUROC on those, axis (layer).
        control: AUROC of probes fitted to shuffled labels, on shuffled labels; axes (shuffle,
            layer).
        n_train: steps that were fitted.
        left_out: reason -> solutions without states.
        seed: of split, shuffles and bootstraps.
    """

    layers: tuple[int, ...]
    scores: Floats
    wrong: NDArray[np.bool_]
    places: NDArray[np.int64]
    questions: tuple[str, ...]
    chosen: int
    choosing: Floats
    control: Floats
    n_train: int
    left_out: Mapping[str, int]
    seed: int = 0

    @property
    def floor(self) -> Floor:
        """What the place of a step tells by itself, in the better direction."""
        alone = auroc(self.places, self.wrong)
        best = max(alone, 1 - alone)
        return Floor("the step's place alone", best) if best > 0.5 else Floor("chance", 0.5)

    def auroc(self, layer: int) -> Measurement:
        """Return the AUROC of one layer on test questions."""
        at = self.layers.index(layer)
        found = area_under_curve(
            f"{NAME}/step_probe/auroc",
            self.scores[at],
            self.wrong.astype(np.int64),
            self.questions,
            seed=self.seed,
        )
        return replace(found, floor=self.floor)

    def measurements(self) -> list[Measurement]:
        """Return the AUROC at the chosen layer, and what shuffled labels give there."""
        at = self.layers.index(self.chosen)
        shuffled = Measurement(
            name=f"{NAME}/step_probe/shuffled_auroc",
            value=float(self.control[:, at].mean()),
            unit="auroc",
            n=len(self.wrong),
            n_clusters=len(set(self.questions)),
            floor=Floor("chance", 0.5),
            range=(0.0, 1.0),
            reason=f"no interval: the mean of {len(self.control)} shuffles; it should be chance",
        )
        return [self.auroc(self.chosen), shuffled]

    def frame(self) -> list[dict[str, Any]]:
        """Return a row per layer."""
        rows = []
        for at, layer in enumerate(self.layers):
            found = self.auroc(layer)
            rows.append(
                {
                    "layer": layer,
                    "hidden_index": layer + 1,
                    "auroc": found.value,
                    "low": found.low,
                    "high": found.high,
                    "choosing_auroc": float(self.choosing[at]),
                    "shuffled_auroc": float(self.control[:, at].mean()),
                    "chosen": layer == self.chosen,
                }
            )
        return rows

    def figure(self) -> Figure:
        """Draw AUROC by depth beside shuffled labels and the floor."""
        rows = self.frame()
        depth = [row["hidden_index"] for row in rows]
        bands = {end: [row[end] for row in rows] for end in ("low", "high")}
        return Figure(
            name="mr_ben_step_probe",
            title="First wrong steps told from right ones, by depth",
            caption="AUROC on questions that the probe has not seen, with 95 % intervals over "
            "questions; the stream is read at the last token of each step.",
            spec=curve_by_layer(
                [
                    Series("probe", depth, [row["auroc"] for row in rows], **bands),
                    Series("shuffled labels", depth, [row["shuffled_auroc"] for row in rows]),
                ],
                y_title="AUROC",
                unit="auroc",
                floors=[FloorLine(self.floor.name, self.floor.value), FloorLine("chance", 0.5)],
            ),
            table="mr_ben_step_probe",
        )

    def result(self) -> PanelResult:
        """Return everything for a report."""
        found = self.auroc(self.chosen)
        beyond = found.low is not None and found.low > self.floor.value
        kept = "; ".join(f"{count} left out: {why}" for why, count in self.left_out.items())
        return PanelResult(
            measurements=self.measurements(),
            tables={"mr_ben_step_probe": self.frame()},
            figures=[self.figure()],
            findings=[
                f"At layer {self.chosen}, a probe puts a first wrong step above a right one "
                f"{found.value:.0%} of the time; {self.floor.name} reaches {self.floor.value:.0%}"
                + ("." if beyond else ", which is not clearly less.")
            ],
            limits=[
                "A probe shows that the network holds something that goes with errors, not that "
                "its answers use it."
            ],
            how=[
                f"Logistic probes on {self.n_train} steps, tested on {len(self.wrong)} steps of "
                f"other questions; the layer is chosen on held-back training questions; seed "
                f"{self.seed}." + (f" {kept}." if kept else "")
            ],
            labels={
                f"{NAME}/step_probe/auroc": "first wrong steps told from right ones, inside",
                f"{NAME}/step_probe/shuffled_auroc": "the same with shuffled labels",
            },
        )


def step_probe(
    model: LanguageModel,
    rows: CritiqueSet,
    *,
    layers: Sequence[int] | None = None,
    questions: int | None = QUESTIONS,
    run: Run | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> StepProbe:
    """Probe the stream behind each step for whether it is the first wrong one.

    Args:
        model: an open local model; active interventions act.
        rows: the solutions; programs and solutions without labels are left out.
        layers: blocks whose output is read; None takes all.
        questions: of each subject, see `limited`; None takes all.
        run: finished passes are kept in its journal.
        seed: of split, shuffles and bootstraps.

    Raises:
        ConfigError: there is no such layer.
        DataError: there are too few questions with right and with wrong steps.
    """
    model.require("hidden_states")
    chosen = rows if questions is None else limited(rows, questions)
    walks = [walk_of(row) for row in chosen if row.labels and not row.coding]
    found = read_steps(model, walks, layers=layers, run=run, progress=progress)
    return fit_steps(found, seed=seed)


def read_steps(
    model: LanguageModel,
    walks: Sequence[Walk],
    *,
    layers: Sequence[int] | None = None,
    run: Run | None = None,
    progress: Progress | None = None,
) -> StepStates:
    """Return the stream at the last token of each step that is right or first wrong.

    Args:
        walks: solutions, cut at their steps.
        layers, run: as for `step_probe`.

    Raises: ConfigError: there is no such layer.
    """
    from theodolite.behaviour.mr_ben.step_states import states_at

    wanted = tuple(sorted(set(range(model.anatomy.n_layers) if layers is None else layers)))
    if not wanted or wanted[0] < 0 or wanted[-1] >= model.anatomy.n_layers:
        raise ConfigError(
            f"There are no layers {list(wanted)}.", fix=f"Use 0 to {model.anatomy.n_layers - 1}."
        )
    left: Counter[str] = Counter()
    kept, tokens = [], []
    for walk, prompts in zip(walks, prompts_of(model, walks), strict=True):
        places = None if prompts is None else walk.last_tokens(model, prompts[-1])
        if prompts is None or places is None or None in walk.wrong[:1]:
            left[TOO_LONG if prompts is None else UNKNOWN if places else UNPLACED] += 1
            continue
        known = [i for i, wrong in enumerate(walk.wrong) if wrong is not None]
        kept.append((walk, known, prompts[-1]))
        tokens.append([places[i] for i in known])
    values = states_at(
        model,
        [encoded for _, _, encoded in kept],
        tokens,
        wanted,
        journal=None if run is None else run.journal,
        progress=progress,
    )
    steps = [(walk, i) for walk, known, _ in kept for i in known]
    return StepStates(
        values=values,
        layers=wanted,
        wrong=np.array([bool(walk.wrong[i]) for walk, i in steps]),
        places=np.array([i for _, i in steps], np.int64),
        questions=tuple(f"{walk.sample.subject}/{walk.sample.key}" for walk, _ in steps),
        left_out=dict(left),
    )


def fit_steps(states: StepStates, *, seed: int = 0) -> StepProbe:
    """Fit and test a probe at every layer, beside probes of shuffled labels.

    Args:
        states: of steps; both kinds must occur on both sides of the split.
        seed: of the split by question, the shuffles and the bootstraps.

    Raises: DataError: there are too few questions.
    """
    labels = states.wrong.astype(np.int64)
    train, test = split_questions(states.questions, TRAIN_SHARE, seed=seed)
    own = [states.questions[i] for i in train]
    fitting, choosing = split_questions(own, 1 - CHOOSING_SHARE, seed=seed)
    for part in (train, test, train[fitting], train[choosing]):
        if len(set(labels[part].tolist())) < 2:
            raise DataError(
                f"The {len(set(states.questions))} questions are too few to hold some of them out "
                "with right and wrong steps in each part.",
                fix="Give more questions.",
            )
    drawn = [
        np.random.default_rng(item_seed(seed, "shuffled", k)).permutation(labels)
        for k in range(CONTROLS)
    ]
    every = np.stack([labels, *drawn])
    folds = inner_folds(labels[train], own, seed=item_seed(seed, "inner"))
    shape = len(states.layers)
    scores, chosen = np.zeros((shape, len(test))), np.zeros(shape)
    control = np.zeros((CONTROLS, shape))
    early = [own[i] for i in fitting]
    with one_blas_thread():
        for at in range(shape):
            x = states.values[:, at].astype(np.float64)
            design = Design.of(x[train], x[test])
            real, *shuffled = fit_many(PROBE, design, every[:, train], folds, seed=seed)
            scores[at] = real.test_scores
            for k, one in enumerate(shuffled):
                control[k, at] = auroc(one.test_scores, drawn[k][test])
            first, second = train[fitting], train[choosing]
            fitted = fit_apart(PROBE, x[first], labels[first], early, x[second], seed=seed)
            chosen[at] = auroc(fitted.test_scores, labels[second])
    return StepProbe(
        layers=states.layers,
        scores=scores,
        wrong=states.wrong[test],
        places=states.places[test],
        questions=tuple(states.questions[i] for i in test),
        chosen=states.layers[int(chosen.argmax())],
        choosing=chosen,
        control=control,
        n_train=len(train),
        left_out=states.left_out,
        seed=seed,
    )


def split_questions(
    questions: Sequence[str], share: float, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the items of a share of the questions, and those of the others; none is in both.

    Args:
        questions: of each item.
        share: of the questions, in the first part.
        seed: of the order in which they are taken.
    """
    order = sorted(set(questions), key=lambda name: (item_seed(seed, "probe split", name), name))
    first = set(order[: round(share * len(order))])
    inside = np.array([name in first for name in questions], bool)
    return np.flatnonzero(inside), np.flatnonzero(~inside)
