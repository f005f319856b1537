"""PRaD's losses, each with a number worked by hand, and against plain implementations."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from methods.losses.adversarial import fooled, told_apart
from methods.losses.contextual import contextual
from methods.losses.perceptual import content
from methods.losses.pixels import (
    colour,
    differences,
    gradient,
    local_contrast,
    total_variation,
)


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def plane(*rows: list[float]) -> Tensor:
    return torch.tensor(rows)[None, None]


SQUARE = plane([0.0, 0.5], [0.25, 1.0])
FLAT = plane([0.0, 0.0], [0.0, 0.0])


def test_colour_is_the_mean_square_and_30_000_times_less_than_printed() -> None:
    assert float(colour(SQUARE, FLAT)) == pytest.approx((0 + 0.25 + 0.0625 + 1) / 4)
    image, target = picture(1, 3, 100, 100), picture(1, 3, 100, 100, seed=1)
    printed = float((image - target).square().sum())
    assert 30_000 * float(colour(image, target)) == pytest.approx(printed, rel=1e-5)


def test_the_gradient_loss_adds_both_directions() -> None:
    """To the right 0.5 and 0.75, below 0.25 and 0.5; of the flat one 0."""
    right, below = differences(SQUARE)
    assert right.flatten().tolist() == [0.5, 0.75] and below.flatten().tolist() == [0.25, 0.5]
    assert float(gradient(SQUARE, FLAT)) == pytest.approx((0.5 + 0.75) / 2 + (0.25 + 0.5) / 2)
    assert float(gradient(SQUARE + 0.3, SQUARE)) == pytest.approx(0, abs=1e-6), "brightness is free"


def test_the_largest_gradient_loss_and_total_variation_are_a_chessboards() -> None:
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).float()[None, None]
    assert float(total_variation(board)) == 2
    assert float(gradient(board, 1 - board)) == 4


def test_total_variation_is_the_mean_square_of_each_direction() -> None:
    expected = (0.5**2 + 0.75**2) / 2 + (0.25**2 + 0.5**2) / 2
    assert float(total_variation(SQUARE)) == pytest.approx(expected)
    slanted = plane([0.0, 0.5], [-0.5, 0.0])  # what equation 18 prints would be 0 here
    assert float(total_variation(slanted)) == pytest.approx(0.5)


def test_local_contrast_of_one_bright_pixel_by_hand() -> None:
    """Of 3x3 pixels around it one is 0.9: mu 0.1, variance 0.09 - 0.01."""
    image = torch.zeros(1, 1, 7, 7)
    image[..., 3, 3] = 0.9
    found = local_contrast(image, reach=1)
    sigma = math.sqrt(0.81 / 9 - 0.01)
    assert float(found[..., 3, 3]) == pytest.approx(0.8 / (sigma + 1 / 255), rel=1e-4)
    assert float(found[..., 2, 4]) == pytest.approx(-0.1 / (sigma + 1 / 255), rel=1e-4)
    assert float(found[..., 0, 0]) == 0


def test_local_contrast_is_equations_10_to_12_with_the_mean() -> None:
    """By a loop over windows of 7x7, as far as they lie in the picture."""
    image = picture(2, 3, 9, 11)
    found = local_contrast(image).numpy()
    array = image.double().numpy()
    for n, c, i, j in ((0, 0, 0, 0), (1, 2, 4, 5), (0, 1, 8, 3), (1, 0, 2, 10)):
        window = array[n, c, max(0, i - 3) : i + 4, max(0, j - 3) : j + 4]
        expected = (array[n, c, i, j] - window.mean()) / (window.std() + 1 / 255)
        assert found[n, c, i, j] == pytest.approx(expected, abs=1e-4)


def test_local_contrast_knows_no_brightness_and_hardly_contrast() -> None:
    image = picture(1, 3, 20, 20)
    assert torch.allclose(local_contrast(image), local_contrast(0.5 * image + 0.2), atol=0.1)
    flat = torch.full((1, 3, 20, 20), 0.7, requires_grad=True)
    normalised = local_contrast(flat)
    assert normalised.abs().max() < 1e-3
    normalised.square().sum().backward()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()


def test_the_content_loss_is_a_mean_of_absolute_differences() -> None:
    assert float(content(torch.tensor([1.0, -2, 4]), torch.tensor([0.0, 1, 4]))) == pytest.approx(
        (1 + 3 + 0) / 3
    )


# --- relativistic ---------------------------------------------------------------------------------


def test_relativistic_losses_of_known_logits_by_hand() -> None:
    real, fake = torch.tensor([[2.0], [4.0]]), torch.tensor([[1.0], [-1.0]])  # means 3 and 0

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    discriminator = -(math.log(sigmoid(2 - 0)) + math.log(sigmoid(4 - 0))) / 2
    discriminator -= (math.log(1 - sigmoid(1 - 3)) + math.log(1 - sigmoid(-1 - 3))) / 2
    generator = -(math.log(1 - sigmoid(2 - 0)) + math.log(1 - sigmoid(4 - 0))) / 2
    generator -= (math.log(sigmoid(1 - 3)) + math.log(sigmoid(-1 - 3))) / 2
    assert float(told_apart(real, fake)) == pytest.approx(discriminator)
    assert float(fooled(real, fake)) == pytest.approx(generator)


def test_what_is_not_told_apart_costs_2_log_2_each() -> None:
    logits = torch.full((4, 1), 3.0)
    assert float(told_apart(logits, logits)) == pytest.approx(2 * math.log(2))
    assert float(fooled(logits, logits)) == pytest.approx(2 * math.log(2))


def test_relativistic_losses_are_binary_cross_entropy_and_finite_when_certain() -> None:
    real, fake = picture(8, 1), picture(8, 1, seed=1)
    one, zero = torch.ones(8, 1), torch.zeros(8, 1)
    bce = F.binary_cross_entropy_with_logits
    expected = bce(real - fake.mean(), one) + bce(fake - real.mean(), zero)
    assert float(told_apart(real, fake)) == pytest.approx(float(expected))
    assert float(fooled(real + 500, fake - 500)) == pytest.approx(2 * 1000, rel=0.01)


# --- contextual -----------------------------------------------------------------------------------


def by_loops(maps: np.ndarray, wanted: np.ndarray) -> float:
    """Equations 2 to 4 of Mechrez et al. for one picture's maps (C, h, w), one pair at a time."""
    xs = maps.reshape(len(maps), -1).T.astype(np.float64)
    ys = wanted.reshape(len(wanted), -1).T.astype(np.float64)
    centre = ys.mean(axis=0)
    best = [0.0] * len(ys)
    for x in xs:
        distances = []
        for y in ys:
            a, b = x - centre, y - centre
            distances.append((1 - a @ b / math.sqrt(a @ a) / math.sqrt(b @ b)) / 2)
        weights = [math.exp((1 - d / (min(distances) + 1e-5)) / 0.5) for d in distances]
        for j, weight in enumerate(weights):
            best[j] = max(best[j], weight / sum(weights))
    return -math.log(sum(best) / len(best))


