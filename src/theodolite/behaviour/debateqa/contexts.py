"""What a scoring model reads before a perspective: an answer in a chat, and nothing too long.

The wording is ours; the paper's two words are kept as a preset, because its figures depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError
from theodolite.models.chat import Encoded, encode, encode_plain
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

CORRECTED: Final = "corrected"
REFERENCE: Final = "reference"
PAPER: Final = "paper"
VARIANTS: Final = (CORRECTED, REFERENCE, PAPER)
RESTATE: Final = "Please restate the points above."
PAPER_RESTATE: Final = "Please restate."
CHAT: Final = "chat"
PLAIN: Final = "plain"
EMPTY: Final = "."  # an empty user turn is no chat, and the script adds no words of its own


@dataclass(frozen=True)
class Context:
    """What stands before a perspective.

    Args:
        encoded: tokens of the chat up to where the assistant would begin.
        cut: tokens of the answer that were left out, from its end.
    """

    encoded: Encoded
    cut: int = 0


@dataclass(frozen=True)
class Contexts:
    """Writes contexts for one scoring model.

    Args:
        scorer: an open local model.
        variant: `corrected`; `paper` with the paper's request to restate; `reference` as the
            released script does it: no request, no opened turn, the tokenizer's own special tokens
            once more in front of those of the template.
        template: `chat`, or `plain` for a scorer without a chat template.

    Raises:
        ConfigError: a variant or template does not exist, or the scorer has no chat template.
    """

    scorer: LanguageModel
    variant: str = CORRECTED
    template: str = CHAT

    def __post_init__(self) -> None:
        check_variant(self.variant, self.template)
        if self.template == CHAT and not self.scorer.chat.has_template:
            raise ConfigError(
                f"The scorer {self.scorer.name} has no chat template.",
                fix="Use -T template=plain, or a chat model as scorer.",
            )

    def of(self, answer: str, room: int, *, question: str | None = None) -> Context:
        """Return the context of an answer.

        Args:
            answer: the model's words; may be empty.
            room: tokens that must be left for the longest perspective.
            question: stands before the answer, where gains are measured.

        Raises:
            DataError: even an empty answer leaves no room.
        """
        found: Any = self.scorer.tokenizer(answer, add_special_tokens=False, verbose=False)
        ids: Sequence[int] = found["input_ids"]
        limit = self.scorer.max_context
        if limit is None:
            return Context(self._encode(answer, question))
        # The tokens around an answer are known before a long one is rendered, which is refused.
        keep = min(len(ids), limit - room - len(self._encode("", question)))
        while keep >= 0:
            part = answer if keep == len(ids) else str(self.scorer.tokenizer.decode(ids[:keep]))
            context = self._encode(part, question)
            if len(context) <= limit - room:
                return Context(context, len(ids) - keep)
            # What is left may tokenise longer than it was; no answer at all is known to fit.
            keep = max(0, keep - max(1, len(context) - (limit - room)))
        raise DataError(
            f"The question {shown((question or '')[:60])} and its longest perspective leave no "
            f"room for any answer: {self.scorer.name} reads {limit} tokens.",
            fix="Use a scorer with a longer context.",
        )

    def _encode(self, answer: str, question: str | None) -> Encoded:
        restate = {CORRECTED: RESTATE, PAPER: PAPER_RESTATE, REFERENCE: ""}[self.variant]
        said = "\n".join(part for part in (question, answer, restate) if part)
        if self.template == PLAIN:
            return encode_plain(self.scorer, f"{said}\n\n")
        if self.variant != REFERENCE:
            return encode(self.scorer, said)
        closed = encode(self.scorer, said or EMPTY, add_generation_prompt=False)
        ids = self.scorer.tokenizer(closed.text, verbose=False)["input_ids"]
        return Encoded(tuple(ids), closed.text, None, (0, len(ids)), content_key(ids))


def check_variant(variant: str, template: str) -> None:
    """Refuse a variant or template that does not exist; raises ConfigError."""
    if variant not in VARIANTS:
        raise ConfigError(
            f"There is no variant {shown(variant)}.", fix=f"Use {', '.join(VARIANTS)}."
        )
    if template not in (CHAT, PLAIN):
        raise ConfigError(f"There is no template choice {shown(template)}.", fix="Use chat, plain.")
