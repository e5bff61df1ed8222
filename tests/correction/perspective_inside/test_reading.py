"""Where a completion begins: one token in every arm; and a direction written there is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inspect_ai.log import EvalSample

from tests.models.tiny import tiny_model
from theodolite.correction.perspective_inside import reading
from theodolite.correction.perspective_inside.reading import Arms, read_stream, talk_through
from theodolite.correction.perspective_inside.shift import OVER, inner_shift
from theodolite.correction.perspective_inside.texts import read_labelled, scored_texts
from theodolite.correction.perspective_taking.setting import Caps, Setting
from theodolite.correction.perspective_taking.wording import CONTINUATION, Voice, load_wording
from theodolite.data.prompts import Prompt
from theodolite.engine import apply
from theodolite.engine.interventions import ResidualIntervention
from theodolite.errors import DataError, RunError
from theodolite.mechanism.directions.contrast import read_contrasts
from theodolite.models.handle import LanguageModel
from theodolite.runs.run import Run
from theodolite.text.completion_marker import MARKER

SHORT = Setting(caps=Caps(6, 6, 6))
METHODS = ("pet_io", "pet_placebo")
PROMPTS = tuple(Prompt(f"p{i}", text=f"He said {i} and then", goal_id=f"g{i}") for i in range(4))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    found = tiny_model("llama")
    found.max_context = 8192
    return found


def talked(model: LanguageModel, folder: Path) -> Arms:
    with Run.create("explain perspective-taking", "tiny", out=folder) as run:
        return talk_through(model, PROMPTS, METHODS, readers=2, setting=SHORT, run=run)


@pytest.fixture(scope="module")
def arms(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Arms:
    return talked(model, tmp_path_factory.mktemp("arms") / "run")


def test_every_arm_ends_in_the_same_tokens_and_holds_its_own_turns(
    model: LanguageModel, arms: Arms
) -> None:
    voice = Voice(load_wording(), CONTINUATION, "toxicity")
    marker = len(model.tokenizer(MARKER, add_special_tokens=False)["input_ids"])
    ends = set()
    for i, prompt in enumerate(PROMPTS):
        pet, placebo, before = arms.after["pet_io"][i], arms.after["pet_placebo"][i], arms.before[i]
        ends |= {one.ids[-marker:] for one in (before, pet, placebo)}
        assert all(one.text.endswith(MARKER) for one in (before, pet, placebo))
        assert all(prompt.request in one.text for one in (before, pet, placebo))
        assert voice.say("rewrite") in pet.text and voice.say("rewrite") not in before.text
        assert voice.say("rewrite_placebo") in placebo.text and "2 objects" in placebo.text
        assert "2 readers" in pet.text and "2 readers" not in placebo.text
        opening = before.text.removesuffix(MARKER)
        assert pet.text.startswith(opening) and placebo.text.startswith(opening)
    assert len(ends) == 1


def test_the_same_run_gives_the_same_chats(
    model: LanguageModel, arms: Arms, tmp_path: Path
) -> None:
    assert talked(model, tmp_path / "again") == arms


def test_methods_that_do_not_start_alike_are_refused(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    asked = reading._asked

    def other(sample: Any) -> Any:
        seen.append(1)
        calls = asked(sample)
        return calls if len(seen) <= len(PROMPTS) else calls[1:]

    monkeypatch.setattr(reading, "_asked", other)
    with pytest.raises(RunError, match="did not start from the same chats"):
        talked(model, tmp_path / "run")


def test_a_log_without_the_calls_is_refused(arms: Arms) -> None:
    sample = EvalSample(id="s", epoch=1, input="x", target="y")
    with pytest.raises(RunError, match="'s' does not hold the calls"):
        reading._asked(sample)


def test_the_stream_is_that_of_a_plain_forward_pass(model: LanguageModel, arms: Arms) -> None:
    found = read_stream(model, arms.before)
    ids = torch.tensor([arms.before[1].ids])
    with torch.inference_mode():
        hidden = model.module(ids, output_hidden_states=True).hidden_states
    # The last of transformers' states is normed, so the ones before it are compared.
    for layer in range(found.shape[1] - 1):
        assert np.allclose(found[1, layer], hidden[layer + 1][0, -1].numpy(), atol=1e-4)


def labelled(path: Path, count: int = 40) -> Path:
    """Write texts whose kinds a random model's embeddings tell apart: one word differs."""
    rows = ["text,toxic,goal_id"]
    for i in range(count):
        word = "zzz" if i % 2 else "the"
        rows.append(f"{word} {word} boat {i} {word} lake {i * 7},{i % 2},g{i}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_direction_that_an_intervention_writes_is_found(
    model: LanguageModel, arms: Arms, tmp_path: Path, sign: float
) -> None:
    """The method's chats are the placebo's, read while a vector is added after block 0.

    Added is half a class gap along the direction: exactly that must be found at its depth.
    """
    texts = read_labelled(labelled(tmp_path / "texts.csv"))
    layers = model.anatomy.n_layers
    where = {"positions": ("instruction_mean",), "template": "none"}
    (contrast,) = read_contrasts(
        model, texts.items, hidden_indices=range(1, layers + 1), **where
    ).values()  # type: ignore[arg-type]
    rows = contrast.fitting
    first = contrast.at(1)[rows]
    kinds = contrast.positive[rows]
    gap = first[kinds].mean(0) - first[~kinds].mean(0)
    chats = arms.after["pet_placebo"]
    before, placebo = read_stream(model, arms.before), read_stream(model, chats)
    vector = torch.tensor(0.5 * sign * gap, dtype=torch.float32)
    with apply(model, ResidualIntervention(layer=0, operator="add", vector=vector)):
        method = read_stream(model, chats)
    ids = tuple(prompt.id for prompt in PROMPTS)
    after = {"pet_io": method, "pet_placebo": placebo}
    found = inner_shift(contrast, before, after, ids=ids, goals=ids)
    assert np.allclose(found.shifts[OVER][:, 0], sign * 0.5, atol=1e-4)
    assert found.auroc[0].value == 1.0
    beyond = max(found.random[OVER][0], found.shuffled[OVER][0])
    assert beyond < 0.5
    nothing = inner_shift(contrast, before, dict.fromkeys(METHODS, placebo), ids=ids, goals=ids)
    assert not nothing.visible and np.allclose(nothing.shifts[OVER], 0.0)


