"""What the page keeps in a home: a folder for each picture and each result, nothing else.

Names of folders are random, those of files fixed. What is called otherwise bench did not write, and
does not touch.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError

KINDS = ("pictures", "results")
RECORD = "record.json"
FILES = frozenset(
    {RECORD, "upload", "image.png", "small.png", "original-upload", "original.png", "viqet.json"}
)
_NAME = re.compile(r"[A-Za-z0-9_-]{16}")
_HALF = re.compile(r"\.[0-9a-f]{12}\.tmp")


def shelf(home: Path) -> Path:
    """Returns the page's folder in a home."""
    return home / "web"


def shelf_entries(home: Path) -> list[Path]:
    """Returns the folders of pictures and results; one with a file that is not bench's is none."""
    folders = [path for kind in KINDS for path in sorted((shelf(home) / kind).glob("*"))]
    return [path for path in folders if _NAME.fullmatch(path.name) and _is_ours(path)]


def _is_ours(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = os.listdir(folder)
    return all(name in FILES or _HALF.fullmatch(name) for name in names)


def remove_entry(folder: Path) -> None:
    """Removes an entry; what bench did not write in it stays, and the folder with it."""
    if _is_ours(folder):
        shutil.rmtree(folder)
        return
    for name in FILES:
        with contextlib.suppress(OSError):
            (folder / name).unlink()


@contextlib.contextmanager
def shelf_lock(home: Path, address: str) -> Iterator[None]:
    """Holds the page's folder, which others cannot read. Raises BenchError if a page is open."""
    place = shelf(home)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.chmod(0o700)
    with open(place / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(
                f"{home}: its page is open already, at {page_holder(home)}. Use that one, or end "
                "it first."
            ) from None
        file.seek(0)
        file.truncate()
        file.write(address)
        file.flush()
        yield


def page_holder(home: Path) -> str:
    """Returns the address of the page that is open on a home; "" for none."""
    lock = shelf(home) / "lock"
    if not lock.is_file():
        return ""
    with open(lock, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or "an address that is not yet known"
    return ""
