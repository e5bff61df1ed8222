"""Three worked examples per set, ours; the tests recompute what they claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from theodolite.behaviour.preemptive_answers.prompts import TAG
from theodolite.data.preemptive import SETS, Item, set_named


@dataclass(frozen=True)
class Example:
    """A worked problem.

    Args:
        problem: as a model is asked.
        steps: the way to the answer; a calculation stands as `a + b = c` in plain numbers.
        answer: what stands behind the tag.
        options: of a choice, in order.
    """

    problem: str
    steps: str
    answer: str
    options: tuple[str, ...] = ()

    @property
    def block(self) -> str:
        """The example as it is shown."""
        lettered = [f"{letter}) {text}" for letter, text in zip("ABCDE", self.options)]
        asked = "\n".join([f"Problem: {self.problem}", *lettered])
        return f"{asked}\nSolution: {self.steps}\n{TAG} {self.answer}"


EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    "gsm8k": (
        Example(
            "A baker fills 6 trays with 14 rolls each and sells 59 rolls. How many are left?",
            "There are 6 * 14 = 84 rolls. After the sale 84 - 59 = 25 rolls are left.",
            "25",
        ),
        Example(
            "A bus ticket costs 3 euros and a museum ticket 8 euros. What do 5 friends pay who "
            "each buy both?",
            "One friend pays 3 + 8 = 11 euros. All of them pay 5 * 11 = 55 euros.",
            "55",
        ),
        Example(
            "Nils reads 18 pages a day. His book has 270 pages, and he has read 90. How many more "
            "days does he need?",
            "He still has 270 - 90 = 180 pages. At his speed that takes 180 / 18 = 10 days.",
            "10",
        ),
    ),
    "mathqa": (
        Example(
            "A coat of 80 dollars is sold at 25 % off. What does it cost?",
            "The discount is 80 * 25 / 100 = 20 dollars. The price is 80 - 20 = 60 dollars.",
            "C",
            ("20", "55", "60", "65", "75"),
        ),
        Example(
            "A train covers 150 km in 2.5 hours. What is its speed in km per hour?",
            "The speed is 150 / 2.5 = 60 km per hour.",
            "A",
            ("60", "62.5", "75", "125", "375"),
        ),
        Example(
            "The sides of a rectangle are 9 m and 12 m. What is its perimeter in metres?",
            "Two sides together are 9 + 12 = 21 m. The perimeter is 2 * 21 = 42 m.",
            "E",
            ("21", "36", "38", "40", "42"),
        ),
    ),
    "math": (
        Example(
            "What is the sum of the first 20 positive integers?",
            "Pairs from both ends add up to 21, for 1 + 20 = 21. There are 20 / 2 = 10 pairs, so "
            "the sum is 10 * 21 = 210.",
            "210",
        ),
        Example(
            "Two fair dice are rolled. What is the probability that both show an even number?",
            "Each die has 3 even faces of 6. Of 6 * 6 = 36 outcomes 3 * 3 = 9 are even on both, "
            "which is one in 36 / 9 = 4.",
            r"\frac{1}{4}",
        ),
        Example(
            "A right triangle has legs 2 and 4. How long is its hypotenuse?",
            "By Pythagoras the square of the hypotenuse is 2 * 2 + 4 * 4 = 20. Since 4 * 5 = 20, "
            "its root is twice the root of 5.",
            r"2\sqrt{5}",
        ),
    ),
    "hotpotqa": (
        Example(
            "In which country does the longest river that flows through Vienna reach the sea?",
            "The longest river that flows through Vienna is the Danube. It reaches the Black Sea "
            "mostly through its delta in Romania.",
            "Romania",
        ),
        Example(
            "Do the inventor of dynamite and the author of Pippi Longstocking have the same "
            "nationality?",
            "Dynamite was invented by Alfred Nobel, a Swede. Pippi Longstocking is by Astrid "
            "Lindgren, a Swede too.",
            "yes",
        ),
        Example(
            "Who wrote the play on which the musical My Fair Lady is based?",
            "My Fair Lady is based on Pygmalion. Pygmalion is a play by George Bernard Shaw.",
            "George Bernard Shaw",
        ),
    ),
    "commonsenseqa": (
        Example(
            "Where would you keep milk so that it stays fresh?",
            "Milk stays fresh where it is cold. Of these places only the refrigerator is made to "
            "keep food cold.",
            "B",
            ("cupboard", "refrigerator", "window sill", "oven", "garden"),
        ),
        Example(
            "What do people open when it begins to rain?",
            "In rain people want to stay dry. An umbrella is opened for that.",
            "D",
            ("letter", "bottle", "drawer", "umbrella", "curtain"),
        ),
        Example(
            "Why might someone whisper in a library?",
            "In a library others read and want quiet. Whispering disturbs them less.",
            "A",
            ("not to disturb others", "to save paper", "to be fined", "to sing", "to feel warm"),
        ),
    ),
    "strategyqa": (
        Example(
            "Could a polar bear meet a penguin in the wild?",
            "Polar bears live in the Arctic. Wild penguins live almost only in the southern half "
            "of the world, so their paths do not cross.",
            "No",
        ),
        Example(
            "Is a leap year long enough for 52 full weeks?",
            "A leap year has 366 days. 52 weeks have 52 * 7 = 364 days, which is less.",
            "Yes",
        ),
        Example(
            "Would a grand piano fit into the overhead locker of an aeroplane?",
            "An overhead locker takes a small suitcase. A grand piano is more than a metre wide.",
            "No",
        ),
    ),
}


def examples_for(item: Item) -> str:
    """Return the set whose examples an item takes: its own, else one with answers of its type."""
    if item.set in EXAMPLES:
        return item.set
    return next(name for name in EXAMPLES if SETS[name][1] == item.answer_type)


def few_shot(name: str) -> str:
    """Return the block of worked examples of a set; raises ConfigError for an unknown set."""
    set_named(name)
    return "\n\n".join(example.block for example in EXAMPLES[name])
