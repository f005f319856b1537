"""Files of weights in the wild: wrappers, prefixes, precisions; what is no such file; what does not
fit, and with which parameters it would; nothing in a file is executed."""

import argparse
import hashlib
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.weights import Weights
from bench.errors import BenchError
from bench.method import Method
from bench.method.checkpoints import read_state
from bench.method.published import find_published, must_be_given, resolve_weights
from bench.method.weights import load_weights


class Net(Method):
    """A head, some blocks and a tail."""

    def __init__(
        self, *, scale: int = 2, blocks: int = 2, channels: int = 8, norm: bool = False,
        kind: Literal["plain", "wide"] = "plain",
    ) -> None:  # fmt: skip
        super().__init__()
        self.head = nn.Conv2d(3, channels, 3 if kind == "plain" else 5, padding="same")
        self.body = nn.Sequential(*(nn.Conv2d(channels, channels, 3) for _ in range(blocks)))
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.tail = nn.Conv2d(channels, 3 * scale**2, 3)


class Wrapped(Method):
    """Net as a part."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Net()


def make(seed: int = 0, **parameters: Any) -> Net:
    torch.manual_seed(seed)
    return Net(**parameters)


def state(seed: int = 1, **parameters: Any) -> dict[str, Tensor]:
    return dict(make(seed, **parameters).state_dict())


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "net.pth"


def loads(file: Path, expected: Mapping[str, Tensor], method: Method | None = None) -> None:
    """Loading gives the digest of the file's bytes, and exactly these tensors."""
    method = method or make()
    assert load_weights(method, file) == hashlib.sha256(file.read_bytes()).hexdigest()
    got = method.state_dict()
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(got[name], value), name


# --- what is one network ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapper", ["params", "state_dict", "model_state_dict", "model", "net", "generator", "theirs"]
)
def test_a_network_is_found_in_its_wrapper(file: Path, wrapper: str) -> None:
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]}
    torch.save({wrapper: state(), "optimizer": optimizer, "epoch": 3}, file)
    loads(file, state())


def test_the_averaged_weights_are_preferred(file: Path) -> None:
    torch.save({"params": state(2), "params_ema": state(1)}, file)
    loads(file, state(1))


def test_wrappers_and_prefixes_may_be_nested(file: Path) -> None:
    torch.save({"model": {"state_dict": prefixed("module.", state())}}, file)
    loads(file, state())


@pytest.mark.parametrize("prefix", ["module.", "generator.", "module.net_g.", "model.module."])
def test_a_prefix_that_all_names_share_is_taken_off(file: Path, prefix: str) -> None:
    torch.save(prefixed(prefix, state()), file)
    loads(file, state())


def test_other_networks_beside_it_are_left_out(file: Path) -> None:
    other = {"discriminator.0.weight": torch.zeros(3), "loss.mean": torch.zeros(3)}
    torch.save({"state_dict": {**prefixed("generator.", state()), **other}}, file)
    loads(file, state())


def test_two_networks_that_both_fit_are_not_guessed_between(file: Path) -> None:
    torch.save({**prefixed("a2b.", state(1)), **prefixed("b2a.", state(2))}, file)
    with pytest.raises(BenchError, match=r"several networks in it fit: 'a2b' and 'b2a'"):
        load_weights(make(), file)
    torch.save({"a2b": state(1), "b2a": state(2)}, file)
    with pytest.raises(BenchError, match=r"several networks in it: a2b, b2a"):
        load_weights(make(), file)


def test_a_bare_network_fits_a_method_that_wraps_it(file: Path) -> None:
    torch.save(state(), file)
    loads(file, prefixed("network.", state()), Wrapped())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single(file: Path, dtype: torch.dtype) -> None:
    half = {name: value.to(dtype) for name, value in state().items()}
    torch.save(half, file)
    loads(file, {name: value.float() for name, value in half.items()})


def test_numbers_below_the_normal_range_become_zero(file: Path) -> None:
    """A CPU computes many times as slowly with them."""
    torch.save({"a": torch.tensor([1e-40, -1e-40, 2.0**-126, 2.0])}, file)
    assert read_state(file)["a"].tolist() == [0, 0, 2.0**-126, 2.0]


