"""Greedy choice and sampling, the same for a row whatever batch it stands in.

Sampling halves the vocabulary again and again, with a random number of the row's own for each
choice of a half. Batch size, order and neighbours change a half's share by a rounding, and so
hardly ever a token. Inverting the cumulative distribution at one number would not do: there a
rounding moves all the unlikely tokens together, and about one token in a hundred is another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from theodolite.errors import ConfigError

# Tokens looked at first for the nucleus; a flat distribution needs the full sort.
_NUCLEUS = 512
# Halvings of a vocabulary, so that it may have a million tokens.
LEVELS = 20


@dataclass(frozen=True)
class DecodingRule:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the most likely token; otherwise logits are divided by it.
        top_k: only the k most likely tokens; 0 keeps all.
        top_p: only the fewest most likely tokens whose probability reaches it; 1 keeps all.

    Raises:
        ConfigError: a value is out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature}.", fix="Use 0 or more.")
        if self.top_k < 0:
            raise ConfigError(f"top_k is {self.top_k}.", fix="Use 0 (off) or more.")
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"top_p is {self.top_p}.", fix="Use more than 0 and at most 1.")

    @property
    def greedy(self) -> bool:
        """Whether no random number is needed."""
        return self.temperature == 0.0 or self.top_k == 1

    def choose(self, logits: torch.Tensor, uniform: torch.Tensor | None) -> torch.Tensor:
        """Return the next token of each row.

        Args:
            logits: axes (row, vocab).
            uniform: numbers in [0, 1), axes (row, LEVELS); None where `greedy`.

        Returns: long, axes (row).
        """
        if self.greedy or uniform is None:
            return logits.argmax(dim=-1)
        logits = logits.float()
        # The largest is 0 first, so that no temperature is too low to divide by.
        logits = (logits - logits.amax(dim=-1, keepdim=True)) / self.temperature
        if 0 < self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p < 1.0:
            logits = _nucleus(logits, self.top_p)
        return _descend(logits.double().softmax(dim=-1), uniform)


def uniforms(seed: int, count: int) -> torch.Tensor:
    """Return one row's random numbers in [0, 1), float64, axes (step, LEVELS)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, LEVELS, generator=generator, dtype=torch.float64)


def _descend(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Return a token of each row, drawn half by half; probabilities have axes (row, vocab)."""
    size = probabilities.shape[-1]
    below = torch.nn.functional.pad(probabilities.cumsum(dim=-1), (1, 0))
    start = torch.zeros_like(below[:, :1], dtype=torch.long)
    uniform = uniform.to(probabilities)
    for level in range((size - 1).bit_length()):
        half = 1 << ((size - 1).bit_length() - 1 - level)
        before = below.gather(-1, start)
        left = below.gather(-1, (start + half).clamp(max=size)) - before
        both = below.gather(-1, (start + 2 * half).clamp(max=size)) - before
        right = (uniform[:, level, None] * both >= left) & (left < both)
        start = start + half * right
    return start[:, 0]


def _nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Mask all but the fewest most likely tokens whose probability reaches `top_p`."""
    total = logits.logsumexp(dim=-1, keepdim=True)
    count = min(_NUCLEUS, logits.shape[-1])
    while True:
        likely = logits.topk(count, dim=-1).values
        before = (likely - total).exp().double().cumsum(dim=-1)
        if count == logits.shape[-1] or bool((before[:, -1] >= top_p).all()):
            break
        count = logits.shape[-1]
    # The first token whose cumulative probability reaches top_p is the last one kept.
    last = (before < top_p).sum(dim=-1, keepdim=True).clamp(max=count - 1)
    return logits.masked_fill(logits < likely.gather(-1, last), -torch.inf)
