"""The page's server: what it does, and the promises of docs/web.md, each held here."""

import asyncio
import errno
import io
import json
import os
import queue
import re
import signal
import socket
import stat
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from conftest import smooth
from kit import commands, make_world, until, write_study
from starlette.requests import Request
from starlette.testclient import TestClient

from bench.cli.web import web
from bench.look.clean import clean
from bench.measure.metrics.fidelity import psnr_y
from bench.measure.protocol import protocol
from bench.records.cell import Cell, Score
from bench.records.shelf import shelf, shelf_lock
from bench.report.rows import Row
from bench.study.fields import Study
from bench.sweep.executors.local import LocalExecutor
from bench.web import desk as desk_module
from bench.web.app import _states, make_app
from bench.web.catalogue import Catalogue, _table
from bench.web.desk import LIMITS, Desk, Refused
from bench.web.pictures import _write
from bench.web.reading import read_upload
from bench.web.serving import _as_host, _names
from bench.web.work import Doing, Found, Job, Said, Scored, run, said_by, scores

HOST = "127.0.0.1:8008"
BICUBIC = "methods.classical.Bicubic"


class Here:
    """An executor that runs jobs in this process, when it is asked for events."""

    slots = 1

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
        self.hold = False
        self._handle = 0

    def submit(self, job: Job) -> int:
        self._handle += 1
        self._jobs.put((self._handle, job))
        return self._handle

    def events(self, timeout: float) -> Iterator[tuple[int, Said]]:
        if self.hold:
            time.sleep(0.01)
            return
        try:
            handle, job = self._jobs.get(timeout=timeout)
        except queue.Empty:
            return
        for said in said_by(job):
            yield handle, said

    def cancel(self, handle: int) -> None:
        self._jobs = queue.SimpleQueue()

    def close(self) -> None:
        pass


class Site:
    """A page that is open, and a client that behaves as the page's own script does."""

    def __init__(self, home: Path, executor: Any, token: str = "") -> None:
        self.executor, self.home = executor, home
        catalogue = Catalogue(home)
        self.desk = Desk(home, executor, catalogue)
        app = make_app(self.desk, catalogue, frozenset({HOST}), token)
        self.client = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *error: object) -> None:
        self.desk.close()

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers)

    def ask(self, method: str, path: str, **more: Any) -> Any:
        headers = {"X-Bench": "1", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)

    def drop(self, content: bytes, name: str = "photo.png", *, wait: bool = True) -> Any:
        """Uploads a picture; returns it when it has been read."""
        answer = self.ask("POST", "/api/pictures", content=content, headers={"X-Name": name})
        assert answer.status_code == 202, answer.text
        ident = answer.json()["id"]
        return self.until(ident, lambda p: p["state"] != "reading") if wait else answer.json()

    def want(self, pictures: list[str], rows: list[str], scale: int = 2) -> Any:
        wanted = {"pictures": pictures, "rows": rows, "scale": scale}
        return self.ask("POST", "/api/results", json=wanted)

    def picture(self, ident: str) -> Any:
        return next(p for p in self.get("/api/state").json()["pictures"] if p["id"] == ident)

    def until(self, ident: str, condition: Callable[[Any], bool]) -> Any:
        until(lambda: condition(self.picture(ident)))
        return self.picture(ident)

    def enhanced(self, picture: Any, row: str = BICUBIC) -> Any:
        """The result of a row, when it has ended."""
        assert self.want([picture["id"]], [row]).status_code == 202
        ended = ("done", "failed", "cancelled")
        found = self.until(
            picture["id"],
            lambda p: p["results"] and all(r["state"] in ended for r in p["results"]),
        )
        return next(r for r in found["results"] if r["row"] == row)


@pytest.fixture(autouse=True)
def no_viqet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """VIQET enlarges what is small and takes a second: it is left out where it is not the point."""
    if "viqet" not in request.node.name:
        monkeypatch.setattr("bench.web.work.SCORED_PIXELS", {"viqet": 0})


@pytest.fixture
def site(bench_home: Path, small_sets: Path) -> Iterator[Site]:
    with Site(bench_home, Here()) as opened:
        yield opened


def png(pixels: np.ndarray, **options: Any) -> bytes:
    return saved(PIL.Image.fromarray(pixels), "PNG", **options)


def saved(picture: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pixels_of(answer: Any) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(answer.content)))


PHOTO = smooth(40, 48, 1)


# --- what it does ---------------------------------------------------------------------------------


def test_a_dropped_picture_is_enhanced_and_scored(site: Site) -> None:
    picture = site.drop(png(PHOTO), "my%20holiday.png")
    assert (picture["name"], picture["width"], picture["height"]) == ("my holiday.png", 48, 40)
    assert (pixels_of(site.get(picture["image"])) == PHOTO).all()
    result = site.enhanced(picture)
    assert (result["state"], result["width"], result["height"]) == ("done", 96, 80)
    assert pixels_of(site.get(result["image"])).shape == (80, 96, 3)
    assert 1 <= result["scores"]["nima@photos"]["value"] <= 10
    assert result["scores"]["niqe"]["value"] is None
    assert "two blocks of 96x96" in result["scores"]["niqe"]["reason"]
    assert result["provenance"]["method"] == BICUBIC
    assert result["provenance"]["protocol"] == result["scores"]["viqet"]["protocol"] == "sr-y@1"
    scored = site.until(picture["id"], lambda p: len(p["scores"]) == 3)  # the input itself
    assert scored["scores"]["nima@photos"]["protocol"] == "full@1"


