"""Metrics of the package pyiqa, by its names: `pyiqa:NAME`. The only door to it.

pyiqa is under the PolyForm Noncommercial License 1.0.0, and opens its checkpoints as pickles, which
can run code. What it computes is left as it is, on the whole image; stated here is what it makes of
colour, and kept from it are downloads unasked for, prints, and the process's random numbers.
"""

import ast
import contextlib
import importlib.metadata
import importlib.util
import io
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.data.pixels import Image, as_rgb
from bench.data.weights import torch_hub
from bench.errors import BenchError, Unscorable, unknown
from bench.measure.protocol import Noted, Protocol

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from bench.measure.metrics import Scorer

LICENCE = "PolyForm Noncommercial 1.0.0"
NIMA_AVA = "NIMA_InceptionV2_ava-b0c77c00.pth"
"""The file of `pyiqa:nima`, below `cache_folder`."""

_LUMA = "Y of YIQ (0.299 R + 0.587 G + 0.114 B, full range)"
_ROUNDED = f"{_LUMA} rounded to whole levels"
_COLOUR = {
    "PSNR": f"{_LUMA}, unrounded: on gray content 20 log10(255/219) = 1.32 dB below psnr_y",
    "SSIM": _ROUNDED,
    "MS_SSIM": _ROUNDED,
    "CW_SSIM": _ROUNDED,
    "VIF": _ROUNDED,
    "GMSD": _ROUNDED,
    "NIQE": _ROUNDED,
    "BRISQUE": _ROUNDED,
    "NRQM": _ROUNDED,
    "Entropy": _ROUNDED,
    "NLPD": f"{_LUMA}, unrounded",
    "FSIM": "YIQ, full range, unrounded: structure on Y, colour on I and Q",
    "VSI": "opponent colours LMN; saliency in CIELAB",
    "MAD": "RGB, each channel alone, then their mean",
    "MS_SWD_learned": "CIELAB",
    "ILNIQE": "RGB and its opponent colours, the image resized to 524x524",
    "PIQE": f"{_LUMA} divided by the image's largest Y, rounded to whole levels",
    "PI": "Y of BT.601 in studio swing, rounded to whole levels, a border of 4 pixels left out",
}
"""What an architecture of pyiqa makes of RGB, read in its source (0.1.16). Networks take RGB."""

_DISTANCES = {"DMM"}
"""Architectures that give 0 for equal images, though pyiqa's configuration calls higher better."""

_NOT_ONE_IMAGE = {
    **dict.fromkeys(("fid", "sfid", "fid_dinov2"), "compares two sets of images, not two images"),
    "inception_score": "scores a set of images, not one",
    "clipscore": "compares an image with a caption",
    "fgresq_pair": "gives four numbers, not one; pyiqa:fgresq gives the score",
}


@dataclass(frozen=True)
class Facts:
    """What pyiqa's own configuration says of a metric."""

    name: str
    """Without the "pyiqa:"."""
    direction: Literal["higher", "lower"]
    reference: bool
    unit: str
    digits: int
    colour: str
    source: str
    """With the version and the licence."""


def known() -> tuple[str, ...]:
    """Returns the names of pyiqa's metrics, sorted; none where it is not installed."""
    return tuple(sorted(_configurations()))


@cache
def facts(name: str) -> Facts:
    """Returns what is known of a metric without loading it. Raises BenchError for another name."""
    entry = _entry(name)
    options = entry["metric_opts"]
    colour = _COLOUR.get(options["type"], "RGB") if options.get("test_y_channel", True) else "RGB"
    bound = re.search(r"[\d.]+$", entry.get("score_range", ""))
    largest = float(bound[0]) if bound else 10  # open above, such as "0, ~"
    lower = entry.get("lower_better") or options["type"] in _DISTANCES
    return Facts(
        name=name,
        direction="lower" if lower else "higher",
        reference=entry["metric_mode"] == "FR",
        unit="dB" if options["type"] == "PSNR" else "",
        digits=2 if largest > 10 else 3 if largest > 1 else 4,
        colour=f"{colour}; the whole image under every protocol",
        source=f"{identity()}, {options['type']}; for non-commercial use ({LICENCE})",
    )


def identity() -> str:
    """Returns which pyiqa it is, which is part of what decides a score."""
    try:
        return f"pyiqa {importlib.metadata.version('pyiqa')}"
    except importlib.metadata.PackageNotFoundError:
        return "pyiqa"


def unavailable(name: str) -> str | None:
    """Returns why a metric cannot be measured on this machine, in one line; None if it can.

    The metric is built, once for each process, with the network out of reach: what it needs must be
    in the caches of torch and Hugging Face. Raises BenchError for an unknown name.
    """
    _entry(name)
    return _NOT_ONE_IMAGE.get(name) or _why_not_built(name)


