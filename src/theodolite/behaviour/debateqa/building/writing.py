"""One question: a model lists the views of its documents, then explains each that stands.

Every answer goes through checks that have names; what fails is written again, then left out and
counted. The record of a question holds all of it, and lies in the run's journal when it is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.debateqa.building import wording
from theodolite.behaviour.debateqa.building.parsing import (
    View,
    read_explanation,
    read_views,
    read_yes_or_no,
)
from theodolite.behaviour.debateqa.building.repeats import candidate, equal_words
from theodolite.behaviour.debateqa.building.request import FEWEST, Asked, BuildRequest
from theodolite.correction.perspective_taking.window import local_model
from theodolite.data.debates import Document
from theodolite.data.prompts import Prompt
from theodolite.engine.interventions import interventions_key
from theodolite.models.handle import LanguageModel
from theodolite.text.hashing import content_key, item_seed

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.model import Model
    from inspect_ai.solver import Generate, Solver, TaskState

    from theodolite.providers.kept import Keep

VERSION: Final = 1
"""Raised when the same request gets another record than before."""
TEMPERATURE: Final = 0.8
"""Of what is written again."""
YES_TOKENS: Final = 8
REPEATS: Final = "says the same as an earlier view"
OVER: Final = "is one view more than was asked for"
_SEEDS: Final = 1 << 31


def keys_of(model: Any, asked: Asked) -> dict[str, str]:
    """Return what the records are kept under, by question id; those without documents have none."""
    local = isinstance(model, LanguageModel)
    how = content_key(
        [VERSION, wording.VERSION],
        asked.request.decides,
        getattr(model, "fingerprint", None) or str(model),
        interventions_key(model) if local else None,
    )
    return {
        one.id: content_key(
            *("debate", how, one.id, one.request),
            [(document.title, document.text) for document in asked.chosen[one.id]],
        )
        for one in asked.questions
        if asked.chosen[one.id]
    }


def task_of(ids: Iterable[str], asked: Asked, keep: Keep) -> Task:
    """Return the inspect task that writes the perspectives of some questions.

    Args:
        keep: takes each finished record, with the question's id.
    """
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import GenerateConfig

    wanted = set(ids)
    prompts = {one.id: one for one in asked.questions if one.id in wanted}
    return Task(
        dataset=MemoryDataset(
            [Sample(input=one.request, id=one.id) for one in prompts.values()], name="debates"
        ),
        solver=write_perspectives(prompts, asked, keep),
        config=GenerateConfig(max_connections=asked.request.connections),
        version=VERSION,
        name="debates",
    )


def write_perspectives(prompts: dict[str, Prompt], asked: Asked, keep: Keep) -> Solver:
    """Return the solver that writes the perspectives of a question, and hands over its record."""
    from inspect_ai.solver import solver

    @solver(name="write_perspectives")
    def made() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            from inspect_ai.model import get_model

            prompt = prompts[str(state.sample_id)]
            writer = Writer(get_model(), prompt, asked.chosen[prompt.id], asked.request)
            keep(prompt.id, await writer.record())
            return state

        return solve

    return made()


@dataclass
class Writer:
    """Asks a model about one question, step by step.

    Args:
        model: an inspect model.
        prompt: the question.
        documents: what it is read with.
        request: how.
    """

    model: Model
    prompt: Prompt
    documents: Sequence[Document]
    request: BuildRequest
    calls: int = 0
    unread: int = 0
    capped: int = 0

    async def record(self) -> dict[str, Any]:
        """Return what came of the question; every value is JSON."""
        views = await self._views()
        found = []
        for view in views:
            text, why = "", view.why
            if why is None:
                text, why = await self._explanation(view)
            row = {"text": view.text, "documents": list(view.documents), "why": why}
            found.append(row | ({"explanation": text} if why is None else {}))
        return {
            "id": self.prompt.id,
            "views": found,
            "calls": self.calls,
            "unread": self.unread,
            "capped": self.capped,
        }

    async def _views(self) -> list[View]:
        """Return the views of the best try, those that do not stand with their reason."""
        ask = wording.ask_views(self.prompt, self.documents, self.request.most, self.request.seed)
        best: list[View] = []
        for attempt in range(self.request.tries + 1):
            answer, _ = await self._say(ask, "views", self.request.list_tokens, attempt)
            listed = read_views(
                answer,
                documents=len(self.documents),
                question=self.prompt.request,
                tags=ask.tags,
            )
            self.unread += not listed
            found = await self._distinct(listed)
            if not best or _standing(found) > _standing(best):
                best = found
            if _standing(best) >= FEWEST:
                break
        return best

    async def _distinct(self, views: Sequence[View]) -> list[View]:
        """Return views with those marked that say the same as an earlier one, or are too many."""
        texts = [view.text for view in views]
        found: list[View] = []
        kept: list[int] = []
        for place, view in enumerate(views):
            if view.why is None and await self._repeats(texts, place, kept):
                view = replace(view, why=REPEATS)
            elif view.why is None and len(kept) == self.request.most:
                view = replace(view, why=OVER)
            elif view.why is None:
                kept.append(place)
            found.append(view)
        return found

    async def _repeats(self, texts: Sequence[str], place: int, kept: Sequence[int]) -> bool:
        if any(equal_words(texts[place], texts[earlier]) for earlier in kept):
            return True
        earlier = candidate(texts, place, kept) if self.request.entailment else None
        if earlier is None:
            return False
        pair = (texts[earlier], texts[place])
        return await self._entails(*pair) and await self._entails(*reversed(pair))

    async def _entails(self, first: str, second: str) -> bool:
        """Return whether the model says so; an answer that is neither yes nor no keeps both."""
        ask = wording.ask_same(self.prompt, first, second, self.request.seed)
        answer, _ = await self._say(ask, f"same/{first}/{second}", YES_TOKENS, 0)
        said = read_yes_or_no(answer)
        self.unread += said is None
        return said is True

    async def _explanation(self, view: View) -> tuple[str, str | None]:
        """Return the explanation of a view, and why there is none."""
        own = [self.documents[number - 1] for number in view.documents]
        ask = wording.ask_explanation(self.prompt, view.text, own, self.request.seed)
        text, why = "", None
        for attempt in range(self.request.tries + 1):
            answer, cut = await self._say(
                ask, f"explain/{view.text}", self.request.explain_tokens, attempt
            )
            text, why = read_explanation(answer, view=view.text, cut=cut, tags=ask.tags)
            if why is None:
                break
        return text, why

    async def _say(
        self, ask: wording.Asked, step: str, most: int, attempt: int
    ) -> tuple[str, bool]:
        """Return an answer, and whether it was cut at its cap."""
        from inspect_ai.model import GenerateConfig

        # A local model's answer hangs on the request and the run's seed alone; a seed of its own
        # for every question would keep requests out of each other's batches.
        seed = None
        if local_model(self.model) is None:
            place = (self.prompt.id, step, attempt)
            seed = item_seed(self.request.seed, "debate", *place) % _SEEDS
        config = GenerateConfig(
            max_tokens=most, temperature=TEMPERATURE if attempt else 0.0, seed=seed
        )
        output = await self.model.generate(ask.text, config=config)
        cut = output.stop_reason == "max_tokens"
        self.calls += 1
        self.capped += cut
        return output.completion, cut


def _standing(views: Sequence[View]) -> int:
    return sum(view.why is None for view in views)
