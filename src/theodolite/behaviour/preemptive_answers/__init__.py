"""Answers given before the reasoning: how far they bend it, and what straightens it again."""
