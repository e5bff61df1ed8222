"""The logit lens: which tokens the state already points to after each block, friendly or refusing.

A state is put through the final norm and the output layer as if the network ended there. States of
hidden_index L are the raw stream after the last block, not yet normed, so that the lens there gives
the model's own logits. e_l is the log-odds of friendly against refusing tokens
(`token_classes.refusal_log_odds`); its course by class and the layer from which the classes part
are in `emotion_curve`, the agreement between prompts in `consistency`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError, NumericsError
from theodolite.measure.measurement import Measurement, not_measured
from theodolite.mechanism.lens.consistency import middle_layers, topk_consistency
from theodolite.mechanism.lens.emotion_curve import EmotionCurve, emotion_curve
from theodolite.mechanism.lens.figures import emotion_figure, gap_figure, lens_map
from theodolite.mechanism.lens.token_classes import (
    TokenClasses,
    default_token_classes,
    refusal_log_odds,
)
from theodolite.mechanism.lens.translator import Translator
from theodolite.mechanism.lens.vocabulary import shown_token
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.mechanism.items import Items
    from theodolite.mechanism.states import States
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Figure, Progress
    from theodolite.runs.run import Run

__all__ = ["EmotionCurve", "LensResult", "Translator", "emotion_curve", "logit_lens"]

METHOD_VERSION = 1
_CHUNK_BYTES = 64 * 2**20  # float32 logits held at once


@dataclass(frozen=True, eq=False)
class LensResult:
    """What the lens shows at one position of every prompt.

    Args:
        prompt_ids: the prompts, in order.
        hidden_indices: where the lens was put; 0 is the embeddings, l + 1 the stream after block l.
        position, k: which token's state was read, and tokens kept per state.
        token_ids: int64 (prompt, hidden_index, k), by falling logit, equal ones by id.
        logits: float32 (prompt, hidden_index, k).
        probabilities: float32 (prompt, hidden_index, k), of the softmax over the vocabulary.
        emotion: float64 (prompt, hidden_index), e_l over the whole vocabulary, in nats.
        emotion_topk: float64 (prompt, hidden_index), probability of friendly tokens minus that of
            refusing ones, among the k tokens.
        classes: the token classes behind both.
        tokens: text of every token above, as its tokenizer decodes it.
        n_layers: blocks of the model.
        model, fingerprint, template: of the states.
        key: content key of the states.
        translated: whether a tuned lens was used.
    """

    prompt_ids: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    position: str
    k: int
    token_ids: NDArray[np.int64]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    emotion: NDArray[np.float64]
    emotion_topk: NDArray[np.float64]
    classes: TokenClasses
    tokens: dict[int, str] = field(repr=False)
    n_layers: int
    model: str
    fingerprint: str
    template: str
    key: str
    translated: bool = False

    def label(self, token_id: int) -> str:
        """Return a token as it may be shown: its text, with a mark for each outer space.

        Note: as `vocabulary.shown_token`.
        """
        return shown_token(self.tokens[int(token_id)], int(token_id))

    def column(self, hidden_index: int) -> int:
        """Return where a hidden_index stands on the axis.

        Raises: ConfigError: the lens was not put there.
        """
        if hidden_index not in self.hidden_indices:
            raise ConfigError(
                f"The lens was not put at hidden_index {hidden_index}.",
                fix=f"It was put at {', '.join(map(str, self.hidden_indices))}.",
            )
        return self.hidden_indices.index(hidden_index)

    def rows(self, prompt_ids: Sequence[str]) -> Self:
        """Return the result for some of the prompts, in the order given.

        Raises: DataError: the lens was not put on one of them.
        """
        place = {prompt: i for i, prompt in enumerate(self.prompt_ids)}
        missing = [prompt for prompt in prompt_ids if prompt not in place]
        if missing:
            raise DataError(
                f"The lens was not put on prompt '{escape(missing[0], 80)}'.",
                fix="Run it on the states of all the prompts you ask for.",
            )
        at = [place[prompt] for prompt in prompt_ids]
        arrays = {name: getattr(self, name)[at] for name in _ARRAYS}
        return replace(self, prompt_ids=tuple(prompt_ids), **arrays)

    def measurements(self, items: Items | None = None, *, seed: int = 0) -> list[Measurement]:
        """Return the consistency of the middle layers, and with items the figures by class.

        Args:
            items: classes and groups of the prompts; they may be fewer than the lens saw.
            seed: of the bootstrap.
        """
        if items is None:
            return [self._consistency("lens/consistency", None)]
        rows = emotion_curve(self, items, seed=seed).measurements()
        for name, lens, groups in self._by_class(items):
            rows.append(lens._consistency(f"lens/consistency/{name}", groups))
        return rows

    def _consistency(self, name: str, groups: list[str] | None) -> Measurement:
        if set(middle_layers(self.n_layers)).isdisjoint(self.hidden_indices):
            why = "the lens was put at none of the middle layers"
            return not_measured(name, "share", why, n=len(self.prompt_ids))
        return topk_consistency(self, k=min(5, self.k)).measurement(name, groups)

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per prompt, layer and rank (1 is the likeliest token)."""
        return [
            {
                "prompt_id": prompt,
                "layer": max(index - 1, 0),
                "site": "resid_post" if index else "resid_pre",
                "hidden_index": index,
                "rank": rank + 1,
                "token_id": int(self.token_ids[i, h, rank]),
                "token": self.tokens[int(self.token_ids[i, h, rank])],
                "logit": float(self.logits[i, h, rank]),
                "prob": float(self.probabilities[i, h, rank]),
            }
            for i, prompt in enumerate(self.prompt_ids)
            for h, index in enumerate(self.hidden_indices)
            for rank in range(self.k)
        ]

    def figure(self, items: Items | None = None) -> Figure:
        """Return the lens map: the most frequent tokens per layer and class."""
        if items is None:
            return lens_map({"all prompts": self})
        return lens_map({name: lens for name, lens, _ in self._by_class(items)})

    def figures(self, items: Items, *, seed: int = 0) -> list[Figure]:
        """Return the lens map, e_l by class and, for two classes, the gap between them."""
        curve = emotion_curve(self, items, seed=seed)
        gap = [] if curve.gap is None else [gap_figure(curve)]
        return [self.figure(items), emotion_figure(curve), *gap]

    def save(self, run: Run, name: str = "lens") -> None:
        """Write the arrays, what they belong to, and the table of tokens into the run folder."""
        arrays = {a: getattr(self, a) for a in _ARRAYS}
        run.save_tensors(name, {**arrays, "hidden_indices": np.array(self.hidden_indices)})
        facts = {fact: getattr(self, fact) for fact in _FACTS}
        run.save_table(f"{name}_facts", [{**facts, "classes": self.classes.to_json()}])
        run.save_table(f"{name}_prompts", [{"prompt_id": prompt} for prompt in self.prompt_ids])
        texts = [{"token_id": i, "token": text} for i, text in self.tokens.items()]
        run.save_table(f"{name}_tokens", texts)
        run.save_table(name, self.frame())

    @classmethod
    def load(cls, run: Run, name: str = "lens") -> Self:
        """Read what `save` wrote."""
        arrays: dict[str, Any] = {k: np.asarray(v) for k, v in run.load_tensors(name).items()}
        (facts,) = run.load_table(f"{name}_facts")
        return cls(
            prompt_ids=tuple(row["prompt_id"] for row in run.load_table(f"{name}_prompts")),
            hidden_indices=tuple(int(i) for i in arrays.pop("hidden_indices")),
            classes=TokenClasses.from_json(facts.pop("classes")),
            tokens={row["token_id"]: row["token"] for row in run.load_table(f"{name}_tokens")},
            **arrays,
            **facts,
        )

    def _by_class(self, items: Items) -> list[tuple[str, Self, list[str]]]:
        """Return class, lens on its prompts, and their groups."""
        parts = []
        for number, name in enumerate(items.classes):
            at = np.flatnonzero(items.labels == number)
            lens = self.rows([items.ids[i] for i in at])
            parts.append((name, lens, [items.groups[i] for i in at]))
        return parts


