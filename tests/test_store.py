"""The store: equal content has one key, an entry is whole or absent, one process computes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.data.roots import home
from bench.records.store import Store, content_key

HOLDER = """
import sys, time
from pathlib import Path
from bench.records.store import Store

with Store(Path(sys.argv[1])).lock("stages", "k", print):
    print("holding", flush=True)
    sys.stdin.readline()
    (Path(sys.argv[1]) / "finished").touch()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_home_is_absolute_and_follows_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", "somewhere")
    assert home() == Path.cwd() / "somewhere"
    monkeypatch.delenv("BENCH_HOME")
    assert home() == Path.cwd() / ".bench"


def test_a_key_does_not_depend_on_the_order_of_its_parts() -> None:
    one = {"steps": 3, "depends": {"a": 1, "b": [1, 2]}}
    two = {"depends": {"b": [1, 2], "a": 1}, "steps": 3}
    assert content_key(one) == content_key(two)


@pytest.mark.parametrize(
    "other", [{"a": 2}, {"a": 1.5}, {"a": "1"}, {"a": [1]}, {"a": None}, {"b": 1}, {}]
)
def test_other_content_has_another_key(other: dict[str, object]) -> None:
    assert content_key(other) != content_key({"a": 1})


@pytest.mark.parametrize("value", [{1, 2}, b"x", Path("x"), object(), float("nan"), float("inf")])
def test_a_key_takes_nothing_whose_text_may_change(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        content_key({"a": value})


def test_a_committed_entry_is_there_whole_and_its_scratch_gone(store: Store) -> None:
    (store.scratch("stages", "k") / "checkpoint.pth").touch()
    assert not store.has("stages", "k")
    entry = store.commit("stages", "k", lambda folder: (folder / "w").write_text("1") and None)
    assert store.has("stages", "k") and entry == store.entry("stages", "k")
    assert (entry / "w").read_text() == "1"
    assert not store.has("targets", "k")
    assert not any((store.root / "unfinished").iterdir())


def test_a_write_that_fails_leaves_nothing_but_the_scratch(store: Store) -> None:
    (store.scratch("stages", "k") / "checkpoint.pth").touch()

    def write(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        store.commit("stages", "k", write)
    assert not store.has("stages", "k")
    left = sorted(p.relative_to(store.root).as_posix() for p in store.root.rglob("*"))
    assert left == [
        "stages", "unfinished", "unfinished/stages-k", "unfinished/stages-k/checkpoint.pth",
    ]  # fmt: skip


def test_an_entry_is_not_there_before_its_last_byte(store: Store) -> None:
    seen = []
    store.commit("stages", "k", lambda folder: seen.append(store.has("stages", "k")))
    assert seen == [False] and store.has("stages", "k")


@contextlib.contextmanager
def holding(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the key until it is sent a line."""
    command = [sys.executable, "-c", HOLDER, str(root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "holding\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_waits_and_is_told_for_whom(store: Store) -> None:
    with holding(store.root) as holder:
        waited_for: list[str] = []

        def waiting(process: str) -> None:
            waited_for.append(process)
            assert not (store.root / "finished").exists()
            assert holder.stdin is not None
            holder.stdin.write("\n")
            holder.stdin.flush()

        with store.lock("stages", "k", waiting):
            assert (store.root / "finished").exists(), "entered before the holder had ended"
        assert waited_for == [str(holder.pid)]


def test_a_lock_dies_with_its_holder(store: Store) -> None:
    with holding(store.root) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        assert holder.wait(10) == -signal.SIGKILL
        began = time.monotonic()
        with store.lock("stages", "k", lambda pid: pytest.fail(f"waited for {pid}, who is dead")):
            assert time.monotonic() - began < 5
        assert not (store.root / "finished").exists()


def test_keys_do_not_wait_for_each_other(store: Store) -> None:
    with holding(store.root):
        for kind, key in (("stages", "other"), ("targets", "k")):
            with store.lock(kind, key, lambda pid: pytest.fail("waited")):  # type: ignore[arg-type]
                pass


def test_nobody_waits_for_a_free_lock(store: Store) -> None:
    for _ in range(2):
        with store.lock("stages", "k", lambda pid: pytest.fail("waited")):
            text = (store.root / "locks" / "stages-k").read_text()
            assert text == str(os.getpid())


def write_entry(folder: Path) -> None:
    with zipfile.ZipFile(folder / "weights.pth", "w") as file:
        file.writestr("data", "x" * 100)
    for name in ("stage.json", "history.json"):
        (folder / name).write_text("[1, 2]")


@pytest.mark.parametrize("listed", [True, False], ids=["today's", "of an earlier version"])
@pytest.mark.parametrize("name", ["weights.pth", "stage.json", "history.json"])
def test_an_entry_with_a_file_missing_or_cut_short_is_none_and_is_replaced(
    store: Store, name: str, listed: bool
) -> None:
    entry = store.commit("stages", "key", write_entry)
    if not listed:
        (entry / "sizes.json").unlink()
    assert store.has("stages", "key")
    (entry / name).write_bytes(b"")
    assert not store.has("stages", "key")
    store.commit("stages", "key", write_entry)
    assert store.has("stages", "key")
    (entry / name).unlink()
    assert not store.has("stages", "key")
    os.makedirs(entry / name)
    assert not store.has("stages", "key")


def test_weights_cut_in_the_middle_are_found_by_their_size_or_their_end(store: Store) -> None:
    entry = store.commit("stages", "key", write_entry)
    os.truncate(entry / "weights.pth", 60)
    assert not store.has("stages", "key")
    (entry / "sizes.json").unlink()
    assert not store.has("stages", "key")
    (entry / "sizes.json").write_text("{")
    assert not store.has("stages", "key")
