"""The wording of this benchmark: the answer of one who always refuses.

What a model is told is the wording of the methods, in `correction/perspective_taking/wording`.
"""

from __future__ import annotations

from typing import Final

REFUSAL: Final = "I'm sorry, but I can't continue this text."
"""What every scorer is asked about too: a defence that refuses everything scores no lower."""