def test_a_set_s_image_is_scored_against_its_original_as_the_protocol_says(site: Site) -> None:
    sets = {s["name"]: s for s in site.get("/api").json()["sets"]}
    assert sets["set5"] == {"name": "set5", "images": ["baby", "bird"], "scales": [2, 3, 4]}
    taken = site.ask("POST", "/api/sets/set5/1?scale=2").json()
    picture = site.until(taken["id"], lambda p: p["state"] == "ready")
    assert (picture["set"], picture["scale"], picture["original"]["width"]) == ("set5", 2, 28)
    result = site.enhanced(picture)
    sr, hr = (pixels_of(site.get(result["image"])), pixels_of(site.get(picture["original_image"])))
    by_hand = float(psnr_y(sr, hr, protocol("sr-y@1"), 2))
    assert result["scores"]["psnr_y"] == {
        "value": pytest.approx(by_hand), "reason": None, "note": None, "protocol": "sr-y@1"
    }  # fmt: skip


def test_an_original_that_comes_late_is_compared_with_what_is_there(site: Site) -> None:
    hr = smooth(80, 96, 2)
    picture = site.drop(png(np.ascontiguousarray(hr[::2, ::2])))
    result = site.enhanced(picture)
    assert "psnr_y" not in result["scores"]
    given = site.ask("POST", f"/api/pictures/{picture['id']}/original", content=png(hr))
    assert given.status_code == 202
    scored = site.until(picture["id"], lambda p: "lpips" in p["results"][0]["scores"])
    assert scored["original"] == {"width": 96, "height": 80, "said": []}
    sr = pixels_of(site.get(result["image"]))
    by_hand = float(psnr_y(sr, hr, protocol("sr-y@1"), 2))
    assert scored["results"][0]["scores"]["psnr_y"]["value"] == pytest.approx(by_hand)


def test_an_original_of_another_size_is_a_dash_with_the_reason(site: Site) -> None:
    picture = site.drop(png(PHOTO))
    site.ask("POST", f"/api/pictures/{picture['id']}/original", content=png(smooth(50, 60, 3)))
    site.until(picture["id"], lambda p: p["original"] is not None)
    score = site.enhanced(picture)["scores"]["psnr_y"]
    assert score["value"] is None
    assert score["reason"] == "the original has 60x50 pixels, the result 96x80"


def test_what_is_there_is_not_made_twice(site: Site) -> None:
    picture = site.drop(png(PHOTO))
    first = site.enhanced(picture)
    again = site.want([picture["id"]], [BICUBIC, BICUBIC]).json()
    assert [result["id"] for result in again] == [first["id"]]


def test_unknown_rows_scales_and_pictures_are_named(site: Site) -> None:
    picture = site.drop(png(PHOTO))["id"]
    for pictures, row, scale, status, words in (
        ([picture], "methods.classical.Bicubik", 2, 422, "Did you mean 'methods.classical.Bicubic"),
        ([picture], "methods.classical.UnsharpMask", 2, 422, "works at scale 1, not at 2"),
        ([picture], "published:fsrcnn", 2, 422, "not on this machine"),
        ([picture], BICUBIC, 99, 422, "from 1 to 8"),
        (["nothing"], BICUBIC, 2, 404, "no such picture"),
        ([picture], BICUBIC, True, 422, "valid integer"),
    ):
        answer = site.want(pictures, [row], scale)
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert site.ask("POST", "/api/sets/set5/7").json()["detail"].startswith("set5 has 2 images")
    assert "Did you mean 'set5'" in site.ask("POST", "/api/sets/set6/0").json()["detail"]


def test_waiting_and_running_results_are_cancelled_and_ended_ones_removed(site: Site) -> None:
    picture = site.drop(png(PHOTO))
    site.executor.hold = True
    made = site.want([picture["id"]], [BICUBIC, "methods.classical.Bilinear"]).json()
    until(lambda: site.get("/api/state").json()["queue"] | {"left": 0}
          == {"waiting": 1, "running": 1, "left": 0})  # fmt: skip
    places = {r["row"]: r["place"] for r in site.picture(picture["id"])["results"]}
    assert places["methods.classical.Bilinear"] == 1
    ended = site.ask("DELETE", f"/api/results/{made[0]['id']}").json()
    assert (ended["state"], ended["reason"]) == ("cancelled", "cancelled")
    assert site.ask("DELETE", "/api/queue").json() == {"cancelled": 1}
    until(lambda: site.get("/api/state").json()["queue"]["running"] == 0)
    gone = site.ask("DELETE", f"/api/results/{made[0]['id']}").json()
    assert gone == {"removed": made[0]["id"]}
    assert not (shelf(site.home) / "results" / made[0]["id"]).exists()
    site.executor.hold = False
    assert site.enhanced(picture)["state"] == "done"  # asked for again it is made


