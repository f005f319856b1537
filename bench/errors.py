"""The one error a user can fix. Everything else is our bug and shows its traceback."""

import difflib
import errno
import re
from collections.abc import Iterable


class BenchError(Exception):
    """A mistake the user can fix; the command line prints it without traceback and exits 2.

    The message says, in this order: where, what was got, the nearest known name, the known
    names, what to do. Several mistakes found together are one error, one line each.
    """


class NoPicture(BenchError):
    """A method's fault: what it made of a picture is none. Names the method and not the picture."""


class Diverged(Exception):
    """A training whose loss is not finite or has exploded: a result, not a bug."""


class Unscorable(Exception):
    """A score that cannot be computed for one image, and why. Recorded as NaN and counted."""


def nearest(got: object, known: Iterable[str]) -> str | None:
    """Returns the known name that is spelt most like `got`, capitals apart; None if none is.

    >>> nearest("PSNR_Y", ["niqe", "psnr_y"])
    'psnr_y'
    """
    folded = {name.casefold(): name for name in sorted(known, reverse=True)}
    near = difflib.get_close_matches(str(got).casefold(), folded, n=1, cutoff=0.5)
    return folded[near[0]] if near else None


_ADVICE = {
    errno.EACCES: "permission denied. Ask its owner for access, or change it with chmod",
    errno.EPERM: "operation not permitted. Ask its owner for access",
    errno.EROFS: "a file system that cannot be written to. Choose another folder",
    errno.ENAMETOOLONG: "the name is too long for the file system. Rename it",
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder. Name a file",
    errno.ENOTDIR: "a file stands where a folder is wanted. Name another, or move it away",
    errno.EEXIST: "there already. Name another, or move it away",
}


def reason_of(error: OSError) -> str:
    """Returns what the operating system refused and what to do, as the end of a message.

    >>> reason_of(PermissionError(13, "Permission denied", "file"))
    'permission denied. Ask its owner for access, or change it with chmod.'
    """
    return f"{_ADVICE.get(error.errno or 0) or error.strerror or error}."


def unknown(kind: str, got: object, known: Iterable[str]) -> str:
    """Returns "unknown KIND 'GOT'. Did you mean 'NEAREST'? Known: ..." for an error message.

    >>> unknown("dataset", "set41", ["set5", "set14"])
    "unknown dataset 'set41'. Did you mean 'set14'? Known: set14, set5."
    """
    names = sorted(known)
    near = nearest(got, names)
    guess = f" Did you mean {near!r}?" if near else ""
    return f"unknown {kind} {got!r}.{guess} Known: {', '.join(names) or 'none'}."


_NO_ROOM = re.compile(
    "disk is full|No space left on device|Disk quota exceeded"  # SQLite; the system
    "|iostream error|PytorchStreamWriter failed writing"  # torch, given a path
    r"|\d+ requested and \d+ written|encoder error -2"  # NumPy; Pillow's TIFF
)
"""What writers say that pass on no number, or only that not everything was written."""


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that there is no room left."""
    return any(
        getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _NO_ROOM.search(str(one))
        for one in _chain(error)
    )


def no_room(where: object = None) -> str:
    """Returns what to say of a full disk. where: a file or folder on it.

    >>> no_room("scores.csv")
    'the disk is full (scores.csv). Nothing is lost: make room and run the same command again.'
    """
    place = f" ({where})" if where else ""
    return f"the disk is full{place}. Nothing is lost: make room and run the same command again."


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