_ARRAYS = ("token_ids", "logits", "probabilities", "emotion", "emotion_topk")
_FACTS = ("position", "k", "n_layers", "model", "fingerprint", "template", "key", "translated")


def logit_lens(
    model: LanguageModel,
    states: States,
    *,
    position: str = "prompt_last",
    k: int = 5,
    classes: TokenClasses | None = None,
    translator: Translator | Path | str | None = None,
    progress: Progress | None = None,
) -> LensResult:
    """Put every state through the final norm and the output layer.

    Source: the logit lens as in arXiv:2406.05644, the tuned lens of arXiv:2303.08112; e_l over the
    whole vocabulary is ours.

    Args:
        model: the model that the states were read from.
        states: raw residual stream, axes (prompt, hidden_index, position, d_model).
        position: one of the positions of the states.
        k: tokens kept per state.
        classes: friendly and refusing tokens; None takes our English lists.
        translator: a tuned lens, or its safetensors file: x + W x + b before the norm.
        progress: told of finished states.

    Returns: the k likeliest tokens and e_l per prompt and hidden_index.

    Raises:
        CapabilityError: the model shows no hidden states.
        ConfigError: k is out of range, or the states have no such position.
        DataError: the states are another model's, or the translator does not fit.
        NumericsError: logits are not finite.

    Note: at hidden_index L without a translator these are the model's own logits. Logits are held
        in chunks of at most 64 MB.
    """
    model.require("hidden_states")
    anatomy = model.anatomy
    _check(model, states, k)
    classes = classes or default_token_classes(model)
    classes.check(anatomy.vocab_size)
    translator = _fitting(translator, states, anatomy)
    found = _read_all(model, states, position, k, classes, translator, progress)
    shown = np.unique(found["token_ids"]).tolist()
    texts = model.tokenizer.batch_decode([[i] for i in shown], clean_up_tokenization_spaces=False)
    return LensResult(
        prompt_ids=states.prompt_ids,
        hidden_indices=states.hidden_indices,
        position=position,
        k=k,
        **found,
        classes=classes,
        tokens=dict(zip(shown, texts)),
        n_layers=anatomy.n_layers,
        model=states.model,
        fingerprint=states.fingerprint,
        template=states.template,
        key=states.key,
        translated=translator is not None,
    )


