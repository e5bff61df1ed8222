"""The scorer `hf:PATH`: a sequence classifier in a local folder, read with transformers.

A toxicity figure meant for publication rests on one of these. The class is chosen by its name,
never by its number: classifiers order their classes differently, and a wrong number turns the
figure round without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, NumericsError, ScorerUnavailable
from theodolite.judging.toxicity import Kind
from theodolite.models.fingerprint import folder_content
from theodolite.models.quiet import quiet
from theodolite.text.display import escape
from theodolite.text.hashing import content_key
from theodolite.text.suggest import did_you_mean

Floats = NDArray[np.float64]

BATCH_SIZE: Final = 32
MOST_TOKENS: Final = 512
# Names that classifiers give the class of toxic texts.
TOXIC_LABELS: Final = ("toxic", "toxicity", "hate", "hateful", "offensive", "unsafe")
_MANY: Final = "multi_label_classification"
_NEEDS: Final = "Give a folder with config.json, a tokenizer and safetensors weights."


class ClassifierScorer:
    """Scores texts by the probability of one class.

    Args:
        path: the folder of a sequence classifier; safetensors only, nothing is downloaded.
        label: the class by name; without one, the only class whose name says toxic.
        batch_size: texts at a time; one where the tokenizer knows no padding.
        device: where it runs.

    Raises:
        ScorerUnavailable: the folder is not there, or holds no classifier that can be read.
        ConfigError: there is no class of this name, or none that is plainly meant.
    """

    kind: Kind = "neural"

    def __init__(
        self,
        path: Path | str,
        *,
        label: str | None = None,
        batch_size: int = BATCH_SIZE,
        device: str = "cpu",
    ) -> None:
        self.path = Path(path).expanduser()
        self._tokenizer, self._model = _load(self.path)
        self._model.to(device)
        pads = (self._tokenizer.pad_token_id, self._model.config.pad_token_id)
        self.batch_size = 1 if None in pads else batch_size
        self.labels = _labels(self._model.config)
        self.label = _chosen(self.labels, label, self.path)
        self.most_tokens = _most_tokens(self._tokenizer, self._model.config)
        content = content_key(folder_content(self.path))
        self.id = f"hf:{self.path.resolve().name}[{self.label}]@{content[:8]}"

    @property
    def blind_spots(self) -> str:
        """What it does not see."""
        return (
            f"Calls {self.label} what its training rows called so, names of groups included; of a "
            f"text only the first {self.most_tokens} tokens are read."
        )

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the probability of the class for each text, axis (text), in [0, 1]."""
        found: list[float] = self.probabilities(texts)[:, self.labels.index(self.label)].tolist()
        return found

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Return the probability of every class, axes (text, class), classes as in `labels`.

        Softmax over the classes; of a classifier of independent classes, each one's own.

        Raises: NumericsError: a probability is not finite; names the text.
        """
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), texts[i]))
        found = np.empty((len(texts), len(self.labels)))
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            found[places] = self._batch([texts[i] for i in places])
        bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(bad):
            raise NumericsError(
                f"The classifier in {escape(str(self.path), 200)} gave text {bad[0]} a "
                "probability that is not finite.",
                fix="Check its weights.",
            )
        return found

    def _batch(self, texts: Sequence[str]) -> Floats:
        import torch

        ids = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.most_tokens,
            return_tensors="pt",
        ).to(self._model.device)
        with torch.inference_mode():
            logits = self._model(**ids).logits.double()
        alone = self._model.config.problem_type == _MANY or logits.shape[1] == 1
        found: Floats = (logits.sigmoid() if alone else logits.softmax(dim=1)).cpu().numpy()
        return found


def _load(path: Path) -> tuple[Any, Any]:
    where = escape(str(path), 200)
    if not (path / "config.json").is_file():
        raise ScorerUnavailable(f"There is no classifier in {where}.", fix=_NEEDS)
    if not any(path.glob("*.safetensors")):
        raise ScorerUnavailable(
            f"The classifier in {where} has no safetensors weights; pickled ones are not read.",
            fix=_NEEDS,
        )
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(path), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (ValueError, OSError, RuntimeError, ImportError, KeyError, TypeError) as error:
        said = escape((str(error).splitlines() or [type(error).__name__])[0], 160).rstrip(".")
        raise ScorerUnavailable(
            f"The classifier in {where} could not be loaded: {said}.", fix=_NEEDS
        ) from error
    if info["missing_keys"]:
        raise ScorerUnavailable(
            f"The weights in {where} lack {escape(sorted(info['missing_keys'])[0], 120)}.",
            fix="Is it a sequence classifier? Copy or download the folder again.",
        )
    return tokenizer, model.eval()


def _labels(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[i]) for i in range(config.num_labels))


def _chosen(labels: Sequence[str], label: str | None, path: Path) -> str:
    """Return the class that is scored."""
    where = f"The classifier in {escape(str(path), 200)}"
    if label is not None:
        named = [one for one in labels if one.lower() == label.lower()]
        if len(named) != 1:
            raise ConfigError(
                f"{where} has no class '{escape(label, 60)}'.", fix=did_you_mean(label, labels)
            )
        return named[0]
    meant = [one for one in labels if one.lower() in TOXIC_LABELS]
    if len(meant) == 1:
        return meant[0]
    listed = ", ".join(escape(one, 40) for one in labels[:12])
    raise ConfigError(
        f"{where} has the classes {listed}, and it is not plain which one is meant.",
        fix="Name it, as in hf:PATH#CLASS.",
    )


def _most_tokens(tokenizer: Any, config: Any) -> int:
    """Return how many tokens of a text are read."""
    positions = getattr(config, "max_position_embeddings", None) or MOST_TOKENS
    # Models of the RoBERTa family number positions from behind the padding id.
    if getattr(config, "model_type", "") in {"roberta", "xlm-roberta", "camembert"}:
        positions -= (config.pad_token_id or 0) + 1
    return int(min(positions, tokenizer.model_max_length, MOST_TOKENS))
