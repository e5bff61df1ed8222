"""Debatable questions: what perspectives an answer holds, and if it says that people differ."""
