"""One measuring path for sweep, eval and score: content, processes, parts of sets, records."""

import contextlib
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kit
import numpy as np
import PIL.Image
import pytest
import torch
from kit import commands, write_study

from bench.api import measure_method, score_folder
from bench.data.benchmark import Benchmark, open_benchmark
from bench.data.datacheck import check_set
from bench.data.images import read_image, write_image
from bench.data.pairs import Pair
from bench.data.pixels import Image, Input, as_rgb
from bench.errors import BenchError
from bench.look.check import load_study
from bench.look.plan import plan_text, study_plan
from bench.measure import meter, pairing, pool, scoring
from bench.measure.evaluate import Evaluated, evaluate
from bench.measure.meter import Meter
from bench.measure.metrics import metric, score_image
from bench.measure.protocol import PROTOCOLS, protocol
from bench.measure.scores import ScoreStore
from bench.measure.task import Restored
from bench.method.restoring import restoring
from bench.records.cell import Cell
from methods.classical import Bicubic

BICUBIC = "methods.classical.Bicubic"
METRICS = ["psnr_y", "ssim_y", "rmse"]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The metric of each score that is computed in this process; whoever asks empties it."""
    names: list[str] = []

    def counted(scorer: Any, *arguments: Any, **more: Any) -> Any:
        names.extend(n for n in METRICS if metric(n).load("cpu") is scorer)
        return score_image(scorer, *arguments, **more)

    monkeypatch.setattr(scoring, "score_image", counted)
    monkeypatch.setattr(meter, "score_image", counted)
    return names


# --- by content -----------------------------------------------------------------------------------


def test_pictures_that_eval_wrote_are_not_scored_again(
    small_sets: Path, tmp_path: Path, computed: list[str]
) -> None:
    measured = measure_method(BICUBIC, ["bsd100"], 2, METRICS, out=tmp_path / "out")
    assert computed == METRICS * 2
    found = score_folder(tmp_path / "out/bsd100", METRICS, 2, dataset="bsd100")
    assert (found.computed, found.stored) == (0, 6)
    assert computed == METRICS * 2
    assert found.images == {i.stem: i.scores for i in measured.images["bsd100"]}


def test_eval_again_computes_nothing(small_sets: Path, computed: list[str]) -> None:
    first = measure_method(BICUBIC, ["bsd100", "set5"], 2, METRICS)
    assert len(computed) == 4 * len(METRICS)
    assert measure_method(BICUBIC, ["bsd100", "set5"], 2, METRICS).scores() == first.scores()
    assert len(computed) == 4 * len(METRICS)


def test_another_name_or_compression_is_the_same_picture(small_sets: Path, tmp_path: Path) -> None:
    measure_method(BICUBIC, ["bsd100"], 2, METRICS, out=tmp_path / "out")
    for file in (tmp_path / "out/bsd100").iterdir():
        picture = PIL.Image.open(file)
        (tmp_path / "other").mkdir(exist_ok=True)
        again = tmp_path / f"other/{file.stem}_x2.png"
        picture.save(again, compress_level=0)
        assert again.stat().st_size > file.stat().st_size
        (tmp_path / "bmp").mkdir(exist_ok=True)
        picture.save(tmp_path / f"bmp/{file.stem}.bmp")
    other = score_folder(tmp_path / "other", METRICS, 2, dataset="bsd100", template="{stem}_x2")
    assert (other.computed, other.stored) == (0, 6)
    # nor does it matter which file the original lies in
    shutil.copytree(small_sets / "BSD100/HR", tmp_path / "hr")
    found = score_folder(tmp_path / "bmp", METRICS, 2, reference=tmp_path / "hr")
    assert (found.computed, found.stored) == (0, 6)
    assert found.images == other.images


def test_a_pixel_that_differs_is_another_picture(small_sets: Path, tmp_path: Path) -> None:
    measure_method(BICUBIC, ["bsd100"], 2, METRICS, out=tmp_path / "out")
    file = tmp_path / "out/bsd100/101085.png"
    picture = read_image(file).copy()
    picture[9, 9, 1] ^= 1
    write_image(file, picture)
    found = score_folder(file.parent, METRICS, 2, dataset="bsd100")
    assert (found.computed, found.stored) == (3, 3)


def test_files_that_are_known_are_not_read(
    small_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_method(BICUBIC, ["bsd100"], 2, METRICS, out=tmp_path / "out")
    first = score_folder(tmp_path / "out/bsd100", METRICS, 2, dataset="bsd100")

    def refuse(task: pairing.Task) -> None:
        raise AssertionError(f"{task.stem} is read")

    monkeypatch.setattr(pairing.Task, "read", refuse)
    again = score_folder(tmp_path / "out/bsd100", METRICS, 2, dataset="bsd100")
    assert (again.computed, again.stored) == (0, 6)
    assert again.images == first.images


def test_one_more_metric_and_another_protocol_cost_only_themselves(
    small_sets: Path, computed: list[str]
) -> None:
    measure_method(BICUBIC, ["bsd100"], 2, ["psnr_y"])
    computed.clear()
    measure_method(BICUBIC, ["bsd100"], 2, ["psnr_y", "ssim_y"])
    assert computed == ["ssim_y"] * 2
    computed.clear()
    measure_method(BICUBIC, ["bsd100"], 2, ["psnr_y", "ssim_y"], protocol="sr-y-round@1")
    assert computed == ["psnr_y", "ssim_y"] * 2
    computed.clear()
    measure_method(BICUBIC, ["bsd100", "set14"], 2, ["psnr_y", "ssim_y"])
    assert computed == ["psnr_y", "ssim_y"], "one more set"


# --- one path -------------------------------------------------------------------------------------


def test_sweep_eval_and_score_say_the_same(tmp_path: Path) -> None:
    """The same picture by all three, each from a home of its own, and from one home."""
    world = kit.make_world(tmp_path / "world")
    names = "psnr_y,ssim_y,difference"
    write_study(
        world, "plain: {use: nets.Plain, error: 0.02}", train="", select="", budget="{trials: 1}",
        evaluate=f"{{datasets: [bsd100], metrics: [{names}]}}",
    )  # fmt: skip
    swept = commands().run(world, "sweep", "tiny.yaml")
    assert swept.status == 0, swept.err
    (cell,) = kit.cells(world / "home").values()
    by_sweep = {(s[2], s[3]): s[5] for s in cell["scores"]}
    assert len(by_sweep) == 6

    ask = ("--scale", "2", "--metrics", names, "--json")
    method = ("eval", "nets.Plain", "--param", "error=0.02", "--datasets", "bsd100")
    ended = commands().run(world, *method, "--out", "out", *ask, home=tmp_path / "second")
    (result,) = json.loads(ended.out)["results"]
    assert values(result) == by_sweep

    folder = ("score", "out/bsd100", "--dataset", "bsd100", *ask)
    for home, known in ((tmp_path / "third", 0), (tmp_path / "second", 6), (world / "home", 6)):
        answer = json.loads(commands().run(world, *folder, home=home).out)
        assert values(answer) == by_sweep
        assert (answer["computed"], answer["stored"]) == (6 - known, known)


def values(answer: dict[str, Any]) -> dict[tuple[str, str], float]:
    """(image, metric) -> value, of the JSON answer."""
    return {
        (row["image"], name): row[name]
        for row in answer["images"]
        for name in answer["mean"]
    }  # fmt: skip


def test_a_gray_original_given_back_in_rgb_is_equal_to_it(tmp_path: Path) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    write_image(tmp_path / "gray/a.png", gray)
    write_image(tmp_path / "rgb/a.png", as_rgb(gray))
    for rules in PROTOCOLS:
        for folder in ("gray", "rgb"):
            measured = measure_method(
                "methods.classical.Original", [str(tmp_path / folder)], 1, ["psnr", "psnr_y"],
                degradation="none", protocol=rules,
            )  # fmt: skip
            ((image,),) = measured.images.values()
            assert [score.value for score in image.scores.values()] == [math.inf, math.inf]


def test_networks_score_in_fp32_whatever_surrounds_them(small_sets: Path) -> None:
    rng = np.random.default_rng(0)
    hr, noise = (rng.integers(0, n, (64, 72, 3), dtype=np.uint8) for n in (200, 50))
    names = ["lpips", "nima"]

    def scores() -> Any:
        task = Restored("a", hr, hr + noise, hr)
        with Meter(names, device="cpu", workers=1) as measuring:
            ((_, found),) = measuring.measure([task], protocol("full@1"), 1, 1)
        return found

    plain = scores()
    assert list(plain) == names and all(math.isfinite(score.value) for score in plain.values())
    with torch.autocast("cpu", torch.bfloat16):
        assert scores() == plain
        assert torch.is_autocast_enabled("cpu")
    torch.set_default_dtype(torch.float64)
    try:
        assert scores() == plain
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


# --- processes ------------------------------------------------------------------------------------


@pytest.fixture
def six(tmp_path: Path) -> Benchmark:
    """More images than are scored without processes."""
    kit.write_pictures(tmp_path / "six", 6)
    return open_benchmark(str(tmp_path / "six"), 2)


Restore = Callable[[Pair], tuple[Input, Image]]


def watched(benchmark: Benchmark, workers: int, restore: Restore) -> tuple[list[str], list[Any]]:
    """(what happened in order, the images by stem) of an evaluation."""
    events: list[str] = []

    def noted(pair: Pair) -> tuple[Input, Image]:
        events.append(f"restored in {os.getpid()}")
        return restore(pair)

    images: list[Evaluated] = []
    with Meter(METRICS, workers=workers) as measuring:
        for image in evaluate(noted, benchmark, measuring, "sr-y@1"):
            events.append("scored")
            images.append(image)
    return events, sorted(images, key=lambda image: image.stem)


def test_the_next_pictures_are_restored_while_others_are_scored(six: Benchmark) -> None:
    here = f"restored in {os.getpid()}"
    one_by_one, alone = watched(six, 1, restoring(Bicubic(scale=2)))
    assert one_by_one == [here, "scored"] * 6
    beside, together = watched(six, 2, restoring(Bicubic(scale=2)))
    assert sorted(beside) == sorted(one_by_one)
    assert beside[:2] == [here, here], "nothing waits for the first score"
    assert [image.scores for image in together] == [image.scores for image in alone]
    for first, second in zip(alone, together, strict=True):
        assert first.stem == second.stem
        assert np.array_equal(first.sr, second.sr) and np.array_equal(first.lr, second.lr)


def test_few_large_pictures_wait_to_be_scored(
    six: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = six.pairs
    lr, hr = first.lr(), first.hr()
    monkeypatch.setattr(pool, "_HELD", 2 * (lr.nbytes + 2 * hr.nbytes))  # LR, SR and HR of two
    events, _ = watched(six, 2, restoring(Bicubic(scale=2)))
    waiting = [
        events[:n].count(f"restored in {os.getpid()}") - events[:n].count("scored")
        for n in range(len(events) + 1)
    ]
    assert max(waiting) == 3


def scorers() -> list[int]:
    """The processes of this one that score."""
    found = []
    for pid in kit.children(os.getpid()):
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_a_killed_process_is_one_message(six: Benchmark) -> None:
    before = set(scorers())

    def killing(pair: Pair) -> tuple[Input, Image]:
        if pair.stem == "03":
            (first, *_) = kit.until(lambda: [pid for pid in scorers() if pid not in before])
            os.kill(first, signal.SIGKILL)
        return restoring(Bicubic(scale=2))(pair)

    with pytest.raises(BenchError, match="a scoring process was killed") as caught:
        watched(six, 2, killing)
    assert len(str(caught.value).splitlines()) == 1
    kit.until(lambda: set(scorers()) <= before, "the end of the other process")


def test_processes_look_up_what_files_hold(six: Benchmark, tmp_path: Path) -> None:
    """Of six files that the store has never seen, one holds pixels that it has not scored."""
    store = ScoreStore(tmp_path / "home/store/scores.db")
    (tmp_path / "sr").mkdir()
    with Meter(METRICS, workers=1, store=store) as measuring:
        for image in evaluate(restoring(Bicubic(scale=2)), six, measuring, "sr-y@1"):
            sr = 255 - image.sr if image.stem == "04" else image.sr
            PIL.Image.fromarray(sr).save(tmp_path / f"sr/{image.stem}.bmp")
    assert (measuring.computed, measuring.stored) == (18, 0)
    found = score_folder(tmp_path / "sr", METRICS, 2, reference=tmp_path / "six", workers=2)
    assert (found.computed, found.stored) == (3, 15)


# --- parts of sets --------------------------------------------------------------------------------


def test_a_slice_is_a_part_of_its_set(small_sets: Path, tmp_path: Path) -> None:
    part = open_benchmark("bsd100[:1]", 2)
    assert (part.name, [pair.stem for pair in part.pairs]) == ("bsd100[:1]", ["101085"])
    assert (part.official, part.partial) == (100, True)
    kit.write_pictures(tmp_path / "mine", 5)
    whole = open_benchmark(str(tmp_path / "mine"), 2)
    assert len(whole.pairs) == 5 and not whole.partial
    own = open_benchmark(f"{tmp_path / 'mine'}[1:3]", 2)
    assert [pair.stem for pair in own.pairs] == ["01", "02"]
    assert (own.official, own.partial) == (5, True)
    assert open_benchmark(f"{tmp_path / 'mine'}[:9]", 2).partial is False
    first = open_benchmark(str(tmp_path / "mine"), 2, limit=1)
    assert (len(first.pairs), first.official, first.partial) == (1, 5, True)
    assert len({whole.fingerprint, own.fingerprint, first.fingerprint}) == 3


def test_what_is_scored_against_a_slice_is_partial(tmp_path: Path) -> None:
    kit.write_pictures(tmp_path / "mine", 5)
    kit.write_pictures(tmp_path / "sr", 2, first=1)
    for path in (tmp_path / "sr").iterdir():
        path.write_bytes((tmp_path / "mine" / path.name).read_bytes())
    found = score_folder(tmp_path / "sr", ["psnr"], 2, dataset=f"{tmp_path / 'mine'}[1:3]")
    assert (len(found.images), found.paired.official, found.partial) == (2, 5, True)


def test_a_checked_slice_is_partial(small_sets: Path, tmp_path: Path) -> None:
    kit.write_pictures(tmp_path / "mine", 5)
    name = f"{tmp_path / 'mine'}[1:3]"
    assert (check_set(name, 2).name, check_set(name, 2).count) == (name, "2/5 images, PARTIAL")
    assert check_set("bsd100[:1]", 2).count == "1/100 images, PARTIAL"
    assert check_set(str(tmp_path / "mine"), 2).count == "5 images"


@pytest.mark.parametrize("dataset", ["./mine[:2]", "bsd100[:1]"])
def test_the_plan_says_partial(dataset: str, small_sets: Path, tmp_path: Path) -> None:
    kit.write_pictures(tmp_path / "mine", 5)
    file = kit.write_study(
        tmp_path, "a: {use: methods.classical.Bicubic}", train="", select="", budget="",
        evaluate=f"{{datasets: ['{dataset}'], metrics: [psnr_y]}}",
    )  # fmt: skip
    text = plan_text(study_plan(load_study(file)))
    assert f"{'2/5' if 'mine' in dataset else '1/100'} images, PARTIAL, " in text


@pytest.mark.parametrize("name", ["bsd100[2:]", "bsd100[1:1]", "MINE[7:9]"])
def test_an_empty_slice_is_a_message(small_sets: Path, tmp_path: Path, name: str) -> None:
    kit.write_pictures(tmp_path / "mine", 5)
    name = name.replace("MINE", str(tmp_path / "mine"))
    with pytest.raises(BenchError, match="no image is left") as caught:
        open_benchmark(name, 2)
    assert str(caught.value).startswith(f"{name}: ") and "[begin:end]" in str(caught.value)


def test_eval_says_how_much_of_a_set_it_has_seen(tmp_path: Path) -> None:
    world = kit.make_world(tmp_path / "world")
    kit.write_pictures(world / "mine", 3)
    ask = ("eval", BICUBIC, "--scale", "2", "--metrics", "psnr_y", "--datasets")
    ended = commands().run(world, *ask, "set5[:2],./mine[1:],./mine", "--json")
    results = {r["dataset"]: r for r in json.loads(ended.out)["results"]}
    counts = {name: (r["count"], r["official"]) for name, r in results.items()}
    assert counts == {"set5[:2]": (2, 5), "./mine[1:]": (2, 3), "./mine": (3, 0)}
    part, whole = (results[name]["images"] for name in ("./mine[1:]", "./mine"))
    assert part == whole[1:]
    ended = commands().run(world, *ask, "set5[:2]")
    assert "2/5 images, PARTIAL" in ended.out
    assert [results[name]["partial"] for name in counts] == [True, True, False]
    ended = commands().run(world, *ask, "./mine", "--limit", "2")
    assert "./mine x2, sr-y@1, LR: bicubic, 2/3 images, PARTIAL" in ended.out
    ended = commands().run(world, *ask, "set5[4:]")
    assert (ended.status, ended.out) == (2, "")
    assert "set5[4:]: no image is left; set5 has 3 here." in ended.err


# --- records of the first edition -----------------------------------------------------------------


def test_reasons_and_notes_of_the_first_edition_are_read() -> None:
    """They stood under "metric on set/image"."""
    recorded = {
        "study": "old", "method": "m", "use": "nets.M", "trial": None, "seed": 0, "attempt": 0,
        "state": "complete", "parameters": {}, "fingerprint": "f",
        "scores": [
            ["set5", 2, "img", "psnr_y", "sr-y@1", 30.0],
            ["set5", 2, "img", "niqe", "sr-y@1", "NaN"],
            ["set5", 2, "other", "viqet", "sr-y@1", 3.5],
        ],
        "unavailable": {"niqe on set5/img": "too small", "lpips": "no weights"},
        "notes": {"viqet on set5/other": "outside what the model was fitted on"},
    }  # fmt: skip
    cell = Cell.model_validate_json(json.dumps(recorded))
    psnr, niqe, viqet = cell.scores
    assert (psnr.value, psnr.why, psnr.note) == (30.0, "", "")
    assert math.isnan(niqe.value) and (niqe.why, niqe.note) == ("too small", "")
    assert (viqet.why, viqet.note) == ("", "outside what the model was fitted on")
    assert cell.unavailable == {"lpips": "no weights"}
    again = Cell.model_validate_json(cell.model_dump_json())
    assert [s[5:] for s in again.scores[2:]] == [viqet[5:]]
    assert again.scores[1].why == "too small"
