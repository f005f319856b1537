"""Where a number comes from: facts of the record, and a command that gives the same number."""

import json
import math
import shlex
from pathlib import Path

import kit
import pytest
from kit import Ended, commands, write_study

from bench.records.cell import Cell, Score, write_cell
from bench.records.place import Place
from bench.report.why import why, why_text
from bench.study.fields import Study


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in which a trained row and one without training have been swept."""
    world = kit.make_world(tmp_path_factory.mktemp("why") / "world")
    write_study(
        world,
        "bicubic: {use: methods.classical.Bicubic}\nplain: {use: nets.Shift}\n"
        "off: {use: nets.Plain, error: {grid: [0.0, 0.25]}}",
        select="", budget="{sampler: grid}",
    )  # fmt: skip
    assert commands().run(world, "sweep", "tiny.yaml").status == 0
    return world


def bench(world: Path, *arguments: str) -> Ended:
    return commands().run(world, *arguments)


@pytest.mark.parametrize("row", ["bicubic", "plain", "off t001"])
def test_the_command_of_a_number_makes_it_again(world: Path, row: str) -> None:
    done = bench(world, "why", "tiny", row, "bsd100", "psnr_y", "--json")
    assert done.status == 0, done.err
    (number,) = json.loads(done.out)["numbers"]
    facts = number["facts"]
    assert number["images"] == 2
    assert facts["set"] == "bsd100 x2, 2/100 images, PARTIAL" and facts["protocol"].startswith(
        "sr-y@1: "
    )
    assert any(name.startswith("stage ") for name in facts) == (row == "plain")
    again = shlex.split(facts["again"])
    assert again[:2] == ["bench", "eval"]
    (result,) = json.loads(bench(world, *again[1:], "--json").out)["results"]
    assert f"{result['mean']['psnr_y']:.2f}" == number["value"]
    text = bench(world, "why", "tiny", row, "bsd100", "psnr_y").out
    tiny = " [tiny run]" if row == "plain" else ""
    label = "off t001 (error 0.25)" if row == "off t001" else row
    assert text.startswith(f"tiny, {label}{tiny}: bsd100 x2 PSNR-Y = {number['value']}, 2 images\n")
    assert facts["again"] in text


def test_an_image_without_a_value_is_left_out_as_in_the_table(home_of_records: Path) -> None:
    """Of 0.6, no value and 0.8 the mean is 0.7, over 2 of 3 images, under both seeds."""
    (number,) = why("mine", "a", "set5", "smooth_noise")["numbers"]
    assert (number["value"], number["images"], number["asked"]) == ("0.70", 2, 3)
    assert "= 0.70, 2 of 3 images" in why_text({"study": "mine", "numbers": [number]})


@pytest.fixture
def home_of_records(bench_home: Path) -> Path:
    place = Place(bench_home, "mine")
    place.root.mkdir(parents=True)
    study = Study(
        name="mine", task={"kind": "super-resolution", "scale": 2}, methods={"a": {"use": "x"}},
        evaluate={"datasets": ["set5"], "metrics": ["smooth_noise"]}, budget={"seeds": [0, 1]},
    )  # fmt: skip
    place.study_file.write_text(study.model_dump_json())
    values = {"u": 0.6, "v": math.nan, "w": 0.8}
    for seed in (0, 1):
        scores = [Score("set5", 2, i, "smooth_noise", "sr-y@1", v) for i, v in values.items()]
        write_cell(
            place.cells,
            Cell(study="mine", method="a", use="x", trial=None, seed=seed, attempt=0,
                 state="complete", parameters={}, fingerprint="feed", scores=scores),
        )  # fmt: skip
    return bench_home


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("tinny", "bicubic", "bsd100", "psnr_y"), "Did you mean 'tiny'"),
        (("tiny", "bicubik", "bsd100", "psnr_y"), "Did you mean 'bicubic'"),
        (("tiny", "bicubic", "bsd10", "psnr_y"), "Did you mean 'bsd100'"),
        (("tiny", "bicubic", "bsd100", "psnr"), "Did you mean 'psnr_y'"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(
    world: Path, asked: tuple[str, ...], said: str
) -> None:
    done = bench(world, "why", *asked)
    assert done.status == 2 and said in done.err, done.err
