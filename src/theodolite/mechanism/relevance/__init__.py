"""Whose doing a direction of the stream is: token by token, or earlier direction by direction."""

from theodolite.mechanism.relevance.relevance import BACKENDS, relevance
from theodolite.mechanism.relevance.result import PromptTokens, Relevance

__all__ = ["BACKENDS", "PromptTokens", "Relevance", "relevance"]
