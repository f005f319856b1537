"""Published checkpoints: files in the layouts of their authors and of BasicSR load, and restore
what the authors' forward pass gives, written out here in plain torch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from bench.data.weights import Weights
from bench.errors import BenchError
from bench.method import Method
from bench.method.published import resolve_weights
from bench.method.weights import load_weights
from methods.edsr import EDSR
from methods.esrgan import RRDBNet
from methods.rcan import RCAN
from methods.sid import SID

State = dict[str, Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)


class Draw:
    """Tensors of a file, drawn one after the other."""

    def __init__(self) -> None:
        self.state: State = {}
        self.generator = torch.Generator().manual_seed(0)

    def tensor(self, name: str, *shape: int) -> Tensor:
        self.state[name] = 0.15 * torch.randn(shape, generator=self.generator)
        return self.state[name]

    def conv(self, name: str, inputs: int, outputs: int, side: int = 3) -> None:
        self.tensor(f"{name}.weight", outputs, inputs, side, side)
        self.tensor(f"{name}.bias", outputs)


def conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def loaded(method: Method, state: Any, file: Path) -> Method:
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    load_weights(method.eval(), file)
    return method


def picture(channels: int = 3, height: int = 9, width: int = 7) -> Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(5))


# --- RRDBNet --------------------------------------------------------------------------------------

WIDTH, GROWTH, BLOCKS = 6, 4, 2


def rrdb_file(dense: Callable[[int, int, int], str], names: list[str]) -> State:
    """dense: (block, dense block, convolution) -> name. names: of the first, the body's last, two
    enlarging, and two more convolutions."""
    draw = Draw()
    draw.conv(names[0], 3, WIDTH)
    for block in range(BLOCKS):
        for part in range(1, 4):
            for n in range(1, 6):
                outputs = GROWTH if n < 5 else WIDTH
                draw.conv(dense(block, part, n), WIDTH + (n - 1) * GROWTH, outputs)
    for name in names[1:-1]:
        draw.conv(name, WIDTH, WIDTH)
    draw.conv(names[-1], WIDTH, 3)
    return draw.state


def rrdb_forward(state: State, dense: Callable[[int, int, int], str], names: list[str]) -> Tensor:
    active = partial(F.leaky_relu, negative_slope=0.2)
    x = first = conv(state, names[0], picture())
    for block in range(BLOCKS):
        before = x
        for part in range(1, 4):
            grown = [x]
            for n in range(1, 5):
                grown.append(active(conv(state, dense(block, part, n), torch.cat(grown, 1))))
            x = x + 0.2 * conv(state, dense(block, part, 5), torch.cat(grown, 1))
        x = before + 0.2 * x
    x = first + conv(state, names[1], x)
    for name in names[2:4]:
        x = active(conv(state, name, x.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    return conv(state, names[5], active(conv(state, names[4], x)))


RRDB: dict[str, tuple[Callable[[int, int, int], str], list[str]]] = {
    "the authors' new code": (
        lambda block, part, n: f"RRDB_trunk.{block}.RDB{part}.conv{n}",
        ["conv_first", "trunk_conv", "upconv1", "upconv2", "HRconv", "conv_last"],
    ),
    "the authors' old code": (
        lambda block, part, n: f"model.1.sub.{block}.RDB{part}.conv{n}.0",
        ["model.0", f"model.1.sub.{BLOCKS}", "model.3", "model.6", "model.8", "model.10"],
    ),
    "BasicSR": (
        lambda block, part, n: f"body.{block}.rdb{part}.conv{n}",
        ["conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"],
    ),
}


@pytest.mark.parametrize("layout", RRDB)
def test_rrdbnet_loads_each_published_layout(layout: str, tmp_path: Path) -> None:
    state = rrdb_file(*RRDB[layout])
    wrapped = {"params_ema": state} if layout == "BasicSR" else state
    method = RRDBNet(blocks=BLOCKS, channels=WIDTH, growth=GROWTH)
    restored = loaded(method, wrapped, tmp_path / "rrdb.pth")(picture())
    assert torch.allclose(restored, rrdb_forward(state, *RRDB[layout]), atol=1e-5)


# --- EDSR and RCAN --------------------------------------------------------------------------------


def shuffled(state: State, names: list[str], x: Tensor) -> Tensor:
    """Enlarged x2 once for each convolution."""
    for name in names:
        x = F.pixel_shuffle(conv(state, name, x), 2)
    return x


def shift(draw: Draw) -> None:
    """EDSR-PyTorch's convolutions that take off the mean, and add it."""
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        draw.state[f"{name}.weight"] = torch.eye(3).view(3, 3, 1, 1)
        draw.state[f"{name}.bias"] = sign * 255 * MEAN.flatten()


