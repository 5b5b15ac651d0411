"""The activation cache: kept once, made again when broken, bounded."""

import fcntl
import json
import multiprocessing
import os
import signal
import sys
import time

import numpy as np
import pytest

from benchmarks import machine
from recording.exceptions import InputError
from training.learning import cache
from training.learning.cache import ActivationCache


def counted(calls: list, value: float = 1.0):
    def fill(array: np.ndarray) -> None:
        calls.append(1)
        array[:] = value

    return fill


def test_an_array_is_made_once_and_again_when_its_key_changes(tmp_path):
    calls: list = []
    for key in ({"a": 1}, {"a": 1}, {"a": 2}):
        cache = ActivationCache(tmp_path)
        assert cache.array(key, (4, 3), "float16", counted(calls), "test").sum() == 12
        cache.close()
    assert len(calls) == 2


def flip_a_byte(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x40
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("{torn"),
        lambda path: path.unlink(),
    ],
)
def test_a_torn_or_foreign_file_is_made_again(tmp_path, damage):
    calls: list = []
    cache = ActivationCache(tmp_path)
    cache.array({"a": 1}, (100,), "float32", counted(calls), "test")
    cache.close()
    damage(next(tmp_path.glob("*.bin")))
    assert ActivationCache(tmp_path).array({"a": 1}, (100,), "float32", counted(calls, 2), "test").sum() == 200
    assert len(calls) == 2


def test_what_was_used_longest_ago_goes_first_and_what_is_open_stays(tmp_path):
    calls: list = []
    for k in range(3):
        cache = ActivationCache(tmp_path, limit_bytes=1000)
        cache.array({"k": k}, (300,), "uint8", counted(calls), "test")
        cache.close()
        os.utime(next(p for p in tmp_path.glob("*.bin") if p.stat().st_mtime > 1e9), (k, k))
    holder = ActivationCache(tmp_path, limit_bytes=1000)
    holder.array({"k": 0}, (300,), "uint8", counted(calls), "test")
    for path in tmp_path.glob("*.bin"):
        os.utime(path, (1, 1))
    ActivationCache(tmp_path, limit_bytes=1000).array({"k": 9}, (500,), "uint8", counted(calls), "test")
    assert sum(path.stat().st_size for path in tmp_path.glob("*.bin")) <= 1000
    holder.close()
    ActivationCache(tmp_path, limit_bytes=1000).array({"k": 0}, (300,), "uint8", counted(calls), "test")
    assert len(calls) == 4  # k = 0, 1, 2, 9: the open one was not evicted


def test_an_array_over_the_limit_is_refused_by_size(tmp_path):
    with pytest.raises(InputError, match="over the limit"):
        ActivationCache(tmp_path, limit_bytes=100).array({}, (1000,), "uint8", counted([]), "driver crops")


def test_a_failed_fill_leaves_nothing_behind(tmp_path):
    def fill(array):
        raise OSError(28, "No space left on device")

    cache = ActivationCache(tmp_path)
    with pytest.raises(InputError, match="No space left on device"):
        cache.array({}, (1000,), "uint8", fill, "driver crops")
    assert not list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.part"))
    assert ActivationCache(tmp_path).array({}, (1000,), "uint8", counted([]), "driver crops").sum() == 1000


def slow_fill(folder, log, seconds):
    def fill(array):
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        array[:] = 3

    cache = ActivationCache(folder)
    total = int(cache.array({"race": 1}, (1000,), "uint8", fill, "race").sum())
    with log.open("a") as file:
        file.write(f"sum {total}\n")


def test_two_processes_that_want_the_same_array_make_it_once(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=slow_fill, args=(tmp_path / "cache", log, 1.0)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    lines = log.read_text().split("\n")
    assert lines.count("sum 3000") == 2
    assert sum(line.isdigit() for line in lines) == 1


def test_a_process_killed_while_filling_blocks_nobody(tmp_path):
    log = tmp_path / "log"
    process = multiprocessing.get_context("spawn").Process(target=slow_fill, args=(tmp_path / "cache", log, 60))
    process.start()
    while not log.exists():
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    slow_fill(tmp_path / "cache", log, 0)
    assert "sum 3000" in log.read_text()
    assert not list((tmp_path / "cache").glob("*.part"))
    note = json.loads(next((tmp_path / "cache").glob("*.json")).read_text())
    assert note["size"] == 1000


def test_who_made_an_array_between_the_two_looks_of_another_keeps_nobody_waiting(tmp_path, monkeypatch):
    """Both saw that it was missing; the one who came second waited until the first one's trial was over."""
    first, second, calls, real = ActivationCache(tmp_path), ActivationCache(tmp_path), [], cache._alone

    def first_one_was_quicker(lock):
        monkeypatch.undo()
        fcntl.flock(lock, fcntl.LOCK_UN)
        first.array({"race": 1}, (10,), "uint8", counted(calls), "race")
        return real(lock)

    monkeypatch.setattr(cache, "_alone", first_one_was_quicker)
    assert second.array({"race": 1}, (10,), "uint8", counted(calls), "race").sum() == 10
    assert len(calls) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="what a process keeps of files is asked of Linux")
def test_of_a_long_array_little_stays_in_memory_and_nothing_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RESIDENT_BYTES", 2**21)
    rows, row = 128, 2**18
    before, peaks = machine.memory("RssFile"), []

    def fill(array: np.ndarray) -> None:
        resident = cache.Resident(None, np.empty(3), array)
        for number in range(rows):
            array[number] = number
            resident.touched(row)
            peaks.append(machine.memory("RssFile") - before)

    kept = ActivationCache(tmp_path)
    array = kept.array({"a": 1}, (rows, row), "uint8", fill, "test")
    resident = cache.Resident(array)
    for number in range(rows):
        assert (array[number] == number).all()
        resident.touched(row)
        peaks.append(machine.memory("RssFile") - before)
    assert 2**20 < max(peaks) < 2**23, "of 32 MiB"
