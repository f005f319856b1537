"""VIQET: mean opinion score without a reference, and the eleven features that the tool displays.

VQEG's image quality evaluation tool as released by Intel, VIQET-Desktop, tool version 115. Every
picture is first resampled to fit 1920x1200, so that small ones are enlarged and look blurred; the
regressor was trained on photographs of several megapixels. The whole image counts.
"""

import csv
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from bench.data.pixels import Image, as_rgb
from bench.data.roots import weights_root
from bench.data.weights import WEIGHTS, digest, find, why_not
from bench.errors import Unscorable
from bench.measure.metrics.viqet_features import (
    TABLES,
    band_ratios,
    clipped_areas,
    colour_temperature,
    divergence,
    flat_region_index,
    light,
    load_classifier,
    saturation,
    texture,
)
from bench.measure.metrics.viqet_filters import Floats, edges, largest_laplacian, noise, noise_floor
from bench.measure.protocol import Noted, Protocol

if TYPE_CHECKING:
    from bench.measure.metrics import Scorer

Model = Literal["general", "night"]
MODELS: tuple[Model, ...] = ("general", "night")

FEATURES = (
    "resolution",
    "edge_acutance",
    "noise_signature",
    "flat_region",
    "texture_acutance",
    "saturation",
    "color_warmth",
    "illumination",
    "dynamic_range",
    "over_exposed",
    "under_exposed",
)
"""What the tool displays, in its order and units."""

OUTSIDE = "outside the range of the pictures that its regressor was trained on"

_MODEL_OF: dict[str, Model] = {"mos": "general", "night": "night"}
_CLASSIFIER = "viqet_flat_region"


@dataclass(frozen=True)
class Measured:
    """What VIQET says of one image. NaN where the tool has no number."""

    displayed: dict[str, float]
    """By the names of FEATURES."""
    inputs: dict[str, float]
    """The regressor's 61, before the logarithm."""
    mos: dict[Model, float]
    """Limited to [1, 4.5]."""
    outside: dict[Model, tuple[str, ...]]
    """Names of the inputs that lie below or above those of every picture of the training set."""


def unavailable(part: str = "mos") -> str | None:
    """Returns why a part of VIQET cannot be measured here; None if it can.

    part: "mos", "night" or one of FEATURES.
    """
    if find_spec("cv2") is None:
        return "VIQET needs OpenCV: pip install opencv-python-headless"
    return _no_classifier() if part == "flat_region" else None


