"""Checking worked solutions: is it right, which step is wrong first, and why."""
