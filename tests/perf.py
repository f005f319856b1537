"""The speed table: each figure beside the naive way or a peer, as a ratio from the same minute.

Run it with `make perf` on a machine that does nothing else. Nothing here is a test.
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the workers of a sweep have it

import numpy as np
import perf_gpu
import torch
from perf_gpu import matrix_rate
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from bench.data.images import write_image
from bench.data.pairs import load_pairs
from bench.data.pixels import as_rgb
from bench.data.roots import weights_root
from bench.measure.metrics import metric
from bench.measure.protocol import PROTOCOLS
from bench.method.batch import Batch
from bench.method.contract import Method, to_tensor
from bench.method.recipe import Recipe
from bench.records.cell import Cell, Score, write_cell
from bench.records.store import Store
from bench.train.batches import Patches
from bench.train.graphs import Captured
from bench.train.loop import choose_device, choose_precision
from bench.train.optimizers import make_optimizers
from bench.train.pixels import find_source, open_pixels
from bench.train.plan import Plan
from bench.train.updates import Eager, update
from methods.esrgan import RRDBNet
from methods.networks.edsr import EDSRNetwork, ShuffleConv
from methods.networks.rrdbnet import RRDBNetwork
from methods.nima_sr import EDSR
from methods.rescnn_gan import GAN

REPEATS = 5


def main() -> None:
    """Prints the table."""
    device = choose_device()
    where = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    threads = torch.get_num_threads()
    print(f"{where}, {threads} threads, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}\n")
    print(f"{'what':<46} {'ours':>10} {'other':>10} {'ratio':>6}  other is")
    training_steps(device)
    if device.type == "cuda":
        perf_gpu.main()
    scoring()
    frame_analytics()
    folders()
    viqet()
    start_up()
    overhead()
    report()
    growth(device)


def line(what: str, ours: float, other: float | None = None, named: str = "") -> None:
    """Prints one row; times in seconds."""
    shown = f"{1e3 * other:>7.1f} ms {other / ours:>6.2f}" if other else f"{'-':>10} {'-':>6}"
    print(f"{what:<46} {1e3 * ours:>7.1f} ms {shown}  {named}", flush=True)


def seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Returns the median time of a call, the first one left out."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


class PlainShuffle(nn.Sequential):
    """What most repositories write: Conv2d and PixelShuffle."""

    def __init__(self, conv: ShuffleConv) -> None:
        plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1)
        super().__init__(plain, nn.PixelShuffle(conv.step))


def training_steps(device: torch.device) -> None:
    """x4, LR 24x24, against the same step in NCHW fp32 with a plain Adam."""
    print(f"  a bf16 matrix product makes {matrix_rate(device) / 1e9:.0f} GFLOP/s")
    edsr = EDSRNetwork(4)
    edsr.tail = nn.Sequential(
        *(PlainShuffle(m) if isinstance(m, ShuffleConv) else m for m in edsr.tail)
    )
    training_step("EDSR-baseline x4", EDSR(scale=4, gamma=0), l1_step(edsr), 16, device)
    rrdb = RRDBNetwork(4, blocks=4, channels=32, growth=16)
    method = RRDBNet(blocks=4, channels=32, growth=16)
    training_step("RRDBNet x4, 4 blocks of 32", method, l1_step(rrdb), 8, device)
    sizes: dict[str, Any] = {"blocks": 4, "channels": 32, "width": 16, "features": "random"}
    naive = gan_step(GAN(**sizes))
    training_step("ResCNN-GAN x4, 4 blocks of 32", GAN(**sizes), naive, 4, device, counted=False)


Step = Callable[[Batch], float]


def l1_step(network: nn.Module) -> Callable[[torch.device], Step]:
    """An update as a tutorial writes it."""

    def made(device: torch.device) -> Step:
        adam = torch.optim.Adam(network.to(device).parameters(), 1e-4)

        def step(batch: Batch) -> float:
            loss = F.l1_loss(network(batch.lr), batch.hr)
            adam.zero_grad()
            loss.backward()
            adam.step()
            return loss.item()

        return step

    return made


def gan_step(method: Method) -> Callable[[torch.device], Step]:
    """The method's own update with a plain Adam for each network."""

    def made(device: torch.device) -> Step:
        plan = plan_of(method.to(device).train(), 4, "fp32", device)
        parts = method.optimizers(plan.stage)
        adams = {name: torch.optim.Adam(part, 1e-4) for name, part in parts.items()}
        return lambda batch: float(update(method, plan.stage, batch, adams, plan)["perceptual"])

    return made