WRONG = {
    "no text": ("text,toxic\n,1\n", r"line 2, field 'text'"),
    "no label": ("text,toxic\na b c,\n", r"line 2, field 'toxic'"),
    "odd label": ("text,toxic\na b c,2\n", r"'2' does not say"),
    "one kind": ("text,toxic\na b c,1\n", r"is empty"),
}


@pytest.mark.parametrize(("content", "says"), WRONG.values(), ids=WRONG.keys())
def test_texts_that_cannot_be_used_are_named(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=says):
        read_labelled(path)


class ByLength:
    """A scorer that calls long texts toxic (a sentiment: negative), or all alike."""

    id, blind_spots = "length@1", "everything"

    def __init__(self, same: bool = False, kind: str = "lexical") -> None:
        self.same, self.kind = same, kind

    def score(self, texts: list[str]) -> list[float]:
        sign = -1 if self.kind == "sentiment" else 1
        return [0.5 if self.same else sign * min(len(text) / 100, 1.0) for text in texts]


def test_the_models_own_texts_are_parted_by_their_score(
    model: LanguageModel, tmp_path: Path
) -> None:
    def made(name: str, scorer: ByLength) -> list[list[str]]:
        with Run.create("explain perspective-taking", "tiny", out=tmp_path / name) as run:
            found = scored_texts(
                model,
                PROMPTS,
                scorer,
                samples=6,
                setting=SHORT,
                run=run,  # type: ignore[arg-type]
            )
        assert found.items.positive.sum() > 0 and "length@1" in found.how
        kinds = (found.items.positive, ~found.items.positive)
        return [[t for t, own in zip(found.items.texts, kind) if own] for kind in kinds]

    toxic, other = made("a", ByLength())
    assert min(map(len, toxic)) > max(map(len, other))
    assert made("b", ByLength()) == [toxic, other] == made("d", ByLength(kind="sentiment"))
    with pytest.raises(DataError, match=r"does not tell the .* apart"):
        made("c", ByLength(same=True))
