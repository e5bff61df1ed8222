"""Which model another one was trained from, where that is known."""

from __future__ import annotations

from pathlib import Path

from theodolite.errors import ConfigError
from theodolite.models.bundled import BUNDLED
from theodolite.models.pair import ModelPair, open_pair
from theodolite.text.display import escape


def known_base(model: str, *, base: str | None = None, adapter: str | None = None) -> str | None:
    """Return the reference of the model before training, or None where nobody said.

    Args:
        model: the model after training; with an adapter, the model it is put on.
        base: what the user said it was trained from.
        adapter: folder of an adapter.

    Returns: `base`; else the model without its adapter; else what a bundled model consists of.
    """
    if base is not None:
        return base
    if adapter is not None:
        return model
    bundled = BUNDLED.get(model)
    return bundled.base or None if bundled is not None else None


def open_known_pair(
    model: str,
    *,
    base: str | None = None,
    adapter: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    revision: str | None = None,
) -> ModelPair:
    """Open a model beside the one it was trained from.

    Args:
        model, base, adapter: as for `known_base`; a model may also be an adapter's folder.
        dtype, device: as for `open_model`.
        revision: of the model that an adapter is put on.

    Raises:
        ConfigError: it is not known what the model was trained from.
        ModelError, DataError, CapabilityError: as for `open_pair`.
    """
    first = known_base(model, base=base, adapter=adapter)
    if first is None:
        folder = (Path(model).expanduser() / "adapter_config.json").is_file()
        raise ConfigError(
            f"It is not known what {escape(model, 120)} was trained from.",
            fix=f"Name it with --base{', the model that this adapter is put on' * folder}.",
        )
    if adapter is not None and first == model:
        return open_pair(model, adapter=adapter, dtype=dtype, device=device, revision=revision)
    if adapter is not None:
        raise ConfigError(
            f"--base {escape(first, 120)} and an adapter on {escape(model, 120)} were given.",
            fix="Leave --base out: an adapter is set against the model it is put on.",
        )
    return open_pair(first, model, dtype=dtype, device=device)