def test_the_time_left_is_told_once_a_row_has_run(site: Site) -> None:
    first, second = (site.drop(png(smooth(40, side, 1))) for side in (48, 96))
    took = time.monotonic()
    site.enhanced(first)
    took = time.monotonic() - took
    site.executor.hold = True
    site.want([second["id"]], [BICUBIC])
    queue_ = site.get("/api/state").json()["queue"]
    assert queue_["waiting"] + queue_["running"] == 1  # what nobody waits for does not count
    assert 0 < queue_["left"] <= 2 * took  # twice the pixels


def test_features_of_viqet_come_when_they_are_asked_for(site: Site) -> None:
    result = site.enhanced(site.drop(png(PHOTO)))
    path = f"/api/results/{result['id']}/viqet"
    assert site.get(path).status_code in (200, 202)
    until(lambda: site.get(path).status_code == 200)
    found = site.get(path).json()
    assert found["mos"] == pytest.approx(result["scores"]["viqet"]["value"])
    names = [feature["name"] for feature in found["features"]]
    assert len(names) == 11 and names[:2] == ["resolution", "edge_acutance"]
    assert all(f["place"] is None or 0 <= f["place"] <= 1 for f in found["features"])


def test_viqet_is_computed_while_a_result_is_written_and_its_other_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def score(name: str, *asked: object) -> dict[str, float]:
        if name == "viqet":
            begun.set()
            assert go_on.wait(10)
        return {"value": len(name)}

    monkeypatch.setattr("bench.web.work._score", score)
    monkeypatch.setattr("bench.web.work.SCORED_PIXELS", {})
    said = scores(PHOTO, None, "full@1", 1, ("viqet", "nima", "niqe", "psnr"))
    assert begun.wait(10), "before the first score is asked for"
    others = [next(said) for _ in range(4)]
    assert [s.name for s in others if isinstance(s, Scored)] == ["nima@photos", "niqe"]
    go_on.set()
    last = Scored("viqet", {"protocol": "full@1", "value": 5})
    assert [*said] == [Doing("viqet"), last], "and PSNR needs an original"


def test_an_archive_holds_pictures_and_their_scores(site: Site) -> None:
    picture = site.drop(png(PHOTO), "a%2Fb.jpg")
    site.enhanced(picture)
    answer = site.get(f"/api/archive.zip?picture={picture['id']}")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert sorted(archive.namelist()) == ["b_bicubic_x2.png", "scores.json"]
    told = json.loads(archive.read("scores.json"))
    assert told[0]["results"][0]["file"] == "b_bicubic_x2.png"
    assert told[0]["results"][0]["provenance"]["command"].startswith("bench restore methods.")
    assert "nima@photos" in told[0]["results"][0]["scores"]


def test_events_say_the_state_at_once_and_after_a_change(site: Site) -> None:
    async def read() -> list[str]:
        states = _states(site.desk, site.client.app._app)  # type: ignore[attr-defined]
        first = await anext(states)
        await asyncio.to_thread(site.drop, png(PHOTO))
        return [first, await anext(states)]

    first, second = asyncio.run(read())
    assert first.startswith("event: state\ndata: {") and first.endswith("\n\n")
    assert json.loads(first.partition("data: ")[2])["pictures"] == []
    assert json.loads(second.partition("data: ")[2])["pictures"][0]["name"] == "photo.png"


def test_what_is_asked_of_a_picture_that_is_still_read_waits_for_it(site: Site) -> None:
    site.executor.hold = True
    good, bad = (site.drop(c, wait=False) for c in (png(PHOTO), b"\x89PNG\r\n\x1a\nbroken"))
    assert site.want([good["id"], bad["id"]], [BICUBIC]).status_code == 202
    site.executor.hold = False
    read = site.until(good["id"], lambda p: p["results"][0]["state"] == "done")
    assert read["results"][0]["width"] == 96
    refused = site.picture(bad["id"])
    assert (refused["state"], refused["results"][0]["state"]) == ("refused", "failed")


# --- how pictures are taken in --------------------------------------------------------------------


def taken(tmp_path: Path, content: bytes) -> tuple[np.ndarray, list[str]]:
    (tmp_path / "upload").write_bytes(content)
    return read_upload(tmp_path / "upload", LIMITS.pixels)


def test_a_picture_is_turned_upright(tmp_path: Path) -> None:
    marks = PIL.Image.Exif()
    marks[0x0112] = 6  # the top is on the right: shown, it is turned by 90 degrees clockwise
    content = saved(PIL.Image.fromarray(PHOTO), "PNG", exif=marks)
    pixels, said = taken(tmp_path, content)
    assert (pixels == np.rot90(PHOTO, -1)).all() and said == ["turned upright"]


def test_a_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    lab = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("XYZ")).tobytes()
    srgb = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    same, said = taken(tmp_path, png(PHOTO, icc_profile=srgb))
    assert (same == PHOTO).all() and said == []
    swapped = _swapped_profile(srgb)
    changed, said = taken(tmp_path, png(PHOTO, icc_profile=swapped))
    assert said == ["converted from Swapped to sRGB"]
    # red and green primaries change places, so the picture's channels do
    assert np.abs(changed.astype(int) - PHOTO[..., [1, 0, 2]].astype(int)).max() <= 2
    _, said = taken(tmp_path, png(PHOTO, icc_profile=b"no profile"))
    assert said == ["its colour profile cannot be read, so its colours are taken as sRGB's"]
    assert lab


