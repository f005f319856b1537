"""MDSR: its counts, its authors' layout, one network measured at each scale of a study."""

from pathlib import Path

import pytest
import torch
from kit import write_study
from torch import Tensor
from torch.nn import functional as F

from bench.api import prepare_method
from bench.data.roots import paths_from
from bench.errors import BenchError
from bench.look.check import load_study
from bench.method import Batch, Method, build_method, find_method
from bench.method.weights import load_weights
from bench.records.cell import at_scale, write_cell
from bench.records.place import Place
from bench.sweep.job import Done, Job
from bench.sweep.trial import run_trial
from bench.train.trained import load_trial
from methods import nima_sr
from methods.edsr import EDSR
from methods.mdsr import MDSR

MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)


def convolution(inputs: int, outputs: int, side: int = 3) -> int:
    return inputs * outputs * side**2 + outputs


def count(method: Method) -> int:
    return sum(p.numel() for p in method.parameters())


@pytest.mark.parametrize(("blocks", "printed"), [(16, 3_227_203), (80, 7_953_987)])
def test_both_sizes_have_the_parameters_of_the_published_mdsr(blocks: int, printed: int) -> None:
    with torch.device("meta"):
        assert count(MDSR(blocks=blocks)) == count(nima_sr.MDSR(blocks=blocks, gamma=0)) == printed
    entrances = 3 * 4 * convolution(64, 64, 5)
    exits = sum(convolution(64, 64 * factor) for factor in (4, 9, 4, 4))
    ends = convolution(3, 64) + convolution(64, 3)
    body = (2 * blocks + 1) * convolution(64, 64)
    assert ends + entrances + body + exits == printed


@pytest.mark.parametrize(("scale", "printed"), [(2, 40_729_603), (3, 43_680_003), (4, 43_089_923)])
def test_the_large_edsr_has_the_parameters_of_the_published_one(scale: int, printed: int) -> None:
    large = {"scale": scale, "blocks": 32, "channels": 256, "residual_scale": 0.1}
    with torch.device("meta"):
        assert count(EDSR(**large)) == count(nima_sr.EDSR(**large, gamma=0)) == printed


# --- the authors' files ---------------------------------------------------------------------------


def authors_file(scales: tuple[int, ...], width: int, blocks: int) -> dict[str, Tensor]:
    """Names and shapes of EDSR-PyTorch's MDSR, values drawn."""
    generator, state = torch.Generator().manual_seed(0), {}

    def conv(name: str, inputs: int, outputs: int, side: int = 3) -> None:
        shape = (outputs, inputs, side, side)
        state[f"{name}.weight"] = 0.15 * torch.randn(shape, generator=generator)
        state[f"{name}.bias"] = 0.15 * torch.randn(outputs, generator=generator)

    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        state[f"{name}.weight"] = torch.eye(3).view(3, 3, 1, 1)
        state[f"{name}.bias"] = sign * 255 * MEAN.flatten()
    conv("head.0", 3, width)
    for k in range(len(scales)):
        for block in range(2):
            conv(f"pre_process.{k}.{block}.body.0", width, width, 5)
            conv(f"pre_process.{k}.{block}.body.2", width, width, 5)
    for block in range(blocks):
        conv(f"body.{block}.body.0", width, width)
        conv(f"body.{block}.body.2", width, width)
    conv(f"body.{blocks}", width, width)
    for k, scale in enumerate(scales):
        for n in (0, 2)[: 2 if scale == 4 else 1]:
            conv(f"upsample.{k}.{n}", width, width * (9 if scale == 3 else 4))
    conv("tail.0", width, 3)
    return state


