"""theodolite explain heads: from prompts to one document and a report, or to one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command, Refused
from tests.models.tiny import TINY, tiny_tokenizer
from tests.models.tiny_files import save_folder
from theodolite.data.bundled import bundled
from theodolite.errors import JudgeError

ROWS = 6


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a model and files of requests in the folder that commands run in."""
    save_folder(tmp_path / "model")
    rows = [p for p in bundled("refusal") if p.split == "test"]
    for label in ("harmful", "benign"):
        chosen = [p for p in rows if p.label == label][:ROWS]
        lines = [json.dumps({"id": p.id, "goal": p.request}) for p in chosen]
        (tmp_path / f"{label}.jsonl").write_text("\n".join(lines) + "\n")
    table = [json.dumps(p.request) for p in rows if p.label == "harmful"][:ROWS]
    (tmp_path / "harmful.csv").write_text("input\n" + "\n".join(table) + "\n")
    return tmp_path


PROMPTS = ("--model", "model", "--prompts", "harmful.csv")
BOTH = ("--model", "model", "--prompts", "harmful.jsonl", "--benign", "benign.jsonl")


def document(answer: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = answer
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def test_prompts_alone_give_the_promised_tables(command: Command, here: Path) -> None:
    found = document(command("explain", "heads", *PROMPTS, "--operator", "ua", "--json"))
    rows = found["tables"]["heads"]
    assert len(rows) == ROWS * 12 and rows[0]["operator"] == "undifferentiated"
    assert {"prompt_id", "layer", "head", "kl"} <= set(rows[0])
    assert all(row["kl"] >= 0 for row in rows)
    by_head = found["tables"]["head_scores"]
    assert {(row["layer"], row["head"]) for row in by_head} == {
        (layer, head) for layer in range(3) for head in range(4)
    }
    assert [row["kl"] for row in by_head] == sorted((r["kl"] for r in by_head), reverse=True)
    status = {m["name"]: m["status"] for m in found["measurements"]}
    assert status["heads/specific_heads"] == "not_measured"
    assert all(row["kl_benign"] is None for row in by_head)
    assert found["run"]["command"] == "explain heads map"


def test_benign_requests_are_the_control(command: Command, here: Path) -> None:
    found = document(command("explain", "heads", "map", *BOTH, "--out", "run", "--json"))
    row = found["tables"]["head_scores"][0]
    assert row["specificity"] == pytest.approx(row["kl"] - row["kl_benign"])
    assert row["specificity_low"] <= row["specificity"] <= row["specificity_high"]
    assert {r["label"] for r in found["tables"]["heads"]} == {"harmful", "benign"}
    page = (here / "run" / "report.html").read_text("utf-8")
    assert "What each head changes" in page
    assert "explain heads map --model model --harmful harmful.jsonl" in page


def test_the_report_can_be_written_again(command: Command, here: Path) -> None:
    assert command("explain", "heads", *PROMPTS, "--out", "run")[0] == 0
    code, _, err = command("report", "run", "--out", "again.html")
    assert code == 0, err
    assert "Heads that a refusal hangs on" in (here / "again.html").read_text("utf-8")


def test_the_terminal_names_the_highest_heads(command: Command, here: Path) -> None:
    code, out, err = command("explain", "heads", *BOTH, "--limit", "4")
    assert code == 0, err
    first = out.index("heads map, model")
    assert "Report:" in out and "harm more?" in out[first:]


def test_dataset_level_ranks_by_the_angle(command: Command, here: Path) -> None:
    found = document(
        command("explain", "heads", *PROMPTS, "--level", "dataset", "--out", "run", "--json")
    )
    turns = [row["angle_r1"] for row in found["tables"]["head_scores"]]
    assert len(turns) == 12 and turns == sorted(turns, reverse=True)
    assert found["measurements"][0]["name"].endswith("/angle_r1")
    assert "turn of what all harmful requests share" in (here / "run" / "report.html").read_text()


def test_a_group_names_step_head_score_and_runner_up(command: Command, here: Path) -> None:
    words = ("--group-size", "2", "-T", "random=1", "-T", "max-tokens=4", "--json")
    found = document(command("explain", "heads", "group", *BOTH, *words, "--out", "run"))
    assert f"{ROWS} harmful requests and {ROWS} benign" in (here / "run/report.html").read_text()
    steps = found["tables"]["group"]
    assert [row["step"] for row in steps] == [1, 2]
    assert {"layer", "head", "score", "runner_up"} <= set(steps[0])
    assert len(steps[0]["runner_up"][0]) == 3
    assert "no benign ones" not in (here / "run" / "report.html").read_text("utf-8")
    labels = {m["name"] for m in found["measurements"]}
    assert "heads/cost/group/perplexity/change" in labels
    assert {"intact", "group"} <= {row["condition"] for row in found["tables"]["heads_cost"]}


def test_answers_are_counted_and_their_text_is_kept_back(command: Command, here: Path) -> None:
    words = ("-T", "heads=0-1,2-3;1-0", "-T", "max-tokens=8", "-T", "random=1", "--out", "run")
    found = document(command("explain", "heads", "asr", *PROMPTS, *words, "--json"))
    names = [row["condition"] for row in found["tables"]["heads_asr"]]
    assert names[:3] == ["intact", "0-1 2-3", "1-0"]
    assert "text" not in found["tables"]["heads_asr_answers"][0]
    harmful = json.loads((here / "harmful.jsonl").read_text().splitlines()[0])["goal"]
    assert harmful not in (here / "run" / "report.html").read_text("utf-8")


@pytest.mark.parametrize("level", ["query", "dataset"])
def test_groups_are_looked_for_at_both_levels(command: Command, here: Path, level: str) -> None:
    words = ("--level", level, "--group-size", "2", "-T", "max-tokens=4", "-T", "random=0")
    find = () if level == "query" else ("-T", "find=benign.jsonl")
    found = document(command("explain", "heads", "asr", *PROMPTS, *words, *find, "--json"))
    names = [row["condition"] for row in found["tables"]["heads_asr"]]
    assert names == ["intact", f"{level}/1", f"{level}/2"]
    assert f"heads/asr/{level}/mean_change" in {m["name"] for m in found["measurements"]}


def test_heads_are_found_on_other_requests_than_are_asked(command: Command, here: Path) -> None:
    words = ("--model", "model", "--limit", "3", "--group-size", "1", "-T", "max-tokens=2")
    code, _, err = command("explain", "heads", "asr", *words, "--out", "run")
    assert code == 0, err
    assert "s train part" in (here / "run" / "report.html").read_text("utf-8")


def test_single_heads_are_held_against_their_scores(command: Command, here: Path) -> None:
    words = ("-T", "singles=5", "-T", "max-tokens=4", "--json")
    found = document(command("explain", "heads", "asr", *PROMPTS, *words))
    assert len(found["tables"]["heads_asr_singles"]) == 5
    assert "heads/asr/score_vs_asr" in {m["name"] for m in found["measurements"]}


def test_two_operators_and_a_saved_run_are_held_together(command: Command, here: Path) -> None:
    assert command("explain", "heads", *PROMPTS, "--out", "before")[0] == 0
    words = ("-T", "against=sc,before", "--group-size", "3", "--json")
    found = document(command("explain", "heads", "overlap", *PROMPTS, *words))
    pairs = {(r["first"], r["second"]): r["shared"] for r in found["tables"]["overlap"]}
    assert pairs["undifferentiated", "before"] == 3
    assert ("undifferentiated", "scale") in pairs


def test_two_doses_of_one_operator_are_told_apart(command: Command, here: Path) -> None:
    words = ("--epsilon", "0.5", "-T", "against=ua", "--json")
    found = document(command("explain", "heads", "overlap", *PROMPTS, *words))
    names = {row["ranking"] for row in found["tables"]["rankings"]}
    assert names == {"undifferentiated", "undifferentiated-0"}


def test_the_direction_ranks_heads_too(command: Command, here: Path) -> None:
    words = ("-T", "against=direction", "--json")
    found = document(command("explain", "heads", "overlap", *BOTH, *words))
    assert ("undifferentiated", "direction") in {
        (row["first"], row["second"]) for row in found["tables"]["overlap"]
    }
    assert found["tables"]["heads_direction"]


def test_screening_scores_few_heads_and_says_what_it_may_have_missed(
    command: Command, here: Path
) -> None:
    words = ("--screen", "fisher", "-T", "keep=1", "-T", "audit=2", "-T", "cotangents=8")
    found = document(command("explain", "heads", *BOTH, *words, "--json"))
    (worth,) = found["tables"]["screening"]
    scored = {(row["layer"], row["head"]) for row in found["tables"]["heads"]}
    assert len(scored) == worth["kept"] + worth["audited"] < 12
    assert {(2, head) for head in range(4)} <= scored
    (missed,) = [m for m in found["measurements"] if m["name"] == "heads/screening/missed"]
    assert missed["n"] == 2 and missed["reason"]
    assert not [m for m in found["measurements"] if "share of" in m["name"]]


def test_a_base_without_a_chat_template_reads_the_same_tokens(command: Command, here: Path) -> None:
    save_folder(here / "base", template=None)
    found = document(command("explain", "heads", "overlap", *PROMPTS, "--base", "base", "--json"))
    sides: dict[str, list[Any]] = {}
    for row in found["tables"]["rankings"]:
        sides.setdefault(row["ranking"], []).append((row["layer"], row["head"], row["score"]))
    assert len(sides["base"]) == 12 and sides["base"] == sides["undifferentiated"]


def test_benign_requests_are_not_swept_where_no_ranking_needs_them(
    command: Command, here: Path
) -> None:
    found = document(command("explain", "heads", "overlap", *BOTH, "--json"))
    assert {row["label"] for row in found["tables"]["heads"]} == {"harmful"}
    words = ("-T", "against=resample,dataset_mean", "--json", "--out", "run")
    found = document(command("explain", "heads", "overlap", *BOTH, *words))
    assert len(found["tables"]["overlap"]) == 3
    page = (here / "run" / "report.html").read_text("utf-8")
    assert f"{ROWS} harmful requests and {ROWS} benign ones" in page


@pytest.mark.parametrize(
    ("find", "says"),
    [
        ("harmful.jsonl", "holds the very requests that are asked"),
        ("part.jsonl", f"holds 2 of the {ROWS} requests asked"),
        ("benign.jsonl", "one after the other, on benign.jsonl."),
    ],
)
def test_a_report_says_where_heads_were_found_on_the_requests_asked(
    command: Command, here: Path, find: str, says: str
) -> None:
    lines = (here / "harmful.jsonl").read_text().splitlines()[:2]
    (here / "part.jsonl").write_text("\n".join([*lines, *BENIGN_LINE]) + "\n")
    words = ("--group-size", "1", "-T", "max-tokens=2", "-T", "random=0", "-T", f"find={find}")
    code, _, err = command("explain", "heads", "asr", *PROMPTS, *words, "--out", "run")
    assert code == 0, err
    page = (here / "run" / "report.html").read_text("utf-8")
    assert says in page and "no benign ones" not in page


BENIGN_LINE = ('{"id": "another", "goal": "How do I bake bread?"}',)


def test_what_cannot_be_compared_is_refused_before_the_sweep(
    refused: Refused, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("swept")

    monkeypatch.setattr("theodolite.mechanism.heads.sweep.HeadSweep.layer", never)
    save_folder(here / "other", "qwen2")
    overlap = ("explain", "heads", "overlap", *PROMPTS)
    assert "the families are" in refused(*overlap, "--base", "other")
    (here / "far.jsonl").write_text('{"a request": {"9-1": 0.5, "0-1": 0.2}}\n')
    assert "ranks the head 9-1" in refused(*overlap, "-T", "against=far.jsonl")
    cells = [(layer, head) for layer in range(2) for head in range(4)]
    rows = [{"prompt_id": "p", "layer": a, "head": b, "kl": a + b} for a, b in cells]
    (here / "small.json").write_text(json.dumps({"tables": {"heads": rows}}))
    assert "ranks 8 heads, and this model has 12" in refused(*overlap, "-T", "against=small.json")
    assert "There is one ranking" in refused(*overlap, "-T", "against=ua")


def test_judges_and_sizes_are_refused_before_any_answer(
    refused: Refused, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: object) -> None:
        raise JudgeError("The judge is down.")

    asr = ("explain", "heads", "asr", *PROMPTS)
    monkeypatch.setenv("THEODOLITE_DATA", str(here / "nowhere"))
    says = refused(*asr, "-T", "keywords=official", "--out", "run")
    assert "Set THEODOLITE_DATA to the folder with the official data" in says
    says = refused(*asr, "-T", "judge=nobody/none", "--out", "run")
    assert "cannot be opened" in says and ".. " not in says
    monkeypatch.setattr("theodolite.mechanism.heads.sweep.HeadSweep.layer", None)
    monkeypatch.setattr("theodolite.judging.refusal_judge.RefusalJudge.check", down)
    says = refused(*asr, "-T", "judge=mockllm/model", "--out", "judged")
    assert "The judge is down" in says
    says = refused(*asr, "--group-size", "7", "-T", "find=benign.jsonl", "--out", "more")
    assert "-T random=0" in says
    assert not (here / "run").exists()


def test_a_model_against_itself_overlaps_fully(command: Command, here: Path) -> None:
    found = document(command("explain", "heads", "overlap", *PROMPTS, "--base", "model", "--json"))
    assert [row["shared"] for row in found["tables"]["overlap"]] == [10]


def test_parts_of_a_base_are_lent(command: Command, here: Path) -> None:
    base = TINY["llama"]()
    for name, weight in base.named_parameters():
        weight.data += 0.05 * ("q_proj" in name)
    base.save_pretrained(here / "base")
    tiny_tokenizer().save_pretrained(here / "base")
    words = ("--base", "base", "-T", "max-tokens=4", "--json")
    found = document(command("explain", "heads", "transplant", *PROMPTS, *words))
    names = [row["condition"] for row in found["tables"]["heads_asr"]]
    assert names == ["aligned", "base", "base-attention", "base-mlp"]


def test_a_stopped_run_goes_on(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("theodolite.mechanism.heads.sweep.HeadSweep.layer", stop)
        code, _, err = command("explain", "heads", *PROMPTS, "--out", "run")
    assert code == 130
    assert "explain heads map --resume run" in err
    code, _, err = command("explain", "heads", "--resume", "run")
    assert code == 0, err


WRONG = {
    "unknown part": (("mapp",), "map, group, asr, overlap, transplant"),
    "benign without a part": (("asr", *BOTH), "--benign has no part"),
    "benign beside a base": (("transplant", *BOTH, "--base", "model"), "--benign has no part"),
    "unknown operator": (("--operator", "zeros"), "zero"),
    "unknown target": (("-T", "target=x"), "target"),
    "unknown unit": (("-T", "unit=heads"), "head or kv_group"),
    "unknown level": (("--level", "token"), "'query'"),
    "unknown screen": (("--screen", "fischer"), "'fisher'"),
    "unknown template": (("--template", "chat_system"), "chat-system"),
    "epsilon without a factor": (("--operator", "zero", "--epsilon", "0.5"), "no epsilon"),
    "no part in it": (("group", "--level", "query"), "--level has no part"),
    "control alone": (("--benign", "benign.jsonl"), "--prompts is missing"),
    "no column": (("--prompts", "columns.csv"), "columns.csv"),
    "empty file": (("--prompts", "empty.csv"), "empty.csv"),
    "empty prompt": (("--prompts", "blank.csv"), "blank.csv"),
    "no file": (("--prompts", "none.csv"), "none.csv"),
    "a base nobody reads": (("--base", "model"), "--base"),
    "no base": (("transplant",), "--base is missing"),
    "group of none": (("group", "--group-size", "0"), "group_size"),
    "group of prompts": (("group", "--operator", "resample"), "resample"),
    "no head": (("asr", "-T", "heads=18"), "layer-head"),
    "head out of range": (("asr", *PROMPTS, "-T", "heads=9-9"), "no head 9-9"),
    "heads twice": (("asr", "-T", "heads=1-1", "-T", "singles=2"), "task.heads"),
    "unknown decoding": (("asr", "-T", "decoding=beam"), "greedy"),
    "against nothing": (("overlap", "-T", "against=uaa"), "no operator"),
    "a direction without benign requests": (
        ("overlap", *PROMPTS, "-T", "against=direction"),
        "--benign",
    ),
    "screening for the angle": (("--level", "dataset", "--screen", "fisher"), "--level query"),
    "one prompt for an angle": (
        ("--model", "model", "--prompts", "one.csv", "--level", "dataset"),
        "two or more",
    ),
    "screening for what is lent": (("--operator", "resample", "--screen", "fisher"), "screened"),
    "key of shared heads": ((*PROMPTS, "-T", "target=k"), "kv_group"),
    "one prompt": (("group", "--model", "model", "--prompts", "one.csv"), "two prompts"),
    "nothing to put in": ((*PROMPTS, "--operator", "resample"), "--benign"),
    "api model": (("--model", "api:mockllm/model"), "hidden states"),
    "chat without a template": (
        (*PROMPTS[2:], "--model", "bare", "--template", "chat"),
        "template",
    ),
}


@pytest.mark.parametrize(("words", "says"), WRONG.values(), ids=WRONG.keys())
def test_bad_input(refused: Refused, here: Path, words: tuple[str, ...], says: str) -> None:
    (here / "columns.csv").write_text("thing,other\na,b\n")
    (here / "empty.csv").write_text("")
    (here / "blank.csv").write_text('prompt,id\n"",1\nx,2\n')
    (here / "one.csv").write_text("prompt\nhow do I do this\n")
    if "bare" in words:
        save_folder(here / "bare", template=None)
    assert says in refused("explain", "heads", *words)


def test_the_examples_of_the_docs_have_the_columns_of_the_tables(
    command: Command, here: Path
) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "heads.md").read_text("utf-8")
    shown = [block.partition("```")[0] for block in page.split("```json\n")[1:3]]
    one, step = map(json.loads, shown)
    found = document(command("explain", "heads", *BOTH, "--json"))["tables"]
    assert set(one) <= set(found["head_scores"][0])
    words = ("--group-size", "1", "-T", "cost=false", "--json")
    found = document(command("explain", "heads", "group", *PROMPTS, *words))["tables"]
    assert set(step) <= set(found["group"][0])
    assert "heads_cost" not in found


def test_the_interventions_file_of_the_docs_acts(command: Command, here: Path) -> None:
    shown = document(command("models", "show", "model", "--json"))
    page = (Path(__file__).resolve().parents[2] / "docs" / "heads.md").read_text("utf-8")
    written = page.partition('"<the fingerprint>"')
    text = "{\n" + written[0].rpartition("```json\n{\n")[2] + '"<the fingerprint>"'
    record = json.loads(text + written[2].partition("\n```")[0])
    record["model"] = shown["tables"]["model"][0]["fingerprint"]
    for entry, layer, heads in zip(record["interventions"], (1, 2), ([0], [1, 3]), strict=True):
        entry |= {"layer": layer, "heads": heads}
    (here / "heads.json").write_text(json.dumps(record))
    words = ("eval", "refusal", "--model", "model", "-T", "limit=2", "--json")
    found = document(command(*words, "--interventions", "heads.json"))
    assert "interventions" in found["run"]["inputs"]


def test_settings_can_be_printed(command: Command) -> None:
    code, out, err = command("config", "explain", "heads", "asr")
    assert code == 0, err
    assert 'operator = "ua"' in out and "[task]" in out
    assert command("config", "explain", "heads")[0] == 2
