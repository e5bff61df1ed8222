"""Triggers: how much of a refusal hangs on the style of a request, or on a few of its words."""

from theodolite.mechanism.triggers.weakness import StyleWeakness, style_weakness

__all__ = ["StyleWeakness", "style_weakness"]
