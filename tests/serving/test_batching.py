import threading
import time

import numpy as np
import pytest

from serving.batching import Batcher, Busy


class Slow:
    """Answers each picture with its first pixel, and remembers the batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []
        self._lock = threading.Lock()

    def predict(self, pictures: np.ndarray) -> np.ndarray:
        with self._lock:
            self.batches.append(len(pictures))
        time.sleep(self.seconds)
        return np.stack([pictures[:, 0, 0, 0], pictures[:, 0, 0, 1]], axis=1).astype(float)


def _picture(value: int) -> np.ndarray:
    return np.full((224, 224, 3), value, dtype=np.uint8)


@pytest.fixture
def batcher():
    made = Batcher(threads=1, limit=8, largest=4)
    yield made
    made.close()


# Each picture gets its own answer back, whatever batch it travelled in.
def test_answers_keep_their_pictures(batcher: Batcher) -> None:
    network = Slow(0.01)
    futures = [batcher.submit(network, [_picture(value)])[0] for value in range(50)]
    assert [future.result()[0] for future in futures] == list(range(50))


# What waits while a thread computes goes into one batch, up to the largest size.
def test_waiting_pictures_share_a_batch(batcher: Batcher) -> None:
    network = Slow(0.05)
    futures = batcher.submit(network, [_picture(0)])
    time.sleep(0.02)
    futures += batcher.submit(network, [_picture(value) for value in range(8)])
    [future.result() for future in futures]
    assert network.batches == [1, 4, 4]


# Two versions are never mixed in one batch.
def test_networks_are_not_mixed(batcher: Batcher) -> None:
    old, new = Slow(0.02), Slow(0.02)
    futures = batcher.submit(old, [_picture(0)])
    time.sleep(0.01)
    futures += (
        batcher.submit(old, [_picture(1)]) + batcher.submit(new, [_picture(2)]) + batcher.submit(old, [_picture(3)])
    )
    [future.result() for future in futures]
    assert old.batches == [1, 1, 1]
    assert new.batches == [1]


# Over the limit nothing is taken; when room is given back, it can be had again.
def test_limit_is_kept(batcher: Batcher) -> None:
    batcher.admit(8)
    with pytest.raises(Busy):
        batcher.admit(1)
    batcher.release(1)
    batcher.admit(1)
    assert batcher.admitted == 8


# A network that raises fails its own pictures and no others.
def test_failure_stays_with_its_batch(batcher: Batcher) -> None:
    class Broken:
        def predict(self, pictures: np.ndarray) -> np.ndarray:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        batcher.submit(Broken(), [_picture(0)])[0].result()
    assert batcher.submit(Slow(), [_picture(7)])[0].result()[0] == 7


# A request that gave up costs no computation.
def test_cancelled_pictures_are_not_computed(batcher: Batcher) -> None:
    network = Slow(0.05)
    first = batcher.submit(network, [_picture(0)])[0]
    time.sleep(0.02)
    waiting = batcher.submit(network, [_picture(1), _picture(2)])
    assert all(future.cancel() for future in waiting)
    first.result()
    batcher.submit(network, [_picture(3)])[0].result()
    assert sum(network.batches) == 2
