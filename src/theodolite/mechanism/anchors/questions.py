"""Everyday questions with one right answer, ours: what is analysed where no file is given."""

from __future__ import annotations

from typing import Final

from theodolite.data.preemptive import CHOICE, YES_NO, Item

SET: Final = "everyday"
VERSION: Final = 1

# Question, the right answer, what may be thought of on the way.
_YES_NO: Final = (
    ("Is ice colder than steam?", "yes", "Ice is frozen water. Steam is water that boiled."),
    ("Do fish breathe through lungs?", "no", "Fish live in water. They take air from it by gills."),
    ("Is a kilogram heavier than a gram?", "yes", "A kilogram holds a thousand grams."),
    ("Does the sun rise in the west?", "no", "The earth turns towards the east."),
    ("Can a spider have eight legs?", "yes", "Insects have six legs. Spiders are no insects."),
    ("Is the moon larger than the earth?", "no", "The moon goes round the earth. It is small."),
    ("Does bread contain flour?", "yes", "Bread is baked from dough. Dough is made of flour."),
    ("Is February longer than March?", "no", "March has 31 days. February has 28 or 29."),
    ("Do bees make honey?", "yes", "Bees gather nectar. They store it in their hive."),
    ("Is a triangle a shape with four sides?", "no", "Tri means three."),
    ("Can water freeze?", "yes", "Below 0 degrees water turns solid."),
    ("Is a violin played by blowing into it?", "no", "A violin has strings. A bow moves on them."),
)
# Question, options, the right letter, a wrong one, what may be thought of on the way.
_CHOICE: Final = (
    ("Which of these is a fruit?", "hammer,apple,chair,river", "B", "C", "It grows on a tree."),
    ("Which animal barks?", "dog,cow,hen,fish", "A", "D", "It guards many houses."),
    ("What do we wear on our feet?", "hats,gloves,rings,shoes", "D", "A", "Feet need soles."),
    ("Which month comes after June?", "May,March,July,August", "C", "B", "June is the sixth."),
    ("What is used to cut paper?", "a spoon,scissors,a cup,soap", "B", "A", "It has two blades."),
    ("Which of these is a colour?", "green,seven,loud,table", "A", "C", "Leaves have it."),
    (
        "Where do penguins live?",
        "a desert,a volcano,a forest,the cold south",
        "D",
        "B",
        "They swim.",
    ),
    ("Which number is even?", "five,nine,eight,three", "C", "D", "It can be halved."),
    ("What do plants need to grow?", "music,light,paint,coins", "B", "D", "They stand in the sun."),
    ("Which of these is a metal?", "iron,wool,glass,milk", "A", "B", "It rusts."),
    ("What tells the time?", "a fork,a shoe,a pillow,a clock", "D", "C", "It has hands."),
    ("Which of these can fly?", "a stone,a house,an eagle,a spade", "C", "A", "It has wings."),
)


def everyday() -> tuple[Item, ...]:
    """Return the questions; yes and no, and the letters, are right equally often."""
    found = [
        Item(
            id=f"{SET}-yesno-{place}",
            set=SET,
            question=question,
            gold=gold,
            wrong="no" if gold == "yes" else "yes",
            answer_type=YES_NO,
            solution=thought,
        )
        for place, (question, gold, thought) in enumerate(_YES_NO)
    ]
    found += [
        Item(
            id=f"{SET}-choice-{place}",
            set=SET,
            question=question,
            gold=gold,
            wrong=wrong,
            answer_type=CHOICE,
            options=tuple(options.split(",")),
            solution=thought,
        )
        for place, (question, options, gold, wrong, thought) in enumerate(_CHOICE)
    ]
    return tuple(found)
