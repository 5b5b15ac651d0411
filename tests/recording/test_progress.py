"""A bar whose reader is gone costs nothing but itself."""

import os
import sys
import threading

import pytest

from recording import progress


def test_a_bar_that_nobody_reads_any_more_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # `... 2>&1 | less`, left; a terminal that was closed; a wrapper that was killed. tqdm's lock was kept for ever.
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        with progress.bar(100, 0, "frames", "frame") as bar:
            bar.mininterval = 0.0
            os.close(reader)
            movers = [threading.Thread(target=bar.update) for _ in range(3)]
            for mover in movers:
                mover.start()
            for mover in movers:
                mover.join(60)
            assert not any(mover.is_alive() for mover in movers)
            bar.refresh()
            assert bar.n == 3
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), gone.fileno())
    ended = threading.Thread(target=lambda: progress.bar(1, 0, "again", "frame").close())
    ended.start()
    ended.join(60)
    assert not ended.is_alive(), "the lock is still held"