def _swapped_profile(srgb: bytes) -> bytes:
    """sRGB with the primaries of red and green exchanged, under another name."""
    count = struct.unpack(">I", srgb[128:132])[0]
    profile = bytearray(srgb)
    places = {}
    for k in range(count):
        at = 132 + 12 * k
        places[srgb[at : at + 4]] = at
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    profile[red + 4 : red + 12], profile[green + 4 : green + 12] = (
        srgb[green + 4 : green + 12],
        srgb[red + 4 : red + 12],
    )
    at, size = struct.unpack(">II", srgb[places[b"desc"] + 4 : places[b"desc"] + 12])
    text = srgb[at : at + size].replace("sRGB built-in".encode("utf-16-be"),
                                        "Swapped      ".encode("utf-16-be"))  # fmt: skip
    text = text.replace(b"sRGB built-in", b"Swapped      ")
    profile[at : at + size] = text
    return bytes(profile)


@pytest.mark.parametrize(
    ("mode", "value", "shown", "words"),
    [
        ("RGBA", (10, 20, 30, 0), (255, 255, 255), "transparency laid on white"),
        ("LA", (100, 255), (100, 100, 100), ""),
        ("L", 7, (7, 7, 7), ""),
        ("1", 1, (255, 255, 255), ""),
        ("P", 0, (1, 2, 3), ""),
        ("I;16", 65535, (255, 255, 255), "16 bits a channel reduced to 8"),
        ("CMYK", (0, 0, 0, 0), (255, 255, 255), "converted from CMYK, roughly"),
    ],
)
def test_every_kind_of_pixels_becomes_what_a_viewer_shows(
    tmp_path: Path, mode: str, value: Any, shown: tuple[int, ...], words: str
) -> None:
    picture = PIL.Image.new(mode, (5, 4), value)
    if mode == "P":
        picture.putpalette([1, 2, 3])
    pixels, said = taken(tmp_path, saved(picture, "TIFF" if mode == "CMYK" else "PNG"))
    assert (pixels == np.array(shown)).all() and pixels.shape == (4, 5, 3)
    assert len(said) == bool(words) and words in "".join(said)


def test_sixteen_bits_of_colour_and_moving_pictures_are_said(tmp_path: Path) -> None:
    frames = [PIL.Image.fromarray(smooth(20, 20, seed)) for seed in (1, 2)]
    content = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    pixels, said = taken(tmp_path, content)
    assert said == ["the first of 2 frames in the file"]
    assert (pixels == np.asarray(frames[0])).all()
    deep = _deep_png(np.full((2, 2, 3), 0x8000, np.uint16))
    pixels, said = taken(tmp_path, deep)
    assert (pixels == 0x80).all() and said == ["16 bits a channel reduced to 8"]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _deep_png(levels: np.ndarray) -> bytes:
    height, width = levels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_what_is_no_picture_is_refused_by_its_content(site: Site) -> None:
    gif = saved(PIL.Image.fromarray(PHOTO), "GIF")
    for content, words in (
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
            "no picture that can",
        ),
        (b"<html><script>alert(1)</script>", "a web page"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (gif, "no picture that can be read. Give a PNG, JPEG, WebP, TIFF or BMP"),
        (png(PHOTO)[:200], "broken"),
        (saved(PIL.Image.new("F", (4, 4)), "TIFF"), "floating-point"),
    ):
        refused = site.drop(content)
        assert refused["state"] == "refused" and words in refused["reason"], refused
        assert refused["image"] is None
        folder = shelf(site.home) / "pictures" / refused["id"]
        assert [p.name for p in folder.iterdir()] == ["record.json"]  # the upload is gone


# --- promises: who may ask ------------------------------------------------------------------------


def test_the_host_must_be_the_page_s_own(site: Site) -> None:
    for host in ("evil.example", "evil.example:8008", "127.0.0.1", "127.0.0.1:80", "localhost:8008",
                 "127.0.0.1:8008.evil.example", ""):  # fmt: skip
        assert site.get("/api/state", host=host).status_code == 421, host
    assert site.get("/api/state").status_code == 200


def test_the_origin_must_be_the_page_s_own(site: Site) -> None:
    for origin in ("http://evil.example", "null", "https://127.0.0.1:8008", "http://127.0.0.1",
                   "http://localhost:8008"):  # fmt: skip
        assert site.get("/api/state", origin=origin).status_code == 403, origin
        answer = site.ask("POST", "/api/pictures", content=b"x", headers={"Origin": origin})
        assert answer.status_code == 403
    assert site.get("/api/state", origin=f"http://{HOST}").status_code == 200


def test_what_changes_something_needs_the_header_of_the_page(site: Site) -> None:
    paths = site.get("/openapi.json").json()["paths"]
    changing = [(verb, path) for path, verbs in paths.items() for verb in verbs if verb != "get"]
    assert len(changing) == 7
    for verb, path in [*changing, ("options", "/api/pictures"), ("put", "/")]:
        for headers in ({}, {"X-Bench": "0"}, {"X-Bench": "1, 1"}):
            answer = site.client.request(verb.upper(), path, headers=headers)
            assert answer.status_code == 403, (verb, path)
    assert site.get("/api/state").json()["pictures"] == []


