"""``python -m benchmarks.drives --cluster auto``: many small drives prepared by a Ray cluster, which is killed midway.

A list of drives of a few pictures each, one of them damaged, is prepared as ``drives=`` does it; once a third of them
is there, the process is killed (kill -9), and another one goes on. What is printed: how long both took, how many
drives there were at the kill, whether any was prepared again, and what is said of the damaged one.
"""

import argparse
import logging
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from benchmarks.machine import machine
from recording import drive_list, fleet, prepared
from recording.files import read_json
from recording.fleet import SKIP, Task

FRAMES = 12
SIZE = (238, 268)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", default="auto", help="auto or HOST:PORT, on this machine (auto)")
    parser.add_argument("--drives", type=int, default=100, help="how many, one of which is damaged (100)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), arguments.cluster, arguments.drives)


def _measure(folder: Path, cluster: str, number: int) -> None:
    tasks = _tasks(folder, number)
    began = time.monotonic()
    process = multiprocessing.get_context("spawn").Process(target=_prepare, args=(cluster, folder / "work", tasks))
    process.start()
    while len(before := _complete(folder)) < number // 3:
        if process.exitcode is not None:
            raise SystemExit(f"it ended by itself, with exit status {process.exitcode}")
        time.sleep(0.1)
    process.kill()
    process.join()
    killed = time.monotonic()
    outcomes = _prepare(cluster, folder / "work", tasks)
    bad = [outcome for outcome in outcomes if outcome.error]
    after = _complete(folder)
    again = sum(after[name] != when for name, when in before.items())
    print(f"machine: {machine()}\n")
    print(f"killed after {killed - began:.0f} s with {len(before)} of {number} drives prepared")
    print(f"started again: all {len(after)} after {time.monotonic() - killed:.0f} s more, {again} prepared again")
    print(*(f"left out: {one.entry.name}: {one.error}" for one in bad), sep="\n")


def _tasks(folder: Path, number: int) -> list[Task]:
    """Drives of one film and labels of their own; the film of one in the middle is torn."""
    with av.open(str(folder / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"preset": "ultrafast"})
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        for one in range(FRAMES):
            noise = np.random.default_rng(one).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, "bgr24")))
        container.mux(stream.encode())
    rows = ["video,labels,driver,layout,face"]
    for one in range(number):
        film, labels = folder / f"{one:03d}.mp4", folder / f"{one:03d}.csv"
        if one == number // 2:
            film.write_bytes((folder / "film.mp4").read_bytes()[:500])
        else:
            os.link(folder / "film.mp4", film)
        angles = np.random.default_rng(one).normal(0, 5, (FRAMES, 2))
        lines = [f"{frame},{azimuth:.3f},{elevation:.3f}" for frame, (azimuth, elevation) in enumerate(angles)]
        labels.write_text("\n".join(["dash_frames,azimuth [deg],elevation [deg]", *lines]) + "\n")
        rows.append(f"{film.name},{labels.name},driver {one},driver,none")
    (folder / "drives.csv").write_text("\n".join(rows) + "\n")
    return [Task(entry, folder / "work", samples=FRAMES) for entry in drive_list.read(folder / "drives.csv")]


def _complete(folder: Path) -> dict[str, int]:
    """Drive → when its description was last written, of those that are prepared."""
    found = folder.glob(f"work/prepared/*/{prepared.DRIVE}")
    return {
        path.parent.name: path.stat().st_mtime_ns for path in found if read_json(path)["status"] == prepared.COMPLETE
    }


def _prepare(address: str, work: Path, tasks: list[Task]) -> tuple[fleet.Outcome, ...]:
    from training.searching.cluster import connected

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    work.mkdir(exist_ok=True)
    with connected(address, work) as cluster:
        return fleet.prepare(tasks, SKIP, 1, cluster.prepare)


if __name__ == "__main__":
    main()
