"""pyiqa behind its door: official values, colour as stated, and nothing done unasked."""

import math
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data as photographs

from bench.data.images import read_image
from bench.data.pixels import Image, luma
from bench.errors import BenchError, Unscorable
from bench.measure.meter import Meter
from bench.measure.metrics import ImageScore, fidelity, pyiqa
from bench.measure.protocol import Noted, protocol
from bench.measure.task import Restored
from bench.method.precision import ieee_fp32

FULL = protocol("full@1")
WITHOUT_WEIGHTS = (
    "cw_ssim", "entropy", "fsim", "gmsd", "mad", "ms_ssim", "nlpd", "piqe", "psnr", "psnry", "ssim",
    "ssimc", "vif", "vsi",
)  # fmt: skip


@pytest.fixture
def cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of pyiqa's, of torch's, and of Hugging Face's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = pyiqa.cache_folder()
    folder.mkdir(parents=True)
    with pyiqa._contained():
        from huggingface_hub import constants
        from pyiqa.utils import download_util
    # both are fixed when they are imported
    monkeypatch.setattr(download_util, "DEFAULT_CACHE_DIR", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "huggingface"))
    pyiqa._why_not_built.cache_clear()
    yield folder
    pyiqa._why_not_built.cache_clear()


@pytest.fixture
def pair() -> tuple[Image, Image]:
    """A photograph with noise, and without."""
    hr = np.ascontiguousarray(photographs.astronaut()[:192, 120:320])
    noise = np.random.default_rng(0).normal(0, 12, hr.shape)
    return np.clip(hr + noise, 0, 255).astype(np.uint8), hr


# --- what is known without loading it -------------------------------------------------------------


def test_the_names_and_their_facts_are_pyiqas() -> None:
    with pyiqa._contained():
        from pyiqa.default_model_configs import DEFAULT_CONFIGS
    assert pyiqa.known() == tuple(sorted(DEFAULT_CONFIGS)) and len(pyiqa.known()) > 100
    assert {"niqe_matlab", "piqe", "brisque", "pi", "musiq", *WITHOUT_WEIGHTS} <= {*pyiqa.known()}
    for name, entry in DEFAULT_CONFIGS.items():
        facts = pyiqa.facts(name)
        assert facts.reference == (entry["metric_mode"] == "FR")
        if name != "dmm":
            assert (facts.direction == "lower") == entry.get("lower_better", False)
        assert "PolyForm Noncommercial" in facts.source
    # a sum of squared differences, which pyiqa's configuration calls better when higher
    assert pyiqa.facts("dmm").direction == "lower"


@pytest.mark.parametrize(
    ("name", "colour", "digits", "unit"),
    [
        ("psnr", "RGB; the whole image", 2, "dB"),
        ("psnry", "unrounded: on gray content 20 log10(255/219) = 1.32 dB below", 2, "dB"),
        ("ssim", "Y of YIQ (0.299 R + 0.587 G + 0.114 B, full range) rounded", 4, ""),
        ("ssimc", "RGB; the whole image", 4, ""),
        ("pi", "Y of BT.601 in studio swing, rounded to whole levels, a border of 4 pixels", 3, ""),
        ("niqe_matlab", "Y of YIQ (0.299 R + 0.587 G + 0.114 B, full range) rounded", 2, ""),
        ("musiq", "RGB; the whole image under every protocol", 2, ""),
        ("musiq-ava", "RGB; the whole image under every protocol", 3, ""),
    ],
)
def test_colour_digits_and_unit_are_stated(name: str, colour: str, digits: int, unit: str) -> None:
    facts = pyiqa.facts(name)
    assert facts.colour.startswith(colour) or colour in facts.colour
    assert facts.colour.endswith("the whole image under every protocol")
    assert (facts.digits, facts.unit) == (digits, unit)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    for ask in (pyiqa.facts, pyiqa.unavailable, pyiqa.download):
        with pytest.raises(BenchError, match="Did you mean 'musiq'"):
            ask("musik")


def test_without_pyiqa_there_are_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyiqa, "_configurations", dict)
    assert pyiqa.known() == ()
    with pytest.raises(BenchError, match="pip install pyiqa"):
        pyiqa.unavailable("psnr")


