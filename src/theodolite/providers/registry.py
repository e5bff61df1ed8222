"""What inspect_ai loads when it meets the name `theodolite`: the provider and the tasks.

The provider's class is imported when a model is opened, torch later still, so that listing tasks
stays fast.
"""

from __future__ import annotations

from importlib import import_module

from inspect_ai.model import ModelAPI, modelapi


@modelapi(name="theodolite")
def theodolite() -> type[ModelAPI]:
    """Return the provider of local models: `--model theodolite/<ref>`."""
    from theodolite.providers.theodolite import TheodoliteAPI

    return TheodoliteAPI


# inspect loads one module per package, this one, so it must also bring in the tasks, which live on
# a higher floor. Naming that floor here is the one upward step; nothing below depends on it.
import_module("theodolite.behaviour.registry").register_tasks()
