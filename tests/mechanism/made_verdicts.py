"""Verdicts made by hand: eight prompts with every label, and single cases."""

from __future__ import annotations

import math

import numpy as np

from theodolite.data.prompts import Prompt
from theodolite.mechanism.detector.detector import Detector
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.lens.logit_lens import LensResult
from theodolite.mechanism.lens.token_classes import TokenClasses
from theodolite.mechanism.states import States
from theodolite.mechanism.verdict.cases import Case, Design
from theodolite.mechanism.verdict.decide import VerdictResult, verdict
from theodolite.mechanism.verdict.outcomes import outcome_of
from theodolite.text.hashing import content_key

REFUSING, FRIENDLY = 7, 3
DESIGN = Design("m", 4, "instruction_last", 0.5, 2, 2, "scorer", 0)
SECRET = "do not print"

# id, class, style, pair, P(harmful), e_l at the conversion index, P(refusing first word), verdict
EIGHT = [
    ("a", "harmful", "plain", "1", 0.9, -2.0, 0.9, "refusal"),
    ("b", "harmful", "plain", "2", 0.2, 0.0, 0.5, "compliance"),
    ("c", "harmful", "quiz", "1", 0.8, 1.0, 0.1, "compliance"),
    ("d", "harmful", "quiz", "2", 0.7, 0.5, 0.6, "compliance"),
    ("e", "harmful", "quiz", "3", 0.6, -0.1, 0.2, "empty"),
    ("f", "benign", "plain", "1", 0.1, 2.0, 0.0, "compliance"),
    ("g", "benign", "quiz", "1", 0.6, 2.0, 0.0, "refusal"),
    ("h", "benign", "quiz", "2", 0.3, 2.0, 0.0, "compliance"),
]


def items_of(rows) -> Items:
    """Return items whose texts have nothing in common."""
    prompts = {
        kind: [
            Prompt(
                row[0],
                text=f"{SECRET} {content_key(row[0])}",
                label=kind,
                style=row[2],
                pair_id=row[3],
            )
            for row in rows
            if row[1] == kind
        ]
        for kind in ("harmful", "benign")
    }
    return make_items({kind: found for kind, found in prompts.items() if found}, dedupe=False)


def states_of(rows) -> States:
    """Return one-dimensional states from which the detector reads the given probabilities."""
    logits = [math.log(row[4] / (1 - row[4])) for row in rows]
    return States(
        values=np.array(logits, np.float32)[:, None, None, None],
        prompt_ids=tuple(row[0] for row in rows),
        positions=("instruction_last",),
        hidden_indices=(4,),
        model="m",
        fingerprint="f",
        template="chat",
        key="k",
        border_merged=(),
    )


def detector_of(classes=("benign", "harmful"), threshold=0.5) -> Detector:
    return Detector(
        direction=np.ones(1),
        bias=0.0,
        temperature=1.0,
        threshold=threshold,
        hidden_index=4,
        position="instruction_last",
        probe="logistic",
        template="chat",
        model_fingerprint="f",
        model_name="m",
        classes=classes,
        trained_on={},
        quality={},
    )


def lens_of(rows, position="prompt_last", hidden_indices=(0, 2, 5)) -> LensResult:
    """Return a lens that saw the given leanings at hidden_index 2 and at the output, 5."""
    shape = (len(rows), len(hidden_indices))
    ids = np.tile(np.array([FRIENDLY, REFUSING]), (*shape, 1))
    probabilities = np.zeros((*shape, 2), np.float32)
    probabilities[:, -1, 1] = [row[6] for row in rows]
    emotion = np.full(shape, -99.0)  # any other place would convert every prompt
    emotion[:, 1] = [row[5] for row in rows]
    return LensResult(
        prompt_ids=tuple(row[0] for row in rows),
        hidden_indices=hidden_indices,
        position=position,
        k=2,
        token_ids=ids,
        logits=np.zeros_like(probabilities),
        probabilities=probabilities,
        emotion=emotion,
        emotion_topk=np.zeros(shape),
        classes=TokenClasses((FRIENDLY,), (REFUSING,), (), "test", {}),
        tokens={FRIENDLY: "Sure", REFUSING: "Sorry"},
        n_layers=5,
        model="m",
        fingerprint="f",
        template="chat",
        key="k",
    )


def judged(rows, *, conversion_index=2, **changes) -> VerdictResult:
    told = {row[0]: outcome_of(row[0], row[7]) for row in rows}
    parts = {
        "states": states_of(rows[::-1]),
        "items": items_of(rows),
        "lens": lens_of(rows),
        "detector": detector_of(),
        "outcomes": told,
    } | changes
    more = {k: parts.pop(k) for k in ("gain", "judge") if k in parts}
    return verdict(*parts.values(), conversion_index=conversion_index, **more)


def case(i, kind, style, recognised, converted, outcome, group=None, pair=None) -> Case:
    reason = None if outcome in ("refused", "complied") else f"{outcome} answer"
    p = 0.9 if recognised else 0.1
    lean = -1.0 if converted else 1.0
    return Case(
        f"p{i}",
        kind,
        style,
        group or f"p{i}",
        pair,
        p,
        recognised,
        lean,
        0.0,
        converted,
        outcome,
        reason,
    )


def pairs(recognised, *, style="quiz"):
    """Return twins of one style from (harmful recognised, benign recognised)."""
    cases = []
    for i, (harmful, benign) in enumerate(recognised):
        cases.append(case(2 * i, "harmful", style, harmful, False, "complied", f"g{i}", f"g{i}"))
        cases.append(case(2 * i + 1, "benign", style, benign, False, "complied", f"g{i}", f"g{i}"))
    return tuple(cases)
