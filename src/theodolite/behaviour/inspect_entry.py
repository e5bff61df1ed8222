"""What inspect_ai loads when it meets the name `theodolite`: provider, tasks, solvers and scorer.

inspect loads one module per package, so the one that knows the tasks names the provider too. The
provider's class is imported when a model is opened, torch later still: listing tasks stays fast.
"""

from __future__ import annotations

from inspect_ai.model import ModelAPI, modelapi

from theodolite.behaviour.registry import register_tasks

# Importing them registers the solvers, which any task can use: `--solver theodolite/pet`.
from theodolite.correction import any_depth  # noqa: F401
from theodolite.correction.perspective_taking import (  # noqa: F401
    professions,
    solvers,
    tool_solvers,
)
from theodolite.mechanism.detector import scorer  # noqa: F401 - importing it registers the scorer


@modelapi(name="theodolite")
def theodolite() -> type[ModelAPI]:
    """Return the provider of local models: `--model theodolite/<ref>`."""
    from theodolite.providers.theodolite import TheodoliteAPI

    return TheodoliteAPI


register_tasks()
