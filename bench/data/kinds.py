"""What a file is by its first bytes, where that is not what its name says."""

from pathlib import Path

_PAGE = "a web page, not the file itself. Download the file itself"
_ARCHIVE = "an archive. Unpack it"
_HEIF = "a HEIF picture. Convert it to PNG"
_TEXTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself. Do: git lfs pull",
    b"<!doctype html": _PAGE,
    b"<html": _PAGE,
    b"<?xml": "a text file (XML), maybe a server's refusal. Look into it, and download it again",
    b"{": "a text file (JSON), maybe a server's refusal. Look into it, and download it again",
}
_BINARIES = {
    (0, b"\x1f\x8b"): _ARCHIVE,
    (0, b"7z\xbc\xaf"): _ARCHIVE,
    (0, b"Rar!"): _ARCHIVE,
    (257, b"ustar"): _ARCHIVE,
    (2, b"\x12\x07pytorch"): "an ONNX model. Give the weights that it was exported from",
    (0, b"\x89HDF"): "an HDF5 file, as Keras and MATLAB write them. Convert it",
    (0, b"\x93NUMPY"): "a NumPy array. Convert it",
    (0, b"#?RADIANCE"): "a Radiance HDR picture. Convert it to 8 bits",
    (0, b"\x76\x2f\x31\x01"): "an OpenEXR picture. Convert it to 8 bits",
    (0, b"8BPS"): "a Photoshop document. Save it as PNG",
    (0, b"%PDF"): "a PDF document. Save its pictures as PNG",
    (4, b"ftyphei"): _HEIF,
    (4, b"ftypmif1"): _HEIF,
    (4, b"ftypavif"): "an AVIF picture. Convert it to PNG",
}


def mistaken_for(path: Path) -> str | None:
    """Returns what a file is instead of a picture or weights, and what to do: "empty. Download it
    again"; None where its beginning does not tell. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "empty. Download it again"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    texts = (what for beginning, what in _TEXTS.items() if text.startswith(beginning))
    binaries = (what for (at, magic), what in _BINARIES.items() if start[at:].startswith(magic))
    return next(texts, None) or next(binaries, None)