def test_another_versions_list_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the source cannot be read as a literal, the package is imported."""
    (tmp_path / "default_model_configs.py").write_text("DEFAULT_CONFIGS = dict(made=lambda: 1)")
    expected = pyiqa.known()
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    assert tuple(sorted(pyiqa._configurations.__wrapped__())) == expected


# --- numbers --------------------------------------------------------------------------------------


def official(folder: Path, name: str, image: str) -> float | Noted:
    pair = [read_image(folder / f"tid2013/{s}/{image}.bmp") for s in ("distorted", "reference")]
    hr = pair[1] if pyiqa.facts(name).reference else None
    return pyiqa.scorer(name, "cpu")(pair[0], hr, FULL, 1)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "first", "second", "tolerance"),
    [
        ("psnr", 20.9872, 27.0139, 6e-5),
        ("ssim", 0.9978, 0.9989, 6e-5),
        ("ms_ssim", 0.9996, 0.9998, 6e-5),
        ("piqe", 21.62, 35.86, 6e-3),
        ("fsim", 0.9702, 0.9927, 6e-5),
        ("vif", 0.9891, 0.9924, 6e-5),
        # its Y is of YIQ, that of the authors of rgb2gray: some pixels are rounded otherwise
        ("gmsd", 0.00052206, 0.00044828, 1e-6),
    ],
)
def test_values_are_those_of_the_authors_code(
    reference_root: Path, name: str, first: float, second: float, tolerance: float
) -> None:
    assert official(reference_root, name, "I04") == pytest.approx(first, abs=tolerance)
    assert official(reference_root, name, "I06") == pytest.approx(second, abs=tolerance)


@pytest.mark.data
def test_niqe_on_the_authors_parameters_is_nearly_the_authors_value(
    cache_folder: Path, reference_root: Path, weights_root: Path
) -> None:
    shutil.copy(
        weights_root / "niqe/modelparameters.mat", cache_folder / "niqe_modelparameters.mat"
    )
    # Y of YIQ where the authors take rgb2gray
    assert official(reference_root, "niqe", "I04") == pytest.approx(3.65492152, abs=2e-3)
    assert official(reference_root, "niqe", "I06") == pytest.approx(3.23547744, abs=2e-3)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "first", "second", "tolerance"),
    [
        ("niqe_matlab", 2.99, 3.17, 0.01),
        ("brisque", -0.1076, 0.9929, 0.05),
        ("dists", 0.1424, 0.0683, 6e-5),
        ("lpips", 0.2572, 0.0508, 6e-5),
    ],
)
def test_values_on_downloaded_weights_are_those_of_the_authors_code(
    reference_root: Path, name: str, first: float, second: float, tolerance: float
) -> None:
    if why := pyiqa.unavailable(name):
        pytest.skip(why)
    assert official(reference_root, name, "I04") == pytest.approx(first, abs=tolerance)
    assert official(reference_root, name, "I06") == pytest.approx(second, abs=tolerance)


def test_psnry_of_gray_content_is_132_hundredths_of_a_decibel_below_ours(
    pair: tuple[Image, Image],
) -> None:
    sr, hr = (image[..., 1] for image in pair)
    ours = fidelity.psnr_y(np.stack([sr] * 3, 2), np.stack([hr] * 3, 2), FULL, 1)
    theirs = pyiqa.scorer("psnry", "cpu")(sr, hr, FULL, 1)
    assert ours - theirs == pytest.approx(20 * math.log10(255 / 219), abs=1e-3)


def test_what_both_measure_is_equal(pair: tuple[Image, Image]) -> None:
    for theirs, ours in (("psnr", fidelity.psnr), ("ssimc", fidelity.ssim)):
        value = pyiqa.scorer(theirs, "cpu")(*pair, FULL, 1)
        assert value == pytest.approx(ours(*pair, FULL, 1), abs=2e-4)


def test_it_is_measured_with_like_any_network(pair: tuple[Image, Image]) -> None:
    """In IEEE fp32, amid which torch refuses to say whether cuDNN may use TF32."""
    sr, hr = pair
    alone = pyiqa.scorer("ssim", "cpu")(sr, hr, FULL, 1)
    with Meter(["pyiqa:ssim"], device="cpu", workers=1) as measuring:
        ((_, scores),) = measuring.measure([Restored("a", sr, sr, hr)], FULL, 1, 1)
    assert scores == {"pyiqa:ssim": ImageScore(alone)}


def test_cudnn_is_as_before_and_never_told_to_use_tf32(
    pair: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    cudnn, seen = torch.backends.cudnn, []
    score = pyiqa.scorer("ssim", "cpu")

    def spy(*_: Any, **__: Any) -> torch.Tensor:
        seen.append((cudnn.deterministic, cudnn.conv.fp32_precision))
        return torch.tensor(0.5)

    with ieee_fp32():
        monkeypatch.setattr("pyiqa.archs.ssim_arch.SSIM.forward", spy)
        assert score(*pair, FULL, 1) == 0.5
    assert seen == [(True, "ieee")]
    assert (cudnn.deterministic, cudnn.conv.fp32_precision) == (False, "tf32")


def test_no_protocol_crops(pair: tuple[Image, Image]) -> None:
    score = pyiqa.scorer("psnr", "cpu")
    assert score(*pair, protocol("sr-y@1"), 4) == score(*pair, FULL, 1)


@pytest.mark.parametrize("name", ["ssim", "ms_ssim", "cw_ssim", "vif", "gmsd", "entropy"])
def test_luma_is_rounded_y_of_yiq_as_stated(name: str, pair: tuple[Image, Image]) -> None:
    """A colour image scores as the gray one that holds its Y in all channels."""
    assert "rounded to whole levels" in pyiqa.facts(name).colour
    score, reference = pyiqa.scorer(name, "cpu"), pyiqa.facts(name).reference

    def of(sr: Image, hr: Image) -> float:
        return score(sr, hr if reference else None, FULL, 1)

    weights = np.float32([0.299, 0.587, 0.114])
    colour = of(*pair)
    full_range = of(*(np.round(image @ weights).astype(np.uint8) for image in pair))
    studio_swing = of(*(np.round(luma(image)).astype(np.uint8) for image in pair))
    # a few pixels whose Y is a half are rounded to the other side
    assert abs(full_range - colour) < 0.05 * abs(studio_swing - colour)
    assert full_range == pytest.approx(colour, rel=1e-4)


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_the_original_is_better_than_a_noisy_image(name: str, pair: tuple[Image, Image]) -> None:
    facts = pyiqa.facts(name)
    assert pyiqa.unavailable(name) is None
    side = 96 if name == "mad" else 176  # it is slow, MS-SSIM halves four times
    sr, hr = (image[:side, :side] for image in pair)
    score = pyiqa.scorer(name, "cpu")
    noisy, clean = (score(image, hr if facts.reference else None, FULL, 1) for image in (sr, hr))
    if name != "entropy":  # noise has more of it
        assert (clean > noisy) == (facts.direction == "higher")


# --- nothing unasked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("niqe_matlab", "niqe_matlab_params.mat"),
        ("musiq", "musiq_koniq_ckpt-e95806b9.pth"),
        ("lpips", "alexnet-owt-7be5be79.pth"),  # torchvision
        ("topiq_nr", "huggingface.co/timm/resnet50"),  # timm
        ("clipiqa", ""),  # openai-clip
        ("qrealign", ""),  # transformers
    ],
)
def test_without_its_weights_a_metric_says_so_at_once(
    name: str,
    file: str,
    cache_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*args: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(socket.socket, "connect", never)
    began = time.monotonic()
    why = pyiqa.unavailable(name)
    assert time.monotonic() - began < 20, "nothing is tried again and again"
    assert why is not None and "\n" not in why
    assert file in why and why.endswith(f"Do: bench fetch pyiqa:{name}")
    with pytest.raises(BenchError, match=f"pyiqa:{name}: its weights are not on this machine"):
        pyiqa.scorer(name, "cpu")
    assert capsys.readouterr().out == ""
    assert not any(path.is_file() for path in cache_folder.parent.rglob("*"))
    assert socket.getaddrinfo is never and "pkg_resources" not in sys.modules


@pytest.mark.parametrize("name", ["fid", "inception_score", "clipscore", "fgresq_pair"])
def test_what_scores_no_single_image_is_unavailable(name: str) -> None:
    why = pyiqa.unavailable(name)
    assert why is not None and ("set" in why or "caption" in why or "numbers" in why)
    with pytest.raises(BenchError, match=why):
        pyiqa.download(name)


def test_a_file_that_is_not_the_weights_is_a_reason(cache_folder: Path) -> None:
    (cache_folder / "niqe_modelparameters.mat").write_text("not parameters")
    why = pyiqa.unavailable("niqe")
    assert why is not None and why.startswith("pyiqa cannot load it: ") and "\n" not in why


def test_the_network_is_refused_to_this_thread_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        connected: list[bool] = []

        def connect() -> None:
            with socket.create_connection(address, timeout=5):
                connected.append(True)

        with pyiqa._offline():
            with pytest.raises(OSError, match="not downloaded unasked"):
                connect()
            with pytest.raises(OSError, match="not downloaded unasked"):
                socket.getaddrinfo("example.org", 443)
            other = threading.Thread(target=connect)
            other.start()
            other.join()
        assert connected == [True]
        connect()


def test_random_numbers_go_on_as_if_nothing_had_been_scored(pair: tuple[Image, Image]) -> None:
    def draw() -> tuple[float, float]:
        return torch.rand(1).item(), np.random.random()

    torch.manual_seed(7)
    np.random.seed(7)
    expected = draw()
    torch.manual_seed(7)
    np.random.seed(7)
    pyiqa._why_not_built.cache_clear()
    pyiqa.unavailable("musiq")  # a network, with random weights until it looks for its own
    pyiqa.scorer("ssim", "cpu")(*pair, FULL, 1)
    assert draw() == expected


def test_download_needs_nothing_where_all_is_here_else_a_network(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown_host(*args: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    assert pyiqa.download("psnr") == cache_folder
    with pytest.raises(BenchError, match=r"pyiqa:musiq: .*no connection to \S+ \(Name or service"):
        pyiqa.download("musiq")


def test_nimas_checkpoint_is_all_that_it_needs(
    cache_folder: Path, pair: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole network is in it: the backbone's own weights are not asked for."""
    with pyiqa._contained():
        import timm

    assert "NIMA_InceptionV2_ava-b0c77c00.pth" in str(pyiqa.unavailable("nima"))
    pyiqa._why_not_built.cache_clear()
    create = timm.create_model
    # the real backbone is 200 MB
    monkeypatch.setattr(timm, "create_model", lambda name, **k: create("test_resnet", **k))
    torch.manual_seed(0)
    backbone = create("test_resnet", features_only=True)
    width = backbone.feature_info.channels()[-1]
    state = {f"base_model.{name}": value for name, value in backbone.state_dict().items()}
    state |= {"classifier.2.weight": torch.zeros(10, width), "classifier.2.bias": torch.zeros(10)}
    torch.save({"params": state}, cache_folder / pyiqa.NIMA_AVA)
    assert pyiqa.unavailable("nima") is None
    score = pyiqa.scorer("nima", "cpu")(pair[0], None, FULL, 1)
    assert score == pytest.approx(5.5)  # ten equal marks


