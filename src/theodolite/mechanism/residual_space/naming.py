"""Names for directions without a judge: what they tell apart, and a test of that on new prompts.

A direction is compared with every theme (harm, each style, each category) on the prompts it may
have been fitted on. A theme is clear where the direction reads it more strongly than random
directions read any theme. The label is then tried out: from it alone, which of two new prompts
projects higher? Words are beside it as a hint: what the output layer has along the direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from theodolite.measure.closed_form import wilson
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.multiple import holm
from theodolite.mechanism.lens.logit_lens import top_tokens
from theodolite.mechanism.lens.vocabulary import shown_token
from theodolite.mechanism.residual_space.style_cells import Cells, Floats, StyleDesign
from theodolite.mechanism.residual_space.themes import (
    RESAMPLES,
    Theme,
    ranked,
    standardised,
    themes_of,
)
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

NO_THEME: Final = "no clear theme"
TOKENS: Final = 8
# A theme is clear where fewer than one random direction in twenty reads any theme as strongly.
CLEAR: Final = 0.95
CHANCE: Final = 0.5


@dataclass(frozen=True)
class Label:
    """What a direction tells apart.

    Args:
        words: what tables call it.
        kind, theme: of the theme; None where none is clear.
        sign: 1 where prompts of the theme project higher, -1 where lower.
        contrast: how far they lie apart, in standard deviations within a cell.
        strength: that contrast over the usual one (root mean square) of random directions.
        threshold: the strength that is exceeded once in twenty random directions, for any theme.
    """

    words: str
    kind: str | None
    theme: str | None
    sign: int
    contrast: float
    strength: float
    threshold: float


@dataclass(frozen=True, eq=False)
class Naming:
    """Labels of some directions, how well they predict, and words beside them.

    Args:
        names, hidden_indices: of the directions.
        labels: one per direction.
        accuracy: from the label alone, which of two new prompts projects higher; one measurement
            per direction, `not_measured` where there is no theme.
        raised, lowered: tokens that the output layer raises and lowers most along the direction;
            a weak hint, as later blocks read the direction first.
        words: words of prompts that drive the projection, where relevance was computed.
    """

    names: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    labels: tuple[Label, ...]
    accuracy: tuple[Measurement, ...]
    raised: tuple[tuple[str, ...], ...]
    lowered: tuple[tuple[str, ...], ...]
    words: Mapping[str, tuple[str, ...]]

    @property
    def p_adjusted(self) -> dict[str, float]:
        """Chance of telling so many pairs right by guessing, by direction that has a theme.

        Adjusted (Holm) over all of them; a label without an interval counts as a guess.
        """
        told = {n: m for n, m in zip(self.names, self.accuracy, strict=True) if m.value is not None}
        return dict(zip(told, holm([_guessed(m) for m in told.values()]).tolist(), strict=True))

    @property
    def holding(self) -> tuple[str, ...]:
        """The directions whose label holds on new goals.

        Its interval lies above one half, and it does so after adjustment over all named directions.
        """
        adjusted = self.p_adjusted
        return tuple(
            name
            for name, m in zip(self.names, self.accuracy, strict=True)
            if m.low is not None and m.low > CHANCE and adjusted[name] < 1 - m.level
        )

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per direction."""
        adjusted, holding = self.p_adjusted, self.holding
        return [
            {
                "direction": name,
                "hidden_index": self.hidden_indices[i],
                "label": label.words,
                "contrast": label.contrast,
                "strength": label.strength,
                "strength_floor": label.threshold,
                "accuracy": self.accuracy[i].value,
                "accuracy_low": self.accuracy[i].low,
                "accuracy_high": self.accuracy[i].high,
                "p_holm": adjusted.get(name),
                "holds": name in holding,
                "n": self.accuracy[i].n,
                "raised_tokens": " ".join(self.raised[i]),
                "lowered_tokens": " ".join(self.lowered[i]),
                "relevant_words": " ".join(self.words.get(name, ())),
            }
            for i, (name, label) in enumerate(zip(self.names, self.labels, strict=True))
        ]


def _guessed(accuracy: Measurement) -> float:
    """Return the chance of so high an accuracy by guessing, from the spread of the resamples.

    Where every goal is told right there is no spread, and each was one guess.
    """
    if accuracy.value is None or accuracy.low is None or accuracy.high is None:
        return 1.0
    if accuracy.method == "wilson" and accuracy.n_clusters is not None:
        return CHANCE**accuracy.n_clusters if accuracy.value == 1.0 else 1.0
    spread = (accuracy.high - accuracy.low) / (2 * NormalDist().inv_cdf((1 + accuracy.level) / 2))
    return 1 - NormalDist().cdf((accuracy.value - CHANCE) / spread)


def _fewest_goals(theme: Theme, design: StyleDesign) -> int:
    """Return the goals on the side of a theme that has fewer."""
    sides = zip(*theme.parts(), strict=True)
    return min(len({design.clusters[i] for rows in side for i in rows}) for side in sides)


