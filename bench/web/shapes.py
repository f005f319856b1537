"""What the API says, as JSON: docs/web.md and /docs describe it. Times are in seconds."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Score(BaseModel):
    """A number, or why there is none."""

    value: float | None = None
    reason: str | None = None
    note: str | None = None
    """What a reader of the value must be told."""
    protocol: str


class Original(BaseModel):
    """What results are compared with."""

    width: int
    height: int
    said: list[str] = []


class Result(BaseModel):
    """A picture as one row makes it."""

    id: str
    picture: str
    row: str
    name: str
    scale: int
    state: Literal["waiting", "running", "done", "failed", "cancelled"] = "waiting"
    reason: str | None = None
    stage: str | None = None
    part: float = 0.0
    left: float | None = None
    place: int | None = None
    """In the queue, from 1."""
    seconds: float | None = None
    """That restoring took."""
    width: int | None = None
    height: int | None = None
    image: str | None = None
    small: str | None = None
    scores: dict[str, Score] = {}
    provenance: dict[str, Any] = {}
    added: str


class Picture(BaseModel):
    """An upload, or an image of a benchmark set."""

    id: str
    name: str
    """For display alone."""
    state: Literal["reading", "ready", "refused"] = "reading"
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    said: list[str] = []
    """What was done to it on the way in."""
    scale: int | None = None
    set: str | None = None
    original: Original | None = None
    original_reason: str | None = None
    """Why the original that was given last is none, or that it is being read."""
    image: str | None = None
    small: str | None = None
    original_image: str | None = None
    scores: dict[str, Score] = {}
    results: list[Result] = []
    added: str


class QueueState(BaseModel):
    waiting: int
    running: int
    left: float | None
    """Until the queue is empty, from the times seen here; null while they are not known."""


class State(BaseModel):
    pictures: list[Picture]
    """The newest first."""
    queue: QueueState


class TableValue(BaseModel):
    dataset: str
    metric: str
    value: float
    unit: str


class Row(BaseModel):
    """A method that can be chosen."""

    id: str
    name: str
    group: Literal["classical", "published", "trained"]
    scales: list[int] | None
    """null: any."""
    study: str | None = None
    best: bool = False
    """Of its study's table."""
    told: str = ""
    table: list[TableValue] = []
    missing: str | None = None
    """Why it cannot be used here, and what to do."""


class Metric(BaseModel):
    name: str
    """Exact: nima@photos."""
    label: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    reference: bool
    """Needs an original."""
    digits: int
    source: str
    missing: str | None = None


class Set(BaseModel):
    name: str
    images: list[str]
    scales: list[int]


class Limits(BaseModel):
    bytes: int
    pixels: int
    pictures: int
    result_pixels: int


class About(BaseModel):
    version: str
    device: str
    limits: Limits
    rows: list[Row]
    sets: list[Set]
    metrics: list[Metric]
    protocol: str


class Wanted(BaseModel):
    """Which results to make: every row of every picture."""

    model_config = ConfigDict(strict=True)

    pictures: list[str]
    rows: list[str]
    scale: int


class Removed(BaseModel):
    removed: str


class Cancelled(BaseModel):
    cancelled: int


class Feature(BaseModel):
    name: str
    value: float | None
    unit: str
    place: float | None
    """On the tool's own scale, 0 to 1."""


class Features(BaseModel):
    """VIQET's, on demand."""

    state: Literal["running", "done", "failed"]
    reason: str | None = None
    mos: float | None = None
    features: list[Feature] = []


class StudyLine(BaseModel):
    name: str
    question: str
    trials: int
    of: int
    state: Literal["running", "done", "partial", "broken"]
    updated: str | None
    report: str | None
    why_no_report: str | None
    sets: list[str]


class RowName(BaseModel):
    id: str
    name: str


class GalleryPicture(BaseModel):
    image: str | None
    small: str | None
    why: str | None
    scores: dict[str, float | None]


class GalleryImage(BaseModel):
    name: str
    small: str | None
    original: str | None
    rows: dict[str, GalleryPicture]


class Gallery(BaseModel):
    rows: list[RowName]
    metrics: list[Metric]
    images: list[GalleryImage]


class Problem(BaseModel):
    """Every error."""

    detail: str
