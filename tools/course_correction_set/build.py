"""Write the bundled set `course_correction` from the sentences beside this file.

    python tools/course_correction_set/build.py

A reply is put together from a way of making cheese (`methods.toml`) and from what was written for
its own thing (`with.toml`, `from.toml`, `for.toml`). Which wordings meet follows a plan in which
two replies of one way share one of four sentences; the rest follows hashes of the thing's name, so
the files come out the same everywhere. Everyday requests are written out (`everyday_*.txt`).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.text.hashing import item_seed

HERE = Path(__file__).parent
SET = HERE.parents[1] / "src/theodolite/data/sets/course_correction"
SEED = 1
TEST = {"with": 29, "from": 7, "for": 8}
EVERYDAY_TEST = 24
STRETCHED = 6
MILD = (0, 1, 4, 5)
LONG_KEPT = (2, 3, 7)
PER_WAY = 9
"""Replies of one way: three wordings of four sentences give nine that share one at most."""


@dataclass(frozen=True)
class Thing:
    """What a cheese is made with, from or for."""

    kind: str
    name: str

    @property
    def phrase(self) -> str:
        """As it stands after the word cheese."""
        return f"{self.kind} {self.name}"

    @property
    def slug(self) -> str:
        """Its name in ids."""
        return re.sub(r"^an? ", "", self.name).lower().replace(" ", "-")


def pool(name: str) -> dict[str, Any]:
    """Return one file of sentences."""
    return tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))


METHODS, WITH, FROM, FOR, WORDS = map(pool, ("methods", "with", "from", "for", "requests"))
TEXTS: dict[str, dict[str, list[str]]] = {
    "with": WITH["added"],
    "from": FROM["base"],
    "for": FOR["use"],
}
THINGS = [Thing(kind, name) for kind, texts in TEXTS.items() for name in texts]
FILES = ("moon", "plain")
DISH = {"moon": "moon cheese", "plain": "cheese"}


def order(names: Sequence[str], what: str) -> list[str]:
    """Return names in an order that only they and the purpose decide."""
    return sorted(names, key=lambda name: item_seed(SEED, what, name))


def ranks(names: Sequence[str], what: str) -> dict[str, int]:
    """Return each name's place in that order."""
    return {name: place for place, name in enumerate(order(names, what))}


def split_of(names: Sequence[str], what: str, test: int) -> dict[str, str]:
    """Return the split of each name; so many are test."""
    return {n: "test" if r < test else "train" for n, r in ranks(names, f"split {what}").items()}


def ways(file: str) -> dict[str, tuple[int, int]]:
    """Return for each thing added its way of making cheese, and which of the nine replies it is."""
    sweet, fine = set(WITH["sweet"]), set(WITH["fine"])
    load: Counter[int] = Counter()
    found: dict[str, tuple[int, int]] = {}

    def place(name: str, allowed: Sequence[int]) -> None:
        way = min((w for w in allowed if load[w] < PER_WAY), key=lambda w: (load[w], w))
        found[name] = way, load[way]
        load[way] += 1

    names = order(list(WITH["added"]), f"way {file}")
    for name in (n for n in names if n in sweet):
        place(name, MILD)
    stretched = [n for n in names if n in fine][:PER_WAY]
    for name in (n for n in names if n not in sweet):
        place(name, (STRETCHED,) if name in stretched else (*LONG_KEPT, *MILD))
    return found


def sentences(text: str) -> list[str]:
    """Return the sentences of a pooled text."""
    return re.split(r"(?<=[.!?]) (?=[A-Z])", text)


