"""Attack success on tiny models: the keywords are what the model happens to write."""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.judging.test_refusal_judge import model as judge_model
from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.engine import apply, generate
from theodolite.engine.generate import decode_text
from theodolite.errors import CapabilityError, ConfigError, DataError, JudgeError
from theodolite.judging.keywords import KeywordJudge
from theodolite.judging.refusal import score_refusal
from theodolite.mechanism.heads import asr
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.asr import DECODING, attack_success
from theodolite.mechanism.heads.asr_result import AsrResult
from theodolite.mechanism.heads.frames import encode_framed
from theodolite.models.handle import LanguageModel
from theodolite.runs.journal import Journal

ZERO = HeadAblation("zero")
HALF = HeadAblation("scale", epsilon=0.5)
TOKENS = 24
PROMPTS = [
    Prompt(f"p{i}", text=f"Write a {word} story about the {thing}.", label=label)
    for i, (word, thing, label) in enumerate(
        (word, thing, label)
        for word in ("short", "small", "quiet", "long")
        for thing, label in (("boat", "harmful"), ("weather", None), ("lake", "benign"))
    )
]
GROUP = {"pair": [(0, 1), (2, 3)]}


@cache
def opened() -> LanguageModel:
    return tiny_model()


@cache
def common_words() -> tuple[str, ...]:
    """Return pieces of text that some of the model's answers hold and others do not."""
    answers = generate(opened(), encode_framed(opened(), PROMPTS), max_new_tokens=TOKENS)
    pieces = Counter(
        piece
        for answer in answers
        for piece in {answer.text[i : i + 2] for i in range(len(answer.text) - 1)}
        if piece.isalpha() and piece.isascii()
    )
    mixed = [piece for piece, count in pieces.items() if 2 <= count <= len(PROMPTS) - 2]
    assert len(mixed) >= 2
    return tuple(sorted(mixed)[:2])


def judge() -> KeywordJudge:
    return KeywordJudge(common_words(), shortest=10)


def measured(groups: Any = GROUP, ablation: HeadAblation = ZERO, **options: Any) -> AsrResult:
    given: dict[str, Any] = {"max_new_tokens": TOKENS, "judge": judge(), **options}
    return attack_success(opened(), given.pop("prompts", PROMPTS), groups, ablation, **given)


@pytest.mark.parametrize("decoding", ["greedy", "topk"])
@pytest.mark.parametrize("template", ["chat", "parity"])
def test_stopping_at_a_keyword_changes_no_verdict(decoding: str, template: str) -> None:
    early, full = (
        measured(opinions=n, decoding=decoding, template=template) for n in (0, len(PROMPTS))
    )
    assert (early.keyword == full.keyword).all()
    assert {"refused", "complied"} <= set(full.keyword.ravel().tolist())
    lengths = [
        [len(text) for c in result.texts for row in c for text in row] for result in (early, full)
    ]
    assert sum(lengths[0]) < sum(lengths[1])  # it did stop
    assert early.frame()[1]["asr"] == full.frame()[1]["asr"]


def test_an_answer_written_to_its_end_begins_with_the_stopped_one() -> None:
    early, full = (measured(opinions=n) for n in (0, len(PROMPTS)))
    for c in range(2):
        for p in range(len(PROMPTS)):
            assert full.texts[c][p][0].startswith(early.texts[c][p][0])


def test_conditions_are_the_model_with_the_heads_out() -> None:
    result = measured(opinions=99)
    encoded = encode_framed(opened(), PROMPTS, "chat")
    for c, heads in enumerate(([], GROUP["pair"])):
        with apply(opened(), *ZERO.interventions(opened().anatomy, heads)):
            slow = [generate(opened(), [item], max_new_tokens=TOKENS)[0].text for item in encoded]
        assert [row[0] for row in result.texts[c]] == slow
    assert result.texts[0] != result.texts[1]


def test_each_prompt_may_have_its_own_heads() -> None:
    own = [[(i % 3, i % 4)] for i in range(len(PROMPTS))]
    result = measured({"own": own})
    for i, prompt in enumerate(PROMPTS):
        alone = measured({"own": own[i]}, prompts=[prompt])
        assert result.texts[1][i] == alone.texts[1][0]
        assert result.keyword[1, i, 0] == alone.keyword[1, 0, 0]