def choose_labels(
    design: StyleDesign,
    projections: Floats,
    hidden_indices: Sequence[int],
    random: Mapping[int, Floats],
) -> list[Label]:
    """Return the theme that each direction reads most strongly, against random directions.

    Source: ours.

    Args:
        design: of prompts to choose on, in styles that fits may see.
        projections: of them, axes (direction, prompt).
        hidden_indices: of the directions.
        random: projections on random directions by hidden_index, axes (draw, prompt).

    Note: states of a language model differ more by style than by harm along any direction, so each
        contrast is measured by what random directions of that depth have.
    """
    themes = themes_of(design)
    found = standardised(themes, projections, Cells(design, projections).split().spread[0])
    scales = {int(h): _usual(design, themes, random[int(h)]) for h in dict.fromkeys(hidden_indices)}
    return [_label(themes, found[:, i], *scales[int(h)]) for i, h in enumerate(hidden_indices)]


def _usual(design: StyleDesign, themes: Sequence[Theme], random: Floats) -> tuple[Floats, float]:
    """Return the usual contrast of random directions by theme, and the strength few exceed."""
    spread = Cells(design, random).split().spread[0]
    drawn = np.nan_to_num(standardised(themes, random, spread))
    scale = np.sqrt((drawn**2).mean(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        strongest = np.nan_to_num(np.abs(drawn) / scale[:, None]).max(0)
    return scale, float(np.quantile(strongest, CLEAR))


def _label(themes: Sequence[Theme], contrasts: Floats, scale: Floats, threshold: float) -> Label:
    with np.errstate(invalid="ignore", divide="ignore"):
        strengths = np.nan_to_num(np.abs(contrasts) / scale, posinf=np.inf)
    best = int(np.argmax(strengths))
    value = float(contrasts[best]) if np.isfinite(contrasts[best]) else 0.0
    strength = float(min(strengths[best], 1e6))
    if strength <= threshold:
        return Label(NO_THEME, None, None, 1, value, strength, threshold)
    theme, sign = themes[best], 1 if contrasts[best] >= 0 else -1
    return Label(_words(theme, sign), theme.kind, theme.name, sign, value, strength, threshold)


def _words(theme: Theme, sign: int) -> str:
    if theme.kind == "harm":
        return "harm" if sign > 0 else "harmless"
    return f"{'mostly' if sign > 0 else 'least'}: {theme.name}"


def validate(
    labels: Sequence[Label],
    names: Sequence[str],
    design: StyleDesign,
    projections: Floats,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> list[Measurement]:
    """Return how often a label alone tells which of two new prompts projects higher.

    Args:
        labels, names: of the directions.
        design: of prompts that no label was chosen on.
        projections: of them, axes (direction, prompt).
        seed, level, resamples: of the bootstrap over goals.

    Returns: one measurement per direction: the share of right answers over all pairs of prompts of
        which the label speaks of one, alike in all else; chance is one half.
    """
    themes = {(theme.kind, theme.name): theme for theme in themes_of(design)}
    found = []
    for i, (label, name) in enumerate(zip(labels, names, strict=True)):
        said = f"residual_space/{name}/label"
        theme = themes.get((label.kind, label.theme))  # type: ignore[arg-type]
        if label.kind is None or theme is None or not theme.parts():
            absent = "no new prompts are of its theme" if label.kind else "it has no clear theme"
            found.append(not_measured(said, "accuracy", absent, n=0))
            continue
        at = item_seed(seed, "label", name)
        value, low, high = (
            float(end[0])
            for end in ranked(
                *(theme, label.sign * projections[i : i + 1], design.clusters),
                seed=at,
                level=level,
                resamples=resamples,
            )
        )
        goals, method = len(set(design.clusters)), "expanded percentile bootstrap"
        if not np.isfinite(low) and value in (0.0, 1.0):
            # Resamples of goals that are all told right do not vary: goals are counted instead.
            goals = _fewest_goals(theme, design)
            counted = wilson(value * goals, goals, level)
            if counted is not None:
                low, high, method = counted.low, counted.high, counted.method
        known = np.isfinite(low)
        found.append(
            Measurement(
                said,
                value,
                "accuracy",
                n=sum(len(a) + len(b) for a, b in theme.parts()),
                n_clusters=goals,
                low=low if known else None,
                high=high if known else None,
                level=level,
                method=method if known else None,
                floor=Floor("chance", CHANCE),
                range=(0.0, 1.0),
                reason=f"label chosen on other goals: {label.words}"
                + ("" if known else "; no interval: the resamples do not vary"),
            )
        )
    return found


def token_pulls(
    model: LanguageModel, vectors: Floats, *, k: int = TOKENS
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return the tokens that the output layer raises and lowers most along each vector.

    Args:
        model: whose final norm and output layer are read.
        vectors: axes (direction, d_model).
        k: tokens each way.

    Note: of the final norm only what a small step along the vector changes counts, so a bias, or
        how large the stream is there, does not.
    """
    anatomy = model.anatomy
    rows = np.sqrt(vectors.shape[1]) * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    steps = torch.tensor(rows, dtype=model.dtype, device=model.device)
    with torch.inference_mode():
        ends = [anatomy.lm_head(anatomy.final_norm(sign * steps)) for sign in (1, -1)]
        pull = (ends[0] - ends[1]).float()[:, : anatomy.vocab_size]
        found = [top_tokens(sign * pull, k)[1].tolist() for sign in (1, -1)]
    every = sorted({i for rows in found for row in rows for i in row})
    texts = model.tokenizer.batch_decode([[i] for i in every], clean_up_tokenization_spaces=False)
    shown = {i: shown_token(text, i) for i, text in zip(every, texts, strict=True)}
    raised, lowered = ([tuple(shown[i] for i in row) for row in rows] for rows in found)
    return raised, lowered
