"""Panels for audits of tiny models, in this process or in one that is killed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from theodolite.behaviour.bias import panel as bias
from theodolite.behaviour.continuing import panels as continuing
from theodolite.behaviour.continuing.options import NONE
from theodolite.behaviour.debateqa import panel as debateqa
from theodolite.behaviour.mr_ben import panel as mr_ben
from theodolite.behaviour.preemptive_answers import panel as preemptive_answers
from theodolite.behaviour.toxicity import panel as toxicity


def make_small() -> list[tuple[Any, str, Any]]:
    """Let panels open no second model, and ask little.

    Returns: module, name and former value of all that was changed.
    """
    short = {"limit": 2, "n": 1, "methods": "raw,base,rewrite_only", "caps": "4,4,3"}
    brief = {"limit": 1, "max_tokens": 4}
    changes: list[tuple[Any, str, Any]] = [
        (debateqa, "SCORER", NONE),
        (continuing, "LM", NONE),
        *(
            (module, "PLANS", {p: replace(plan, **short) for p, plan in module.PLANS.items()})
            for module in (toxicity, bias)
        ),
        *(
            (module, "PLANS", {p: replace(plan, **brief) for p, plan in module.PLANS.items()})
            for module in (mr_ben, preemptive_answers)
        ),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    return before
