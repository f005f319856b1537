"""Standard streams that take every text: what they cannot show is replaced by what they can."""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

_SHOWN = {
    "↑": "^", "↓": "v", "←": "<-", "→": "->", "±": "+-", "·": "*", "•": "*", "∞": "inf",
    "≤": "<=", "≥": ">=", "≈": "~", "²": "^2", "³": "^3", "µ": "u", "…": "...", "\xa0": " ",
    "\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "—": "-",
    "“": '"', "”": '"', "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
}  # fmt: skip


class Output(io.FileIO):
    """Standard output or error. It drops all that comes after what it could not take."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(number, "w", closefd=False)
        self._name = name
        self.refused: OSError | None = None

    def write(self, data: "Buffer", /) -> int:
        """Raises OSError that names the stream, once: what is left has no place at the end."""
        if self.refused:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self.refused = OSError(error.errno, error.strerror, self._name)
            raise self.refused from None


def make_ready() -> list[Output]:
    """Makes the standard streams, and those of processes started later, take every text.

    Returns those that are written to, unless something else stands in their place. One that is
    closed is opened on /dev/null: otherwise the next file to be opened would have its number, and
    what libraries print would be written into it.
    """
    encoding = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    os.environ["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"
    for number in range(3):
        _open(number)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False, encoding="utf-8")
    outputs = []
    if _stands_for(1, sys.stdout):
        outputs.append(output := Output(1, "standard output"))
        sys.stdout = _text(output, sys.stdout)
    if _stands_for(2, sys.stderr):
        outputs.append(output := Output(2, "standard error"))
        sys.stderr = _text(output, sys.stderr)
    return outputs


def refused(outputs: Iterable[Output]) -> OSError | None:
    """Writes what is still held back; returns why the first of the streams took no more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return next((output.refused for output in outputs if output.refused), None)


def _open(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:  # the lowest free number is taken
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _stands_for(number: int, stream: TextIO | None) -> bool:
    if stream is None:
        return True
    with contextlib.suppress(io.UnsupportedOperation):  # it is no file
        return stream.fileno() == number
    return False


def _text(output: Output, like: TextIO | None) -> TextIO:
    encoding = like.encoding if like else "utf-8"
    if codecs.lookup(encoding).name == "ascii":
        encoding = _PLAIN_ASCII
    at_once = bool(like and like.line_buffering)
    buffer = io.BufferedWriter(output)
    return io.TextIOWrapper(buffer, encoding, _replace.__name__, line_buffering=at_once)


def _replace(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: see `_plain`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(character: str) -> str:
    r"""Returns ASCII for a character; a byte of a file's name that is no text is \xNN.

    >>> "".join(map(_plain, "2.0 ± 0.1 → caf\udce9 日"))
    '2.0 +- 0.1 -> caf\\xe9 \\u65e5'
    """
    if character in _SHOWN:
        return _SHOWN[character]
    if "\udc80" <= character <= "\udcff":
        return rf"\x{ord(character) - 0xDC00:02x}"
    return character.encode("ascii", "backslashreplace").decode()


_PLAIN_ASCII = "bench-ascii"
"""ASCII by another name: click takes a stream in ASCII for a mistake and writes UTF-8 to it."""


def _search(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != _PLAIN_ASCII:
        return None
    ascii_ = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_.encode,
        ascii_.decode,
        incrementalencoder=ascii_.incrementalencoder,
        incrementaldecoder=ascii_.incrementaldecoder,
        name=_PLAIN_ASCII,
    )


codecs.register(_search)
codecs.register_error(_replace.__name__, _replace)
