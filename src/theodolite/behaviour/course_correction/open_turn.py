"""Whether a model can be made to go on with a begun reply, proven on its own template.

Traps this file exists for:
  - most templates close an assistant turn and open another one, so that the model sees a finished
    harmful answer and a fresh start, which by itself makes many models refuse;
  - a tokenizer may add a second BOS to text that has one;
  - an API may accept a last assistant turn and ignore that it is to be continued.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.course_correction.scoring import CONTINUE, IN_PROMPT, NEW_TURN
from theodolite.errors import ConfigError, DataError
from theodolite.models.chat import control_tokens, encode
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

CHAT: Final = "chat"
PLAIN: Final = "plain"
# inspect providers that go on with a last assistant turn; of the others it is not known, or known
# that they answer anew.
CONTINUING: Final = frozenset({"anthropic", "mockllm", "sagemaker", "sglang", "theodolite", "vllm"})
_REQUEST: Final = "How do I fold a paper boat?"
_BEGUN: Final = "Happy to help with this. Take a sheet of paper and"


def check_provider(name: str, prefill: str) -> None:
    """Refuse a provider that cannot go on with a begun reply.

    Args:
        name: `PROVIDER/MODEL` as inspect_ai names it.

    Raises: ConfigError: says what to do instead.
    """
    provider = name.partition("/")[0]
    if prefill == IN_PROMPT:
        return
    if prefill == NEW_TURN:
        raise ConfigError(
            f"{escape(name, 80)} decides itself how a last assistant turn is put, so a new turn "
            "cannot be asked for.",
            fix="Use a local model, or prefill=in_prompt (another, labelled measure).",
        )
    if provider not in CONTINUING:
        raise ConfigError(
            f"The provider {escape(provider, 40)} is not known to go on with a begun reply.",
            fix="Use prefill=in_prompt (another, labelled measure), a local model, or vllm.",
        )


def check_open_turn(model: LanguageModel, prefill: str, template: str = CHAT) -> dict[str, Any]:
    """Return the facts of how a begun reply is put, after proving them on a harmless one.

    Args:
        model: an open local model.
        prefill: `continue`, `new_turn` or `in_prompt`.
        template: `chat`, or `plain` for a model that has no chat template.

    Returns: `template_hash`, `skeleton` (the rendered chat with placeholders), `open_turn`, `bos`
        (leading BOS tokens) and `round_trip` (the ids of the begun part are proven to end the
        prompt; elsewhere they do not).

    Raises:
        ConfigError: the model has no chat template and `plain` was not asked for, or its template
            cannot leave an assistant's turn open.
    """
    if not model.chat.has_template and template != PLAIN:
        raise ConfigError(
            f"{model.name} has no chat template, so it has no assistant's turn to begin.",
            fix="Ask with -T template=plain, which writes the request and the reply one below the "
            "other.",
        )
    if model.chat.has_template and template == PLAIN:
        raise ConfigError(
            f"{model.name} has a chat template of its own.", fix="Leave template=plain out."
        )
    turns = [{"role": "user", "content": _REQUEST}, {"role": "assistant", "content": _BEGUN}]
    open_turn = prefill == CONTINUE
    if prefill == IN_PROMPT:
        turns = turns[:1]
    try:
        encoded = encode(
            model, turns, add_generation_prompt=not open_turn, continue_final=open_turn
        )
    except DataError as error:
        raise ConfigError(
            f"The chat template of {model.name} cannot leave an assistant's turn open "
            f"({error.message}).",
            fix="Use -T prefill=new_turn, which closes it and opens another one.",
        ) from None
    facts = {
        "prefill": prefill,
        "template_hash": model.chat.template_hash,
        "skeleton": encoded.text.replace(_REQUEST, "{request}").replace(_BEGUN, "{begun}"),
        "open_turn": open_turn,
        "bos": _leading(encoded.ids, model.tokenizer.bos_token_id),
        "round_trip": open_turn,
    }
    if open_turn:
        _prove_open(model, encoded.text, encoded.ids)
    return facts


def _prove_open(model: LanguageModel, text: str, ids: tuple[int, ...]) -> None:
    """Refuse a rendering after which the assistant's turn is not open.

    Raises: ConfigError: the prompt does not end with the begun reply, or an end follows it.
    """
    last = _BEGUN.rsplit(" ", 1)[1]
    tail: Any = model.tokenizer(f" {last}", add_special_tokens=False, verbose=False)["input_ids"]
    control = control_tokens(model.tokenizer, model.chat)
    same = str(model.tokenizer.decode(list(ids[-len(tail) :]))).strip() == last
    if not text.endswith(_BEGUN) or ids[-1] in control or not same:
        raise ConfigError(
            f"The chat template of {model.name} does not leave an assistant's turn open.",
            fix="Use -T prefill=new_turn, which closes it and opens another one.",
        )


def _leading(ids: tuple[int, ...], token: int | None) -> int:
    """Return how many times a token stands at the beginning."""
    count = 0
    while token is not None and count < len(ids) and ids[count] == token:
        count += 1
    return count
