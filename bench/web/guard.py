"""What every request must fulfil, and what every answer says: the page's locks, in one place.

The browser of the person at this machine is the only client that is meant. Other sites in that
browser are kept out by exact Host and Origin and by a header that a form cannot send; other
machines by the address, or by a token.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SMALL_BODY = 100_000
"""Bytes of a request that is no upload."""

POLICY = (
    "default-src 'none'; img-src 'self' blob:; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""Of every answer, unless its own is stricter or it may be kept."""


class Guard:
    """Refuses what does not come from the page itself.

    hosts: what the header Host may be, exactly, such as "127.0.0.1:8000". token: what others than
    this machine must bring; "" for none.
    """

    def __init__(self, app: App, hosts: frozenset[str], token: str = "") -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no WebSockets: closed without a word
        send = _with_headers(send)
        if self._token and (cookie := self._from_link(scope)):
            await _answer(send, 303, "", {"location": "/", "set-cookie": cookie})
        elif problem := self._problem(scope):
            await _answer(send, *problem)
        else:
            await self._app(scope, _counted(scope, receive), send)

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return 421, (
                "This address is not the page's own. Open the one that `bench web` has printed: "
                f"{', '.join(sorted(self._hosts))}."
            )
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return 403, "The request comes from another site. Only the page itself may ask."
        if scope["method"] not in ("GET", "HEAD") and _values(scope, b"x-bench") != ["1"]:
            return 403, "What changes something needs the header X-Bench: 1."
        if self._token and not self._is_known(scope):
            return 401, "A token is needed: open the link that `bench web` has printed."
        length = _values(scope, b"content-length")
        if length and not _is_upload(scope) and length[0].isdigit() and int(length[0]) > SMALL_BODY:
            return 413, f"The request is larger than {SMALL_BODY} bytes."
        return None

    def _is_known(self, scope: Scope) -> bool:
        given = [value.removeprefix("Bearer ") for value in _values(scope, b"authorization")]
        for cookies in _values(scope, b"cookie"):
            given += [
                c.strip().removeprefix("bench=")
                for c in cookies.split(";")
                if c.strip().startswith("bench=")
            ]
        return any(self._is_token(text) for text in given)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    def _from_link(self, scope: Scope) -> str | None:
        """The cookie for whoever opens the printed link: "/?token=T"."""
        if scope["method"] != "GET" or scope["path"] != "/":
            return None
        hosts = _values(scope, b"host")
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if len(hosts) != 1 or hosts[0] not in self._hosts or not any(map(self._is_token, given)):
            return None
        return f"bench={self._token}; HttpOnly; SameSite=Strict; Path=/"


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _is_upload(scope: Scope) -> bool:
    return bool(scope["path"].startswith("/api/pictures"))


def _counted(scope: Scope, receive: Receive) -> Receive:
    """Ends a request without an upload that is longer than it says or may be."""
    if _is_upload(scope):
        return receive  # counted where they are written
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return {"type": "http.disconnect"} if taken > SMALL_BODY else message

    return counted


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {key for key, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *((k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in own),
            ]
        await send(message)

    return sending


async def _answer(
    send: Send, status: int, detail: str, headers: dict[str, str] | None = None
) -> None:
    body = json.dumps({"detail": detail}).encode() if detail else b""
    own = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(k.encode(), v.encode()) for k, v in own.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