def scorer(name: str, device: str) -> "Scorer":
    """Returns the function that scores one image, alone and whole, for pyiqa leaves out no border.

    An image too large for the GPU is scored on the CPU, with a note. Raises BenchError if the
    metric cannot be measured on this machine.
    """
    if why := unavailable(name):
        raise BenchError(f"pyiqa:{name}: {why}.")
    reference = facts(name).reference
    on_cpu = cache(lambda: _build_offline(name, "cpu"))
    model = on_cpu() if device == "cpu" else _build_offline(name, device)

    def score(sr: Image, hr: Image | None, rules: Protocol, scale: int) -> float | Noted:
        if reference and (hr is None or sr.shape[:2] != hr.shape[:2]):
            raise ValueError(f"SR {sr.shape} needs an HR of its size")
        images = [sr, hr] if reference and hr is not None else [sr]
        try:
            return _value(name, model, images, device)
        except _TooLarge:
            if device == "cpu":
                raise
        value = _value(name, on_cpu(), images, "cpu")
        return Noted(value, "scored on the CPU, too large for the GPU")

    return score


def network(name: str, device: str) -> "Module":
    """Returns pyiqa's own network of a metric, for a loss: its gradients reach the picture.

    Raises BenchError if the metric cannot be measured on this machine.
    """
    if why := unavailable(name):
        raise BenchError(f"pyiqa:{name}: {why}.")
    found: Module = _build_offline(name, device).net
    return found


def download(name: str) -> Path:
    """Lets pyiqa download what a metric needs, if it is not here; returns the folder of its cache.

    Progress goes to stderr. Raises BenchError if that fails, and for what is no metric of images.
    """
    _entry(name)
    if why := _NOT_ONE_IMAGE.get(name):
        raise BenchError(f"pyiqa:{name}: {why}.")
    _why_not_built.cache_clear()
    if _why_not_built(name):
        try:
            _refuse_without_network()
            with _contained(sys.stderr):
                _build(name, "cpu")
        except Exception as error:
            raise BenchError(f"pyiqa:{name}: {_one_line(error)}.") from None
        _why_not_built.cache_clear()
    return cache_folder()


def cache_folder() -> Path:
    """Returns where pyiqa keeps its weights."""
    return torch_hub() / "pyiqa"


# --- what pyiqa has -------------------------------------------------------------------------------


def _entry(name: str) -> dict[str, Any]:
    if not _configurations():
        raise BenchError(f"pyiqa:{name}: pyiqa is not installed. Do: pip install pyiqa.")
    if name not in _configurations():
        raise BenchError(unknown("metric of pyiqa", name, _configurations()))
    found: dict[str, Any] = _configurations()[name]
    return found


