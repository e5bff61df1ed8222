"""Course correction from the command line: what is measured on harmful rows never shows them."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Command, command
from tests.models.tiny_files import save_folder
from theodolite.data.catalogue import official
from theodolite.data.forced_replies import read_replies, reply_of

__all__ = ["command"]  # fixture

QUICK = ("-T", "source=c2-eval", "-T", "limit=4", "-T", "ks=10,20", "-T", "max_tokens=8")
SIZE = 8


def grams(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + SIZE]) for i in range(len(words) - SIZE + 1)}


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
@pytest.mark.parametrize(
    "words", [("eval", "course-correction", *QUICK), ("explain", "correction-dynamics")]
)
def test_official_words_stay_out_of_streams_tables_and_report(
    words: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    config = save_folder(tmp_path / "model") / "config.json"
    longer = json.loads(config.read_text()) | {"max_position_embeddings": 4096}
    config.write_text(json.dumps(longer))
    rows = official("course-correction/c2_eval_test")
    # What people are to label is written to the file that was named for it, and nowhere else.
    sheet = tmp_path / "sheet.csv"
    if words[0] == "eval":
        attacks = tmp_path / "attacks.jsonl"
        attacks.write_text(
            "".join(
                json.dumps({"request": r.request, "attack": "x", "prompt": f"Now. {r.request}"})
                + "\n"
                for r in list(read_replies(rows))[:3]
            ),
            "utf-8",
        )
        words = (*words, "-T", f"sheet={sheet}", "-T", f"attacks={attacks}", "-T", "suppress=2")
        words = (*words, "-T", "defence=any_depth")
    else:
        words = (*words, "--prompts", str(rows), "--limit", "4", "-T", "length=8", "-T", "ks=0,4")
    code, out, err = command(*words, "--model", "model", "--out", "run")
    assert code == 0, err
    # Samples are kept for `--show-text`, in a folder of their own and in inspect's logs.
    kept = {tmp_path / "run" / "samples", tmp_path / "run" / "logs"}
    written = [
        path
        for path in (tmp_path / "run").rglob("*")
        if path.is_file() and not kept & set(path.parents)
    ]
    assert "manifest.json" in {path.name for path in written}
    texts = [out, err, *(path.read_text("utf-8", errors="ignore") for path in written)]
    seen = set().union(*map(grams, texts))
    official_words = set().union(
        *(grams(row.request) | grams(reply_of(row)) for row in read_replies(rows))
    )
    shown = len(seen & official_words)  # a count, so that a failure prints no words either
    assert len(official_words) > 30_000 and shown == 0
    if words[0] == "eval":
        assert len(grams(sheet.read_text("utf-8")) & official_words) > 0
        table = "run/tables/course-correction/course_correction_items.parquet"
        sheet.write_text(_all_labelled(sheet), "utf-8")
        code, out, err = command(
            "eval", "course-correction", "--responses", table, "-T", f"labels={sheet}", "--json"
        )
        assert code == 0, err
        names = {row["name"] for row in json.loads(out)["measurements"]}
        assert "course-correction/calibration/lexical/false_positive_rate" in names
        assert not grams(out + err) & official_words


def _all_labelled(sheet: Path) -> str:
    """Return the sheet with every continuation labelled as going on."""
    read = list(csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig"))))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(read[0]))
    writer.writeheader()
    writer.writerows(row | {"turned_away": "n"} for row in read)
    return text.getvalue()