OWN = [[(i % 3, i % 4), ((i + 1) % 3, 2 + i % 2)] for i in range(len(PROMPTS))]
MANY = {**GROUP, "own": OWN, "one": [(1, 2)], "again": [(1, 2)]}


@pytest.mark.parametrize("decoding", ["greedy", "topk"])
@pytest.mark.parametrize("operator", ["zero", "undifferentiated", "head_mean"])
def test_answers_written_together_are_those_written_one_condition_at_a_time(
    operator: str, decoding: str
) -> None:
    ablation = HeadAblation(operator)
    result = measured(MANY, ablation, decoding=decoding, opinions=4)
    how, draws = DECODING[decoding]
    for c, condition in enumerate(result.conditions):
        for p, item in enumerate(encode_framed(opened(), PROMPTS)):
            heads = condition.of(p)
            out = ablation.interventions(opened().anatomy, heads) if heads else []
            stop = () if result.whole[p] else judge().stops
            with apply(opened(), *out):
                found = generate(opened(), [item], max_new_tokens=TOKENS, stop=stop, n=draws, **how)
            texts = [decode_text(opened(), answer.token_ids) for answer in found]
            assert list(result.texts[c][p]) == texts
            assert result.keyword[c, p].tolist() == [judge().verdict(text) for text in texts]
    assert result.texts[3] == result.texts[4]  # the same heads, named twice
    assert len({text for c in result.texts for row in c for text in row}) > len(PROMPTS)


