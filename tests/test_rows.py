"""Rows of a study that are no training: published weights, folders, the originals; several scales.

All with the real command in a tiny world.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from kit import cells, commands, make_world, stage_times, write_pictures, write_study

from bench.records.cell import Cell

TWO = "{kind: super-resolution, scale: [2, 3]}"
EVALUATE = "{datasets: [bsd100, set14], metrics: [psnr_y, viqet.saturation]}"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return make_world(tmp_path / "world")


def swept(world: Path, *more: str) -> dict[str, Cell]:
    ended = commands().run(world, "sweep", "tiny.yaml", *more)
    assert ended.status == 0, ended.err
    return {name: Cell.model_validate(cell) for name, cell in cells(world / "home").items()}


def pooled(cell: Cell, dataset: str, metric: str, scale: int = 2) -> list[float]:
    wanted = (dataset, scale, metric)
    return [s.value for s in cell.scores if (s.dataset, s.scale, s.metric) == wanted]


def test_one_study_trains_and_measures_at_several_scales(world: Path) -> None:
    methods = "plain: {use: nets.Plain}\nshift: {use: nets.Shift, error: {float: [0.0, 0.2]}}"
    budget = "{trials: 1, sampler: random}"
    train = "{dataset: set5, patch: 12, batch: 2, steps: 4, precision: fp32, device: cpu}"
    select = "{dataset: set14, maximize: [psnr_y], allow_reported: true}"
    changes = {"task": TWO, "evaluate": EVALUATE, "budget": budget, "train": train}
    write_study(world, methods, select=select, **changes)
    records = swept(world)
    shift = records["shift-t000-s0"]
    assert [stage.scale for stage in shift.stages] == [2, 3]
    assert len(stage_times(world / "home")) == 2
    assert list(shift.datasets) == ["bsd100 x2", "set14 x2", "bsd100 x3", "set14 x3"]
    for cell in records.values():
        for scale in (2, 3):
            assert len(pooled(cell, "bsd100", "psnr_y", scale)) == 2
    # the objective is the mean over the scales
    selected = shift.objectives["psnr_y"]
    by_scale = [pooled(shift, "set14", "psnr_y", scale) for scale in (2, 3)]
    assert selected == pytest.approx(sum(map(sum, by_scale)) / 4)
    table = (world / "reports/tiny/table.md").read_text()
    assert "| bsd100 x2 (partial: 2/100) PSNR-Y" in table
    assert "| bsd100 x3 (partial: 2/100) PSNR-Y" in table
    assert (world / "home/studies/tiny/pictures/plain-s0/bsd100_x3/20.png").is_file()
    restored = commands().run(
        world, "restore", "tiny/shift-t000-s0", "data/BSD100/HR/20.png", "--out", "up"
    )
    assert restored.status == 2 and "--param scale=2" in restored.err
    again = commands().run(world, "sweep", "tiny.yaml")
    assert "2 of them already recorded" in again.err


def test_originals_have_scores_without_reference(world: Path) -> None:
    methods = "reference: {}\nplain: {use: nets.Plain}"
    write_study(world, methods, select="", train="", evaluate=EVALUATE)
    reference = swept(world)["reference-s0"]
    assert {score.metric for score in reference.scores} == {"viqet.saturation"}
    assert reference.parameters == {} and reference.use == "reference"
    assert len(pooled(reference, "bsd100", "viqet.saturation")) == 2


def test_a_folder_s_pictures_are_a_row_and_count_by_their_content(world: Path) -> None:
    pictures = world / "made/bsd100"
    shutil.copytree(world / "data/BSD100/HR", pictures)
    methods = "made: {folder: made}\nplain: {use: nets.Plain}"
    write_study(world, methods, select="", train="", evaluate=EVALUATE)
    made = swept(world)["made-s0"]
    assert pooled(made, "bsd100", "psnr_y") == [float("inf")] * 2
    assert "no pictures there" in made.skipped["set14"]
    assert "made on set14" in (world / "reports/tiny/table.md").read_text()
    write_pictures(pictures, 2, first=21)  # other pictures under the same names
    (pictures / "22.png").rename(pictures / "20.png")
    status = json.loads(commands().run(world, "status", "tiny", "--json").out)
    assert list(status["changed"]) == ["made-s0"]
    assert "the pictures of bsd100 in made" in status["changed"]["made-s0"]
    again = swept(world)["made-s0"]
    assert all(value < 60 for value in pooled(again, "bsd100", "psnr_y")[:1])


def test_weights_of_a_file_and_of_a_trial_are_rows_and_starts(world: Path) -> None:
    write_study(world, "shift: {use: nets.Shift, error: 0.1}", select="", evaluate=EVALUATE)
    first = swept(world)["shift-s0"]
    entry = world / "home/store/stages" / first.stages[0].key / "weights.pth"
    torch.save({"params": torch.load(entry)}, world / "mine.pth")
    methods = """
    file: {use: nets.Shift, error: 0.1, weights: mine.pth}
    trial: {use: nets.Shift, error: 0.1, weights: tiny/shift-s0, datasets: [bsd100]}
    onward: {use: nets.Shift, error: 0.1, begins_from: mine.pth}
    """
    study = {"name": "second", "select": "", "evaluate": EVALUATE}
    write_study(world, methods, **study)
    ended = commands().run(world, "sweep", "second.yaml")
    assert ended.status == 0, ended.err
    home = world / "home"
    records = {n: Cell.model_validate(c) for n, c in cells(home, "second").items()}
    assert records["file-s0"].stages == [] == records["trial-s0"].stages
    expected = pooled(first, "bsd100", "psnr_y")
    assert pooled(records["file-s0"], "bsd100", "psnr_y") == expected
    assert pooled(records["trial-s0"], "bsd100", "psnr_y") == expected
    assert "measures trial on bsd100 alone" in records["trial-s0"].skipped["set14"]
    onward = records["onward-s0"].stages[0].key
    begun, learned = torch.load(entry), torch.load(home / f"store/stages/{onward}/weights.pth")
    assert not torch.equal(begun["network.weight"], learned["network.weight"])
    moved = (begun["network.weight"] - learned["network.weight"]).abs().max()
    assert moved < 0.02, "8 small steps"
    # another file is another row
    torch.save({k: 0 * v for k, v in torch.load(entry).items()}, world / "mine.pth")
    status = json.loads(commands().run(world, "status", "second", "--json").out)["changed"]
    assert set(status) == {"file-s0", "onward-s0"}
    assert all(why == ["the weights mine.pth"] for why in status.values())


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("a: {folder: nowhere}", ["methods.a.folder", "no such folder"]),
        ("a: {}", ["methods.a", "'use' is missing", "folder"]),
        ("a: {folder: data, error: 1}", ["methods.a.error", "row of pictures"]),
        ("a: {use: nets.Shift, weights: none.pth}", ["methods.a.weights", "no such file"]),
        ("a: {use: nets.Shift, weights: nothing/here}", ["methods.a.weights", "unknown study"]),
        (
            "a: {use: nets.Shift, weights: 'published:x'}",
            ["methods.a.weights", "no published weights"],
        ),
        (
            "a: {use: nets.Plain, datasets: [set5, bsd10]}",
            ["methods.a.datasets.1", "'bsd10'", "Did you mean 'bsd100'"],
        ),
        (
            "a: {use: nets.Shift, weights: mine.pth, train: {steps: 3}}",
            ["methods.a.train", "not trained"],
        ),
        ("a: {use: nets.Shift, weights: page.pth}", ["methods.a.weights", "a web page"]),
        ("a: {use: nets.Shift, begins_from: page.pth}", ["methods.a.begins_from", "a web page"]),
        (
            "a: {use: nets.Shift, begins_from: mine.pth}",
            ["methods.a.begins_from", "0 of its 2 tensors match"],
        ),
        (
            "a: {use: methods.zero_dce.ZeroDCE}",
            ["methods.a: ZeroDCE is not trained here", "published:zero_dce"],
        ),
    ],
)
def test_what_is_wrong_with_a_row_is_one_line(world: Path, methods: str, words: list[str]) -> None:
    torch.save({"strange": torch.zeros(1)}, world / "mine.pth")
    (world / "page.pth").write_text("<html>404")
    write_study(
        world, methods, select="", evaluate="{datasets: [bsd100, set14], metrics: [psnr_y]}"
    )
    ended = commands().run(world, "sweep", "tiny.yaml")
    assert ended.status == 2
    assert all(word in ended.err for word in words), ended.err
    assert "Traceback" not in ended.err