EDSR_NAMES = {
    "EDSR-PyTorch": ("head.0", "body.{}.body.0", "body.{}.body.2", "body.2", "tail.0.{}", "tail.1"),
    "BasicSR": (
        "conv_first", "body.{}.conv1", "body.{}.conv2", "conv_after_body", "upsample.{}",
        "conv_last",
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", EDSR_NAMES)
@pytest.mark.parametrize("scale", [2, 4])
def test_edsr_loads_each_published_layout(layout: str, scale: int, tmp_path: Path) -> None:
    head, one, two, after, up, last = EDSR_NAMES[layout]
    ups = [up.format(n) for n in (0, 2)][: scale // 2]
    draw = Draw()
    draw.conv(head, 3, WIDTH)
    for block in range(2):
        draw.conv(one.format(block), WIDTH, WIDTH)
        draw.conv(two.format(block), WIDTH, WIDTH)
    draw.conv(after, WIDTH, WIDTH)
    for name in ups:
        draw.conv(name, WIDTH, 4 * WIDTH)
    draw.conv(last, WIDTH, 3)
    if layout == "EDSR-PyTorch":
        shift(draw)
    state = draw.state
    method = EDSR(scale=scale, blocks=2, channels=WIDTH, residual_scale=0.1)
    wrapped = state if layout == "EDSR-PyTorch" else {"params": state}
    restored = loaded(method, wrapped, tmp_path / "edsr.pt")(picture())

    x = first = conv(state, head, 255 * (picture() - MEAN))
    for block in range(2):
        x = x + 0.1 * conv(state, two.format(block), conv(state, one.format(block), x).relu())
    x = shuffled(state, ups, first + conv(state, after, x))
    assert torch.allclose(restored, conv(state, last, x) / 255 + MEAN, atol=1e-5)


RCAN_NAMES = {
    "the authors'": (
        "head.0", "body.{}.body.{}.body.{}", ("0", "2", "3.conv_du.0", "3.conv_du.2"),
        "body.{}.body.2", "body.2", "tail.0.{}", "tail.1",
    ),
    "BasicSR": (
        "conv_first", "body.{}.residual_group.{}.rcab.{}",
        ("0", "2", "3.attention.1", "3.attention.3"),
        "body.{}.conv", "conv_after_body", "upsample.{}", "conv_last",
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", RCAN_NAMES)
@pytest.mark.parametrize("scale", [2, 4])
def test_rcan_loads_each_published_layout(layout: str, scale: int, tmp_path: Path) -> None:
    head, inner, parts, group_end, after, up, last = RCAN_NAMES[layout]
    ups = [up.format(n) for n in (0, 2)][: scale // 2]
    draw = Draw()
    draw.conv(head, 3, WIDTH)
    for group in range(2):
        for block in range(2):
            names = [inner.format(group, block, part) for part in parts]
            for name, (inputs, outputs, side) in zip(
                names, [(WIDTH, WIDTH, 3), (WIDTH, WIDTH, 3), (WIDTH, 2, 1), (2, WIDTH, 1)],
                strict=True,
            ):  # fmt: skip
                draw.conv(name, inputs, outputs, side)
        draw.conv(group_end.format(group), WIDTH, WIDTH)
    draw.conv(after, WIDTH, WIDTH)
    for name in ups:
        draw.conv(name, WIDTH, 4 * WIDTH)
    draw.conv(last, WIDTH, 3)
    if layout == "the authors'":
        shift(draw)
    state = draw.state
    method = RCAN(scale=scale, groups=2, blocks=2, channels=WIDTH, reduction=3)
    restored = loaded(method, state, tmp_path / "rcan.pt")(picture())

    x = first = conv(state, head, 255 * (picture() - MEAN))
    for group in range(2):
        before = x
        for block in range(2):
            one, two, squeeze, widen = (inner.format(group, block, part) for part in parts)
            made = conv(state, two, conv(state, one, x).relu())
            gate = conv(state, squeeze, made.mean((2, 3), keepdim=True)).relu()
            x = x + made * conv(state, widen, gate).sigmoid()
        x = before + conv(state, group_end.format(group), x)
    x = shuffled(state, ups, first + conv(state, after, x))
    assert torch.allclose(restored, conv(state, last, x) / 255 + MEAN, atol=1e-4)


# --- SID ------------------------------------------------------------------------------------------


def test_sid_loads_the_variables_of_the_authors_checkpoint(tmp_path: Path) -> None:
    """TensorFlow's order of axes, its transposed convolution and its depth_to_space."""
    width, draw, inputs = 2, Draw(), 4
    widths = [width, 2 * width, 4 * width, 8 * width, 16 * width]
    levels = [*enumerate(widths, 1), *enumerate(reversed(widths[:-1]), 6)]
    for level, own in levels:
        before = inputs if level == 1 else own // 2 if level < 6 else 2 * own
        for n, size in ((1, before), (2, own)):
            draw.tensor(f"g_conv{level}_{n}/weights", 3, 3, size, own)
            draw.tensor(f"g_conv{level}_{n}/biases", own)
    for n, own in enumerate(reversed(widths[:-1])):
        draw.tensor(f"Variable_{n}".removesuffix("_0"), 2, 2, own, 2 * own)
    draw.tensor("g_conv10/weights", 1, 1, width, 12)
    draw.tensor("g_conv10/biases", 12)
    state = draw.state
    lr = picture(4, 32, 16)
    method = SID(width=width)
    restored = loaded(method, state, tmp_path / "sid.safetensors")(lr)

    def pair(x: Tensor, level: int) -> Tensor:
        for n in (1, 2):
            kernel = torch.einsum("hwio->oihw", state[f"g_conv{level}_{n}/weights"])
            x = F.conv2d(x, kernel, state[f"g_conv{level}_{n}/biases"], padding=1)
            x = torch.maximum(0.2 * x, x)
        return x

    x, kept = lr, []
    for level in range(1, 6):
        x = pair(x, level)
        kept.append(x)
        x = F.max_pool2d(x, 2) if level < 5 else x
    for n, level in enumerate(range(6, 10)):
        kernel = state[f"Variable_{n}".removesuffix("_0")]
        # each pixel paints a square of 2 x 2
        painted = torch.einsum("nihw,uvoi->nohuwv", x, kernel)
        shape = painted.shape[0], painted.shape[1], 2 * x.shape[2], 2 * x.shape[3]
        x = pair(torch.cat([painted.reshape(shape), kept[3 - n]], 1), level)
    x = torch.einsum("nihw,io->nohw", x, state["g_conv10/weights"][0, 0])
    x = x + state["g_conv10/biases"].view(-1, 1, 1)
    # depth_to_space: channel (2 r + c) 3 + k goes to row r, column c, colour k
    blocks = x.view(2, 2, 2, 3, *x.shape[2:])
    expected = torch.einsum("nrckhw->nkhrwc", blocks).reshape(2, 3, 64, 32)
    assert torch.allclose(restored, expected, atol=1e-5)


# --- as rows --------------------------------------------------------------------------------------


def test_published_names_follow_the_scale_and_the_checksum_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(BenchError, match=r"edsr_baseline_x4-6b446fab\.pt.*bench fetch"):
        resolve_weights(EDSR, "published:edsr_baseline", scale=4)
    with pytest.raises(BenchError, match="rrdb_psnr"):
        resolve_weights(RRDBNet, "published:rrdb", scale=4)
    wrong = tmp_path / RRDBNet.published["esrgan"].path
    wrong.parent.mkdir()
    torch.save({}, wrong)
    with pytest.raises(BenchError, match="not the published file"):
        resolve_weights(RRDBNet, "published:esrgan", scale=4)


@pytest.mark.parametrize("cls", [EDSR, RRDBNet])
def test_addresses_name_the_file(cls: type[Method]) -> None:
    for name, entry in cls.published.items():
        assert isinstance(entry, Weights) and entry.path.startswith(("edsr/", "esrgan/"))
        digits = Path(entry.path).stem.rpartition("-")[2]
        if "official" in entry.path or cls is EDSR:
            assert digits == entry.sha256, name
