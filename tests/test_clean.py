"""`bench clean`: what a record names stays, the rest goes, and it says how much."""

import fcntl
import json
import shutil
from pathlib import Path

import kit
import pytest
from kit import cells, commands, stage_times, until, write_study

SWEPT = "plain: {use: nets.Plain}\nshift: {use: nets.Shift, error: {grid: [0.0, 0.1, 0.2]}}"
GRID = "{sampler: grid}"
NOT_OURS = ("store/notes.txt", "store/stages/my-own/weights.pth", "store/other/" + "d" * 20 + "/x",
            "studies/tiny/notes.md", "something/else.bin")  # fmt: skip


def key(letter: str) -> str:
    """What may be the key of an entry."""
    return letter * 20


LEFT_OVER = {
    "stages": [f"store/stages/{key('a')}/weights.pth", f"store/stages/{key('b')}/weights.pth"],
    "targets": [f"store/targets/{key('a')}/targets.npy"],
    "pixels": [f"store/pixels/{key('d')}/pixels.bin"],
    "unfinished": [f"store/unfinished/stages-{key('c')}/checkpoint.pth"],
    "half": ["store/building-x1y2/weights.pth", "studies/tiny/cells/tmpabc.tmp"],
    "pictures": [
        "studies/tiny/pictures/shift-t009-s0/bsd100/20.png",
        "studies/tiny/samples/shift-t009-s0/bsd100/20.png",
    ],
    "locks": [f"store/locks/stages-{key('a')}"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = kit.make_world(tmp_path_factory.mktemp("clean") / "world")
    write_study(world, SWEPT, budget=GRID)
    ended = commands().run(world, "sweep", "tiny.yaml")
    assert ended.status == 0, ended.err
    return world


@pytest.fixture
def world(finished: Path, tmp_path: Path) -> Path:
    """A finished study, and left-over things of 1000 bytes each."""
    folder = tmp_path / "world"
    shutil.copytree(finished, folder)
    for name in [name for names in LEFT_OVER.values() for name in names] + list(NOT_OURS):
        path = folder / "home" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    return folder


def files(home: Path) -> set[str]:
    return {p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file()} - {"lock"}


def clean(world: Path, *more: str) -> dict[str, object]:
    ended = commands().run(world, "clean", "--json", *more)
    assert ended.status == 0, ended.err
    found: dict[str, object] = json.loads(ended.out)
    return found


def test_what_no_record_names_goes_and_a_dry_run_says_the_same(world: Path) -> None:
    home = world / "home"
    before, stages, recorded = files(home), stage_times(home), cells(home)
    said = clean(world, "--dry-run")
    assert files(home) == before
    done = clean(world)
    assert said == done | {"dry_run": True}
    gone = {name for names in LEFT_OVER.values() for name in names}
    locks = {name for name in before if name.startswith("store/locks/")}
    assert before - files(home) == gone | locks
    assert len(locks) == 6  # of the three stages and of HR and LR that they were trained on, too
    for kind, names in LEFT_OVER.items():
        if kind != "locks":
            assert done["removed"][kind] == {"count": len(names), "bytes": 1000 * len(names)}
    assert done["removed"]["locks"]["count"] == 6
    assert not list(home.glob(f"store/stages/{key('a')}"))
    assert done["kept"]["stages"] == 4  # three, and what is not ours
    assert cells(home) == recorded and stage_times(home).items() <= stages.items()
    again = commands().run(world, "sweep", "tiny.yaml")
    assert again.status == 0 and "4 of them already recorded" in again.err
    assert "training" not in again.err and cells(home) == recorded
    assert clean(world)["bytes"] == 0


def test_it_says_in_words_how_much(world: Path) -> None:
    said = commands().run(world, "clean", "--dry-run").out
    assert "would be removed" in said and "stages           2     2.0 kB" in said
    done = commands().run(world, "clean").out
    assert " removed\n" in done and "would be" not in done


def test_trials_that_were_put_aside_name_nothing(world: Path) -> None:
    home = world / "home"
    clean(world)
    write_study(world, SWEPT.replace("[0.0, 0.1, 0.2]", "[0.1, 0.2]"), budget=GRID)
    assert commands().run(world, "sweep", "tiny.yaml", "--fresh").status == 0
    assert clean(world)["removed"]["stages"]["count"] == 1
    named = {s["key"] for cell in cells(home).values() for s in cell["stages"]}
    assert len(named) == 2
    assert {path.name for path in home.glob("store/stages/*")} == named | {"my-own"}


def test_what_somebody_works_on_stays(world: Path) -> None:
    home = world / "home"
    lock = home / f"store/locks/stages-{key('c')}"
    lock.touch()
    with open(lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert clean(world)["removed"]["unfinished"]["count"] == 0
    assert (home / LEFT_OVER["unfinished"][0]).is_file() and lock.is_file()
    assert clean(world)["removed"]["unfinished"]["count"] == 1


def test_a_home_in_which_a_study_is_swept_is_left_alone(world: Path) -> None:
    write_study(world, SWEPT, name="other", budget=GRID)
    (world / "hold").touch()
    (world / "nets.py").write_text(kit.METHODS + "\n\nShift.paper = 'changed'\n")
    write_study(world, SWEPT.replace("0.0,", "0.05,"), name="other", budget=GRID)
    driver = commands().start(world, "sweep", "other.yaml")
    until(lambda: "training 8 steps" in driver.err())
    before = files(world / "home")
    refused = commands().run(world, "clean")
    (world / "hold").unlink()
    assert driver.wait().status == 0
    assert refused.status == 2
    assert f"other: is being swept by process {driver.pid} " in refused.err
    assert before <= files(world / "home") | {
        name for name in before if "/unfinished/" in name or "/samples/" in name
    }


def test_a_record_that_cannot_be_read_stops_it(world: Path) -> None:
    (world / "home/studies/tiny/cells/plain-s0.json").write_text("{")
    before = files(world / "home")
    refused = commands().run(world, "clean")
    assert refused.status == 2 and "plain-s0.json" in refused.err
    assert files(world / "home") == before


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("rows", {"reference", "plain-s0", "shift-t000-s0"}),  # without error it is the best
        ("all", {"reference", "plain-s0", *(f"shift-t00{k}-s0" for k in range(3))}),
        ("none", set()),
    ],
)
def test_restored_pictures_stay_by_the_studys_policy(
    finished: Path, tmp_path: Path, policy: str, kept: set[str]
) -> None:
    world = kit.make_world(tmp_path / "world")
    evaluate = f"{{datasets: [bsd100], metrics: [psnr_y], pictures: {policy}}}"
    write_study(world, SWEPT, budget=GRID, evaluate=evaluate)
    assert commands().run(world, "sweep", "tiny.yaml").status == 0
    pictures = world / "home/studies/tiny/pictures"
    assert {path.name for path in pictures.glob("*")} == kept
    for name in kept:
        assert len(list(pictures.glob(f"{name}/bsd100/*.png"))) == 2
    table = (world / "reports/tiny/table.md").read_text()
    assert ("pictures: rows" in table, "pictures: none" in table) == (
        policy == "rows", policy == "none"
    )  # fmt: skip
    assert (world / "reports/tiny/figures/strip-bsd100.png").is_file() == (policy != "none")
    # the policy decides no number
    before = cells(world / "home")
    if policy == "all":
        write_study(world, SWEPT, budget=GRID)
        ended = commands().run(world, "sweep", "tiny.yaml")
        assert ended.status == 0 and "4 of them already recorded" in ended.err
        assert cells(world / "home") == before
        assert {path.name for path in pictures.glob("*")} == {
            "reference", "plain-s0", "shift-t000-s0"
        }  # fmt: skip
