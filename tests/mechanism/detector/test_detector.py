"""Detectors: what training finds on planted states, what a file may hold, and who may be scored."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.mechanism.planted import items_of, shifted, states_of
from tests.models.tiny import tiny_model
from theodolite.data.bundled import bundled
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.mechanism.detector.detector import Detector, train_detector
from theodolite.mechanism.detector.file import LINEAR_PROBES, RECORD, TENSORS
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.probes.classifiers import Design, fit
from theodolite.mechanism.probes.splits import inner_folds
from theodolite.mechanism.states import States, read_states
from theodolite.models.handle import ApiModel
from theodolite.text.hashing import item_seed

LABELS = np.arange(80) % 2


def layered(*shifts: float, labels: Any = LABELS, width: int = 6) -> tuple[States, Items]:
    """Return states whose classes lie so far apart at each hidden index."""
    x = np.stack([shifted(labels, width, s, seed=i) for i, s in enumerate(shifts)], axis=1)
    items = items_of(labels)
    return states_of(items, x), items


@pytest.mark.parametrize("probe", LINEAR_PROBES)
def test_the_layer_that_tells_the_classes_apart_is_found(probe: str) -> None:
    states, items = layered(0.0, 0.0, 0.0, 6.0, 0.0)
    detector = train_detector(states, items, probe=probe)
    assert detector.hidden_index == 3
    assert detector.quality["hidden_indices"] == [3] * 4
    assert (detector.probabilities(states) > 0.5).tolist() == (LABELS == 1).tolist()


def test_of_equal_layers_the_first_is_taken_and_embeddings_never() -> None:
    x = shifted(LABELS, 4, 20.0)
    items = items_of(LABELS)
    detector = train_detector(states_of(items, np.stack([x, x, x], axis=1)), items)
    assert detector.hidden_index == 1


def test_the_quality_is_that_of_a_known_distance() -> None:
    """Gaussians d apart: accuracy Phi(d / 2), AUROC Phi(d / sqrt 2); band of 99.9 %."""
    labels = np.arange(1200) % 2
    states, items = layered(2.0, labels=labels, width=4)
    detector = train_detector(states, items, probe="difference_of_means", hidden_index=0)
    accuracy, auroc, ece, brier = detector.measurements()
    reached = NormalDist().cdf(1.0)
    slack = 3.3 * np.sqrt(reached * (1 - reached) / 1200) + 0.005
    assert accuracy.value == pytest.approx(reached, abs=slack)
    assert auroc.value == pytest.approx(NormalDist().cdf(2.0 / np.sqrt(2)), abs=0.03)
    assert accuracy.low is not None and accuracy.low < reached < (accuracy.high or 0)
    assert ece.value is not None and ece.floor is not None and ece.value < 2 * ece.floor.value
    assert brier.value is not None and brier.value < 0.15


def test_noise_has_the_quality_of_noise_though_the_best_layer_was_chosen() -> None:
    """Seven layers of nothing: choosing among them must not show in the figures."""
    right = [
        train_detector(
            *(lambda s: (s, items))(
                states_of(items, np.random.default_rng(seed).standard_normal((80, 7, 6)))
            ),
            probe="difference_of_means",
        ).quality["accuracy"]["value"]
        for seed in range(10)
        for items in [items_of(LABELS)]
    ]
    assert abs(np.mean(right) - 0.5) < 3.3 * 0.5 / np.sqrt(10 * 80) + 0.01


def test_groups_do_not_straddle_a_fold() -> None:
    """Each pair has a state of its own and random labels: only a leak can tell the classes."""
    rng = np.random.default_rng(5)
    labels = np.repeat(rng.integers(0, 2, 60), 2)
    x = np.repeat(rng.standard_normal((60, 200)), 2, axis=0)[:, None]
    pairs = [f"pair{i // 2}" for i in range(120)]
    apart = items_of(labels, pairs)
    leaking = replace(apart, groups=tuple(map(str, range(120))))
    states = states_of(apart, x)
    options: dict[str, Any] = {"hidden_index": 0, "probe": "logistic"}
    honest = train_detector(states, apart, **options).quality["accuracy"]["value"]
    assert honest < 0.7
    assert train_detector(states, leaking, **options).quality["accuracy"]["value"] > 0.8


def test_the_direction_stands_in_raw_coordinates() -> None:
    rng = np.random.default_rng(2)
    scale = 10.0 ** rng.uniform(-2, 3, 6)
    x = shifted(LABELS, 6, 2.0) * scale + 50 * scale
    items = items_of(LABELS)
    states = states_of(items, x[:, None])
    detector = train_detector(states, items, hidden_index=0)
    inner = inner_folds(LABELS, items.groups, seed=item_seed(0, "inner"))
    seen = states.at(0, "instruction_last")
    whole = fit("logistic", Design.of(seen, seen), LABELS, inner=inner)
    assert detector.logits(states) == pytest.approx(whole.train_scores, rel=1e-6, abs=1e-6)


def test_the_threshold_needs_enough_benign_prompts() -> None:
    few = train_detector(*layered(0.0, 2.0), probe="difference_of_means")
    assert few.threshold == 0.5 and "needs 100" in few.quality["threshold"]


def test_the_threshold_keeps_false_alarms_rare_on_other_prompts() -> None:
    """One of 125 held-out negatives may pass, so 2 in 126 of others are to be expected."""
    labels = np.arange(1000) % 2
    items = items_of(labels)
    others = np.random.default_rng(7).standard_normal((4000, 4))
    alarms = []
    for seed in range(7):
        states = states_of(items, shifted(labels, 4, 2.0, seed=100 + seed)[:, None])
        detector = train_detector(states, items, probe="difference_of_means", hidden_index=0)
        assert "at most 1%" in detector.quality["threshold"]
        alarms.append((detector.probabilities_of(others) >= detector.threshold).mean())
    # Each is a Beta(2, 124): spread 0.011, so the mean of seven has 0.0042.
    assert 2 / 126 - 3.3 * 0.0042 < np.mean(alarms) < 2 / 126 + 3.3 * 0.0042


def test_the_same_whatever_the_order_of_the_states() -> None:
    states, items = layered(0.0, 1.0, 2.0)
    backwards = states.rows(items.ids[::-1])
    assert train_detector(states, items).key == train_detector(backwards, items).key


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"probe": "mlp"}, ConfigError, "mlp"),
        ({"probe": "logistik"}, ConfigError, "logistic"),
        ({"position": "nowhere"}, ConfigError, "nowhere"),
        ({"hidden_index": 9}, ConfigError, "9"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        train_detector(*layered(0.0, 1.0), **options)


def test_items_that_cannot_be_used() -> None:
    states, items = layered(0.0, 1.0)
    with pytest.raises(DataError, match="have 1"):
        train_detector(states, items.select(items.labels == 1))
    with pytest.raises(ConfigError, match="no layer"):
        train_detector(replace(states, hidden_indices=(0, -1)), items)
    with pytest.raises(DataError, match="no prompt"):
        train_detector(states.rows(items.ids[:10]), items)


# Files


@pytest.fixture(scope="module")
def small() -> Detector:
    return train_detector(*layered(0.0, 2.0), probe="difference_of_means")


def test_saved_and_loaded(small: Detector, tmp_path: Path) -> None:
    small.save(tmp_path / "d")
    again = Detector.load(tmp_path / "d")
    states, _ = layered(0.0, 2.0)
    assert again.key == small.key
    assert (again.probabilities(states) == small.probabilities(states)).all()
    assert again.measurements() == small.measurements()
    assert (again.threshold, again.classes) == (small.threshold, small.classes)
    assert again.trained_on == small.trained_on
    assert {path.name for path in (tmp_path / "d").iterdir()} == {RECORD, TENSORS}


def broken(small: Detector, folder: Path, **changes: Any) -> Path:
    """Save a detector and change fields of its record; None leaves a field out."""
    shutil.rmtree(folder, ignore_errors=True)
    small.save(folder)
    record = json.loads((folder / RECORD).read_text())
    record |= changes
    kept = {key: value for key, value in record.items() if value is not None}
    (folder / RECORD).write_text(json.dumps(kept))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"version": None}, "version None"),
        ({"format": "other"}, "no detector"),
        ({"bias": None}, "bias is missing"),
        ({"bias": float("nan")}, "bias is nan"),
        ({"bias": 10**400}, "bias is 1000"),
        ({"bias": True}, "bias is True"),
        ({"temperature": 0}, "temperature is 0"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"hidden_index": -1}, "hidden_index is -1"),
        ({"hidden_index": 1.0}, "hidden_index is 1.0"),
        ({"position": "somewhere"}, "position is 'somewhere'"),
        ({"probe": "mlp"}, "probe is 'mlp'"),
        ({"template": ["chat"]}, "template is a list"),
        ({"classes": ["benign"]}, "classes is a list"),
        ({"model_name": "x" * 2000}, "model_name"),
        ({"trained_on": []}, "trained_on is a list"),
        ({"quality": {"ece": None}}, "ece of quality"),
        ({"quality": {"accuracy": {"value": 3}}}, "accuracy of quality"),
        ({"width": 7}, "6 numbers and width is 7"),
        ({"width": "6"}, "no vector"),
    ],
)
def test_a_wrong_field_is_named(
    small: Detector, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        Detector.load(broken(small, tmp_path / "d", **changes))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"direction": np.ones(6, np.float32)}, "no vector of float64"),
        ({"direction": np.ones((2, 3))}, "no vector"),
        ({"direction": np.ones(5)}, "5 numbers"),
        ({"direction": np.zeros(6)}, "zero or not finite"),
        ({"direction": np.full(6, np.nan)}, "zero or not finite"),
        ({"other": np.ones(6)}, "not one, named direction"),
        ({"direction": np.ones(6), "more": np.ones(1)}, "not one, named direction"),
    ],
)
def test_a_wrong_tensor_is_named(
    small: Detector, tmp_path: Path, tensors: dict[str, Any], words: str
) -> None:
    folder = broken(small, tmp_path / "d")
    save_file(tensors, folder / TENSORS)
    with pytest.raises(DataError, match=words):
        Detector.load(folder)


def test_missing_and_oversized_files(small: Detector, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no readable detector"):
        Detector.load(tmp_path / "nothing")
    for name in (RECORD, TENSORS):
        folder = broken(small, tmp_path / "d")
        (folder / name).unlink()
        with pytest.raises(DataError, match="no readable"):
            Detector.load(folder)
        with (folder / name).open("wb") as file:
            file.truncate(2**25)
        with pytest.raises(DataError, match="too large"):
            Detector.load(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
QUIET = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUIET
@given(
    name=st.sampled_from(["bias", "classes", "quality", "width", "version", "threshold"]),
    value=JSON,
)
def test_no_field_makes_the_reader_crash(
    small: Detector, tmp_path: Path, name: str, value: Any
) -> None:
    folder = broken(small, tmp_path / "d", **{name: value})
    try:
        found = Detector.load(folder)
    except DataError:
        return
    assert 0 <= found.threshold <= 1 and np.isfinite(found.bias)


@QUIET
@given(
    name=st.sampled_from([RECORD, TENSORS]), data=st.binary(max_size=200), keep=st.integers(0, 80)
)
def test_no_bytes_make_the_reader_crash(
    small: Detector, tmp_path: Path, name: str, data: bytes, keep: int
) -> None:
    folder = broken(small, tmp_path / "d")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:keep] + data)
    with pytest.raises(DataError):
        Detector.load(folder)


# Models


@pytest.fixture(scope="module")
def trained() -> tuple[Any, Detector, States]:
    """A tiny model with a detector at one of its middle layers."""
    model = tiny_model()
    prompts = [p for p in bundled("refusal") if p.split == "val"]
    items = make_items({k: [p for p in prompts if p.label == k] for k in ("harmful", "benign")})
    states = read_states(model, prompts)
    return model, train_detector(states, items, hidden_index=2), states


def test_prompts_are_scored_by_their_states(trained: tuple[Any, Detector, States]) -> None:
    model, detector, states = trained
    prompts = [p for p in bundled("refusal") if p.split == "val"][:7]
    expected = detector.probabilities(states.rows([p.id for p in prompts]))
    assert detector.score(model, prompts) == pytest.approx(expected, abs=1e-5)
    assert detector.score(model, [p.request for p in prompts]) == pytest.approx(expected, abs=1e-5)
    assert detector.score(model, []) == []


def test_nothing_after_the_detectors_layer_is_computed(
    trained: tuple[Any, Detector, States],
) -> None:
    model, detector, _ = trained
    calls = [0] * model.anatomy.n_layers
    hooks = []
    for i, block in enumerate(model.anatomy.blocks):

        def count(*_: Any, i: int = i) -> None:
            calls[i] += 1

        hooks.append(block.register_forward_hook(count))
    detector.score(model, ["bake bread"])
    for hook in hooks:
        hook.remove()
    assert calls[0] > 0 and calls[1] > 0 and calls[2:] == [0] * len(calls[2:])


def test_another_model_is_refused_and_can_be_forced(trained: tuple[Any, Detector, States]) -> None:
    model, detector, states = trained
    other = replace(detector, model_fingerprint="other")
    with pytest.raises(DataError, match="fingerprints differ"):
        other.score(model, ["bake bread"])
    with pytest.raises(DataError, match="fingerprints differ"):
        other.probabilities(states)
    assert other.score(model, ["bake bread"], force=True) == detector.score(model, ["bake bread"])
    assert (other.logits(states, force=True) == detector.logits(states)).all()
    narrow = replace(detector, direction=detector.direction[:-1])
    with pytest.raises(DataError, match="wide"):
        narrow.score(model, ["bake bread"], force=True)
    deep = replace(detector, hidden_index=40)
    with pytest.raises(DataError, match="hidden index 40"):
        deep.score(model, ["bake bread"])


def test_states_of_another_template_are_refused(trained: tuple[Any, Detector, States]) -> None:
    _, detector, states = trained
    with pytest.raises(DataError, match="template"):
        detector.logits(replace(states, template="none"))


def test_an_api_has_no_states_to_score(trained: tuple[Any, Detector, States]) -> None:
    _, detector, _ = trained
    api: Any = ApiModel("api:x/y", "x/y", "f")
    with pytest.raises(CapabilityError, match="hidden states"):
        detector.score(api, ["bake bread"])
