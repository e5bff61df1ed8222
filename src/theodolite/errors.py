"""The one family of errors a user can see: one sentence saying what, where and what to do."""

from __future__ import annotations


class TheodoliteError(Exception):
    """Base of every error meant for a user; never shown as a traceback.

    Args:
        message: one sentence: what is wrong, and where.
        fix: one sentence: what to do about it; appended to the message.

    Note: `code` names the page in docs/errors/ that explains the error, `exit_code` is what the
    command line returns.
    """

    code = "error"
    exit_code = 2

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(f"{message} {fix}".strip())
        self.message = message
        self.fix = fix


class DataError(TheodoliteError):
    """A file or value the user gave cannot be used (names the file, line and field)."""

    code = "data"


class ConfigError(TheodoliteError):
    """An option, config key or name is unknown or out of range (suggests the nearest one)."""

    code = "config"


class ModelError(TheodoliteError):
    """A model reference is unknown, or its files are missing, broken or not safe to read."""

    code = "model"


class UnsupportedArchitecture(ModelError):
    """The self-check on open did not pass; the message says which identity did not fit."""

    code = "unsupported-architecture"


class CapabilityError(TheodoliteError):
    """The handle cannot do what was asked: what, why, and what works instead."""

    code = "capability"

    def __init__(self, what: str, why: str, instead: str) -> None:
        super().__init__(f"{what} is not possible: {why}.", fix=f"{instead}.")
        self.what = what
        self.why = why
        self.instead = instead


class RunError(TheodoliteError):
    """A run folder cannot be written, read, or does not belong to this command."""

    code = "run"


class NumericsError(TheodoliteError):
    """A forward pass produced NaN or infinity; names the layer and the prompt."""

    code = "numerics"


class JudgeError(TheodoliteError):
    """A judge could not be reached or failed its canaries; the run is incomplete, not low."""

    code = "judge"


class ScorerUnavailable(TheodoliteError):
    """A text scorer lacks its package, weights, path or key; says how to get it."""

    code = "scorer"


class Interrupted(TheodoliteError):
    """The user stopped the work; the message says how to resume."""

    code = "interrupted"
    exit_code = 130
