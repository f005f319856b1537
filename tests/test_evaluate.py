"""Evaluation: tiles without seams, what is scored and saved, means, refusals."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.api import Measured, measure_method
from bench.data.benchmark import open_benchmark
from bench.data.images import read_image, write_image
from bench.errors import BenchError
from bench.measure.evaluate import evaluate, used
from bench.measure.meter import Meter
from bench.measure.metrics import METRICS
from bench.measure.protocol import Noted, protocol
from bench.method import Method, to_tensor
from bench.method.restoring import restore, restoring
from bench.records.cell import Score, label_of
from methods.classical import Bicubic
from methods.nima_sr import EDSR

CPU = torch.device("cpu")


class Nearest(Method):
    """Repeats each pixel, adds `levels` of 255, and remembers the sizes it was given."""

    def __init__(self, *, scale: int = 2, levels: float = 0.0) -> None:
        super().__init__()
        self.scale, self.levels = scale, levels
        self.sizes: list[tuple[int, int]] = []

    def forward(self, lr: Tensor) -> Tensor:
        self.sizes.append((lr.shape[2], lr.shape[3]))
        return nn.functional.interpolate(lr, scale_factor=self.scale) + self.levels / 255


def measure(
    method: Method, dataset: str, *names: str, scale: int = 2, degradation: str = "bicubic",
    limit: int | None = None,
) -> Measured:  # fmt: skip
    """Without a store."""
    benchmark = open_benchmark(dataset, scale, degradation, limit)
    with Meter(names or ("psnr", "ssim"), workers=1) as meter:
        images = list(evaluate(restoring(method), benchmark, meter, "sr-y@1"))
    return Measured([benchmark], {dataset: images}, {dataset: "sr-y@1"}, dict(meter.unavailable))


def mean(found: Measured, dataset: str, metric: str) -> float:
    values = [s.value for s in found.scores() if (s.dataset, s.metric) == (dataset, metric)]
    return protocol(found.protocols[dataset]).pool(metric, values)


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Measured]:
    """As `measure`, by the public function, with the pictures in tmp_path/out."""

    def run(method: Method, dataset: str, *names: str) -> Measured:
        monkeypatch.setattr("bench.api.prepare_method", lambda *arguments: method)
        return measure_method("", [dataset], 2, names or ("psnr", "ssim"), out=tmp_path / "out")

    return run


# --- tiles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("height", "width", "tile"), [(37, 53, 16), (41, 23, 7), (64, 64, 32)])
def test_tiles_give_the_whole_image(scale: int, height: int, width: int, tile: int) -> None:
    torch.manual_seed(0)
    method = EDSR(scale=scale, blocks=2, channels=4, gamma=0).eval()
    lr = torch.rand(1, 3, height, width)
    whole = restore(method, lr)
    assert whole.shape == (1, 3, scale * height, scale * width)
    tiled = restore(method, lr, tile=tile, whole=tile)
    assert (tiled - whole).abs().max() < 1e-5


def test_tiles_of_bicubic_give_the_whole_image() -> None:
    lr = torch.rand(1, 3, 29, 43)
    tiled = restore(Bicubic(scale=3), lr, tile=11, whole=11)
    assert (tiled - restore(Bicubic(scale=3), lr)).abs().max() < 1e-5


def test_a_halo_that_is_too_small_shows_seams() -> None:
    torch.manual_seed(0)
    method = EDSR(scale=2, blocks=2, channels=4, gamma=0).eval()
    lr = torch.rand(1, 3, 32, 32)
    whole = restore(method, lr)
    method.halo = 1
    assert (restore(method, lr, tile=16, whole=16) - whole).abs().max() > 1e-4


def test_a_tile_is_given_its_halo_and_no_more() -> None:
    method = Nearest()
    method.halo = 3
    restore(method, torch.rand(1, 3, 10, 25), tile=10, whole=10)
    assert method.sizes == [(10, 13), (10, 16), (10, 8)]


def test_small_images_and_methods_that_see_all_are_never_tiled() -> None:
    method = Nearest()
    restore(method, torch.rand(1, 3, 30, 30), tile=8, whole=30)
    assert method.sizes == [(30, 30)]
    method.halo = None
    restore(method, torch.rand(1, 3, 31, 40), tile=8, whole=8)
    assert method.sizes == [(30, 30), (31, 40)]


# --- scores ---------------------------------------------------------------------------------------


def flat_set(root: Path, folder: str, sizes: list[int]) -> None:
    """Images of one gray value each: 100, 101, ..."""
    for i, side in enumerate(sizes):
        image = np.full((side, side, 3), 100 + i, np.uint8)
        write_image(root / folder / "HR" / f"{i}.png", image)


class Offset(Method):
    """LR, 1 level off where the gray value is 100, and 10 levels off elsewhere."""

    def forward(self, lr: Tensor) -> Tensor:
        return lr + torch.where(lr < 100.5 / 255, 1 / 255, 10 / 255)


def test_the_mean_psnr_is_that_of_the_images_not_of_the_pooled_error(small_sets: Path) -> None:
    flat_set(small_sets, "Urban100", [16, 48])
    found = measure(Offset(), "urban100", "psnr", scale=1, degradation="none")
    one, other = 20 * math.log10(255 / 1), 20 * math.log10(255 / 10)
    assert [score.value for score in found.scores()] == pytest.approx([one, other])
    assert mean(found, "urban100", "psnr") == pytest.approx((one + other) / 2)
    assert mean(found, "urban100", "psnr") == pytest.approx(38.1308, abs=1e-4)


def test_a_mean_is_missing_where_an_image_has_no_value(small_sets: Path) -> None:
    flat_set(small_sets, "Urban100", [32, 12])  # SSIM needs 11 pixels: 12 less a border of 1 is 10
    found = measure(Nearest(scale=1), "urban100", "ssim", "psnr", scale=1, degradation="none")
    values = {(s.image, s.metric): s.value for s in found.scores()}
    assert values["0", "ssim"] == 1 and math.isnan(values["1", "ssim"])
    assert math.isnan(mean(found, "urban100", "ssim"))
    assert mean(found, "urban100", "psnr") == math.inf
    whys = {(s.image, s.metric): s.why for s in found.scores() if s.why}
    assert list(whys) == [("1", "ssim")] and "11" in whys["1", "ssim"]
    assert math.isnan(mean(found, "urban100", "niqe"))


def test_every_score_says_what_it_is_of(small_sets: Path) -> None:
    found = measure(Nearest(), "bsd100", "psnr_y")
    assert [score[:5] for score in found.scores()] == [
        ("bsd100", 2, "101085", "psnr_y", "sr-y@1"),
        ("bsd100", 2, "101087", "psnr_y", "sr-y@1"),
    ]
    assert all(isinstance(score, Score) and 5 < score.value < 60 for score in found.scores())


def test_a_limit_makes_a_partial_set(small_sets: Path) -> None:
    found = measure(Nearest(), "bsd100", limit=1)
    assert {score.image for score in found.scores()} == {"101085"}
    record = used(found.benchmarks[0])
    assert (record.count, record.official, record.source) == (1, 100, "bicubic")


def test_a_missing_set_is_refused_with_how_to_get_it(small_sets: Path) -> None:
    with pytest.raises(BenchError, match=r"'urban100'(?s:.*)Get it from"):
        measure_method("methods.classical.Bicubic", ["set14", "urban100"], 2, ["psnr"])


def test_a_metric_without_weights_is_noted_and_the_others_computed(small_sets: Path) -> None:
    found = measure(Nearest(), "set14", "psnr", "lpips_vgg")
    assert {score.metric for score in found.scores()} == {"psnr"}
    assert set(found.unavailable) == {"lpips_vgg"}
    assert "vgg16-397923af.pth" in found.unavailable["lpips_vgg"]


def test_saved_pictures_are_what_was_scored(
    small_sets: Path, tmp_path: Path, saved: Callable[..., Measured]
) -> None:
    """Their PSNR, worked out here from the files, is the recorded one."""
    found = saved(Nearest(levels=7.6), "bsd100", "psnr")
    assert len(found.scores()) == 2
    for score in found.scores():
        restored = read_image(tmp_path / "out" / "bsd100" / f"{score.image}.png").astype(float)
        original = read_image(small_sets / "BSD100/HR" / f"{score.image}.png").astype(float)
        error = np.square(restored - original)[2:-2, 2:-2].mean()
        assert score.value == pytest.approx(10 * math.log10(255**2 / error), abs=1e-9)


def test_gray_files_are_restored_in_three_channels_and_scored_on_their_gray(
    small_sets: Path,
) -> None:
    gray = np.random.default_rng(0).integers(0, 200, (20, 24), dtype=np.uint8)
    write_image(small_sets / "Urban100/HR/g.png", gray)
    found = measure(Nearest(scale=1, levels=5), "urban100", "psnr_y", "ssim_y", scale=1,
                    degradation="none")  # fmt: skip
    values = {score.metric: score.value for score in found.scores()}
    assert values["psnr_y"] == pytest.approx(20 * math.log10(255 / 5), abs=1e-9)
    assert 0.9 < values["ssim_y"] < 1


class Returns(Method):
    """Whatever it is told to."""

    def __init__(self, shape: tuple[int, ...], value: float = 0.5) -> None:
        super().__init__()
        self.sr = torch.full(shape, value)

    def forward(self, lr: Tensor) -> Tensor:
        return self.sr


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (Returns((1, 3, 34, 24)), r"made \(1, 3, 34, 24\) .*, not \(1, 3, 34, 26\)"),
        (Returns((1, 3, 17, 13)), r"made \(1, 3, 17, 13\) .*, not \(1, 3, 34, 26\)"),
        (Returns((1, 1, 34, 26)), r"made \(1, 1, 34, 26\) .*, not \(1, 3, 34, 26\)"),
        (Returns((1, 3, 34, 26), math.nan), "not finite"),
        (Returns((1, 3, 34, 26), math.inf), "not finite"),
    ],
    ids=["wide", "scale", "channels", "nan", "inf"],
)
def test_what_cannot_be_scored_names_the_image(
    small_sets: Path, tmp_path: Path, saved: Callable[..., Measured], method: Method, what: str
) -> None:
    with pytest.raises(BenchError, match=rf"^set14/comic: test_evaluate\.Returns: .*{what}"):
        saved(method, "set14")
    assert not (tmp_path / "out").exists()


def test_images_go_in_as_rgb_in_0_to_1(small_sets: Path) -> None:
    lr = to_tensor(read_image(small_sets / "Set14/HR/comic.png"), CPU)
    assert lr.shape == (1, 3, 34, 26)
    assert 0 <= lr.min() < 0.2 and 0.8 < lr.max() <= 1


@pytest.mark.data
def test_bicubic_on_set5_x2_scores_what_the_papers_print(data_root: Path) -> None:
    found = measure_method("methods.classical.Bicubic", ["set5"], 2, ["psnr_y", "ssim_y"])
    assert found.protocols == {"set5": "sr-y@1"}
    (benchmark,) = found.benchmarks
    assert len(benchmark.pairs) == 5
    assert benchmark.source.startswith("published")
    assert mean(found, "set5", "psnr_y") == pytest.approx(33.68, abs=0.01)
    assert mean(found, "set5", "ssim_y") == pytest.approx(0.9305, abs=0.0005)


def test_a_folder_has_a_name_that_files_and_metrics_can_carry() -> None:
    assert label_of("set5") == "set5"
    one, other = label_of("/data/my photos"), label_of("/elsewhere/my photos")
    assert one != other and one.startswith("my_photos-")
    assert all(c.isalnum() or c in "_-" for c in one + label_of("./mine"))


def test_a_set_without_hr_has_no_reference_scores_but_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    folder = tmp_path / "DIV2K" / "DIV2K_test_LR_bicubic" / "X2"
    write_image(folder / "0901x2.png", np.full((10, 12, 3), 7, np.uint8))
    scorer = dataclasses.replace(
        METRICS["niqe"], load=lambda device: lambda sr, hr, rules, scale: float(sr.mean())
    )
    monkeypatch.setitem(METRICS, "niqe", scorer)
    (image,) = measure(Nearest(), "div2k_test", "psnr_y", "niqe").images["div2k_test"]
    shapes = (image.lr.shape, image.sr.shape)
    assert (image.stem, *shapes, image.hr) == ("0901", (10, 12, 3), (20, 24, 3), None)
    assert math.isnan(image.scores["psnr_y"].value) and image.scores["niqe"].value == 7
    assert "no HR file" in str(image.scores["psnr_y"].why)


def test_restored_pictures_of_a_folder_never_go_into_it(
    tmp_path: Path, saved: Callable[..., Measured]
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    write_image(tmp_path / "mine" / "a.png", photo)
    saved(Nearest(), str(tmp_path / "mine"))
    assert np.array_equal(read_image(tmp_path / "mine" / "a.png"), photo)
    (file,) = (tmp_path / "out").rglob("*.png")
    assert file.parent.name == label_of(str(tmp_path / "mine"))


def test_what_a_metric_says_of_its_number_is_kept(
    small_sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = dataclasses.replace(
        METRICS["viqet"], load=lambda device: lambda sr, hr, rules, scale: Noted(2.5, "odd")
    )
    monkeypatch.setitem(METRICS, "viqet", odd)
    (score,) = measure(Nearest(), "set14", "viqet").scores()
    assert score == Score("set14", 2, "comic", "viqet", "sr-y@1", 2.5, "", "odd")
