"""The command line: what it prints, where, and with which exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import kit
import numpy as np
import PIL.Image
import pytest
import torch
from kit import Ended, commands, write_study

EVAL = ("eval", "methods.classical.Bicubic", "--datasets", "bsd100", "--scale", "2")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return kit.make_world(tmp_path / "world")


def bench(world: Path, *arguments: str, before: str = "") -> Ended:
    return commands().run(world, *arguments, before=before)


def assert_mistake(ended: Ended, *parts: str) -> None:
    """Exit status 2, nothing on standard output, one message without traceback."""
    assert (ended.status, ended.out) == (2, "")
    assert "Traceback" not in ended.err
    assert [line.startswith("Error: ") for line in ended.err.splitlines()].count(True) == 1
    for part in parts:
        assert part in ended.err


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in which the study `tiny` has been swept; nothing may be changed in it."""
    world = kit.make_world(tmp_path_factory.mktemp("swept") / "world")
    write_study(
        world,
        "plain: {use: nets.Plain}\ntalks: {use: nets.Talks, error: {float: [0.0, 0.1]}}",
        budget="{trials: 1}",
    )
    ended = commands().run(world, "sweep", "tiny.yaml", "--workers", "1", "--json")
    assert ended.status == 0, ended.err
    (world / "answer.json").write_text(ended.out)
    (world / "said.txt").write_text(ended.err)
    return world


# --- help and answers ---------------------------------------------------------------------------