def test_no_site_is_given_a_right_by_cors(site: Site) -> None:
    answer = site.get("/api/state", origin=f"http://{HOST}")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_other_machines_need_the_token(bench_home: Path, small_sets: Path) -> None:
    with Site(bench_home, Here(), token="secret-token") as site:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": "bench=wrong"},
                        {"authorization": "Bearer "}):  # fmt: skip
            for path in ("/", "/api/state", "/page.js", "/openapi.json"):
                assert site.get(path, **headers).status_code == 401, (path, headers)
        assert site.get("/?token=wrong").status_code == 401
        assert site.get("/api/state", authorization="Bearer secret-token").status_code == 200
        link = site.get("/?token=secret-token")
        assert (link.status_code, link.headers["location"]) == (303, "/")
        cookie = link.headers["set-cookie"]
        assert cookie == "bench=secret-token; HttpOnly; SameSite=Strict; Path=/"
        site.client.cookies.clear()
        assert site.get("/api/state", cookie="a=b; bench=secret-token").status_code == 200
        assert site.client.post("/api/pictures", content=b"x", headers={
            "cookie": "bench=secret-token"}).status_code == 403  # fmt: skip


# --- promises: what is taken ----------------------------------------------------------------------


def test_a_body_is_counted_while_it_comes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "bytes", 1000)
    sent = []

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            sent.append(400)
            yield bytes(400)

    answer = site.ask("POST", "/api/pictures", content=endless())  # without a length
    assert answer.status_code == 413 and "more than" in answer.json()["detail"]
    assert site.ask("POST", "/api/pictures", content=bytes(1001)).status_code == 413
    picture = site.drop(png(smooth(4, 4, 1)))
    answer = site.ask("POST", f"/api/pictures/{picture['id']}/original", content=bytes(1001))
    assert answer.status_code == 413
    assert site.ask("POST", "/api/pictures", content=b"").status_code == 400
    kept = {p.name for p in (shelf(site.home) / "pictures").iterdir()}
    assert kept == {picture["id"]}  # nothing of the others is left


def test_an_upload_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.web.pictures.UPLOAD", 0.05)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    request = Request({"type": "http", "headers": []}, receive)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="longer than") as error:
        asyncio.run(_write(request, tmp_path / "upload"))
    assert error.value.status == 408 and list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = site.drop(png(PHOTO))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "file")

    monkeypatch.setattr("bench.web.work.write_bands", full)
    result = site.enhanced(picture)
    assert (result["state"], result["reason"][:17]) == ("failed", "The disk is full.")
    monkeypatch.setattr(Path, "mkdir", full)
    answer = site.ask("POST", "/api/pictures", content=png(PHOTO))
    assert answer.status_code == 507 and "Make room" in answer.json()["detail"]


def test_a_request_that_is_no_upload_is_small(site: Site) -> None:
    answer = site.ask("POST", "/api/results", json={"pictures": ["x" * 200_000], "rows": []})
    assert answer.status_code == 413


