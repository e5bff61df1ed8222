"""Contrast spaces: two prompts of one model, named for what they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.mechanism.residual_space.made import made_paired, made_prompts
from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt, PromptSet
from theodolite.data.styles import benchmark_styles, styled
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.residual_space.collect import PairedStates
from theodolite.mechanism.residual_space.contrast import ContrastSpace, collect_contrast
from theodolite.mechanism.residual_space.space import ResidualSpace
from theodolite.mechanism.states import read_states
from theodolite.models.handle import LanguageModel


def prompts() -> tuple[Prompt, ...]:
    """Return twins in three styles; a pair is a goal's harmful and benign prompt."""
    bare = [
        replace(p, goal_id=p.id, pair_id=f"pair-{i // 2}") for i, p in enumerate(made_prompts(16))
    ]
    names = [s.name for s in benchmark_styles()][:3]
    return tuple(styled(PromptSet("made", tuple(bare)), names))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_model()


@pytest.fixture(scope="module")
def harm(model: LanguageModel) -> PairedStates:
    return collect_contrast(model, prompts(), "harm", hidden_indices=(1, 3))


def test_style_contrast_is_wrapped_minus_plain(model: LanguageModel) -> None:
    rows = prompts()
    paired = collect_contrast(model, rows, "style", hidden_indices=(2,))
    assert len(paired) == 32
    for i in (0, 31):
        prompt = paired.prompts[i]
        plain = next(p for p in rows if p.style == "plain" and p.goal_id == prompt.goal_id)
        both = read_states(model, [prompt, plain], hidden_indices=(2,)).at(2, "prompt_last")
        np.testing.assert_allclose(paired.shift(2, "prompt_last")[i], both[0] - both[1], atol=1e-4)
    # All styles and both twins of a goal stay together.
    assert len(set(paired.goals)) == 8


def test_harm_contrast_is_harmful_minus_its_twin(harm: PairedStates) -> None:
    assert len(harm) == 24
    assert harm.harmful.all()
    assert not set(harm.aligned.prompt_ids) & set(harm.base.prompt_ids)
    space = ContrastSpace.fit(harm, quality=False)
    assert space.kind == "harm contrast"
    assert space["L3-C1"].method == "harm contrast shift_centered"
    assert all(m.name.startswith("harm_contrast_space/") for m in space.measurements())
    assert not any("residual" in str(value) for row in space.frame() for value in row.values())


def test_neither_space_takes_the_other_s_shift(harm: PairedStates) -> None:
    with pytest.raises(ConfigError, match="'harm contrast'"):
        ResidualSpace.fit(harm)
    own = np.random.default_rng(0).standard_normal((20, 1, 4))
    with pytest.raises(ConfigError, match="A ContrastSpace was asked of a shift that is 'resid"):
        ContrastSpace.fit(made_paired(own, own))


def test_bad_contrasts_are_refused(model: LanguageModel) -> None:
    with pytest.raises(ConfigError, match="There is no contrast 'styles'"):
        collect_contrast(model, prompts(), "styles")
    with pytest.raises(DataError, match="0 prompts have a counterpart"):
        collect_contrast(model, made_prompts(12), "style")
