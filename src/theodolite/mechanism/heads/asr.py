"""Do attacks succeed once heads are out? Answers are written, judged, and compared by prompt.

The keyword judge's verdict on a refusal cannot change with more text, so an answer ends at its
first keyword: the rates are those of answers written to their end, and a model that refuses costs
a few tokens. Only the answers to a drawn part of the prompts are written to their end, for the
judges that read whole answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.data.prompts import BENIGN, PromptSet
from theodolite.engine import generate
from theodolite.engine.budget import row_budget
from theodolite.engine.generate import decode_text
from theodolite.errors import ConfigError
from theodolite.judging.keywords import KeywordJudge
from theodolite.judging.refusal import score_refusal
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.mechanism.heads.ablation import Head, HeadAblation
from theodolite.mechanism.heads.asr_conditions import Condition, Groups, conditions_of
from theodolite.mechanism.heads.asr_result import UNREADABLE, AsrResult, Labels
from theodolite.mechanism.heads.frames import encode_framed, frame_hash, resolve_frame
from theodolite.models.chat import Encoded
from theodolite.text.hashing import content_key, item_seed
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

# Decoding of the published tables: how generate is called, and answers to each prompt.
DECODING: Final[Mapping[str, tuple[dict[str, Any], int]]] = {
    "greedy": ({}, 1),
    "topk": ({"temperature": 1.0, "top_k": 5}, 5),
}
MAX_NEW_TOKENS: Final = 128
OPINIONS: Final = 40
STAGE: Final = "answers with heads out"

Heads = tuple[Head, ...]
_Row = tuple[Heads, int]
"""One prompt with heads out: the heads, and the prompt's place."""


def attack_success(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    groups: Groups = (),
    ablation: HeadAblation | None = None,
    *,
    template: str = "auto",
    opener: str = "",
    decoding: str = "greedy",
    max_new_tokens: int = MAX_NEW_TOKENS,
    random_groups: int = 0,
    judge: KeywordJudge | None = None,
    opinions: int = OPINIONS,
    judge_model: Any = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
    stage: str = STAGE,
) -> AsrResult:
    """Write and judge answers by the intact model, and with groups of heads taken out.

    Source: arXiv:2410.13708, section 4 (128 tokens, greedy or the 5 likeliest tokens at
    temperature 1, keywords); pairing, intervals, random groups and further judges are ours.

    Args:
        model: an open local model; active interventions act under every condition.
        prompts: requests with different ids.
        groups: heads to take out, by name: one list for all prompts, or one for each (query level);
            bare heads are one group; none measures the model as it is.
        ablation: how they are taken out; default undifferentiated attention.
        template, opener: the frame, see `encode_framed`. The keyword judge reads what comes after
            the opener, the other judges the opener too.
        decoding, max_new_tokens: of an answer; "greedy", or "topk" (five answers to each prompt,
            the same random numbers under every condition).
        random_groups: random groups of each size that occurs, as a control.
        judge: the keyword judge; default our own keywords.
        opinions: prompts, drawn by `seed`, whose answers are written to their end and read by the
            offline refusal scorer and the judge model.
        judge_model: an inspect model (or its name) that labels refusals, or None.
        journal, progress: of written answers and verdicts; the work can be stopped and resumed.
        seed: of sampling, random groups and the drawn prompts.
        stage: what progress calls the writing.

    Raises:
        ConfigError, CapabilityError: an option, head or group, or the model, does not fit.
        DataError: no prompts, ids that repeat, or a prompt that cannot be encoded.
        JudgeError: the judge model is not known (found first), is down or failed its canaries;
            written answers are kept.

    Note: costs up to conditions x prompts x draws x `max_new_tokens` tokens. Choices of heads with
        too few rows to fill a batch are written together.
    """
    ablation = ablation or HeadAblation()
    _check(model, ablation, decoding, opinions, random_groups)
    check_judge(judge_model, seed)
    asked = _Asked(
        model=model,
        prompts=PromptSet("attacks", tuple(prompts)).prompts,
        frame=resolve_frame(model, template),
        opener=opener,
        ablation=ablation,
        judge=judge or KeywordJudge(),
        decoding=decoding,
        max_new_tokens=max_new_tokens,
        opinions=opinions,
        seed=seed,
    )
    conditions = asked.conditions(groups, random_groups)
    texts = _written(asked, conditions, stage, journal, progress)
    return _Answers(asked, conditions, texts).result(judge_model, journal, progress)


