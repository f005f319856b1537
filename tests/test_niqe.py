"""NIQE: official values, the same on every machine, and what cannot be scored."""

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from bench.data.filters import filter_valid
from bench.data.images import read_image
from bench.data.pixels import Image
from bench.measure import metrics
from bench.measure.metrics import METRICS, Scorer, Unscorable
from bench.measure.metrics import niqe as module
from bench.measure.metrics.niqe import pristine
from bench.measure.protocol import protocol


@pytest.fixture
def niqe() -> Scorer:
    return METRICS["niqe"].load("cpu")


OFFICIAL = {
    "I03": 15.7536293917814,
    "I04": 3.65492152353770,
    "I06": 3.23547743716998,
    "I08": 3.18403333858339,
    "I19": 8.63519663862637,
}
"""What the authors' release gives for pictures of TID2013 (pyiqa's calibration): by rounding errors
where a window is constant, so it cannot be met to the last digit there."""


@pytest.fixture
def tid2013() -> Callable[[str], Image]:
    """Reads the distorted pictures that come with pyiqa."""

    def read(name: str) -> Image:
        files = metadata.files("pyiqa") or ()
        for file in files:
            if file.parts[-2:] == ("dist_dir", f"{name}.bmp"):
                return read_image(Path(str(file.locate())))
        pytest.skip("this pyiqa comes without the pictures of its calibration")

    return read


@pytest.mark.parametrize("name", OFFICIAL)
def test_niqe_is_the_authors_matlab_value(
    niqe: Scorer, tid2013: Callable[[str], Image], name: str
) -> None:
    value = niqe(tid2013(name), None, protocol("full@1"), 1)
    assert value == pytest.approx(OFFICIAL[name], rel=0.0057)
    if name == "I04":  # no flat window
        assert value == pytest.approx(OFFICIAL[name], rel=1e-11)


@pytest.mark.data
def test_niqe_of_baboon_is_basicsrs_matlab_value(niqe: Scorer, data_root: Path) -> None:
    image = read_image(data_root / "Set14/HR/img_001.png")
    value = niqe(image, None, protocol("sr-y@1"), 0)  # its Y, without a border
    assert value == pytest.approx(5.72957, abs=2e-5)


# --- where the picture is flat --------------------------------------------------------------------


def partly_flat() -> Image:
    """Texture beside a flat sky with a few spots, a ramp, black bars and a lone bright pixel."""
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (288, 384), dtype=np.uint8)
    image[:120, :250] = 199
    image[20:100:8, 10:240:9] += 1
    image[120:220, 200:] = np.arange(184) + 40
    image[250:] = 0
    image[270, 100] = 255
    return image


Filter = Callable[[Any, Any], Any]


def columns_first(image: Any, taps: Any) -> Any:
    return filter_valid(np.ascontiguousarray(image.swapaxes(-1, -2)), taps).swapaxes(-1, -2)


def without_blas(image: Any, taps: Any) -> Any:
    """In two dimensions at once, from the last tap to the first."""
    n = len(taps)
    height, width = image.shape[-2] - n + 1, image.shape[-1] - n + 1
    backwards = [(i, j) for i in reversed(range(n)) for j in reversed(range(n))]
    return sum(taps[i] * taps[j] * image[..., i : i + height, j : j + width] for i, j in backwards)


def noisy(image: Any, taps: Any) -> Any:
    filtered = filter_valid(image, taps)
    return filtered * (1 + np.random.default_rng(0).uniform(-1e-15, 1e-15, filtered.shape))


@pytest.mark.parametrize("other", [columns_first, without_blas, noisy])
@pytest.mark.parametrize("name", ["made up", "I03", "I19"])
def test_niqe_does_not_depend_on_the_order_of_summation(
    niqe: Scorer,
    tid2013: Callable[[str], Image],
    monkeypatch: pytest.MonkeyPatch,
    other: Filter,
    name: str,
) -> None:
    image = partly_flat() if name == "made up" else tid2013(name)
    value = niqe(image, None, protocol("full@1"), 1)
    monkeypatch.setattr(module, "filter_valid", other)
    assert niqe(image, None, protocol("full@1"), 1) == pytest.approx(value, rel=1e-11, abs=0)


def test_niqe_does_not_depend_on_the_number_of_threads(niqe: Scorer) -> None:
    values = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            values.append(niqe(partly_flat(), None, protocol("full@1"), 1))
    assert values == pytest.approx([values[0]] * 3, rel=1e-12, abs=0)


def test_what_equals_its_local_mean_is_0_and_has_no_sign() -> None:
    flat = np.full((20, 20), 199.0)
    assert not module._normalised(flat).any()
    assert not module._normalised(module.imresize_float(flat, 0.5)).any()
    ramp = np.add.outer(3 * np.arange(20.0), 5 * np.arange(20.0))
    assert not module._normalised(ramp)[3:-3, 3:-3].any()
    flat[10, 10] += 1
    spot = module._normalised(flat)
    assert np.count_nonzero(spot > 0) == 1 and np.count_nonzero(spot < 0) == 48
    assert spot[10, 10] > 0 and (np.delete(spot[7:14, 7:14].ravel(), 24) < 0).all()


# --- what cannot be scored ------------------------------------------------------------------------


def test_small_and_flat_images_are_unscorable(niqe: Scorer) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (99, 300, 3), dtype=np.uint8)
    with pytest.raises(Unscorable, match="two blocks of 96x96"):
        niqe(small, None, protocol("sr-y@1"), 2)
    with pytest.raises(Unscorable, match="texture"):
        niqe(np.full((200, 200, 3), 9, np.uint8), None, protocol("full@1"), 1)


def test_a_flat_sky_leaves_the_other_blocks_to_score(niqe: Scorer) -> None:
    image = np.random.default_rng(0).integers(0, 256, (288, 192, 3), dtype=np.uint8)
    image[:120] = 200
    assert np.isfinite(niqe(image, None, protocol("full@1"), 1))


def test_it_can_be_measured_on_every_machine() -> None:
    mean, covariance = pristine()
    assert (mean.shape, covariance.shape) == ((36,), (36, 36))
    assert np.array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12  # as a covariance must be
    assert METRICS["niqe"].unavailable() is None


def test_the_notice_of_its_figures_lies_beside_them() -> None:
    folder = Path(metrics.__file__).parent / "tables"
    assert (folder / "niqe_pristine.csv").is_file()
    notice = " ".join((folder / "niqe_pristine.txt").read_text().split())
    assert "Copyright (c) 2011 The University of Texas at Austin" in notice
    assert "provided that the copyright notice in its entirety appear in all copies" in notice


@pytest.mark.data
def test_its_figures_are_the_released_ones_to_the_last_bit(weights_root: Path) -> None:
    mean, covariance = pristine()
    with np.load(weights_root / "niqe/niqe_pris_params.npz") as released:
        assert np.array_equal(mean, released["mu_pris_param"].ravel())
        assert np.array_equal(covariance, released["cov_pris_param"])
