"""Where a number comes from: facts of the record, and a command that gives the same number."""

import json
import shlex
from pathlib import Path

import kit
import pytest
from kit import Ended, commands, write_study


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in which a trained row and one without training have been swept."""
    world = kit.make_world(tmp_path_factory.mktemp("why") / "world")
    write_study(
        world, "bicubic: {use: methods.classical.Bicubic}\nplain: {use: nets.Shift}",
        select="", budget="",
    )  # fmt: skip
    assert commands().run(world, "sweep", "tiny.yaml").status == 0
    return world


def bench(world: Path, *arguments: str) -> Ended:
    return commands().run(world, *arguments)


@pytest.mark.parametrize("row", ["bicubic", "plain"])
def test_the_command_of_a_number_makes_it_again(world: Path, row: str) -> None:
    done = bench(world, "why", "tiny", row, "bsd100", "psnr_y", "--json")
    assert done.status == 0, done.err
    (number,) = json.loads(done.out)["numbers"]
    facts = number["facts"]
    assert number["images"] == 2
    assert facts["set"] == "bsd100 x2, 2/100 images" and facts["protocol"].startswith("sr-y@1: ")
    assert any(name.startswith("stage ") for name in facts) == (row == "plain")
    again = shlex.split(facts["again"])
    assert again[:2] == ["bench", "eval"]
    (result,) = json.loads(bench(world, *again[1:], "--json").out)["results"]
    assert f"{result['mean']['psnr_y']:.2f}" == number["value"]
    text = bench(world, "why", "tiny", row, "bsd100", "psnr_y").out
    assert text.startswith(f"tiny, {row}: bsd100 x2 PSNR-Y = {number['value']}, 2 images\n")
    assert facts["again"] in text


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