def scorer(part: str) -> "Scorer":
    """Returns the function that scores one image; needs no HR and leaves out no border.

    part: "mos" for the general model, "night" for the other, or one of FEATURES.
    """
    model = _MODEL_OF.get(part)
    assert model or part in FEATURES, part

    def score(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float | Noted:
        measured = measure(sr)
        value = measured.mos[model] if model else measured.displayed[part]
        if math.isnan(value):
            raise Unscorable(_why_nan(part, sr))
        return Noted(value, OUTSIDE) if model and measured.outside[model] else value

    return score


def measure(image: Image) -> Measured:
    """Returns what VIQET says of an image (H, W, 3) RGB or (H, W) gray, 8 bits.

    The last image is remembered, for a table asks for one feature after the other.
    """
    return _measure(image.tobytes(), image.shape, _classifier())


def working_size(width: int, height: int) -> tuple[int, int]:
    """Returns (width, height) of what is measured: the picture as large as 1920x1200 holds it.

    >>> working_size(768, 512), working_size(6000, 300)
    ((1800, 1200), (1920, 96))
    """
    fitting = 1200 * width // height
    return (fitting, 1200) if fitting <= 1920 else (1920, 1920 * height // width)


@lru_cache(maxsize=1)
def _measure(pixels: bytes, shape: tuple[int, ...], classifier: Path | None) -> Measured:
    image = np.frombuffer(pixels, np.uint8).reshape(shape)
    displayed = dict.fromkeys(FEATURES, math.nan)
    displayed["resolution"] = shape[0] * shape[1] / 1e6
    size = working_size(shape[1], shape[0])
    if min(size) < 8:  # no room for a window of an eighth
        inputs = dict.fromkeys(_regressors()[0], math.nan)
    else:
        features, inputs = _measure_working(_working(as_rgb(image), size), classifier)
        displayed |= features
    mos, outside = _opinion(inputs)
    return Measured(displayed, inputs, mos, outside)


def _working(rgb: Image, size: tuple[int, int]) -> Image:
    """The picture as measured: (H, W, 3) of size (W, H), without antialiasing, in 8 bits."""
    import cv2

    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _measure_working(
    working: Image, classifier: Path | None
) -> tuple[dict[str, float], dict[str, float]]:
    """(displayed features, inputs of the regressor) of the resampled picture."""
    import cv2

    gray = np.asarray(cv2.cvtColor(working, cv2.COLOR_RGB2GRAY), np.uint8)
    # no part needs another; most of OpenCV and NumPy runs on one core
    with ThreadPoolExecutor(max(1, cv2.getNumThreads())) as pool:
        edge = pool.submit(edges, gray)  # the longest first
        flat = pool.submit(_flat_region, working, gray, classifier)
        grain = pool.submit(noise, working)
        floor = pool.submit(noise_floor, working, largest_laplacian(gray))
        kelvin = pool.submit(colour_temperature, working)
        bands = pool.submit(texture, gray)
        brightness = pool.submit(light, gray)
    (n, high), gm, ea = grain.result(), bands.result(), edge.result().acutance
    illumination = brightness.result().contrast * brightness.result().exposure
    sat, kl, (white, black) = saturation(working), divergence(gray), clipped_areas(gray)
    displayed = {
        "edge_acutance": math.prod(x ** (1 / 9) for x in ea) / 10000 * 100 / 67.5,
        "noise_signature": n * 100 / 0.306,
        "flat_region": flat.result() * 100 / 0.137,
        "texture_acutance": float(np.mean(gm[19:])) * 100 / 3.83,
        "saturation": sat * 100 / 75,
        "color_warmth": kelvin.result() * 100 / 14586,
        "illumination": illumination * 100 / 18.2,
        "dynamic_range": (math.log(256) - kl) * 100 / (math.log(256) - 0.58),
        "over_exposed": white,
        "under_exposed": black,
    }
    inputs = {
        "N": n,
        "noise_floor": floor.result(),
        "KL": kl,
        "contrast*exposure": illumination,
        "sobel_sum": edge.result().sobel_sum,
        "edge_count": float(edge.result().pixels),
        "colour_temp_K": kelvin.result(),
        "sat_mean": sat,
        "over_pct": white,
        "under_pct": black,
        "noise_hf": high,
        **{f"EA_{k}": x for k, x in enumerate(ea, start=1)},
        **{f"EA_{k}*exp(-N)": x * math.exp(-n) for k, x in enumerate(ea, start=1)},
        **{f"GM_{k}": x for k, x in enumerate(gm, start=1)},
        **{f"R{k}": x for k, x in enumerate(band_ratios(gm), start=1)},
    }
    return displayed, inputs


def _flat_region(working: Image, gray: Image, classifier: Path | None) -> float:
    if classifier is None:
        return math.nan
    return flat_region_index(working, gray, load_classifier(classifier))


# --- the regressor --------------------------------------------------------------------------------


class Regressor(NamedTuple):
    """One linear model of the logarithms of its 61 inputs, and the range of those it saw."""

    intercept: float
    weights: Floats
    lowest: Floats
    highest: Floats


@cache
def _regressors() -> tuple[tuple[str, ...], dict[Model, Regressor]]:
    """(names of the inputs in order, the two models)."""
    with (TABLES / "viqet_v115.csv").open(newline="") as file:
        intercept, *rows = csv.DictReader(line for line in file if not line.startswith("#"))

    def column(name: str) -> Floats:
        return np.array([float(row[name]) for row in rows])

    return tuple(row["input"] for row in rows), {
        model: Regressor(
            float(intercept[model]), column(model), column(f"{model}_min"), column(f"{model}_max")
        )
        for model in MODELS
    }


def _opinion(
    inputs: dict[str, float],
) -> tuple[dict[Model, float], dict[Model, tuple[str, ...]]]:
    """(MOS, names of the inputs outside the range of the training's) by model."""
    names, models = _regressors()
    x = np.log1p([inputs[name] for name in names])
    mos: dict[Model, float] = {}
    outside: dict[Model, tuple[str, ...]] = {}
    for model, (intercept, weights, lowest, highest) in models.items():
        mos[model] = float(np.clip(intercept + weights @ x, 1.0, 4.5))
        # the bounds are not negative and have eight digits
        beyond = (x < lowest * (1 - 1e-7)) | (x > highest * (1 + 1e-7))
        outside[model] = tuple(name for name, out in zip(names, beyond, strict=True) if out)
    return mos, outside


# --- what is missing ------------------------------------------------------------------------------


def _classifier() -> Path | None:
    """The classifier of flat blocks: below $BENCH_WEIGHTS, or in a folder viqet/ beside it."""
    if why_not(_CLASSIFIER) is None:
        return find(_CLASSIFIER)
    entry = WEIGHTS[_CLASSIFIER]
    beside = weights_root().parent / entry.path
    return beside if beside.is_file() and digest(beside) == entry.sha256 else None


def _no_classifier() -> str | None:
    return None if _classifier() else why_not(_CLASSIFIER)


def _why_nan(part: str, image: Image) -> str:
    if part == "flat_region" and (reason := _no_classifier()):
        return reason
    height, width = image.shape[:2]
    fitted = working_size(width, height)
    if min(fitted) < 112:
        return (
            f"too narrow for VIQET: {width}x{height} pixels become {fitted[0]}x{fitted[1]}, three "
            "quarters of which hold no complete block of 80x80"
        )
    return "VIQET finds no flat block in the picture"
