"""Routes of pictures and results: given, wanted, shown, taken home."""

import asyncio
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote, unquote

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from bench.web.desk import LIMITS, Desk
from bench.web.kept import Refused
from bench.web.shapes import Cancelled, Features, Picture, Removed, Result, Wanted

router = APIRouter(prefix="/api", tags=["pictures"])
CHUNK = 1 << 18
UPLOAD = 300.0
"""Seconds that it may take."""
KEEP = "private, max-age=3600, immutable"
"""A picture of an id never changes; that of an original may, and has another address then."""


def desk_of(request: Request) -> Desk:
    return cast(Desk, request.app.state.desk)


TheDesk = Annotated[Desk, Depends(desk_of)]
_RAW = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Png(Response):
    media_type = "image/png"


# --- given ----------------------------------------------------------------------------------------


@router.post("/pictures", status_code=202, openapi_extra=_RAW)
async def add_picture(
    request: Request,
    desk: TheDesk,
    x_name: Annotated[
        str, Header(description="The file's name, percent-encoded; shown, no more.")
    ] = "picture",
) -> Picture:
    """Adds one picture: the raw bytes of a PNG, JPEG, WebP, TIFF or BMP file as the body."""
    with desk.new_picture(unquote(x_name)) as (ident, upload):
        await _write(request, upload)
    return desk.picture(ident)


@router.post("/pictures/{ident}/original", status_code=202, openapi_extra=_RAW)
async def add_original(request: Request, desk: TheDesk, ident: str) -> Picture:
    """Adds what the results of a picture are compared with, raw as a picture."""
    await _write(request, desk.original_upload(ident))
    return desk.read_original(ident)


async def _write(request: Request, path: Path) -> None:
    """Writes a body as it comes, and no more than may come. Raises Refused."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > LIMITS.bytes:
        raise _too_large()
    taken = 0
    try:
        async with asyncio.timeout(UPLOAD):
            with path.open("wb") as file:
                async for chunk in request.stream():
                    taken += len(chunk)
                    if taken > LIMITS.bytes:
                        raise _too_large()
                    file.write(chunk)
        if not taken:
            raise Refused(400, "The body is empty. Send the bytes of one picture.")
    except ClientDisconnect:
        path.unlink(missing_ok=True)
        raise Refused(400, "The upload was broken off.") from None
    except TimeoutError:
        path.unlink(missing_ok=True)
        raise Refused(408, f"The upload took longer than {UPLOAD:.0f} s.") from None
    except Refused:
        path.unlink(missing_ok=True)
        raise


def _too_large() -> Refused:
    return Refused(
        413, f"The file has more than {LIMITS.bytes // 10**6} MB. Make the picture smaller first."
    )


@router.post("/sets/{name}/{index}", status_code=202)
def take_from_set(desk: TheDesk, name: str, index: int, scale: int = 2) -> Picture:
    """Adds a benchmark set's image: LR as its protocol makes it, with its original."""
    return desk.take(name, index, scale)


@router.delete("/pictures/{ident}")
def remove_picture(desk: TheDesk, ident: str) -> Removed:
    """Removes a picture and its results."""
    desk.remove_picture(ident)
    return Removed(removed=ident)


# --- wanted ---------------------------------------------------------------------------------------


@router.post("/results", status_code=202)
def want_results(desk: TheDesk, wanted: Wanted) -> list[Result]:
    """Asks for every row of every picture. What is there already is not made twice."""
    return desk.want(wanted)


@router.delete("/results/{ident}")
def end_result(desk: TheDesk, ident: str) -> Result | Removed:
    """Cancels a result that waits or runs; removes one that has ended."""
    return desk.end_result(ident) or Removed(removed=ident)


@router.delete("/queue")
def cancel_all(desk: TheDesk) -> Cancelled:
    """Cancels everything that waits or runs."""
    return Cancelled(cancelled=desk.cancel_all())


