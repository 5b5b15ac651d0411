"""What every route asks for: pictures in, angles and the version that gave them out, within the limits."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np

from recording import angles
from recording.exceptions import InputError
from recording.processors import cores
from serving import pictures
from serving.batching import Batcher, Busy
from serving.crops import Promise
from serving.follower import Follower
from serving.limits import Limits, Refused, busy
from serving.metrics import Metrics
from serving.payloads import Encoded
from serving.predictor import Predictor

log = logging.getLogger("serving.service")

T = TypeVar("T")


def contracted(predictor: Predictor) -> Promise:
    """What a version reads of pictures that have nothing to do with each other."""
    return predictor.contract.crop


def unheard(place: int, line: str) -> None:
    """For those who have nobody to tell."""


class Service:
    """The predictor in use behind the limits, the decoders and the batching queue."""

    def __init__(self, *, follower: Follower, batcher: Batcher, limits: Limits, metrics: Metrics) -> None:
        self.follower = follower
        self.limits = limits
        self.metrics = metrics
        self.streams: set[object] = set()
        """The camera streams that are open."""
        self._batcher = batcher
        # As many as cores: bounds the memory of decoded pictures to this many times the pixel limit.
        self._decoders = ThreadPoolExecutor(cores(), thread_name_prefix="decode")

    async def answer(
        self,
        images: list[Encoded],
        *,
        crop: str = "driver",
        promise: Callable[[Predictor], Promise] = contracted,
        called: str = "image",
        first: int = 1,
        tell: Callable[[int, str], object] = unheard,
    ) -> tuple[Predictor, np.ndarray]:
        """The predictor that answered all of ``images`` and its (n, 2) degrees; :class:`Refused` otherwise.

        ``promise``: what a version reads of a picture, its contract's by default. Refusals name a picture by what it is
        ``called`` and its number, counted on from ``first``. ``tell`` is told what a person should read of a picture,
        by its place in the request.
        """
        predictor = self._ready()
        self._check_count(images)
        try:
            self._batcher.admit(len(images))
        except Busy:
            raise busy() from None
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                names = [f"{called} {number}" for number in range(first, first + len(images))]
                decoded = await self._decode(images, names, crop, promise(predictor), tell)
                answers = await self._batcher.answer(predictor, decoded)
        except InputError as error:
            raise Refused(422, str(error), reason="picture") from None
        except TimeoutError:
            raise busy() from None
        finally:
            self._batcher.release(len(images))
        if not np.isfinite(answers).all():
            log.error("version %d answered a picture with no number", predictor.version)
            raise Refused(422, "the model has no answer for one of these pictures", reason="picture")
        self.metrics.images.labels(str(predictor.version)).inc(len(images))
        return predictor, answers

    def in_background(self, work: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Run ``work`` off the event loop: parsing a large body there would stop every other request."""
        return asyncio.get_running_loop().run_in_executor(self._decoders, work, *arguments)

    def close(self) -> None:
        """Answer what is queued and end the threads."""
        self.follower.stop()
        self._batcher.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def _ready(self) -> Predictor:
        predictor = self.follower.current
        if predictor is None:
            raise Refused(503, "no version is loaded yet; see /readyz?verbose", reason="not ready", retry_after=5)
        return predictor

    def _check_count(self, images: list[Encoded]) -> None:
        if not images:
            raise Refused(400, "the request holds no picture", reason="malformed")
        if len(images) > self.limits.max_images:
            raise Refused(
                413, f"{len(images)} pictures in one request; at most {self.limits.max_images}", reason="count"
            )

    async def _decode(
        self,
        images: list[Encoded],
        names: list[str],
        crop: str,
        promised: Promise,
        tell: Callable[[int, str], object],
    ) -> list[np.ndarray]:
        def one(place: int, name: str, image: Encoded) -> np.ndarray:
            most, say = self.limits.max_pixels, partial(tell, place)
            return pictures.read(image.data, name, crop=crop, promised=promised, max_pixels=most, say=say)

        given = enumerate(zip(names, images, strict=True))
        jobs = [self.in_background(one, place, name, image) for place, (name, image) in given]
        try:
            return await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()


def gaze(azimuth_elevation_deg: np.ndarray) -> list[dict[str, object]]:
    """(n, 2) degrees → one JSON object per picture: both angles and the unit vector (right, up, ahead)."""
    return [
        {
            "azimuth_deg": _rounded(azimuth),
            "elevation_deg": _rounded(elevation),
            "vector": [_rounded(part) for part in vector],
        }
        for (azimuth, elevation), vector in zip(
            azimuth_elevation_deg, angles.vectors(azimuth_elevation_deg), strict=True
        )
    ]


def _rounded(value: float) -> float:
    # Six digits are far below any model's accuracy; "-0.0" would only puzzle.
    return round(float(value), 6) + 0.0
