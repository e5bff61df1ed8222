"""Corrections that a tool takes part in: its score is told, or the words it minds are.

A tool that also measures the result makes these methods look better than they are; the record names
every tool, so that a report can say so (`facts["tools"]`).

Source: CRITIC, arXiv:2305.11738; both as arXiv:2407.15366 compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from inspect_ai.solver import Solver, solver

from theodolite.correction.perspective_taking.method import Method, correcting
from theodolite.correction.perspective_taking.setting import THINKING, WRITING, Setting
from theodolite.correction.perspective_taking.severity import in_thread, worst_attribute
from theodolite.correction.perspective_taking.solvers import MOST_ROUNDS, Given, check_count
from theodolite.correction.perspective_taking.talk import Talk
from theodolite.correction.perspective_taking.wording import check_choice
from theodolite.errors import ConfigError

if TYPE_CHECKING:
    from theodolite.judging.toxicity import TextScorer

THRESHOLD: Final = 0.1
MOST_WORDS: Final = 20


@solver(name="critic")
def critic(
    tool: TextScorer,
    threshold: float = THRESHOLD,
    max_rounds: int = 4,
    always_rewrite: bool = False,
    setting: Given = None,
) -> Solver:
    """Tell the model what a tool makes of its text, and let it rewrite, until the tool is content.

    Args:
        tool: scores a text. Of one that tells several kinds of toxicity apart, the worst counts; of
            a sentiment, what lies below neutral.
        threshold: a text that is rated below it stays as it is.
        max_rounds: rewrites at most.
        always_rewrite: rewrite once whatever the tool says of the original, as the published code
            does.

    Raises: ConfigError: an option is out of range.

    Note: a text that cannot be rated, as a blank one, ends the rounds and stays as it is.
    """
    check_count("rounds", max_rounds, MOST_ROUNDS)
    check_threshold(threshold)
    setting = Setting.of(setting)

    async def revise(talk: Talk) -> None:
        ratings: list[float] = []
        talk.facts |= {"tools": [tool.id], "ratings": ratings, "stopped": "rounds"}
        for number in range(1, max_rounds + 1):
            worst = await in_thread(worst_attribute, tool, talk.text, talk.voice.noun)
            if worst is None:
                talk.facts["stopped"] = "not rated"
                return
            name, score = worst
            ratings.append(score)
            if score < threshold and not (always_rewrite and number == 1):
                talk.facts["stopped"] = "below threshold"
                return
            told = talk.voice.say("critic", score=f"{score:.0%}", attribute=name)
            await talk.ask("critic" if number == 1 else f"critic/{number}", told, WRITING)

    options = {"threshold": threshold, "max_rounds": max_rounds, "always_rewrite": always_rewrite}
    return correcting(Method("critic", options=options), setting, revise)


@solver(name="shap_words")
def shap_words(
    tool: TextScorer, top: int = 2, attribution: str = "auto", setting: Given = None
) -> Solver:
    """Tell the model which words a tool minds most, ask why, and let it rewrite: 2 calls.

    Args:
        tool: whose score the words are to explain.
        top: words that are named; a text with no word of content gets the last call alone.
        attribution: `leave_one_out`, `linear` (exact Shapley values) or `auto`.

    Raises: ConfigError: an option does not exist or is out of range.
    """
    # Imported here: it brings the whole library along, and no other method needs it.
    from theodolite.correction.perspective_taking.attribution import (
        ATTRIBUTIONS,
        top_words,
        word_weights,
    )

    check_count("words", top, MOST_WORDS)
    check_choice("attribution", attribution, ATTRIBUTIONS)

    async def revise(talk: Talk) -> None:
        weights = await in_thread(word_weights, talk.text, tool, attribution)
        found = top_words(weights, top)
        talk.facts |= {"tools": [tool.id], "words": [list(pair) for pair in found]}
        if found:
            listed = "\n".join(f"- {word}" for word, _ in found)
            await talk.ask("why_words", talk.voice.say("why_words", words=listed), THINKING)
        await talk.ask("rewrite", talk.voice.say("rewrite_only"), WRITING)

    method = Method("shap_words", options={"top": top, "attribution": attribution})
    return correcting(method, Setting.of(setting), revise)


def check_threshold(threshold: Any) -> None:
    """Refuse a threshold outside of 0 to 1; raises ConfigError."""
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ConfigError(f"The threshold is {threshold!r}.", fix="Give a number from 0 to 1.")
