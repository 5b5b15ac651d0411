"""Pictures of many requests, answered together: a bounded queue in front of a few inference threads."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from recording.processors import cores


class Estimator(Protocol):
    """What answers pictures: (n, 224, 224, 3) uint8 RGB → (n, 2) degrees. Called from several threads at once."""

    def predict(self, pictures: np.ndarray) -> np.ndarray: ...


class Busy(Exception):
    """The queue is full; nothing of the request was taken."""


@dataclass
class _Item:
    estimator: Estimator
    picture: np.ndarray
    answer: Future[np.ndarray] = field(default_factory=Future)


class Batcher:
    """Answers pictures in micro-batches, never mixing two estimators in one.

    One inference thread per core, each on a single-threaded session: on a CPU that answers more pictures per
    second than one prediction spread over all cores, and a convolutional network gains nothing from larger
    batches. A thread therefore never waits for a batch to fill: it takes its share of what is queued at that
    moment, so that a lone picture starts at once and a large request uses every core.

    Args:
        threads: Inference threads; ``None`` is one per core that this process may use.
        limit: Pictures that may wait or be computed at once; more raise :class:`Busy`.
        largest: Pictures in one batch.
        observe: Told the size of every batch.
    """

    def __init__(
        self,
        *,
        threads: int | None = None,
        limit: int = 512,
        largest: int = 16,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._limit = limit
        self._largest = largest
        self._observe = observe
        self._queue: deque[_Item] = deque()
        self._admitted = 0
        self._wake = threading.Condition()
        self._closed = False
        count = threads or cores()
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def admitted(self) -> int:
        """Pictures that wait or are being computed, those still being decoded included."""
        return self._admitted

    def admit(self, count: int) -> None:
        """Reserve room for ``count`` pictures before they are decoded; raises :class:`Busy` when there is none."""
        with self._wake:
            if self._closed or self._admitted + count > self._limit:
                raise Busy
            self._admitted += count

    def release(self, count: int) -> None:
        """Give back the room that :meth:`admit` reserved."""
        with self._wake:
            self._admitted -= count

    def submit(self, estimator: Estimator, pictures: list[np.ndarray]) -> list[Future[np.ndarray]]:
        """Queue pictures (each (224, 224, 3) uint8) for ``estimator``; each future gives (2,) degrees."""
        items = [_Item(estimator, picture) for picture in pictures]
        with self._wake:
            self._queue.extend(items)
            self._wake.notify(len(items))
        return [item.answer for item in items]

    async def answer(self, estimator: Estimator, pictures: list[np.ndarray]) -> np.ndarray:
        """(n, 2) degrees for n pictures. A caller that gives up takes its pictures out of the queue."""
        futures = self.submit(estimator, pictures)
        try:
            answers = await asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
        finally:
            for future in futures:
                future.cancel()
        return np.array(answers, dtype=np.float64).reshape(-1, 2)

    def close(self) -> None:
        """Answer what is queued, then end the threads."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(timeout=30)

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._compute(batch)
            del batch  # or an idle thread would keep the last version's network in memory

    def _next_batch(self) -> list[_Item] | None:
        with self._wake:
            while not self._queue:
                if self._closed:
                    return None
                self._wake.wait()
            share = -(-len(self._queue) // len(self._threads))
            estimator = self._queue[0].estimator
            batch: list[_Item] = []
            while self._queue and len(batch) < min(share, self._largest) and self._queue[0].estimator is estimator:
                batch.append(self._queue.popleft())
            return batch

    def _compute(self, batch: list[_Item]) -> None:
        batch = [item for item in batch if item.answer.set_running_or_notify_cancel()]
        if not batch:
            return
        self._observe(len(batch))
        try:
            answers = batch[0].estimator.predict(np.stack([item.picture for item in batch]))
        except Exception as error:
            # The request that waits for it reports it; the thread goes on with the next batch.
            for item in batch:
                item.answer.set_exception(error)
            return
        for item, answer in zip(batch, answers, strict=True):
            item.answer.set_result(answer)
