"""Put the base model's attention, or its MLPs, into the aligned model, for as long as one looks.

If the base's attention alone makes the aligned model answer, its safety lies in its attention. The
weights are only lent: nothing is copied where base and model share device and dtype, all of them
are back when the context ends, and nothing can be saved meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, SupportsIndex, cast

from torch import Tensor, nn

from theodolite.errors import CapabilityError, ConfigError
from theodolite.mechanism.heads.asr import MAX_NEW_TOKENS, OPINIONS, attack_success
from theodolite.mechanism.heads.asr_result import AsrResult, combined
from theodolite.mechanism.heads.frames import resolve_frame
from theodolite.mechanism.heads.second_model import other_words, reading_as
from theodolite.text.display import escape
from theodolite.text.hashing import content_key
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.judging.keywords import KeywordJudge
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION: Final = 1
PARTS: Final = ("attention", "mlp")
# Config fields that decide what the moved weights compute and that no shape shows.
_FACTS: Final = (
    *("rope_parameters", "partial_rotary_factor", "qk_layernorm", "use_qk_norm", "alibi"),
    *("query_pre_attn_scalar", "attention_multiplier", "attn_logit_softcapping"),
    *("hidden_act", "hidden_activation", "activation_function", "num_experts_per_tok"),
)
_SIZES: Final = ("n_layers", "n_heads", "n_kv_heads", "head_dim", "d_model", "sliding_windows")
_SAVING: Final = ("save_pretrained", "push_to_hub")


@contextmanager
def transplanted(
    model: LanguageModel, base: LanguageModel, parts: str = "attention"
) -> Iterator[LanguageModel]:
    """Let the model run with the attention, or the MLPs, of its base in every block.

    Source: arXiv:2410.13708, section 5.3, whose code moves the output projection too, as this does.

    Args:
        model: the aligned model.
        base: the model it was tuned from; left as it is. Values are cast to the model's dtype.
        parts: "attention" (everything in the module that holds the output projection: query, key,
            value and output weights and biases, norms of queries and keys, sinks) or "mlp" (all
            other matrices of a block, with what stands in their modules). The norms before and
            after the parts, embeddings and output head stay the model's own.

    Yields: the model, under another fingerprint, so that nothing it computes is taken for the
        aligned model's.

    Raises:
        ConfigError: no such part, or the two models do not fit; the message says in what.
        CapabilityError: one of them is quantised or not in memory as a whole; or, inside the
            context, something tries to save or copy the model.

    Note: contexts nest, last in first out. The weights lie on the module: other threads that use
        the model feel them too. Extra memory only where device or dtype differ: that of the part.
    """
    lent = _fitted(model, base, parts)
    name = content_key("transplanted", VERSION, model.fingerprint, base.fingerprint, parts)
    with model.lock:  # no pass sees half of them
        undo = _lend(model, lent, name)
    try:
        yield model
    finally:
        with model.lock:
            undo.close()


def transplant_asr(
    model: LanguageModel,
    base: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    parts: Sequence[str] = PARTS,
    template: str = "auto",
    opener: str = "",
    decoding: str = "greedy",
    max_new_tokens: int = MAX_NEW_TOKENS,
    judge: KeywordJudge | None = None,
    opinions: int = OPINIONS,
    judge_model: Any = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> AsrResult:
    """Measure attack success of a model, its base, and the model with parts of the base.

    Source: arXiv:2410.13708, section 5.3; the MLPs and the paired tests are ours.

    Args:
        model, base: see `transplanted`.
        prompts: requests with different ids.
        parts: which parts of the base to try, some of `PARTS`.
        template: resolved on the model; the base reads the very same tokens, whatever tokenizer
            settings and chat template it brings.
        opener, decoding, max_new_tokens, judge, opinions, judge_model, journal, progress, seed: as
            for `attack_success`.

    Returns: conditions "aligned" (with which the others are compared), "base", and "base-PART" for
        each part, on the same prompts.

    Raises:
        ConfigError, CapabilityError: see `transplanted`; found before any answer is written.
        DataError, JudgeError: see `attack_success`.
    """
    ask = partial(
        attack_success,
        prompts=prompts,
        template=resolve_frame(model, template),
        opener=opener,
        decoding=decoding,
        max_new_tokens=max_new_tokens,
        judge=judge,
        opinions=opinions,
        judge_model=judge_model,
        journal=journal,
        progress=progress,
        seed=seed,
    )
    for part in parts:
        _fitted(model, base, part)
    found = {
        "aligned": ask(model, stage="answers of the aligned model"),
        "base": ask(reading_as(base, model), stage="answers of the base"),
    }
    for part in parts:
        with transplanted(model, base, part):
            found[f"base-{part}"] = ask(model, stage=f"answers with the base's {part}")
    return combined(found)


def part_tensors(anatomy: Anatomy, parts: str) -> dict[str, Tensor]:
    """Return the learnt tensors of one part of all blocks.

    Args:
        parts: one of `PARTS`.

    Returns: `layer.path` -> the model's own tensor: parameters, and buffers of floats (some
        families keep learnt biases there).

    Raises:
        ConfigError: no such part.
    """
    return {path: getattr(owner, name) for path, (owner, name) in _slots(anatomy, parts).items()}


def _slots(anatomy: Anatomy, parts: str) -> dict[str, tuple[nn.Module, str]]:
    """Return where each tensor of a part hangs: `layer.path` -> (module, attribute)."""
    if parts not in PARTS:
        raise ConfigError(
            f"There is no part '{escape(parts, 40)}' to transplant.", fix=did_you_mean(parts, PARTS)
        )
    holder = anatomy.row.out_proj.rpartition(".")[0]
    attention = holder.partition(".")[0]
    found: dict[str, tuple[nn.Module, str]] = {}
    for layer, block in enumerate(anatomy.blocks):
        roots = [holder]
        if parts == "mlp":
            roots = [n for n, m in block.named_children() if n != attention and _has_matrix(m)]
        for root in roots:
            for path, module in block.get_submodule(root).named_modules(prefix=root):
                named = (
                    *module.named_parameters(recurse=False),
                    *(
                        (n, b)
                        for n, b in module.named_buffers(recurse=False)
                        if b.is_floating_point()
                    ),
                )
                found |= {f"{layer}.{path}.{name}": (module, name) for name, _ in named}
    return found


def _has_matrix(module: nn.Module) -> bool:
    """Whether a part of a block is more than a norm."""
    return any(parameter.ndim > 1 for parameter in module.parameters())


def _fitted(
    model: LanguageModel, base: LanguageModel, parts: str
) -> list[tuple[nn.Module, str, Tensor]]:
    """Return what goes where: (module, attribute, the base's values as the model's own look)."""
    model.require("interventions")
    base.require("interventions")
    slots = _slots(model.anatomy, parts)
    check_fit(model, base)
    own, theirs = part_tensors(model.anatomy, parts), part_tensors(base.anatomy, parts)
    strangers = sorted(own.keys() ^ theirs.keys())
    if strangers:
        _misfit(model, base, f"only one of them has {escape(strangers[0], 80)}")
    for path, tensor in own.items():
        if tensor.shape != theirs[path].shape:
            shapes = f"{tuple(tensor.shape)} and {tuple(theirs[path].shape)}"
            _misfit(model, base, f"{escape(path, 80)} has the shapes {shapes}")
    for owned, tensors in ((model, own), (base, theirs)):
        _check_plain(owned, tensors)
    lent = []
    for path, (owner, name) in slots.items():
        value: Tensor = theirs[path].detach().to(own[path].device, own[path].dtype)
        if isinstance(own[path], nn.Parameter):
            value = nn.Parameter(value, requires_grad=False)
        lent.append((owner, name, value))
    return lent


def check_fit(model: LanguageModel, base: LanguageModel) -> None:
    """Refuse a base the model cannot have been tuned from.

    Raises:
        ConfigError: family, sizes, config or words of the tokenizers differ; it names in what.
    """
    if model.module is base.module:
        _misfit(model, base, "they are one and the same")
    if model.anatomy.family != base.anatomy.family:
        families = f"{escape(model.anatomy.family, 40)} and {escape(base.anatomy.family, 40)}"
        _misfit(model, base, f"the families are {families}")
    configs = [handle.module.config.get_text_config() for handle in (model, base)]
    anatomies = [handle.anatomy for handle in (model, base)]
    told = [(name, anatomies) for name in _SIZES] + [(name, configs) for name in _FACTS]
    for name, sides in told:
        first, second = (getattr(side, name, None) for side in sides)
        if first != second:
            shown = " and ".join(escape(str(value), 80) for value in (first, second))
            _misfit(model, base, f"{name} is {shown}")
    other = other_words(model, base)
    if other:
        _misfit(
            model,
            base,
            f"their tokenizers disagree about {len(other)} words, such as "
            f"'{escape(min(other), 40)}'",
        )


def _misfit(model: LanguageModel, base: LanguageModel, why: str) -> NoReturn:
    raise ConfigError(
        f"Parts of {escape(base.name, 80)} do not fit into {escape(model.name, 80)}: {why}.",
        fix="Give the model it was tuned from.",
    )


def _check_plain(model: LanguageModel, tensors: dict[str, Tensor]) -> None:
    quantised = getattr(model.module, "is_quantized", False)
    plain = all(t.is_floating_point() and not t.is_meta for t in tensors.values())
    if quantised or not plain:
        raise CapabilityError(
            f"Transplanting weights of {model.ref}",
            "they are stored quantised or off the device",
            "Open it without quantization, on a device that holds it",
        )


def _lend(
    model: LanguageModel, lent: list[tuple[nn.Module, str, Tensor]], fingerprint: str
) -> ExitStack:
    """Put values in their places, and return what puts everything back."""
    with ExitStack() as undo:
        for name in ("fingerprint", "capabilities"):
            undo.callback(setattr, model, name, getattr(model, name))
        model.fingerprint = fingerprint
        model.capabilities = model.capabilities - {"training"}
        undo.enter_context(_unsaved(model.module))
        for owner, name, value in lent:
            undo.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        return undo.pop_all()


class _Refusal:
    """Stands where saving begins; a module that holds one can be neither pickled nor copied."""

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise CapabilityError(
            "Saving or copying a model with transplanted weights",
            "they are lent to a measurement",
            "Save the models they came from",
        )

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be pickled, or copied."""
        self()


@contextmanager
def _unsaved(module: nn.Module) -> Iterator[None]:
    """Refuse everything that would let a module's weights outlive the context."""
    with ExitStack() as undo:
        for part in cast(Any, module).modules():
            undo.callback(part.register_state_dict_pre_hook(_Refusal()).remove)
        for name in _SAVING:
            if name in vars(module):
                undo.callback(setattr, module, name, vars(module)[name])
            else:
                undo.callback(delattr, module, name)
            setattr(module, name, _Refusal())
        yield