def test_help_answers_without_torch():
    code = (
        "import sys\nfrom bench.cli import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'mlflow', 'optuna', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    verbs = "sweep eval restore report status check list mlflow doctor"
    for verb in verbs.split(" "):
        assert f"\n  {verb} " in done.stdout


def test_the_installed_command_answers(tmp_path: Path):
    done = subprocess.run(
        [kit.BENCH, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "0.1.0" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "tiny"),
        ("check", "tiny.yaml"),
        ("list", "methods"),
        ("list", "datasets"),
        ("list", "metrics"),
        ("list", "protocols"),
        ("doctor",),
        EVAL,
        ("eval", "nets.TalksUntrained", "--datasets", "bsd100", "--scale", "2"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_json_is_one_object_and_nothing_else_on_standard_output(swept: Path, arguments):
    answer = bench(swept, *arguments, "--json")
    assert answer.status == 0, answer.err
    assert isinstance(json.loads(answer.out), dict)
    assert answer.out.count("\n") == 1
    plain = bench(swept, *arguments)
    assert plain.status == 0, plain.err
    assert plain.out.strip()


def test_the_answer_of_a_sweep_is_one_object_although_a_method_prints(swept: Path):
    answer = json.loads((swept / "answer.json").read_text())
    assert (answer["study"], answer["cells"], answer["failed"]) == ("tiny", 2, {})
    assert (swept / answer["report"]["table.md"]).is_file()
    assert "a word on standard output" in (swept / "said.txt").read_text()


def test_progress_is_plain_lines_on_standard_error_where_there_is_no_terminal(world: Path):
    write_study(world, "plain: {use: nets.Plain}", select="", train="", budget="")
    done = bench(world, "sweep", "tiny.yaml")
    assert done.status == 0
    assert "[1/1] plain:" in done.err
    assert "\x1b" not in done.err
    assert all(line.rpartition(" ")[2].startswith("reports/tiny") for line in done.out.splitlines())


# --- eval ---------------------------------------------------------------------------------------


def test_eval_gives_every_image_the_mean_and_what_is_unavailable(world: Path):
    answer = json.loads(bench(world, *EVAL, "--metrics", "psnr_y,ssim,niqe", "--json").out)
    assert answer["method"] == "methods.classical.Bicubic"
    (result,) = answer["results"]
    assert (result["dataset"], result["scale"], result["protocol"]) == ("bsd100", 2, "sr-y@1")
    assert (result["count"], result["official"]) == (2, 100)
    assert [image["image"] for image in result["images"]] == ["20", "21"]
    for name in ("psnr_y", "ssim"):
        values = [image[name] for image in result["images"]]
        assert result["mean"][name] == pytest.approx(sum(values) / 2)
    assert result["mean"]["niqe"] is None
    assert [image["niqe"] for image in result["images"]] == [None, None]
    assert "NIQE needs two blocks" in answer["unavailable"]["niqe on bsd100/20"]


def test_eval_says_what_a_metric_says_of_its_scores(world: Path):
    answer = json.loads(bench(world, *EVAL, "--metrics", "viqet", "--json").out)
    notes = answer["results"][0]["notes"]
    assert "version 115" in notes[0] and "117" in notes[0]
    assert notes[1].startswith("viqet on bsd100: 2 of 2 pictures are outside the range")
    plain = bench(world, *EVAL, "--metrics", "viqet").out
    assert all(f"- {note}" in plain for note in notes)


def test_eval_says_why_a_set_has_no_score(world: Path):
    done = bench(world, "eval", "methods.classical.Original", "--datasets", "photos_val", "--scale",
                 "1", "--degradation", "none", "--metrics", "psnr,rmse", "--json")  # fmt: skip
    answer = json.loads(done.out)
    assert answer["results"][0]["mean"] == {"psnr": None, "rmse": 0.0}
    why = "infinite on 2 of 2 images (coffee, rocket): equal to the reference"
    assert answer["unavailable"]["psnr on photos_val"] == why
    assert answer["unavailable"]["psnr on photos_val/coffee"] == "infinite: equal to HR"


def test_eval_of_a_part_of_a_set_saves_it_and_says_so(world: Path):
    done = bench(world, *EVAL, "--limit", "1", "--out", "restored")
    assert done.status == 0
    assert "1/100 images, PARTIAL" in done.out
    saved = [path for path in (world / "restored").rglob("*") if path.is_file()]
    assert [path.name for path in saved] == ["20.png"]


def test_eval_takes_parameters_and_weights(world: Path):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 3, 1)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save(state, world / "right.pth")
    torch.save({"other": torch.zeros(3)}, world / "wrong.pth")
    command = ["eval", "nets.Shift", "--datasets", "bsd100", "--scale", "2", "--param", "size=1"]
    good = bench(world, *command, "--weights", "right.pth", "--json")
    assert json.loads(good.out)["results"][0]["mean"]["psnr_y"] > 20
    assert_mistake(bench(world, *command, "--weights", "wrong.pth"), "wrong.pth", "Shift")
    assert_mistake(bench(world, *command, "--weights", "absent.pth"), "absent.pth: no such file")
    (world / "text.pth").write_text("no weights")
    assert_mistake(
        bench(world, *command, "--weights", "text.pth"), "text.pth: not a file of weights"
    )
    assert_mistake(bench(world, *command), "--weights FILE", "bench sweep")


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"--datasets": "bsd10"}, ["unknown dataset 'bsd10'", "'bsd100'"]),
        ({"--datasets": "urban100"}, ["urban100", "not on this machine", "$BENCH_DATA"]),
        ({"--metrics": "psnry"}, ["unknown metric 'psnry'", "'psnr_y'"]),
        ({"--protocol": "sr-y"}, ["unknown protocol 'sr-y'", "'sr-y@1'"]),
        ({"--degradation": "bicubics"}, ["unknown degradation 'bicubics'", "'bicubic'"]),
        ({"--param": "sharp"}, ["--param 'sharp'", "name=value"]),
        ({"--param": "sharp=1"}, ["unknown parameter 'sharp'", "scale"]),
        ({"--param": "scale=two"}, ["scale", "'two'"]),
        ({"--scale": "9"}, ["9"]),
        ({"--scale": "23"}, ["--scale '23': write whole numbers from 1 to 8"]),
        ({"--limit": "0"}, ["0"]),
        ({"method": "methods.classical.Bicubi"}, ["unknown method", "methods.classical.Bicubic"]),
        ({"method": "methods.clasical.Bicubic"}, ["unknown method", "methods.classical.Bicubic"]),
        ({"method": "Bicubic"}, ["Bicubic", "dotted path"]),
        ({"--nothing": "1"}, ["--nothing"]),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if type(value) is dict else "",
)
def test_a_mistake_is_one_message_and_status_2(world: Path, change: dict, parts: list[str]):
    options = {"--datasets": "bsd100", "--scale": "2"} | change
    method = options.pop("method", "methods.classical.Bicubic")
    arguments = [word for pair in options.items() for word in pair]
    assert_mistake(bench(world, "eval", method, *arguments), *parts)


def test_all_mistakes_are_told_at_once(world: Path):
    ended = bench(world, "eval", "nets.Plain", "--datasets", "set41,set5", "--scale", "2",
                  "--metrics", "psnr,sim")  # fmt: skip
    assert_mistake(ended, "unknown dataset 'set41'", "unknown metric 'sim'")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("sweep", "absent.yaml"), "absent.yaml"),
        (("check", "absent.yaml"), "absent.yaml"),
        (("report", "absent"), "absent"),
        (("status", "absent"), "absent"),
        (("report", "tiny", "--format", "mdd"), "'md'"),
        (("list", "everything"), "everything"),
        (("swep", "tiny.yaml"), "swep"),
        (("sweep", "tiny.yaml", "--set", "budget.trials"), "budget.trials"),
        (("sweep", "tiny.yaml", "--set", "budget.trial=3"), "'trials'"),
        (("sweep", "tiny.yaml", "--strict"), "urban100"),
        (("mlflow", "--host", "0.0.0.0"), "0.0.0.0"),
        (("mlflow",), "no records yet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_argument_of_any_verb_is_one_message_and_status_2(
    world: Path, arguments: tuple[str, ...], part: str
):
    write_study(world, "plain: {use: nets.Plain}", select="", train="",
                evaluate="{datasets: [bsd100, urban100], metrics: [psnr]}")  # fmt: skip
    if arguments == ("mlflow",):
        (world / "home/mlflow.db").unlink()
    assert_mistake(bench(world, *arguments), part)


