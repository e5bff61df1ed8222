"""Edits along directions as measurements: what they do to refusal, and what they cost elsewhere.

Every edit lives inside one context and is gone when it ends. Nothing here writes weights to disk.
"""
