"""The space of a shift: what is planted is found, what is not there is said, and bytes repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.mechanism.residual_space.made import made_paired, made_prompts, tiny_pair
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.residual_space.collect import collect_pair
from theodolite.mechanism.residual_space.space import PRESETS, ResidualSpace
from theodolite.runs.run import Run

N, WIDTH = 40, 24


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return states and shifts of three depths: nothing, two directions, three directions."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((N, 3, WIDTH))
    shift = np.zeros_like(x)
    for depth, sizes in ((1, (5.0, 2.0)), (2, (6.0, 3.0, 1.5))):
        basis = np.linalg.qr(random.standard_normal((WIDTH, len(sizes))))[0].T
        shift[:, depth] = (random.standard_normal((N, len(sizes))) * sizes) @ basis
    return x, shift


@pytest.fixture(scope="module")
def space() -> ResidualSpace:
    return ResidualSpace.fit(made_paired(*planted()), ridge=1.0)


@pytest.mark.parametrize("preset", PRESETS)
def test_equal_models_have_an_empty_space(preset: str) -> None:
    paired = collect_pair(tiny_pair(layer=None), made_prompts(12))
    space = ResidualSpace.fit(paired, preset=preset)
    assert set(space.effective_rank(0.9).values()) == {0}
    assert all(not layer.mean_shift.any() and layer.empty for layer in space.layers)
    assert "give the same states" in space.warnings[0]
    figures = space.measurements()
    values = [m.value for m in figures if m.name.endswith("effective_rank")]
    assert values == [0.0] * 4
    assert all("rounding" in (m.reason or "") for m in figures if m.value == 0.0)
    for row in (*space.frame(), *space.layer_frame()):
        assert not any(isinstance(v, float) and np.isnan(v) for v in row.values())
    with pytest.raises(ConfigError, match="empty: both models give the same states"):
        space["L2-C1"]


def test_a_constant_shift_is_one_direction_uncentred_and_none_centred() -> None:
    pair, prompts = tiny_pair(layer=None), made_prompts(16)
    constant = 0.7 * torch.linspace(-1, 1, 32)

    def add(_module: object, _args: object, output: torch.Tensor) -> torch.Tensor:
        return output + constant

    hook = pair.aligned.anatomy.blocks[2].register_forward_hook(add)
    paired = collect_pair(pair, prompts)
    hook.remove()
    unit = (constant / constant.norm()).double().numpy()
    reference = ResidualSpace.fit(paired, preset="reference").layer(3)
    assert abs(reference.component(1) @ unit) > 1 - 1e-5
    assert reference.sigma[0] ** 2 / reference.spectrum.total == pytest.approx(1.0, abs=1e-9)
    assert reference.effective_rank(0.9) == 1
    centred = ResidualSpace.fit(paired).layer(3)
    assert centred.spectrum.sigma[0] < 1e-5 * float(constant.norm())
    assert (centred.empty, centred.effective_rank(0.9)) == (True, 0)
    np.testing.assert_allclose(centred.mean_shift, constant.double().numpy(), atol=1e-5)


def test_a_small_real_shift_is_not_taken_for_rounding() -> None:
    x, shift = planted()
    assert not ResidualSpace.fit(made_paired(x, 1e-4 * shift), resamples=0).layer(2).empty


def test_components_are_oriented_by_harmful_prompts(space: ResidualSpace) -> None:
    paired = made_paired(*planted())
    shift = paired.shift(2, "prompt_last")
    mean = shift[paired.harmful].mean(0)
    for k in (1, 2, 3):
        assert space.layer(2).component(k) @ mean > 0
    # The sign follows the prompts: with the other half harmful, the mean decides anew.
    flipped = made_paired(planted()[0], -planted()[1])
    for k in (1, 2, 3):
        turned = ResidualSpace.fit(flipped, ridge=1.0, resamples=0).layer(2).component(k)
        assert turned @ space.layer(2).component(k) == pytest.approx(-1.0)


def test_without_a_side_the_largest_coordinate_points_up() -> None:
    x, shift = planted()
    shift[:, 1] = 0.0
    shift[:, 1, 3] = np.tile([1.0, 1.0, -1.0, -1.0], N // 4)  # harmful and benign alike
    found = ResidualSpace.fit(made_paired(x, shift), resamples=0).layer(1).component(1)
    assert found[3] == pytest.approx(1.0)


def test_names_and_layers(space: ResidualSpace) -> None:
    direction = space["L2-C3"]
    assert isinstance(direction, Direction)
    assert (direction.name, direction.hidden_index) == ("L2-C3", 2)
    assert (direction.model, direction.position) == ("aligned", "prompt_last")
    np.testing.assert_allclose(direction.vector, space.layer(2).component(3), atol=1e-15)
    assert [d.name for d in space.directions(1, 2)] == ["L1-C1", "L1-C2"]
    assert space.directions(0) == ()
    kept = len(space.layer(2).spectrum.components)
    assert space[f"L2-C{kept}"].vector.any()
    for number in (kept + 1, 99):
        with pytest.raises(ConfigError, match=f"There is no L2-C{number}:"):
            space[f"L2-C{number}"]
    with pytest.raises(ConfigError, match=r"no L0-C1: .*empty"):
        space["L0-C1"]
    with pytest.raises(ConfigError, match="no hidden_index 7"):
        space["L7-C1"]
    with pytest.raises(ConfigError, match="names no component"):
        space["L1-C0"]


def test_ranks_energies_and_gaps(space: ResidualSpace) -> None:
    layer = space.layer(2)
    rows = made_paired(*planted()).shift(2, "prompt_last")
    sigma = np.linalg.svd(rows - rows.mean(0), compute_uv=False)[:3]
    np.testing.assert_allclose(layer.sigma[:3], sigma, rtol=1e-6)
    np.testing.assert_allclose(layer.energy[:3], sigma**2 / (N - 1), rtol=1e-6)
    np.testing.assert_allclose(layer.gaps[:2], 1 - sigma[1:] / sigma[:2], rtol=1e-6)
    shares = np.cumsum(sigma**2) / (sigma**2).sum()
    assert layer.effective_rank(0.9) == int((shares >= 0.9).argmax()) + 1
    np.testing.assert_allclose(layer.mean_shift, rows.mean(0))
    assert space.effective_rank(0.9)[0] == 0


@pytest.mark.parametrize("basis", ["fitted", "map_out", "map_in"])
def test_bases_of_the_map(basis: str) -> None:
    random = np.random.default_rng(1)
    read, write = (np.linalg.qr(random.standard_normal((WIDTH, 2)))[0].T for _ in range(2))
    x = random.standard_normal((120, 1, WIDTH))
    shift = ((x[:, 0] @ read.T) * [2.0, 1.0] @ write)[:, None] + 0.3
    shift = shift + 0.02 * random.standard_normal(shift.shape)
    space = ResidualSpace.fit(made_paired(x, shift), basis=basis, ridge="gcv", resamples=5)
    wanted = read if basis == "map_in" else write
    for k in (1, 2):
        assert abs(space.layer(0).component(k) @ wanted[k - 1]) > 0.99
    other = space.layer(0).read
    assert other is not None
    assert abs(other[0] @ read[0]) > 0.99


@pytest.mark.parametrize("basis", ["fitted", "map_out", "map_in"])
def test_bases_of_the_map_where_there_is_little(basis: str) -> None:
    x, shift = planted()
    space = ResidualSpace.fit(made_paired(x, shift), basis=basis, ridge=1.0)
    assert space.layer(0).empty
    said = "mostly chance" if basis == "map_in" else "hidden"
    assert space.warnings[0].startswith(f"Read directions are {said} at 2 of 3 depths")
    assert all(m.status == "measured" for m in space.measurements() if "index_2" in m.name)
    still = ResidualSpace.fit(made_paired(np.ones_like(x), shift), basis=basis, ridge=1.0)
    assert still.measurements()  # states that do not vary tell nothing of the shift


def test_figures_carry_floor_and_reason(space: ResidualSpace) -> None:
    figures = {m.name: m for m in space.measurements()}
    start = "residual_space/hidden_index_2"
    assert figures[f"{start}/effective_rank"].reason
    share = figures[f"{start}/first_share"]
    assert share.floor is not None
    assert share.floor.value == pytest.approx(1 / WIDTH)
    quality = figures[f"{start}/map_r2"]
    assert quality.floor is not None
    assert quality.low is not None
    assert (quality.n, quality.n_clusters) == (N, N // 2)
    assert figures["residual_space/hidden_index_0/map_r2"].status == "not_measured"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "referense"}, "There is no preset 'referense'"),
        ({"basis": "shifted"}, "There is no basis 'shifted'"),
        ({"basis": "shift", "center": True}, "contradict"),
        ({"basis": "shift_centered", "center": False}, "contradict"),
        ({"ridge": "loocv"}, "There is no ridge"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ResidualSpace.fit(made_paired(*planted()), **options)  # type: ignore[arg-type]


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match="There are 4 prompts"):
        ResidualSpace.fit(made_paired(*planted()).select(range(4)))


def test_options_resolve_as_they_say() -> None:
    paired = made_paired(*planted())
    fit = ResidualSpace.fit
    assert fit(paired, center=False, ridge=1.0, resamples=0).basis == "shift"
    assert fit(paired, basis="shift", ridge=1.0, resamples=0).center is False
    assert fit(paired, preset="reference", center=True, ridge=1.0, resamples=0).basis == (
        "shift_centered"
    )
    assert fit(paired, quality=False, resamples=0).layer(1).quality is None


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        fitted = ResidualSpace.fit(made_paired(*planted()), seed=3)
        with Run.create("explain", out=tmp_path / name) as run:
            fitted.save(run)
            run.save_table("components", fitted.frame())
            run.save_measurements(fitted.measurements())
        kept = ("tensors", "tables")
        paths = [p for part in kept for p in sorted((tmp_path / name / part).rglob("*"))]
        paths.append(tmp_path / name / "measurements.parquet")
        files.append({p.name: p.read_bytes() for p in paths if p.is_file()})
    assert len(files[0]) == 4
    assert files[0] == files[1]
    other = ResidualSpace.fit(made_paired(*planted()), seed=4)
    assert other.key != fitted.key


def test_saved_and_read_again(space: ResidualSpace, tmp_path: Path) -> None:
    reference = ResidualSpace.fit(made_paired(*planted()), preset="reference")
    with Run.create("explain", out=tmp_path / "run") as run:
        for name, one in (("space", space), ("reference", reference)):
            one.save(run, name)
            back = ResidualSpace.load(run, name)
            assert back.frame() == one.frame()
            assert back.layer_frame() == one.layer_frame()
            assert back.measurements() == one.measurements()
            assert back["L2-C1"].vector.tobytes() == one["L2-C1"].vector.tobytes()
            facts = ("preset", "basis", "ridge", "center", "position", "kind", "key", "warnings")
            assert [getattr(back, f) for f in facts] == [getattr(one, f) for f in facts]
