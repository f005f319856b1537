"""NIQE: official values, and what cannot be scored."""

from pathlib import Path

import numpy as np
import pytest

from bench.data.images import read_image
from bench.measure import metrics
from bench.measure.metrics import METRICS, Scorer, Unscorable
from bench.measure.metrics.niqe import pristine
from bench.measure.protocol import protocol


@pytest.fixture
def niqe() -> Scorer:
    return METRICS["niqe"].load("cpu")


@pytest.mark.data
@pytest.mark.parametrize(("name", "official"), [("I04", 3.65492152), ("I06", 3.23547744)])
def test_niqe_is_the_authors_matlab_value(
    niqe: Scorer, reference_root: Path, name: str, official: float
) -> None:
    image = read_image(reference_root / f"tid2013/distorted/{name}.bmp")
    assert niqe(image, None, protocol("full@1"), 1) == pytest.approx(official, rel=1e-4)


@pytest.mark.data
def test_niqe_of_baboon_is_basicsrs_matlab_value(niqe: Scorer, data_root: Path) -> None:
    image = read_image(data_root / "Set14/HR/img_001.png")
    value = niqe(image, None, protocol("sr-y@1"), 0)  # its Y, without a border
    assert value == pytest.approx(5.72957, abs=2e-5)


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
