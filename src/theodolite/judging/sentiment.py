"""The scorer `vader`: how kind or unkind the words of a text are, from a lexicon and rules.

Source: Hutto and Gilbert 2014 (VADER), in its authors' package.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from theodolite.errors import ScorerUnavailable
from theodolite.judging.toxicity import Kind
from theodolite.models.cache import file_sha256
from theodolite.text.hashing import content_key

NAME: Final = "vader"
REQUIREMENT: Final = "vaderSentiment==3.3.2"
INSTALL: Final = f"pip install --no-deps {REQUIREMENT}"
_PACKAGE: Final = "vaderSentiment"
_DECIDES: Final = ("vaderSentiment.py", "vader_lexicon.txt", "emoji_utf8_lexicon.txt")


class VaderScorer:
    """Scores texts from -1, unkind, to 1, kind.

    Raises: ScorerUnavailable: the package is not installed.
    """

    kind: Kind = "sentiment"
    blind_spots = (
        "Adds up English words of known tone: blind to irony, to what is praised or blamed, and to "
        "names or topics whose usual words are grave."
    )

    def __init__(self) -> None:
        if find_spec(_PACKAGE) is None:
            raise ScorerUnavailable(
                f"The scorer {NAME} is not available: the package {REQUIREMENT} is not installed.",
                fix=f"Run: {INSTALL}",
            )
        module = import_module(f"{_PACKAGE}.vaderSentiment")
        self._rules: Any = module.SentimentIntensityAnalyzer()
        folder = Path(str(module.__file__)).parent
        weights = content_key([file_sha256(folder / name) for name in _DECIDES])
        self.id = f"{NAME}@{metadata.version(_PACKAGE)}-{weights[:8]}"

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the compound score of each text, axis (text), in [-1, 1]."""
        return [float(self._rules.polarity_scores(text)["compound"]) for text in texts]
