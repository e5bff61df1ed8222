"""What an inspect_ai request asks of a local model, in the engine's words.

Whatever would change the answer and cannot be honoured is refused: a setting silently dropped
would be a wrong figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.providers.answers import Answer
from theodolite.text.hashing import content_key
from theodolite.text.suggest import nearest

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig

    from theodolite.engine.session import Session
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

METHOD_VERSION = 1
"""Raised when the same request gets another answer than before; part of every key."""

DEFAULT_MAX_TOKENS = 2048
CLOSED = "closed"
"""The mark of a last assistant turn that is over: the model is asked for another one."""
DECODINGS = ("greedy", "sampling")

# Settings of inspect_ai that change an answer and that the engine does not have.
REFUSED_SETTINGS = (
    "best_of",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "response_schema",
    "modalities",
)


@dataclass(frozen=True)
class Settings:
    """How to decode; requests with equal settings may share a batch.

    Args:
        max_new_tokens: tokens of a completion at most.
        temperature: 0 is greedy.
        top_p, top_k: the usual cuts; 1.0 and 0 are off.
        stop: texts that end a completion and are not part of it.
        seed: of sampling; 0 under greedy decoding, where it has no effect.
        n: completions per prompt.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0
    n: int = 1


@dataclass(frozen=True)
class Request:
    """One prompt with its settings.

    Args:
        encoded: the prompt; its `prompt_id` tells repetitions of a sampled request apart.
        settings: how to decode.
        limited_by_context: whether the model's window cut `max_new_tokens`.
    """

    encoded: Encoded
    settings: Settings
    limited_by_context: bool = False

    def key(self, model: LanguageModel) -> str:
        """Return the content key of this request to a model in its present state."""
        from theodolite.engine.generate import VERSION, end_tokens
        from theodolite.engine.interventions import interventions_key

        return content_key(
            "request",
            [METHOD_VERSION, VERSION],
            model.fingerprint,
            sorted(end_tokens(model)),
            interventions_key(model),
            list(self.encoded.ids),
            self.encoded.prompt_id,
            asdict(self.settings),
        )

    def repeated(self, epoch: int, before: int) -> Request:
        """Return the request with random numbers of its own for a repetition.

        Args:
            epoch: counted from 0.
            before: how often the same sample asked the same in this epoch already.

        Greedy requests, and the first one of all, stay as they are.
        """
        if self.settings.temperature == 0.0 or not (epoch or before):
            return self
        return replace(self, encoded=replace(self.encoded, prompt_id=f"repeat/{epoch}/{before}"))


def check_decoding(name: str | None) -> None:
    """Refuse a decoding method that does not exist, naming the nearest one."""
    if name is not None and name not in DECODINGS:
        near = nearest(str(name), DECODINGS)
        raise ConfigError(
            f"The decoding method {str(name)!r} is unknown.",
            fix=f"Did you mean {near!r}?" if near else f"Use {' or '.join(DECODINGS)}.",
        )


def settings_from(config: GenerateConfig, *, decoding: str | None = None) -> Settings:
    """Return the engine's settings for inspect's generation config.

    Args:
        config: as inspect hands it to a provider, all levels merged.
        decoding: `greedy` or `sampling`; None is greedy unless a temperature is set.

    Raises:
        CapabilityError: a setting that would change the answer is not available here.
        ConfigError: the decoding method and the temperature contradict each other.
    """
    for name in REFUSED_SETTINGS:
        if getattr(config, name, None):
            raise CapabilityError(
                f"The generation setting {name}",
                "the local engine does not have it",
                "Leave it out, or evaluate the model behind a server that has it",
            )
    if decoding == "greedy" and config.temperature:
        raise ConfigError(
            f"Greedy decoding was asked for together with temperature {config.temperature:g}.",
            fix="Leave one of them out.",
        )
    if decoding == "sampling" and config.temperature == 0.0:
        raise ConfigError(
            "Sampling was asked for together with temperature 0, which is greedy.",
            fix="Leave one of them out.",
        )
    temperature = config.temperature
    if temperature is None:
        temperature = 1.0 if decoding == "sampling" else 0.0
    plain = Settings(
        max_new_tokens=DEFAULT_MAX_TOKENS if config.max_tokens is None else config.max_tokens,
        temperature=float(temperature),
        stop=tuple(config.stop_seqs or ()),
        n=config.num_choices or 1,
    )
    if plain.temperature == 0.0:
        return plain
    return replace(
        plain,
        top_p=1.0 if config.top_p is None else config.top_p,
        top_k=config.top_k or 0,
        seed=config.seed or 0,
    )


