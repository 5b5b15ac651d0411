"""``python -m benchmarks.identity``: how surely the moments of a recording are known again in a copy of it.

Drives of one driver in one car are rendered, the driver view alone. Of each, copies are made: trimmed, in another
container, with another CSV, at another rate, size and quality, and all of it at once. ``recognised`` is the share of
the copy's samples, all of which the original shows, that are found in it less than a second from where they are;
false matches are samples of another drive that are found anywhere. The correlations are those of the stretches: the
lowest of a copy's, the highest of another drive's, between which the limit has to lie.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np

from recording import fingerprint, prepared
from recording.drive import Source
from recording.fingerprint import SAME
from recording.preparation import prepare
from recording.prepared import Samples
from registry.lineage import NEAR_COPY_S
from training.sample import sample_drive
from training.sample.recipe import Recipe

SAMPLES = 200
VIEW = (320, 360)
FOCAL = 600.0


@dataclass(frozen=True)
class Copy:
    """What is done to a recording: seconds cut off its start, the new rate, size and quality, the container."""

    name: str
    trimmed_s: float = 0.0
    fps: float = 1.0
    """Times the old rate."""
    scale: float = 1.0
    crf: int | None = None
    """Quality of the new encoding; None: the packets as they are."""
    container: str = "mp4"
    csv: bool = False
    """Whether every third row of the CSV is missing and the others are changed a little."""


COPIES = (
    Copy("other container", container="mkv"),
    Copy("edited CSV", csv=True),
    Copy("trimmed by 100 s", trimmed_s=100.0, crf=23),
    Copy("quality 35", crf=35),
    Copy("half the size", scale=0.5, crf=23),
    Copy("three quarters of the rate", fps=0.75, crf=23),
    Copy("all of it", 100.0, 0.75, 0.5, 35, "mkv", True),
)


def main() -> None:
    """Render, copy, compare, print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=Path("data") / "identity", help="folder for the drives (%(default)s)"
    )
    parser.add_argument("--drives", type=int, default=3, help="drives of one driver in one car (%(default)s)")
    parser.add_argument("--seconds", type=float, default=160.0, help="length of each (%(default)s)")
    parser.add_argument("--fps", type=int, default=4, help="frames a second (%(default)s)")
    arguments = parser.parse_args()
    recipe = Recipe(seconds=arguments.seconds, fps=arguments.fps, driver_view=VIEW, focal=FOCAL)
    originals = [_original(arguments.work, replace(recipe, seed=seed)) for seed in range(arguments.drives)]
    print("| copy | samples | recognised | lowest correlation |\n|---|---|---|---|")
    for copy in COPIES:
        print(_row(copy.name, [_compare_copy(copy, *original, arguments.work) for original in originals]), flush=True)
    pairs = [_compare(one, other, None) for (_, one), (_, other) in permutations(originals, 2)]
    found, count = sum(hits for hits, _, _ in pairs), sum(count for _, count, _ in pairs)
    highest = max(float(correlations.max()) for _, _, correlations in pairs)
    print(f"\nother drives: {found} of {count} samples are false matches", end="")
    print(f", highest correlation {highest:.3f} (limit {SAME})")


def _row(name: str, compared: list[tuple[int, int, np.ndarray]]) -> str:
    found, count = sum(hits for hits, _, _ in compared), sum(count for _, count, _ in compared)
    lowest = min(float(correlations.min()) for _, _, correlations in compared)
    return f"| {name} | {count} | {100 * found / count:.2f} % | {lowest:.3f} |"


def _original(work: Path, recipe: Recipe) -> tuple[tuple[Path, Path], Samples]:
    files = sample_drive.render_recipe(work / "drives", recipe)
    return files, _prepared(*files, work / "prepared" / files[0].parent.name)


def _prepared(video: Path, labels: Path, folder: Path) -> Samples:
    return prepared.load(prepare(Source(video, labels, "driver"), SAMPLES, folder, face_asked="none"))


def _compare_copy(copy: Copy, files: tuple[Path, Path], original: Samples, work: Path) -> tuple[int, int, np.ndarray]:
    with TemporaryDirectory(dir=work) as scratch:
        folder = Path(scratch)
        video, labels = folder / f"copy.{copy.container}", folder / "copy.csv"
        if copy.crf is None:
            _remux(files[0], video)
        else:
            _encode(files[0], video, copy)
        _rewrite(files[1], labels, copy, original.fps)
        return _compare(_prepared(video, labels, folder / "prepared"), original, copy.trimmed_s)


def _compare(copy: Samples, original: Samples, trimmed_s: float | None) -> tuple[int, int, np.ndarray]:
    """How many samples of ``copy`` are found in ``original`` (where they are), of how many; stretches' correlations."""
    known, shown = fingerprint.of(original), fingerprint.of(copy)
    there = fingerprint.moments_in(known, shown, copy.seconds)
    found = np.isfinite(there)
    if trimmed_s is not None:
        found &= np.abs(there - copy.seconds - trimmed_s) < NEAR_COPY_S
    return int(found.sum()), len(found), fingerprint.correlations(shown, known)


def _pictures(video: Path, copy: Copy) -> Iterator[np.ndarray]:
    """The pictures that the copy shows: each time the one that was shown then."""
    with av.open(str(video)) as container:
        rate, shown = float(container.streams.video[0].average_rate or 0), 0
        for number, frame in enumerate(container.decode(video=0)):
            while int(copy.trimmed_s * rate + shown / copy.fps + 1e-6) == number:
                yield frame.to_ndarray(format="rgb24")
                shown += 1


def _encode(video: Path, path: Path, copy: Copy) -> None:
    with av.open(str(video)) as source:
        track = source.streams.video[0]
        size = 2 * round(track.width * copy.scale / 2), 2 * round(track.height * copy.scale / 2)
        rate = Fraction(track.average_rate or 1) * Fraction(copy.fps).limit_denominator(100)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": str(copy.crf), "preset": "veryfast"})
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        for number, picture in enumerate(_pictures(video, copy)):
            shown: np.ndarray = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(shown, "rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _remux(video: Path, path: Path) -> None:
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = track
                target.mux(packet)


def _rewrite(labels: Path, path: Path, copy: Copy, fps: float) -> None:
    """The CSV of the copy: rows of frames that it shows, by their new numbers."""
    lines = labels.read_text(encoding="utf-8").splitlines()
    head = lines[0].split(",")
    frame, azimuth = head.index("dash_frames"), head.index("azimuth [deg]")
    rows = []
    for number, line in enumerate(lines[1:]):
        cells = line.split(",")
        if len(cells) != len(head) or not cells[frame].isdecimal() or (copy.csv and number % 3 == 0):
            continue
        at = (int(cells[frame]) / fps - copy.trimmed_s) * fps * copy.fps
        if at < 0 or not cells[azimuth]:
            continue
        cells[frame] = str(round(at))
        cells[azimuth] = f"{float(cells[azimuth]) + 0.01 * copy.csv:.4f}"
        rows.append(",".join(cells))
    path.write_text("\n".join([lines[0], *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
