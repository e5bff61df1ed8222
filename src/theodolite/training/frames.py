"""What the assistant's turn is to be, per method: a moderator's label, or an answer in a chat.

The two variants of safety fine-tuning are kept apart. `ssft-label` makes a classifier: the request
is put to the model inside a moderation frame, and the answer is one word. `ssft-chat` makes a chat
model that refuses. What is found in one must not be told of the other.
"""

from __future__ import annotations

from theodolite.data.moderation import SAFE, UNSAFE, moderation_frame
from theodolite.errors import DataError
from theodolite.training.rows import TrainingRow


def label_target(row: TrainingRow) -> str:
    """Return the answer of the label variant: `safe`, or `unsafe` and the hazard on a second line.

    Raises: DataError: the row's own target says something else.
    """
    word = UNSAFE if row.harmful else SAFE
    if row.target is not None and row.target.split()[:1] != [word]:
        raise DataError(
            f"The target of row '{row.id}' does not begin with the word {word} that its label asks "
            "for.",
            fix="Leave the target out: the label is the target of this method.",
        )
    return f"{word}\n{row.hazard}" if row.harmful and row.hazard else word


def user_turn(row: TrainingRow, method: str) -> str:
    """Return what the user's turn says under a method."""
    return moderation_frame(row.text) if method == "ssft-label" else row.text


def assistant_turn(row: TrainingRow, method: str) -> str:
    """Return what the assistant is to say under a method.

    Raises: DataError: the row has no target, and the method needs one.
    """
    if method == "ssft-label":
        return label_target(row)
    if row.target is None:
        raise DataError(
            f"Row '{row.id}' has no target, and {method} needs one.",
            fix="Add the field 'target', name bundled:safety, or use method = \"ssft-label\".",
        )
    return row.target
