"""Published weights: found, missing, or not what they should be."""

from pathlib import Path

import pytest

from bench.data import roots
from bench.data.weights import WEIGHTS, Weights, find, torch_hub, why_missing, why_not
from bench.errors import BenchError
from bench.method.published import all_weights

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # SHA-256 of "hello"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setitem(
        WEIGHTS, "greeting", Weights("a/b.bin", "https://example.org/b", HELLO, "MIT")
    )
    return tmp_path


def test_a_published_file_is_found(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a/b.bin").write_text("hello")
    assert find("greeting") == folder / "a/b.bin"


def test_torchvisions_files_are_found_in_its_cache_as_well(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    home = "https://download.pytorch.org/models/net-2cf24dba.pth"
    monkeypatch.setitem(
        WEIGHTS, "net", Weights("net/net-2cf24dba.pth", home, HELLO[:8], "BSD-3-Clause")
    )
    assert torch_hub() == Path(torch.hub.get_dir())
    cached = torch_hub() / "checkpoints/net-2cf24dba.pth"
    cached.parent.mkdir(parents=True)
    cached.write_text("hello")
    assert find("net") == cached
    ours = folder / "net/net-2cf24dba.pth"
    ours.parent.mkdir()
    ours.write_text("hello")
    assert find("net") == ours
    assert find("greeting") is None


def test_a_missing_file_is_none_and_the_reason_says_where_to_get_it(folder: Path) -> None:
    assert find("greeting") is None
    why = why_missing("greeting")
    assert why_not("greeting") == why
    parts = ("a/b.bin", "https://example.org/b", "MIT", str(folder), "bench fetch greeting")
    assert all(part in why for part in parts)


def test_another_file_under_that_name_is_refused(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a/b.bin").write_text("hello")
    assert find("greeting")
    (folder / "a/b.bin").write_text("hello, changed")  # after it was checked once
    with pytest.raises(BenchError, match=r"a/b\.bin: not the published file"):
        find("greeting")


def test_what_cannot_be_fetched_names_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Weights("a/b.bin", "https://example.org/b", HELLO, "MIT", page=True)
    monkeypatch.setitem(WEIGHTS, "greeting", page)
    why = why_missing("greeting")
    assert "https://example.org/b" in why and "bench fetch" not in why


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="Did you mean 'alexnet'"):
        find("alex-net")


def test_every_entry_has_an_address_a_licence_and_a_checksum() -> None:
    known = all_weights()
    for entry in known.values():
        assert entry.home.startswith("https://") and entry.licence
        assert len(entry.sha256) in (8, 10, 64) and int(entry.sha256, 16), "some tell how it begins"
        # an address is that of a file of the same kind; a page is of another
        assert (Path(entry.home).suffix == Path(entry.path).suffix) != entry.page
    assert len({entry.path for entry in known.values()}) == len(known)


@pytest.mark.data
def test_the_files_here_are_the_published_ones(weights_root: Path) -> None:
    assert roots.weights_root() == weights_root
    known = all_weights()
    assert {"carn_m", "fsrcnn_x3", "dped_sony", "zero_dce"} <= set(known)
    for name in known:
        find(name, known)
