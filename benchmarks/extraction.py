"""Extraction of samples from a recording, against the old recipe and against the floor.

    python -m benchmarks.extraction

renders a 6,000-frame H.264 video of 1504×540 pixels in the DashGaze layout, once with a key frame every 30
frames and once every 250, and measures three sides on each, in turn, several times:

- **seek per sample**: the old recipe. For each sample OpenCV is set to the frame's number, the picture is read,
  cut into its views and written.
- **prepare**: this project's ``recording.preparation.prepare``, everything included: checksums, index, labels,
  decoding, JPEG files and tables.
- **floor**: nothing but decoding the packets that the samples depend on, read beforehand, in one process with
  the same number of threads; no colours, no JPEG, no files.

The pictures move and carry noise that changes from frame to frame, so the decoder has work as on a real drive.
"""

import argparse
import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.machine import machine
from recording import drive as drives
from recording import frames, layouts, preparation, processors
from recording.runs import Run, runs

SIZE = (1504, 540)
ENCODER = {"preset": "veryfast", "crf": "23"}
NOISE = 5
"""Deviation of the noise, in grey levels: what a dash camera has in daylight."""


def main(argv: list[str] | None = None) -> int:
    """Render, measure and print the table; with ``--out`` also write it to a file."""
    arguments = _parser().parse_args(argv)
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="extraction-", dir=arguments.folder) as scratch:
        folder = arguments.folder or Path(scratch)
        table = labels(folder / f"labels-{arguments.frames}.csv", arguments.frames)
        measured = {}
        for spacing in arguments.spacings:
            video = folder / f"drive-{arguments.frames}-{spacing}.mp4"
            if not video.exists():
                render(video, arguments.frames, spacing)
            out = Path(scratch, f"spacing-{spacing}")
            measured[spacing] = (video.stat().st_size, measure(video, table, arguments.samples, arguments.repeats, out))
        page = report(measured, arguments)
    print(page)
    if arguments.out:
        arguments.out.write_text(page + "\n", encoding="utf-8")
    return 0


