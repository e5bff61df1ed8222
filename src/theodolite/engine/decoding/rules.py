"""Greedy choice and sampling, the same for a row whatever batch it stands in.

Sampling inverts the cumulative distribution at one uniform number per row and step. The numbers
come from the row's own generator and tokens are summed in vocabulary order, so batch size, order
and neighbours change nothing but rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from theodolite.errors import ConfigError

# Tokens looked at first for the nucleus; a flat distribution needs the full sort.
_NUCLEUS = 512


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
            uniform: one number in [0, 1) per row, axes (row); None where `greedy`.

        Returns: long, axes (row).
        """
        if self.greedy or uniform is None:
            return logits.argmax(dim=-1)
        logits = logits.float() / self.temperature
        if 0 < self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p < 1.0:
            logits = _nucleus(logits, self.top_p)
        mass = logits.double().softmax(dim=-1).cumsum(dim=-1)
        wanted = uniform.to(mass)[:, None] * mass[:, -1:]
        chosen = torch.searchsorted(mass, wanted, right=True)[:, 0]
        return chosen.clamp(max=logits.shape[-1] - 1)


def uniforms(seed: int, count: int) -> torch.Tensor:
    """Return one row's random numbers in [0, 1), float64, axes (step)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator, dtype=torch.float64)


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
