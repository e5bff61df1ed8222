"""What a command asks of a model: which one, opened how, with which interventions in place."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from theodolite.models.handle import ApiModel, LanguageModel


@dataclass(frozen=True)
class ModelRequest:
    """The settings shared by every command that opens one model.

    Args:
        model: a model reference.
        interventions: a file of interventions that are active while the command runs.
    """

    model: str = "smollm2"
    seed: int = 0
    dtype: str = "auto"
    device: str | None = None
    revision: str | None = None
    adapter: str | None = None
    interventions: str | None = None


def open_requested(
    request: ModelRequest, active: ExitStack
) -> tuple[LanguageModel | ApiModel, dict[str, Path]]:
    """Open the model, its interventions in place until `active` ends; return it and input files."""
    from theodolite.models import open_model

    model = open_model(
        request.model,
        revision=request.revision,
        adapter=request.adapter,
        dtype=request.dtype,
        device=request.device,
    )
    if request.interventions is None:
        return model, {}
    model.require("interventions")
    from theodolite.engine import apply, load_interventions

    path = Path(request.interventions)
    active.enter_context(apply(model, *load_interventions(path, model)))
    return model, {"interventions": path}


def open_beside(ref: str, model: Any) -> LanguageModel:
    """Return a second local model; `model` itself where that is the same one and unchanged.

    Args:
        ref: a model reference.
        model: what is open already, of any kind; None for nothing.

    Raises:
        CapabilityError: the second model runs behind an API.
        ModelError: it cannot be opened.
    """
    from theodolite.models import open_model
    from theodolite.models.refs import parse_reference

    same = getattr(model, "ref", None) == ref and not getattr(model, "interventions", ())
    # The name tells of an adapter that the reference does not know.
    same = same and model.name == parse_reference(ref).name
    found = model if same else open_model(ref)
    found.require("logprobs")
    return cast("LanguageModel", found)


def identity_of(model: LanguageModel | ApiModel) -> dict[str, Any]:
    """Return what a run's manifest says of its model."""
    return {"name": model.name, "ref": model.ref, "fingerprint": model.fingerprint}