def test_safetensors_and_old_files_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(state(), tmp_path / "net.safetensors")
    loads(tmp_path / "net.safetensors", state())
    torch.save(state(), tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    loads(tmp_path / "net.pt", state())


def test_plain_values_beside_the_tensors_do_no_harm(file: Path) -> None:
    values = {"best": np.float64(31.2), "step": np.int64(3), "args": argparse.Namespace(lr=1e-4)}
    torch.save({"params": state(), **values}, file)
    loads(file, state())


def test_batch_norm_of_a_file_without_its_counter_fits(file: Path) -> None:
    old = state(norm=True)
    del old["norm.num_batches_tracked"]
    torch.save(old, file)
    loads(file, state(norm=True), make(norm=True))


# --- what is no file of weights -----------------------------------------------------------------


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 12345\n"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (POINTER, "a Git LFS pointer, not the file itself. Do: git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page"),
        (b"<html><body>404", "a web page"),
        (b'{"message": "Not Found"}', "a text file"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "a text file (XML)"),
        (b"", "empty"),
        (b"\x1f\x8b\x08\0", "an archive. Unpack it"),
        (bytes(257) + b"ustar", "an archive. Unpack it"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "an ONNX model"),
    ],
)
def test_what_a_download_went_wrong_leaves_is_named(
    tmp_path: Path, suffix: str, content: bytes, why: str
) -> None:
    file = tmp_path / f"net{suffix}"
    file.write_bytes(content)
    refused(file, why)


def refused(file: Path, why: str) -> str:
    """The one-line message."""
    method, before = make(), state(0)
    with pytest.raises(BenchError) as error:
        load_weights(method, file)
    said = str(error.value)
    assert str(file) in said and why in said and "\n" not in said
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    return said


@pytest.mark.parametrize("new", [True, False])
def test_a_file_that_is_cut_off_is_named(file: Path, new: bool) -> None:
    torch.save(state(), file, _use_new_zipfile_serialization=new)
    whole = file.read_bytes()
    for kept in (len(whole) // 2, len(whole) - 40, 60):
        file.write_bytes(whole[:kept])
        refused(file, f"cut off or damaged after {kept} bytes")


def test_other_files_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.pth", "no such file")
    (tmp_path / "folder.pth").mkdir()
    refused(tmp_path / "folder.pth", "is a folder")
    for name in ("noise.pth", "noise.safetensors"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(300))
        refused(tmp_path / name, "safetensors")
    torch.save({"epoch": 3, "log": [1, 2]}, tmp_path / "log.pth")
    refused(tmp_path / "log.pth", "no tensors in it. It holds: epoch, log")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    refused(tmp_path / "list.pth", "no named tensors in it, but one list")
    torch.save(torch.zeros(3), tmp_path / "one.pth")
    refused(tmp_path / "one.pth", "no named tensors in it, but one Tensor")


@pytest.mark.parametrize("new", [True, False])
def test_a_whole_pickled_network_would_need_its_code(file: Path, new: bool) -> None:
    torch.save(nn.Conv2d(1, 1, 1), file, _use_new_zipfile_serialization=new)
    said = refused(file, "code would have to run (torch.nn.modules.conv.Conv2d)")
    assert "torch.save(model.state_dict(), FILE)" in said and "a whole pickled model" in said


def test_a_torchscript_program_is_not_run(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({}))
        archive.writestr("net/constants.pkl", pickle.dumps(()))
        archive.writestr("net/version", "3\n")
    refused(file, "code would have to run (TorchScript)")


def test_an_archive_of_something_else_says_what_is_in_it(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("README.md", "net/x2.pth", "net/x3.pth", "net/x4.pth"):
            archive.writestr(name, "text")
    said = refused(file, "an archive of README.md, net/x2.pth, net/x3.pth and 1 more")
    assert "damaged" not in said and "Unpack it" in said


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.proof}",)


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_nothing_in_a_file_is_executed(file: Path, tmp_path: Path, kind: str) -> None:
    proof = tmp_path / "proof"
    content = {"params": {**state(), "evil": Evil(proof)}}
    if kind == "pickle":
        file.write_bytes(pickle.dumps(content))
        with pytest.raises(BenchError):
            load_weights(make(), file)
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "zip")
        refused(file, "code would have to run")
    assert not proof.exists()
    pickle.loads(pickle.dumps(Evil(proof)))
    assert proof.exists(), "the file would have done it"


