"""Which styles an edit opens: the pass-rate matrix, direction by style, beside random directions.

A direction that reads one style of request, not harm, lets harmful requests in that style through
when it is taken out, and no others. So every goal is put in every style, and a change in one style
counts against the largest change in any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import BENIGN, PromptSet, shown
from theodolite.data.styles import Style, styled
from theodolite.engine import generate
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.mechanism.states import encode_for_states
from theodolite.mechanism.steering.selectivity_result import SelectivityResult
from theodolite.mechanism.steering.settings import RANDOM, Settings, settings_of
from theodolite.mechanism.steering.sweep import steer_sweep
from theodolite.mechanism.verdict.outcomes import OUTCOMES, judged

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.engine import Intervention
    from theodolite.mechanism.steering.benign import BenignStates
    from theodolite.mechanism.steering.edits import Edit
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

MAX_NEW_TOKENS: Final = 32
RANDOM_DRAWS: Final = 20


def style_selectivity(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    edits: Sequence[Edit],
    *,
    tokens: Sequence[int],
    styles: Sequence[Style | str] | None = None,
    benign: BenignStates | None = None,
    random_draws: int = RANDOM_DRAWS,
    random_answers: int | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    template: str = "auto",
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> SelectivityResult:
    """Measure which styles of harmful requests each edit lets through.

    Source: the pass-rate matrix of arXiv:2502.09674, read there from one verdict token. Whole
        answers, pairing by goal, intervals, and tests against other styles and random directions
        are ours.

    Args:
        model: an open local model; active interventions act under every edit and without one.
        prompts: bare harmful requests that no edit was made from.
        edits: of different names.
        tokens: ids of the tokens that open a refusal; they are read without writing an answer.
        styles: at least two (default: `benchmark_styles`, plain first).
        benign: states for the edits that go back to them, see `BenignStates.read`.
        random_draws: random edits beside all that do the same along other directions.
        random_answers: how many of these write answers, too; None is all. Every edit is read at the
            first token.
        max_new_tokens: of an answer; greedy.
        template: how prompts are rendered, as for `read_states`.
        journal, progress: of finished units; the work can be stopped and resumed.
        seed: of the random directions.

    Raises:
        ConfigError: an edit does not fit, two share a name, or a number is out of range.
        DataError: there are no prompts, one is benign or stands in a style, fewer than two styles.

    Note: an answer for every setting, goal and style, rows of many settings written together; no
        text of any is kept. The scorer of answers is validated on English only.
    """
    _check(prompts, random_answers, random_draws)
    rows, names = _in_styles(prompts, styles)
    drawn: dict[str, Any] = {"benign": benign, "random_draws": random_draws, "seed": seed}
    kept: dict[str, Any] = {"template": template, "journal": journal, "progress": progress}
    swept = steer_sweep(model, rows, edits, tokens=tokens, **drawn, **kept)
    # The same draws as in the sweep: they depend on the seed and on what the edits do.
    settings, variants = settings_of(model.anatomy, edits, **drawn)
    asked = _asked(settings, random_draws if random_answers is None else random_answers)
    writing = [[], *(variants[i] for i in asked)]
    outcomes = _outcomes(model, rows, writing, max_new_tokens=max_new_tokens, **kept)
    shape = (len(prompts), len(names))
    return SelectivityResult(
        settings=settings,
        answered=tuple(asked),
        outcomes=outcomes[1:].reshape(-1, *shape),
        intact_outcomes=outcomes[0].reshape(shape),
        log_odds=swept.log_odds.reshape(-1, *shape),
        intact_log_odds=swept.intact_log_odds.reshape(shape),
        styles=names,
        prompt_ids=tuple(prompt.id for prompt in prompts),
        clusters=tuple(map(cluster_of, prompts)),
        max_new_tokens=max_new_tokens,
        model=model.name,
        seed=seed,
    )


def _check(prompts: Sequence[Prompt], random_answers: int | None, random_draws: int) -> None:
    if not prompts:
        raise DataError("There are no prompts.", fix="Give at least one harmful request.")
    for prompt in prompts:
        if prompt.label == BENIGN:
            raise DataError(
                f"The prompt {shown(prompt.id)} is benign, and nothing refuses it rightly.",
                fix="Give harmful requests; see `edit_drift` for benign ones.",
            )
    if random_answers is not None and not 0 <= random_answers <= random_draws:
        raise ConfigError(
            f"random_answers is {random_answers}, and there are {random_draws} random draws.",
            fix=f"Give 0 to {random_draws}.",
        )


def _in_styles(
    prompts: Sequence[Prompt], styles: Sequence[Style | str] | None
) -> tuple[list[Prompt], tuple[str, ...]]:
    """Return every prompt in every style, prompt by prompt, and the styles' names.

    Raises: DataError: a prompt stands in a style already, or there are fewer than two.
    """
    wrapped = styled(PromptSet("selectivity", tuple(prompts)), styles)
    names = tuple(dict.fromkeys(str(prompt.style) for prompt in wrapped))
    if len(names) < 2:
        raise DataError("Selectivity needs two styles.", fix="Name at least two.")
    return list(wrapped), names


def _asked(settings: Settings, most: int) -> list[int]:
    """Return the settings that write answers: all edits, and so many random ones of each pool."""
    seen: dict[str, int] = {}
    found = []
    for place, one in enumerate(settings.each):
        if one.kind == RANDOM:
            seen[one.pool] = seen.get(one.pool, 0) + 1
        if one.kind != RANDOM or seen[one.pool] <= most:
            found.append(place)
    return found


def _outcomes(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    variants: Sequence[Sequence[Intervention]],
    *,
    max_new_tokens: int,
    template: str,
    journal: Journal | None,
    progress: Progress | None,
) -> NDArray[np.int8]:
    """Return what became of every prompt under every variant, axes (variant, prompt)."""
    encoded = encode_for_states(model, prompts, template=template)
    written = generate(
        model,
        encoded * len(variants),
        max_new_tokens=max_new_tokens,
        variants=[variant for variant in variants for _ in encoded],
        journal=journal,
        progress=progress,
    )
    labels = [
        OUTCOMES.index(judged(prompts[place % len(prompts)], answer.text).label)
        for place, answer in enumerate(written)
    ]
    return np.array(labels, np.int8).reshape(len(variants), len(prompts))
