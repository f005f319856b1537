"""Tiles of a function that takes multiples of a stride alone: filled up, on the grid, cut again."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.method.tiles import in_tiles


def blocks(image: Tensor) -> Tensor:
    """Each 4x4 block becomes its mean, twice as large: the grid matters, no context does."""
    assert image.shape[-1] % 4 == image.shape[-2] % 4 == 0
    return F.interpolate(F.avg_pool2d(image, 4), scale_factor=8.0)


@pytest.mark.parametrize(("height", "width"), [(3, 5), (8, 12), (21, 30), (1, 1)])
@pytest.mark.parametrize(("tile", "halo"), [(100, 1), (6, 1), (7, 0), (4, None)])
def test_an_image_of_any_size_comes_out_as_if_filled_up_by_hand(
    height: int, width: int, tile: int, halo: int | None
) -> None:
    image = torch.rand(2, 1, height, width)
    sr = in_tiles(blocks, image, halo, tile, whole=tile, stride=4)
    rows = torch.arange(-(-height // 4) * 4).clamp(max=height - 1)
    columns = torch.arange(-(-width // 4) * 4).clamp(max=width - 1)
    expected = blocks(image[..., rows, :][..., columns])[..., : 2 * height, : 2 * width]
    assert torch.equal(sr, expected)