def test_an_interrupted_command_ends_with_130(world: Path):
    patch = "import bench.api\ndef stop(*a, **k): raise KeyboardInterrupt\n"
    ended = bench(world, *EVAL, before=patch + "bench.api.measure_method = stop")
    assert ended.status == 130
    assert "Traceback" not in ended.err


# --- restore ------------------------------------------------------------------------------------

BICUBIC = ("restore", "methods.classical.Bicubic", "--out", "restored")


def save(file: Path, shape: tuple[int, ...], dtype: type = np.uint8) -> None:
    pixels = np.arange(np.prod(shape)).reshape(shape) % 251
    PIL.Image.fromarray(pixels.astype(dtype)).save(file)


def test_restore_writes_png_of_scaled_size(world: Path):
    save(world / "colour.png", (20, 31, 3))
    save(world / "gray.bmp", (17, 9))
    done = bench(world, *BICUBIC, "--param", "scale=3", "colour.png", "gray.bmp")
    assert done.status == 0
    assert done.out.split() == ["restored/colour.png", "restored/gray.png"]
    sizes = {}
    for name in ("colour", "gray"):
        with PIL.Image.open(world / f"restored/{name}.png") as picture:
            sizes[name] = (picture.format, picture.mode, picture.size)
    assert sizes == {"colour": ("PNG", "RGB", (93, 60)), "gray": ("PNG", "RGB", (27, 51))}
    pixels = np.asarray(PIL.Image.open(world / "restored/gray.png"))
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_a_swept_trial_restores_what_its_sweep_kept(swept: Path, tmp_path: Path):
    picture = swept / "data/BSD100/HR/20.png"
    small = PIL.Image.open(picture).resize((24, 24))
    small.save(tmp_path / "small.png")
    trial, out = "tiny/talks-t000-s0", tmp_path / "out"
    done = bench(swept, "restore", trial, str(tmp_path / "small.png"), "--out", str(out))
    assert done.status == 0, done.err
    (stage,) = kit.cells(swept / "home")["talks-t000-s0"]["stages"]
    state = torch.load(swept / "home/store/stages" / stage["key"] / "weights.pth")
    error = kit.cells(swept / "home")["talks-t000-s0"]["parameters"]["error"]
    lr = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
    sr = torch.nn.functional.interpolate(lr, scale_factor=2.0)
    weight, bias = state["network.weight"], state["network.bias"]
    sr = sr + 0.01 * torch.nn.functional.conv2d(sr, weight, bias, padding=1) + error
    expected = (255 * sr.clamp(0, 1) + 0.5).floor()[0].permute(1, 2, 0).numpy()
    restored = np.asarray(PIL.Image.open(out / "small.png")).astype(float)
    assert np.abs(restored - expected).max() <= 1  # a value beside a half may fall either way

    same = bench(swept, "eval", trial, "--datasets", "bsd100", "--scale", "2", "--json",
                 "--metrics", "psnr_y")  # fmt: skip
    kept = [s[5] for s in kit.cells(swept / "home")["talks-t000-s0"]["scores"]]
    assert json.loads(same.out)["results"][0]["mean"]["psnr_y"] == pytest.approx(np.mean(kept))


def test_mistakes_in_naming_a_swept_trial(swept: Path, tmp_path: Path):
    def refused(trial: str, *more: str) -> Ended:
        return bench(swept, "restore", trial, "x.png", "--out", str(tmp_path), *more)

    assert_mistake(refused("tiny/talks-t000-s1"), "unknown trial of tiny", "'talks-t000-s0'")
    assert_mistake(refused("tini/talks-t000-s0"), "unknown study 'tini'", "'tiny'")
    assert_mistake(refused("tiny/talks-t000-s0", "--param", "size=1"), "Give neither")
    other = bench(swept, "eval", "tiny/talks-t000-s0", "--datasets", "bsd100", "--scale", "4")
    assert_mistake(other, "trained for scale 2, asked for 4")


