"""Targets of a stage: made in bounded batches and tiles, stored as one file, mapped when read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from kit import mapped
from torch import Tensor
from torch.nn import functional as F

from bench.data.mapped import Mapped, read_mapped
from bench.data.pixels import Samples
from bench.method import Stage
from bench.records.store import Store
from bench.train.targets import drop_targets, opened_targets, write_targets

CPU = torch.device("cpu")


def drawn(*sizes: tuple[int, int]) -> list[Samples]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def write(stage: Stage, images: list[Samples], folder: Path) -> Samples:
    write_targets(stage, mapped(images), folder, CPU)
    return read_mapped(folder).pixels


def blur(image: Tensor) -> Tensor:
    """Reaches one pixel."""
    taps = torch.full((3, 1, 3, 3), 1 / 9)
    return F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), taps, groups=3)


def test_small_images_of_one_size_go_together_and_keep_their_order(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def negative(hr: Tensor) -> Tensor:
        seen.append(tuple(hr.shape))
        return 1 - hr

    pairs = drawn((200, 200), (200, 200), (200, 200), (200, 200), (200, 200), (10, 30), (200, 200))
    stored = write(Stage("n", target=negative), pairs, tmp_path)
    # four of 200x200 make 400x400 pixels, which is a batch
    assert seen == [(4, 3, 200, 200), (1, 3, 200, 200), (1, 3, 10, 30), (1, 3, 200, 200)]
    expected = np.concatenate([image.reshape(-1, 3) for image in pairs]).astype(int)
    assert np.array_equal(stored, 257 * (255 - expected))


def test_a_large_image_is_made_in_tiles_that_show_no_seams(tmp_path: Path) -> None:
    widest: list[int] = []

    def watched(hr: Tensor) -> Tensor:
        widest.append(max(hr.shape[-2:]))
        return blur(hr)

    (image,) = pairs = drawn((300, 700))
    stored = write(Stage("b", target=watched, target_halo=1), pairs, tmp_path)
    assert max(widest) == 258 and len(widest) == 6
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    whole = blur(tensor)[0].permute(1, 2, 0).reshape(-1, 3)
    assert np.abs(stored / 65535 - whole.numpy()).max() < 1e-5

    widest.clear()
    write(Stage("b", target=watched), pairs, tmp_path)
    assert widest == [700], "without a halo the target must see the whole image"


def test_images_that_are_one_file_have_one_target(tmp_path: Path) -> None:
    """As the long exposures of See-in-the-Dark, each of which many short ones share."""
    first, second = drawn((8, 9), (9, 8))
    hr = mapped([first, second])
    shared = Mapped(hr.pixels, np.array(["a", "b", "c"]), *(
        values[[0, 1, 0]] for values in (hr.offset, hr.height, hr.width)
    ))  # fmt: skip
    write_targets(Stage("n", target=lambda image: 1 - image), shared, tmp_path, CPU)
    targets = read_mapped(tmp_path)
    assert len(targets.pixels) == 2 * 72 and np.array_equal(targets.offset, [0, 72, 0])
    assert np.array_equal(targets.image(2), 257 * (255 - first.astype(np.int64)))


def test_a_target_in_use_is_kept_and_dropped_afterwards(tmp_path: Path) -> None:
    store, hr = Store(tmp_path), mapped(drawn((8, 8)))
    calls: list[int] = []

    def target(image: Tensor) -> Tensor:
        calls.append(len(image))
        return image

    stage = Stage("same", target=target)
    with opened_targets(store, "k", stage, hr, CPU, 1) as made:
        with opened_targets(store, "k", stage, hr, CPU, 1):  # another training beside it
            assert drop_targets(store, ["k", "absent"]) == []
        assert drop_targets(store, ["k"]) == [] and store.has("targets", "k")
    assert len(calls) == 1
    assert drop_targets(store, ["k"]) == ["k"] and not store.has("targets", "k")
    assert np.array_equal(made.pixels, 257 * hr.pixels.astype(np.int64)), "what is mapped stays"
    with opened_targets(store, "k", stage, hr, CPU, 1):
        assert len(calls) == 2, "what is wanted again is made again"


def test_a_target_of_another_size_is_refused(tmp_path: Path) -> None:
    stage = Stage("cut", target=lambda hr: hr[..., 1:])
    with pytest.raises(ValueError, match=r"stage cut: target of .*8, 9.* is .*8, 8"):
        write(stage, drawn((8, 9)), tmp_path)