def plan_of(method: Method, size: int, precision: str, device: torch.device) -> Plan:
    """Of the method's last stage on patches of 96 pixels; size: of the batch."""
    stage = method.stages()[-1]
    recipe = Recipe(steps=1, patch=96, batch=size, precision=precision)  # type: ignore[arg-type]
    return Plan(stage, method, "", "photos_train", 4, "bicubic", recipe.filled(), 0, device.type)


def training_step(
    name: str,
    method: Method,
    naive: Callable[[torch.device], Step],
    size: int,
    device: torch.device,
    counted: bool = True,
) -> None:
    """Prints two lines or three; size: of the batch. counted: whether torch can count its products,
    which it cannot where an update asks for gradients itself."""
    naive_step = naive(device)
    lr, hr = torch.rand(size, 3, 24, 24, device=device), torch.rand(size, 3, 96, 96, device=device)
    method.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    plan = plan_of(method, size, choose_precision("auto", device), device)
    optimizers = make_optimizers(plan)
    with tempfile.TemporaryDirectory() as folder:  # what is mapped stays when the file has gone
        pixels = open_pixels([find_source("photos_train", 4, "bicubic")], Store(Path(folder)))
    patches = Patches(pixels, batch=size, patch=96, seed=0, device=device)
    steps = itertools.count()
    made = (Captured if device.type == "cuda" else Eager)(plan, patches, optimizers, None)

    def our_step() -> float:
        losses = made(next(steps))
        return sum(float(value) for value in losses.values())  # a GPU is waited for

    with FlopCounterMode(display=False) if counted else nullcontext() as counter:
        Eager(plan, patches, optimizers, None)(0)
    ours, other = [], []
    for _ in range(3):  # by turns, so that a slow minute hits both
        ours.append(seconds(our_step, 3))
        other.append(seconds(lambda: naive_step(Batch(lr, hr, hr, 0)), 3))
    line(f"training step, {name}", min(ours), min(other), "NCHW, fp32, plain Adam")
    line("  of which waiting for data", seconds(lambda: patches.batch(next(steps))))
    if made.words:
        print(f"  {made.words}")
    if counter:
        share = counter.get_total_flops() / min(ours) / matrix_rate(device)
        print(f"  of the rate of a bf16 matrix product {share:>13.0%}")


def pictures(height: int, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs (SR, HR) in turn: the scores' own code remembers the last one."""
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    sr = np.clip(hr + rng.normal(0, 9, hr.shape), 0, 255).astype(np.uint8)
    return itertools.cycle(zip(sr, hr, strict=True))


def fidelity(turn: Iterator[tuple[np.ndarray, np.ndarray]]) -> Callable[[], object]:
    """PSNR-Y and SSIM-Y of the next pair."""
    scorers = [metric(name).load("cpu") for name in ("psnr_y", "ssim_y")]

    def run() -> object:
        sr, hr = next(turn)
        return [score(sr, hr, PROTOCOLS["sr-y@1"], 4) for score in scorers]

    return run


def frame_analytics() -> None:
    """Its PSNR-Y and SSIM-Y, compiled, of pictures as they are read, on one thread and on all."""
    import frame_analytics

    turn = pictures(321, 481)

    def peer() -> None:
        sr, hr = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in next(turn))
        frame_analytics.psnr(sr, hr, luma="matlab", crop_border=4).item()
        frame_analytics.ssim(sr, hr, luma="matlab", crop_border=4).item()

    before = torch.get_num_threads()
    for threads in dict.fromkeys((1, before)):
        torch.set_num_threads(threads)
        mine, theirs = seconds(fidelity(turn), 50), seconds(peer, 50)
        line("PSNR-Y + SSIM-Y, 481x321", mine, theirs, f"frame-analytics, {threads} threads")
    torch.set_num_threads(before)