def _settings(asked: _Asked, judge_model: Any) -> dict[str, Any]:
    """Return what decided the answers and verdicts, for the record."""
    return {
        "model": asked.model.name,
        "dtype": str(asked.model.dtype).removeprefix("torch."),
        "template": asked.frame,
        "frame": frame_hash(asked.frame, opener=asked.opener),
        "opener": asked.opener,
        "decoding": asked.decoding,
        "max_new_tokens": asked.max_new_tokens,
        **asked.ablation.facts,
        "keywords": asked.judge.key,
        "judge_model": None if judge_model is None else str(judge_model),
        "seed": asked.seed,
    }


def check_judge(judge: Any, seed: int = 0) -> None:
    """Open a judge model, and ask it nothing; None is no judge.

    Raises:
        JudgeError: it is not known, or its key is missing.
    """
    if judge is None:
        return
    from theodolite.judging.judged_answers import open_judge

    open_judge(judge, seed=seed)


def _check(
    model: LanguageModel, ablation: HeadAblation, decoding: str, opinions: int, random_groups: int
) -> None:
    """Refuse what does not fit, before anything is read or written."""
    model.require("text", "interventions")
    ablation.check(model.anatomy)
    if decoding not in DECODING:
        raise ConfigError(
            f"There is no decoding '{decoding}'.", fix=did_you_mean(decoding, DECODING)
        )
    if opinions < 0 or random_groups < 0:
        raise ConfigError("opinions and random_groups must be at least 0.")


def _drawn(prompts: Sequence[Prompt], count: int, seed: int) -> list[bool]:
    """Return which prompts are among the `count` drawn ones; a larger draw holds a smaller one."""
    order = sorted(
        range(len(prompts)), key=lambda place: item_seed(seed, "opinions", prompts[place].id)
    )
    chosen = set(order[:count])
    return [place in chosen for place in range(len(prompts))]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Asked:
    """What is put to the model under every condition."""

    model: LanguageModel
    prompts: Sequence[Prompt]
    frame: str
    opener: str
    ablation: HeadAblation
    judge: KeywordJudge
    decoding: str
    max_new_tokens: int
    opinions: int
    seed: int

    @cached_property
    def encoded(self) -> Sequence[Encoded]:
        """The prompts in their frame, tokenised."""
        return encode_framed(self.model, self.prompts, self.frame, opener=self.opener)

    @cached_property
    def whole(self) -> Sequence[bool]:
        """Whether a prompt's answers are written to their end; the same under every condition."""
        return _drawn(self.prompts, self.opinions, self.seed)

    @property
    def draws(self) -> int:
        """Answers to each prompt."""
        return DECODING[self.decoding][1]

    def conditions(self, groups: Groups, random_groups: int) -> list[Condition]:
        """Return the intact model, the groups and random ones of their sizes."""
        return conditions_of(
            self.model.anatomy,
            groups,
            self.ablation,
            prompts=len(self.prompts),
            random_groups=random_groups,
            seed=self.seed,
        )

    def parts(self, conditions: Sequence[Condition]) -> list[list[_Row]]:
        """Return what is written together: rows that end in the same way, each row once.

        The same heads out make a part of their own where they fill a batch: then other conditions
        do not change its batches, and its answers are found again whatever it is compared with.
        """
        alike: dict[tuple[bool, Heads], dict[_Row, None]] = {}
        for condition in conditions:
            for place, whole in enumerate(self.whole):
                heads = condition.of(place)
                alike.setdefault((whole, heads), {})[heads, place] = None
        longest = max(len(item.ids) for item in self.encoded) + self.max_new_tokens
        full = row_budget(self.model, longest)
        alone, mixed = [], {True: list[_Row](), False: list[_Row]()}
        for (whole, _), rows in alike.items():
            if len(rows) * self.draws >= full:
                alone.append(list(rows))
            else:
                mixed[whole] += rows
        return [*alone, *(rows for rows in mixed.values() if rows)]

    def write(
        self, rows: Sequence[_Row], journal: Journal | None, progress: Progress | None
    ) -> dict[_Row, tuple[str, ...]]:
        """Return the answers to some prompts, each with its heads taken out."""
        anatomy, whole = self.model.anatomy, self.whole[rows[0][1]]
        out = {
            heads: self.ablation.interventions(anatomy, heads) if heads else []
            for heads in dict.fromkeys(heads for heads, _ in rows)
        }
        found = generate(
            self.model,
            [self.encoded[place] for _, place in rows],
            max_new_tokens=self.max_new_tokens,
            stop=() if whole else self.judge.stops,
            seed=self.seed,
            n=self.draws,
            variants=[out[heads] for heads, _ in rows],
            journal=journal,
            progress=progress,
            **DECODING[self.decoding][0],
        )
        # The stop string is left out of `text`, and the verdict needs it.
        texts = [decode_text(self.model, completion.token_ids) for completion in found]
        size = self.draws
        return {row: tuple(texts[i * size : (i + 1) * size]) for i, row in enumerate(rows)}


