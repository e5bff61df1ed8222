"""theodolite explain: from files to one document, a report, a detector; or one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Refused
from tests.models.tiny_files import save_folder
from theodolite.data.bundled import bundled
from theodolite.mechanism.detector.detector import Detector

QUICK = ("-T", "untrained=1", "-T", "repeats=2", "-T", "permutations=5", "-T", "causality=2")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a model, files of requests and a word list in the folder that commands run in."""
    save_folder(tmp_path / "model")
    rows = [p for p in bundled("refusal") if p.split != "val"]
    for label in ("harmful", "benign"):
        chosen = [p for p in rows if p.label == label][:24]
        lines = [json.dumps({**p.to_json(), "label": label}) for p in chosen]
        (tmp_path / f"{label}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "words.json").write_text(json.dumps({"positive": ["a", "e"], "negative": ["o"]}))
    return tmp_path


FILES = ("--model", "model", "--harmful", "harmful.jsonl", "--benign", "benign.jsonl")


def test_probes_give_one_document_with_the_promised_columns(command: Command, here: Path) -> None:
    code, out, err = command(
        *("explain", "probes", *FILES, *QUICK, "-T", "tokens=words.json"),
        *("-T", "export=detector", "--out", "run", "--json"),
    )
    assert code == 0, err
    document = json.loads(out)
    assert {row["task"] for row in document["tables"]["probes"]} == {"harmful_vs_benign"}
    columns = "layer hidden_index position probe task split accuracy balanced_accuracy auroc low"
    columns += " high control text_floor untrained_floor n"
    assert set(columns.split()) <= set(document["tables"]["probes"][0])
    assert "probes_causality" in document["tables"]
    names = {m["name"] for m in document["measurements"]}
    assert {"probes/harmful_vs_benign/accuracy", "probes/harmful_vs_benign/selectivity"} <= names
    assert (here / "run" / "report.html").exists()
    assert Detector.load(here / "detector").position == "instruction_last"
    assert "Report:" in err


def test_the_report_of_an_analysis_can_be_written_again(command: Command, here: Path) -> None:
    assert command("explain", "lens", *FILES, "-T", "tokens=words.json", "--out", "run")[0] == 0
    code, _, err = command("report", "run", "--out", "again.html")
    assert code == 0, err
    page = (here / "again.html").read_text("utf-8")
    assert "What each layer points to" in page and "tokens=words.json" in page


@pytest.mark.parametrize(
    ("name", "tables", "more"),
    [
        ("lens", {"lens", "lens_emotion"}, ()),
        ("graft", {"graft", "graft_answers"}, ("-T", "answers=1", "-T", "max-tokens=4")),
        ("verdict", {"verdict", "verdict_cases"}, ("-T", "per-style=4", "-T", "max-tokens=4")),
    ],
)
def test_every_analysis_runs_from_files(
    command: Command, here: Path, name: str, tables: set[str], more: tuple[str, ...]
) -> None:
    words = ("-T", "tokens=words.json", *more, "--json")
    code, out, err = command("explain", name, *FILES, *words)
    assert code == 0, err
    document = json.loads(out)
    assert tables <= set(document["tables"])
    assert document["measurements"]


def test_a_second_model_is_compared_and_lent_probes(command: Command, here: Path) -> None:
    code, out, err = command(
        "explain", "probes", *FILES, *QUICK, "-T", "causality=0", "--base", "model", "--json"
    )
    assert code == 0, err
    document = json.loads(out)
    gain = [m for m in document["measurements"] if m["name"].endswith("gain_over_base")]
    assert [m["value"] for m in gain] == [0.0]
    assert {"probes_base", "probes_between_models"} <= set(document["tables"])


def test_two_languages_give_a_transfer_table(command: Command, here: Path) -> None:
    for label in ("harmful", "benign"):
        rows = [json.loads(line) for line in (here / f"{label}.jsonl").open()]
        marked = [{**row, "language": ("en", "de")[i % 2]} for i, row in enumerate(rows)]
        (here / f"{label}.jsonl").write_text("\n".join(map(json.dumps, marked)))
    code, out, err = command("explain", "probes", *FILES, *QUICK, "-T", "causality=0", "--json")
    assert code == 0, err
    pairs = {(row["train"], row["test"]) for row in json.loads(out)["tables"]["probes_by_language"]}
    assert ("en", "de") in pairs and ("de", "en") in pairs


def test_languages_with_few_requests_do_not_end_the_run(command: Command, here: Path) -> None:
    for label in ("harmful", "benign"):
        rows = [json.loads(line) for line in (here / f"{label}.jsonl").open()]
        marked = [{**row, "language": "en" if i else "de"} for i, row in enumerate(rows)]
        (here / f"{label}.jsonl").write_text("\n".join(map(json.dumps, marked)))
    few = ("-T", "untrained=0", "-T", "repeats=2", "-T", "permutations=5", "-T", "causality=0")
    small = ("-T", "positions=prompt_last", "-T", "splits=group", "--out", "run", "--json")
    code, out, err = command("explain", "probes", *FILES, *few, *small)
    assert code == 0, err
    assert "probes_by_language" not in json.loads(out)["tables"]
    assert "Transfer between languages was left out" in (here / "run" / "report.html").read_text()


def test_answers_under_a_graft_say_whose_topic_they_keep(command: Command, here: Path) -> None:
    words = ("-T", "tokens=words.json", "-T", "answers=1", "-T", "max-tokens=4")
    code, out, err = command("explain", "graft", *FILES, *words, "--template", "none", "--json")
    assert code == 0, err
    document = json.loads(out)
    assert {row["donor"] for row in document["tables"]["graft_answers"]} == {
        "intact",
        "mean",
        "random",
    }
    names = {m["name"] for m in document["measurements"]}
    assert {f"graft/answers/1/topic/{of}" for of in ("recipient", "donor", "kept")} <= names


def test_a_run_without_a_result_says_how_to_go_on(command: Command, refused: Refused) -> None:
    assert command("explain", "lens", "-T", "k=999999", "--limit", "2", "--out", "run")[0] == 2
    assert "theodolite explain lens --resume run" in refused("report", "run")


def test_ctrl_c_says_how_to_go_on(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    words = ("explain", "probes", *FILES, *QUICK, "-T", "causality=0")
    with monkeypatch.context() as patched:
        patched.setattr("theodolite.mechanism.probes.fitting.fit_place", stop)
        code, _, err = command(*words, "--out", "run")
    assert code == 130
    assert "explain probes --resume run" in err
    code, _, err = command("explain", "probes", "--resume", "run")
    assert code == 0, err


def test_a_wrapped_set_without_benign_requests_is_refused(refused: Refused, here: Path) -> None:
    rows = [json.loads(line) for line in (here / "harmful.jsonl").open()]
    wrapped = [{**row, "id": f"{row['id']}/w", "style": "mine"} for row in rows]
    (here / "wrapped.jsonl").write_text("\n".join(map(json.dumps, wrapped)))
    said = refused(
        "explain", "verdict", *FILES, "--jailbreak", "wrapped.jsonl", "-T", "tokens=words.json"
    )
    assert "mine" in said and "benign" in said


def test_layers_are_lent_each_others_probes(command: Command, here: Path) -> None:
    words = ("-T", "causality=0", "-T", "layers=true", "-T", "untrained=0", "--json")
    code, out, err = command("explain", "probes", *FILES, *words)
    assert code == 0, err
    table = json.loads(out)["tables"]["probes_by_layer"]
    assert {(row["train_hidden_index"], row["test_hidden_index"]) for row in table} >= {(1, 2)}


def test_an_exported_detector_does_not_stand_in_the_way_of_resuming(
    command: Command, here: Path
) -> None:
    words = (*QUICK, "-T", "causality=0", "-T", "export=detector", "--out", "run")
    assert command("explain", "probes", *FILES, *words)[0] == 0
    (here / "run" / "complete").unlink()
    code, _, err = command("explain", "probes", "--resume", "run")
    assert code == 0, err


def test_files_without_test_requests_leave_causality_out(command: Command, here: Path) -> None:
    for label in ("harmful", "benign"):
        rows = [json.loads(line) for line in (here / f"{label}.jsonl").open()]
        train = [{**row, "split": "train"} for row in rows]
        (here / f"{label}.jsonl").write_text("\n".join(map(json.dumps, train)))
    words = (*QUICK, "-T", "tokens=words.json", "--json", "--out", "run")
    code, out, err = command("explain", "probes", *FILES, *words)
    assert code == 0, err
    assert "probes_causality" not in json.loads(out)["tables"]
    assert "Causality was left out" in (here / "run" / "report.html").read_text("utf-8")


WRONG = {
    "one class": (("probes", "--harmful", "harmful.jsonl"), "--benign is missing"),
    "unknown option": (("probes", "-T", "probs=svm"), "probes"),
    "unknown probe": (("probes", "-T", "probes=logistik"), "logistic"),
    "unknown position": (("probes", "-T", "positions=last"), "position"),
    "unknown preset": (("probes", "-T", "preset=papier"), "paper"),
    "export exists": (("probes", "-T", "export=model"), "exists already"),
    "unknown style": (("verdict", "-T", "styles=quizz"), "quiz"),
    "unknown donor": (("graft", "-T", "kinds=median"), "mean"),
    "depth in words": (("graft", "-T", "answers=ten"), "hidden indices"),
    "no translator": (("lens", "-T", "translator=none.safetensors"), "no file"),
    "preset without answers": (("graft", "-T", "preset=paper"), "answers"),
    "preset at the embeddings": (("graft", "-T", "preset=paper", "-T", "answers=0"), "at least 1"),
    "window of answers": (("graft", "-T", "window=2", "-T", "answers=3"), "one depth"),
    "alpha without its mode": (("graft", "-T", "alpha=0.5"), "interpolate"),
    "no such depth": (("graft", *FILES, "-T", "tokens=words.json", "-T", "answers=99"), "99"),
    "a base nobody reads": (("lens", "--base", "smollm2"), "--base"),
    "unknown language": (("probes", "-T", "tokens=xx"), "'xx'"),
    "no word list": (("verdict", "-T", "tokens=none.json"), "There is no file"),
    "unknown detector": (("verdict", "-T", "probe=mlp"), "logistic"),
    "unknown template": (("probes", "--template", "chatt"), "Did you mean `chat`"),
    "no direction": (("probes", "-T", "probes=mlp", "-T", "export=new"), "direction"),
    "limit": (("lens", "--limit", "1"), "limit"),
    "no file": (("lens", "--harmful", "no.csv", "--benign", "no.csv"), "no.csv"),
    "api model": (("probes", "--model", "api:mockllm/model"), "hidden states"),
    "no words": (("lens", "--model", "model"), "no token"),
    "template": (("probes", "--model", "bare", "--template", "chat"), "no chat template"),
}


@pytest.mark.parametrize(("words", "says"), WRONG.values(), ids=WRONG.keys())
def test_bad_input(refused: Refused, here: Path, words: tuple[str, ...], says: str) -> None:
    if "bare" in words:
        save_folder(here / "bare", template=None)
    assert says in refused("explain", *words)
