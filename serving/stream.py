"""Frames of a live camera over a WebSocket: the latest frame wins, older ones that waited are dropped."""

import asyncio
import json
import logging
from contextlib import suppress

from fastapi import WebSocket, WebSocketDisconnect

from serving import wishes
from serving.crops import Promise, two_faces
from serving.limits import Refused
from serving.payloads import Encoded
from serving.predictor import Predictor
from serving.service import Service, gaze
from serving.steady import Steady

log = logging.getLogger("serving.stream")

CLOSE_REASON = 123
"""Bytes that RFC 6455 leaves for the reason of a close."""


class Slot:
    """Room for one frame: a newer frame takes the place of one that nobody has taken."""

    def __init__(self) -> None:
        self.received = 0
        self._frame: tuple[int, bytes] | None = None
        self._filled = asyncio.Event()

    def put(self, data: bytes) -> None:
        """Take in the newest frame."""
        self.received += 1
        self._frame = (self.received, data)
        self._filled.set()

    async def take(self) -> tuple[int, bytes]:
        """Wait for a frame: its number, counted from 1, and its bytes."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            frame, self._frame = self._frame, None
            if frame is not None:
                return frame


async def answer_latest(socket: WebSocket, service: Service) -> None:
    """Read JPEG or PNG frames from ``socket`` and answer the newest, until the client leaves.

    What they show, ``crop`` of the address says.

    Each answer is JSON: ``frame`` (counted from 1), ``dropped`` (frames passed over so far), the angles and the
    version, and ``warning`` where the stream shows two faces; or ``frame``, ``dropped`` and ``error``. A frame over the
    size limit ends the connection, and so does an error of the server's own.
    """
    await socket.accept()
    try:
        crop = wishes.crop(wishes.in_address(socket.query_params))
    except Refused as refused:
        service.metrics.rejected.labels(refused.reason).inc()
        await socket.close(1008, refused.message.encode()[:CLOSE_REASON].decode("utf-8", "ignore"))
        return
    if len(service.streams) >= service.limits.streams:
        service.metrics.rejected.labels("streams").inc()
        await socket.close(1013, "too many streams; try again later")
        return
    service.streams.add(socket)
    slot = Slot()
    answering = asyncio.create_task(_answer_or_close(socket, service, slot, crop))
    try:
        while not answering.done():
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is None:
                await socket.close(1003, "send each frame as one binary message")
                return
            if len(data) > service.limits.frame_bytes:
                await socket.close(1009, f"a frame may have {service.limits.frame_bytes} bytes")
                return
            slot.put(data)
    finally:
        service.streams.discard(socket)
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


async def _answer_or_close(socket: WebSocket, service: Service, slot: Slot, crop: str) -> None:
    """Answer frames; what nobody foresaw ends the stream, in the log and to the client, not only this task."""
    try:
        await _answer(socket, service, slot, crop)
    except Exception:
        log.exception("answering a stream failed")
        with suppress(WebSocketDisconnect, RuntimeError):  # the client left meanwhile
            await socket.close(1011, "the server failed on a frame; its log says why")


async def _answer(socket: WebSocket, service: Service, slot: Slot, crop: str) -> None:
    answered = 0
    following: dict[int, Steady] = {}

    def promise(predictor: Predictor) -> Promise:
        if predictor.version not in following:
            following.clear()
            following[predictor.version] = Steady(predictor.contract.crop)
        return following[predictor.version]

    while True:
        number, data = await slot.take()
        answered += 1
        answer: dict[str, object] = {"frame": number, "dropped": number - answered}
        try:
            images = [Encoded(data, f"frame {number}")]
            predictor, angles = await service.answer(images, crop=crop, promise=promise, called="frame", first=number)
            answer |= gaze(angles)[0] | predictor.identity
            if second := following[predictor.version].two_faces:
                answer["warning"] = two_faces(second, "the stream")
        except Refused as refused:
            answer["error"] = refused.message
        try:
            await socket.send_text(json.dumps(answer))
        except (WebSocketDisconnect, RuntimeError):
            return  # the client left while its frame was answered
