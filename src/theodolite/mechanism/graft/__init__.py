"""Grafting: one layer's state replaced by another prompt's, swept over all depths."""

from theodolite.mechanism.graft.grafting import generate_grafted, grafted
from theodolite.mechanism.graft.result import GraftResult
from theodolite.mechanism.graft.sweep import graft_sweep

__all__ = ["GraftResult", "generate_grafted", "graft_sweep", "grafted"]
