"""The gatekeeper alone, in front of an application that answers with the length of the body."""

import asyncio
import json

from starlette.types import Message

from serving.gatekeeper import Gatekeeper
from serving.limits import Limits
from serving.metrics import Metrics


async def _length(scope, receive, send) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


def _scope() -> dict:
    return {"type": "http", "path": "/v1/gaze", "method": "POST", "headers": [], "query_string": b""}


async def _ask(gatekeeper: Gatekeeper, *parts: bytes, ends: bool = True) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the answer to a body in ``parts``, which does not end unless it ``ends``."""
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    sent: list[Message] = []

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        if ends:
            return {"type": "http.request", "body": b"", "more_body": False}
        return await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message)

    await asyncio.wait_for(gatekeeper(_scope(), receive, send), 5)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


# A body that stops coming is given up, its connection closed, and its bytes make room for others.
def test_a_body_that_does_not_arrive_in_time_is_given_up() -> None:
    limits = Limits(max_bytes=1024, body_seconds=0.1)
    gatekeeper = Gatekeeper(_length, limits=limits, metrics=Metrics())

    async def all_asked() -> None:
        for _ in range(8):  # twice what may be held at once
            status, headers, body = await _ask(gatekeeper, b"x" * 1000, ends=False)
            assert (status, headers[b"connection"]) == (408, b"close")
            assert "within 0.1 s" in json.loads(body)["error"]["message"]
        assert (await _ask(gatekeeper, b"x" * 500, b"y" * 500))[::2] == (200, b"1000")

    asyncio.run(all_asked())