def chat_turns(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """Return inspect's messages as chat turns of plain text.

    Raises:
        CapabilityError: a message holds an image, audio, a file, or the result of a tool.
    """
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "tool" or getattr(message, "tool_calls", None):
            raise no_tools()
        parts = [] if isinstance(message.content, str) else message.content
        for part in parts:
            if part.type not in ("text", "reasoning"):
                raise CapabilityError(
                    f"A message with {part.type} content",
                    "local models read text only",
                    "Use a task whose prompts are text",
                )
        turn: dict[str, Any] = {"role": message.role, "content": message.text}
        if message.metadata and "theodolite" in message.metadata:
            turn["metadata"] = {"theodolite": message.metadata["theodolite"]}
        turns.append(turn)
    return turns


def no_tools() -> CapabilityError:
    """Return the refusal of a request that comes with tools."""
    return CapabilityError(
        "Calling tools with a local model",
        "its provider renders chats of system, user and assistant turns only",
        "Use a task without tools, or serve the model behind an API that parses tool calls",
    )


def encode_request(
    model: LanguageModel, messages: Sequence[ChatMessage], settings: Settings
) -> Request:
    """Render and tokenise a chat; a last turn of the assistant is continued.

    A last turn that carries `metadata["theodolite"] = "closed"` is ended, and a new one opened.

    Raises:
        DataError: the prompt fills the model's context window.
    """
    from theodolite.models.chat import encode

    turns = chat_turns(messages)
    last = turns[-1] if turns else {}
    closed = last.get("metadata", {}).get("theodolite") == CLOSED
    prefilled = last.get("role") == "assistant" and not closed
    encoded = encode(model, turns, add_generation_prompt=not prefilled, continue_final=prefilled)
    if model.max_context is None:
        return Request(encoded, settings)
    room = model.max_context - len(encoded.ids)
    if room < 1:
        raise DataError(
            f"A prompt of {len(encoded.ids)} tokens fills the {model.max_context} tokens that "
            f"{model.name} can read.",
            fix="Shorten the prompt, or use a model with a longer context.",
        )
    if room < settings.max_new_tokens:
        return Request(encoded, replace(settings, max_new_tokens=room), limited_by_context=True)
    return Request(encoded, settings)


def answer_requests(
    model: LanguageModel,
    requests: Sequence[Request],
    *,
    session: Session | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[tuple[Answer, ...]]:
    """Generate the completions of requests that share their settings.

    Args:
        session: what the model read and wrote before and need not read again.
        journal: where the engine keeps the planned units it finishes.

    Returns: for each request, in order, its `settings.n` answers; equal requests get equal ones.
    """
    from theodolite.engine.generate import generate

    settings = requests[0].settings
    # The engine gives copies random numbers of their own; here they are one request, whether or
    # not they happen to meet in a batch.
    names = [(request.encoded.prompt_id, request.encoded.ids) for request in requests]
    encoded = {name: request.encoded for name, request in zip(names, requests)}
    kept: dict[str, Any] = {"session": session, "journal": journal, "progress": progress}
    completions = generate(model, list(encoded.values()), **asdict(settings), **kept)
    answers = [Answer(c.text, c.token_ids, c.finish) for c in completions]
    n = settings.n
    found = {name: tuple(answers[i * n : (i + 1) * n]) for i, name in enumerate(encoded)}
    return [found[name] for name in names]
