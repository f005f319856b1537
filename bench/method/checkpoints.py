"""Files of weights as they are found in the wild: .pth, .pt, .safetensors. No code in them runs."""

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.kinds import mistaken_for
from bench.errors import BenchError, reason_of

WRAPPERS = (
    "params_ema", "params", "state_dict", "model_state_dict", "model", "net", "network",
    "generator", "netG", "net_g", "G", "gen",
)  # fmt: skip
"""Where training programs put a network's tensors within a file, the best first. BasicSR's averaged
weights come before the last ones, for those are what its authors measure."""

_SCALAR = np.float64(0).__reduce__()[0]
_HARMLESS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")},
    argparse.Namespace,
]
"""What stands beside the tensors in many files, such as the best PSNR: plain values, no code."""


def read_state(file: Path) -> dict[str, Tensor]:
    """Returns the tensors in a file by name, on the CPU; half precision becomes float32.

    The network is looked for in the dictionaries of WRAPPERS, and "module." of DataParallel is
    taken off. Raises BenchError for a file that is absent, cut off, no file of weights at all, or
    that cannot be read without running code.
    """
    _refuse_other_files(file)
    if file.suffix == ".safetensors":
        found: Any = _read_safetensors(file)
    else:
        found = _read_pickle(file)
    tensors = _tensors(found, file)
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return {name: _usable(value.detach()) for name, value in tensors.items()}


def _usable(value: Tensor) -> Tensor:
    """In float32, without what weight decay has shrunk below its normal range.

    Zero-DCE's published weights are a quarter such numbers, with which a CPU computes 70 times as
    slowly; no restored sample depends on 1e-38.
    """
    if value.dtype in (torch.float16, torch.bfloat16):
        value = value.float()
    if value.dtype != torch.float32:
        return value
    return torch.where(value.abs() < torch.finfo(torch.float32).tiny, 0, value)


def _refuse_other_files(file: Path) -> None:
    try:
        what = mistaken_for(file)
    except FileNotFoundError:
        raise BenchError(f"weights {file}: no such file.") from None
    except OSError as error:
        raise BenchError(f"weights {file}: cannot be read: {reason_of(error)}") from None
    if what is not None:
        raise BenchError(f"weights {file}: {what}.")


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except Exception as error:  # its own class, and OSError
        raise BenchError(f"weights {file}: damaged or no safetensors file: {error}.") from None


def _read_pickle(file: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")  # newer pickle protocols are read as well
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the bytes lead it to
        raise BenchError(f"weights {file}: {_why_unreadable(file, error)}") from None


def _why_unreadable(file: Path, error: Exception) -> str:
    said = str(error)
    code = re.search(r"GLOBAL (\S+?)[,.]?(?:\s|$)", said)
    if code or _is_program(file):
        needs = code.group(1) if code else "TorchScript"
        return (
            "holds more than tensors, such as a whole pickled model: to read it, code would have "
            f"to run ({needs}), which bench never does. Where you trust the file, open it in its "
            "own program and save the tensors alone: torch.save(model.state_dict(), FILE)."
        )
    inside = _names_in(file)
    if inside and not any(name.endswith("data.pkl") for name in inside):
        return (
            f"an archive of {_first(inside)}, none that PyTorch has written. Unpack it and give "
            "the file of weights alone."
        )
    with file.open("rb") as opened:
        archive = opened.read(2) == b"PK"  # any fault in one of PyTorch's is damage
    if archive or isinstance(error, EOFError) or "unexpected EOF" in said:
        return f"cut off or damaged after {file.stat().st_size} bytes. Download it again."
    return "not a file of weights that PyTorch or safetensors has written. Is it the right one?"


def _is_program(file: Path) -> bool:
    return any(name.endswith("constants.pkl") for name in _names_in(file))


def _names_in(file: Path) -> list[str]:
    """What lies in a zip archive; nothing if it is none, or cut off."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _tensors(found: Any, file: Path) -> dict[str, Tensor]:
    """The named tensors of the one network in what a file holds."""
    if not isinstance(found, Mapping):
        kind = type(found).__name__
        raise BenchError(f"weights {file}: no named tensors in it, but one {kind}.")
    inner = {str(k): v for k, v in found.items() if isinstance(v, Mapping) and _holds(v)}
    wrapper = next((name for name in WRAPPERS if name in inner), None)
    own = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
    if wrapper is None and len(inner) == 1 and not own:
        (wrapper,) = inner
    if wrapper is not None:
        return _tensors(inner[wrapper], file)
    if own:
        return own
    if inner:
        raise BenchError(
            f"weights {file}: several networks in it: {', '.join(inner)}. Save one of them alone."
        )
    names = ", ".join(str(name) for name in list(found)[:8]) or "nothing"
    raise BenchError(f"weights {file}: no tensors in it. It holds: {names}.")


def _holds(found: Mapping[Any, Any]) -> bool:
    """Tensors lie in it, or in a wrapper within it."""
    return any(
        isinstance(value, Tensor)
        or (name in WRAPPERS and isinstance(value, Mapping) and _holds(value))
        for name, value in found.items()
    )