@router.get("/results/{ident}/viqet", responses={202: {"model": Features}})
def features(desk: TheDesk, ident: str, response: Response) -> Features:
    """VIQET's features of a result, computed when first asked for; 202 while they are not there."""
    found = desk.features(ident)
    response.status_code = 202 if found.state == "running" else 200
    return found


# --- shown ----------------------------------------------------------------------------------------


@router.get("/pictures/{ident}.png", response_class=Png)
def picture_file(
    desk: TheDesk, ident: str, small: bool = False, download: bool = False
) -> Response:
    """A picture as it was taken in: upright, sRGB, 8 bits, without metadata."""
    path = desk.file("pictures", ident, "small.png" if small else "image.png")
    return _png(path, _name_of(desk.picture(ident).name) if download else None)


@router.get("/pictures/{ident}/original.png", response_class=Png)
def original_file(desk: TheDesk, ident: str, v: str = "") -> Response:
    """What its results are compared with."""
    return _png(desk.file("pictures", ident, "original.png"), None)


@router.get("/results/{ident}.png", response_class=Png)
def result_file(desk: TheDesk, ident: str, small: bool = False, download: bool = False) -> Response:
    """A result at full size; small: at most 320 pixels a side; download: as a file."""
    path = desk.file("results", ident, "small.png" if small else "image.png")
    return _png(path, _result_name(desk, desk.result(ident)) if download else None)


def _png(path: Path, name: str | None) -> Response:
    """A file whole, never a part: no header Range is looked at."""
    headers = {"content-length": str(path.stat().st_size), "cache-control": KEEP}
    if name is not None:
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(name)}.png"
    return StreamingResponse(_chunks(path), media_type="image/png", headers=headers)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _result_name(desk: Desk, result: Result) -> str:
    name = desk.picture(result.picture).name
    return f"{_name_of(name)}_{_name_of(result.name)}_x{result.scale}"


def _name_of(text: str) -> str:
    """What may stand in a file's name on every system."""
    stem = re.sub(r"\.[A-Za-z]{3,4}$", "", text)
    return re.sub(r"[^\w-]+", "-", stem).strip("-_")[:60] or "picture"


# --- taken home -----------------------------------------------------------------------------------


@router.get("/archive.zip", response_class=StreamingResponse)
def archive(desk: TheDesk, picture: str | None = None) -> StreamingResponse:
    """All results, or those of one picture: PNG files, and scores.json with provenance."""
    found = desk.state().pictures if picture is None else [desk.picture(picture)]
    name = "bench" if picture is None else _name_of(found[0].name)
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}.zip"}
    return StreamingResponse(_zip(desk, found), media_type="application/zip", headers=headers)


def _zip(desk: Desk, pictures: list[Picture]) -> Iterator[bytes]:
    buffer = _Passing()
    taken: set[str] = set()
    told = []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive_:
        for picture in pictures:
            results = [result for result in picture.results if result.state == "done"]
            files = [_distinct(_result_name(desk, result), taken) for result in results]
            told.append(_told(picture, results, files))
            for result, file in zip(results, files, strict=True):
                with archive_.open(file, mode="w", force_zip64=True) as member:
                    for chunk in _chunks(desk.file("results", result.id, "image.png")):
                        member.write(chunk)
                        yield buffer.taken()
        archive_.writestr("scores.json", json.dumps(told, indent=1, ensure_ascii=False))
    yield buffer.taken()


def _distinct(name: str, taken: set[str]) -> str:
    file = f"{name}.png"
    while file in taken:
        name = f"{name}-"
        file = f"{name}.png"
    taken.add(file)
    return file


def _told(picture: Picture, results: list[Result], files: list[str]) -> dict[str, Any]:
    kept = {"row", "name", "scale", "seconds", "width", "height", "scores", "provenance"}
    return {
        "picture": picture.name,
        **picture.model_dump(include={"width", "height", "said", "set", "original", "scores"}),
        "results": [
            {"file": file, **result.model_dump(include=kept)}
            for result, file in zip(results, files, strict=True)
        ],
    }


class _Passing(io.RawIOBase):
    """A file that is read as it is written."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
