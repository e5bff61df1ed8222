"""Keep transformers' progress bars and warnings off the terminal while we open a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the logging, the progress bars and the notices to developers of transformers."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of libraries about each other
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
