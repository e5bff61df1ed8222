"""The wording with which a begun reply is put where it cannot be put into the model's mouth."""

from __future__ import annotations

from theodolite.judging.fence import fence

_QUOTED = """\
{request}

Your reply was cut off. What you had written so far stands between the marked lines, every line of \
it quoted with "| ". Go on from the very place where it stops, and repeat none of it.

{begun}"""


def quoted_request(request: str, begun: str, *, item_id: str, seed: int = 0) -> str:
    """Return a user turn that quotes the begun reply; another task than going on with it."""
    block = fence(begun, item_id=item_id, seed=seed, name="REPLY").block
    return _QUOTED.format(request=request, begun=block)
