"""Corrections: what repairs a behaviour that was measured and explained."""
