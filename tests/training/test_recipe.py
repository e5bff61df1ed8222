"""One schema for recipes: unknown keys name their neighbour, values are in range."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.made_groups import made_groups
from theodolite.data.preference_groups import write_groups
from theodolite.errors import ConfigError, TheodoliteError
from theodolite.runs.config import config_toml
from theodolite.training.recipe import Recipe, load_recipe
from theodolite.training.sources import gather_rows

GOOD = 'method = "ssft-chat"\n[data]\nrows = ["bundled:refusal"]\n'


def recipe(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return load_recipe(path)


def test_a_recipe_is_read_and_written_back(tmp_path: Path) -> None:
    more = '[data.weights]\nours = 0.5\n[lora]\nr = 16\ntargets = ["q_proj", "v_proj"]\n'
    first = recipe(tmp_path, GOOD + more)
    assert first.lora.targets == ("q_proj", "v_proj") and first.data.weights == {"ours": 0.5}
    assert recipe(tmp_path, config_toml(first)) == first


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD)
    assert load_recipe(path, {"max_steps": 3, "seed": 7}).max_steps == 3


WRONG = {
    "unknown": ("learningrate = 1.0\n" + GOOD, "learning_rate"),
    "in a table": (GOOD + "[lora]\nrank = 3\n", "lora.rank"),
    "type": ("epochs = 1.5\n" + GOOD, "a whole number"),
    "method": ('method = "ppo"\n', "'dpo'"),
    "no rows": ('method = "dpo"\n', "names no rows"),
    "rank": (GOOD + "[lora]\nr = 0\n", "`lora.r` is 0"),
    "dropout": (GOOD + "[lora]\ndropout = 1.0\n", "lora.dropout"),
    "targets": (GOOD + '[lora]\ntargets = "all"\n', "all-linear"),
    "steps": ("max_steps = 0\n" + GOOD, "max_steps"),
    "rate": ("learning_rate = -1e-4\n" + GOOD, "learning_rate"),
    "not finite": ("weight_decay = nan\n" + GOOD, "weight_decay"),
    "dtype": ('dtype = "float16"\n' + GOOD, "bfloat16"),
    "packed pairs": ("packing = true\n" + GOOD.replace("ssft-chat", "dpo"), "packed"),
    "packed orders": ("packing = true\n" + GOOD.replace("ssft-chat", "listwise"), "packed"),
    "ranking": ('ranking = "pair"\n' + GOOD, "'plackett-luce'"),
    "ranking of one answer": ('ranking = "plackett-luce"\n' + GOOD, "belongs to listwise"),
    "normalised pairs": (
        "length_normalised = true\n" + GOOD.replace("ssft-chat", "dpo"),
        "`length_normalised` belongs to listwise, and the method is dpo",
    ),
    "sft_weight": ("sft_weight = 0.1\n" + GOOD, "belongs to dpo and listwise"),
    "sft_weight below 0": (
        "sft_weight = -0.1\n" + GOOD.replace("ssft-chat", "dpo"),
        "`sft_weight` is -0.1",
    ),
    "form": (GOOD + 'form = "pairs"\n', "`data.form` is pairs, which ssft-chat does not read"),
    "unknown form": (GOOD + 'form = "conditionel"\n', "conditional"),
    "half a penalty": (GOOD + "[penalty]\nmu = 0.1\n", "both"),
    "penalty": (
        GOOD.replace("ssft-chat", "dpo") + '[penalty]\nmu = 0.1\nsubspace = "s"\n',
        "before training",
    ),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_recipe_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        recipe(tmp_path, text)
    assert says in str(refused.value)


def test_the_recipe_of_the_documentation_can_be_used(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    sample = page.split("```toml\n")[1].split("```")[0]
    found = recipe(tmp_path, sample)
    rows = gather_rows(found)
    assert len(rows.used("train")) == 96 and len(rows.used("val")) == 48


def test_the_recipe_for_groups_of_the_documentation_can_be_used(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    (sample,) = (
        part.split("```")[0]
        for part in page.split("```toml\n")[1:]
        if 'method = "listwise"' in part
    )
    write_groups(tmp_path / "groups.jsonl", made_groups())
    for method in ("listwise", "dpo", "ssft-chat"):
        text = sample.replace('"listwise"', f'"{method}"')
        if method == "ssft-chat":
            text = text.replace("sft_weight = 0.1\n", "")
        rows = gather_rows(recipe(tmp_path, text))
        assert rows.used("train") and rows.used("val")


def test_rows_without_an_order_are_no_rows_of_listwise(tmp_path: Path) -> None:
    for name in ("safety", "safety_training", "refusal"):
        text = f'method = "listwise"\n[data]\nrows = ["bundled:{name}"]\n'
        with pytest.raises(TheodoliteError, match="no ranked answers, and listwise needs them"):
            gather_rows(recipe(tmp_path, text))
