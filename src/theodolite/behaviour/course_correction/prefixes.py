"""How much of a reply is forced on the model: its first k tokens or words, after an opener.

A prefix ends at the border of a token or word, without white space at its end, and is a beginning
of the next longer one, so that one pass over the longest serves them all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from theodolite.data.correction_lists import OPENERS
from theodolite.data.forced_replies import reply_of
from theodolite.data.prompts import Prompt, shown
from theodolite.errors import ConfigError
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

Unit = Literal["token", "word"]
KS: Final = (10, 20, 30, 40, 50, 60, 70, 80)
NO_OPENER: Final = "none"
SEEDED: Final = "seeded"
MOST_KS: Final = 64
_WORD: Final = re.compile(r"\S+")


@dataclass(frozen=True)
class Prefix:
    """A begun reply.

    Args:
        prompt: the request; its reply is in `meta["reply"]`.
        k: tokens or words of the reply that were asked for.
        text: what is forced on the model, its opener included.
        rest: what the reply says after it.
        opener_id: of the opener, or None.
        saturated: the reply is no longer than k, so that it stands there complete.
    """

    prompt: Prompt
    k: int
    text: str
    rest: str
    opener_id: str | None
    saturated: bool

    @property
    def id(self) -> str:
        """Names the prefix within its set."""
        return f"{self.prompt.id}@{self.k}"


def make_prefixes(
    prompts: Sequence[Prompt],
    ks: Sequence[int] = KS,
    *,
    unit: Unit = "token",
    tokenizer: Any = None,
    opener: str = NO_OPENER,
    seed: int = 0,
) -> list[Prefix]:
    """Return the prefixes of every reply, prompt by prompt, shortest first.

    Args:
        prompts: with the reply to force in `meta["reply"]`.
        ks: strictly increasing.
        unit: `token` counts tokens of the reply alone; `word` counts whitespace words from the
            opener on, as the published code does.
        tokenizer: of the evaluated model (a fast one), for `token`.
        opener: `none`, the id of one of `OPENERS`, or `seeded`: one for each row, the same for
            all its ks.
        seed: of the seeded openers.

    Raises:
        ConfigError: the ks, the unit or the opener cannot be used.
        DataError: a prompt has no reply.
    """
    check_ks(ks)
    check_opener(opener)
    if unit not in ("token", "word"):
        raise ConfigError(f"The unit is {shown(unit)}.", fix="Use token or word.")
    if unit == "token" and tokenizer is None:
        raise ConfigError(
            "Counting tokens needs the tokenizer of the model.",
            fix="Name it with tokenizer=smollm2, or count words (unit=word).",
        )
    found = []
    for prompt in prompts:
        chosen = opener_of(prompt, opener, seed)
        begun = "" if chosen is None else f"{OPENERS[chosen]} "
        whole = begun + reply_of(prompt)
        ends = word_ends(whole) if unit == "word" else token_ends(whole, len(begun), tokenizer)
        for k in ks:
            end = ends[min(k, len(ends)) - 1]
            text = whole[:end].rstrip()
            found.append(Prefix(prompt, k, text, whole[len(text) :], chosen, len(ends) <= k))
    return found


def check_ks(ks: Sequence[int]) -> None:
    """Refuse depths that are not strictly increasing, below 1, or too many.

    Raises: ConfigError: says which.
    """
    if not ks or len(ks) > MOST_KS:
        raise ConfigError(f"There are {len(ks)} depths k.", fix=f"Give 1 to {MOST_KS}.")
    if min(ks) < 1:
        raise ConfigError(f"The depth k={min(ks)} forces nothing.", fix="Give depths from 1 up.")
    if any(b <= a for a, b in pairwise(ks)):
        raise ConfigError(
            f"The depths {', '.join(map(str, ks))} do not increase.", fix="Sort them, each once."
        )


def check_opener(opener: str) -> None:
    """Refuse the name of an opener that does not exist; raises ConfigError."""
    known = (NO_OPENER, SEEDED, *OPENERS)
    if opener not in known:
        raise ConfigError(
            f"There is no opener {shown(opener)}.",
            fix=did_you_mean(opener, known) or f"Use {', '.join(known)}.",
        )


def opener_of(prompt: Prompt, opener: str, seed: int) -> str | None:
    """Return the id of a row's opener; None where it has none."""
    if opener == NO_OPENER:
        return None
    if opener != SEEDED:
        return opener
    names = list(OPENERS)
    return names[item_seed(seed, "opener", prompt.id) % len(names)]


def word_ends(text: str) -> list[int]:
    """Return where each whitespace word ends."""
    return [word.end() for word in _WORD.finditer(text)]


def token_ends(text: str, begin: int, tokenizer: Any) -> list[int]:
    """Return where each token of a reply ends that begins at a character of the text.

    A character that several tokens spell is not cut: they end where it ends.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ends = [end for start, end in encoded["offset_mapping"] if end > begin and text[:end].strip()]
    return [end for place, end in enumerate(ends) if place == 0 or end >= ends[place - 1]]
