"""Decoded images in one file: what is written is read again, once for equal images, uncopied."""

import gc
import re
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data.mapped import Mapped, read_mapped, write_mapped
from bench.data.pixels import Samples


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def stored(folder: Path, *images: Samples, which: tuple[int, ...] = ()) -> Mapped:
    stems = [f"image{i}" for i in range(len(which or images))]
    write_mapped(folder, iter(images), stems, which)
    return read_mapped(folder)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4, 9])
def test_images_come_back_as_they_were(tmp_path: Path, dtype: type, channels: int) -> None:
    images = [noise(h, w, channels, dtype=dtype, seed=h) for h, w in ((3, 7), (1, 1), (8, 2))]
    read = stored(tmp_path, *images)
    assert len(read) == 3 and read.stems.tolist() == ["image0", "image1", "image2"]
    assert read.channels == channels and read.pixels.dtype == dtype
    for i, image in enumerate(images):
        assert np.array_equal(read.image(i), image)
        assert np.shares_memory(read.image(i), read.pixels)
    assert (tmp_path / "pixels.bin").stat().st_size == sum(image.nbytes for image in images)


def test_equal_images_lie_in_the_file_once(tmp_path: Path) -> None:
    one, two = noise(4, 5, 3), noise(6, 3, 3, seed=1)
    read = stored(tmp_path, one, two, which=(0, 1, 0, 0))
    assert len(read.pixels) == 20 + 18 and len(read) == 4
    assert [np.array_equal(read.image(i), image) for i, image in enumerate((one, two, one, one))]
    assert read.offset.tolist() == [0, 20, 0, 0] and read.firsts() == [0, 1]


def test_what_is_read_is_mapped_and_torch_takes_it_without_a_copy(tmp_path: Path) -> None:
    image = noise(5, 5, 3)
    read = stored(tmp_path, image)
    tensor = torch.from_numpy(read.pixels)  # of a read-only array it would warn
    with open(tmp_path / "pixels.bin", "r+b") as file:
        file.write(b"\xff\x00\x77")
    assert tensor[0].tolist() == [255, 0, 119]


def test_an_image_is_gone_when_it_is_written(tmp_path: Path) -> None:
    living: list[weakref.ref[Samples]] = []

    def images() -> Iterator[Samples]:
        for seed in range(5):
            image = noise(50, 50, 3, seed=seed)
            living.append(weakref.ref(image))
            yield image
            gc.collect()
            assert sum(ref() is not None for ref in living) <= 1

    write_mapped(tmp_path, images(), list("abcde"))
    assert len(living) == 5


def test_images_of_two_kinds_and_unnamed_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image 1 is \('uint16', 3\), those before are"):
        stored(tmp_path, noise(2, 2, 3), noise(2, 2, 3, dtype=np.uint16))
    with pytest.raises(ValueError, match="image 1 is"):
        stored(tmp_path, noise(2, 2, 3), noise(2, 2, 4))
    with pytest.raises(ValueError, match="1 images, 2 stems"):
        write_mapped(tmp_path, [noise(2, 2, 3)], ["a", "b"])


def private() -> int:
    """Bytes of this process's own: what it has allocated, or mapped and then written to."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(int(n) for n in re.findall(r"Anonymous: *(\d+)", text))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux alone says it")
def test_reading_all_pixels_costs_a_process_no_memory_of_its_own(tmp_path: Path) -> None:
    row = np.ones((1, 1 << 20, 3), np.uint8)
    read = stored(tmp_path, *[row] * 32)  # 96 MB
    before = private()
    assert sum(int(read.image(i).max()) for i in range(32)) == 32
    assert private() - before < 10e6
