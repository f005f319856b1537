"""Photographed pairs: by how many pixels they lie apart, found in pictures shifted by hand."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth
from numpy.typing import NDArray

from bench.data import alignment as aligning
from bench.data.alignment import alignment, decibels
from bench.data.datacheck import check_set, check_text
from bench.data.images import write_image
from bench.data.pairs import load_pairs

Image = NDArray[np.uint8]


def shifted(dx: int, dy: int, seed: int = 0, side: int = 40) -> tuple[Image, Image]:
    """HR, and an LR whose content lies dx to the right and dy below; LR is darker by 10 levels."""
    scene = smooth(side + 6, side + 6, seed) // 2 + 40
    hr = scene[3 : 3 + side, 3 : 3 + side]
    return hr, scene[3 - dy : 3 - dy + side, 3 - dx : 3 - dx + side] - 10


def write_patches(root: Path, shifts: list[tuple[int, int]]) -> None:
    for i, (dx, dy) in enumerate(shifts):
        hr, lr = shifted(dx, dy, seed=i)
        write_image(root / f"DPED/iphone/test_data/patches/canon/{i}.png", hr)
        write_image(root / f"DPED/iphone/test_data/patches/iphone/{i}.png", lr)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, -2), (-3, 3), (3, 1)])
def test_a_known_shift_is_found(dx: int, dy: int) -> None:
    """There the pictures differ by 10 levels alone: 20 log10(255 / 10) = 28.13 dB."""
    table = decibels(*shifted(dx, dy))
    assert table is not None and table.shape == (7, 7)
    assert np.unravel_index(table.argmax(), table.shape) == (dy + 3, dx + 3)
    assert table.max() == pytest.approx(28.13, abs=0.005)


def test_the_gain_is_that_of_shifting_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three pairs lie at (2, -1): moving all is a gain, each by its own a larger one."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    write_patches(tmp_path, [(2, -1), (2, -1), (0, 0)])
    found = alignment(load_pairs("dped_iphone", 1))
    assert found is not None
    assert (found.compared, found.in_place, found.shift) == (3, 1, (2, -1))

    def cut(image: Image, dx: int = 0, dy: int = 0) -> NDArray[np.float64]:
        return image[3 + dy : 37 + dy, 3 + dx : 37 + dx].astype(float)

    pairs = [shifted(*move, seed=i) for i, move in enumerate([(2, -1), (2, -1), (0, 0)])]
    as_is, moved = (
        [20 * np.log10(255 / np.sqrt(((cut(hr) - cut(lr, *by)) ** 2).mean())) for hr, lr in pairs]
        for by in ((0, 0), (2, -1))
    )
    best = np.maximum(as_is, moved)
    assert found.gain == pytest.approx(np.mean(moved) - np.mean(as_is))
    assert found.own_gain == pytest.approx(best.mean() - np.mean(as_is))


def test_data_check_says_how_a_photographed_set_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    write_patches(tmp_path, [(1, 2)] * 3)
    checked = check_set("dped_iphone")
    assert checked.problems == ()
    assert asdict(checked)["aligned"]["shift"] == (1, 2)
    (line,) = [text for text in check_text(checked).splitlines() if "aligned" in text[:9]]
    assert (
        "0 of 3 pairs fit best as they are, within 3 px; all together shifted by (+1, +2)" in line
    )


def test_of_a_large_set_some_pairs_are_compared_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setattr(aligning, "LOOKED_AT", 3)
    write_patches(tmp_path, [(0, 0), (3, 3), (0, 0), (3, 3), (0, 0)])
    found = alignment(load_pairs("dped_iphone", 1))
    assert found is not None and (found.compared, found.in_place) == (3, 3)


def test_flat_and_tiny_pictures_do_not_count() -> None:
    white = np.full((40, 40, 3), 255, np.uint8)
    assert decibels(white, white) is None and decibels(white[:6, :6], white[:6, :6]) is None
    assert decibels(smooth(40, 40, 0), white) is None
    equal = decibels(smooth(40, 40, 0), smooth(40, 40, 0))
    assert equal is not None and equal[3, 3] == 100 == equal.max()


def test_what_is_made_from_hr_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    write_image(tmp_path / "Set5/HR/a.png", smooth(48, 48, 0))
    assert check_set("set5").aligned is None


@pytest.mark.data
@pytest.mark.usefixtures("data_root")
def test_dpeds_patches_lie_on_each_other() -> None:
    """Together they fit best as they are; the four white ones say nothing."""
    found = alignment(load_pairs("dped_iphone", 1))
    assert found is not None
    assert found.compared == 396 and found.shift == (0, 0)
