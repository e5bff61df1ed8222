"""Settings of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# In continuous integration property tests draw the same examples every time, so that a run fails
# for what changed; everywhere else they go on looking.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("local", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture
def all_cores() -> Iterator[None]:
    """Small tests take one thread each; a real model takes what there is."""
    import torch

    before = torch.get_num_threads()
    allowed = getattr(os, "sched_getaffinity", None)  # Linux alone; a container may allow fewer
    torch.set_num_threads(len(allowed(0)) if allowed else os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)