# --- single images --------------------------------------------------------------------------------


def test_what_one_image_provokes_is_its_reason(pair: tuple[Image, Image]) -> None:
    sr, hr = pair
    with pytest.raises(Unscorable, match="pyiqa:ssim cannot score 8x5 pixels: RuntimeError"):
        pyiqa.scorer("ssim", "cpu")(sr[:5, :8], hr[:5, :8], FULL, 1)
    with pytest.raises(Unscorable, match="pyiqa:piqe gives nan"):
        pyiqa.scorer("piqe", "cpu")(np.zeros((64, 64, 3), np.uint8), None, FULL, 1)
    with pytest.raises(ValueError, match="needs an HR of its size"):
        pyiqa.scorer("ssim", "cpu")(sr, hr[1:], FULL, 1)


def test_what_is_too_large_for_the_gpu_is_scored_on_the_cpu(
    pair: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    build, tensor = pyiqa._build, pyiqa._tensor

    def full(*images: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(
        pyiqa,
        "_build",
        lambda name, device, **k: build(name, device, **k) if device == "cpu" else full,
    )
    monkeypatch.setattr(pyiqa, "_tensor", lambda image, device: tensor(image, "cpu"))
    expected = pyiqa.scorer("psnr", "cpu")(*pair, FULL, 1)
    found = pyiqa.scorer("psnr", "cuda")(*pair, FULL, 1)
    assert found == Noted(expected, "scored on the CPU, too large for the GPU")

    monkeypatch.setattr(pyiqa, "_build", lambda name, device, **k: full)
    with pytest.raises(Unscorable, match="cannot score 200x192 pixels: out of memory on cpu"):
        pyiqa.scorer("psnr", "cuda")(*pair, FULL, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU")
def test_the_gpu_gives_the_cpus_numbers(pair: tuple[Image, Image]) -> None:
    for name in ("psnr", "ssim", "gmsd", "piqe"):
        hr = pair[1] if pyiqa.facts(name).reference else None
        on_cpu, on_gpu = (pyiqa.scorer(name, d)(pair[0], hr, FULL, 1) for d in ("cpu", "cuda"))
        assert on_gpu == pytest.approx(on_cpu, rel=1e-4)