def scoring() -> None:
    """One 481x321 picture, against the same metrics of scikit-image (which has no NIQE)."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    turn, rules = pictures(321, 481), PROTOCOLS["sr-y@1"]
    sr, hr = next(turn)

    def peer() -> None:
        a, b = (image @ np.array([65.481, 128.553, 24.966]) / 255 + 16 for image in (sr, hr))
        peak_signal_noise_ratio(b, a, data_range=255)
        structural_similarity(
            b, a, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )

    mine = seconds(fidelity(turn))
    line("PSNR-Y + SSIM-Y, 481x321", mine, seconds(peer), "scikit-image")
    line("PSNR-Y + SSIM-Y, 481x321", mine, seconds(pyiqa_pair(sr, hr), 3), "pyiqa, ycbcr, CPU")
    if not niqe_file().is_file():
        print(f"NIQE: pyiqa's parameters are not on this machine: no {niqe_file()}")
        return
    niqe = metric("niqe").load("cpu")
    other = seconds(pyiqa_niqe(sr), 3)
    line("NIQE, 481x321", seconds(lambda: niqe(sr, None, rules, 4)), other, "pyiqa, CPU")


def pyiqa_pair(sr: np.ndarray, hr: np.ndarray) -> Callable[[], object]:
    """PSNR-Y and SSIM-Y as pyiqa computes them, told which Y."""
    import pyiqa

    options = {"device": "cpu", "color_space": "ycbcr"}
    measures = [pyiqa.create_metric(name, **options) for name in ("psnry", "ssim")]
    first, second = (to_tensor(image, torch.device("cpu")) for image in (sr, hr))
    return lambda: [float(measure(first, second)) for measure in measures]


def niqe_file() -> Path:
    """The parameters in the format that pyiqa reads."""
    return weights_root() / "niqe" / "modelparameters.mat"


def pyiqa_niqe(sr: np.ndarray) -> Callable[[], object]:
    """NIQE as pyiqa computes it, with the release's parameters."""
    import pyiqa

    file = niqe_file()
    measure = pyiqa.create_metric("niqe", device="cpu", pretrained_model_path=str(file))
    image = to_tensor(sr, torch.device("cpu"))
    return lambda: float(measure(image))


def folders() -> None:
    """`bench score` on 200 pictures of 481x321, the whole process: each picture; then again."""
    bench = str(Path(sys.executable).with_name("bench"))
    source = load_pairs("photos_train", 1, "none")
    pictures = [p for pair in source if min((p := as_rgb(pair.hr())).shape[:2]) > 400]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for k in range(200):
            photo = pictures[k % len(pictures)]
            top, left = (
                int(rng.integers(n - m + 1))
                for n, m in zip(photo.shape[:2], (321, 481), strict=True)
            )
            crop = photo[top : top + 321, left : left + 481]
            write_image(Path(folder) / "hr" / f"{k}.png", crop)
            write_image(Path(folder) / "sr" / f"{k}.png", np.clip(crop, 4, 250))
        command = [bench, "score", f"{folder}/sr", "--reference", f"{folder}/hr", "--scale", "4",
                   "--metrics", "psnr_y,ssim_y,niqe"]  # fmt: skip
        environment = {**os.environ, "BENCH_HOME": f"{folder}/home"}
        for what in ("bench score, 3 metrics, each 481x321", "  again, from the store"):
            began = time.perf_counter()
            subprocess.run(command, env=environment, capture_output=True, check=True)
            line(what, (time.perf_counter() - began) / 200)


def viqet() -> None:
    """VIQET of a 768x512 picture, all features; its own tool takes 12.2 s, as stated for it."""
    from bench.measure.metrics.viqet import measure

    (photo,) = (p.hr() for p in load_pairs("photos_train", 1, "none") if "retina" in p.stem)
    crops = [np.ascontiguousarray(photo[k : k + 512, :768]) for k in range(REPEATS + 1)]
    turn = iter(crops)  # the last picture is remembered
    line("VIQET, 768x512", seconds(lambda: measure(next(turn))), 12.2, "the native tool, stated")


def start_up() -> None:
    """`bench --help`, against the import that it does without."""
    python = sys.executable
    bench = str(Path(python).with_name("bench"))
    ours = seconds(lambda: subprocess.run([bench, "--help"], capture_output=True, check=True))
    other = seconds(lambda: subprocess.run([python, "-c", "import torch"], check=True))
    line("bench --help", ours, other, "import torch")