# --- what does not fit --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "fitting", "parts"),
    [
        ({"blocks": 5}, "8 of its 8", ["Unexpected in it: body.2.weight and 5 more", "blocks 5"]),
        (
            {"blocks": 1},
            "6 of its 8",
            ["Missing in the file: body.1.weight and 1 more", "blocks 1"],
        ),
        (
            {"scale": 3},
            "6 of its 8",
            [
                "Of another shape: tail.weight and 1 more",
                "(27, 8, 3, 3) in the file, (12, 8, 3, 3) here",
                "scale 3",
            ],
        ),
        ({"channels": 24, "blocks": 3}, "1 of its 8", ["head.weight", "channels 24", "blocks 3"]),
        ({"norm": True}, "8 of its 8", ["Unexpected in it: norm.weight and 4 more", "norm True"]),
        ({"kind": "wide"}, "7 of its 8", ["(8, 3, 5, 5) in the file", "kind wide"]),
    ],
)
def test_a_mismatch_is_told_at_once_with_what_would_fit(
    file: Path, other: dict[str, Any], fitting: str, parts: list[str]
) -> None:
    torch.save({"params": prefixed("module.", state(**other))}, file)
    said = refused(file, f"{fitting} tensors match by name and shape")
    assert "not the weights of Net (scale 2, blocks 2, channels 8, norm False, kind plain)" in said
    assert all(part in said for part in parts) and "All of it fits with" in said
    assert load_weights(make(**other), file)


def test_a_stranger_s_file_fits_in_no_way(file: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3, 3)}, file)
    said = refused(file, "0 of its 8 tensors match")
    assert "Missing in the file: head.weight and 7 more. Unexpected in it: conv.weight." in said
    assert "fits with" not in said


# --- published ones -----------------------------------------------------------------------------


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(folder))
    known = {}
    for scale in (2, 3):
        path = folder / f"net_x{scale}.pth"
        torch.save(state(scale=scale), path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        known[f"net_x{scale}"] = Weights(path.name, "https://example.org/net.pth", sha256, "MIT")
    known["net_x4"] = Weights("net_x4.pth", "https://example.org/net.pth", "0" * 64, "MIT")
    monkeypatch.setattr(Net, "published", known)


def test_published_weights_go_by_name_and_scale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not must_be_given(make())
    with pytest.raises(BenchError, match="Net has no published weights"):
        find_published(Net, "net_x2")
    publish(monkeypatch, tmp_path)
    assert must_be_given(make()), "random weights would be measured"
    assert find_published(Net, "net_x2") == tmp_path / "net_x2.pth"
    assert resolve_weights(Net, "published:net", scale=3) == tmp_path / "net_x3.pth"
    loads(find_published(Net, "net", 3), state(scale=3), make(scale=3))
    with pytest.raises(BenchError, match=r"'net_x4' are not on this machine.*example\.org.*MIT"):
        resolve_weights(Net, "published:net", scale=4)
    with pytest.raises(
        BenchError, match=r"unknown weights of Net 'nett_x2'\. Did you mean 'net_x2'"
    ):
        resolve_weights(Net, "published:nett_x2")
    (tmp_path / "net_x3.pth").write_bytes(POINTER)
    with pytest.raises(BenchError, match="not the published file: a Git LFS pointer, not the file"):
        find_published(Net, "net_x3")
    (tmp_path / "net_x2.pth").write_bytes(b"half a file")
    with pytest.raises(BenchError, match="not the published file"):
        find_published(Net, "net", 2)


def test_a_file_is_looked_for_from_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(monkeypatch, tmp_path)
    assert resolve_weights(Net, "net_x2.pth", tmp_path) == tmp_path / "net_x2.pth"
    assert resolve_weights(Net, str(tmp_path / "net_x2.pth")) == tmp_path / "net_x2.pth"
    with pytest.raises(
        BenchError, match=r"absent\.pth: no such file\. Published: published:net_x2"
    ):
        resolve_weights(Net, "absent.pth", tmp_path)