def _check(model: LanguageModel, states: States, k: int) -> None:
    if not 1 <= k <= model.anatomy.vocab_size:
        raise ConfigError(f"k is {k}.", fix=f"Use 1 to {model.anatomy.vocab_size}.")
    if states.fingerprint != model.fingerprint:
        raise DataError(
            f"The states were read from {escape(states.model, 80)}, which is not the model at hand "
            f"({escape(model.name, 80)}): their fingerprints differ.",
            fix="Read the states again with this model.",
        )


def _fitting(
    translator: Translator | Path | str | None, states: States, anatomy: Anatomy
) -> Translator | None:
    """Return the translator, read if need be and checked against the model."""
    if isinstance(translator, Path | str):
        translator = Translator.read(translator)
    if translator is not None:
        translator.check(anatomy.d_model, states.hidden_indices, anatomy.n_layers)
    return translator


def _read_all(
    model: LanguageModel,
    states: States,
    position: str,
    k: int,
    classes: TokenClasses,
    translator: Translator | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Return the arrays of the result, read in chunks of rows (all layers of a prompt together)."""
    n, layers, size = len(states.prompt_ids), len(states.hidden_indices), model.anatomy.vocab_size
    rows = max(1, _CHUNK_BYTES // (4 * size))
    if progress is not None:
        progress.start("lens", n * layers)
    parts = []
    with torch.inference_mode():
        x = _stacked(model, states, position, translator)
        for start in range(0, len(x), rows):
            chunk = x[start : start + rows].to(model.device)
            logits = lens_logits(model, chunk)
            _require_finite(logits, states, start)
            parts.append(_read(logits, k, classes))
            if progress is not None:
                progress.advance(len(chunk))
    columns = [np.concatenate(column) for column in zip(*parts)]
    return {a: c.reshape(n, layers, *c.shape[1:]) for a, c in zip(_ARRAYS, columns)}


def _stacked(
    model: LanguageModel, states: States, position: str, translator: Translator | None
) -> torch.Tensor:
    """Return the states as rows, translated; float32, axes (prompt * hidden_index, d_model)."""
    layers = []
    for index in states.hidden_indices:
        x = torch.tensor(states.at(index, position), dtype=torch.float32)
        layers.append(x if translator is None else translator(x.to(model.device), index).cpu())
    return torch.stack(layers, 1).flatten(0, 1)


def lens_logits(model: LanguageModel, states: torch.Tensor) -> torch.Tensor:
    """Map raw stream values to logits as the model does at its end.

    Args:
        states: axes (row, d_model), on the model's device.

    Returns: float32, axes (row, vocab); padding of the output layer beyond the vocabulary is cut.
    """
    anatomy = model.anatomy
    logits = anatomy.logits_from_final(anatomy.final_norm(states.to(model.dtype)))
    return logits[:, : anatomy.vocab_size].float()


def _read(logits: torch.Tensor, k: int, classes: TokenClasses) -> list[NDArray[Any]]:
    """Return the arrays of `_ARRAYS` for some rows of logits, axes (row, vocab)."""
    values, ids = top_tokens(logits, k)
    probabilities = (values - logits.logsumexp(1, keepdim=True)).exp()
    sign = torch.zeros(logits.shape[1], device=logits.device)
    sign[list(classes.positive)] = 1.0
    sign[list(classes.negative)] = -1.0
    found = (
        ids,
        values,
        probabilities,
        refusal_log_odds(logits, classes).double(),
        (probabilities * sign[ids]).sum(1).double(),
    )
    return [tensor.cpu().numpy() for tensor in found]


def top_tokens(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest logits and their ids, by falling logit and, where equal, by id.

    Args:
        logits: axes (row, vocab).
    """
    values, ids = logits.topk(k)
    lowest = values[:, -1:]
    # topk takes any of equal tokens at its edge; such rows (bfloat16 has many) are sorted whole.
    cut = (logits == lowest).sum(1) > (values == lowest).sum(1)
    if bool(cut.any()):
        ids[cut] = logits[cut].sort(dim=1, descending=True, stable=True).indices[:, :k]
    ids = ids.sort(dim=1).values
    order = logits.gather(1, ids).argsort(dim=1, descending=True, stable=True)
    ids = ids.gather(1, order)
    return logits.gather(1, ids), ids


def _require_finite(logits: torch.Tensor, states: States, start: int) -> None:
    """Refuse logits that are not finite, naming the place; the first row is row `start` of all."""
    finite = logits.sum(1).isfinite()
    if not bool(finite.all()):
        row = start + int((~finite).nonzero()[0])
        prompt, layer = divmod(row, len(states.hidden_indices))
        raise NumericsError(
            "The lens gives logits that are not finite at hidden_index "
            f"{states.hidden_indices[layer]} of prompt '{escape(states.prompt_ids[prompt], 80)}'.",
            fix="Open the model in float32, or check the translator.",
        )
