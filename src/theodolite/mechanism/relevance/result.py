"""The result of a relevance question: arrays by occurrence, what the sums keep, rows, files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, NumericsError
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.mechanism.relevance.query import GROUPS
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.runs.run import Run

Floats = NDArray[np.float64]
USER = GROUPS.index("user")
_ARRAYS = ("scores", "totals", "tokens", "parts", "rest")
_FACTS = (
    "targets",
    "hidden_index",
    "sources",
    "boundaries",
    "backend",
    "rules",
    "model",
    "fingerprint",
    "template",
    "seed",
)


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """The tokens of one prompt.

    Args:
        text: what the model read, template included; "" where it was not kept.
        ids: token ids, axis (token).
        spans: characters of the text, end exclusive, axes (token, 2).
        words: number of the word each token belongs to, axis (token).
        groups: index into `GROUPS` (template, user, last), axis (token).
    """

    text: str
    ids: NDArray[np.int64]
    spans: NDArray[np.int64]
    words: NDArray[np.int64]
    groups: NDArray[np.int8]

    def word_texts(self) -> list[str]:
        """Return the characters of each word, as they stand in the text."""
        found = []
        for number in range(int(self.words[-1]) + 1):
            own = self.spans[self.words == number]
            found.append(self.text[int(own[:, 0].min()) : int(own[:, 1].max())])
        return found


@dataclass(frozen=True, eq=False)
class Relevance:
    """Where the components of prompts' streams along some targets come from.

    Args:
        targets: their names, or "span".
        hidden_index: their depth.
        sources: names of the earlier directions; empty where relevance goes to tokens.
        boundaries: depths at which the sum was noted; the first is the source.
        backend, rules, position, normalize: as asked; rules are "" for back ends without any.
        prompt_ids, goals: of the prompts; goals are the clusters of intervals.
        prompts: their tokens.
        scores: what is explained, axes (prompt, target).
        totals: the sum of all relevance, axes (prompt, boundary, target).
        tokens: relevance by occurrence, prompts one after the other, axes (token, target); or None.
        parts: by earlier direction, axes (prompt, group, source, target); or None.
        rest: what the earlier directions do not span, axes (prompt, group, target); or None.
        model, fingerprint, template: what it was measured on.
        seed: of the resamples.
    """

    targets: tuple[str, ...]
    hidden_index: int
    sources: tuple[str, ...]
    boundaries: tuple[int, ...]
    backend: str
    rules: str
    position: str | int
    normalize: str | None
    prompt_ids: tuple[str, ...]
    goals: tuple[str, ...]
    prompts: tuple[PromptTokens, ...]
    scores: Floats
    totals: Floats
    tokens: Floats | None
    parts: Floats | None
    rest: Floats | None
    model: str
    fingerprint: str
    template: str
    seed: int

    def target(self, name: str) -> int:
        """Return the place of a target on the target axis.

        Raises: ConfigError: there is none of that name.
        """
        if name not in self.targets:
            raise ConfigError(
                f"{shown(name)} was not explained.", fix=did_you_mean(name, self.targets)
            )
        return self.targets.index(name)

    def of_prompt(self, prompt: int) -> Floats:
        """Return the relevance of a prompt's tokens, axes (token, target).

        Raises: ConfigError: relevance was traced to earlier directions.
        """
        if self.tokens is None:
            raise ConfigError(
                "This relevance was traced to earlier directions.", fix='Ask for to="tokens".'
            )
        ends = np.cumsum([len(each.ids) for each in self.prompts])
        return self.tokens[ends[prompt] - len(self.prompts[prompt].ids) : ends[prompt]]

    def of_words(self, prompt: int) -> Floats:
        """Return the relevance of a prompt's words, axes (word, target)."""
        words = self.prompts[prompt].words
        found = np.zeros((int(words[-1]) + 1, len(self.targets)))
        np.add.at(found, words, self.of_prompt(prompt))
        return found

    def per_prompt(self) -> Self:
        """Return relevance as shares of each prompt's score, which is then 1.

        Raises: NumericsError: a score is 0.
        """
        if not self.scores.all():
            prompt, target = np.argwhere(self.scores == 0)[0]
            raise NumericsError(
                f"Prompt {shown(self.prompt_ids[prompt])} has no component along "
                f"{shown(self.targets[target])}, so there are no shares of it.",
                fix="Leave normalize out.",
            )
        lengths = [len(prompt.ids) for prompt in self.prompts]
        scores = self.scores
        return replace(
            self,
            scores=np.ones_like(scores),
            totals=self.totals / scores[:, None],
            tokens=None if self.tokens is None else self.tokens / scores.repeat(lengths, axis=0),
            parts=None if self.parts is None else self.parts / scores[:, None, None],
            rest=None if self.rest is None else self.rest / scores[:, None],
            normalize="prompt",
        )

    @property
    def unit(self) -> str:
        """What relevance is counted in."""
        return "stream units" if self.normalize is None else "scores"

    def part(self, places: Sequence[int]) -> Self:
        """Return the relevance of some prompts, in the order of their places."""
        rows = list(places)
        whole = self.tokens is None
        return replace(
            self,
            prompt_ids=tuple(self.prompt_ids[i] for i in rows),
            goals=tuple(self.goals[i] for i in rows),
            prompts=tuple(self.prompts[i] for i in rows),
            scores=self.scores[rows],
            totals=self.totals[rows],
            tokens=None if whole else np.concatenate([self.of_prompt(i) for i in rows]),
            parts=None if self.parts is None else self.parts[rows],
            rest=None if self.rest is None else self.rest[rows],
        )

    def first_sources(self, count: int) -> Self:
        """Return the relevance of the first earlier directions; the others join the rest.

        Args:
            count: of directions, 1 or more. Those left out must be at right angles to these, or
                the coordinates of these would be others without them.

        Raises: ConfigError: relevance was traced to tokens.
        """
        parts, rest = self.split()
        kept, others = parts[:, :, :count], parts[:, :, count:]
        totals = self.totals
        if self.backend == "leave_one_out":  # the sum of what was removed; nothing is left over
            totals = kept.sum((1, 2))[:, None]
        else:
            rest = rest + others.sum(2)
        return replace(self, sources=self.sources[:count], parts=kept, rest=rest, totals=totals)

    def split(self) -> tuple[Floats, Floats]:
        """Return `parts` and `rest`.

        Raises: ConfigError: relevance was traced to tokens.
        """
        if self.parts is None or self.rest is None:
            raise ConfigError(
                "This relevance was traced to tokens.", fix="Give earlier directions as `to`."
            )
        return self.parts, self.rest

    def conservation(self) -> Floats:
        """Return the sum of relevance over the score; axes (prompt, boundary, target).

        1 is full conservation; NaN where a score is 0.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.scores[:, None] == 0, np.nan, self.totals / self.scores[:, None])

    def measurements(self) -> list[Measurement]:
        """Return what the sums keep, and how much of a token map lies on the user's words."""
        found = [
            self._kept(boundary, target)
            for target in range(len(self.targets))
            for boundary in range(len(self.boundaries))
        ]
        if self.tokens is not None:
            found += [self._on_words(target) for target in range(len(self.targets))]
        return found

    def _kept(self, boundary: int, target: int) -> Measurement:
        """Return the share of the scores that the sums keep, prompts weighted by score squared."""
        scores, totals = self.scores[:, target], self.totals[:, boundary, target]
        name = f"relevance/kept/{self.targets[target]}/h{self.boundaries[boundary]}"
        if not scores.any():
            return not_measured(name, "ratio", "every score is 0", n=len(scores))
        return _ratio(
            name,
            totals * scores,
            scores * scores,
            self.goals,
            self._seed(name),
            None,
            "1 keeps everything; biases, the softmax rule and rounding take the rest",
        )

    def _on_words(self, target: int) -> Measurement:
        """Return the share of absolute relevance on the user's words, beside that of tokens."""
        name = f"relevance/on user's words/{self.targets[target]}"
        sizes = [np.abs(self.of_prompt(i)[:, target]) for i in range(len(self.prompts))]
        user = [prompt.groups == USER for prompt in self.prompts]
        on = np.array([size[own].sum() for size, own in zip(sizes, user, strict=True)])
        whole = np.array([size.sum() for size in sizes])
        share = sum(own.sum() for own in user) / sum(own.size for own in user)
        if not whole.any():
            return not_measured(name, "share", "all relevance is 0", n=len(whole))
        floor = Floor("their share of the tokens", float(share))
        return _ratio(name, on, whole, self.goals, self._seed(name), floor, None)

    def _seed(self, name: str) -> int:
        return item_seed(self.seed, name)

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per token, or per earlier direction and group; no text of the prompts."""
        rows = self._token_rows() if self.tokens is not None else self._source_rows()
        return [{"hidden_index": self.hidden_index, "backend": self.backend, **row} for row in rows]

    def save(self, run: Run, name: str = "relevance", *, text: bool = False) -> None:
        """Write the arrays as safetensors and the rest as two tables.

        Args:
            text: keep the prompts' words too; else they can be rebuilt from token ids only.
        """
        arrays = {key: getattr(self, key) for key in _ARRAYS if getattr(self, key) is not None}
        for key in ("ids", "spans", "words", "groups"):
            arrays[f"prompt_{key}"] = np.concatenate([getattr(p, key) for p in self.prompts])
        run.save_tensors(name, arrays)
        facts = {key: getattr(self, key) for key in _FACTS}
        facts = {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items()}
        run.save_table(
            name, [{**facts, "position": str(self.position), "normalize": self.normalize or ""}]
        )
        run.save_table(
            f"{name}_prompts",
            [
                {
                    "prompt_id": prompt_id,
                    "goal": goal,
                    "tokens": len(prompt.ids),
                    "text": prompt.text if text else "",
                }
                for prompt_id, goal, prompt in zip(
                    self.prompt_ids, self.goals, self.prompts, strict=True
                )
            ],
        )

    @classmethod
    def load(cls, run: Run, name: str = "relevance") -> Self:
        """Read what `save` wrote; texts are "" where they were not kept."""
        arrays, facts = run.load_tensors(name), run.load_table(name)[0]
        rows = run.load_table(f"{name}_prompts")
        ends = np.cumsum([row["tokens"] for row in rows])
        prompts = []
        for row, end in zip(rows, ends, strict=True):
            own = slice(end - row["tokens"], end)
            keys = ("ids", "spans", "words", "groups")
            parts = {key: arrays[f"prompt_{key}"][own] for key in keys}
            prompts.append(PromptTokens(text=row["text"], **parts))
        kept: dict[str, Any] = {
            key: tuple(facts[key]) if isinstance(facts[key], list) else facts[key] for key in _FACTS
        }
        kept |= {key: arrays.get(key) for key in _ARRAYS}
        return cls(
            **kept,
            position=_position(facts["position"]),
            normalize=facts["normalize"] or None,
            prompt_ids=tuple(row["prompt_id"] for row in rows),
            goals=tuple(row["goal"] for row in rows),
            prompts=tuple(prompts),
        )

    def _token_rows(self) -> Iterator[dict[str, Any]]:
        for i, (prompt_id, prompt) in enumerate(zip(self.prompt_ids, self.prompts, strict=True)):
            values = self.of_prompt(i)
            for token in range(len(prompt.ids)):
                for target, name in enumerate(self.targets):
                    yield {
                        "prompt_id": prompt_id,
                        "target": name,
                        "token": token,
                        "token_id": int(prompt.ids[token]),
                        "word": int(prompt.words[token]),
                        "group": GROUPS[prompt.groups[token]],
                        "relevance": float(values[token, target]),
                    }

    def _source_rows(self) -> Iterator[dict[str, Any]]:
        parts, rest = self.split()
        table = np.concatenate([parts, rest[:, :, None]], axis=2)
        names = (*self.sources, "rest")
        for i, group, source, target in np.ndindex(*table.shape):
            yield {
                "prompt_id": self.prompt_ids[i],
                "target": self.targets[target],
                "source": names[source],
                "source_hidden_index": self.boundaries[0],
                "group": GROUPS[group],
                "relevance": float(table[i, group, source, target]),
            }


def _position(text: str) -> str | int:
    return int(text) if text.removeprefix("-").isdigit() else text


def _ratio(
    name: str,
    over: Floats,
    under: Floats,
    goals: Sequence[str],
    seed: int,
    floor: Floor | None,
    reason: str | None,
) -> Measurement:
    """Return a ratio of sums over prompts with its interval by goal."""

    def statistic(weights: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((weights @ over) / (weights @ under))

    return resampled(
        name,
        float(over.sum() / under.sum()),
        len(over),
        statistic,
        clusters=goals,
        unit="ratio" if floor is None else "share",
        range=None if floor is None else (0.0, 1.0),
        floor=floor,
        seed=seed,
        reason=reason,
    )
