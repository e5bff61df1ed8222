"""Faithfulness: a true map parts the curves, a shuffled one does not, and chance is beside both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.mechanism.planted_shortcut import PlantedShortcut, plant_shortcut
from tests.mechanism.relevance.small import PROMPTS, directions
from tests.models.tiny import tiny_model
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.mechanism.relevance import BACKENDS, Relevance, relevance
from theodolite.mechanism.relevance.faithfulness import Faithfulness, faithfulness
from theodolite.mechanism.relevance.query import make_query
from theodolite.mechanism.relevance.removal import scores_without
from theodolite.mechanism.states import encode_for_states


@pytest.fixture(scope="module")
def planted() -> PlantedShortcut:
    return plant_shortcut()


def maps_of(planted: PlantedShortcut, count: int = 12) -> list[Relevance]:
    prompts = [p for p in planted.prompts if p.style == "trigger"][:count]
    return [
        relevance(planted.model, prompts, [planted.direction], backend=backend)  # type: ignore[arg-type]
        for backend in BACKENDS
    ]


@pytest.mark.parametrize("removal", ["neutral", "mask"])
def test_every_back_end_beats_a_random_order_on_a_planted_trigger(
    planted: PlantedShortcut, removal: str
) -> None:
    maps = maps_of(planted)
    found = tried(planted, maps, removal)
    rows = {m.name: m for m in found.measurements()}
    for name in found.maps:
        area = rows[f"relevance/faithfulness/{name}/means@L3/{removal}"]
        assert area.floor is not None and area.low is not None and area.value is not None
        assert area.low > area.floor.value and area.value > 0.3
        alike = rows[f"relevance/correlation with leaving out/{name}/means@L3"]
        assert alike.value is not None and alike.value > 0.8
        assert alike.floor is not None and abs(alike.floor.value) < 0.5
    assert len(found.frame()) == len(maps) * len(found.shares)


def tried(planted: PlantedShortcut, maps: list[Relevance], removal: str) -> Faithfulness:
    prompts = [p for p in planted.prompts if p.id in maps[0].prompt_ids]
    return faithfulness(
        planted.model, prompts, [planted.direction], maps, exact=maps[-1], removal=removal
    )


def test_a_map_turned_upside_down_has_the_opposite_area(planted: PlantedShortcut) -> None:
    right = maps_of(planted, 6)[0]
    assert right.tokens is not None
    jitter = 1e-12 * np.arange(len(right.tokens))[:, None]  # no ties, whose order is by place
    right = replace(right, tokens=right.tokens + jitter)
    wrong = replace(right, tokens=-right.tokens)  # type: ignore[operator]
    areas = tried(planted, [right, wrong], "neutral").areas()
    assert np.allclose(areas[0], -areas[1], atol=1e-6)
    assert areas[0].mean() > 0.3


def test_hidden_tokens_are_those_of_a_plain_masked_run() -> None:
    model = tiny_model()
    target = directions(3, 1)
    encoded = encode_for_states(model, PROMPTS)
    query = make_query(model, target, "tokens", span=False, position="prompt_last", boundaries=())
    variants = [(0, ()), (1, (4, 5)), (0, (3,)), (2, (3,))]
    found = scores_without(model, query, encoded, variants, "mask")
    for (i, gone), score in zip(variants, found[:, 0], strict=True):
        ids = torch.tensor([encoded[i].ids])
        mask = torch.ones_like(ids)
        mask[0, list(gone)] = 0
        output = model.module(
            input_ids=ids,
            attention_mask=mask,
            position_ids=torch.arange(ids.shape[1])[None],
            output_hidden_states=True,
        )
        # The last entry stands after the final norm, so the last block is read by a hook instead.
        stream: list[torch.Tensor] = []
        handle = model.anatomy.blocks[2].register_forward_hook(
            lambda _m, _a, out, stream=stream: stream.append(
                out[0] if isinstance(out, tuple) else out
            )
        )
        model.module(
            input_ids=ids, attention_mask=mask, position_ids=torch.arange(ids.shape[1])[None]
        )
        handle.remove()
        assert len(output.hidden_states) == 4
        wanted = stream[0][0, -1].double().numpy() @ target[0].vector
        assert float(score) == pytest.approx(float(wanted), rel=1e-4)


def test_what_cannot_be_tested_is_refused(planted: PlantedShortcut) -> None:
    model, target = planted.model, [planted.direction]
    prompts = planted.prompts[:3]
    own = relevance(model, prompts, target)
    for error, match, call in (
        (ConfigError, "do not ascend", {"shares": (0.4, 0.2)}),
        (ConfigError, "not taken away by 'delete'", {"removal": "delete"}),
        (DataError, "no maps", {"maps": []}),
        (DataError, "not of these prompts", {"prompts": planted.prompts[1:4]}),
        (DataError, "not of these prompts", {"exact": replace(own, fingerprint="other")}),
    ):
        given = {"prompts": prompts, "targets": target, "maps": [own], **call}
        with pytest.raises(error, match=match):
            faithfulness(model, **given)  # type: ignore[arg-type]
    bloom = tiny_model("bloom")
    exact = relevance(bloom, PROMPTS, directions(3, 1), backend="leave_one_out")
    with pytest.raises(CapabilityError, match="counts positions by the mask"):
        faithfulness(bloom, PROMPTS, directions(3, 1), [exact], removal="mask")
    assert faithfulness(bloom, PROMPTS, directions(3, 1), [exact], draws=1).areas().shape == (
        1,
        3,
        1,
    )
