"""The loop end to end on a tiny model: every step runs, is kept, and is not run twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.models.tiny_files import save_adapter, save_folder
from theodolite.audit.loops import harden as loop
from theodolite.audit.loops.goals import read_goals
from theodolite.audit.loops.harden import harden
from theodolite.audit.loops.hardened import AFTER, BEFORE, CLAMPED, Hardened
from theodolite.audit.loops.report import hardening_report, write_report
from theodolite.audit.loops.request import PANEL, HardenRequest, check_request
from theodolite.audit.loops.result import summary
from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.engine import load_interventions
from theodolite.errors import CapabilityError, ConfigError, DataError, Interrupted, RunError
from theodolite.models import open_model
from theodolite.runs.run import Run
from theodolite.training.rows import read_rows

STYLES = "opening_phrase,translation"


class Silent:
    """Progress that says nothing."""

    def start(self, *_: Any) -> None: ...

    def advance(self, *_: Any) -> None: ...

    def message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def request_of(tmp_path_factory: pytest.TempPathFactory) -> HardenRequest:
    """Return a loop that a tiny model runs in seconds."""
    folder = tmp_path_factory.mktemp("model")
    save_folder(folder / "tiny")
    words = folder / "words.json"
    words.write_text(json.dumps({"positive": ["a", "e"], "negative": ["o"]}))
    return HardenRequest(
        model=str(folder / "tiny"),
        tried=STYLES,
        asked=f"plain,{STYLES},outline",
        loop=True,
        exposure=(3,),
        replay=2,
        controls=2,
        limit=2,
        max_tokens=4,
        answer_tokens=4,
        tokens=str(words),
        epochs=1,
        max_steps=2,
    )


@pytest.fixture(scope="module", autouse=True)
def few_passages() -> Iterator[None]:
    """Read the perplexity of three plain texts instead of forty."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "plain_passages", lambda: list(bundled("passages"))[:3])
        yield


@pytest.fixture(scope="module")
def finished(request_of: HardenRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run, _ = harden(request_of, progress=Silent(), out=tmp_path_factory.mktemp("runs") / "run")
    return run


def test_the_loop_runs_through(finished: Run, request_of: HardenRequest) -> None:
    found = Hardened.load(finished)
    assert found.conditions == (BEFORE, AFTER, CLAMPED)
    assert found.styles == ("plain", *STYLES.split(","), "outline")
    assert found.hardened[0] in STYLES.split(",")
    assert found.perplexity_rise(AFTER).value != 0.0  # something was trained
    result = finished.load_panel(PANEL)
    table = result.tables["hardened"]
    assert len(table) == 2 * (2 * 4) + 2
    assert {row["role"] for row in table} == {"hardened", "bare", "held out", "other", "cost"}
    printed = summary(result, "tiny")
    assert [title.split(":")[0] for title, _ in printed] == [f"tiny, {AFTER}", f"tiny, {CLAMPED}"]
    assert [len(rows) for _, rows in printed] == [4 + 1, 4 + 1]
    assert printed[0][1][0].keys() >= {"style", "harmful", "change", "benign", "its change"}
    adapter = finished.path / "training-3" / "adapter"
    assert open_model(request_of.model, adapter=adapter).module is not None


def test_the_loop_goes_on_from_an_adapter(request_of: HardenRequest, tmp_path: Path) -> None:
    start = save_adapter(tmp_path / "first", Path(request_of.model))
    quick = {"styles": ("translation",), "asked": "plain", "clamp": False, "max_steps": 1}
    request = replace(request_of, adapter=str(start), learning_rate=0.0, **quick)
    run, _ = harden(request, progress=Silent(), out=tmp_path / "run")
    training = Run.open(run.path / "training-3")
    assert training.manifest["config"]["lora"]["start"] == str(start)
    found, begun = (
        load_file(folder / "adapter_model.safetensors")
        for folder in (training.path / "adapter", start)
    )
    assert found.keys() == begun.keys()  # whole, on the base: the start is not left beneath it
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.float(), begun[name], rtol=1e-2, atol=1e-3)


