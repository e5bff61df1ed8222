"""The audit's panel on separability by layer."""

from __future__ import annotations

from theodolite.data.bundled import bundled
from theodolite.mechanism.separability import METHOD_VERSION, SeparabilityResult, separability
from theodolite.runs.panel import Cost, PanelContext, PanelResult

METHODS = {"difference_of_means": "difference of means", "logistic": "logistic"}
PLACES = {"instruction_last": "request's end", "prompt_last": "prompt's end"}


class SeparabilityPanel:
    """Where in the network harmful and benign requests part, against what the words give away."""

    name = "separability"
    version = METHOD_VERSION
    title = "What the model can tell apart"
    question = "From which layer on does the network separate harmful from harmless requests?"
    needs = frozenset({"hidden_states"})

    def cost(self, profile: str) -> Cost:
        """One forward pass per bundled prompt, whatever the profile."""
        return Cost(seconds=25, tokens=8_000)

    def run(self, context: PanelContext) -> PanelResult:
        """Capture the bundled set once, fit on train goals, score on test goals."""
        prompts = list(bundled("refusal"))
        result = separability(
            context.model,
            prompts,
            seed=context.seed,
            journal=context.run.journal,
            progress=context.progress,
        )
        result.save(context.run)
        return PanelResult(
            measurements=result.measurements(),
            tables={"separability": result.frame(), "separability_outcomes": result.outcomes()},
            figures=[result.figure()],
            findings=findings(result),
            labels={
                "separability/gain_over_text": "best place minus the words alone",
                "separability/text_floor": "told apart by the words alone",
                **{
                    f"separability/{method}/{position}": f"told apart at {place}, {how}"
                    for method, how in METHODS.items()
                    for position, place in PLACES.items()
                },
            },
            how=[
                f"{result.n_train} train prompts fit the classifiers, {len(result.labels)} test "
                "prompts with other goals score them; each harmful request has a benign twin with "
                "the same surface words, and twins are never split apart.",
                "The place named is the best on the val goals, not on the test goals.",
            ],
            limits=[
                "That a classifier can read a property does not show that the model uses it.",
                "The set is small and in English; separability of one's own prompts may differ.",
            ],
        )


def findings(result: SeparabilityResult) -> list[str]:
    """Say in plain words how the curve at the chosen place stands to its text floor."""
    method, position, layer = result.chosen_place()
    place, gain = result.accuracy(method, position, layer), result.gain()
    said = (
        f"A {method.replace('_', ' ')} classifier at {position.replace('_', ' ')} tells harmful "
        f"from harmless test requests with accuracy {place.value:.0%} "
        f"{f'after block {layer - 1}' if layer else 'at the embeddings'} "
        f"(blocks 0 to {result.correct.shape[2] - 2}); the words alone give "
        f"{result.floor.value:.0%}."
    )
    if gain.low is not None and gain.low > 0:
        return [said, "The network adds information that the words alone do not give."]
    return [said, "That this is more than the words give away is not shown: it may be chance."]
