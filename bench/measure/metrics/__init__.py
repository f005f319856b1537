"""What can be measured: the METRICS literal. One file per measured thing."""

import importlib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, NamedTuple

from bench.data.pixels import Image
from bench.errors import BenchError, unknown
from bench.errors import Unscorable as Unscorable
from bench.measure import opinion
from bench.measure.metrics import cleanness, fidelity, lpips, niqe, pyiqa, viqet
from bench.measure.protocol import Noted, Protocol
from bench.records.digest import code_digest

Direction = Literal["higher", "lower", "neither"]

Scorer = Callable[[Image, Image | None, Protocol, int], "float | Noted"]
"""(sr, hr, protocol, scale) -> score. sr and hr are RGB, or single-channel where the file is; hr is
None only for a no-reference metric. Raises Unscorable."""


@dataclass(frozen=True)
class Metric:
    """One measured thing. A number's meaning is its name, version and protocol."""

    name: str
    direction: Direction
    """Which is better; neither for a plain description of the image."""
    unit: str
    digits: int
    """After the point, as papers print it."""
    reference: bool
    """Full-reference: compares with HR."""
    colour: str
    sizes: str
    """Which images it can score."""
    source: str
    load: Callable[[str], Scorer]
    """device -> scorer. Heavy imports and weights are loaded here."""
    unavailable: Callable[[], str | None] = lambda: None
    """Why it cannot be measured on this machine and what to do; None if it can."""
    identity: Callable[[], str] = lambda: ""
    """Which weights, or which version of a library, decide the score where that may differ."""
    label: Callable[[], str] = lambda: ""
    """Exact name of the network behind it where several can be, such as nima@photos; else ""."""
    examination: Callable[[], Mapping[str, float | str]] = lambda: {}
    """What is known of that network and printed below the tables that rest on it."""
    network: bool = False
    """Runs a network: on one device, in one process; the others run in as many as there are."""
    remark: str = ""
    """What a table with this metric must say."""
    version: int = 1
    of_marks: Callable[[opinion.Shares, opinion.Shares], opinion.Values] | None = None
    """Of what compares marks with people's votes, for all images of a set at once; what `load`
    gives then scores no picture."""


class ImageScore(NamedTuple):
    """What a metric says of one image."""

    value: float
    """NaN if it cannot be computed."""
    why: str | None = None
    """The reason for NaN."""
    note: str | None = None


def score_image(
    scorer: Scorer, sr: Image, hr: Image | None, rules: Protocol, scale: int, *, reference: bool
) -> ImageScore:
    """Returns a metric's score of one image. hr: None where the set has no HR files."""
    if reference and hr is None:
        return ImageScore(math.nan, "there is no HR file to compare with")
    try:
        found = scorer(sr, hr if reference else None, rules, scale)
    except Unscorable as error:
        return ImageScore(math.nan, str(error))
    if isinstance(found, Noted):
        return ImageScore(float(found.value), note=found.note)
    return ImageScore(float(found))


def metric_digest(name: str) -> str:
    """Returns a hash of the code that decides a metric's scores, and of the weights behind it."""
    facts = metric(name)
    return f"{code_digest(facts.load, score_image)} {facts.version} {facts.identity()}".strip()


def metric(name: str) -> Metric:
    """Returns the metric of that name, also "pyiqa:NAME". Raises BenchError with the nearest."""
    if name.startswith("pyiqa:"):
        return _from_pyiqa(name)
    if name not in METRICS:
        theirs = f" pyiqa has a {name!r}: write pyiqa:{name}." if name in pyiqa.known() else ""
        raise BenchError(unknown("metric", name, [*METRICS, "pyiqa:NAME"]) + theirs)
    return METRICS[name]


def check_metrics(names: Collection[str]) -> None:
    """Raises BenchError with one line for each unknown name, and for none."""
    problems = []
    for name in names:
        try:
            metric(name)
        except BenchError as error:
            problems.append(str(error))
    if problems or not names:
        raise BenchError("\n".join(problems) or "no metrics given. Name at least one.")


def labels_of(names: Collection[str]) -> dict[str, str]:
    """Returns metric -> exact name of the network behind it, such as nima -> nima@photos."""
    return {name: label for name in names if (label := metric(name).label())}


def examinations_of(names: Collection[str]) -> dict[str, dict[str, float | str]]:
    """Returns exact name -> what is known of the network of that name."""
    return {label: dict(metric(name).examination()) for name, label in labels_of(names).items()}


