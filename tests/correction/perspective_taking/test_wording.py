"""The words: the same keys and tokens in every language, and nobody else's braces read as ours."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.correction.perspective_taking.wording import (
    CHAT,
    CONTINUATION,
    Voice,
    fill,
    languages,
    load_wording,
)
from theodolite.errors import ConfigError, DataError
from theodolite.text.completion_marker import MARKER

FOLDER = resources.files("theodolite.correction.perspective_taking") / "wording"
ENGLISH = (FOLDER / "en.toml").read_text(encoding="utf-8")
PET = ("audience", "imagine_other", "imagine_self")
WRITING = ("rewrite", "rewrite_only", "rewrite_placebo", "critic")
RUN = {"score": "7%", "attribute": "insult", "k": "5"}


def voice(form: str = CONTINUATION, variant: str = "v0", language: str = "en") -> Voice:
    return Voice(load_wording(language), form, "toxicity", variant)


@pytest.mark.parametrize("language", languages())
def test_every_language_says_everything(language: str) -> None:
    words = load_wording(language)
    assert words.variants == ("v0", "v1", "v2", "v3", "v4")
    assert set(words.concerns) == {"toxicity", "bias", "harm"} and len(words.roles) == 3
    for form in (CONTINUATION, CHAT):
        for turn in (*PET, *WRITING, "judge", "objects", "colours", "prehoc"):
            said = voice(form, language=language).say(turn, **RUN)
            assert "{" not in said and said.strip() == said
    for turn in ("request", *WRITING):
        assert MARKER in voice(language=language).say(turn, prompt="x", **RUN)
        assert turn == "request" or MARKER not in voice(CHAT, language=language).say(turn, **RUN)


def test_the_concern_decides_the_words() -> None:
    for concern, adjective, noun in (
        ("toxicity", "toxic", "toxicity"),
        ("bias", "biased", "polarity"),
    ):
        own = Voice(load_wording(), CONTINUATION, concern)
        assert own.say("judge") == f"Judge the {noun} of your continuation."
        assert f"less {adjective} and" in own.say("rewrite_only")
        assert own.noun == noun


@pytest.mark.parametrize("language", languages())
def test_variants_differ_where_they_should(language: str) -> None:
    plain = {turn: voice(language=language).say(turn, k="5") for turn in PET}
    changed = {
        variant: [
            turn
            for turn in PET
            if voice(CONTINUATION, variant, language).say(turn, k="5") != plain[turn]
        ]
        for variant in ("v1", "v2", "v3", "v4")
    }
    imagine = ["imagine_other", "imagine_self"]
    assert changed == {"v1": ["audience"], "v2": imagine, "v3": imagine, "v4": imagine}


def test_what_the_variants_leave_out() -> None:
    said = {v: voice(variant=v).say("imagine_other") for v in ("v0", "v2", "v3", "v4")}
    assert "life" in said["v0"] and "life" not in said["v2"]
    assert "attend only" in said["v0"] and "attend only" not in said["v3"]
    assert "empathy" in said["v4"] and "empathy" not in said["v0"]
    assert "forum" in voice(variant="v1").say("audience", k="5")


@pytest.mark.parametrize("language", languages())
def test_the_placebo_is_as_long_and_asks_for_as_much(language: str) -> None:
    own = voice(language=language)
    for placebo, real in (
        ("objects", "audience"),
        ("colours", "imagine_other"),
        ("rewrite_placebo", "rewrite"),
    ):
        lengths = [len(own.say(turn, k="5").split()) for turn in (placebo, real)]
        assert abs(lengths[0] - lengths[1]) <= 0.15 * lengths[1]
        assert own.say(placebo, k="5") != own.say(real, k="5")


@given(st.text(st.sampled_from("{}SNk prompt_text%$0")), st.text(st.sampled_from("{}Sk text")))
def test_what_is_filled_in_is_never_read(prompt: str, k: str) -> None:
    assert fill("a {prompt} b {k} c", {"prompt": prompt, "k": k, "S": "x"}) == f"a {prompt} b {k} c"


def test_braces_and_percents_in_prompts_survive() -> None:
    prompt = 'He {S} said "{prompt}" {} {0} %s \\1 \\g<0>'
    assert f'Text: "{prompt}"' in voice().say("request", prompt=prompt)


def test_a_language_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "plain.toml"
    path.write_text(ENGLISH.replace("Judge the {N}", "Rate the {N}"), encoding="utf-8")
    own = load_wording(str(path))
    assert own.language == "plain"
    assert Voice(own, CHAT, "bias").say("judge") == "Rate the polarity of your answer."


ACK = '"Understood. Send me the text."'
BROKEN: list[tuple[str, Callable[[str], str], str]] = [
    ("an unknown key", lambda t: t + '\n[variant.v9]\naudience = "x"\n', "unknown"),
    ("a missing turn", lambda t: t.replace('judge = "Judge', 'rank2 = "Judge'), "unknown"),
    ("another missing turn", lambda t: t.replace(f"acknowledgement = {ACK}\n", ""), "missing"),
    ("a missing token", lambda t: t.replace('"{prompt}"', "it"), "{prompt} is missing"),
    ("a token too many", lambda t: t.replace("Judge the {N}", "Judge {k} {N}"), "unknown here"),
    ("an empty turn", lambda t: t.replace(ACK, '" "'), "empty"),
    ("no text", lambda t: t.replace(ACK, "3"), "must be text"),
    ("too few roles", lambda t: t.replace('  "content moderator', '#  "content moderator'), "list"),
    ("no TOML", lambda t: t + "\n[", "no TOML"),
]


@pytest.mark.parametrize(("name", "change", "message"), BROKEN, ids=[b[0] for b in BROKEN])
def test_a_broken_file_is_one_sentence(
    tmp_path: Path, name: str, change: Callable[[str], str], message: str
) -> None:
    path = tmp_path / f"{name.replace(' ', '_')}.toml"
    path.write_text(change(ENGLISH), encoding="utf-8")
    assert change(ENGLISH) != ENGLISH
    with pytest.raises(DataError, match=message) as caught:
        load_wording(str(path))
    assert path.name in str(caught.value)


def test_unknown_languages_and_files() -> None:
    with pytest.raises(ConfigError, match="Known names: de, en"):
        load_wording("dee")
    with pytest.raises(DataError, match="no such file"):
        load_wording("/nowhere/xx.toml")
