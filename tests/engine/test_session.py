"""Later turns read only what is new, and a resumed run ends with the very bits of a whole one.

The trap: keys and values that were decoded differ by rounding from those of a prefill, so equal
tokens prove little. Where it says bits here, logits are compared bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.conftest import bare, opened
from tests.oracles.turns import Turn, greedy_by_whole_reading, naive_tokens, new_tokens
from theodolite.engine import writing
from theodolite.engine.budget import kv_bytes_per_token
from theodolite.engine.generate import Completion, generate
from theodolite.engine.interventions import ResidualIntervention, apply
from theodolite.engine.passes import Rows, run_pass
from theodolite.engine.session import Head, Session, Stretch, _head
from theodolite.errors import ConfigError
from theodolite.models.chat import Encoded
from theodolite.runs.journal import Journal

# Rotary, learned and ALiBi positions, windows, latent attention, experts, norms after the block.
FAMILIES = (
    *("bloom", "deepseek_v2", "falcon-alibi", "gemma2", "gemma3_text", "gpt2", "gpt_neo"),
    *("llama", "mistral", "mixtral", "mpt", "opt", "qwen3"),
)
GREEDY: dict[str, Any] = {"max_new_tokens": 14}
SAMPLED: dict[str, Any] = {"max_new_tokens": 14, "temperature": 1.1, "n": 2, "seed": 4}
Bits = dict[tuple[int, ...], torch.Tensor]


def draw(count: int, seed: int) -> list[int]:
    return torch.randint(2, 300, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


HEADER = draw(40, 0)
OPENINGS = [HEADER + draw(count, count) for count in (3, 9, 20, 20, 31)]


def talk(
    model: Any, turns: int = 3, *, session: Session | None = None, **how: Any
) -> list[list[Completion]]:
    """Ask turn after turn: each prompt is the one before, its answer, and a few tokens more."""
    prompts = OPENINGS
    found = []
    for turn in range(turns):
        asked = [bare(ids, f"{turn}/{i}") for i, ids in enumerate(prompts)]
        found.append(generate(model, asked, session=session, **how))
        n = how.get("n", 1)
        prompts = [
            [*prompts[i // n], *one.token_ids, *draw(3 + 5 * (i % 4), turn)]
            for i, one in enumerate(found[-1])
        ][: len(OPENINGS) + 3]
    return found


def turns_of(found: Sequence[Sequence[Completion]], n: int = 1) -> list[list[Turn]]:
    """Return prompts and answers of `talk`."""
    steps, prompts = list[list[Turn]](), OPENINGS
    for turn, answers in enumerate(found):
        steps.append([(prompts[i // n], one.token_ids) for i, one in enumerate(answers)])
        prompts = [
            [*ids, *said, *draw(3 + 5 * (i % 4), turn)] for i, (ids, said) in enumerate(steps[-1])
        ]
        prompts = prompts[: len(OPENINGS) + 3]
    return steps


@pytest.fixture
def bits(monkeypatch: pytest.MonkeyPatch) -> Bits:
    """The logits after each beginning that was decoded, the first time it was."""
    seen: Bits = {}
    check = writing.require_finite_logits

    def note(runner: Any, logits: torch.Tensor, items: Any, written: Any) -> None:
        check(runner, logits, items, written)
        for row, item in enumerate(items):
            seen.setdefault((*runner.sequences[item], *written[row]), logits[row].clone())

    monkeypatch.setattr(writing, "require_finite_logits", note)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_later_turns_read_only_what_is_new(family: str) -> None:
    model = opened(family)
    session = Session(model)
    steps = turns_of(talk(model, session=session, **GREEDY))
    verdicts = greedy_by_whole_reading(model, [turn for step in steps for turn in step])
    assert "different" not in verdicts and verdicts.count("tie") <= 1
    assert new_tokens(steps) <= session.tokens_read <= 1.1 * new_tokens(steps)
    assert session.tokens_read < naive_tokens(steps) / 2.5


def test_samples_are_those_of_whole_reading() -> None:
    model = opened("llama")
    session = Session(model)
    found = talk(model, session=session, **SAMPLED)
    assert found == talk(model, **SAMPLED)
    assert session.tokens_read <= 1.1 * new_tokens(turns_of(found, n=2))
    small = talk(model, session=Session(model), batch_rows=3, **SAMPLED)
    assert small == found


def test_rows_that_left_early_are_remembered_rightly(bits: Bits) -> None:
    model = opened("llama")
    free = [one for one in talk(model, 1, **SAMPLED)[0] if len(one.text) > 6]
    stop = [free[0].text[2:3], free[1].text[4:5]]
    session = Session(model)
    found = talk(model, 1, session=session, stop=stop, **SAMPLED)[0]
    assert len({len(one.token_ids) for one in found}) > 2
    for ids, said in turns_of([found], n=2)[0]:
        whole = [*ids, *said[:-1], 5]
        (head,) = session.heads([whole], [len(whole) - 1])
        assert head.length == len(whole) - 1
        (source,) = session.laid_out([head])
        plain = run_pass(model, Rows([whole[:-1]], [None], [len(whole)]), keep=True).kv
        assert source is not None and plain is not None
        for layer, pair in source.kv.layers.items():
            for kept, expected in zip(pair, plain.layers[layer], strict=True):
                torch.testing.assert_close(kept, expected, rtol=1e-4, atol=1e-5)


def test_where_the_next_prompt_parts_from_the_answer_the_rest_is_read() -> None:
    model = opened("llama")
    session = Session(model)
    (first,) = generate(model, [bare(OPENINGS[0])], session=session, **GREEDY)
    other = [*OPENINGS[0], *first.token_ids[:5], 7, *draw(9, 1)]
    assert other[len(OPENINGS[0]) + 5] != first.token_ids[5]
    before = session.tokens_read
    (second,) = generate(model, [bare(other)], session=session, **GREEDY)
    assert session.tokens_read - before == 10
    assert (second,) == tuple(generate(model, [bare(other)], **GREEDY))


def journals(whole: Path, folder: Path, every: int) -> Iterator[tuple[int, Journal]]:
    """Yield what a kill leaves after finished units: so many lines, and half of the next."""
    lines = whole.read_bytes().splitlines(keepends=True)
    for count in range(len(lines), -1, -every):
        path = folder / f"{count}.jsonl"
        torn = lines[count][:40] if count < len(lines) else b""
        path.write_bytes(b"".join(lines[:count]) + torn)
        with Journal(path) as journal:
            yield count, journal


@pytest.mark.parametrize(
    ("family", "room", "every"), [("llama", None, 1), ("llama", 150, 2), ("mixtral", None, 4)]
)
def test_a_resumed_run_has_the_bits_of_a_whole_one(
    family: str, room: int | None, every: int, tmp_path: Path, bits: Bits
) -> None:
    model = opened(family)
    most = None if room is None else room * kv_bytes_per_token(model)
    how = {"batch_rows": 4, **SAMPLED}
    with Journal(tmp_path / "whole.jsonl") as journal:
        whole = talk(model, session=Session(model, most_bytes=most), journal=journal, **how)
        units = set(journal.keys())
    expected = dict(bits)
    read = []
    for count, journal in journals(tmp_path / "whole.jsonl", tmp_path, every):
        bits.clear()
        session = Session(model, most_bytes=most)
        assert talk(model, session=session, journal=journal, **how) == whole
        assert set(journal.keys()) == units and len(units) > 6
        assert all(torch.equal(logits, expected[key]) for key, logits in bits.items())
        assert bool(bits) == (count < len(units))
        read.append(session.tokens_read)
    assert read[0] == 0 and all(read[1:]) and len(read) > 2


def test_the_check_of_bits_sees_a_prefill(bits: Bits) -> None:
    model = opened("llama")
    whole = talk(model, session=Session(model), **SAMPLED)
    expected = dict(bits)
    bits.clear()
    assert talk(model, **SAMPLED) == whole
    assert not all(torch.equal(logits, expected[key]) for key, logits in bits.items())


def test_an_interrupted_call_leaves_the_session_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: Bits
) -> None:
    model = opened("llama")
    how = {"batch_rows": 4, **SAMPLED}
    whole = talk(model, session=Session(model), **how)
    expected = dict(bits)
    session = Session(model)
    write, count = writing.Writer._write, [0]

    def stop(*given: Any) -> Any:
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt
        return write(*given)

    with Journal(tmp_path / "journal.jsonl") as journal:
        with monkeypatch.context() as patched:
            patched.setattr(writing.Writer, "_write", stop)
            with pytest.raises(Exception, match="Stopped"):
                talk(model, session=session, journal=journal, **how)
        bits.clear()
        assert talk(model, session=Session(model), journal=journal, **how) == whole
    assert bits and all(torch.equal(logits, expected[key]) for key, logits in bits.items())


@pytest.mark.parametrize("room", [0, 60, 200, 500])
def test_what_does_not_fit_is_read_again(room: int) -> None:
    model = opened("llama")
    session = Session(model, most_bytes=room * kv_bytes_per_token(model))
    found = talk(model, session=session, batch_rows=4, **SAMPLED)
    assert found == talk(model, batch_rows=4, **SAMPLED)
    assert session.tokens_remembered <= room
    held = [s for s in session._stretches if s.layers is not None]
    assert bool(held) == bool(session.tokens_remembered) == (room > 60)
    free = Session(model)
    talk(model, session=free, batch_rows=4, **SAMPLED)
    assert session.tokens_read > free.tokens_read


def test_only_what_was_computed_alike_is_used_again() -> None:
    model = opened("llama")
    vector = torch.randn(32, generator=torch.Generator().manual_seed(3))

    def push(positions: Any) -> ResidualIntervention:
        return ResidualIntervention(layer=1, operator="add", vector=vector, positions=positions)

    prompts = [bare(ids) for ids in OPENINGS]
    session = Session(model)
    generate(model, prompts, session=session, **GREEDY)
    for positions in ("all", "prompt", "generated", "prompt_last", (-1,), (0, 50)):
        with apply(model, push(positions)):
            assert talk(model, session=session, **GREEDY) == talk(model, **GREEDY)
    read = session.tokens_read
    talk(model, session=session, **GREEDY)
    generate(model, prompts, session=session, variants=[[push("all")]] * 5, **GREEDY)
    plain = session.tokens_read - read
    with apply(model, push("all")):
        read = session.tokens_read
        talk(model, session=session, **GREEDY)
        assert session.tokens_read - read < plain


def test_a_session_is_of_one_model() -> None:
    with pytest.raises(ConfigError, match="another opened model"):
        generate(opened("gpt2"), [bare([5, 6])], session=Session(opened("llama")), **GREEDY)


symbols = st.lists(st.integers(0, 1), min_size=1, max_size=5)


@given(st.lists(symbols, min_size=1, max_size=6), symbols, symbols)
def test_prompts_that_share_more_than_is_remembered_share_its_place(
    rows: list[list[int]], first: list[int], second: list[int]
) -> None:
    def spelled(word: list[int]) -> tuple[int, ...]:
        return tuple(token for symbol in word for token in [symbol] * 16)

    known = sorted((spelled(word), number) for number, word in enumerate(rows))
    stretches = [Stretch(str(i), 0, None, 0, len(spelled(w))) for i, w in enumerate(rows)]
    a, b = spelled(first), spelled(second)
    one, two = (_head(known, stretches, ids, len(ids)) for ids in (a, b))
    shared = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    if shared > min(one.length, two.length):
        assert one == two
    longest = max(
        next((i for i, (x, y) in enumerate(zip(a, row)) if x != y), min(len(a), len(row)))
        for row, _ in known
    )
    assert one.length == longest
    if one.stretch is not None:
        assert spelled(rows[int(one.stretch.unit)])[:longest] == a[:longest]


class TestOracles:
    """Closed forms of what the fast path is compared with."""

    def test_tokens_of_two_turns(self) -> None:
        steps = [[([1, 2, 3], [4, 5])], [([1, 2, 3, 4, 5, 6], [7])]]
        assert naive_tokens(steps) == 9
        assert new_tokens(steps) == 3 + 2  # 5 was written last, and never read
        assert new_tokens([[([1, 2], [3]), ([1, 2], [4]), ([1, 5], [6])]]) == 3

    def test_an_answer_that_is_not_greedy(self) -> None:
        model = opened("llama")
        (one,) = generate(model, [bare(OPENINGS[0])], **GREEDY)
        right = (OPENINGS[0], one.token_ids)
        wrong = (OPENINGS[0], [*one.token_ids[:-1], one.token_ids[-1] ^ 1])
        after = ([*OPENINGS[0], *one.token_ids, 5], [6])
        verdicts = greedy_by_whole_reading(model, [right, wrong, after])
        assert verdicts[:2] == ["equal", "different"]


def test_heads_are_empty_without_anything_before() -> None:
    model = opened("llama")
    session = Session(model)
    encoded: list[Encoded] = [bare(OPENINGS[0])]
    assert session.heads([one.ids for one in encoded], [39]) == [Head()]
    assert session.laid_out([Head()]) == [None] and Head().key == ""
