"""Methods by name: what exists is listed, what does not is named with the nearest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.correction.perspective_taking.made import Tool, numbered, run
from theodolite.correction.perspective_taking.registry import METHODS, make_solver, method_named
from theodolite.correction.perspective_taking.setting import Caps, Setting
from theodolite.errors import ConfigError

BAD = Tool(lambda text: 0.9)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pet_ioo", {}, "`pet_io`.*self_correct"),
        ("nothing-like-it", {}, "raw.*contrast"),
        ("pet_io", {"rounds": 0}, "rounds is 0"),
        ("pet_io", {"k": 0}, "readers is 0"),
        ("pet_io", {"k": True}, "readers is True"),
        ("pet_io", {"wording": "v5"}, "v0, v1"),
        ("pet_io", {"protocol": "papers"}, "`paper`"),
        ("pet_io", {"kind": "is"}, "option of pet_io"),
        ("pet_iter", {"kind": "other"}, "io, is, both"),
        ("base", {"k": 3}, "option of base"),
        ("critic", {}, "needs a tool"),
        ("critic", {"tool": BAD, "threshold": 2}, "threshold is 2"),
        ("critic", {"tool": BAD, "max_rounds": 0}, "rounds is 0"),
        ("shap", {"tool": BAD, "top": 0}, "words is 0"),
        ("shap", {"tool": BAD, "attribution": "exact"}, "leave_one_out"),
        ("base", {"setting": {"concern": "bais"}}, "`bias`"),
        ("base", {"setting": {"lang": "en"}}, "not a known key"),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_solver(name, **options)


def test_an_inspect_log_shows_the_setting() -> None:
    setting = Setting(concern="bias", fold_system=True, caps=Caps(listing=3))
    log = run(make_solver("pet_is", k=3, setting=setting), numbered().model)
    (step,) = log.plan.steps
    assert step.solver == "theodolite/pet"
    assert step.params["kind"] == "is" and step.params["k"] == 3
    assert Setting.of(step.params["setting"]) == setting


def test_names_of_the_literature_are_known() -> None:
    assert method_named("pet") is METHODS["pet_io"]
    assert method_named("shap") is METHODS["shap_words"]
    assert "k" in METHODS["pet_io"].options() and "kind" not in METHODS["pet_io"].options()
    assert [name for name, entry in METHODS.items() if entry.tool] == ["critic", "shap_words"]
