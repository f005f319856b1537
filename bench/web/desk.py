"""The pictures and results of a page: what is asked for, and what has come of it."""

import contextlib
import secrets
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.data.files import whole
from bench.errors import unknown
from bench.records.shelf import remove_entry
from bench.web.catalogue import Catalogue
from bench.web.kept import Kept, Kind, Refused
from bench.web.queue import Item, Queue
from bench.web.shapes import (
    Feature,
    Features,
    Limits,
    Original,
    Picture,
    QueueState,
    Result,
    Row,
    Score,
    State,
    Wanted,
)
from bench.web.work import (
    REFERENCE,
    RESULT_PIXELS,
    Doing,
    Enhance,
    Explain,
    Found,
    Rate,
    Read,
    Scored,
    Take,
)

LIMITS = Limits(bytes=64_000_000, pixels=50_000_000, pictures=50, result_pixels=RESULT_PIXELS)
WAITING = 500
"""Jobs that may wait."""
KEPT = timedelta(days=1)
FIRST, NEXT, BESIDES = range(3)
"""Ranks of jobs: reading, making what is wanted, and what nobody waits for."""
READING, RESTORING, SCORING = 60.0, 1800.0, 300.0
"""Seconds that a job may take."""


class Desk:
    """All of it, for any thread. executor: runs `bench.web.work.run`."""

    def __init__(self, home: Path, executor: Any, catalogue: Catalogue) -> None:
        self._kept, self._catalogue = Kept(home), catalogue
        self._lock = threading.RLock()
        self._features: dict[str, Features] = {}
        self._incoming: set[str] = set()
        self._queue = Queue(executor, self._lock, self._kept.change)
        self.expire()

    def close(self) -> None:
        self._queue.close()

    @property
    def version(self) -> int:
        """Another one after each change."""
        return self._kept.version

    # --- what is there ----------------------------------------------------------------------------

    def state(self) -> State:
        """Returns everything, the newest picture first."""
        with self._lock:
            running, waiting = self._queue.items()
            places = {item.owner: k for k, item in enumerate(waiting, 1)}
            left = {item.owner: self._left(item) for item in running}
            results: dict[str, list[Result]] = {}
            for result in self._kept.results.values():
                told = {"place": places.get(result.id), "left": left.get(result.id)}
                alive = result.state in ("waiting", "running")
                shown = result.model_copy(update=told) if alive else result
                results.setdefault(result.picture, []).append(shown)
            pictures = [
                p.model_copy(update={"results": results.get(p.id, [])})
                for p in reversed(self._kept.pictures.values())
            ]
            wanted = [item for item in (*running, *waiting) if item.rank < BESIDES]
            times = [self._left(item) for item in wanted]
            known = [t for t in times if t is not None]
            queue = QueueState(
                waiting=sum(item.rank < BESIDES for item in waiting),
                running=sum(item.rank < BESIDES for item in running),
                left=sum(known) if len(known) == len(times) else None,
            )
            return State(pictures=pictures, queue=queue)

    def _left(self, item: Item) -> float | None:
        result = self._kept.results.get(item.owner)
        return self._queue.left(item, result.part if result else 0.0)

    def _pixels(self, ident: str) -> int:
        picture = self._kept.pictures[ident]
        return (picture.width or 0) * (picture.height or 0)

    def picture(self, ident: str) -> Picture:
        """Returns one with its results. Raises Refused."""
        with self._lock:
            self._kept.picture(ident)
            return next(p for p in self.state().pictures if p.id == ident)

    def result(self, ident: str) -> Result:
        """Returns one as it is shown. Raises Refused."""
        with self._lock:
            picture = self.picture(self._kept.result(ident).picture)
            return next(r for r in picture.results if r.id == ident)

    def file(self, kind: Kind, ident: str, name: str) -> Path:
        """Returns a file of a picture or result. Raises Refused where there is none."""
        with self._lock:
            return self._kept.file(kind, ident, name)

    # --- pictures ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def new_picture(self, name: str) -> Iterator[tuple[str, Path]]:
        """Yields (id, where the upload goes); at the end it is there, or on an error it is not.

        Raises Refused where there are too many.
        """
        with self._lock:
            self._refuse_too_many()
            ident = secrets.token_urlsafe(12)
            self._incoming.add(ident)
        folder = self._kept.folder("pictures", ident)
        folder.mkdir(parents=True, mode=0o700)
        try:
            yield ident, folder / "upload"
            with self._lock:
                self._kept.pictures[ident] = Picture(id=ident, name=_shown(name), added=_now())
                self._kept.save(self._kept.pictures[ident])
                self._read(ident)
        finally:
            with self._lock:
                self._incoming.discard(ident)
                if ident not in self._kept.pictures:
                    remove_entry(folder)

    def _refuse_too_many(self) -> None:
        if len(self._kept.pictures) + len(self._incoming) >= LIMITS.pictures:
            raise Refused(
                429, f"{LIMITS.pictures} pictures are here, and no more are taken. Remove some."
            )

    def _read(self, ident: str) -> None:
        folder = self._kept.folder("pictures", ident)
        job = Read(
            upload=folder / "upload", image=folder / "image.png", small=folder / "small.png",
            pixels=LIMITS.pixels,
        )  # fmt: skip
        size = job.upload.stat().st_size
        self._queue.add(
            FIRST, ident, lambda: job, kind="reading", size=lambda: size, limit=READING,
            heard=lambda said: self._hear(ident, said),
            ended=lambda reason: self._has_read(ident, reason),
        )  # fmt: skip
        self._kept.change()

    def _hear(self, ident: str, said: Any) -> None:
        """What a worker says of a picture."""
        if isinstance(said, Found):
            facts = dict(said.facts)
            if given := facts.pop("original", None):
                facts["original"] = Original(**given)
                version = secrets.token_hex(4)  # a browser keeps what it has under an address
                facts["original_image"] = _address("pictures", ident, f"/original.png?v={version}")
            self._kept.set(self._kept.pictures[ident], **facts)
        elif isinstance(said, Scored):
            picture = self._kept.pictures[ident]
            self._kept.set(picture, scores=picture.scores | {said.name: Score(**said.score)})

    def _has_read(self, ident: str, reason: str | None) -> None:
        picture = self._kept.pictures[ident]
        if reason is not None:
            self._kept.set(picture, state="refused", reason=reason)
            for result in [r for r in self._kept.results.values() if r.picture == ident]:
                self._queue.cancel(result.id)
                self._kept.set(result, state="failed", reason="The picture could not be read.")
            return
        self._kept.set(picture, state="ready", image=_address("pictures", ident, ".png"),
                  small=_address("pictures", ident, ".png?small=1"))  # fmt: skip
        self._score_input(ident)

    def _score_input(self, ident: str) -> None:
        """Nobody waits for it: it comes when nothing else is to be done."""
        picture = self._kept.pictures[ident]
        source = self._kept.folder("pictures", ident) / "image.png"
        job = Rate(source=source, original=None, dataset=picture.set, scale=picture.scale or 1)
        self._queue.add(
            BESIDES, ident, lambda: job, kind="scoring", size=lambda: self._pixels(ident),
            limit=SCORING, heard=lambda said: self._hear(ident, said), ended=lambda reason: None,
        )  # fmt: skip

    def take(self, name: str, index: int, scale: int) -> Picture:
        """Adds a benchmark set's image, the index-th of its list. Raises Refused."""
        sets = {s.name: s for s in self._catalogue.sets()}
        if name not in sets:
            raise Refused(404, unknown("set", name, sets))
        if not 0 <= index < len(sets[name].images):
            raise Refused(404, f"{name} has {len(sets[name].images)} images, counted from 0.")
        if scale not in sets[name].scales:
            raise Refused(422, f"{name} comes at the scales {_listed(sets[name].scales)}.")
        stem, ident = sets[name].images[index], secrets.token_urlsafe(12)
        with self._lock:
            self._refuse_too_many()
            picture = Picture(
                id=ident, name=f"{name} {stem}", scale=scale, set=name, added=_now(),
            )  # fmt: skip
            folder = self._kept.folder("pictures", ident)
            folder.mkdir(parents=True, mode=0o700)
            self._kept.pictures[ident] = picture
            self._kept.save(picture)
            job = Take(
                dataset=name, stem=stem, scale=scale, image=folder / "image.png",
                small=folder / "small.png", original=folder / "original.png",
            )  # fmt: skip
            self._queue.add(
                FIRST, ident, lambda: job, kind="taking", size=lambda: 1, limit=READING,
                heard=lambda said: self._hear(ident, said),
                ended=lambda reason: self._has_read(ident, reason),
            )  # fmt: skip
            self._kept.change()
            return self.picture(ident)

    def original_upload(self, ident: str) -> Path:
        """Returns where an original's upload goes. Raises Refused."""
        with self._lock:
            if self._kept.picture(ident).set is not None:
                raise Refused(409, "The image of a benchmark set has its own original.")
            return self._kept.folder("pictures", ident) / "original-upload"

    def read_original(self, ident: str) -> Picture:
        """Reads the original that has been uploaded; results are scored against it then."""
        with self._lock:
            picture = self._kept.picture(ident)
            folder = self._kept.folder("pictures", ident)
            job = Read(
                upload=folder / "original-upload", image=folder / "original.png", small=None,
                pixels=LIMITS.pixels,
            )  # fmt: skip

            def heard(said: Any) -> None:
                if isinstance(said, Found):
                    self._hear(ident, Found({"original": said.facts}))

            size = job.upload.stat().st_size
            self._queue.add(
                FIRST, ident, lambda: job, kind="reading", size=lambda: size, limit=READING,
                heard=heard, ended=lambda reason: self._has_original(ident, reason),
            )  # fmt: skip
            self._kept.set(picture, original_reason="It is being read.")
            return self.picture(ident)

    def _has_original(self, ident: str, reason: str | None) -> None:
        self._kept.set(self._kept.pictures[ident], original_reason=reason)
        if reason is None:
            done = [
                r for r in self._kept.results.values() if r.picture == ident and r.state == "done"
            ]
            for result in done:
                self._rate(result)

    def _rate(self, result: Result) -> None:
        """Scores a result against an original that came after it."""
        original = self._kept.folder("pictures", result.picture) / "original.png"
        source = self._kept.folder("results", result.id) / "image.png"
        job = Rate(
            source=source, original=original, dataset=None, scale=result.scale, metrics=REFERENCE
        )
        self._queue.add(
            NEXT, result.id, lambda: job, kind="comparing",
            size=lambda: self._pixels(result.picture), limit=SCORING,
            heard=lambda said: self._hear_result(result.id, said),
            ended=lambda reason: self._kept.set(self._kept.results[result.id], stage=None),
        )  # fmt: skip

    def remove_picture(self, ident: str) -> None:
        """Removes a picture and its results, with what waits or runs for them. Raises Refused."""
        with self._lock:
            self._kept.picture(ident)
            for result in [r for r in self._kept.results.values() if r.picture == ident]:
                self._remove_result(result.id)
            self._queue.cancel(ident)
            self._kept.remove_picture(ident)
            self._kept.change()

    # --- results ----------------------------------------------------------------------------------

    def want(self, wanted: Wanted) -> list[Result]:
        """Returns the results of every row of every picture; what is there is not made again.

        Raises Refused for what is unknown, and for a scale that a row has not.
        """
        rows = [self._row(ident, wanted.scale) for ident in dict.fromkeys(wanted.rows)]
        with self._lock:
            pictures = [self._kept.picture(ident) for ident in dict.fromkeys(wanted.pictures)]
            for picture in pictures:
                if picture.state == "refused":
                    raise Refused(422, f"{picture.name}: was refused: {picture.reason}")
            if len(self._queue.items()[1]) + len(pictures) * len(rows) > WAITING:
                raise Refused(429, f"More than {WAITING} jobs would wait. Ask for fewer.")
            made = [self._want(picture, row, wanted.scale) for row in rows for picture in pictures]
            self._kept.change()
            return [self.result(result.id) for result in made]

    def _row(self, ident: str, scale: int) -> Row:
        row = self._catalogue.row(ident)
        if row is None:
            raise Refused(422, unknown("row", ident, [row.id for row in self._catalogue.rows()]))
        if row.missing:
            raise Refused(422, f"{row.name}: {row.missing}")
        if row.scales is not None and scale not in row.scales:
            raise Refused(422, f"{row.name} works at scale {_listed(row.scales)}, not at {scale}.")
        if not 1 <= scale <= 8:
            raise Refused(422, f"scale {scale}: from 1 to 8.")
        return row

    def _want(self, picture: Picture, row: Row, scale: int) -> Result:
        for old in list(self._kept.results.values()):
            if (old.picture, old.row, old.scale) == (picture.id, row.id, scale):
                if old.state not in ("failed", "cancelled"):
                    return old
                self._remove_result(old.id)
        ident = secrets.token_urlsafe(12)
        result = Result(
            id=ident, picture=picture.id, row=row.id, name=row.name, scale=scale, added=_now()
        )
        folder = self._kept.folder("results", ident)
        folder.mkdir(parents=True, mode=0o700)
        self._kept.results[ident] = result
        self._kept.save(result)
        self._queue.add(
            NEXT, ident, lambda: self._enhance(ident), kind=f"{row.id} x{scale}",
            size=lambda: self._pixels(picture.id), limit=RESTORING,
            heard=lambda said: self._hear_result(ident, said),
            ended=lambda reason: self._has_result(ident, reason),
        )  # fmt: skip
        return result

    def _enhance(self, ident: str) -> Enhance:
        result = self._kept.results[ident]
        picture = self._kept.pictures[result.picture]
        source, folder = (
            self._kept.folder("pictures", picture.id),
            self._kept.folder("results", ident),
        )
        path, weights = self._catalogue.recipe(result.row)
        return Enhance(
            path=path, weights=weights, scale=result.scale, dataset=picture.set,
            source=source / "image.png", original=source / "original.png" if picture.original else
            None, image=folder / "image.png", small=folder / "small.png",
        )  # fmt: skip

    def _hear_result(self, ident: str, said: Any) -> None:
        result = self._kept.results[ident]
        if isinstance(said, Doing):
            running = {} if result.state == "done" else {"state": "running"}
            self._kept.results[ident] = result.model_copy(
                update={"stage": said.stage, "part": said.part, **running}
            )
        elif isinstance(said, Scored):
            score = Score(**said.score)
            self._kept.results[ident] = result.model_copy(
                update={"scores": result.scores | {said.name: score}}
            )
        elif isinstance(said, Found):
            facts = dict(said.facts)
            if "provenance" in facts:
                facts["provenance"] = self._catalogue.environment() | facts["provenance"]
            images = {"image": _address("results", ident, ".png"),
                      "small": _address("results", ident, ".png?small=1")}  # fmt: skip
            self._kept.results[ident] = result.model_copy(update=facts | images)

    def _has_result(self, ident: str, reason: str | None) -> None:
        result = self._kept.results[ident]
        if reason is None:
            self._kept.set(result, state="done", stage=None, part=1.0)
        else:
            self._kept.set(result, state="failed", stage=None, reason=reason)

    def end_result(self, ident: str) -> Result | None:
        """Cancels what waits or runs and returns it; removes what has ended. Raises Refused."""
        with self._lock:
            result = self._kept.result(ident)
            if result.state in ("waiting", "running"):
                self._cancel(result)
                return self._kept.results[ident]
            self._remove_result(ident)
            self._kept.change()
            return None

    def _cancel(self, result: Result) -> None:
        self._queue.cancel(result.id)
        self._kept.set(result, state="cancelled", stage=None, reason="cancelled")

    def _remove_result(self, ident: str) -> None:
        self._queue.cancel(ident)
        self._features.pop(ident, None)
        self._kept.remove_result(ident)

    def cancel_all(self) -> int:
        """Cancels every result that waits or runs; returns how many."""
        with self._lock:
            alive = [r for r in self._kept.results.values() if r.state in ("waiting", "running")]
            for result in alive:
                self._cancel(result)
            return len(alive)

    def features(self, ident: str) -> Features:
        """Returns VIQET's features of a result; they are computed when first asked for."""
        with self._lock:
            result = self._kept.result(ident)
            if result.state != "done":
                raise Refused(409, "The result is not there yet.")
            kept = self._kept.folder("results", ident) / "viqet.json"
            if ident not in self._features and kept.is_file():
                self._features[ident] = Features.model_validate_json(kept.read_bytes())
            if ident not in self._features:
                self._explain(ident, kept)
            return self._features[ident]

    def _explain(self, ident: str, kept: Path) -> None:
        job = Explain(source=self._kept.folder("results", ident) / "image.png")

        def heard(said: Any) -> None:
            if isinstance(said, Found):
                features = [Feature(**f) for f in said.facts["features"]]
                self._features[ident] = Features(
                    state="done", mos=said.facts["mos"], features=features
                )
                with whole(kept) as file:
                    file.write(self._features[ident].model_dump_json().encode())

        def ended(reason: str | None) -> None:
            if reason is not None:
                self._features[ident] = Features(state="failed", reason=reason)

        self._features[ident] = Features(state="running")
        self._queue.add(
            FIRST, ident, lambda: job, kind="features", size=lambda: 1, limit=SCORING, heard=heard,
            ended=ended,
        )  # fmt: skip

    # --- keeping ----------------------------------------------------------------------------------

    def expire(self) -> None:
        """Removes what is older than a day."""
        with self._lock:
            oldest = datetime.now(UTC) - KEPT
            for picture in list(self._kept.pictures.values()):
                if datetime.fromisoformat(picture.added) < oldest:
                    self.remove_picture(picture.id)


def _address(kind: str, ident: str, rest: str) -> str:
    return f"/api/{kind}/{ident}{rest}"


def _shown(name: str) -> str:
    """A file's name for display: its last part, without what cannot be printed."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable()).strip()[:120] or "picture"


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values)) or "none"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
