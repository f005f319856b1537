"""The page's application: FastAPI's routes, one thin layer over the desk and the catalogue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from bench.errors import disk_is_full
from bench.web import pictures, studies
from bench.web.catalogue import Catalogue
from bench.web.describe import describe
from bench.web.desk import LIMITS, Desk
from bench.web.guard import App, Guard
from bench.web.kept import Refused
from bench.web.shapes import About, Problem, State

PAGE = Path(__file__).with_name("page")
SHARED = Path(__file__).parents[1] / "report/page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files() -> dict[str, Path]:
    """Returns address -> file: the page's own, and the comparison that it shares with reports."""
    files = {f"/{file.name}": file for file in sorted(PAGE.glob("*")) if file.suffix in KINDS}
    files["/"] = files.pop("/index.html", PAGE / "index.html")
    shared = {f"/{name}": SHARED / name for name in ("compare.js", "compare.css")}
    return {path: file for path, file in (files | shared).items() if file.is_file()}


EXPIRE = 600.0
"""Seconds between two looks for what is too old."""
BREATH = 0.1
"""Seconds between two states that a page is sent, at least."""


def make_app(desk: Desk, catalogue: Catalogue, hosts: frozenset[str], token: str = "") -> App:
    """Returns the application behind its guard. hosts: what the header Host may be."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        cleaning = asyncio.create_task(_expiring(desk))
        yield
        cleaning.cancel()

    told = {"application/json": {"schema": Problem.model_json_schema()}}
    errors: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": told}
        for status in (400, 401, 403, 404, 408, 409, 413, 421, 422, 429, 507)
    }
    app = FastAPI(
        title="bench web", version=catalogue.version, description=DESCRIPTION, docs_url=None,
        redoc_url=None, lifespan=lifespan, responses=errors,
    )  # fmt: skip
    app.state.desk, app.state.catalogue, app.state.open = desk, catalogue, True
    for path, file in page_files().items():
        app.add_api_route(path, _serving(file), methods=["GET"], include_in_schema=False)
    app.include_router(pictures.router)
    app.include_router(studies.router)
    _add_pages(app, desk, catalogue)
    _add_errors(app)
    guarded: App = Guard(app, hosts, token)
    return guarded


DESCRIPTION = (
    "Enhance pictures, compare and score them. Everything that changes something needs the header "
    '`X-Bench: 1`. Uploads are raw bodies. Errors are `{"detail": "a sentence"}`.'
)


def _add_pages(app: FastAPI, desk: Desk, catalogue: Catalogue) -> None:
    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(describe(app.openapi()))

    @app.get("/api", tags=["page"])
    def about() -> About:
        """What can be chosen, and the limits."""
        return About(
            version=catalogue.version, device=catalogue.device, limits=LIMITS,
            rows=catalogue.rows(), sets=catalogue.sets(), metrics=catalogue.metrics(),
            protocol="sr-y@1",
        )  # fmt: skip

    @app.get("/api/state", tags=["page"])
    def state() -> State:
        """All pictures with their results, the newest first, and the queue."""
        return desk.state()

    @app.get("/api/events", tags=["page"], response_class=StreamingResponse)
    async def events(request: Request) -> StreamingResponse:
        """The state, at once and after every change, as server-sent events called `state`."""
        return StreamingResponse(_states(desk, app), media_type="text/event-stream")


async def _states(desk: Desk, app: FastAPI) -> AsyncIterator[str]:
    sent = -1
    quiet = 0.0
    while app.state.open:
        if desk.version != sent:
            sent, quiet = desk.version, 0.0
            state = await asyncio.to_thread(desk.state)
            yield f"event: state\ndata: {state.model_dump_json()}\n\n"
        elif quiet > 15:
            quiet = 0.0
            yield ": still here\n\n"
        quiet += BREATH
        await asyncio.sleep(BREATH)


async def _expiring(desk: Desk) -> None:
    while True:
        await asyncio.sleep(EXPIRE)
        await asyncio.to_thread(desk.expire)


def _serving(file: Path) -> Callable[[], Response]:
    def serve() -> Response:
        return Response(file.read_bytes(), media_type=KINDS[file.suffix])

    return serve


def _add_errors(app: FastAPI) -> None:
    """Every error is one sentence."""

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"detail": error.detail}, error.status)

    @app.exception_handler(OSError)
    def refused_by_the_disk(request: Request, error: OSError) -> JSONResponse:
        if not disk_is_full(error):
            raise error
        return JSONResponse({"detail": "The disk is full. Make room, and try again."}, 507)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"detail": f"{where}: {first['msg']}."}, 422)

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> JSONResponse:
        headers = getattr(error, "headers", None)
        return JSONResponse({"detail": f"{error.detail}."}, error.status_code, headers)
