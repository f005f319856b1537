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

    assert isinstance(method, nima.NIMA)
    return nima.scorer(method, device)


def _not_measured(
    name: str, direction: Literal["higher", "lower"], unit: str, source: str
) -> Metric:
    reason = "not measured by this version of bench"

    def load(device: str, method: "Method | None") -> Scorer:
        raise BenchError(f"metric {name!r}: {reason}.")

    return Metric(
        name, direction, unit, digits=3, reference=False, colour="RGB", source=source,
        load=load, unavailable=lambda: reason,
    )  # fmt: skip


_SSIM = "Wang et al., Image Quality Assessment, IEEE TIP 2004; ssim_index.m"
_VIQET_FEATURES = (
    "resolution", "edge_acutance", "noise_signature", "flat_region", "texture_acutance",
    "saturation", "color_warmth", "illumination", "dynamic_range", "over_exposed", "under_exposed",
)  # fmt: skip

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric(
            "psnr", "higher", "dB", digits=2, reference=True, colour="RGB",
            source="20 log10(255 / root mean squared error over all samples)",
            load=lambda device, method: fidelity.psnr,
        ),
        Metric(
            "psnr_y", "higher", "dB", digits=2, reference=True, colour="Y of BT.601, studio swing",
            source="as the super-resolution papers: peak 255 although Y spans 219 levels",
            load=lambda device, method: fidelity.psnr_y,
        ),
        Metric(
            "ssim", "higher", "", digits=4, reference=True, colour="RGB, mean over channels",
            source=_SSIM,
            load=lambda device, method: fidelity.ssim,
        ),
        Metric(
            "ssim_y", "higher", "", digits=4, reference=True, colour="Y of BT.601, studio swing",
            source=_SSIM,
            load=lambda device, method: fidelity.ssim_y,
        ),
        Metric(
            "rmse", "lower", "levels", digits=3, reference=True, colour="RGB",
            source="root mean squared error over all samples, in 8-bit levels",
            load=lambda device, method: fidelity.rmse,
        ),
        Metric(
            "niqe", "lower", "", digits=3, reference=False, colour="the protocol's Y or gray",
            source="Mittal, Soundararajan and Bovik, IEEE Signal Processing Letters 2013; "
            "parameters of the authors' release",
            load=lambda device, method: niqe.scorer(),
            unavailable=niqe.unavailable,
        ),
        Metric(
            "lpips", "lower", "", digits=4, reference=True,
            colour="RGB, the whole image under every protocol",
            source="Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018; "
            "version 0.1, AlexNet",
            load=lambda device, method: lpips.scorer(device),
            unavailable=lpips.unavailable,
        ),
        Metric(
            "nima", "higher", "", digits=3, reference=False,
            colour="RGB, the whole image under every protocol",
            source="Talebi and Milanfar, NIMA: Neural Image Assessment, IEEE TIP 2018",
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
