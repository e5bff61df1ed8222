"""Run models: capture, interventions, suffix sweeps, scoring and generation over shared prefixes.

Imported eagerly: a submodule and the function it is named after share a name here, and only a name
that is bound after the submodule was imported is the function.
"""

from theodolite.engine.activations import Activations
from theodolite.engine.capture import capture
from theodolite.engine.edited_sweep import EditedSweep
from theodolite.engine.generate import Completion, generate
from theodolite.engine.intervention_file import load_interventions, save_interventions
from theodolite.engine.intervention_oblique import ObliqueIntervention
from theodolite.engine.interventions import (
    DirectionIntervention,
    HeadIntervention,
    Intervention,
    MlpIntervention,
    ResidualIntervention,
    SubspaceIntervention,
    apply,
)
from theodolite.engine.last_token import LastTokenSweep
from theodolite.engine.next_token import next_token
from theodolite.engine.plan import plan_batches
from theodolite.engine.score import Scored, score
from theodolite.engine.session import Session
from theodolite.engine.suffix import SuffixSweep
from theodolite.engine.tree_sweep import SweepOptions, TreeSweep

__all__ = [
    "Activations",
    "Completion",
    "DirectionIntervention",
    "EditedSweep",
    "HeadIntervention",
    "Intervention",
    "LastTokenSweep",
    "MlpIntervention",
    "ObliqueIntervention",
    "ResidualIntervention",
    "Scored",
    "Session",
    "SubspaceIntervention",
    "SuffixSweep",
    "SweepOptions",
    "TreeSweep",
    "apply",
    "capture",
    "generate",
    "load_interventions",
    "next_token",
    "plan_batches",
    "save_interventions",
    "score",
]
