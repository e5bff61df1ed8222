"""The inspect_ai provider `theodolite/<ref>`: any task on a local, intervened or adapted model.

- Requests become token ids in the event loop and completions in one worker thread (batching.py).
- A request is answered from the journal when the very same one was answered before.
- Greedy unless a temperature is set. Seeds come from the content of a request, its epoch and how
  often its sample asked it before, so answers do not depend on batches or order.
- inspect's adaptive concurrency ignores `max_connections()` below: set `--max-connections` (our
  own tasks set it), or batches start at inspect's 20 requests and grow from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from theodolite.errors import ConfigError, Interrupted, TheodoliteError
from theodolite.providers.answers import Answer, Answers
from theodolite.providers.batching import BatchQueue
from theodolite.providers.requests import (
    DEFAULT_MAX_TOKENS,
    Request,
    answer_requests,
    check_decoding,
    encode_request,
    no_tools,
    settings_from,
)
from theodolite.providers.surface import RequestError, one_sentence
from theodolite.text.suggest import nearest

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.providers.in_step import Step

DEFAULT_BATCH = 32
MODEL_ARGS = ("adapter", "interventions", "decoding", "dtype", "device", "batch", "revision")


class TheodoliteAPI(ModelAPI):
    """Local models behind inspect_ai's model interface.

    Args:
        model_name: a model reference: a bundled name, `org/name`, or a folder.
        config: inspect's generation config for this model.
        handle: a model that is open already (Python only); `model_name` is then its name.
        answers: answers known beforehand and the journal for new ones (Python only).
        adapter: a folder with a PEFT adapter.
        interventions: an intervention file, active while the model is open.
        decoding: `greedy` or `sampling`.
        dtype, device, revision: as in `open_model`.
        batch: requests that are worked off together at most.

    Raises:
        PrerequisiteError: an argument or the model cannot be used; inspect prints it as one line.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  (inspect's signature)
        *,
        handle: LanguageModel | None = None,
        answers: Answers | None = None,
        adapter: str | None = None,
        interventions: str | None = None,
        decoding: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        batch: int = DEFAULT_BATCH,
        revision: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.answers = answers or Answers()
        self.failure: TheodoliteError | None = None
        self.step: Step | None = None
        self.batch = batch
        self._decoding = decoding
        self._asked: Counter[tuple[str, str]] = Counter()
        self._active = ExitStack()
        with one_sentence():
            check_arguments(unknown, batch)
            check_decoding(decoding)
            self.model = handle or _open(model_name, revision, adapter, dtype, device)
            if interventions is not None:
                self._intervene(Path(interventions))
        self.queue: BatchQueue[Request, tuple[Answer, ...]] = BatchQueue(
            self.complete, max_batch=batch
        )

    def _intervene(self, path: Path) -> None:
        from theodolite.engine.intervention_file import load_interventions
        from theodolite.engine.interventions import apply

        self._active.enter_context(apply(self.model, *load_interventions(path, self.model)))

    def close(self) -> None:
        """Undo the interventions and let the worker thread end."""
        self._active.close()
        self.queue.close()

    def max_tokens(self) -> int | None:
        """Return the length of a completion where the task does not set one."""
        return DEFAULT_MAX_TOKENS

    def max_connections(self) -> int:
        """Return two batches: the next one gathers while one runs."""
        return 2 * self.batch

    def connection_key(self) -> str:
        """Return the scope of the connection limit: this model as it was opened."""
        return f"{self.model.fingerprint}/{id(self)}"

    async def count_text_tokens(self, text: str) -> int:
        """Return how many tokens the model's own tokenizer makes of a text."""
        return len(self.model.tokenizer(text, add_special_tokens=False).input_ids)

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answer one chat, from the journal or in a batch with others."""
        try:
            if tools:
                raise no_tools()
            request = self.request(input, config)
            key = self.key(request)
            known = self.answers.get(key)
            if known is None and self.step is not None:
                known = await self.step.ask(request)
            if known is None:
                known = await self.queue.submit(
                    request, group=request.settings, connections=config.max_connections
                )
        except TheodoliteError as error:
            self.failure = self.failure or error
            raise RequestError(error) from None
        return self._output(request, known)

    def request(
        self, messages: Sequence[ChatMessage], config: GenerateConfig, epoch: int | None = None
    ) -> Request:
        """Return what the engine is asked for a chat.

        Args:
            epoch: counted from 1; None asks inspect which sample and epoch is running.
        """
        settings = settings_from(config, decoding=self._decoding)
        request = encode_request(self.model, messages, settings)
        if settings.temperature == 0.0:
            return request
        return request.repeated(*self._place(request) if epoch is None else (epoch - 1, 0))

    def _place(self, request: Request) -> tuple[int, int]:
        """Return the epoch (from 0) and how often the running sample asked this before.

        Without them, sampling one prompt five times would give the same answer five times.
        """
        from inspect_ai.log._samples import sample_active

        sample = sample_active()
        if sample is None:
            return (0, 0)
        asked = (sample.id, self.key(request))
        self._asked[asked] += 1
        return (sample.epoch - 1, self._asked[asked] - 1)

    def key(self, request: Request) -> str:
        """Return the content key of a request to this model in its present state."""
        return request.key(self.model)

    def complete(self, requests: Sequence[Request]) -> list[tuple[Answer, ...]]:
        """Generate the completions of one batch and keep them; runs in the worker thread.

        Raises:
            Interrupted: every caller was cancelled; found out before the next pass.
        """
        with self.watched(self.queue):
            completions = answer_requests(self.model, requests)
        for request, answers in zip(requests, completions, strict=True):
            self.answers.put(self.key(request), answers)
        return completions

    @contextmanager
    def watched(self, queue: BatchQueue[Any, Any]) -> Iterator[None]:
        """Stop a batch of a queue, before its next pass, once nobody waits for it any more.

        Raises: Interrupted: then.
        """
        worker = get_ident()

        def stop_if_abandoned(*_: Any) -> None:
            # As Ctrl-C does; a pass of another thread on this model is none of our business.
            if get_ident() == worker and queue.abandoned:
                raise Interrupted("Nobody waits for this batch any more.")

        watch = self.model.anatomy.embed.register_forward_pre_hook(stop_if_abandoned)
        try:
            yield
        finally:
            watch.remove()

    def _output(self, request: Request, answers: Sequence[Answer]) -> ModelOutput:
        read = len(request.encoded.ids)
        written = sum(len(answer.token_ids) for answer in answers)
        name = self.model_name
        return ModelOutput(
            model=name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(
                        content=answer.text, model=name, source="generate"
                    ),
                    stop_reason=_stop_reason(answer, request),
                )
                for answer in answers
            ],
            usage=ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written),
        )


def check_arguments(unknown: dict[str, Any], batch: int) -> None:
    """Refuse model arguments that do not exist or cannot be used."""
    for name in unknown:
        near = nearest(name, MODEL_ARGS)
        raise ConfigError(
            f"The model argument {name!r} is unknown.",
            fix=f"Did you mean {near!r}?" if near else f"There are {', '.join(MODEL_ARGS)}.",
        )
    if not isinstance(batch, int) or batch < 1:
        raise ConfigError(f"The model argument batch is {batch!r}.", fix="Use a whole number >= 1.")


def _open(
    ref: str, revision: str | None, adapter: str | None, dtype: str, device: str | None
) -> LanguageModel:
    from theodolite.models.handle import ApiModel
    from theodolite.models.open import open_model

    handle = open_model(ref, revision=revision, adapter=adapter, dtype=dtype, device=device)
    if isinstance(handle, ApiModel):
        raise ConfigError(
            f"{ref!r} runs behind an API.", fix=f"Name it as inspect does: --model {handle.name}."
        )
    return handle


def _stop_reason(answer: Answer, request: Request) -> StopReason:
    if answer.finish == "stop":
        return "stop"
    return "model_length" if request.limited_by_context else "max_tokens"
