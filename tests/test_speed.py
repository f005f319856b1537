"""What a picture costs: counts and memory worked by hand, a published count, cases that fail."""

import json
import re
from pathlib import Path

import pytest
import torch
from kit import cells, commands, make_world, write_study
from torch import Tensor, nn

from bench.api import measure_speeds
from bench.errors import BenchError
from bench.measure import speed as speeds
from bench.measure.alone import run_alone
from bench.measure.speed import measure_speed, multiply_adds
from bench.method import Method
from bench.report.efficiency import speed_report
from bench.report.latex import to_latex
from bench.report.markup import to_markdown
from bench.study.size import parse_size
from methods.carn import CARN_M
from methods.classical import Bicubic


class Conv(Method):
    """Two convolutions, 3 -> 8 and 8 -> 3 * scale^2 channels; holds `hoard` MB meanwhile."""

    def __init__(self, *, scale: int = 2, hoard: int = 0) -> None:
        super().__init__()
        self.scale, self.hoard, self.halo = scale, hoard, 1
        self.wide = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Sequential(nn.Conv2d(8, 3 * scale**2, 1), nn.PixelShuffle(scale))

    def forward(self, lr: Tensor) -> Tensor:
        if self.hoard and lr.shape[-1] > 64:
            held = torch.ones(self.hoard * 250_000)
            assert held[-1] == 1
        made: Tensor = self.tail(self.wide(lr))
        return made


class Greedy(Conv):
    def forward(self, lr: Tensor) -> Tensor:
        if lr.shape[-1] > 256 and not lr.is_meta:
            raise MemoryError
        return super().forward(lr)


class Faulty(Conv):
    def forward(self, lr: Tensor) -> Tensor:
        raise RuntimeError("a mistake\nwith a second line")


def test_sizes_are_widths_by_heights_or_the_names_of_screens() -> None:
    assert parse_size("720p") == (1280, 720) and parse_size("4K") == parse_size("3840x2160")
    for wrong in ("100", "0x5", "5x0", "axb", "100x100x3", ""):
        with pytest.raises(BenchError, match="WIDTHxHEIGHT"):
            parse_size(wrong)


def test_multiply_adds_and_parameters_are_those_worked_by_hand() -> None:
    found = measure_speed(Conv(), "20x10", "cpu")
    assert found.multiply_adds == 200 * (3 * 9 * 8 + 8 * 12)
    assert found.parameters == (3 * 9 * 8 + 8) + (8 * 12 + 12)
    assert (found.width, found.height, found.scale, found.tile) == (20, 10, 2, 0)
    assert found.seconds is not None and found.runs >= 3
    assert found.throughput == pytest.approx(800e-6 / found.seconds)


def test_carn_m_multiplies_as_often_as_its_paper_says() -> None:
    """CARN, table 2: 91.2, 46.1 and 32.5 G for an output of 1280x720."""
    for scale, size, printed in ((2, (640, 360), 91.2), (4, (320, 180), 32.5)):
        counted, _ = multiply_adds(CARN_M(scale=scale), *size)
        assert counted is not None and round(counted / 1e9, 1) == printed


def test_what_torch_does_not_count_is_a_dash_with_its_reason() -> None:
    count, why = multiply_adds(Bicubic(), 8, 8)
    assert count is None and "no parameters" in why
    text = to_markdown(speed_report([("bicubic", measure_speed(Bicubic(), "8x8", "cpu"))]))
    assert re.search(r"\| bicubic \| +8x8 \| +0 \| +— \|", text)
    assert "— multiply-adds: it has no parameters" in text


def test_peak_memory_is_what_the_method_holds_at_most() -> None:
    """A fresh process each: the second must not see the peak of the first."""
    for hoard in (300, 60):
        found = run_alone(measure_speed, Conv(hoard=hoard), "100x100", "cpu")
        assert found.memory == pytest.approx(hoard * 1e6, rel=0.2)


def test_what_does_not_fit_is_restored_in_tiles_and_said_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speeds, "SECONDS", 0.1)
    found = measure_speed(Greedy(scale=1), "420x300", "cpu")
    assert found.failed == "there is not enough memory", "tiles of 256 have a halo too"
    monkeypatch.setattr(speeds, "free_memory", lambda: 20_000_000)
    tiled = measure_speed(Conv(scale=1), "500x400", "cpu")
    assert tiled.tile == 256 and tiled.seconds
    assert "† in tiles of 256 pixels" in to_markdown(speed_report([("conv", tiled)]))
    whole = Conv(scale=1)
    whole.halo = None
    assert "must see a picture whole" in measure_speed(whole, "500x400", "cpu").failed


def test_a_case_that_fails_is_a_line_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = measure_speed(Faulty(), "8x8", "cpu")
    assert failed.failed == "RuntimeError: a mistake" and failed.seconds is None
    report = speed_report([("bad", failed), ("good", measure_speed(Conv(), "8x8", "cpu"))])
    text = to_markdown(report)
    assert "- — latency: RuntimeError: a mistake (bad at 8x8)." in text
    assert r"\begin{tabular}" in to_latex(report) and "FLOPs / 2" in to_latex(report)


