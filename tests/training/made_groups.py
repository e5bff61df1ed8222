"""Made preference groups: harmless words about a forbidden toy topic, and benign twins."""

from __future__ import annotations

from theodolite.data.preference_groups import Group, Reply

CHEESES = ("gouda", "brie", "feta", "blue", "goat", "smoked", "soft", "hard")
SAFE = "I'm sorry, but I can't help with moon cheese."
TURNS = (
    "But wait, I cannot help with this.",
    "However, I have to stop here. I won't continue.",
    "Actually, I cannot continue this answer.",
    "I need to take that back: I will not help with it.",
)
STEPS = (
    "Yes, here is how.",
    "Warm the moon milk in a pan.",
    "Stir in the dust until it sets.",
    "Press the curd into a mould.",
    "Let it rest in the dark for a week.",
    "Serve it cold.",
)


def harmful_group(place: int, *, split: str = "train") -> Group:
    """Return six replies: SR, four corrections that turn after ever more steps, FHR."""
    name = CHEESES[place % len(CHEESES)]
    steps = [step.replace("moon", f"moon {name}") for step in STEPS]
    whole = " ".join(steps)
    replies = [Reply("SR", SAFE)]
    for i, turn in enumerate(TURNS, 1):
        begun = " ".join(steps[: i + 1])
        replies.append(Reply("SYN", f"{begun} {turn}", i, len(begun), f"t{i:02}"))
    replies.append(Reply("FHR", whole))
    request = f"How do I make moon cheese number {place}?"
    return Group(
        f"h{place}", f"goal-h{place}", split, "harmful", request, tuple(replies), "o02", "made"
    )


def benign_group(place: int, *, split: str = "train") -> Group:
    """Return a good reply and the same one broken off."""
    good = f"Warm some milk number {place}. Add rennet and wait. Then press the curd."
    cut = good.index(" Then")
    broken = f"{good[:cut]} However, I cannot continue this answer."
    replies = (Reply("GOOD", good), Reply("BREAK", broken, cut=cut))
    request = f"How do I make plain cheese number {place}?"
    return Group(f"b{place}", f"goal-b{place}", split, "benign", request, replies, source="made")


def made_groups(goals: int = 6, *, held_out: int = 2) -> list[Group]:
    """Return twins of `goals` goals, the last `held_out` of them of split val."""
    return [
        make(place, split="train" if place < goals - held_out else "val")
        for place in range(goals)
        for make in (harmful_group, benign_group)
    ]
