"""Ask a model one stage after another, about one sample.

Random numbers. Methods are compared on the same originals, so a base run and a method must get the
same answer to the same first request. A local model's answers depend on the request, the run's
seed, the epoch and nothing else (see providers), so nothing is added there: a seed of its own for
every sample would keep requests out of each other's batches. Other models get one seed from the
setting's seed, the sample's id, the epoch and the stage; whether they heed it is their affair.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from theodolite.correction.perspective_taking.conversation import (
    Conversation,
    folded,
    joined,
    message_of,
)
from theodolite.correction.perspective_taking.setting import (
    THINKING,
    WRITING,
    Setting,
    given_original,
    prompt_of,
)
from theodolite.correction.perspective_taking.severity import in_thread, severities
from theodolite.correction.perspective_taking.stages import Stage, stage_of
from theodolite.correction.perspective_taking.window import local_model, make_room, shorten
from theodolite.correction.perspective_taking.wording import PLAIN
from theodolite.text.completion_marker import ParsedCompletion, parse_completion
from theodolite.text.hashing import item_seed
from theodolite.text.normalise import strip_reasoning

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, ModelOutput
    from inspect_ai.solver import Generate, TaskState

ORIGINAL: Final = "original"
AGAIN: Final = 3
"""How often a stage is asked again, shortened, where a model says that its window is full."""
FOLDED: Final = "the model knows no system turn, so its text stands in the first user turn"
_SEEDS: Final = 1 << 31
_LOG: Final = logging.getLogger(__name__)


class Talk:
    """One sample under correction: its conversation, its stages, and the text as it stands.

    Args:
        state: the sample.
        setting: what all methods share.
        variant: the wording of the perspective-taking turns.

    Note: `answer` is the model's answer that counts at present, `text` what a scorer is to read of
        it; `original` is the text of the first one.
    """

    def __init__(self, state: TaskState, setting: Setting, variant: str = PLAIN) -> None:
        from inspect_ai.model import get_model

        self.state = state
        self.setting = setting
        self.prompt = prompt_of(state)
        self.voice = setting.voice(state, variant)
        self.model = get_model()
        self.local = local_model(self.model)
        self.stages: list[Stage] = []
        self.facts: dict[str, Any] = {}
        self.notes: list[str] = []
        self.before: list[ChatMessage] = []
        self.conversation = Conversation([])
        self.first_answer = self.answer = ""

    @property
    def text(self) -> str:
        """What a scorer is to read of the answer as it stands."""
        return self.scored(self.answer)

    @property
    def original(self) -> str:
        """What a scorer is to read of the first answer."""
        return self.scored(self.first_answer)

    async def open(
        self, generate: Generate, opening: list[ChatMessage], *, take_given: bool = True
    ) -> None:
        """Get the original, from the sample where it brings one, else from the model.

        Args:
            generate: of the solver, so that a task's tools work as ever.
            opening: the turns that ask for it.
            take_given: whether an original that the sample brings serves.
        """
        from inspect_ai.model import ChatMessageAssistant, ModelOutput

        own = 0 if self.prompt is not None else len(self.state.messages)
        turns = self._folded(opening)
        added = len(turns) - own + 1
        given = given_original(self.state) if take_given else None
        if given is not None:
            self.state.output = ModelOutput.from_content(str(self.model), given)
            self.state.messages = [*turns, ChatMessageAssistant(content=given)]
            self.stages.append(Stage(ORIGINAL, added, given, 0, 0, 0, calls=0))
        else:
            self.state.messages = list(turns)
            asked = self._config(WRITING, ORIGINAL).model_dump(exclude_none=True)
            self.state = await generate(self.state, **asked)
            calls = sum(m.role == "assistant" for m in self.state.messages[len(turns) :])
            self.stages.append(stage_of(ORIGINAL, added, [self.state.output], calls=calls))
        self.before = list(self.state.messages[:-1])
        self.conversation = Conversation(joined(self.state.messages), current=True)
        self.first_answer = self.answer = self.state.output.completion

    async def ask(
        self, name: str, words: str, kind: str = THINKING, on: Conversation | None = None
    ) -> str:
        """Return the model's answer to one more turn.

        Args:
            name: of the stage.
            words: the user's turn.
            kind: listing, thinking or writing; what is written becomes the answer that counts.
            on: another conversation than the main one.
        """
        conversation = self.conversation if on is None else on
        conversation.ask(words)
        config = self._config(kind, name)
        truncated = make_room(self.local, conversation, config.max_tokens)
        outputs = [await self._generate(conversation.messages, config)]
        while self._window_is_full(outputs) and shorten(conversation):
            truncated = True
            outputs.append(await self._generate(conversation.messages, config))
        self.stages.append(stage_of(name, 2, outputs, truncated=truncated))
        last = outputs[-1]
        conversation.answer(message_of(last), current=kind == WRITING)
        if kind == WRITING:
            self.state.output, self.answer = last, last.completion
        return last.completion

    async def aside(self, name: str, turns: list[ChatMessage], kind: str = WRITING) -> str:
        """Return the answer to another chat than this one."""
        turns = self._folded(turns)
        output = await self._generate(turns, self._config(kind, name))
        self.stages.append(stage_of(name, len(turns) + 1, [output]))
        return output.completion

    def restart(self) -> None:
        """Go back to the opening turns, with the answer as it stands in place of the original."""
        from inspect_ai.model import ChatMessageAssistant

        turns = [*self.before, ChatMessageAssistant(content=self.answer)]
        self.conversation = Conversation(joined(turns), current=True)

    async def leave_as_clean(self) -> bool:
        """Return whether the setting leaves this original as it is; one without a score never."""
        clean = self.setting.clean
        if clean is None:
            return False
        (score,) = await in_thread(severities, clean.scorer, [self.text])
        left = score is not None and score < clean.below
        self.facts["clean"] = {"scorer": clean.scorer.id, "score": score, "left": left}
        return left

    def parse_row(self, answer: str) -> dict[str, Any]:
        """Return how an answer was read; a chat's counts as it is, and is ok unless it is blank."""
        if self.prompt is None:
            return {"ok": bool(answer.strip()), "rule": "whole", "lines_dropped": 0}
        read = self._read(answer)
        return {"ok": read.ok, "rule": read.rule, "lines_dropped": read.dropped_lines}

    def scored(self, answer: str) -> str:
        """Return what a scorer is to read of an answer: in a chat, all of it."""
        return answer if self.prompt is None else self._read(answer).scored(answer)

    def _read(self, answer: str) -> ParsedCompletion:
        return parse_completion(strip_reasoning(answer), self.prompt)

    def _window_is_full(self, outputs: list[ModelOutput]) -> bool:
        """Return whether a model that we do not run said so, and may be asked again."""
        full = self.local is None and outputs[-1].stop_reason == "model_length"
        return full and len(outputs) <= AGAIN

    async def _generate(self, turns: list[ChatMessage], config: GenerateConfig) -> ModelOutput:
        return await self.model.generate(list(turns), config=config)

    def _config(self, kind: str, name: str) -> GenerateConfig:
        from inspect_ai.model import GenerateConfig

        seed = None
        if self.local is None:
            place = (self.state.sample_id, self.state.epoch, name)
            seed = item_seed(self.setting.seed, "stage", *place) % _SEEDS
        return GenerateConfig(max_tokens=getattr(self.setting.caps, kind), seed=seed)

    def _folded(self, turns: list[ChatMessage]) -> list[ChatMessage]:
        """Return turns without a system turn where the model knows none, and note that.

        A local model's provider folds by itself; a flag of the setting says it of any other.
        """
        if not any(turn.role == "system" for turn in turns):
            return turns
        provider_folds = self.local is not None and not self.local.chat.supports_system
        if not (provider_folds or self.setting.fold_system):
            return turns
        if FOLDED not in self.notes:
            self.notes.append(FOLDED)
            _LOG.info("Sample %s: %s.", self.state.sample_id, FOLDED)
        return folded(turns) if self.setting.fold_system else turns
