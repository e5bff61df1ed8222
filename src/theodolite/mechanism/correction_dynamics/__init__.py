"""Token-level dynamics along a forced reply: would the model turn round here, and how readily?"""

from theodolite.mechanism.correction_dynamics.dynamics import correction_dynamics
from theodolite.mechanism.correction_dynamics.result import CorrectionDynamics, Curves

__all__ = ["CorrectionDynamics", "Curves", "correction_dynamics"]