def overhead() -> None:
    """What a sweep costs a trial beyond its training and scoring: one worker, warm."""
    from bench.look.check import load_study
    from bench.sweep.driver import sweep

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "overhead.yaml"
        file.write_text(
            "name: overhead\ntask: {kind: super-resolution, scale: 2}\n"
            "train: {dataset: photos_val, patch: 16, batch: 1, steps: 1}\n"
            "methods: {srcnn: {use: methods.srcnn.SRCNN, width: {int: [2, 8]}}}\n"
            "select: {dataset: photos_val, maximize: [psnr_y]}\n"
            "evaluate: {datasets: [photos_test], metrics: [psnr_y]}\n"
            "budget: {trials: 2, sampler: random}\n"
        )
        home = Path(folder) / "home"
        sweep(load_study(file), home, workers=1)  # makes the databases, starts the fork server
        began = time.perf_counter()
        cells = sweep(load_study(file, ["budget.trials=12"]), home, workers=1)
        wall = time.perf_counter() - began
        began = time.perf_counter()
        sweep(load_study(file, ["budget.trials=12"]), home, workers=1)  # nothing to do
        idle = time.perf_counter() - began
        inside = sum(c.seconds for c in cells if c.trial is not None and c.trial >= 2)
        line("overhead of a sweep, each trial", (wall - idle - inside) / 10)
        line("a sweep that finds nothing to do", idle)


def report() -> None:
    """`bench report` on 1000 trials of 50 scores, the whole process."""
    from bench.look.check import load_study

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        study = load_study(Path(__file__).parents[1] / "studies" / "gamma.yaml")
        place = home / "studies" / study.name
        place.mkdir(parents=True)
        (place / "study.json").write_text(study.model_dump_json())
        rng = np.random.default_rng(0)
        for trial in range(1000):
            scores = [
                Score(d, 2, f"{i:03d}", m, "sr-y@1", float(rng.normal(30, 1)))
                for d, n in (("photos_test", 5), ("set5", 5))
                for i in range(n)
                for m in ("psnr_y", "ssim_y", "niqe", "lpips", "nima")
            ]
            swept = {"gamma": float(rng.uniform())}
            values = {"psnr_y": float(rng.normal(30, 1)), "nima": float(rng.normal(5, 1))}
            write_cell(
                place / "cells",
                Cell(study=study.name, method="edsr_nima", use="methods.nima_sr.EDSR", trial=trial,
                     seed=0, attempt=0, state="complete", parameters=swept, swept=swept,
                     objectives=values, scores=scores, fingerprint="x"),
            )  # fmt: skip
        environment = {**os.environ, "BENCH_HOME": str(home)}
        command = [str(Path(sys.executable).with_name("bench")), "report", "gamma",
                   "--out", str(Path(folder) / "out")]  # fmt: skip

        def run() -> None:
            subprocess.run(command, env=environment, capture_output=True, check=True)

        line("bench report, 1000 trials x 50 scores", seconds(run, 3))


def growth(device: torch.device) -> None:
    """How cost grows with pixels and with a network's width."""
    print("\ngrowth")
    for height, width in ((160, 240), (321, 481), (642, 962), (1284, 1924), (2568, 3848)):
        took = seconds(fidelity(pictures(height, width)), 3)
        line(f"PSNR-Y + SSIM-Y, {width}x{height}", took)
    for channels, side in ((16, 24), (32, 24), (64, 12), (64, 24), (64, 48), (128, 24)):
        method = EDSR(scale=4, gamma=0, channels=channels)
        method.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        plan = plan_of(method, 16, choose_precision("auto", device), device)
        lr, hr = (torch.rand(16, 3, k * side, k * side, device=device) for k in (1, 4))
        run = partial(update, method, plan.stage, Batch(lr, hr, hr, 0), make_optimizers(plan), plan)
        took = seconds(lambda run=run: run()["loss"].item(), 3)
        line(f"training step, EDSR x4, 16 blocks of {channels}, LR {side}", took)


if __name__ == "__main__":
    main()