def test_tiles_give_the_same_picture(world: Path):
    save(world / "large.png", (90, 70, 3))
    assert bench(world, *BICUBIC, "large.png").status == 0
    whole = np.asarray(PIL.Image.open(world / "restored/large.png"))
    assert bench(world, *BICUBIC, "--tile", "32", "large.png").status == 0
    assert np.array_equal(PIL.Image.open(world / "restored/large.png"), whole)


def _truncated(file: Path) -> None:
    save(file, (64, 64, 3))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda file: save(file, (20, 20, 4)), "alpha"),
        (lambda file: save(file, (20, 20), np.uint16), "8 bits"),
        (_truncated, "not a readable image"),
        (lambda file: file.write_text("no picture"), "not a readable image"),
        (lambda file: None, "no such file"),
    ],
    ids=["alpha", "16 bits", "truncated", "text", "absent"],
)
def test_what_cannot_be_restored_is_refused_by_name_before_anything_is_written(
    world: Path, make, word: str
):
    save(world / "good.png", (20, 20, 3))
    make(world / "bad.png")
    assert_mistake(bench(world, *BICUBIC, "good.png", "bad.png"), "bad.png", word)
    assert not (world / "restored").exists()


def test_two_pictures_of_one_stem_are_refused(world: Path):
    for name in ("one.png", "one.bmp"):
        save(world / name, (20, 20, 3))
    assert_mistake(bench(world, *BICUBIC, "one.png", "one.bmp"), "one.png")
    assert not (world / "restored").exists()


def test_a_picture_is_never_overwritten_by_its_restoration(world: Path):
    save(world / "one.png", (20, 20, 3))
    before = (world / "one.png").read_bytes()
    ended = bench(world, "restore", "methods.classical.Bicubic", "--out", ".", "one.png")
    assert_mistake(ended, "one.png")
    assert (world / "one.png").read_bytes() == before


def test_a_method_in_a_file_of_the_current_folder_works(world: Path):
    save(world / "one.png", (20, 20, 3))
    ended = bench(world, "restore", "nets.Plain", "--out", "restored", "one.png")
    assert ended.status == 0
    before = np.asarray(PIL.Image.open(world / "one.png"))
    after = np.asarray(PIL.Image.open(world / "restored/one.png"))
    assert (after == before.repeat(2, axis=0).repeat(2, axis=1)).all()


# --- records ------------------------------------------------------------------------------------


def test_a_report_needs_the_records_alone(swept: Path, tmp_path: Path):
    home = tmp_path / "home"
    (home / "studies").parent.mkdir(parents=True)
    os.symlink(swept / "home/studies", home / "studies")  # no database, no store
    done = commands().run(swept, "report", "tiny", "--out", str(tmp_path / "again"), home=home)
    assert done.status == 0, done.err
    assert not (home / "mlflow.db").exists()
    again, first = tmp_path / "again", swept / "reports/tiny"
    assert (again / "scores.csv").read_text() == (first / "scores.csv").read_text()
    tables = [(out / "table.md").read_text().partition("## Figures") for out in (again, first)]
    assert tables[0][0] == tables[1][0]
    told = "Not drawn: curves of talks: the losses of stage fit are not in this store"
    assert told in tables[0][2] and told not in tables[1][2]


def test_a_study_is_found_by_its_file_and_by_its_name(swept: Path):
    by_name = json.loads(bench(swept, "status", "tiny", "--json").out)
    assert json.loads(bench(swept, "status", "tiny.yaml", "--json").out) == by_name
    assert (by_name["complete"], by_name["of"]) == (2, 2)
    assert set(by_name["best"]) == {"psnr_y"}


def test_check_shows_the_plan_and_trains_nothing(world: Path):
    write_study(
        world,
        "plain: {use: nets.Plain}\nshift: {use: nets.Shift, error: {float: [0.0, 0.1]}}",
        budget="{trials: 3, seeds: [0, 1]}",
    )
    plan = json.loads(bench(world, "check", "tiny.yaml", "--json").out)
    assert {method["name"]: method["cells"] for method in plan["methods"]} == {
        "plain": 1,
        "shift": 6,
    }
    (stage,) = plan["methods"][1]["stages"]
    assert (stage["name"], stage["steps"], stage["in_store"]) == ("fit", 8, False)
    assert plan["seconds"] > 0
    assert not list((world / "home").glob("store/stages/*"))


def test_list_says_what_is_on_this_machine(world: Path):
    rows = json.loads(bench(world, "list", "datasets", "--json").out)["datasets"]
    by_name = {row["name"]: row["unavailable"] for row in rows}
    assert by_name["set5"] is None
    assert by_name["photos_test"] is None
    assert "$BENCH_DATA" in by_name["urban100"]
