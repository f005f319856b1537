"""A model of one's own: measured as a method is, left as it was, refused in one message."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit import write_pictures
from torch import Tensor, nn
from torch.nn import functional as F

from bench import evaluate
from bench.api import evaluate_method
from bench.errors import BenchError
from bench.measure.metrics import metric
from bench.measure.protocol import PROTOCOLS
from bench.own import digest_of
from methods.classical import Bicubic


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "data/Set5/HR", 2)
    write_pictures(tmp_path / "data/Set14/HR", 1, first=7)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def twice(batch: Tensor) -> Tensor:
    return F.interpolate(batch, scale_factor=2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.Dropout(0.5))

    def forward(self, batch: Tensor) -> Tensor:
        return twice(batch) + 0.01 * F.pixel_shuffle(self.body(batch), 2)


def test_three_lines_give_what_the_same_method_gives() -> None:
    table = evaluate(Bicubic(scale=2), ["set5", "set14"], scale=2)
    ours = table.frame.set_index(["dataset", "image", "metric"]).value
    theirs = evaluate_method(
        "methods.classical.Bicubic", ["set5", "set14"], 2, ["psnr_y", "ssim_y"]
    ).set_index(["dataset", "image", "metric"])
    assert len(ours) == 6 and (ours == theirs.value).all()
    text = str(table)
    assert "protocol sr-y@1" in text and "| Bicubic |" in text and "partial: 2/5" in text
    assert table.provenance["protocols"] == {"set5": "sr-y@1", "set14": "sr-y@1"}
    assert set(table.provenance) >= {"torch", "bench", "commit", "fingerprints", "weights", "date"}
    assert r"\begin{tabular}" in table.to_latex() and table._repr_markdown_() == text


def test_a_module_is_measured_in_eval_mode_and_put_back() -> None:
    net = Net().train()
    net.body[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = evaluate(net, "set5", scale=2)
    again = evaluate(net, "set5", scale=2)
    assert (first.frame.value == again.frame.value).all(), "dropout would make them differ"
    assert [m.training for m in net.modules()] == [True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert first.provenance["weights"] == digest_of(net) != digest_of(Net())


def test_a_model_of_another_type_gets_pictures_of_its_type_and_says_so() -> None:
    table = evaluate(Net().double(), ["set5"], scale=2)
    assert "torch.float64" in str(table) and table.frame.value.notna().all()


def test_a_model_may_take_its_batch_apart_by_view() -> None:
    table = evaluate(lambda batch: twice(batch.view(*batch.shape)), ["set5"], scale=2)
    assert table.frame.value.notna().all()


def test_at_scale_1_pictures_are_whole_and_in_rgb() -> None:
    table = evaluate(lambda batch: batch, ["set5"], scale=1, degradation="none")
    assert set(table.frame.protocol) == {"full@1"} and set(table.frame.metric) == {"psnr", "ssim"}


class Learns(nn.Module):
    """Adapts itself to each picture, and so needs gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, batch: Tensor) -> Tensor:
        with torch.enable_grad():
            made = twice(batch) * self.gain
            (slope,) = torch.autograd.grad(made.sum(), self.gain)
            assert slope != 0
            return made


def test_a_model_that_needs_gradients_is_measured() -> None:
    plain = evaluate(twice, ["set5"], scale=2).frame.value
    assert (evaluate(Learns(), ["set5"], scale=2).frame.value == plain).all()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda batch: batch, ["set5/00: ", "made (1, 3, 24, 24)", "not (1, 3, 48, 48)"]),
        (lambda batch: twice(batch) * math.nan, ["set5/00", "not finite"]),
        (lambda batch: (twice(batch),), ["returned tuple, not a tensor"]),
        (lambda batch: (255 * twice(batch)).byte(), ["torch.uint8", "floats in [0, 1]"]),
        (lambda batch: twice(batch).mean(1, keepdim=True), ["not (1, 3, 48, 48)"]),
        (lambda: 0, ["TypeError", "takes 0 positional arguments"]),
        (nn.Sequential(nn.Conv2d(4, 3, 3)), ["Sequential", "RuntimeError", "4 channels"]),
        (Net, ["is a class", "Net()"]),
        ("methods.classical.Bicubic", ["takes a model, not a name", "beside"]),
        (3, ["int cannot be called"]),
    ],
)
def test_what_is_no_model_is_one_message(model: Any, words: list[str]) -> None:
    with pytest.raises(BenchError) as told:
        evaluate(model, ["set5"], scale=2)
    assert all(word in str(told.value) for word in words), told.value


def test_unknown_names_are_told_together() -> None:
    with pytest.raises(BenchError) as told:
        evaluate(twice, ["set55", "bsd100"], scale=2, metrics=["psnrr"], protocol="sr")
    lines = str(told.value).splitlines()
    assert len(lines) == 4 and "'set5'" in lines[0] and "not on this machine" in lines[1]


def test_a_model_that_works_in_0_to_255_is_told_so() -> None:
    table = evaluate(lambda batch: 255 * twice(batch), ["set5"], scale=2)
    assert "it may work in 0 to 255" in str(table)


def test_what_papers_print_stands_below_unranked_and_others_above() -> None:
    table = evaluate(
        lambda batch: F.interpolate(batch, scale_factor=4), ["set14"], 4, ["niqe", "psnr_y"],
        name="nearest", published=True, beside=["methods.classical.Bicubic"], limit=1,
    )  # fmt: skip
    lines = [line for line in str(table).splitlines() if line.startswith("| ")]
    rows = {line.split("|")[1].strip(): line for line in lines}
    assert {"nearest", "methods.classical.Bicubic"} <= rows.keys()
    assert "5.500" in rows["RCAN [printed: cas_gan]"], "table 1 of CAS-GAN"
    assert "3.402" in rows["CAS-GAN [printed: cas_gan]"]
    assert "**" not in rows["CAS-GAN [printed: cas_gan]"] and "not ranked" in str(table)
    assert set(table.frame.method) == {"nearest", "methods.classical.Bicubic"}


def test_the_protocols_of_the_challenges_of_2026() -> None:
    """NTIRE's kits: super-resolution on Y with 4 pixels left out, efficient in RGB with `scale`."""
    noise = np.random.default_rng(0)
    hr = noise.integers(0, 255, (40, 44, 3), np.uint8)
    sr = hr.copy()
    sr[:4], sr[:, -4:] = 0, 255
    psnr = metric("psnr").load("cpu")
    assert psnr(sr, hr, PROTOCOLS["ntire-sr@2026"], 2) == math.inf, "4 pixels, whatever the scale"
    assert psnr(sr, hr, PROTOCOLS["ntire-esr@2026"], 4) == math.inf
    assert psnr(sr, hr, PROTOCOLS["ntire-esr@2026"], 2) < 30
    sr = hr.copy()
    sr[10, 10, 0] ^= 255
    error = float(sr[10, 10, 0]) - float(hr[10, 10, 0])
    rgb = 10 * math.log10(255**2 / (error**2 / (32 * 36 * 3)))
    assert psnr(sr, hr, PROTOCOLS["ntire-esr@2026"], 4) == pytest.approx(rgb)
    luma = 10 * math.log10(255**2 / ((error * 65.481 / 255) ** 2 / (32 * 36)))
    assert psnr(sr, hr, PROTOCOLS["ntire-sr@2026"], 4) == pytest.approx(luma)
