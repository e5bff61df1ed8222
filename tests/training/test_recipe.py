"""One schema for recipes: unknown keys name their neighbour, values are in range."""

from __future__ import annotations

from pathlib import Path

import pytest

from theodolite.errors import ConfigError
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