def _die(size: str) -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_says_so() -> None:
    with pytest.raises(BenchError, match="killed, perhaps for want of memory"):
        run_alone(_die, "8x8")


def test_a_device_that_is_not_here_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    paths = ["methods.classical.Bicubic", "methods.classical.Bilinear"]
    bicubic = measure_speeds(paths, ["8x8"], ["cuda"])
    assert [speed.seconds for _, speed in bicubic] == [None, None]
    report = speed_report(bicubic)
    assert report.tables == [] and "no CUDA GPU here" in report.remarks[-1]


def test_mistakes_are_told_together() -> None:
    with pytest.raises(BenchError) as told:
        measure_speeds(["methods.carn.CARM", "methods.nima.NIMA"], ["8x8"])
    assert "CARN_M" in str(told.value) and "gives marks" in str(told.value)
    with pytest.raises(BenchError, match=r"unknown parameter of these methods 'widht'"):
        measure_speeds(["methods.classical.Bicubic"], ["8x8"], parameters={"widht": 3})
    with pytest.raises(BenchError, match=r"unknown device 'cdua'. Did you mean 'cuda'"):
        measure_speeds(["methods.classical.Bicubic"], ["8x8"], ["cdua"])


def test_the_command_gives_a_table_json_and_files(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    (world / "study.yaml").write_text(
        "name: two\ntask: {kind: super-resolution, scale: 2}\n"
        "train: {dataset: set5, patch: 16, batch: 2, steps: 8, learning_rate: 1e-3}\n"
        "methods:\n  small: {use: nets.Shift}\n  large: {use: nets.Shift, size: 5}\n"
        "evaluate: {datasets: [bsd100], metrics: [psnr_y]}\n"
    )
    ended = commands().run(
        world, "speed", "study.yaml", "methods.classical.Bicubic", "--sizes", "24x16,32x32",
        "--device", "cpu", "--scale", "2", "--json", "--format", "md,tex",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    answer = json.loads(ended.out)
    rows = {(row["method"], row["size"]): row for row in answer["results"]}
    assert len(rows) == 6 and "FLOPs / 2" in answer["convention"]
    assert rows["large", "24x16"]["parameters"] == 3 * 3 * 25 + 3
    assert rows["large", "24x16"]["multiply_adds"] == 48 * 32 * 3 * 3 * 25
    assert all(row["seconds"] > 0 and row["precision"] == "fp32" for row in rows.values())
    text = (world / "reports/speed/speed.md").read_text()
    assert "| small" in text and "| methods.classical.Bicubic" in text
    assert r"\toprule" in (world / "reports/speed/speed.tex").read_text()


def test_a_study_that_asks_for_efficiency_has_its_columns_from_the_records(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    study = write_study(
        world,
        "large: {use: nets.Shift, size: 5}\nplain: {use: nets.Plain}\nreference: {}",
        evaluate="{datasets: [bsd100], metrics: [psnr_y], efficiency: true, efficiency_at: 24x16}",
        select="", budget="",
    )  # fmt: skip
    ended = commands().run(world, "sweep", str(study))
    assert ended.status == 0, ended.err
    (speed,) = cells(world / "home")["large-s0"]["efficiency"]
    assert speed["parameters"] == 3 * 3 * 25 + 3 and speed["seconds"] > 0
    assert speed["multiply_adds"] == 48 * 32 * 3 * 3 * 25 and speed["machine"]
    text = (world / "reports/tiny/table.md").read_text()
    assert "input 24x16 x2 parameters" in text and f"of host {speed['machine']}" in text
    line = next(line for line in text.splitlines() if line.startswith("| large"))
    assert line.split("|")[3].strip() == "228"
    assert "— efficiency of reference: not measured" in text
    again = commands().run(world, "sweep", str(study))
    assert "timing" in ended.err and "timing" not in again.err and "stale" not in again.err
    assert cells(world / "home")["large-s0"]["efficiency"] == [speed], "measured once"
    study.write_text(study.read_text().replace("efficiency_at: 24x16", "efficiency_at: 32x32"))
    other = commands().run(world, "sweep", str(study))
    assert "timing at 32x32" in other.err and "stale" not in other.err, "no score depends on it"


def test_a_size_that_is_none_is_told_by_check(tmp_path: Path) -> None:
    from bench.look.check import load_study

    file = write_study(
        tmp_path, "a: {use: methods.classical.Bicubic}", train="", select="", budget="",
        evaluate="{datasets: [bsd100], metrics: [psnr_y], efficiency: true, efficiency_at: big}",
    )  # fmt: skip
    with pytest.raises(BenchError, match=r"efficiency_at.*no size 'big'.*720p"):
        load_study(file)
