"""Training in the real loop on a GPU: captured updates beside launched ones.

    python tests/perf_gpu.py            # two minutes; part of `make perf` where there is a GPU
    python tests/perf_gpu.py cpu        # the same with small networks, to try the script itself

Milliseconds are of the loop's own pace over some seconds, batches and losses counted in; start-up
is the time to the first sign of life, proof and capture counted in. The share is of the rate of a
bf16 matrix product on the same card. Networks begin with random weights, VGG19's are random too.
"""

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.method import Method, Recipe
from bench.records.store import Store
from bench.train.batches import Patches
from bench.train.loop import Progress, choose_precision, run_steps
from bench.train.optimizers import make_optimizers
from bench.train.pixels import TrainingPixels, find_source, open_pixels
from bench.train.plan import Plan
from bench.train.updates import update
from methods.esrgan import RRDBNet
from methods.nima_sr import EDSR
from methods.rescnn_gan import GAN

SECONDS = 4.0


class Row(NamedTuple):
    """A network and what it is trained on."""

    name: str
    method: type[Method]
    arguments: dict[str, Any]
    scale: int
    patch: int
    batch: int
    aim: float
    """Milliseconds of a captured update in the loop, asked for on an H200."""


ROWS = [
    Row("EDSR-baseline x4, LR 48", EDSR, {"gamma": 0}, 4, 192, 16, 4.6),
    Row("EDSR 4 x 32 x2, LR 24", EDSR, {"gamma": 0, "blocks": 4, "channels": 32}, 2, 48, 16, 0.85),
    Row("EDSR 32 x 256 x4, LR 48", EDSR,
        {"gamma": 0, "blocks": 32, "channels": 256, "residual_scale": 0.1}, 4, 192, 16, 27),
    Row("RRDBNet 23 x4, LR 32", RRDBNet, {}, 4, 128, 16, 35),
    Row("ResCNN-GAN x4, LR 24", GAN, {"features": "random"}, 4, 96, 16, 15),
]  # fmt: skip
SMALL = [
    Row("EDSR 2 x 16 x2, LR 12", EDSR, {"gamma": 0, "blocks": 2, "channels": 16}, 2, 24, 4, 0),
    Row("ResCNN-GAN x4, LR 24", GAN,
        {"blocks": 1, "channels": 16, "width": 8, "features": "random"}, 4, 96, 2, 0),
]  # fmt: skip


def main(name: str = "cuda") -> None:
    """Prints a table; on a CPU of launched updates alone."""
    device = torch.device(name)
    modes = ["eager", "captured"] if device.type == "cuda" else ["eager"]
    print(
        "\ntraining in the loop            updates   ms each  images/s  start-up  of the card   aim"
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        sources = {s: [find_source("photos_train", s, "bicubic")] for s in (2, 4)}
        pixels = {scale: open_pixels(source, store) for scale, source in sources.items()}
        for row in ROWS if device.type == "cuda" else SMALL:
            for mode in modes:
                timed(row, mode, pixels[row.scale], device)
        if device.type == "cuda":
            alike(pixels[2], device)


def trained(
    row: Row, mode: str, pixels: TrainingPixels, device: torch.device, steps: int, seed: int = 0
) -> tuple[Iterator[Any], Method, Plan]:
    torch.manual_seed(seed)
    method = row.method(scale=row.scale, **row.arguments)
    method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = Recipe(
        steps=steps, patch=row.patch, batch=row.batch, updates=mode,  # type: ignore[arg-type]
        precision=choose_precision("auto", device),  # type: ignore[arg-type]
    ).filled()  # fmt: skip
    stage = method.stages()[-1]
    plan = Plan(stage, method, "", "set", row.scale, "bicubic", recipe, seed, device.type)
    patches = Patches(pixels, batch=row.batch, patch=row.patch, seed=seed, device=device)
    folder = Path(tempfile.mkdtemp())
    return run_steps(plan, patches, folder / "checkpoint.pth"), method, plan


def timed(row: Row, mode: str, pixels: TrainingPixels, device: torch.device) -> None:
    """Prints one line."""
    began = time.perf_counter()
    training, method, plan = trained(row, mode, pixels, device, 10**6)
    words, paces = "", []
    for event in training:
        if not isinstance(event, Progress):
            words = event.text
            continue
        if event.step == 1:
            start_up = time.perf_counter() - began
        else:
            paces.append(1 / event.steps_per_second)
        if time.perf_counter() - began > start_up + SECONDS:
            break
    training.close()  # type: ignore[attr-defined]
    each = statistics.median(paces)
    counted = flops(row, method, plan, device)
    share = f"{counted / each / matrix_rate(device):>12.0%}" if counted else f"{'-':>12}"
    aim = f"{row.aim:>6.4g}" if mode == "captured" else " " * 6
    print(
        f"{row.name:<30}  {mode:<8} {1e3 * each:>8.2f} {row.batch / each:>9.0f} {start_up:>7.1f} s"
        f" {share} {aim}  {words}",
        flush=True,
    )
    del training, method, plan
    gc.collect()


def flops(row: Row, method: Method, plan: Plan, device: torch.device) -> float:
    """FLOP of an update; 0 where torch cannot count, for an update asks for gradients itself."""
    from bench.method import Batch

    if row.method is GAN:
        return 0.0
    side = row.patch // row.scale
    lr, hr = (torch.rand(row.batch, 3, n, n, device=device) for n in (side, row.patch))
    with FlopCounterMode(display=False) as counter:
        update(method, plan.stage, Batch(lr, hr, hr, 0), make_optimizers(plan), plan)
    return float(counter.get_total_flops())


@cache
def matrix_rate(device: torch.device) -> float:
    """FLOP a second of a bf16 product of square matrices."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = torch.rand(2, side, side, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        (left @ right)[0, 0].item()
        times.append(time.perf_counter() - began)
    return 2 * side**3 / min(times)


def alike(pixels: TrainingPixels, device: torch.device, steps: int = 400) -> None:
    """Prints how far the modes are apart beside the spread of seeds: the last losses of each."""
    print(f"\nEDSR 4 x 32 x2, {steps} updates, a tiny run: mean of the last 100 losses")
    for mode in ("eager", "captured"):
        found = []
        for seed in range(4):
            training, _, _ = trained(ROWS[1], mode, pixels, device, steps, seed)
            while True:
                try:
                    next(training)
                except StopIteration as end:
                    found.append(float(end.value.curves["loss"][-100:].mean()))
                    break
        print(f"  {mode:<8} {' '.join(f'{value:.5f}' for value in found)}   seeds 0 to 3")


if __name__ == "__main__":
    main(*sys.argv[1:])