@cache
def _from_pyiqa(name: str) -> Metric:
    facts = pyiqa.facts(name.removeprefix("pyiqa:"))
    return Metric(
        name, facts.direction, facts.unit, facts.digits, reference=facts.reference,
        colour=facts.colour, identity=pyiqa.identity,
        sizes="see pyiqa", source=facts.source, network=True,
        load=partial(_by_pyiqa, facts.name),
        unavailable=lambda: pyiqa.unavailable(facts.name),
        remark=f"{name} is {facts.source}; colour: {facts.colour}.",
    )  # fmt: skip


def _as_it_is(measure: Scorer, device: str) -> Scorer:
    return measure


def _of_marks(measure: Callable[..., Any], device: str) -> Scorer:
    def refuse(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float:
        raise Unscorable("compares marks with people's votes: for studies of kind assessment")

    return refuse


def _by_niqe(device: str) -> Scorer:
    return niqe.scorer()


def _by_lpips(net: lpips.Net, device: str) -> Scorer:
    return lpips.scorer(device, net)


def _by_viqet(part: str, device: str) -> Scorer:
    return viqet.scorer(part)


def _by_pyiqa(name: str, device: str) -> Scorer:
    return pyiqa.scorer(name, device)


def _in_module(path: str) -> dict[str, Any]:
    """A learned metric's parts, from the module at a dotted path, imported when they are called."""
    names = ("load", "identity", "label", "examination")
    return {name: partial(_call, f"{path}.{name}") for name in names}


def _call(path: str, *arguments: Any) -> Any:
    """What the function at a dotted path returns."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(*arguments)


_SSIM = "Wang et al., Image Quality Assessment, IEEE TIP 2004; ssim_index.m"
_CHANNEL = "the protocol's: RGB, Y or gray"
_WHOLE = "RGB, the whole image under every protocol"
_Y = "Y of BT.601, studio swing"
_GRAY = "full-range gray under every protocol"
_CAS = (
    "what the CAS-GAN paper shows in pictures: clean where the original is smooth, sharp at edges"
)
_ASSESSORS = "as the assessor sees it"
_NIMA = "Talebi and Milanfar, NIMA: Neural Image Assessment, IEEE TIP 2018"
_VIQET = "VIQET-Desktop, tool version 115 (Intel, 2015)"
_VIQET_SIZES = "up to about 18 times as long as wide; smaller than 1920x1200 is enlarged"


def _fidelity(name: str, better: Direction, unit: str, digits: int, **facts: Any) -> Metric:
    measure = getattr(fidelity, name)
    return Metric(
        name, better, unit, digits, reference=True, load=partial(_as_it_is, measure), **facts
    )


def _opinion(name: str, better: Direction, unit: str, digits: int, source: str) -> Metric:
    measure = getattr(opinion, name)
    return Metric(
        name, better, unit, digits, reference=False, colour=_ASSESSORS, sizes=_ASSESSORS,
        source=source, load=partial(_of_marks, measure), of_marks=measure,
    )  # fmt: skip


def _perceptual(name: str, net: Literal["alex", "vgg"], title: str, smallest: int) -> Metric:
    return Metric(
        name, "lower", "", digits=4, reference=True, colour=_WHOLE, network=True,
        sizes=f"at least {smallest} pixels a side",
        source="Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018; "
        f"version 0.1, {title}",
        load=partial(_by_lpips, net),
        unavailable=lambda: lpips.unavailable(net),
    )  # fmt: skip


def _viqet(name: str, better: Direction, unit: str, digits: int, remark: str = "") -> Metric:
    part = {"viqet": "mos", "viqet_night": "night"}.get(name) or name.removeprefix("viqet.")
    return Metric(
        name, better, unit, digits, reference=False, colour=_WHOLE, sizes=_VIQET_SIZES,
        source=_VIQET, load=partial(_by_viqet, part),
        unavailable=lambda: viqet.unavailable(part), remark=remark,
    )  # fmt: skip


_MOS = (
    "viqet is the MOS of VIQET's tool version 115, {model} model. Version 117 displays the same "
    "features, but its regressor gives other scores and cannot be had; the MOS printed in the RTS "
    "paper most likely came from it, so compare the features with the paper's, not the MOS."
)

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        _fidelity(
            "psnr", "higher", "dB", 2, colour=_CHANNEL, sizes="any",
            source="20 log10(255 / root mean squared error over all samples)",
        ),
        _fidelity(
            "psnr_y", "higher", "dB", 2, colour=_Y, sizes="any",
            source="as the super-resolution papers: peak 255 although Y spans 219 levels",
        ),
        _fidelity(
            "ssim", "higher", "", 4, colour=f"{_CHANNEL}; mean over channels",
            sizes="at least 11 pixels a side without border", source=_SSIM,
        ),
        _fidelity(
            "ssim_y", "higher", "", 4, colour=_Y,
            sizes="at least 11 pixels a side without border", source=_SSIM,
        ),
        _fidelity(
            "ms_ssim", "higher", "", 4, colour=f"{_CHANNEL}; mean over channels at each scale",
            sizes="at least 176 pixels a side without border; any under dped-patch@1",
            source="Wang, Simoncelli and Bovik, Multi-scale Structural Similarity, Asilomar 2003",
        ),
        _fidelity(
            "rmse", "lower", "levels", 3, colour=_CHANNEL, sizes="any",
            source="root mean squared error over all samples, in 8-bit levels",
        ),
        _fidelity(
            "difference", "neither", "%", 2, colour=_CHANNEL, sizes="any",
            source="Park and Kwak, arXiv:1907.11341 (RTS), image difference ratio, read as the "
            "mean absolute difference in percent of 255",
        ),
        Metric(
            "niqe", "lower", "", digits=3, reference=False, colour="the protocol's Y or gray",
            sizes="two blocks of 96x96 pixels without border",
            source="Mittal, Soundararajan and Bovik, IEEE Signal Processing Letters 2013; "
            "parameters of the authors' release",
            load=_by_niqe,
        ),
        Metric(
            "smooth_noise", "lower", "levels", digits=2, reference=True, colour=_GRAY,
            sizes="200 pixels in smooth areas of the original", source=f"bench's own; {_CAS}",
            load=partial(_as_it_is, cleanness.smooth_noise),
        ),
        Metric(
            "edge_sharpness", "higher", "", digits=3, reference=True, colour=_GRAY,
            sizes="200 pixels on edges of the original", source=f"bench's own; {_CAS}",
            load=partial(_as_it_is, cleanness.edge_sharpness),
        ),
        _perceptual("lpips", "alex", "AlexNet", smallest=31),
        _perceptual("lpips_vgg", "vgg", "VGG16", smallest=16),
        Metric(
            "nima", "higher", "", digits=3, reference=False, colour=_WHOLE, sizes="any",
            source="Talebi and Milanfar, NIMA: Neural Image Assessment, IEEE TIP 2018; on AVA's "
            "votes where its weights are here, else bench's own: nima@photos",
            network=True, **_in_module("methods.metrics.nima"),
        ),
        _opinion("emd", "lower", "", 4, f"{_NIMA}, equation 2 with l = 2, mean over photographs"),
        _opinion("emd1", "lower", "", 4, f"{_NIMA}, equation 2 with l = 1, mean over photographs"),
        _opinion("lcc", "higher", "", 3, "Pearson's correlation of predicted and given mean marks"),
        _opinion("srcc", "higher", "", 3, "Spearman's rank correlation of both mean marks"),
        _opinion("accuracy", "higher", "%", 2, "photographs of which both mean marks are above 5, "
                 "or neither; Murray et al., AVA, CVPR 2012"),
        _viqet("viqet", "higher", "MOS", 3, remark=_MOS.format(model="general (day)")),
        _viqet("viqet_night", "higher", "MOS", 3, remark=_MOS.format(model="night")),
        _viqet("viqet.resolution", "neither", "MP", 2),
        _viqet("viqet.edge_acutance", "higher", "", 1),
        _viqet("viqet.noise_signature", "neither", "", 1),
        _viqet("viqet.flat_region", "neither", "", 1),
        _viqet("viqet.texture_acutance", "higher", "", 1),
        _viqet("viqet.saturation", "neither", "", 1),
        _viqet("viqet.color_warmth", "neither", "", 1),
        _viqet("viqet.illumination", "neither", "", 1),
        _viqet("viqet.dynamic_range", "neither", "", 1),
        _viqet("viqet.over_exposed", "lower", "%", 1),
        _viqet("viqet.under_exposed", "lower", "%", 1),
    )
}  # fmt: skip