@cache
def _configurations() -> dict[str, dict[str, Any]]:
    """Name -> pyiqa's default configuration; empty where pyiqa is not installed.

    Read from its source: importing it takes seconds and loads torch.
    """
    spec = importlib.util.find_spec("pyiqa")
    if spec is None or spec.origin is None:
        return {}
    source = Path(spec.origin).with_name("default_model_configs.py")
    try:
        (found,) = [
            node.value.args[0]
            for node in ast.parse(source.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        ]
        return dict(ast.literal_eval(found))
    except (OSError, ValueError, SyntaxError, IndexError):  # another version wrote it otherwise
        with _contained():
            from pyiqa.default_model_configs import DEFAULT_CONFIGS  # type: ignore[import-untyped]
        return dict(DEFAULT_CONFIGS)


# --- building and running -------------------------------------------------------------------------


@cache
def _why_not_built(name: str) -> str | None:
    said = io.StringIO()
    try:
        with _contained(said):
            _build(name, "cpu", offline=True)
    except Exception as error:  # whatever pyiqa and all that is below it may raise
        return _reason(name, error, said.getvalue())
    return None


def _build_offline(name: str, device: str) -> Any:
    with _contained():
        return _build(name, device, offline=True)


def _build(name: str, device: str, *, offline: bool = False) -> Any:
    """Returns pyiqa's network of a metric on the device, in eval mode."""
    import pyiqa  # type: ignore[import-untyped]  # ships no types
    import torch

    # its checkpoint holds the whole network, so the backbone would be downloaded for nothing
    whole = _entry(name)["metric_opts"]["type"] == "NIMA"
    with _offline() if offline else contextlib.nullcontext(), _no_backbone(whole):
        try:
            return pyiqa.create_metric(name, device=torch.device(device))
        except ImportError as error:
            if "pkg_resources" not in str(error):
                raise
        _import_clip()
        return pyiqa.create_metric(name, device=torch.device(device))


def _value(name: str, model: Any, images: list[Image], device: str) -> float:
    """Returns the one number that pyiqa gives. Raises Unscorable."""
    import torch

    try:
        with _contained(), _offline(), _fp32_as_it_is():
            torch.manual_seed(0)  # some metrics look at random crops
            np.random.seed(0)
            value = float(model(*(_tensor(image, device) for image in images)))
    except Exception as error:  # a size that a network's strides do not fit, most often
        kind, why = Unscorable, _one_line(error)
        if "out of memory" in str(error) or "can't allocate memory" in str(error):
            kind, why = _TooLarge, f"out of memory on {device}"
        height, width = images[0].shape[:2]
        raise kind(f"pyiqa:{name} cannot score {width}x{height} pixels: {why}") from None
    if not np.isfinite(value):
        raise Unscorable(f"pyiqa:{name} gives {value}")
    return value


def _tensor(image: Image, device: str) -> "Tensor":
    """(1, 3, H, W) in [0, 1]."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(as_rgb(image))).to(device)
    return pixels.permute(2, 0, 1)[None].float() / 255


class _TooLarge(Unscorable):
    """For the memory of the device."""


# --- keeping pyiqa's doings to itself -------------------------------------------------------------


@contextlib.contextmanager
def _contained(out: Any = None) -> Iterator[None]:
    """Sends prints to `out` (None: nowhere), drops warnings, gives back the random states."""
    import torch

    numpy_state = np.random.get_state()
    # asking for the state of a GPU would wake it up
    awake = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = range(torch.cuda.device_count()) if awake else ()
    with (
        contextlib.redirect_stdout(io.StringIO() if out is None else out),
        warnings.catch_warnings(),
        torch.random.fork_rng(gpus),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            np.random.set_state(numpy_state)


class _OutOfReach(OSError):
    """pyiqa wanted to download something."""


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Refuses this thread any connection, at once; Hugging Face is told to try none."""
    import socket
    from unittest import mock

    from huggingface_hub import constants

    here = threading.get_ident()

    def refused(connect: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(connect)
        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == here:
                raise _OutOfReach("not downloaded unasked")
            return connect(*args, **kwargs)

        return call

    with (
        mock.patch.object(socket, "getaddrinfo", refused(socket.getaddrinfo)),
        mock.patch.object(socket.socket, "connect", refused(socket.socket.connect)),
        mock.patch.object(constants, "HF_HUB_OFFLINE", True),
    ):
        yield


@contextlib.contextmanager
def _fp32_as_it_is() -> Iterator[None]:
    """Lets pyiqa set what it asks of cuDNN and no more.

    `torch.backends.cudnn.flags` would switch TF32 on besides, and raises an error where it is off
    for convolutions alone, as it is while networks measure.
    """
    from unittest import mock

    import torch

    @contextlib.contextmanager
    def flags(**asked: bool) -> Iterator[None]:
        before = {name: getattr(torch.backends.cudnn, name) for name in asked}
        try:
            for name, value in asked.items():
                setattr(torch.backends.cudnn, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(torch.backends.cudnn, name, value)

    with mock.patch.object(torch.backends.cudnn, "flags", flags):
        yield


@contextlib.contextmanager
def _no_backbone(whole: bool) -> Iterator[None]:
    """Lets timm build a backbone without its ImageNet weights, if the checkpoint is `whole`."""
    if not whole:
        yield
        return
    from unittest import mock

    import timm  # a dependency of pyiqa

    create = timm.create_model

    def bare(*args: Any, **kwargs: Any) -> Any:
        return create(*args, **{**kwargs, "pretrained": False})

    with mock.patch.object(timm, "create_model", bare):
        yield


def _import_clip() -> None:
    """Imports openai-clip, which takes `packaging` from pkg_resources: gone with setuptools 81."""
    import packaging.version

    stub = ModuleType("pkg_resources")
    stub.packaging = packaging  # type: ignore[attr-defined]
    real = sys.modules.pop("pkg_resources", None)
    sys.modules["pkg_resources"] = stub
    try:
        importlib.import_module("clip")
    finally:
        del sys.modules["pkg_resources"]
        if real is not None:
            sys.modules["pkg_resources"] = real


def _refuse_without_network() -> None:
    """Raises ConnectionError if Hugging Face cannot be found: its client would try for a minute."""
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname
    try:
        if not getproxies():
            socket.getaddrinfo(host, 443)
    except OSError as error:
        raise ConnectionError(f"no connection to {host} ({error.strerror})") from None


def _reason(name: str, error: Exception, said: str) -> str:
    """Returns why a metric could not be built, in one line, and what to do."""
    texts = [str(cause) for cause in _causes(error)]
    offline = any(isinstance(cause, _OutOfReach) for cause in _causes(error))
    if offline or any("huggingface.co" in t or "the Hub" in t for t in texts):
        files = re.findall(
            r"https?://[^\s/]+/[^\s\"'#]+\.\w+(?=[\s\"':,]|$)", "\n".join([*texts, said])
        )
        file = f" ({files[-1]})" if files else ""
        return f"its weights are not on this machine{file}. Do: bench fetch pyiqa:{name}"
    return f"pyiqa cannot load it: {_one_line(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _one_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"needs the Python module {error.name}, pip install {error.name}"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:300]}" if first else type(error).__name__