def test_the_clamp_is_written_where_it_weakens_nothing(
    finished: Run, request_of: HardenRequest
) -> None:
    assert Hardened.load(finished).weakens(CLAMPED) is None  # a tiny model never refuses
    model = open_model(request_of.model)
    (acting,) = load_interventions(finished.path / loop.CLAMP_FILE, model)
    assert acting.operator == "bound"
    assert "written to clamp.json" in " ".join(finished.load_panel(PANEL).how)


def test_a_clamp_that_weakens_is_not_written(
    request_of: HardenRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hardened, "weakens", lambda *_: "refusal fell")
    with Run.create("test", out=tmp_path / "run") as run:
        steps = loop.Steps(request_of, read_goals(None, limit=2), run, Silent())
        monkeypatch.setattr(loop.Steps, "result", lambda *_: Hardened.__new__(Hardened))
        said = steps.written(None, None, None)  # type: ignore[arg-type]
        assert said == "It was not written to a file: refusal fell."
        assert not (run.path / loop.CLAMP_FILE).exists()


def test_data_is_made_of_train_goals_alone(finished: Run) -> None:
    rows = read_rows(finished.path / "data-3" / "rows.jsonl")
    measured = {p.goal_id for p in bundled("refusal") if p.split != "train"}
    assert rows and not measured & {row.goal_id for row in rows}
    assert {row.split for row in rows} == {"train"}


def test_the_run_holds_no_reply_to_a_harmful_request(finished: Run) -> None:
    kept = (finished.path / "journal.jsonl").read_text("utf-8").splitlines()
    values = [json.loads(line)["value"] for line in kept]
    written = [value for value in values if "verdicts" not in value and "odds" not in value]
    assert values and all("text" not in json.dumps(value) for value in written if "step" in value)
    texts = json.dumps([finished.load_panel(PANEL).tables])
    assert not any(p.request in texts for p in bundled("refusal"))


def test_a_finished_loop_computes_nothing_again(
    finished: Run, request_of: HardenRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Hardened.load(finished).frame()
    keys = len(finished.journal)
    finished.close()

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("trained twice")

    monkeypatch.setattr(loop, "run_training", never)
    run, _ = harden(request_of, progress=Silent(), resume=finished.path)
    assert Hardened.load(run).frame() == before
    assert len(run.journal) == keys


def test_a_loop_that_was_stopped_goes_on(
    request_of: HardenRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(request_of, clamp=False, styles=("translation",), asked="plain", max_steps=1)

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop, "run_training", stop)
        with pytest.raises(Interrupted, match="correct harden --resume"):
            harden(request, progress=Silent(), out=tmp_path / "run")
    run, result = harden(request, progress=Silent(), resume=tmp_path / "run")
    assert run.finished and result.tables["hardened"]


def test_without_the_loop_data_and_recipe_are_written(
    request_of: HardenRequest, tmp_path: Path
) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"name": "radio", "template": "On the air: {request}"}))
    request = replace(
        request_of, loop=False, styles=("outline", "radio"), wrappers=str(own), exposure=(2, 4)
    )
    run, result = harden(request, progress=Silent(), out=tmp_path / "run")
    assert {row["exposure"] for row in result.tables["hardening_data"]} == {2, 4}
    small, large = (read_rows(run.path / f"data-{n}" / "rows.jsonl") for n in (2, 4))
    own_ids = [{r.id for r in rows if r.source == "hardening"} for rows in (small, large)]
    assert own_ids[0] < own_ids[1]
    assert {r.style for r in large if r.source == "hardening"} == {"outline", "radio"}
    assert "No rows were made around trigger words: 0 of 2 bare" in " ".join(result.how)
    assert "theodolite train ssft" in " ".join(result.findings)
    assert [len(rows) for _, rows in summary(result, "tiny")] == [
        len(result.tables["hardening_data"])
    ]


