"""`bench restore`: folders, memory that does not grow, PNG in bands, methods that misbehave."""

import errno
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from conftest import MakeModule
from torch import Tensor, nn

import bench.api
import bench.cli
from bench.api import measure_method, restore_images
from bench.data import png
from bench.data.images import image_size, read_image, write_image
from bench.data.pixels import Image
from bench.data.png import write_bands
from bench.errors import BenchError
from bench.method import Method, restoring
from bench.method.faults import faults_told
from bench.method.restoring import bands_of, picture_of
from bench.study.fields import Study
from bench.sweep.job import Done, Job
from bench.sweep.trial import run_trial
from methods.classical import Bicubic
from methods.nima_sr import EDSR

BICUBIC = "methods.classical.Bicubic"


def noise(*shape: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of `bench WORDS` in this process."""
    monkeypatch.setattr("sys.argv", ["bench", *words])
    with pytest.raises(SystemExit) as ended:
        bench.cli.main()
    return ended.value.code


# --- PNG in bands ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[1], [7, 64, 65, 3], [130], [1, 1, 1]])
@pytest.mark.parametrize("width", [1, 50])
def test_other_readers_find_the_rows_that_were_written(
    tmp_path: Path, rows: list[int], width: int
) -> None:
    picture = noise(sum(rows), width, 3)
    write_bands(tmp_path / "new/a.png", np.split(picture, np.cumsum(rows)[:-1]))
    with PIL.Image.open(tmp_path / "new/a.png") as opened:
        opened.verify()  # the checksums
    assert np.array_equal(read_image(tmp_path / "new/a.png"), picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "new/a.png"))[..., ::-1], picture)


def test_what_is_not_written_to_its_end_leaves_what_was_there(tmp_path: Path) -> None:
    def broken() -> Iterator[Image]:
        yield noise(100, 100, 3)
        raise KeyboardInterrupt

    for before in (None, b"a picture"):
        if before:
            (tmp_path / "a.png").write_bytes(before)
        with pytest.raises(KeyboardInterrupt):
            write_bands(tmp_path / "a.png", broken())
        assert [p.read_bytes() for p in tmp_path.iterdir()] == ([before] if before else [])


def test_a_photograph_in_bands_is_hardly_larger_than_pillow_writes_it(
    tmp_path: Path, data_root: Path
) -> None:
    photograph = read_image(data_root / "BSD100/HR/img_001.png")
    write_bands(tmp_path / "bands.png", [photograph])
    write_image(tmp_path / "whole.png", photograph)
    sizes = [(tmp_path / f"{name}.png").stat().st_size for name in ("bands", "whole")]
    assert sizes[0] < 1.05 * sizes[1]


# --- memory ---------------------------------------------------------------------------------------


class Blocks(Method):
    """Each 4x4 block becomes its mean: takes multiples of 4 alone, and the grid matters."""

    stride = 4
    halo = 1

    def forward(self, lr: Tensor) -> Tensor:
        assert lr.shape[-1] % 4 == lr.shape[-2] % 4 == 0
        return nn.functional.interpolate(nn.functional.avg_pool2d(lr, 4), scale_factor=8.0)


torch.manual_seed(0)
METHODS = (Bicubic(scale=3), EDSR(scale=2, blocks=2, channels=4, gamma=0).eval(), Blocks())


@pytest.mark.parametrize("method", METHODS, ids=["bicubic", "edsr", "blocks"])
@pytest.mark.parametrize("size", [(40, 70), (71, 20), (33, 33), (16, 64), (15, 9)])
@pytest.mark.parametrize("tile", [16, 17])
def test_bands_are_the_bytes_of_the_whole_picture(
    method: Method, size: tuple[int, int], tile: int
) -> None:
    lr = noise(*size, 3)
    bands = list(bands_of(method, lr, tile, tile))
    rows = tile + -tile % method.stride
    assert len(bands) == (1 if max(size) <= 16 else -(-size[0] // rows))
    assert np.array_equal(np.concatenate(bands), picture_of(method, lr, tile, tile))


PEAK = """
import sys
from pathlib import Path
from bench.api import restore_images

def peak():
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024

before = peak()
bilinear, picture = "methods.classical.Bilinear", Path(sys.argv[1])
restore_images(bilinear, [picture], Path("out"), parameters={"scale": 4})
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_picture(tmp_path: Path) -> None:
    """Less than the picture takes once in floats; it used to be seven times as much."""
    write_image(tmp_path / "a.png", np.zeros((1200, 1500, 3), np.uint8))
    command = [sys.executable, "-c", PEAK, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert image_size(tmp_path / "out/a.png") == (4800, 6000)
    assert int(done.stdout) < 4800 * 6000 * 3 * 4


def test_pictures_are_read_and_forgotten_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        write_image(tmp_path / f"in/{n}.png", noise(20, 20, 3))
    read: list[weakref.ref[Image]] = []
    most = 0

    def watched(path: Path) -> Image:
        nonlocal most
        picture = read_image(path)
        read.append(weakref.ref(picture))
        most = max(most, sum(one() is not None for one in read))
        return picture

    monkeypatch.setattr(bench.api, "read_image", watched)
    assert len(restore_images(BICUBIC, [tmp_path / "in"], tmp_path / "out")) == 5
    assert most <= 2  # the one before goes when the next has been read


# --- how large a picture may be -------------------------------------------------------------------


def test_what_restore_makes_of_a_photograph_can_be_read_again(tmp_path: Path) -> None:
    """24 MP, enlarged x4. Of the file the header alone."""
    header = png._SIGNATURE + png._header(16000, 24000) + png._chunk(b"IDAT", b"")
    (tmp_path / "large.png").write_bytes(header)
    assert image_size(tmp_path / "large.png") == (16000, 24000)


def test_what_could_not_be_read_again_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.png", noise(40, 50, 3))
    monkeypatch.setattr(restoring, "LARGEST", 4 * 40 * 50 - 1)
    with pytest.raises(BenchError, match=r"a\.png: .* 100x80 pixels, more than"):
        restore_images(BICUBIC, [tmp_path / "a.png"], tmp_path / "out", tile=16)
    assert list((tmp_path / "out").iterdir()) == []


# --- folders --------------------------------------------------------------------------------------


def test_folders_and_files_may_be_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in/10.png", "in/9.png", "in/sub/no.png", "in/.hidden.png", "one.png"):
        write_image(Path(name), noise(8, 9, 3))
    PIL.Image.fromarray(noise(8, 9, 3)).save("in/b.JPG")
    Path("in/notes.txt").write_text("no picture")
    assert run(monkeypatch, "restore", BICUBIC, "one.png", "in", "--out", "out") == 0
    out, err = capsys.readouterr()
    assert out.split() == ["out/one.png", "out/10.png", "out/9.png", "out/b.png"]
    assert err == "in: no pictures: notes.txt\n"
    assert image_size(Path("out/b.png")) == (16, 18)


@pytest.mark.parametrize(
    ("names", "arguments", "words"),
    [
        (["in/a.png", "a.png"], ["in", "a.png"], "several pictures would become out/a.png"),
        (["in/a.png", "in/a.bmp"], ["in"], "has the same stem as"),
        (["in/sub/a.png"], ["in"], "has no image files"),
        (["out/a.png"], ["out"], "out/a.png: would be overwritten"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    names: list[str], arguments: list[str], words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(noise(8, 9, 3)).save(name)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(BenchError, match=words):
        restore_images(BICUBIC, [Path(a) for a in arguments], Path("out"))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    stem = "n" * 251
    write_image(tmp_path / f"{stem}.png", noise(8, 9, 3))
    (written,) = restore_images(BICUBIC, [tmp_path / f"{stem}.png"], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [written.name] == [f"{stem}.png"]


# --- methods that misbehave -----------------------------------------------------------------------

NETS = """
import numpy as np
import torch
from torch.nn import functional as F

from bench.method import Method


class Up(Method):
    def __init__(self, *, scale: int = 2):
        super().__init__()
        self.scale = scale

    def forward(self, lr):
        return self.spoil(F.interpolate(lr, scale_factor=float(self.scale)), lr)

    def spoil(self, sr, lr):
        return sr


class Bad(Up):
    def spoil(self, sr, lr):
        return SPOILED
"""
"""SPOILED is an expression of SR and LR."""

PLACE = rf"\S+/own_method\.py:{NETS.splitlines().index('        return SPOILED') + 1}: "
MADE = r"forward made \({}\) of \(1, 3, 17, 13\), not \(1, 3, 34, 26\)"
SPOILED = {
    "sr[..., 1:]": MADE.format("1, 3, 34, 25"),
    "lr": MADE.format("1, 3, 17, 13"),
    "sr[:, :1]": MADE.format("1, 1, 34, 26"),
    "torch.cat([sr, sr[:, :1]], 1)": MADE.format("1, 4, 34, 26"),
    "sr[0]": MADE.format("3, 34, 26"),
    "sr.mean()": MADE.format(""),
    "sr * float('nan')": "the restored image has values that are not finite",
    "sr / 0": "the restored image has values that are not finite",
    "(255 * sr).to(torch.uint8)": r"forward returned torch.uint8, not floats in \[0, 1\]",
    "sr.numpy()": "forward returned numpy.ndarray, not a tensor",
    "None": "forward returned NoneType, not a tensor",
    "torch.empty(10**15)": r"there is not enough memory \(RuntimeError: .*tried to allocate",
    "np.empty(10**15)": r"there is not enough memory \(\w*MemoryError: Unable to allocate",
    "(_ for _ in ()).throw(MemoryError)": r"there is not enough memory \(MemoryError\)",
    "(_ for _ in ()).throw(torch.OutOfMemoryError('CUDA'))": "there is not enough memory",
    "self.netwrk(sr)": PLACE + r"AttributeError: .*'netwrk'",
    "F.conv2d(sr, torch.zeros(3, 4, 3, 3))": PLACE + r"RuntimeError: Given groups",
    "np.reshape(sr, 7)": PLACE + r"ValueError: cannot reshape",
    "(_ for _ in ()).throw(AssertionError)": PLACE + r"AssertionError",
}


@pytest.fixture(params=SPOILED)
def spoiled(make_module: MakeModule, request: pytest.FixtureRequest) -> str:
    """What is said of own_method.Bad, which is spoiled by an expression."""
    make_module(NETS.replace("SPOILED", request.param))
    return SPOILED[request.param]


def test_restore_says_what_a_method_makes_of_which_picture(spoiled: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", noise(17, 13, 3))
    with pytest.raises(BenchError, match=rf"a\.png: own_method\.Bad: {spoiled}") as caught:
        restore_images("own_method.Bad", [tmp_path / "a.png"], tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1
    assert not any((tmp_path / "out").glob("*"))


def test_eval_says_what_a_method_makes_of_which_picture(spoiled: str, small_sets: Path) -> None:
    with pytest.raises(BenchError, match=rf"^set14/comic: own_method\.Bad: {spoiled}") as caught:
        measure_method("own_method.Bad", ["set14"], 2, ["psnr"])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("expression", ["sr[:, :1]", "sr / 0", "self.netwrk(sr)"])
def test_a_trial_fails_for_what_its_method_makes(
    expression: str, make_module: MakeModule, small_sets: Path, tmp_path: Path
) -> None:
    make_module(NETS.replace("SPOILED", expression))
    study = Study.model_validate(
        {
            "name": "bad",
            "task": {"kind": "super-resolution", "scale": 2},
            "methods": {"bad": {"use": "own_method.Bad"}},
            "evaluate": {"datasets": ["set14"], "metrics": ["psnr"]},
        }
    )
    job = Job(study=study, method="bad", trial=None, seed=0, store=tmp_path / "store")
    (*_, done) = run_trial(job)
    assert isinstance(done, Done) and done.cell.state == "failed"
    said = SPOILED[expression]
    with pytest.raises(AssertionError, match=rf"^set14/comic: own_method\.Bad: {said}"):
        raise AssertionError(done.cell.reason)


def test_pictures_before_the_one_that_fails_are_kept(
    make_module: MakeModule, tmp_path: Path
) -> None:
    make_module(NETS.replace("SPOILED", "sr if lr.shape[-1] < 20 else lr"))
    for name, width in (("a", 8), ("b", 9), ("c", 20)):
        write_image(tmp_path / f"in/{name}.png", noise(8, width, 3))
    with pytest.raises(BenchError, match=r"c\.png: .*\. 2 of 3 pictures are in .*out\."):
        restore_images("own_method.Bad", [tmp_path / "in"], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt(),
        BenchError("a message"),
    ],
    ids=repr,
)
def test_what_is_no_fault_of_the_method_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, faults_told(Bicubic(), 2):
        raise error
    assert caught.value is error


def test_a_mistake_of_ours_shows_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", noise(8, 9, 3))
    monkeypatch.setattr(restoring, "to_tensor", int)
    with pytest.raises(TypeError, match="int"):
        restore_images(BICUBIC, [tmp_path / "a.png"], tmp_path / "out")


def test_a_full_disk_is_one_message_that_names_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The device takes no byte."""
    monkeypatch.chdir(tmp_path)
    write_image(Path("a.png"), noise(200, 200, 3))

    def full(path: Path, mode: str) -> object:
        return open("/dev/full", "wb")

    monkeypatch.setattr(Path, "open", full)
    assert run(monkeypatch, "restore", BICUBIC, "a.png", "--out", "out") == 2
    err = capsys.readouterr().err
    said = "Nothing is lost: make room and run the same command again."
    assert err == f"Error: the disk is full (out/a.png). {said}\n"
