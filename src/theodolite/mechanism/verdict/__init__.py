"""The verdict: was a failed refusal not recognised, or recognised and not converted?"""

from theodolite.mechanism.verdict.decide import verdict, verdict_findings
from theodolite.mechanism.verdict.result import VerdictResult

__all__ = ["VerdictResult", "verdict", "verdict_findings"]