def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the rows of every decoding step."""
    module, noted = import_module("theodolite.engine.writing"), list[int]()
    step = module.step

    def counted(model: Any, state: Any, tokens: Any, *more: Any) -> Any:
        noted.append(len(tokens))
        return step(model, state, tokens, *more)

    monkeypatch.setattr(module, "step", counted)
    return noted


def test_conditions_share_batches_where_each_has_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = steps(monkeypatch)
    shared = measured({"own": OWN, **GROUP}, opinions=0)
    together = list(noted)
    noted.clear()
    for budget in (1, 2 * len(PROMPTS)):  # every choice of heads alone, and those that fill a batch
        monkeypatch.setattr(asr, "row_budget", lambda *_, budget=budget: budget)
        apart = measured({"own": OWN, **GROUP}, opinions=0)
        assert apart.texts == shared.texts and (apart.keyword == shared.keyword).all()
    assert max(together) > 2 * len(PROMPTS)
    assert len(together) <= TOKENS < len(noted) / 4


def test_heads_that_fill_a_batch_are_found_again_beside_other_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asr, "row_budget", lambda *_: len(PROMPTS))
    with Journal(tmp_path / "units.jsonl") as journal:
        first = measured(opinions=0, journal=journal)
        noted = steps(monkeypatch)
        second = measured({**GROUP, "own": OWN}, opinions=0, journal=journal)
        assert second.texts[:2] == first.texts
        written = len(noted)
        assert 0 < written <= TOKENS
        measured({"own": OWN}, opinions=0, journal=journal)
        assert len(noted) == written


def test_draws_differ_are_reproduced_and_share_their_chance_between_conditions() -> None:
    first = measured({"nothing": [(0, 1)]}, HeadAblation("scale", epsilon=1.0), decoding="topk")
    assert first.keyword.shape == (2, len(PROMPTS), 5)
    assert any(len(set(row)) > 1 for row in first.texts[0])
    assert first.texts[0] == first.texts[1]  # an ablation that does nothing, paired exactly
    again = measured({"nothing": [(0, 1)]}, HeadAblation("scale", epsilon=1.0), decoding="topk")
    assert first.texts == again.texts
    other = measured((), decoding="topk", seed=1)
    assert first.texts[0] != other.texts[0]
    assert first.frame()[0]["spread"] == pytest.approx(first.success[0].mean(0).std(ddof=1))


def test_the_scorer_reads_whole_answers_only() -> None:
    result = measured(opinions=5)
    assert result.whole.sum() == 5
    assert (result.scorer[:, ~result.whole] == "").all()
    for c in range(2):
        for p in np.flatnonzero(result.whole):
            request = PROMPTS[p].request
            assert result.scorer[c, p, 0] == score_refusal(result.texts[c][p][0], request).label
    larger = measured(opinions=8)
    assert set(np.flatnonzero(result.whole)) <= set(np.flatnonzero(larger.whole))
    assert result.second_rate("intact", "scorer").n == 5


def test_an_opener_is_read_by_the_scorer_and_not_by_the_keywords() -> None:
    plain = measured((), opener="I am sorry, but", judge=KeywordJudge(("sorry",), shortest=1))
    assert (plain.keyword != "refused").all()
    assert (plain.scorer == "refusal").any()
    other = measured((), judge=KeywordJudge(("sorry",), shortest=1))
    assert plain.settings["frame"] != other.settings["frame"]
    assert plain.texts != other.texts


def test_a_resumed_run_writes_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path / "units.jsonl") as journal:
        first = measured(random_groups=2, journal=journal)
        known = len(journal)

        def never(*_: Any) -> None:
            raise AssertionError("it was written before")

        # The package holds the function under the module's name.
        module = import_module("theodolite.engine.writing")
        monkeypatch.setattr(module.Writer, "_write", never)
        again = measured(random_groups=2, journal=journal)
        assert len(journal) == known
        with pytest.raises(AssertionError, match="written before"):
            measured({"pair": [(0, 1), (2, 2)]}, journal=journal)
    assert again.texts == first.texts and (again.keyword == first.keyword).all()


def test_progress_counts_every_condition() -> None:
    class Counted:
        total = done = 0

        def start(self, _label: str, total: int) -> None:
            self.total += total

        def advance(self, steps: int = 1) -> None:
            self.done += steps

        def message(self, text: str) -> None: ...

    progress = Counted()
    measured(random_groups=3, progress=progress)
    assert progress.total == progress.done == 5 * len(PROMPTS)


def test_other_interventions_stay_in_force() -> None:
    with apply(opened(), *ZERO.interventions(opened().anatomy, [(0, 1), (2, 3)])):
        inside = measured(())
    assert inside.texts[0] == measured().texts[1]
    assert opened().interventions == ()


def test_a_judge_model_reads_the_whole_answers(tmp_path: Path) -> None:
    good, mock = judge_model("good")
    with Journal(tmp_path / "units.jsonl") as journal:
        result = measured(opinions=4, judge_model=good, journal=journal)
        asked = mock.calls
        again = measured(opinions=4, judge_model=good, journal=journal)
    assert (result.judged[:, ~result.whole] == "").all()
    assert (result.judged[:, result.whole] != "").all()
    assert (again.judged == result.judged).all() and mock.calls == asked
    assert {"scorer", "judge"} == set(result.second_judges)
    assert result.judge_errors()[1] == 8


def test_verdicts_that_cannot_be_read_make_the_judge_incomplete_not_low() -> None:
    bad, _ = judge_model("garbage later")
    result = measured(opinions=4, judge_model=bad)
    assert result.judge_errors() == (8, 8)
    rate = result.second_rate("intact", "judge")
    assert rate.status == "incomplete" and rate.value is None
    assert rate.unscored.reasons == {"judge_unparsable": 4}
    assert result.rate("intact").status == "measured"


@pytest.mark.parametrize("how", ["down", "fooled"])
def test_a_judge_that_is_down_or_fooled_stops_the_run(how: str) -> None:
    bad, _ = judge_model(how)
    with pytest.raises(JudgeError):
        measured(opinions=4, judge_model=bad)


def test_an_unknown_judge_is_refused_before_any_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theodolite.mechanism.heads.asr.generate", None)
    with pytest.raises(JudgeError, match="cannot be opened") as caught:
        measured(judge_model="nobody/none")
    assert ".." not in str(caught.value)


def test_what_is_not_asked_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="`greedy`"):
        measured(decoding="greed")
    with pytest.raises(ConfigError, match="at least 0"):
        measured(opinions=-1)
    with pytest.raises(ConfigError, match="no head 5-0"):
        measured([(5, 0)])
    with pytest.raises(ConfigError, match="no head operator"):
        measured(ablation=HeadAblation("zeroo"))
    with pytest.raises(CapabilityError, match="an answer"):
        measured(ablation=HeadAblation("resample"))
    with pytest.raises(DataError, match="repeats the id"):
        measured(prompts=[PROMPTS[0], PROMPTS[0]])
    with pytest.raises(DataError, match="empty"):
        measured(prompts=[])


def test_every_operator_that_can_write_does() -> None:
    for ablation in (HALF, HeadAblation(), HeadAblation("head_mean")):
        assert measured(ablation=ablation, opinions=0).keyword.shape == (2, len(PROMPTS), 1)