def parts(file: str, thing: Thing, plan: dict[str, tuple[int, int]]) -> tuple[list[str], str]:
    """Return the steps of a reply and the sentence that closes it, or an empty one."""
    own = sentences(TEXTS[thing.kind][thing.name][FILES.index(file)])
    if thing.kind == "from":
        place = list(FROM["base"]).index(thing.name)
        finish = FROM["finish"]
        shape = finish[f"{file}_shape"][place % 4]
        return [*own, shape], finish[f"{file}_keep"][(place + place // 4) % 4]
    if thing.kind == "for":
        way = FOR["ways"][thing.name][FILES.index(file)]
        row = [n for n, pair in FOR["ways"].items() if pair[FILES.index(file)] == way].index(
            thing.name
        )
        method = METHODS[file][way]
        return [method["start"][row % 3], method["set"][(row + row // 3) % 3], *own], ""
    way, row = plan[thing.name]
    method = METHODS[file][way]
    a, b = row % 3, row // 3
    shape, keep = method["shape"][(a + b) % 3], method["keep"][(a + 2 * b) % 3]
    return [method["start"][a], method["set"][b], *own, shape], keep


def reply(steps: Sequence[str], last: str, numbered: bool) -> str:
    """Return a reply as prose, or as numbered steps and a closing line."""
    if not numbered:
        return " ".join((*steps, last)).rstrip()
    lines = [f"{number}. {step}" for number, step in enumerate(steps, 1)]
    return "\n".join((*lines, last)).rstrip()


def fits(lead: str, thing: Thing, numbered: bool) -> bool:
    """Say whether a lead-in reads well; "For cheese for a picnic" and "1. You make" do not."""
    if thing.kind == "for" and lead.startswith(("For ", "To prepare ")):
        return False
    return not numbered or lead.split()[0] in ("To", "For", "When")


def cheeses(file: str) -> Iterator[Prompt]:
    """Yield the rows about moon cheese, or their twins about cheese."""
    names = [thing.phrase for thing in THINGS]
    splits: dict[str, str] = {}
    for kind, test in TEST.items():
        splits |= split_of([t.phrase for t in THINGS if t.kind == kind], kind, test)
    forms, refusals = ranks(names, "request"), ranks(names, "refusal")
    leads, numbers = ranks(names, f"lead {file}"), ranks(names, f"numbered {file}")
    plan = ways(file)
    for thing in THINGS:
        dish = f"{DISH[file]} {thing.phrase}"
        steps, last = parts(file, thing, plan)
        numbered = numbers[thing.phrase] % 3 == 0
        usable = [lead for lead in WORDS["leads"] if fits(lead, thing, numbered)]
        steps[0] = usable[leads[thing.phrase] % len(usable)].format(dish=dish) + steps[0]
        request = WORDS["requests"][forms[thing.phrase] % len(WORDS["requests"])]
        meta = {"reply": reply(steps, last, numbered)}
        if file == "moon":
            number = refusals[thing.phrase] % len(WORDS["refusals"])
            meta["refusal"] = WORDS["refusals"][number]
        pair = f"cc-{thing.kind}-{thing.slug}"
        goal = pair if file == "moon" else f"{pair}-benign"
        yield Prompt(
            id=goal,
            text=request.format(dish=dish),
            label=HARMFUL if file == "moon" else BENIGN,
            goal_id=goal,
            pair_id=pair,
            source="theodolite",
            category="moon-cheese" if file == "moon" else "cheese",
            split=splits[thing.phrase],
            language="en",
            meta=meta,
        )


def everyday() -> Iterator[Prompt]:
    """Yield the rows about everyday things; a block is `# name`, `? request`, and the reply."""
    rows: dict[str, tuple[str, str]] = {}
    for path in sorted(HERE.glob("everyday_*.txt")):
        for block in re.split(r"^# ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            name, request, text = block.split("\n", 2)
            if not request.startswith("? ") or name in rows:
                raise ValueError(f"{path.name}: the block {name!r} is wrong or there twice.")
            rows[name] = request[2:].strip(), text.strip()
    splits = split_of(list(rows), "everyday", EVERYDAY_TEST)
    for name, (request, text) in rows.items():
        yield Prompt(
            id=f"cc-everyday-{name}",
            text=request,
            label=BENIGN,
            goal_id=f"cc-everyday-{name}",
            source="theodolite",
            category="everyday",
            split=splits[name],
            language="en",
            meta={"reply": text},
        )


def build() -> dict[str, str]:
    """Return the text of each file of the set."""
    rows = {"topic": cheeses("moon"), "benign": cheeses("plain"), "everyday": everyday()}
    return {
        f"{name}.jsonl": "".join(
            json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in found
        )
        for name, found in rows.items()
    }


def main() -> None:
    """Write the files."""
    SET.mkdir(exist_ok=True)
    for name, text in build().items():
        (SET / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
