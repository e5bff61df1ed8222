"""Hidden states of prompts: after every block, at the positions where requests are read.

One forward pass per prompt, no further than the last wanted layer, and nothing kept but the wanted
positions. The reading checks itself: where a family feeds bare token embeddings into its first
block, `hidden_index` 0 must be the embedding of the very token that stands at each position, so a
position that is off by one cannot pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray

from theodolite.data.moderation import MODERATION, moderation_frame
from theodolite.data.prompts import Prompt, shown
from theodolite.engine import capture
from theodolite.engine.interventions import interventions_key
from theodolite.errors import CapabilityError, ConfigError, DataError, NumericsError
from theodolite.models.chat import Encoded, encode_all, encode_plain
from theodolite.models.positions import check_position, resolve_position
from theodolite.text.hashing import content_key
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION = 1
POSITIONS = ("instruction_last", "prompt_last", "instruction_mean")
TEMPLATES = ("auto", "chat", "none", MODERATION)


@dataclass(frozen=True, eq=False)
class States:
    """Hidden states of some prompts of one model.

    Args:
        values: float32, axes (prompt, hidden_index, position, d_model).
        prompt_ids: one per prompt, in order.
        positions: names of the position axis.
        hidden_indices: 0 is the embeddings, l+1 the stream after block l.
        model: the model's name.
        fingerprint: the model's fingerprint.
        template: "chat", "none" or "moderation".
        key: content key of everything that decides the values.
        border_merged: ids of prompts whose last instruction token also covers characters that
            follow the instruction, so that `instruction_last` has seen a little of the template.
    """

    values: NDArray[np.float32]
    prompt_ids: tuple[str, ...]
    positions: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    model: str
    fingerprint: str
    template: str
    key: str
    border_merged: tuple[str, ...]

    def at(self, hidden_index: int, position: str) -> NDArray[np.float64]:
        """Return the states of one place, axes (prompt, d_model).

        Raises: ConfigError: the place was not read.
        """
        if position not in self.positions:
            raise ConfigError(
                f"The position {shown(position)} was not read.",
                fix=did_you_mean(position, self.positions),
            )
        if hidden_index not in self.hidden_indices:
            raise ConfigError(
                f"The hidden_index {hidden_index} of {shown(self.model)} was not read.",
                fix=f"There is {', '.join(map(str, self.hidden_indices))}.",
            )
        layer = self.hidden_indices.index(hidden_index)
        return self.values[:, layer, self.positions.index(position)].astype(np.float64)

    def rows(self, prompt_ids: Sequence[str]) -> States:
        """Return the states of some prompts, in the order given.

        Raises: DataError: a prompt was not read.
        """
        wanted = tuple(prompt_ids)
        if wanted == self.prompt_ids:
            return self
        places = {prompt_id: row for row, prompt_id in enumerate(self.prompt_ids)}
        for prompt_id in wanted:
            if prompt_id not in places:
                raise DataError(
                    f"The states of {shown(self.model)} hold no prompt {shown(prompt_id)}.",
                    fix="Read the states of all the prompts.",
                )
        return replace(
            self,
            values=self.values[[places[prompt_id] for prompt_id in wanted]],
            prompt_ids=wanted,
            key=content_key("states rows", self.key, wanted),
            border_merged=tuple(i for i in self.border_merged if i in set(wanted)),
        )

    def save(self, run: Run, name: str = "states") -> None:
        """Write the values as safetensors and the names of the axes as a table."""
        indices = np.array(self.hidden_indices, np.int64)
        run.save_tensors(name, {"values": self.values, "hidden_indices": indices})
        facts = {
            "positions": list(self.positions),
            "model": self.model,
            "fingerprint": self.fingerprint,
            "template": self.template,
            "key": self.key,
        }
        merged = set(self.border_merged)
        run.save_table(
            name, [{"prompt_id": i, "border_merge": i in merged, **facts} for i in self.prompt_ids]
        )

    @classmethod
    def load(cls, run: Run, name: str = "states") -> Self:
        """Read what `save` wrote."""
        tensors = run.load_tensors(name)
        rows = run.load_table(name)
        facts = rows[0]
        return cls(
            values=np.asarray(tensors["values"], np.float32),
            prompt_ids=tuple(row["prompt_id"] for row in rows),
            positions=tuple(facts["positions"]),
            hidden_indices=tuple(int(h) for h in tensors["hidden_indices"]),
            model=facts["model"],
            fingerprint=facts["fingerprint"],
            template=facts["template"],
            key=facts["key"],
            border_merged=tuple(row["prompt_id"] for row in rows if row["border_merge"]),
        )


def check_template(template: str, known: Sequence[str] = TEMPLATES) -> None:
    """Refuse a choice of template that does not exist, before a model is opened.

    Raises: ConfigError: it is none of the known ones.
    """
    if template not in known:
        raise ConfigError(
            f"There is no template choice {shown(template)}.", fix=did_you_mean(template, known)
        )


def resolve_template(model: LanguageModel, template: str) -> str:
    """Return what was asked for; "auto" is "chat" where the model has a template, else "none".

    Raises:
        ConfigError: there is no such choice.
        CapabilityError: "chat" is asked, and the model brings no template.
    """
    check_template(template)
    if template == "auto":
        return "chat" if model.chat.has_template else "none"
    if template == "chat" and not model.chat.has_template:
        raise CapabilityError(
            f"Rendering chats with {model.ref}",
            "its tokenizer brings no chat template",
            "Use the template choice 'none' (plain text), or 'auto'",
        )
    return template


def encode_for_states(
    model: LanguageModel, prompts: Sequence[Prompt], *, template: str = "auto"
) -> list[Encoded]:
    """Encode prompts as their states are read: as chats, or the bare request as plain text.

    Args:
        template: "chat", "none" (the request alone; what a chat said before it is left out),
            "moderation" (the request alone, in the frame a moderator was trained on), or "auto".

    Returns: one `Encoded` per prompt; white space at the end of the request is left out, so that
        `instruction_last` is a token of its words. A moderator's instruction is the whole frame.

    Raises:
        CapabilityError: "chat" is asked, and the model brings no template.
        DataError: a prompt has no user turn, is empty or too long.
    """
    frame = resolve_template(model, template)
    if frame == "chat":
        return encode_all(model, [_stripped(prompt) for prompt in prompts])
    if frame == MODERATION:  # rendered as in training, which is a chat where there is a template
        framed = [Prompt(id=p.id, text=moderation_frame(p.request)) for p in prompts]
        return encode_all(model, framed)
    return [encode_plain(model, p.request.rstrip(), prompt_id=p.id) for p in prompts]


def _stripped(prompt: Prompt) -> Prompt:
    """Return the prompt without white space at the end of its last user turn."""
    if prompt.request == prompt.request.rstrip() or not prompt.request.strip():
        return prompt  # a blank request is refused, by its id, when it is encoded
    if prompt.text is not None:
        return replace(prompt, text=prompt.text.rstrip())
    turns = list(prompt.messages or ())
    last = max(i for i, turn in enumerate(turns) if turn.role == "user")
    turns[last] = replace(turns[last], content=turns[last].content.rstrip())
    return replace(prompt, messages=tuple(turns))


def read_states(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    positions: Sequence[str] = POSITIONS,
    template: str = "auto",
    hidden_indices: Sequence[int] | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> States:
    """Read the hidden states of prompts.

    Args:
        model: an open local model; active interventions act.
        positions: `instruction_last`, `prompt_last`, `instruction_mean` or `template[i]`.
        template: one of `TEMPLATES` (see `encode_for_states`).
        hidden_indices: 0 to n_layers (default: all); nothing after the highest is computed.
        journal: finished units are kept there and not computed again.
        progress: told of finished units, in prompts.

    Returns: float32 states, equal to an unbatched forward pass to 1e-4 relative.

    Raises:
        CapabilityError: the model shows no hidden states, or has no chat template.
        ConfigError: an unknown position, template or hidden_index.
        DataError: no prompts, or one that cannot be encoded.
        NumericsError: a value is not finite, or the self-check fails.
    """
    model.require("hidden_states")
    places = tuple(dict.fromkeys(positions))
    for place in places:
        check_position(place)
    indices = _indices(model, hidden_indices)
    _check_ids(prompts)
    encoded = encode_for_states(model, prompts, template=template)
    values = _captured(model, encoded, places, indices, journal, progress)
    if indices[0] == 0 and _feeds_bare_embeddings(model, journal):
        check_embeddings(model, encoded, places, values[:, 0])
    rows = [(e.key, e.instruction, e.template) for e in encoded]
    return States(
        values=values,
        prompt_ids=tuple(prompt.id for prompt in prompts),
        positions=places,
        hidden_indices=indices,
        model=model.name,
        fingerprint=model.fingerprint,
        template=resolve_template(model, template),
        key=content_key(
            "states", VERSION, model.fingerprint, interventions_key(model), rows, places, indices
        ),
        border_merged=tuple(p.id for p, e in zip(prompts, encoded, strict=True) if e.border_merge),
    )


def _check_ids(prompts: Sequence[Prompt]) -> None:
    if not prompts:
        raise DataError("There are no prompts to read states of.", fix="Give at least one.")
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise DataError(
                f"The prompt id {shown(prompt.id)} occurs twice.",
                fix="Give every prompt its own id.",
            )
        seen.add(prompt.id)


def _indices(model: LanguageModel, wanted: Sequence[int] | None) -> tuple[int, ...]:
    top = model.anatomy.n_layers
    indices = tuple(range(top + 1)) if wanted is None else tuple(sorted(set(wanted)))
    outside = [h for h in indices if not 0 <= h <= top]
    if outside or not indices:
        said = f"There is no hidden_index {outside[0]}" if outside else "No hidden_index is asked"
        raise ConfigError(
            f"{said}: {model.name} has {top} layers.", fix=f"Use 0 (embeddings) to {top}."
        )
    return indices


def _captured(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    positions: tuple[str, ...],
    indices: tuple[int, ...],
    journal: Journal | None,
    progress: Progress | None,
) -> NDArray[np.float32]:
    """Return float32 values, axes (prompt, hidden_index, position, d_model)."""
    parts: list[NDArray[np.float32]] = []
    # Apart, for sites and layers form a grid and the inputs of later blocks would be kept twice;
    # the first call stops before block 0, so it costs a look-up.
    if indices[0] == 0:
        first = capture(
            model,
            encoded,
            sites=("resid_pre",),
            layers=(0,),
            positions=positions,
            journal=journal,
        )
        parts.append(first.get("resid_pre").numpy())
    blocks = [h - 1 for h in indices if h > 0]
    if blocks:
        after = capture(
            model,
            encoded,
            sites=("resid_post",),
            layers=blocks,
            positions=positions,
            journal=journal,
            progress=progress,
        )
        parts.append(after.get("resid_post").numpy())
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _feeds_bare_embeddings(model: LanguageModel, journal: Journal | None) -> bool:
    """Return whether the first block reads token embeddings and nothing else (tried on 3 tokens).

    Note: false for families that scale, norm or add positions. Under interventions it is not known.
    """
    if model.interventions:
        return False
    ids = tuple(range(2, 5))
    probe = Encoded(ids, "", (0, 3), (3, 3), content_key(ids))
    places = (0, 1, 2)
    read = capture(
        model, [probe], sites=("resid_pre",), layers=(0,), positions=places, journal=journal
    )
    return torch.equal(read.get("resid_pre")[0, 0], _embedded(model, ids))


def _embedded(model: LanguageModel, ids: Sequence[int]) -> torch.Tensor:
    """Return the embeddings of tokens, float32 on the CPU, axes (token, d_model)."""
    with torch.inference_mode():
        found: torch.Tensor = model.anatomy.embed(torch.tensor([list(ids)], device=model.device))
    return found[0].to("cpu", torch.float32)


def check_embeddings(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    positions: Sequence[str],
    values: NDArray[np.float32],
) -> None:
    """Refuse states whose `hidden_index` 0 is not the embedding of the tokens at their positions.

    Args:
        values: axes (prompt, position, d_model).

    Raises: NumericsError: names the prompt and the position.
    """
    for item, prompt in enumerate(encoded):
        for place, position in enumerate(positions):
            tokens = [prompt.ids[i] for i in resolve_position(prompt, position)]
            expected = _embedded(model, tokens).mean(0).numpy()
            error = float(np.abs(values[item, place] - expected).max())
            if not error <= 1e-5 * max(1e-30, float(np.abs(expected).max())):
                raise NumericsError(
                    f"The state of prompt {shown(prompt.prompt_id)} at {position} does not start "
                    f"from the embedding of its token (off by {error:.1e}).",
                    fix="Report the model's architecture: its positions are misread.",
                )
