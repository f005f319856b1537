"""Downloads against a server in the same process, which misbehaves when asked to."""

import errno
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.data import fetch as fetching
from bench.data.weights import WEIGHTS, Weights, find
from bench.errors import BenchError
from bench.look.published import fetch, status
from bench.measure.metrics import pyiqa

CONTENT = b"hello" * 700_000  # more than three chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for what is still answering


class Handler(BaseHTTPRequestHandler):
    asked: list[str]
    over: threading.Event

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/gone":
            self.send_error(404)
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file.bin")
            self.end_headers()
        else:
            body = CONTENT[:-1] + b"!" if self.path == "/changed.bin" else CONTENT
            self.send_response(200)
            if self.path != "/of-unknown-length.bin":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(
                body[: len(body) // 2] if self.path in ("/cut.bin", "/silent") else body
            )
            if self.path == "/silent":
                self.over.wait(10)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch-home"))
    monkeypatch.setattr(Handler, "asked", [], raising=False)
    monkeypatch.setattr(Handler, "over", threading.Event(), raising=False)
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        Handler.over.set()
        running.shutdown()
        thread.join()


def publish(monkeypatch: pytest.MonkeyPatch, address: str, sha256: str = SHA256) -> None:
    monkeypatch.setitem(WEIGHTS, "greeting", Weights("a/b.bin", address, sha256, "MIT"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", ["file.bin", "of-unknown-length.bin", "moved"])
@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8]])
def test_a_file_is_downloaded_and_found(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, sha256: str
) -> None:
    publish(monkeypatch, f"{server}/{path}", sha256)
    told: list[tuple[int, int | None]] = []
    assert fetch("greeting", lambda done, total: told.append((done, total))) == tmp_path / "a/b.bin"
    assert find("greeting") == tmp_path / "a/b.bin"
    assert (tmp_path / "a/b.bin").read_bytes() == CONTENT
    assert files(tmp_path) == ["b.bin"]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (len(CONTENT), None if path.startswith("of") else len(CONTENT))
    assert (tmp_path / "a/b.bin").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def test_what_is_here_is_not_downloaded_again(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, f"{server}/file.bin")
    fetch("greeting")
    assert fetch("greeting") == find("greeting")
    assert Handler.asked == ["/file.bin"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (
            "changed.bin",
            "not the published file any more: SHA-256 [0-9a-f]{64}, expected " + SHA256,
        ),
        ("cut.bin", "connection ended after 1750000 of 3500000 bytes"),
        ("gone", "the server answers 404 Not Found"),
        ("silent", "no answer for 0 seconds"),
    ],
)
@pytest.mark.parametrize("damaged", [False, True])
def test_a_failure_is_one_line_and_changes_nothing(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    why: str,
    damaged: bool,
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.3)
    publish(monkeypatch, f"{server}/{path}")
    if damaged:
        (tmp_path / "a").mkdir()
        (tmp_path / "a/b.bin").write_bytes(b"half a file")
    with pytest.raises(BenchError, match=why) as error:
        fetch("greeting")
    assert "\n" not in str(error.value) and f"{server}/{path}" in str(error.value)
    assert files(tmp_path) == (["b.bin"] if damaged else [])
    if damaged:
        assert (tmp_path / "a/b.bin").read_bytes() == b"half a file"


def test_a_damaged_file_is_replaced(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, f"{server}/file.bin")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.bin").write_bytes(b"half a file")
    fetch("greeting")
    assert (tmp_path / "a/b.bin").read_bytes() == CONTENT


def test_without_a_network_the_reason_is_that(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown_host(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    publish(monkeypatch, "https://weights.example.org/file.bin")
    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    with pytest.raises(BenchError, match=r"no connection .*Name or service not known"):
        fetch("greeting")
    assert files(tmp_path) == []


def test_a_full_disk_and_an_interruption_leave_nothing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, f"{server}/file.bin")

    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("greeting", interrupt)
    assert files(tmp_path) == []

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BenchError, match="the disk is full"):
        fetch("greeting")
    assert files(tmp_path) == []


def test_where_nothing_can_be_written_the_place_is_named(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, f"{server}/file.bin")
    (tmp_path / "a").write_text("a file where a folder should be")
    with pytest.raises(BenchError, match=r"cannot write .*/a"):
        fetch("greeting")


def test_what_has_only_a_page_says_where_the_file_belongs(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Weights("a/b.bin", "https://example.org/b", SHA256, "MIT", page=True)
    monkeypatch.setitem(WEIGHTS, "greeting", page)
    with pytest.raises(BenchError, match=r"example\.org/b .*MIT.*a/b\.bin.*" + SHA256):
        fetch("greeting")


def test_a_data_set_is_not_fetched_but_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(BenchError, match=r"set5: a data set.*Set5/HR below .*https://"):
        fetch("set5")


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="Did you mean 'vgg16'"):
        fetch("vgg-16")


def test_pyiqa_downloads_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pyiqa, "download", lambda name: tmp_path / name)
    assert fetch("pyiqa:musiq") == tmp_path / "musiq"


def test_the_rows_say_what_is_here(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, f"{server}/file.bin")
    rows = {row.name: row for row in status()}
    methods = {"carn_m", "fsrcnn_x2", "dped_sony", "zero_dce"}
    assert set(WEIGHTS) | methods <= set(rows) and not methods & set(WEIGHTS)
    assert {row.state for row in rows.values()} == {"missing"}
    assert rows["greeting"].path == tmp_path / "a/b.bin"
    assert rows["fsrcnn_x2"].page and not rows["greeting"].page
    fetch("greeting")
    assert {row.name: row for row in status()}["greeting"].state == "here"
    (tmp_path / "a/b.bin").write_bytes(b"half a file")
    assert {row.name: row for row in status()}["greeting"].state == "damaged"


@pytest.mark.network
@pytest.mark.skipif(not os.environ.get("BENCH_NETWORK"), reason="BENCH_NETWORK is not set")
@pytest.mark.parametrize("name", ["carn_m", "zero_dce"])
def test_the_small_files_are_still_where_they_were(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    assert fetch(name).is_file()