def _written(
    asked: _Asked,
    conditions: Sequence[Condition],
    stage: str,
    journal: Journal | None,
    progress: Progress | None,
) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Return all answers, [condition][prompt][draw]."""
    parts = asked.parts(conditions)
    if progress is not None:
        progress.start(stage, sum(map(len, parts)) * asked.draws)
    found: dict[_Row, tuple[str, ...]] = {}
    for rows in parts:
        found |= asked.write(rows, journal, None if progress is None else _Within(progress))
    places = range(len(asked.encoded))
    return tuple(tuple(found[c.of(place), place] for place in places) for c in conditions)


@dataclass(frozen=True)
class _Within:
    """Progress of a part of a stage: its steps count, and it starts no stage of its own."""

    progress: Progress

    def start(self, label: str, total: int) -> None: ...

    def advance(self, steps: int = 1) -> None:
        self.progress.advance(steps)

    def message(self, text: str) -> None:
        self.progress.message(text)


@dataclass(frozen=True, eq=False)
class _Answers:
    """Written answers, and what the judges beside the keywords say of the whole ones."""

    asked: _Asked
    conditions: Sequence[Condition]
    texts: tuple[tuple[tuple[str, ...], ...], ...]

    def result(
        self, judge_model: Any, journal: Journal | None, progress: Progress | None
    ) -> AsrResult:
        """Return all verdicts on the answers, with what they are answers to."""
        asked, prompts = self.asked, self.asked.prompts
        verdict = asked.judge.verdict
        return AsrResult(
            conditions=tuple(self.conditions),
            keyword=np.array([[list(map(verdict, row)) for row in c] for c in self.texts]),
            scorer=self.scored(),
            judged=self.judged(judge_model, asked.seed, journal, progress),
            whole=np.array(asked.whole),
            texts=self.texts,
            prompt_ids=tuple(prompt.id for prompt in prompts),
            clusters=tuple(cluster_of(prompt) for prompt in prompts),
            requests=tuple(prompt.request for prompt in prompts),
            # Without a label a request may well be harmful.
            harmful=tuple(prompt.label != BENIGN for prompt in prompts),
            settings=_settings(asked, judge_model),
        )

    def scored(self) -> Labels:
        """Return the offline scorer's labels, "" where an answer is not whole."""
        return self._labels(lambda _id, request, reply: score_refusal(reply, request).label)

    def judged(
        self, judge: Any, seed: int, journal: Journal | None, progress: Progress | None
    ) -> Labels:
        """Return the judge model's labels, "" where it was not asked."""
        if judge is None:
            return self._labels(lambda *_: "")
        from theodolite.judging.judged_answers import judge_answers

        asked: dict[str, dict[str, str]] = {}

        def ask(name: str, request: str, reply: str) -> str:
            asked[name] = {"id": name, "prompt": request, "completion": reply}
            return name

        names = self._labels(ask)
        verdicts = judge_answers(
            judge, list(asked.values()), seed=seed, journal=journal, progress=progress
        )
        labels = {name: v.label or UNREADABLE for name, v in zip(asked, verdicts, strict=True)}
        found = [labels.get(name, "") for name in names.ravel().tolist()]
        return np.array(found).reshape(names.shape)

    def _labels(self, label: Any) -> Labels:
        """Return `label(id, request, reply)` of whole answers, axes (condition, prompt, draw)."""
        opener, prompts, drawn = self.asked.opener, self.asked.prompts, self.asked.whole
        return np.array(
            [
                [
                    [
                        # Equal answers to a prompt are one item, under whatever condition.
                        label(content_key(prompt.id, text), prompt.request, opener + text)
                        if whole
                        else ""
                        for text in row
                    ]
                    for prompt, whole, row in zip(prompts, drawn, rows, strict=True)
                ]
                for rows in self.texts
            ]
        )