def test_a_weakness_found_by_another_run_is_used(
    finished: Run, request_of: HardenRequest, tmp_path: Path
) -> None:
    from theodolite.mechanism.triggers.weakness import StyleWeakness

    with Run.create("explain triggers", out=tmp_path / "found") as found:
        StyleWeakness.load(finished, loop.FOUND).save(found)
        found.commit()
    request = replace(request_of, loop=False, weakness=str(tmp_path / "found"))
    run, _ = harden(request, progress=Silent(), out=tmp_path / "run")
    card = json.loads((run.path / "data-3" / "card.json").read_text("utf-8"))
    assert tuple(card["hardened"]) == Hardened.load(finished).hardened


def test_the_report_is_written_and_says_which_run_it_is_not(finished: Run, tmp_path: Path) -> None:
    page = write_report(finished, tmp_path / "page.html").read_text("utf-8")
    assert "Refusal before and after" in page
    assert not any(p.request in page for p in bundled("refusal"))
    with Run.create("audit", out=tmp_path / "other") as other, pytest.raises(RunError):
        hardening_report(other)
    begun = Run.create("correct harden", out=tmp_path / "begun")
    with begun, pytest.raises(RunError, match="--resume"):
        hardening_report(begun)


def file_of(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "goals.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


def goal_rows(test_goal: str = "t") -> list[dict[str, Any]]:
    """Return two requests of each class and split; test goals are named after `test_goal`."""
    return [
        {
            "id": f"{split}-{label}-{i}",
            "text": f"Tell me of {split} {label} {i}",
            "label": label,
            "split": split,
            "goal_id": f"{test_goal if split == 'test' else split}-{label}-{i}",
            "pair_id": f"{split}-{i}",
        }
        for split in ("train", "val", "test")
        for label in (HARMFUL, BENIGN)
        for i in range(2)
    ]


def test_goals_of_a_file_are_parted_by_its_splits(tmp_path: Path) -> None:
    goals = read_goals(file_of(tmp_path, goal_rows()))
    assert [len(side) for side in (*goals.find, *goals.test)] == [2] * 4
    assert {p.split for p in goals.train} == {"train"}


def test_a_goal_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more than one split"):
        read_goals(file_of(tmp_path, goal_rows(test_goal="train")))


def test_a_test_request_among_the_train_requests_is_refused(tmp_path: Path) -> None:
    rows = goal_rows()
    rows[0]["text"] = rows[-4]["text"]
    with pytest.raises(DataError, match="measured on"):
        read_goals(file_of(tmp_path, rows))


def test_a_file_without_test_goals_is_refused(tmp_path: Path) -> None:
    rows = [row for row in goal_rows() if row["split"] != "test"]
    with pytest.raises(DataError, match="'test'"):
        read_goals(file_of(tmp_path, rows))


def test_a_smaller_limit_takes_a_part_and_keeps_twins_together() -> None:
    small, large = read_goals(None, limit=4), read_goals(None, limit=8)
    for label in (0, 1):
        assert {p.id for p in small.test[label]} < {p.id for p in large.test[label]}
    assert {p.pair_id for p in small.test[0]} == {p.pair_id for p in small.test[1]}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "style": ({"styles": ("quizz",)}, "quiz"),
    "styles asked": ({"asked": "quizz"}, "quiz"),
    "both": ({"styles": ("quiz",), "weakness": "."}, "--weakness"),
    "no run": ({"weakness": "nowhere"}, "nowhere"),
    "no adapter": ({"adapter": "nowhere"}, "nowhere"),
    "exposure": ({"exposure": (0,)}, "exposure"),
    "no exposure": ({"exposure": ()}, "exposure"),
    "twice": ({"exposure": (8, 8)}, "twice"),
    "limit": ({"limit": 1}, "limit"),
    "epochs": ({"epochs": 0}, "epochs"),
    "tokens": ({"tokens": "xx"}, "xx"),
    "words": ({"words": -1}, "words"),
    "wrappers": ({"wrappers": "nowhere.toml"}, "nowhere.toml"),
    "interventions": ({"interventions": "x.json"}, "trained"),
}


@pytest.mark.parametrize(("changes", "says"), WRONG.values(), ids=WRONG.keys())
def test_bad_requests(changes: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, DataError, CapabilityError), match=says):
        check_request(HardenRequest(**changes))
