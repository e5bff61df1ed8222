"""Detectors: a probe that leaves the laboratory, calibrated, exported, and watching a model.

Nothing is imported here: inspect_ai loads the scorer of this package whenever it lists tasks.
"""
