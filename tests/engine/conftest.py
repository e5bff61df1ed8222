"""Tiny models, opened once, and prompts that stress sharing, padding and windows."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from tests.models.tiny import TINY, tiny_model
from theodolite.models.chat import Encoded
from theodolite.text.hashing import content_key

torch.set_num_threads(1)

opened = cache(tiny_model)


@pytest.fixture(params=sorted(TINY))
def family(request: pytest.FixtureRequest) -> Any:
    """Every family that has a tiny model."""
    return opened(request.param)


@pytest.fixture
def llama() -> Any:
    """The plainest family."""
    return opened("llama")


def bare(ids: list[int], name: str = "") -> Encoded:
    """Return token ids as a prompt: the middle third stands for the instruction."""
    third = len(ids) // 3
    span = (third, max(2 * third, third + 1))
    return Encoded(tuple(ids), "", span, (span[1], len(ids)), content_key(ids), name)


@pytest.fixture
def prompts() -> list[Encoded]:
    """A header shared by all, groups that share more, equal prompts, and a prefix of another."""
    draw = torch.Generator().manual_seed(7)

    def tokens(count: int) -> list[int]:
        return torch.randint(2, 300, (count,), generator=draw).tolist()

    header, long, short = tokens(20), tokens(30), tokens(24)
    rows = [header + tokens(count) for count in (3, 9, 1)]
    rows += [header + long + tokens(count) for count in (2, 5, 1, 11)]
    rows += [header + short + tokens(count) for count in (4, 4, 6)]
    rows += [rows[1], rows[5], rows[4][:-2], tokens(8), tokens(31)]
    return [bare(ids, f"p{i}") for i, ids in enumerate(rows)]
