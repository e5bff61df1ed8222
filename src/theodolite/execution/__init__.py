"""Map planned work units and keep their results."""

from theodolite.execution.local import in_process, map_units
from theodolite.execution.units import Executor, Unit, Work

__all__ = ["Executor", "Unit", "Work", "in_process", "map_units"]
