"""Loops: measure, correct, and measure the same again."""
