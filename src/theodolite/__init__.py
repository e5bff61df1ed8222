"""Theodolite: measure how a language model behaves, explain it inside the network, report it.

    import theodolite as th

    model = th.open_model("smollm2")
    states = th.capture(model, th.bundled("refusal"), sites=("resid_post",))

Names are imported when they are first used, so that `import theodolite` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "Measurement": "theodolite.measure.measurement",
    "Prompt": "theodolite.data.prompts",
    "PromptSet": "theodolite.data.prompts",
    "read_prompts": "theodolite.data.readers",
    "bundled": "theodolite.data.bundled",
    "official": "theodolite.data.catalogue",
    "Run": "theodolite.runs.run",
    "open_model": "theodolite.models",
    "LanguageModel": "theodolite.models",
    "capture": "theodolite.engine",
    "next_token": "theodolite.engine",
    "score": "theodolite.engine",
    "generate": "theodolite.engine",
    "apply": "theodolite.engine",
    "SuffixSweep": "theodolite.engine",
    "score_refusal": "theodolite.judging.refusal",
    "read_states": "theodolite.mechanism.states",
    "make_items": "theodolite.mechanism.items",
    "probe": "theodolite.mechanism.probes.fitting",
    "logit_lens": "theodolite.mechanism.lens.logit_lens",
    "graft_sweep": "theodolite.mechanism.graft.sweep",
    "verdict": "theodolite.mechanism.verdict.decide",
    "train_detector": "theodolite.mechanism.detector.detector",
    "Detector": "theodolite.mechanism.detector.detector",
    "monitor": "theodolite.mechanism.detector.monitor",
    "TheodoliteError": "theodolite.errors",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'theodolite' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
