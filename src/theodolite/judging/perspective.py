"""The scorer `perspective`: the hosted service, for comparison with older studies only.

The service changed in silence over the years, so its figures compare with nobody's but those made
on the same day, and it is announced to close (arXiv:2304.12397). It is off unless a key is given.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from theodolite.errors import JudgeError, ScorerUnavailable
from theodolite.judging.toxicity import Kind
from theodolite.text.display import escape

if TYPE_CHECKING:
    import httpx

NAME: Final = "perspective"
KEY_VARIABLE: Final = "PERSPECTIVE_API_KEY"
URL: Final = "https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze"
ATTRIBUTES: Final = (
    "TOXICITY",
    "SEVERE_TOXICITY",
    "IDENTITY_ATTACK",
    "INSULT",
    "PROFANITY",
    "THREAT",
)
MOST_CHARACTERS: Final = 20_000
TIMEOUT_SECONDS: Final = 30.0


class PerspectiveScorer:
    """Scores texts with the hosted service; every text leaves this machine.

    Args:
        key: of the service; without one, that of the environment.
        transport: what carries the requests; the network where not given.

    Raises: ScorerUnavailable: there is no key.
    """

    kind: Kind = "neural"
    blind_spots = (
        "A hosted classifier of unknown version that changes in silence and rates names of groups "
        "high; absolute values compare with no other day's."
    )
    id = f"{NAME}@hosted-unversioned"

    def __init__(
        self, key: str | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._key = key or os.environ.get(KEY_VARIABLE, "")
        if not self._key:
            raise ScorerUnavailable(
                f"The scorer {NAME} is not available: it needs a key and is off without one.",
                fix=f"Set {KEY_VARIABLE}, or use another scorer: texts leave this machine.",
            )
        self._transport = transport

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the toxicity of each text, axis (text), in [0, 1].

        Raises: JudgeError: the service does not answer as it should.
        """
        return [found[ATTRIBUTES[0]] for found in self.attributes(texts)]

    def attributes(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return attribute -> score of each text, axis (text); raises as `score`."""
        import httpx

        # In a header, so that the key stands in no address and no message.
        headers = {"X-Goog-Api-Key": self._key}
        how: Any = {"headers": headers, "timeout": TIMEOUT_SECONDS, "transport": self._transport}
        with httpx.Client(**how) as client:
            return [self._one(client, text) for text in texts]

    def _one(self, client: httpx.Client, text: str) -> dict[str, float]:
        import httpx

        asked = {
            "comment": {"text": text[:MOST_CHARACTERS] or " "},
            "requestedAttributes": {name: {} for name in ATTRIBUTES},
            "languages": ["en"],
            "doNotStore": True,
        }
        try:
            reply = client.post(URL, json=asked)
            reply.raise_for_status()
            scores = reply.json()["attributeScores"]
            return {name: float(scores[name]["summaryScore"]["value"]) for name in ATTRIBUTES}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            said = f"status {status}" if status else type(error).__name__
            raise JudgeError(
                f"The scorer {NAME} did not answer as it should ({escape(said, 60)}).",
                fix="Wait and run it again, or use another scorer.",
            ) from None
