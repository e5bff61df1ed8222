"""Small items of every type, made up for the tests."""

from __future__ import annotations

from theodolite.data.preemptive import Item

NUMBER = Item("gsm8k-x", "gsm8k", "What is 2 + 2?", "4", "10", "number", solution="2 + 2 = 4")
CHOICE = Item("mathqa-x", "mathqa", "Which is even?", "B", "C", "choice", ("1", "2", "3", "5", "7"))
YES_NO = Item("strategyqa-x", "strategyqa", "Is ice cold?", "yes", "no", "yesno")
LATEX = Item("math-x", "math", "What is half?", r"\frac{1}{2}", "2", "latex")
WORDS = Item("hotpotqa-x", "hotpotqa", "Who wrote it?", "Ada Byron", "mary poe.", "text")
OTHER_WORDS = Item("hotpotqa-y", "hotpotqa", "Who sang it?", "Lena Moe", "tom roe", "text")
ALL = (NUMBER, CHOICE, YES_NO, LATEX, WORDS)
