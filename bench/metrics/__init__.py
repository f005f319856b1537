"""What can be measured: the METRICS literal. One file per measured thing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.errors import BenchError, unknown
from bench.metrics import fidelity, lpips, niqe
from bench.protocol import Image, Protocol
from bench.protocol import Unscorable as Unscorable  # for the files of single metrics

if TYPE_CHECKING:
    from bench.method import Method

Scorer = Callable[[Image, Image | None, Protocol, int], float]
"""(sr, hr, protocol, scale) -> score. sr and hr are RGB, or single-channel where the file is; hr is
None only for a no-reference metric. Raises Unscorable."""


@dataclass(frozen=True)
class Metric:
    """One measured thing. A number's meaning is its name, version and protocol."""

    name: str
    direction: Literal["higher", "lower"]
    """Which is better."""
    unit: str
    digits: int
    """After the point, as papers print it."""
    reference: bool
    """Full-reference: compares with HR."""
    colour: str
    source: str
    load: "Callable[[str, Method | None], Scorer]"
    """(device, trained method) -> scorer. Heavy imports and weights are loaded here."""
    unavailable: Callable[[], str | None] = lambda: None
    """Why it cannot be measured on this machine and what to do; None if it can."""
    trained_by: str | None = None
    """Dotted path of a Method that the harness trains first, and then gives to `load`."""
    version: int = 1


def metric(name: str) -> Metric:
    """Returns the metric of that name. Raises BenchError with the nearest known one."""
    if name.startswith("pyiqa:"):
        return _not_measured(name, "higher", "", "pyiqa")
    if name not in METRICS:
        raise BenchError(unknown("metric", name, METRICS))
    return METRICS[name]


def _load_nima(device: str, method: "Method | None") -> Scorer:
    from bench.metrics import nima  # torch: listing the metrics must stay light

    scorer: Scorer = nima.scorer(method, device)
    return scorer


def _not_measured(
    name: str, direction: Literal["higher", "lower"], unit: str, source: str
) -> Metric:
    reason = "not measured by this version of bench"

    def load(device: str, method: "Method | None") -> Scorer:
        raise BenchError(f"metric {name!r}: {reason}.")

    return Metric(
        name, direction, unit, 3, False, "RGB", source, load=load, unavailable=lambda: reason
    )


_VIQET_FEATURES = (
    "resolution", "edge_acutance", "noise_signature", "flat_region", "texture_acutance",
    "saturation", "color_warmth", "illumination", "dynamic_range", "over_exposed", "under_exposed",
)  # fmt: skip

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric(
            "psnr", "higher", "dB", 2, True, "RGB",
            "20 log10(255 / root mean squared error over all samples)",
            load=lambda device, method: fidelity.psnr,
        ),
        Metric(
            "psnr_y", "higher", "dB", 2, True, "Y of BT.601, studio swing",
            "PSNR of the super-resolution papers: peak 255 although Y spans 219 levels",
            load=lambda device, method: fidelity.psnr_y,
        ),
        Metric(
            "ssim", "higher", "", 4, True, "RGB, mean over channels",
            "Wang et al., Image Quality Assessment, IEEE TIP 2004; ssim_index.m",
            load=lambda device, method: fidelity.ssim,
        ),
        Metric(
            "ssim_y", "higher", "", 4, True, "Y of BT.601, studio swing",
            "Wang et al., Image Quality Assessment, IEEE TIP 2004; ssim_index.m",
            load=lambda device, method: fidelity.ssim_y,
        ),
        Metric(
            "rmse", "lower", "levels", 3, True, "RGB",
            "root mean squared error over all samples, in 8-bit levels",
            load=lambda device, method: fidelity.rmse,
        ),
        Metric(
            "niqe", "lower", "", 3, False, "the protocol's Y or gray, rounded",
            "Mittal et al., Making a Completely Blind Image Quality Analyzer, IEEE SPL 2013; "
            "parameters of the authors' release",
            load=lambda device, method: niqe.scorer(),
            unavailable=niqe.unavailable,
        ),
        Metric(
            "lpips", "lower", "", 4, True, "RGB in [-1, 1], whole image under every protocol",
            "Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018; "
            "version 0.1, AlexNet",
            load=lambda device, method: lpips.scorer(device),
            unavailable=lpips.unavailable,
        ),
        Metric(
            "nima", "higher", "", 3, False, "RGB, whole image under every protocol",
            "Talebi and Milanfar, NIMA: Neural Image Assessment, IEEE TIP 2018",
            load=_load_nima,
            trained_by="bench.metrics.nima.NIMA",
        ),
        _not_measured("ms_ssim", "higher", "", "Wang et al., Asilomar 2003"),
        _not_measured("difference", "lower", "%", "mean absolute difference as a percentage"),
        _not_measured("lpips_vgg", "lower", "", "Zhang et al., CVPR 2018; VGG16"),
        _not_measured("viqet", "higher", "MOS", "VIQET, version 115"),
        *(_not_measured(f"viqet.{f}", "higher", "", "VIQET") for f in _VIQET_FEATURES),
    )
}  # fmt: skip
