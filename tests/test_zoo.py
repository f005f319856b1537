"""Files of other people's networks by spandrel, where it is installed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.method import build_method, find_method, zoo
from bench.method.weights import load_weights


def test_without_spandrel_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zoo, "find_spec", lambda name: None)
    method = build_method(find_method("bench.method.zoo.Spandrel"), {}, 4)
    with pytest.raises(BenchError, match=r"pip install 'bench\[zoo\]'"):
        load_weights(method, tmp_path / "net.pth")
    with pytest.raises(BenchError, match="no weights"):
        method(torch.zeros(1, 3, 8, 8))


@pytest.fixture
def rrdb(tmp_path: Path) -> Path:
    """A file as ESRGAN's successors publish them: RRDBNet, wrapped, in half precision."""
    pytest.importorskip("spandrel")
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

    torch.manual_seed(0)
    network = RRDBNet(in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=4)
    file = tmp_path / "rrdb.pth"
    torch.save({"params_ema": {k: v.half() for k, v in network.state_dict().items()}}, file)
    return file


def test_a_file_becomes_a_method(rrdb: Path) -> None:
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

    method = build_method(zoo.Spandrel, {}, 4)
    load_weights(method, rrdb)
    (remark,) = method.remarks
    assert remark == "rrdb.pth is of the architecture ESRGAN"
    lr = torch.rand(1, 3, 9, 13, generator=torch.Generator().manual_seed(0))
    expected = RRDBNet(in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=4)
    stored = torch.load(rrdb, weights_only=True)["params_ema"]
    expected.load_state_dict({k: v.float() for k, v in stored.items()})
    with torch.inference_mode():
        sr: Tensor = method(lr)
        assert sr.shape == (1, 3, 36, 52)
        assert torch.allclose(sr, expected(lr).clamp(0, 1), atol=1e-6)


def test_another_scale_and_an_unknown_network_are_refused(rrdb: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="ESRGAN for scale 4, asked for 2"):
        load_weights(build_method(zoo.Spandrel, {}, 2), rrdb)
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(BenchError, match=r"knows no architecture of these 1 tensors: a\.weight"):
        load_weights(build_method(zoo.Spandrel, {}, 4), tmp_path / "a.pth")