@pytest.mark.parametrize("largest", [2**24, 60, 1])
def test_the_contextual_loss_is_that_of_a_double_loop(largest: int) -> None:
    """In one piece, in rows of three, and in single rows."""
    maps, wanted = picture(2, 4, 4, 5), picture(2, 4, 4, 5, seed=1)
    expected = np.mean([by_loops(*each) for each in zip(maps.numpy(), wanted.numpy(), strict=True)])
    assert float(contextual(maps, wanted, largest)) == pytest.approx(expected, rel=1e-4)


def test_maps_of_other_sizes_can_be_compared() -> None:
    maps, wanted = picture(1, 4, 3, 4), picture(1, 4, 5, 2, seed=1)
    expected = by_loops(maps[0].numpy(), wanted[0].numpy())
    assert float(contextual(maps, wanted)) == pytest.approx(expected, rel=1e-4)


def test_two_positions_by_hand() -> None:
    """Centred, the wanted ones are (1, 0) and (-1, 0); made are (0, 1), as far from both, and
    (1, 0). The first has 1/2 for each; the second 0 and 1e5 for relative distances, so 1 and 0."""
    wanted = torch.tensor([[1.0, -1.0], [0.0, 0.0]])[None, :, None]
    maps = torch.tensor([[0.0, 1.0], [1.0, 0.0]])[None, :, None]
    assert float(contextual(maps, wanted)) == pytest.approx(-math.log((1 + 0.5) / 2), abs=1e-5)


def test_it_does_not_matter_where_the_features_are() -> None:
    maps = picture(1, 6, 5, 5)
    shuffled = maps.flatten(2)[..., torch.randperm(25)].view_as(maps)
    assert float(contextual(shuffled, maps)) == pytest.approx(0, abs=1e-3)
    assert float(contextual(picture(1, 6, 5, 5, seed=1), maps)) > 0.3


def test_gradients_made_in_pieces_are_those_made_at_once() -> None:
    wanted = picture(1, 4, 6, 6, seed=1)
    grads = []
    for largest in (2**24, 100):
        maps = picture(1, 4, 6, 6).requires_grad_()
        contextual(maps, wanted, largest).backward()
        assert maps.grad is not None and maps.grad.abs().max() > 0
        grads.append(maps.grad)
    assert torch.allclose(*grads, atol=1e-7)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return made


def test_memory_is_bounded_forwards_and_backwards() -> None:
    """2,500 positions: 6.25 million distances, of which 2^17 at a time."""
    maps = picture(1, 2, 50, 50).requires_grad_()
    with Largest() as largest:
        contextual(maps, picture(1, 2, 50, 50, seed=1), 2**17).backward()
    assert 2500 < largest.numbers <= 2**17