def authors_forward(state: dict[str, Tensor], lr: Tensor, k: int, scale: int) -> Tensor:
    """EDSR-PyTorch's forward pass on values of 0 to 255, written out."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def block(name: str, x: Tensor) -> Tensor:
        return x + conv(f"{name}.body.2", conv(f"{name}.body.0", x).relu())

    x = conv("head.0", 255 * (lr - MEAN))
    x = block(f"pre_process.{k}.1", block(f"pre_process.{k}.0", x))
    body = conv("body.2", block("body.1", block("body.0", x))) + x
    for n in (0, 2)[: 2 if scale == 4 else 1]:
        body = F.pixel_shuffle(conv(f"upsample.{k}.{n}", body), 3 if scale == 3 else 2)
    return conv("tail.0", body) / 255 + MEAN


@pytest.mark.parametrize("cls", [MDSR, nima_sr.MDSR])
@pytest.mark.parametrize("served", [(2, 3, 4), (3,), (4, 2)])
def test_the_authors_layout_loads_and_restores_at_each_scale(
    cls: type[Method], served: tuple[int, ...], tmp_path: Path
) -> None:
    state = authors_file((2, 3, 4), 6, 2)
    torch.save(state, tmp_path / "mdsr.pt")
    method = build_method(cls, {"blocks": 2, "channels": 6, "scales": served})
    load_weights(method, tmp_path / "mdsr.pt")
    lr = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    for scale in served:
        expected = authors_forward(state, lr, scale - 2, scale)
        assert torch.allclose(method.at(scale)(lr), expected, atol=1e-5)


def test_a_file_of_one_scale_is_of_the_scale_that_is_served(tmp_path: Path) -> None:
    state = authors_file((3,), 6, 2)
    torch.save(state, tmp_path / "x3.pt")
    method = MDSR(scales=(3,), blocks=2, channels=6)
    load_weights(method, tmp_path / "x3.pt")
    lr = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(method(lr), authors_forward(state, lr, 0, 3), atol=1e-5)


# --- scales ---------------------------------------------------------------------------------------


def test_a_view_at_another_scale_has_the_same_weights() -> None:
    method = MDSR(blocks=1, channels=4)
    view = method.at(4)
    assert (method.scale, view.scale) == (2, 4)
    assert all(a is b for a, b in zip(method.parameters(), view.parameters(), strict=True))
    with pytest.raises(BenchError, match="serves the scales 2, 3, 4, not 5"):
        method.at(5)


def test_a_batch_trains_its_own_scale_and_the_shared_body() -> None:
    method = nima_sr.MDSR(blocks=1, channels=4, gamma=0)
    hr = torch.rand(2, 3, 24, 24)
    batch = Batch(torch.rand(2, 3, 8, 8), hr, hr, 0)
    loss = method.training_step(batch, method.stages()[0])["loss"]
    loss.backward()
    touched = {name.split(".")[2] for name, p in method.named_parameters() if p.grad is not None}
    assert "x3" in touched and not touched & {"x2", "x4"}
    assert method.network.body[0].head.weight.grad is not None


@pytest.mark.parametrize("use", ["methods.mdsr.MDSR", "methods.nima_sr.MDSR"])
def test_one_training_is_measured_at_every_scale(
    small_sets: Path, tmp_path: Path, bench_home: Path, use: str
) -> None:
    file = write_study(
        tmp_path, f"mdsr: {{use: {use}, blocks: 1, channels: 4}}",
        task="{kind: super-resolution, scale: [2, 4]}", budget="", select="",
    )  # fmt: skip
    study, place = load_study(file), Place(bench_home, "tiny")
    *_, done = run_trial(Job(study=study, method="mdsr", trial=None, seed=0,
                             store=bench_home / "store"))  # fmt: skip
    assert isinstance(done, Done) and done.cell.state == "complete", done
    (stage,) = done.cell.stages
    assert stage.scale == 0
    assert {score.scale for score in done.cell.scores} == {2, 4}
    assert done.cell.parameters["scales"] == (2, 4)
    write_cell(place.cells, done.cell)
    place.study_file.write_text(study.model_dump_json())
    assert at_scale(study, [done.cell], 4)[1][0].stages == [stage]
    lr = torch.rand(1, 3, 8, 8)
    assert load_trial("tiny/mdsr-s0", 4).at(4)(lr).shape == (1, 3, 32, 32)
    assert prepare_method("tiny/mdsr-s0", {"scale": 4}, None)(lr).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("row", ["mdsr.pt", "x{scale}.pt"])
def test_a_checkpoint_of_ones_own_joins_a_study_by_one_line(
    small_sets: Path, tmp_path: Path, bench_home: Path, row: str
) -> None:
    """One file for all scales, or one a scale; where they lie begins at the study."""
    torch.save(authors_file((2, 3, 4), 6, 2), tmp_path / "mdsr.pt")
    for scale in (2, 3):
        torch.save(EDSR(scale=scale, blocks=1, channels=4).state_dict(), tmp_path / f"x{scale}.pt")
    kind = (
        "mdsr.MDSR, blocks: 2, channels: 6"
        if row == "mdsr.pt"
        else "edsr.EDSR, blocks: 1, channels: 4"
    )
    file = write_study(
        tmp_path, f'mine: {{use: methods.{kind}, weights: "{row}"}}',
        task="{kind: super-resolution, scale: [2, 3]}", train="", budget="", select="",
    )  # fmt: skip
    study = load_study(file)
    with paths_from(study.folder):
        *_, done = run_trial(Job(study=study, method="mine", trial=None, seed=0,
                                 store=bench_home / "store"))  # fmt: skip
    assert isinstance(done, Done) and done.cell.state == "complete", done
    assert {score.scale for score in done.cell.scores} == {2, 3}
    assert done.cell.stages == []


def test_eval_and_restore_choose_the_scale(tmp_path: Path) -> None:
    torch.save(authors_file((2, 3, 4), 6, 2), tmp_path / "mdsr.pt")
    parameters = {"blocks": 2, "channels": 6}
    for given, scale in (({**parameters, "scale": 3}, None), (parameters, 3)):
        method = prepare_method("methods.mdsr.MDSR", given, tmp_path / "mdsr.pt", scale)
        assert method(torch.rand(1, 3, 8, 8)).shape == (1, 3, 24, 24)
    assert find_method("methods.mdsr.MDSR").takes_scales()


# --- the loss -------------------------------------------------------------------------------------


def test_the_range_of_values_and_what_nima_sees_are_parameters() -> None:
    class Side(torch.nn.Module):
        def score(self, image: Tensor) -> Tensor:
            return torch.full((len(image),), float(image.shape[-1]))

    def losses(**parameters: object) -> dict[str, float]:
        method = nima_sr.EDSR(blocks=1, channels=2, gamma=0.5, **parameters)  # type: ignore[arg-type]
        method.forward = lambda lr: torch.full((1, 3, 8, 8), 0.6)  # type: ignore[method-assign]
        vars(method)["nima"] = Side()
        hr = torch.full((1, 3, 8, 8), 0.5)
        found = method.training_step(Batch(torch.zeros(1, 3, 4, 4), hr, hr, 0), method.stages()[0])
        return {name: value.item() for name, value in found.items()}

    assert losses()["nima"] == 8
    assert losses(value_range=1.0)["l2"] == pytest.approx(0.01)
    seen = losses(nima_side=6)
    assert seen["nima"] == 6 and seen["loss"] == pytest.approx(650.25 + 0.5 * 4, rel=1e-5)


def test_the_report_says_range_and_what_nima_sees() -> None:
    (remark,) = nima_sr.EDSR(blocks=1, channels=2).remarks
    assert "to its patches, as they are" in remark and "values from 0 to 255" in remark
    (remark,) = nima_sr.MDSR(blocks=1, channels=2, value_range=1.0, nima_side=224).remarks
    assert "resized to 224 pixels a side" in remark and "values from 0 to 1." in remark
