"""Readers: every format, the alias table, and one exact sentence for everything that is wrong."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from theodolite.data import records
from theodolite.data.prompts import Message, PromptSet
from theodolite.data.readers import read_prompts
from theodolite.errors import DataError

OFFICIAL = os.environ.get("THEODOLITE_DATA")
needs_official = pytest.mark.skipif(not OFFICIAL, reason="THEODOLITE_DATA is not set")


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def refusal_of(path: Path, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        read_prompts(path, **options)
    return str(caught.value).replace(f"{path.parent}/", "")


ROWS = [
    {"id": "p1", "prompt": "What is a torus?", "type": "maths", "label": "safe"},
    {"id": "p2", "prompt": 'Say "hello", please', "type": "chat", "label": "unsafe"},
]


def as_csv(folder: Path) -> Path:
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    return folder / "rows.csv"


def as_parquet(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "rows.parquet")
    return folder / "rows.parquet"


def as_jsonl(folder: Path) -> Path:
    return write(folder, "rows.jsonl", "\n".join(map(json.dumps, ROWS)))


def as_json(folder: Path) -> Path:
    return write(folder, "rows.json", json.dumps(ROWS, indent=1))


def as_tsv(folder: Path) -> Path:
    lines = ["\t".join(ROWS[0]), *("\t".join(row.values()) for row in ROWS)]
    return write(folder, "rows.tsv", "\n".join(lines) + "\n")


@pytest.mark.parametrize("save", [as_csv, as_parquet, as_jsonl, as_json, as_tsv])
def test_every_format_gives_the_same_prompts(save, tmp_path) -> None:
    prompts = read_prompts(save(tmp_path))
    assert prompts.name == "rows"
    assert prompts.ids == ("p1", "p2")
    assert [p.text for p in prompts] == [row["prompt"] for row in ROWS]
    assert [p.label for p in prompts] == ["benign", "harmful"]
    assert prompts.values("category") == ("maths", "chat")
    assert prompts.values("source") == ("rows",)


def test_txt_is_one_prompt_per_line_with_bom_and_crlf(tmp_path) -> None:
    path = write(tmp_path, "t.txt", b"\xef\xbb\xbfFirst\r\n\r\nSecond \xe2\x80\xa8 half\r\n")
    prompts = read_prompts(path, label="benign", source="mine")
    assert [p.text for p in prompts] == ["First", "Second \u2028 half"]
    assert prompts.ids == ("t/0", "t/1")
    assert prompts[1].label == "benign" and prompts[1].source == "mine"


def test_csv_with_bom_crlf_and_line_ends_in_cells(tmp_path) -> None:
    text = '\ufeffGoal,Target\r\n"one\r\ntwo",x\r\nthree\r\n\r\n'
    prompts = read_prompts(write(tmp_path, "c.csv", text))
    assert [p.text for p in prompts] == ["one\r\ntwo", "three"]
    assert prompts[0].meta == {"Target": "x"} and prompts[1].meta == {}


@pytest.mark.parametrize(
    "column", ["prompt", "Prompt", "input", "goal", "Goal", "question", "instruction", "text"]
)
def test_prompt_columns(column, tmp_path) -> None:
    assert read_prompts(write(tmp_path, "a.jsonl", json.dumps({column: "Hi"})))[0].text == "Hi"


def test_preference_between_several_prompt_columns(tmp_path) -> None:
    row = {"goal": "the goal", "prompt": "the wrapped goal", "input": ""}
    prompt = read_prompts(write(tmp_path, "a.jsonl", json.dumps(row)))[0]
    assert prompt.text == "the wrapped goal" and prompt.meta == {"goal": "the goal"}
    chosen = read_prompts(write(tmp_path, "a.jsonl", json.dumps(row)), field="goal")[0]
    assert chosen.text == "the goal" and chosen.meta == {"prompt": "the wrapped goal"}


def test_other_fields_and_value_names(tmp_path) -> None:
    row = {"Index": 7, "Goal": "x", "Category": 3, "split": "validation", "lang": "fr", "z": [1]}
    prompt = read_prompts(write(tmp_path, "a.jsonl", json.dumps(row)))[0]
    assert (prompt.id, prompt.category, prompt.split, prompt.language) == ("7", "3", "val", "fr")
    assert prompt.meta == {"z": [1]}


def test_chats(tmp_path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "a", "metadata": {"theodolite": "context"}}]},
        {"conversations": [{"from": "human", "value": "b"}, {"from": "gpt", "value": "c"}]},
    ]
    prompts = read_prompts(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert prompts[0].messages == (Message("user", "a", {"theodolite": "context"}),)
    assert prompts[1].messages == (Message("user", "b"), Message("assistant", "c"))


def test_the_label_of_a_judged_completion_is_not_the_prompts(tmp_path) -> None:
    row = {"prompt": "x", "completion": "No.", "label": "refusal"}
    prompt = read_prompts(write(tmp_path, "a.jsonl", json.dumps(row)), label="harmful")[0]
    assert prompt.label == "harmful" and prompt.meta["label"] == "refusal"


def test_a_label_of_another_kind_is_kept_beside_the_given_one(tmp_path) -> None:
    prompt = read_prompts(write(tmp_path, "a.csv", "prompt,label\nx,spam\n"), label="benign")[0]
    assert prompt.label == "benign" and prompt.meta == {"label": "spam"}


def test_parquet_missing_cells_and_odd_types(tmp_path) -> None:
    table = pa.table(
        {
            "prompt": ["a", "b"],
            "score": [0.5, float("nan")],
            "when": pa.array([0, None], pa.timestamp("s")),
            "tags": [["x"], None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    prompts = read_prompts(tmp_path / "a.parquet")
    assert prompts[0].meta == {"score": 0.5, "when": "1970-01-01 00:00:00", "tags": ["x"]}
    assert prompts[1].meta == {}
    assert isinstance(prompts.fingerprint, str)


WRONG = {
    "missing.jsonl": (None, "missing.jsonl: there is no such file."),
    "e.txt": (" \n\n", "e.txt: the file is empty."),
    "e.jsonl": ("", "e.jsonl: the file is empty."),
    "e.csv": ("prompt,id\n", "e.csv: the file has no rows."),
    "e.json": ("[]", "e.json: the file has no rows."),
    "a.pdf": ("x", "a.pdf: the ending '.pdf' is not one that can be read."),
    "b.jsonl": ('{"prompt": "a"}\n{"prompt": "b"\n', "b.jsonl, line 2: broken JSON at column 15"),
    "list.jsonl": ("[1]", "list.jsonl, line 1: this is a list where an object is needed."),
    "obj.json": ('{"a": 1}', "obj.json: the file holds one object where a list of objects"),
    "nan.jsonl": ('{"prompt": "a", "x": NaN}', "nan.jsonl, line 1: broken JSON (NaN is not"),
    "inf.jsonl": ('{"prompt": "a", "x": 1e999}', "inf.jsonl, line 1: broken JSON (a number is"),
    "deep.jsonl": ('{"prompt": "a", "x": ' + "[" * 60 + "]" * 60 + "}", "nested more than 50"),
    "deeper.jsonl": ("[" * 100_000, "deeper.jsonl, line 1: broken JSON"),
    "half.jsonl": (r'{"prompt": "\ud800"}', "half.jsonl, line 1: a \\u escape is half of a"),
    "empty.csv": ("id,goal\n1,a\n2,  \n", "empty.csv, line 3, field 'goal': the prompt is empty."),
    "gone.jsonl": ('{"prompt": null}', "gone.jsonl, line 1, field 'prompt': the prompt is missing"),
    "num.jsonl": ('{"Goal": 3}', "num.jsonl, line 1, field 'Goal': this must be text, not int."),
    "twice.csv": (
        "id,goal\na,x\nb,y\na,z\n",
        "twice.csv, line 4, field 'id': the id 'a' is already used on line 2.",
    ),
    "wide.csv": ("goal\na,b\n", "wide.csv, line 2: the row has 2 cells but the header has 1."),
    "same.csv": ("goal,goal\na,b\n", "same.csv, line 1: the header names 'goal' twice."),
    "quote.csv": ('goal\n"a"b\n', "quote.csv, line 2: broken CSV"),
    "open.csv": ('goal\n"a', "open.csv, line 2: broken CSV (unexpected end of data)."),
    "cols.csv": (
        "promt,target\na,b\n",
        "cols.csv, line 2: no field holds the prompt (fields: 'promt', 'target'). "
        "Is 'promt' meant to be 'prompt'?",
    ),
    "none.csv": ("zz\na\n", "Name the field that holds the prompt, or call it 'prompt'."),
    "latin.txt": (b"caf\xe9\n", "latin.txt, line 1: byte 3 (0xe9) is not UTF-8. Save it as UTF-8."),
    "late.jsonl": (b'{"prompt":"a"}\n\n\xff', "late.jsonl, line 3: byte 16 (0xff) is not UTF-8."),
    "wide.txt": ("hi".encode("utf-16"), "wide.txt, line 1: the file is UTF-16, not UTF-8."),
    "split.csv": ("goal,split\na,dev2\n", "field 'split': the split 'dev2' is unknown. Use train"),
    "idtype.jsonl": ('{"id": [1], "goal": "a"}', "field 'id': this must be text, not list."),
    "turn.jsonl": ('{"messages": [{"role": "x", "content": "a"}]}', "turn 0: The message role 'x'"),
    "turns.jsonl": ('{"messages": []}', "field 'messages': this must be a list of turns."),
    "both.jsonl": (
        '{"text": "a", "messages": [{"role": "user", "content": "a"}]}',
        "both.jsonl, line 1: prompt 'both/0' must have either text or messages, and not both.",
    ),
    "meta.jsonl": ('{"text": "a", "meta": 3}', "field 'meta': this must be an object, not int."),
    "broken.parquet": (b"PAR1 nonsense", "broken.parquet: broken parquet ("),
    "row.json": ('[{"goal": "a"}, {"goal": ""}]', "row.json, row 1, field 'goal': the prompt is"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(name, tmp_path) -> None:
    content, expected = WRONG[name]
    path = tmp_path / name if content is None else write(tmp_path, name, content)
    message = refusal_of(path)
    assert expected in message
    assert "\n" not in message and len(message) < 500


def test_a_missing_file_suggests_its_neighbour(tmp_path) -> None:
    write(tmp_path, "prompts.jsonl", "{}")
    assert "Did you mean 'prompts.jsonl'?" in refusal_of(tmp_path / "promts.jsonl")
    assert "this is not a file" in refusal_of(tmp_path)
    assert "cannot be read" in refusal_of(tmp_path / "nul\0.csv")


def test_a_wrong_field_names_the_nearest_one(tmp_path) -> None:
    path = write(tmp_path, "a.csv", "goal,target\na,b\n")
    assert "there is no field 'gaol'. Did you mean `goal`?" in refusal_of(path, field="gaol")


def test_a_row_of_the_opposite_label_is_refused(tmp_path) -> None:
    path = write(tmp_path, "a.csv", "prompt,label\nx,unsafe\ny,safe\n")
    expected = "a.csv, line 3, field 'label': the row is benign but the file was given as harmful."
    assert expected in refusal_of(path, label="harmful")


def test_binary_cells_in_parquet_are_refused(tmp_path) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "image": [b"\xff\xd8"]}), tmp_path / "a.parquet")
    assert "a.parquet, row 0: a cell holds binary data." in refusal_of(tmp_path / "a.parquet")


def test_sizes_are_bounded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(records, "MAX_LINE_CHARS", 50)
    monkeypatch.setattr(records, "MAX_ROWS", 3)
    monkeypatch.setattr("theodolite.data.readers.MAX_PROMPT_CHARS", 20)
    long_line = write(tmp_path, "l.txt", "a\n" + "b" * 51)
    assert "l.txt, line 2: the line has 51 characters, more than 50." in refusal_of(long_line)
    long_prompt = write(tmp_path, "p.txt", "b" * 21)
    assert "the prompt has 21 characters, more than 20." in refusal_of(long_prompt)
    chat = json.dumps({"messages": [{"role": "user", "content": "b" * 21}]})
    monkeypatch.setattr(records, "MAX_LINE_CHARS", 500)
    assert "more than 20 characters" in refusal_of(write(tmp_path, "m.jsonl", chat))
    assert "more than 3 rows" in refusal_of(write(tmp_path, "r.txt", "a\n" * 4))
    monkeypatch.setattr(records, "MAX_FILE_BYTES", 10)
    assert "has 24 bytes, more than 10" in refusal_of(write(tmp_path, "b.txt", "a\n" * 12))
    assert "unpacked" in refusal_of_parquet_bomb(tmp_path, monkeypatch)


def refusal_of_parquet_bomb(folder: Path, monkeypatch) -> str:
    pq.write_table(pa.table({"prompt": ["a"] * 4}), folder / "p.parquet")
    monkeypatch.setattr(records, "MAX_FILE_BYTES", 10_000)
    return refusal_of(folder / "p.parquet")


def test_hostile_text_is_escaped_in_messages(tmp_path) -> None:
    message = refusal_of(write(tmp_path, "a.csv", "\x1b[31mred\u202e,b\nx,y\n"))
    assert "\x1b" not in message and "\u202e" not in message


def test_reading_10_000_rows_is_no_slower_than_a_few_plain_parses(tmp_path) -> None:
    rows = [
        {"id": i, "prompt": f"What is {i}?", "type": "t", "label": "safe"} for i in range(10_000)
    ]
    path = write(tmp_path, "big.jsonl", "\n".join(map(json.dumps, rows)))
    best_read, best_plain = [], []
    for _ in range(3):
        start = time.perf_counter()
        prompts = read_prompts(path)
        middle = time.perf_counter()
        plain = [json.loads(line) for line in path.read_text().splitlines()]
        best_read.append(middle - start)
        best_plain.append(time.perf_counter() - middle)
        assert len(prompts) == len(plain) == 10_000
    assert min(best_read) < 25 * min(best_plain)


@needs_official
def test_official_files_are_read_with_their_sources_and_labels() -> None:
    def read(name: str) -> PromptSet:
        return read_prompts(Path(OFFICIAL or "") / name)

    malicious = read("hidden-state-probes/malicious_prompt.csv")
    by_source = {s: len(malicious.filter(source=s)) for s in malicious.values("source")}
    assert by_source == {"advbench": 520, "strongreject-early": 346, "jailbreakbench": 100}
    assert len(malicious.distinct()) == 915 and malicious.values("label") == ("harmful",)
    assert len(read("hidden-state-probes/normal_prompt.csv").distinct()) == 493
    xstest = read("refusal/xstest_prompts.csv")
    assert len(xstest.filter(label="benign")) == 250 and len(xstest.values("category")) == 18
    behaviours = read("safety-heads/jailbreakbench_behaviors.csv")
    assert len(behaviours.values("category")) == 10
    assert behaviours.values("source") == ("jailbreakbench",)
    assert behaviours[0].meta["source"] in {"Original", "AdvBench", "TDC/HarmBench"}
    assert len(read("safety-heads/maliciousinstruct.csv")) == 100
    assert len(read("safety-heads/advbench_goal_target.csv")) == 520
    sample = read("safety-residual-space/prompts_sample.csv")
    assert len(sample.values("goal_id")) == 60 and len(sample.values("style")) == 9
    assert len(read("course-correction/c2_eval_test.jsonl").distinct()) == 462
    assert len(read("perspective-taking/rtp_hard.json").distinct()) == 1601
    assert len(read("perspective-taking/bold_1.5k.json").distinct()) == 1485


@needs_official
def test_an_official_benign_file_is_refused_as_harmful() -> None:
    path = Path(OFFICIAL or "") / "hidden-state-probes/normal_prompt.csv"
    with pytest.raises(DataError, match="the row is benign but the file was given as harmful"):
        read_prompts(path, label="harmful")
