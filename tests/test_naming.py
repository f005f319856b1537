"""Folders as other programs leave them: what is compared with what, and nothing with itself."""

from pathlib import Path

import numpy as np
import pytest
from pytest import approx

from bench.data.benchmark import open_benchmark
from bench.data.images import write_image
from bench.errors import BenchError
from bench.measure.answer import to_markdown
from bench.measure.evaluate import pictures_in
from bench.measure.folder import FolderScores, score_folder
from bench.measure.naming import pair_names, says_original

ERROR = 51  # levels: 20 log10(255 / 51) dB
DECIBEL = 20 * np.log10(5)


def put(folder: Path, *names: str, level: int = 100, side: int = 16) -> None:
    for name in names:
        write_image(folder / f"{name}.png", np.full((side, side, 3), level, np.uint8))


def score(folder: Path, scale: int = 4, **more: object) -> FolderScores:
    return score_folder(folder, ["psnr"], scale, **more)  # type: ignore[arg-type]


def refusal(folder: Path, **more: object) -> str:
    with pytest.raises(BenchError) as error:
        score(folder, **more)  # type: ignore[arg-type]
    return str(error.value)


@pytest.fixture
def edsr(tmp_path: Path) -> Path:
    """As EDSR's program saves its results: SR, HR and LR in one folder."""
    put(folder := tmp_path / "edsr", "0801_x4_HR", "0802_x4_HR")
    put(folder, "0801_x4_SR", "0802_x4_SR", level=100 + ERROR)
    put(folder, "0801_x4_LR", "0802_x4_LR", side=4)
    return folder


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_that_holds_both_is_its_own_reference(edsr: Path, named: bool) -> None:
    found = score(edsr, reference=edsr) if named else score(edsr)
    assert found.values("psnr") == {"0801": approx(DECIBEL), "0802": approx(DECIBEL)}
    assert not found.partial and found.against == str(edsr)
    told = to_markdown(found)
    assert "paired by their names: NAME_x4_SR with NAME_x4_HR" in told
    assert "named as originals or inputs: 0801_x4_LR, 0802_x4_LR" in told


def test_an_original_without_a_restored_image_makes_it_partial(edsr: Path) -> None:
    put(edsr, "0803_x4_HR")
    found = score(edsr)
    assert (found.partial, found.paired.official, found.paired.absent) == (True, 3, ("0803",))


def test_a_restored_image_without_an_original_is_refused(edsr: Path) -> None:
    put(edsr, "0803_x4_SR")
    assert "0803_x4_SR.png: no reference with its stem" in refusal(edsr)


def test_originals_elsewhere_are_never_compared_with_their_copies(
    edsr: Path, tmp_path: Path
) -> None:
    put(tmp_path / "hr", "0801", "0802")
    for template in ("{stem}", "{stem}_x{scale}_SR"):
        found = score(edsr, reference=tmp_path / "hr", template=template)
        assert found.values("psnr") == {"0801": approx(DECIBEL), "0802": approx(DECIBEL)}
        assert len(found.paired.aside) == 4


def test_restored_images_elsewhere_are_compared_with_the_originals_alone(
    edsr: Path, tmp_path: Path
) -> None:
    put(tmp_path / "mine", "0801", level=100 + ERROR)
    found = score(tmp_path / "mine", reference=edsr)
    assert found.values("psnr") == {"0801": approx(DECIBEL)}
    assert found.paired.absent == ("0802",)


def test_a_scale_that_the_names_contradict_is_refused(edsr: Path) -> None:
    assert "is named as of scale 4, --scale is 2. Give --scale 4" in refusal(edsr, scale=2)


@pytest.mark.parametrize("ending", ["_x4_SR", "_SR", "_sr", "_out", "_rlt"])
def test_what_other_programs_append_is_known(tmp_path: Path, ending: str) -> None:
    put(tmp_path / "hr", "1", "10", "baboon")
    put(tmp_path / "sr", f"1{ending}", f"10{ending}", f"baboon{ending}", level=100 + ERROR)
    found = score(tmp_path / "sr", reference=tmp_path / "hr")
    assert set(found.images) == {"1", "10", "baboon"} and found.mean("psnr") == approx(DECIBEL)
    put(tmp_path / "both", *found.images)
    put(tmp_path / "both", f"1{ending}", f"10{ending}", level=100 + ERROR)
    found = score(tmp_path / "both", reference=tmp_path / "both")
    assert set(found.values("psnr")) == {"1", "10"} and found.paired.absent == ("baboon",)


def test_names_that_fit_as_they_are_are_taken_so(tmp_path: Path) -> None:
    """A set may have images called a_SR or a_HR itself."""
    names = ["a", "a_HR", "a_SR", "b_out"]
    assert pair_names(names, names, 4).pairs == {name: name for name in names}


def test_the_hint_never_proposes_originals(tmp_path: Path) -> None:
    put(tmp_path / "hr", "0801", "0802")
    put(tmp_path / "sr", "0801_x4_HR", "0802_x4_HR", "0801_mine", "0802_mine")
    told = refusal(tmp_path / "sr", reference=tmp_path / "hr")
    assert "--template '{stem}_mine' would pair 2 of them" in told and "HR" not in told
    for name in ("0801_mine", "0802_mine"):
        (tmp_path / f"sr/{name}.png").unlink()
    told = refusal(tmp_path / "sr", reference=tmp_path / "hr")
    assert "named as originals or inputs" in told.lower() and "--template" not in told
    assert says_original("img_001_SRF_2_HR") and says_original("a_gt") and not says_original("HR")


def test_nothing_is_compared_with_itself(tmp_path: Path) -> None:
    put(tmp_path / "hr", "a", "b")
    told = refusal(tmp_path / "hr", reference=tmp_path / "hr")
    assert "is its own --reference" in told and "NAME_x4_SR and NAME_x4_HR" in told
    (tmp_path / "links").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "links" / name).symlink_to(tmp_path / "hr" / name)
    told = refusal(tmp_path / "links", reference=tmp_path / "hr")
    assert "links/a.png and 1 more: its own reference" in told
    told = refusal(tmp_path / "hr", dataset=str(tmp_path / "hr"))
    assert "hr/a.png and 1 more: its own reference" in told


def test_no_reference_is_still_a_message(tmp_path: Path) -> None:
    put(tmp_path / "sr", "a")
    assert "Name it with --reference DIR" in refusal(tmp_path / "sr")


def test_pictures_of_a_row_may_be_named_so_too(edsr: Path, tmp_path: Path) -> None:
    put(tmp_path / "set", "0801", "0802")
    benchmark = open_benchmark(str(tmp_path / "set"), 4)
    restore = pictures_in(edsr, benchmark)
    assert [int(restore(pair)[1][0, 0, 0]) for pair in benchmark.pairs] == [100 + ERROR] * 2
