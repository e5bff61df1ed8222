"""Probes: where classes of requests can be told apart, beside everything that explains it away."""

from theodolite.mechanism.probes.fitting import ProbeOptions, probe
from theodolite.mechanism.probes.result import ProbeResult

__all__ = ["ProbeOptions", "ProbeResult", "probe"]
