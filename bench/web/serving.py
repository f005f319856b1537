"""The server itself: an address, uvicorn, a browser that opens, an end."""

import contextlib
import os
import secrets
import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from multiprocessing import forkserver

import uvicorn

from bench.data.processes import uninterrupted
from bench.data.roots import home
from bench.errors import BenchError, reason_of
from bench.records.shelf import shelf_lock
from bench.sweep.executors.local import LocalExecutor
from bench.web.app import make_app
from bench.web.catalogue import Catalogue
from bench.web.desk import Desk
from bench.web.work import run

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY = ("0.0.0.0", "::")


def serve(host: str, port: int, browser: bool, say: Callable[[str], None]) -> None:
    """Serves the page until it is interrupted. say: called with what a person must know.

    Raises BenchError if the address cannot be had, or a page is open on this home already.
    """
    token = "" if host in LOOPBACK else secrets.token_urlsafe(24)
    with contextlib.closing(_listen(host, port)) as listening:
        port = listening.getsockname()[1]
        names = _names(host)
        address = _link(names[0], port, token)
        with shelf_lock(home(), _link(names[0], port, "")), contextlib.suppress(KeyboardInterrupt):
            say(f"The page is at {address}")
            if token:
                say("Others can reach it; who has this link can use it. Nothing is encrypted.")
            say("Ctrl-C ends it.")
            if browser:
                threading.Thread(target=_open, args=(address,), daemon=True).start()
            hosts = frozenset(text for name in names for text in _as_host(name, port))
            _run(listening, hosts, token)


def _run(listening: socket.socket, hosts: frozenset[str], token: str) -> None:
    catalogue, executor = Catalogue(home()), LocalExecutor(1, run=run)
    # in place of what trainings need: OpenCV, which each job would load again
    forkserver.set_forkserver_preload([run.__module__, "cv2"])
    with uninterrupted():  # Ctrl-C is the server's business alone
        forkserver.ensure_running()
    desk = Desk(home(), executor, catalogue)
    try:
        threading.Thread(target=catalogue.rows, daemon=True).start()  # the first page waits less
        app = make_app(desk, catalogue, hosts, token)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none",
            timeout_graceful_shutdown=1, lifespan="on", proxy_headers=False,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        desk.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, at = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise BenchError(f"--host {host}: no address of this machine: {error.strerror}.") from None
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(at)
        made.listen(128)
    except OSError as error:
        made.close()
        if error.errno == 98:
            raise BenchError(
                f"--port {port}: something else listens there. Give another one, or 0 for any."
            ) from None
        raise BenchError(f"--host {host} --port {port}: {reason_of(error)}") from None
    return made


def _names(host: str) -> list[str]:
    """What the machine may be called in the address, the best first."""
    if host in LOOPBACK:
        return [host, *(name for name in LOOPBACK if name != host)]
    if host not in EVERY:
        return [host]
    found = [socket.gethostname(), socket.getfqdn()]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        outward.connect(("192.0.2.1", 9))  # sends nothing; tells by which address others come
        found.insert(0, outward.getsockname()[0])
    return list(dict.fromkeys([*found, *LOOPBACK]))


def _as_host(name: str, port: int) -> list[str]:
    """What the header Host says; browsers leave out port 80."""
    name = f"[{name}]" if ":" in name else name.lower()
    return [f"{name}:{port}", *([name] if port == 80 else [])]


def _link(name: str, port: int, token: str) -> str:
    return f"http://{_as_host(name, port)[0]}/" + (f"?token={token}" if token else "")


def _open(address: str) -> None:
    """Opens the browser, where there is a screen."""
    if {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & os.environ.keys():
        time.sleep(0.5)
        webbrowser.open(address)
