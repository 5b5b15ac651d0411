"""The first thing that a request meets: who asks, how much is sent and how fast; and the last: what is counted."""

import asyncio
import hmac
import json
import logging
import re
import time
import zlib
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.limits import Limits, Refused, busy
from serving.metrics import Metrics

log = logging.getLogger("serving.gatekeeper")

# Anyone may ask whether the server lives: a load balancer has no token.
OPEN_ROUTES = ("/livez", "/readyz", "/ping", "/health")
_ABSOLUTE = re.compile(rb"https?://[^/]+(?P<path>/.*)?$", re.IGNORECASE | re.DOTALL)
ROUTES = (*OPEN_ROUTES, "/v1/gaze", "/v1/model", "/v1/stream", "/invocations", "/version", "/metrics")


class Gatekeeper:
    """ASGI middleware: bearer token, body size and pace, a JSON answer to whatever goes wrong, metrics.

    The body is read whole before the application sees the request, so that a slow client holds its connection
    and its own bytes, never a thread or a place in the queue. All bodies together stay below
    ``limits.bodies_bytes``.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, metrics: Metrics, token: str = "") -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._expected = f"Bearer {token}".encode() if token else b""
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = _in_origin_form(scope)
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket" and not self._authorised(scope):
            self._metrics.rejected.labels("token").inc()
            await send({"type": "websocket.close", "code": 1008, "reason": "bearer token missing or wrong"})
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        route = scope["path"] if scope["path"] in ROUTES else "other"
        status = 0
        # What GET would answer, without the body (RFC 9110, 9.3.2).
        if only_head := scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif only_head:
                message = {**message, "body": b""}
            await send(message)

        held = 0
        try:
            if not self._authorised(scope):
                raise Refused(401, "bearer token missing or wrong", reason="token")
            body = await self._body(scope, receive)
            held = len(body)
            if encoding := dict(scope["headers"]).get(b"content-encoding", b"").strip().lower():
                body = await asyncio.to_thread(self._unpacked, body, encoding)
                held, self._held = len(body), self._held - held + len(body)
            await self._app(scope, _replay(body, receive), watched)
        except Refused as refused:
            self._metrics.rejected.labels(refused.reason).inc()
            await _refuse(watched, refused)
        except _Gone:
            return
        except Exception:
            log.exception("a request to %s failed", route)
            if status:
                raise  # half an answer is out; the server closes the connection
            await _refuse(watched, Refused(500, "internal error; the server's log has the cause", reason="error"))
        finally:
            self._held -= held
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - began)

    def _authorised(self, scope: Scope) -> bool:
        if not self._expected or (scope["path"] in OPEN_ROUTES and not scope.get("query_string")):
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self._expected)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > self._limits.max_bytes:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    size += len(part)
                    self._held += len(part)
                    if size > self._limits.max_bytes:
                        raise self._too_large()
                    if self._held > self._limits.bodies_bytes:
                        raise busy()
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except BaseException as error:
            self._held -= size
            if isinstance(error, TimeoutError):
                seconds = self._limits.body_seconds
                raise Refused(408, f"the body did not arrive within {seconds:g} s", reason="slow") from None
            raise

    def _unpacked(self, body: bytes, encoding: bytes) -> bytes:
        """A body that was packed for the way; no more of it is unpacked than a plain one may have."""
        if encoding == b"identity":
            return body
        if encoding not in (b"gzip", b"x-gzip", b"deflate"):
            named = encoding.decode("latin-1")[:40]
            raise Refused(415, f"Content-Encoding {named!r} is not read; send it plain or gzip", reason="content type")
        plain, ended = self._inflated(body, zlib.MAX_WBITS if encoding == b"deflate" else zlib.MAX_WBITS | 16)
        if encoding == b"deflate" and not plain:  # many clients send it without the frame that RFC 9110 asks for
            plain, ended = self._inflated(body, -zlib.MAX_WBITS)
        if not ended:
            raise Refused(400, "the body is not what its Content-Encoding says, or is cut off", reason="malformed")
        return plain

    def _inflated(self, body: bytes, window: int) -> tuple[bytes, bool]:
        """What the members of ``body``, one or several (RFC 1952, 2.2), hold, and whether the last one is whole."""
        plain, ended = b"", False
        while body and not (ended and not body.strip(b"\0")):  # what follows the last one is padding
            unpacking = zlib.decompressobj(window)
            try:
                plain += unpacking.decompress(body, self._limits.max_bytes + 1 - len(plain))
            except zlib.error:
                return plain, False
            if len(plain) > self._limits.max_bytes:
                raise self._too_large()
            ended, body = unpacking.eof, unpacking.unused_data
            if not ended:
                break
        return plain, ended

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self._limits.max_bytes} bytes", reason="bytes")


def _in_origin_form(scope: Scope) -> Scope:
    """``scope`` with the path alone where the request line has an absolute address (RFC 9112, 3.2.2).

    Here, before anything is decided by the path, so that what is decided on and what is routed are the same.
    """
    address = _ABSOLUTE.match(scope.get("raw_path") or b"")
    if address is None:
        return scope
    path = address["path"] or b"/"
    return {**scope, "raw_path": path, "path": unquote(path.decode("ascii"))}


class _Gone(Exception):
    """The client hung up before its body was whole."""


def _replay(body: bytes, receive: Receive) -> Receive:
    pending = [body]

    async def again() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return again


async def _refuse(send: Send, refused: Refused) -> None:
    content = json.dumps(refusal(refused)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if refused.status in (408, 413) or refused.reason == "busy":
        # The rest of the body is not wanted; without this the server would read it to its end.
        headers.append((b"connection", b"close"))
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refused.retry_after is not None:
        headers.append((b"retry-after", str(refused.retry_after).encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def refusal(refused: Refused) -> dict[str, dict[str, object]]:
    """The JSON body of a refused request."""
    return {"error": {"reason": refused.reason, "message": refused.message}}