def test_pixels_are_counted_before_anything_is_decoded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(picture: PIL.Image.Image, *more: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    header = struct.pack(">IIBBBBB", 10_000, 5_001, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") * 2
    refused = site.drop(bomb)
    assert refused["reason"].startswith("It has 10000x5001 pixels, and at most 50 million")


def test_no_more_pictures_are_taken_than_may_be(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "pictures", 2)
    first, _ = site.drop(png(PHOTO)), site.drop(png(PHOTO))
    answer = site.ask("POST", "/api/pictures", content=png(PHOTO))
    assert answer.status_code == 429 and "Remove some" in answer.json()["detail"]
    assert site.ask("POST", "/api/sets/set5/0").status_code == 429
    assert site.ask("DELETE", f"/api/pictures/{first['id']}").json() == {"removed": first["id"]}
    site.drop(png(PHOTO))


def test_no_more_jobs_wait_than_may(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "WAITING", 1)
    picture = site.drop(png(PHOTO))["id"]
    rows = [BICUBIC, "methods.classical.Bilinear"]
    assert site.want([picture], rows).status_code == 429
    assert site.picture(picture)["results"] == []


def test_a_result_that_would_be_too_large_is_not_begun(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.web.work.RESULT_PIXELS", 1000)
    result = site.enhanced(site.drop(png(PHOTO)))
    assert result["state"] == "failed" and "Choose a smaller scale" in result["reason"]


@dataclass(frozen=True, kw_only=True)
class Harm(Job):
    """What a malicious picture may bring a decoder to."""

    what: str

    def steps(self) -> Iterator[Said]:
        if self.what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.what == "memory":
            yield Found({"size": len(np.ones(self.memory + 2**20, np.uint8))})
        if self.what == "time":
            time.sleep(60)
        yield Found({"well": True})


def test_a_picture_that_breaks_the_decoder_costs_one_job(bench_home: Path) -> None:
    """A crash, memory without end and time without end; the next job runs."""
    with Site(bench_home, LocalExecutor(1, run=run)) as site:
        said: list[Any] = []
        for what, limit in (("crash", 60.0), ("memory", 60.0), ("time", 1.0), ("nothing", 60.0)):
            job = Harm(what=what, memory=2**28)
            with site.desk._lock:
                site.desk._queue.add(
                    0,
                    what,
                    lambda job=job: job,
                    kind=what,
                    size=lambda: 0,
                    limit=limit,
                    heard=said.append,
                    ended=said.append,
                )
        assert site.get("/api/state").json()["queue"]["waiting"] >= 3  # it answers meanwhile
        until(lambda: len(said) == 5)
    crash, memory, late, well, end = said
    assert crash.startswith("It broke the worker") and "SIGSEGV" in crash
    assert memory == "It needs more memory than a picture may take here."
    assert late == "It took longer than 1 s, and was stopped."
    assert (well, end) == (Found({"well": True}), None)


def test_a_row_s_number_is_that_of_the_study_s_table() -> None:
    """Of two seeds one could not score the second image, so both means are over the first."""
    study = Study.model_validate(
        {
            "name": "two",
            "task": {"kind": "super-resolution", "scale": 2},
            "methods": {"shift": {"use": "nets.Shift"}},
            "evaluate": {"datasets": ["set5"], "metrics": ["psnr_y"]},
            "budget": {"seeds": [0, 1]},
        }
    )
    cells = [
        Cell(
            study="two", method="shift", use="nets.Shift", trial=None, seed=seed, attempt=0,
            state="complete", parameters={}, fingerprint="f",
            scores=[Score("set5", 2, image, "psnr_y", "sr-y@1", v) for image, v in found.items()],
        )
        for seed, found in enumerate(({"a": 30.0, "b": 50.0}, {"a": 32.0, "b": float("nan")}))
    ]  # fmt: skip
    (value,) = _table(study, Row("shift", "shift", tuple(cells)))
    assert (value.dataset, value.metric, value.value, value.unit) == (
        "set5 x2", "psnr_y", 31.0, "dB",
    )  # fmt: skip


def test_names_are_for_display_alone(site: Site) -> None:
    name = "..%2F..%2Fetc%2F%3Cimg%20src=x%20onerror=alert(1)%3E%0A%00.png"
    picture = site.drop(png(PHOTO), name)
    assert picture["name"] == "<img src=x onerror=alert(1)>.png"
    result = site.enhanced(picture)
    answer = site.get(f"/api/results/{result['id']}.png?download=1")
    disposition = answer.headers["content-disposition"]
    assert disposition == "attachment; filename*=UTF-8''img-src-x-onerror-alert-1_bicubic_x2.png"
    files = {p.relative_to(site.home).as_posix() for p in site.home.rglob("*") if p.is_file()}
    assert all(re.fullmatch(r"web/(pictures|results)/[\w-]{16}/[a-z]+\.(json|png)", f) or
               not f.startswith("web/") for f in files)  # fmt: skip


def test_metadata_is_not_handed_on(site: Site) -> None:
    marks = PIL.Image.Exif()
    marks[0x010F], marks[0x0132] = "a camera", "2026:01:01 00:00:00"
    picture = site.drop(saved(PIL.Image.fromarray(PHOTO), "JPEG", exif=marks, comment=b"secret"))
    result = site.enhanced(picture)
    for path in (picture["image"], picture["small"], result["image"], result["small"]):
        content = site.get(path).content
        assert set(_chunks(content)) == {b"IHDR", b"IDAT", b"IEND"}, path


def _chunks(content: bytes) -> Iterator[bytes]:
    at = 8
    while at < len(content):
        size = struct.unpack(">I", content[at : at + 4])[0]
        yield content[at + 4 : at + 8]
        at += 12 + size


# --- promises: what is handed out -----------------------------------------------------------------


def test_nothing_that_a_client_sends_is_a_path_or_an_address(site: Site) -> None:
    schema = site.get("/openapi.json").json()
    given = {
        (p["name"], p["schema"].get("type", "any"))
        for verbs in schema["paths"].values()
        for facts in verbs.values()
        for p in facts.get("parameters", [])
    }
    assert given == {
        ("ident", "string"), ("name", "string"), ("set", "string"), ("picture", "any"),
        ("index", "integer"), ("scale", "integer"), ("number", "integer"),
        ("small", "boolean"), ("download", "boolean"), ("v", "string"), ("x-name", "string"),
    }  # fmt: skip
    (site.home / "web").mkdir(parents=True)
    (site.home / "web/secret.png").write_bytes(b"secret")
    for path in ("/api/pictures/..%2Fsecret.png", "/api/pictures/%2e%2e/secret.png",
                 "/api/results/../secret.png", "/page/../app.py",
                 "/..%2fapp.py", "/%2e%2e/app.py", "/app.py", "/index.htm", "/etc/passwd",
                 "/studies/..%2F..%2Fweb/report", "/api/studies/../pictures/0.png",
                 "/api/studies/x/pictures/0.png", "/api/studies/x/gallery?set=.."):  # fmt: skip
        assert site.get(path).status_code == 404, path


def test_every_answer_is_locked_up(site: Site) -> None:
    picture = site.drop(png(PHOTO))
    for path in ("/", "/api", "/api/state", "/docs", "/openapi.json", "/nothing", picture["image"],
                 "/api/archive.zip"):  # fmt: skip
        headers = site.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; img-src 'self' blob:; script-src 'self'; ")
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
    assert "default-src 'none'" in site.get("/", host="evil").headers["content-security-policy"]


def test_no_part_of_a_file_can_be_asked_for(site: Site) -> None:
    picture = site.drop(png(PHOTO))
    whole = site.get(picture["image"])
    part = site.get(picture["image"], range="bytes=0-0,1-1,2-2")
    assert (part.status_code, part.content) == (200, whole.content)
    assert "accept-ranges" not in whole.headers and whole.headers["content-type"] == "image/png"


def test_the_description_needs_nothing_from_elsewhere(site: Site) -> None:
    page = site.get("/docs").text
    assert (
        "POST /api/pictures" in page
        and "<script" not in page
        and "//" not in page.replace("http://www.w3.org", "")
    )
    assert set(re.findall(r'(?:href|src)="([^"]+)"', page)) <= {"/page.css", "/openapi.json", "/"}


# --- promises: what is kept -----------------------------------------------------------------------


def test_results_survive_the_server(bench_home: Path, small_sets: Path) -> None:
    with Site(bench_home, Here()) as site:
        picture = site.drop(png(PHOTO))
        done = site.enhanced(picture)
        site.until(picture["id"], lambda p: len(p["scores"]) == 3)
        site.executor.hold = True
        site.want([picture["id"]], ["methods.classical.Bilinear"])
        unread = site.drop(png(PHOTO), wait=False)
    with Site(bench_home, Here()) as site:
        kept = {r["row"]: r for r in site.picture(picture["id"])["results"]}
        assert kept[BICUBIC] == done
        assert site.get(done["image"]).status_code == 200
        cut = kept["methods.classical.Bilinear"]
        assert (cut["state"], "closed" in cut["reason"]) == ("cancelled", True)
        assert "Give it again" in site.picture(unread["id"])["reason"]


def test_what_is_a_day_old_goes(bench_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Site(bench_home, Here()) as site:
        site.enhanced(site.drop(png(PHOTO)))
        monkeypatch.setattr(
            desk_module, "_now", lambda: (datetime.now(UTC) - timedelta(hours=25)).isoformat()
        )
        old = site.drop(png(PHOTO))
        site.enhanced(old)
        foreign = shelf(bench_home) / "pictures" / old["id"] / "mine.txt"
        foreign.write_text("not bench's")
        site.desk.expire()
        assert len(site.get("/api/state").json()["pictures"]) == 1
        folders = [
            p for kind in ("pictures", "results") for p in (shelf(bench_home) / kind).iterdir()
        ]
        assert len(folders) == 3  # the young picture, its result, and what is not bench's
        assert [p.name for p in foreign.parent.iterdir()] == ["mine.txt"]


def test_clean_removes_what_the_page_keeps_and_nothing_else(bench_home: Path) -> None:
    with Site(bench_home, Here()) as site:
        site.enhanced(site.drop(png(PHOTO)))
    mine = shelf(bench_home) / "pictures" / ("A" * 16) / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("not bench's")
    with shelf_lock(bench_home, "http://127.0.0.1:1/"):
        assert clean(bench_home, dry_run=False)["removed"]["page"]["count"] == 0  # it is open
    assert clean(bench_home, dry_run=False)["removed"]["page"]["count"] == 2
    assert {p.name for p in shelf(bench_home).rglob("*") if p.is_file()} == {"lock", "notes.txt"}


def test_nobody_else_reads_what_is_kept(bench_home: Path) -> None:
    with shelf_lock(bench_home, "x"):
        assert stat.S_IMODE(shelf(bench_home).stat().st_mode) == 0o700


# --- studies --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a finished study."""
    world = make_world(tmp_path_factory.mktemp("web") / "world")
    write_study(
        world, "plain: {use: nets.Plain}\nshift: {use: nets.Shift, error: {grid: [0.0, 0.1]}}",
        evaluate="{datasets: [bsd100], metrics: [psnr_y], pictures: all}",
        budget="{sampler: grid}",
    )  # fmt: skip
    ended = commands().run(world, "sweep", "tiny.yaml")
    assert ended.status == 0, ended.err
    return world


@pytest.fixture
def studies(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(swept)
    monkeypatch.syspath_prepend(swept)
    monkeypatch.setenv("BENCH_HOME", str(swept / "home"))
    monkeypatch.setenv("BENCH_DATA", str(swept / "data"))
    with Site(swept / "home", Here()) as opened:
        yield opened


def test_what_a_sweep_has_trained_is_a_row_the_best_first(studies: Site) -> None:
    rows = [row for row in studies.get("/api").json()["rows"] if row["group"] == "trained"]
    assert [(row["id"], row["best"], row["scales"]) for row in rows] == [
        ("tiny/shift-t000-s0", True, [2]), ("tiny/shift-t001-s0", False, [2])
    ]  # fmt: skip
    assert rows[0]["told"] == "Shift of the study tiny, a tiny run: shift 8 updates"
    assert [(v["dataset"], v["metric"], v["unit"]) for v in rows[0]["table"]] == [
        ("bsd100 x2", "psnr_y", "dB")
    ]
    picture = studies.drop(png(PHOTO))
    result = studies.enhanced(picture, "tiny/shift-t000-s0")
    assert result["state"] == "done", result["reason"]
    assert result["provenance"]["command"].startswith("bench restore tiny/shift-t000-s0 ")
    assert len(result["provenance"]["weights_digest"]) == 32


@pytest.mark.data
def test_published_weights_are_offered_at_the_scales_that_they_fit(
    weights_root: Path, bench_home: Path
) -> None:
    rows = {row.id: row for row in Catalogue(bench_home).rows()}
    scales = {name: rows[f"published:{name}"].scales for name in ("carn_m", "fsrcnn", "zero_dce")}
    assert scales == {"carn_m": [2, 3, 4], "fsrcnn": [2, 3, 4], "zero_dce": [1]}
    assert rows["published:esrgan"].scales == [4]
    assert "bench fetch esrgan" in (rows["published:esrgan"].missing or "")


def test_studies_are_listed_and_their_galleries_shown(studies: Site, swept: Path) -> None:
    (line,) = studies.get("/api/studies").json()
    assert (line["name"], line["question"], line["trials"], line["of"], line["state"]) == (
        "tiny", "Does it hold?", 3, 3, "done"
    )  # fmt: skip
    assert line["sets"] == ["bsd100"]
    shown = studies.get("/api/studies/tiny/gallery?set=bsd100").json()
    assert [row["id"] for row in shown["rows"]] == ["plain-s0", "shift-t000-s0"]
    assert [metric["name"] for metric in shown["metrics"]] == ["psnr_y"]
    image = shown["images"][0]
    cell = json.loads((swept / "home/studies/tiny/cells/plain-s0.json").read_text())
    assert image["rows"]["plain-s0"]["scores"]["psnr_y"] == pytest.approx(
        next(s[5] for s in cell["scores"] if s[2] == image["name"])
    )
    assert pixels_of(studies.get(image["rows"]["plain-s0"]["image"])).shape == (48, 48, 3)
    assert (pixels_of(studies.get(image["original"])).shape) == (48, 48, 3)
    assert studies.get("/api/studies/tiny/gallery?set=set5").status_code == 404


def test_a_report_is_shown_as_bench_wrote_it_or_not_at_all(studies: Site, swept: Path) -> None:
    (line,) = studies.get("/api/studies").json()
    assert line["report"] == "/studies/tiny/report" and line["why_no_report"] is None
    page = swept / "reports/tiny/report.html"
    answer = studies.get(line["report"])
    assert answer.content == page.read_bytes()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none';")
    assert "allow-same-origin" not in policy and "connect-src" not in policy
    before = page.read_bytes()
    page.write_bytes(before + b"<script>changed</script>")
    try:
        assert studies.get("/studies/tiny/report").status_code == 404
        (line,) = studies.get("/api/studies").json()
        assert line["report"] is None and "not as bench has written it" in line["why_no_report"]
    finally:
        page.write_bytes(before)


# --- the command ----------------------------------------------------------------------------------


def test_the_command_serves_on_loopback_alone_until_ctrl_c(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    with ExitStack() as stack:
        command = commands().start(world, "web", "--port", "0", "--no-browser")
        stack.callback(_kill, command)
        until(lambda: "Ctrl-C ends it" in command.out())
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", command.out())[1])  # type: ignore[index]
        until(lambda: _listening(port))
        assert _listening(port) == {"0100007F"}  # 127.0.0.1, as /proc/net/tcp writes it
        second = commands().run(world, "web", "--port", "0", "--no-browser")
        assert second.status == 2 and f"is open already, at http://127.0.0.1:{port}/" in second.err
        other = make_world(tmp_path / "other")
        third = commands().run(other, "web", "--port", str(port), "--no-browser")
        assert third.status == 2 and f"--port {port}: something else listens there" in third.err
        asked = commands().start(other, "web", "--port", "0", "--no-browser")
        stack.callback(_kill, asked)
        until(lambda: "Ctrl-C ends it" in asked.out())
        asked.kill(signal.SIGTERM)  # what a shell's kill sends, and a machine at its end
        command.ctrl_c()
        for ended in (command.wait(), asked.wait()):
            assert (ended.status, "Traceback" in ended.err) == (0, False), ended.err


@pytest.mark.parametrize("port", ["65536", "-1"])
def test_a_port_that_there_is_not_is_refused(port: str) -> None:
    """The system takes it modulo 65536."""
    with pytest.raises(click.BadParameter, match=r"not in the range 0<=x<=65535"):
        web.main(["--port", port, "--no-browser"], standalone_mode=False)


def test_the_host_of_a_link_is_written_as_browsers_send_it() -> None:
    assert _as_host("127.0.0.1", 8008) == ["127.0.0.1:8008"]
    assert _as_host("::1", 8008) == ["[::1]:8008"]
    assert _as_host("Lab", 80) == ["lab:80", "lab"]
    assert set(_names("localhost")) == {"127.0.0.1", "localhost", "::1"}
    assert _names("192.0.2.7") == ["192.0.2.7"]
    assert socket.gethostname() in _names("0.0.0.0")


def _kill(command: Any) -> None:
    with suppress(ProcessLookupError):
        command.kill()


def _listening(port: int) -> set[str]:
    """Addresses on which somebody listens at a port, in hexadecimal."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {w[1].partition(":")[0] for w in lines
            if w[3] == "0A" and int(w[1].partition(":")[2], 16) == port}  # fmt: skip
