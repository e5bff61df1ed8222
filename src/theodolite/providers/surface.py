"""Our errors, shown the way inspect_ai shows its own: one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inspect_ai._util.error import PrerequisiteError
from rich.markup import escape

from theodolite.errors import TheodoliteError


class RequestError(RuntimeError):
    """A request that failed for a reason of ours; inspect logs `message` as the sample's error."""

    def __init__(self, error: TheodoliteError) -> None:
        super().__init__(str(error))
        self.message = str(error)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn our errors into the one that `inspect eval` prints as a line and exits with.

    Raises:
        PrerequisiteError: one of ours was raised inside; it is the `__cause__`.
    """
    try:
        yield
    except TheodoliteError as error:
        raise PrerequisiteError(escape(str(error))) from error