def render(video: Path, count: int, spacing: int) -> None:
    """Encode ``count`` noisy moving pictures as H.264 with a key frame at least every ``spacing`` frames."""
    width, height = SIZE
    random = np.random.default_rng(0)
    scene = cv2.resize(random.integers(30, 220, (120, 260), dtype=np.uint8), None, fx=10, fy=10)
    noise = [random.normal(0, NOISE, (height, width)).astype(np.int8) for _ in range(13)]
    grey = np.full((height // 2, width), 128, np.uint8)
    unfinished = video.with_suffix(".part")
    with av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = spacing
        for number in tqdm(range(count), desc=f"rendering {video.name}", unit="frame", mininterval=1):
            left, top = int(500 + 480 * np.sin(number / 90)), int(300 + 280 * np.cos(number / 70))
            luma = scene[top : top + height, left : left + width]
            luma = cv2.add(luma, noise[random.integers(len(noise))], dtype=cv2.CV_8U)
            frame = av.VideoFrame.from_ndarray(np.concatenate([luma, grey]), "yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    unfinished.replace(video)


def labels(path: Path, count: int) -> Path:
    """A clean labels CSV, one row per frame."""
    lines = ["dash_frames,azimuth [deg],elevation [deg]"]
    lines += [f"{n},{20 * np.sin(n / 90):.4f},{8 * np.cos(n / 70):.4f}" for n in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def seek_per_sample(video: Path, wanted: list[int], views: dict[str, layouts.View], out: Path) -> None:
    """The old recipe, as users have it: seek, read, cut, write, one sample after the other."""
    out.mkdir(parents=True)
    capture = cv2.VideoCapture(str(video))
    for frame in wanted:
        capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
        _, picture = capture.read()
        for name, view in views.items():
            crop = picture[view.y : view.y + view.h, view.x : view.x + view.w]
            cv2.imwrite(str(out / f"frame_{frame:05d}_{name}.jpg"), crop)
    capture.release()


def floor(video: Path, wanted: list[int], threads: int) -> Callable[[], int]:
    """A function that decodes the packets that ``wanted`` depends on, read beforehand; returns pictures decoded.

    Runs from a key frame up to the last wanted picture, without the pictures that no other refers to; each
    thread takes the next run, which keeps all of them busy.
    """
    index = frames.scan(video)
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        header = stream.codec_context.extradata
        packets = [packet for packet in container.demux(stream) if packet.size]
    work = runs(index, wanted)

    def decode(run: Run) -> int:
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata, decoder.thread_count = header, 1
        shown = 0
        for packet in packets[run.start : run.stop]:
            decoder.skip_frame = "DEFAULT" if packet.pts in run.wanted else "NONREF"
            shown += len(decoder.decode(packet))
        return shown + len(decoder.decode(None))

    def decode_all() -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(decode, work))

    return decode_all


def measure(video: Path, table: Path, count: int, repeats: int, out: Path) -> dict[str, list[tuple[float, float]]]:
    """(seconds, processor seconds) of every repeat, per side; what the sides write goes below ``out`` and stays.

    The sides take turns, so that a slow minute hits all of them; processor seconds tell what a side costs where
    other programs disturb the clock. Nothing is deleted in between: a file system may be slow to create files
    for minutes after thousands were deleted (ext4 looks for an inode that was not freed lately), which is not what
    a user meets.
    """
    drive = drives.read(drives.Source(video, table))
    wanted = drives.pick(drive, count)["frame"].tolist()
    decode = floor(video, wanted, processors.cores())
    seconds: dict[str, list[tuple[float, float]]] = {"seek per sample": [], "prepare": [], "floor": []}
    for repeat in range(repeats):
        new, old = out / f"new-{repeat}", out / f"old-{repeat}"
        sides: dict[str, Callable[[], object]] = {
            "prepare": functools.partial(preparation.prepare, drives.Source(video, table), count, new),
            "floor": decode,
            "seek per sample": functools.partial(seek_per_sample, video, wanted, drive.views, old),
        }
        for side, run in sides.items():
            start, worked = time.perf_counter(), time.process_time()
            run()
            seconds[side].append((time.perf_counter() - start, time.process_time() - worked))
    return seconds


def report(measured: dict[int, tuple[int, dict[str, list[tuple[float, float]]]]], arguments: argparse.Namespace) -> str:
    """The results as Markdown: medians, spread and ratios."""
    lines = [
        f"{arguments.samples} samples of {arguments.frames} frames, {SIZE[0]}x{SIZE[1]} H.264, "
        f"{arguments.repeats} repeats in turn; {machine()}",
        "",
        "| key frame every | bit rate | side | seconds (median) | fastest to slowest | against the floor | "
        "faster than seek per sample | processor seconds | against the floor |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for spacing, (size, sides) in measured.items():
        rate = f"{size * 8 * 30 / arguments.frames / 1e6:.1f} Mbit/s"
        clock = {side: statistics.median(seconds for seconds, _ in values) for side, values in sides.items()}
        work = {side: statistics.median(worked for _, worked in values) for side, values in sides.items()}
        for side, values in sides.items():
            all_seconds = [seconds for seconds, _ in values]
            lines.append(
                f"| {spacing} | {rate} | {side} | {clock[side]:.2f} | {min(all_seconds):.2f} to {max(all_seconds):.2f} "
                f"| {clock[side] / clock['floor']:.2f}× | {clock['seek per sample'] / clock[side]:.1f}× "
                f"| {work[side]:.2f} | {work[side] / work['floor']:.2f}× |"
            )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=__doc__.split("\n\n")[0])
    parser.add_argument("--frames", type=int, default=6000, help="length of the video (6000)")
    parser.add_argument("--samples", type=int, default=500, help="samples to extract (500)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements per side (3)")
    parser.add_argument("--spacings", type=int, nargs="+", default=[30, 250], help="key-frame spacings (30 250)")
    parser.add_argument("--folder", type=Path, help="keep the rendered videos here and use them again")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
