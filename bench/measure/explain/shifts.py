"""Whether two images lie on each other: the best shift, and what it would bring."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from bench.measure.explain.conventions import Channel, Convention, Shift, value_of
from bench.measure.explain.pair import REACH, Pair, average, decibel
from bench.measure.explain.similarity import GAUSSIAN, STRIP, Compared, Plane, inside, maps_of


@dataclass(frozen=True)
class Alignment:
    """How IMAGE has to be moved to fit best, judged by PSNR."""

    channel: str
    border: int
    """The part of REFERENCE without it is compared, with another part of IMAGE for each shift."""
    shift: Shift
    gain: float
    """In dB over leaving it where it is; infinite if the two are equal once it is moved."""
    between: tuple[float, float]
    """The shift with fractions of a pixel: where the parabolas through the errors of the best shift
    and its neighbours are lowest."""

    @property
    def aligned(self) -> bool:
        return self.shift == (0, 0) and max(map(abs, self.between)) < 0.25


def moved_channels(metric: str, pair: Pair) -> tuple[Channel, ...]:
    """What is shifted: nothing for NIQE, or if hardly more than SSIM's window is left."""
    left = min(pair.sr.shape[:2]) - 2 * pair.shift_border
    return () if metric == "niqe" or left < len(GAUSSIAN) + REACH else ("y", "rgb")


def alignment_of(channel: Channel, metric: str, pair: Pair) -> tuple[list[Convention], Alignment]:
    """Returns the conventions that move IMAGE, and how it fits best.

    PSNR is computed of all 25 shifts, SSIM of the best one alone.
    """
    border, planes = pair.shift_border, pair.planes[channel]
    errors = {
        (dx, dy): average(_mean_square(*_moved(both, (dx, dy), border)) for both in planes)
        for dx, dy in product(range(-REACH, REACH + 1), repeat=2)
    }
    # of equal ones the nearest: a flat IMAGE fits everywhere
    best = min(errors, key=lambda shift: (errors[shift], abs(shift[0]) + abs(shift[1])))
    decibels = {shift: decibel(error) for shift, error in errors.items()}
    gain = 0.0 if best == (0, 0) else decibels[best] - decibels[0, 0]
    moved = decibels if metric == "psnr" else [best]
    name, rule = pair.name(channel), pair.gray_rule(channel)
    conventions = []
    for shift in moved:
        if shift != (0, 0):
            both = (_moved(compared, shift, border) for compared in planes)
            score = decibels[shift] if metric == "psnr" else average(map(_similarity, both))
            conventions.append(Convention(name, "", border, rule, shift, *value_of(score), ()))
    return conventions, Alignment(name, border, best, gain, _between(errors, best))


def _moved(planes: Compared, shift: Shift, border: int) -> Compared:
    """Views: REFERENCE without its border, and the part of IMAGE that a shift brings there."""
    (first, second), (dx, dy) = planes, shift
    height, width = first.shape
    part = first[border - dy : height - border - dy, border - dx : width - border - dx]
    return part, inside(second, border)


def _mean_square(first: Plane, second: Plane) -> float:
    total = 0.0
    for i in range(0, len(first), STRIP):
        difference = first[i : i + STRIP] - second[i : i + STRIP]
        total += float(np.einsum("ij,ij->", difference, difference))
    return total / first.size


def _similarity(both: Compared) -> float:
    return float(maps_of(*both, GAUSSIAN, 1)[0].mean())


def _between(errors: dict[Shift, float], best: Shift) -> tuple[float, float]:
    """The best shift with fractions, as `Alignment.between`; whole at the edge of what is known."""
    (x, y), at = best, errors[best]
    neighbours = (((x - 1, y), (x + 1, y)), ((x, y - 1), (x, y + 1)))
    fractions = [0.0, 0.0]
    for axis, (before, after) in enumerate(neighbours):
        if at and before in errors and after in errors:
            curvature = errors[before] - 2 * at + errors[after]
            if curvature > 0:
                fractions[axis] = (errors[before] - errors[after]) / (2 * curvature)
    return x + fractions[0], y + fractions[1]
