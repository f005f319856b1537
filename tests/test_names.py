"""Names of files and folders as they come: bytes that are no text, the longest, quotes, lines."""

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import kit
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch

from bench.api import restore_images
from bench.cli import main
from bench.data.files import file_digests, whole
from bench.data.images import image_files
from bench.data.roots import data_root, home, paths_from, weights_root
from bench.data.sets import dataset
from bench.data.weights import digest, torch_hub
from bench.errors import BenchError
from bench.look.check import load_study
from bench.method.published import resolve_weights
from bench.study.fields import MethodSection
from bench.sweep.rows import folder_of, weights_digest
from methods.classical import Bicubic

BICUBIC = "methods.classical.Bicubic"
ODD = {
    "bytes that are no UTF-8": os.fsdecode(b"caf\xe9"),
    "255 bytes with the suffix": "n" * 251,
    "quotes": 'it\'s "so"',
    "two lines": "first\nsecond",
    "a leading dash": "-dash",
    "table and markup": "a|b <i>&amp; $x_{1}$ {stem}",
}
"""What is odd about a stem -> the stem."""

Command = Callable[..., kit.Ended]


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command line in this process, in the test's own folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> kit.Ended:
        monkeypatch.setattr(sys, "argv", ["bench", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return kit.Ended(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Pictures of odd names, each another one."""
    kit.write_pictures(folder := tmp_path / "odd", len(ODD))
    for path, stem in zip(sorted(folder.iterdir()), ODD.values(), strict=True):
        path.rename(folder / f"{stem}.png")
    return folder


def pixels(path: Path) -> np.ndarray:
    return np.asarray(PIL.Image.open(path))


def test_bytes_that_are_no_text_are_escaped_in_a_stem(tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", b"caf\xe8.png", "café.png".encode()):
        (tmp_path / os.fsdecode(name)).touch()
    assert list(image_files(tmp_path)) == [r"caf\xe8", r"caf\xe9", "café"]


def test_a_set_of_odd_names_is_checked_degraded_restored_and_scored(
    bench: Command, odd: Path
) -> None:
    stems = {r"caf\xe9" if "caf" in stem else stem for stem in ODD.values()}
    assert bench("data", "check", "./odd", "--scale", "2").status == 0
    made = bench("data", "degrade", "./odd", "--scale", "2", "--out", "odd/LR_x2")
    assert (made.status, made.out) == (0, "odd/LR_x2: 6 files written, 0 there already\n")
    evaluated = bench(
        "eval", BICUBIC, "--datasets", "./odd", "--scale", "2", "--metrics", "psnr_y",
        "--out", "sr", "--json",
    )  # fmt: skip
    (result,) = json.loads(evaluated.out)["results"]
    assert result["lr"] == "published LR_x2"
    values = {image["image"]: image["psnr_y"] for image in result["images"]}
    assert set(values) == stems
    (folder,) = Path("sr").iterdir()
    scored = bench(
        "score", str(folder), "--reference", "odd", "--scale", "2", "--metrics", "psnr_y",
        "--out", "scores", "--json",
    )  # fmt: skip
    assert {image["image"]: image["psnr_y"] for image in json.loads(scored.out)["images"]} == values
    with Path("scores/scores.csv").open(encoding="utf-8", newline="") as file:
        assert {row["image"]: float(row["psnr_y"]) for row in csv.DictReader(file)} == values
    table = Path("scores/scores.md").read_text(encoding="utf-8").splitlines()[2:]
    assert all(line.replace(r"\|", "").count("|") == 3 for line in table)
    assert len(table) == 2 + len(ODD) + 1  # no name breaks a line


def test_restoring_keeps_the_names(odd: Path, tmp_path: Path) -> None:
    restore_images(BICUBIC, list(odd.iterdir()), out := tmp_path / "sr")
    assert sorted(os.listdir(out)) == sorted(os.listdir(odd))


def test_a_leading_dash_comes_after_two_dashes(
    bench: Command, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(odd)
    assert bench("restore", BICUBIC, "--out", "../sr", "--", "-dash.png").status == 0
    assert os.listdir("../sr") == ["-dash.png"]
    assert bench("explain", "--", "-dash.png", "-dash.png").status == 0


def test_odd_names_are_recorded_and_reported(tmp_path: Path) -> None:
    world = kit.make_world(tmp_path / "world")
    kit.write_pictures(folder := world / "data/BSD100/HR", len(ODD), first=20)
    for path, stem in zip(sorted(folder.iterdir()), ODD.values(), strict=True):
        path.rename(folder / f"{stem}.png")
    study = kit.write_study(world, "plain: {use: nets.Plain}", train="", select="", budget="")
    ended = kit.commands().run(world, "sweep", str(study), "--out", "report")
    assert (ended.status, ended.err.count("Traceback")) == (0, 0), ended.err
    stems = {r"caf\xe9" if "caf" in stem else stem for stem in ODD.values()}
    assert set(pd.read_parquet(world / "report/scores.parquet").image) == stems
    assert set(pd.read_csv(world / "report/scores.csv").image) == stems
    pictures = world / "home/studies/tiny/pictures/plain-s0/bsd100"
    assert {path.stem for path in pictures.iterdir()} == stems


def test_a_folder_whose_name_is_no_text_is_measured(bench: Command, odd: Path) -> None:
    odd.rename(folder := odd.with_name(os.fsdecode(b"d\xe9")))
    ended = bench(
        "eval", BICUBIC, "--datasets", f"./{folder.name}", "--scale", "2", "--metrics", "psnr_y",
        "--out", "sr", "--json",
    )  # fmt: skip
    assert json.loads(ended.out.encode("ascii"))["results"][0]["dataset"] == r"./d\xe9"


def test_digests_of_odd_names_are_taken_twice(odd: Path) -> None:
    for path in odd.iterdir():
        os.utime(path, (1, 1))  # old enough to be remembered
    digests = file_digests(odd.iterdir())
    assert len(set(digests.values())) == len(ODD) and file_digests(odd.iterdir()) == digests


# --- writing whole or not at all ------------------------------------------------------------------


def test_what_is_not_written_to_its_end_is_not_there(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_text("before")
    with pytest.raises(KeyboardInterrupt), whole(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (path.read_text(), os.listdir(tmp_path)) == ("before", ["file"])


def test_an_error_names_the_file_that_is_meant(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, whole(path := tmp_path / ("n" * 256)):
        pass
    assert caught.value.filename == str(path) and not os.listdir(tmp_path)
    with pytest.raises(OSError) as caught, whole(path := tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(path)


# --- the home folder ------------------------------------------------------------------------------


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with pictures and weights; it is not the current one."""
    monkeypatch.setenv("HOME", str(folder := tmp_path / "somebody"))
    kit.write_pictures(folder / "pictures", 2)
    kit.write_pictures(folder / "sets/Set5/HR", 2)
    torch.save({}, folder / "net.pth")
    (tmp_path / "here").mkdir()
    return folder


def test_a_tilde_is_the_home_folder_in_the_environment(
    at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BENCH_HOME", "BENCH_DATA", "BENCH_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(name, f"~/{name}")
    found = home(), data_root(), weights_root(), torch_hub().parent
    names = ("BENCH_HOME", "BENCH_DATA", "BENCH_WEIGHTS", "TORCH_HOME")
    assert found == tuple(at_home / name for name in names)


def test_a_tilde_is_the_home_folder_in_every_option(
    bench: Command, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell leaves it as it is in --out=~/x, in quotes and in a file."""
    monkeypatch.setenv("BENCH_HOME", "~/bench")
    at = ("--scale", "2", "--metrics", "psnr_y")
    ends = [
        bench("data", "check", "~/pictures"),
        bench("data", "degrade", "~/pictures", "--scale", "2", "--out=~/lr"),
        bench("restore", BICUBIC, "~/lr/00.png", "~/lr/01.png", "--out=~/sr"),
        bench("score", "~/sr", "--reference=~/pictures", "--out=~/scores", *at),
        bench("score", "~/sr", "--dataset=~/pictures", *at),
        bench("explain", "~/sr/00.png", "~/pictures/00.png"),
        bench("eval", BICUBIC, "--datasets", "~/pictures", "--out=~/evaluated", *at),
    ]
    assert [ended.status for ended in ends] == [0] * len(ends), ends
    made = {"lr", "sr", "scores", "evaluated", "bench"}
    assert made < {path.name for path in at_home.iterdir()}
    assert sorted(os.listdir()) == ["here", "somebody"]


def test_a_tilde_is_the_home_folder_in_a_study(at_home: Path) -> None:
    section = MethodSection(folder="~/pictures")
    study = load_study(write_folder_study(at_home, "~/pictures", "~/pictures"))
    assert folder_of(section, ("set5", 2), study) == at_home / "pictures"
    assert resolve_weights(Bicubic, "~/net.pth") == at_home / "net.pth"
    assert weights_digest(Bicubic, "~/net.pth", 2) == digest(at_home / "net.pth")


def write_folder_study(folder: Path, measured: str, pictures: str) -> Path:
    return kit.write_study(
        folder, f"made: {{folder: {pictures}}}", train="", select="", budget="",
        evaluate=f"{{datasets: [{measured}], metrics: [psnr_y]}}",
    )  # fmt: skip


# --- relative paths in a study --------------------------------------------------------------------


def test_a_relative_path_in_a_study_begins_at_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, count in (("here", 2), ("here/beside", 2), ("there", 3)):
        kit.write_pictures(tmp_path / folder / "mine", count)
    torch.save({}, tmp_path / "here/net.pth")
    file = write_folder_study(tmp_path / "here/beside", "./mine", "../mine")
    for current in ("here/beside", "here", "there"):
        monkeypatch.chdir(tmp_path / current)
        study = load_study(os.path.relpath(file))
        with paths_from(study.folder):
            assert Path(dataset("./mine").folders[0]) == tmp_path / "here/beside/mine"
            found = folder_of(study.methods["made"], ("./mine", 2), study)
            assert found == tmp_path / "here/mine"
            assert resolve_weights(Bicubic, "../net.pth") == tmp_path / "here/net.pth"
    assert Path(dataset("./mine").folders[0]) == tmp_path / "there/mine"  # of the command line


def test_what_is_not_beside_the_study_is_looked_for_where_it_once_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "studies").mkdir()
    kit.write_pictures(tmp_path / "mine", 2)
    file = write_folder_study(tmp_path / "studies", "./mine", "./mine")
    monkeypatch.chdir(tmp_path)
    with paths_from(load_study(file).folder):
        assert Path(dataset("./mine").folders[0]) == tmp_path / "mine"
    monkeypatch.chdir(tmp_path / "studies")
    with pytest.raises(BenchError) as error:
        load_study(file, strict=True)
    assert f"'./mine' is not on this machine: {tmp_path}/studies/mine: no such" in str(error.value)
    assert f"methods.made.folder: no such folder: {tmp_path}/studies/mine" in str(error.value)


def test_records_of_a_relative_folder_are_current_from_anywhere(tmp_path: Path) -> None:
    world = kit.make_world(tmp_path / "world")
    (world / "other").mkdir()
    kit.write_pictures(world / "studies/mine", 2)
    file = kit.write_study(
        world / "studies", "plain: {use: nets.Plain}", train="", select="", budget="",
        evaluate="{datasets: [./mine], metrics: [psnr_y]}",
    )  # fmt: skip
    run = kit.commands().run
    assert run(world, "sweep", str(file), "--out", "report").status == 0
    move = f"import os, sys; sys.path.append({str(world)!r}); os.chdir('other')"
    status = json.loads(run(world, "status", "tiny", "--json", before=move).out)
    assert (status["complete"], status["changed"]) == (1, {})


def test_the_home_of_nobody_is_a_message(bench: Command, at_home: Path) -> None:
    ended = bench("restore", BICUBIC, "~/pictures/00.png", "--out", "~nobody-is-called-so/sr")
    assert ended.status == 2 and "Traceback" not in ended.err
    assert "nobody here is called 'nobody-is-called-so'" in ended.err
    assert "write ./~nobody-is-called-so/sr" in ended.err
