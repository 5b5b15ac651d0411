"""Recordings with damaged packets: in how many a frame is kept that differs from the undamaged one's.

``python -m benchmarks.damage --data FOLDER``: 48 driver views of a prepared folder with a camera's noise (``--video``:
48 pictures of a video, one after the other) are encoded in every format that is indexed, and one packet of each copy
(``--packets``: several) is damaged at a random byte: a burst of 4 to 64 random bytes, 16 to 512 zeros, 64 to 2,000
random bytes, one flipped bit, or everything up to its end. A kept frame is wrong when the mean over any 16×16 pixels
differs by more than 4 grey levels from the undamaged recording's.
"""

import argparse
import sys
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.machine import machine
from recording import decoding, frames, pictures, prepared
from recording.exceptions import DriveError

FRAMES, GROUP, NOISE = 48, 12, 3
ONE_PART = {"threads": "1"}
"""In as many parts as there are threads a picture hides less: only of the last nobody sees that it ends wrongly."""
CODECS = {
    "H.264, CABAC": ("libx264", {"preset": "medium"} | ONE_PART, ".mp4"),
    "H.264, CAVLC": ("libx264", {"preset": "medium", "profile": "baseline"} | ONE_PART, ".mp4"),
    "H.265 with entry points": ("libx265", {"preset": "fast", "x265-params": "log-level=none"}, ".mp4"),
    "H.265 without": ("libx265", {"preset": "fast", "x265-params": "log-level=none:wpp=0"}, ".mp4"),
    "MPEG-4 part 2": ("mpeg4", {"qmin": "4", "qmax": "4"}, ".mp4"),
    "MJPEG": ("mjpeg", {"qmin": "3", "qmax": "3"}, ".mov"),
}
KINDS = ("burst", "zeroed", "overwritten", "bit flipped", "up to its end")


def main(argv: list[str] | None = None) -> int:
    """Encode, damage, read and print the table."""
    given = _arguments(argv)
    shown = _noisy(_views(given.data) if given.data else _film(given.video), given.longest)
    print(f"{given.files} recordings of {FRAMES} frames per row, {given.packets} packets damaged; {machine()}\n")
    print(f"| format | noticed | with a wrong frame | {' | '.join(KINDS)} |")
    print("|---" * (3 + len(KINDS)) + "|")
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        for name in given.formats:
            codec, options, ending = CODECS[name]
            sound = _encoded(Path(folder, f"sound{ending}"), shown, codec, options)
            noticed, wrong = _damaged(sound, Path(folder, f"damaged{ending}"), given.files, given.packets)
            each = [f"{wrong[kind]} of {given.files // len(KINDS)}" for kind in KINDS]
            total = sum(wrong.values())
            print(
                f"| {name} | {noticed} | {total} ({100 * total / given.files:.1f} %) | {' | '.join(each)} |", flush=True
            )
    return 0


def _views(folder: Path) -> list[np.ndarray]:
    """``FRAMES`` driver views (h, w, 3) BGR, a second or so apart."""
    samples = prepared.load(folder)
    files = [samples.driver_file(row * len(samples.table) // FRAMES // 4) for row in range(FRAMES)]
    return [pictures.decode(file.read_bytes(), str(file))[..., ::-1] for file in files]


def _film(path: Path) -> list[np.ndarray]:
    """``FRAMES`` pictures of a video (h, w, 3) BGR, from the hundredth on."""
    index = frames.scan(path)
    return [picture for _, picture in islice(decoding.in_order(path, index), 100, 100 + FRAMES)]


def _noisy(shown: list[np.ndarray], longest: int) -> list[np.ndarray]:
    """With noise, and with even sides: the longer one has so many pixels."""
    random, found = np.random.default_rng(0), []
    for picture in shown:
        scale = longest / max(picture.shape[:2])
        width, height = (int(side * scale) // 2 * 2 for side in picture.shape[1::-1])
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        resized = cv2.resize(picture, (width, height), interpolation=way).astype(np.float64)
        found.append(np.clip(resized + random.normal(0, NOISE, resized.shape), 0, 255).astype(np.uint8))
    return found


def _encoded(path: Path, shown: list[np.ndarray], codec: str, options: dict[str, str]) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=30, options=options)
        stream.height, stream.width = shown[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = GROUP
        for picture in shown:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode())
    return path


def _damaged(sound: Path, path: Path, count: int, packets: int) -> tuple[int, Counter[str]]:
    """In how many of ``count`` damaged copies frames were left out, and in how many a kept one is wrong, by kind."""
    whole, _ = _read(sound)
    assert len(whole) == FRAMES, "a sound recording loses nothing"
    with av.open(str(sound)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    noticed, wrong = 0, Counter[str]()
    for number in range(count):
        random, kind = np.random.default_rng(number), KINDS[number % len(KINDS)]
        content = bytearray(sound.read_bytes())
        for place, size in (places[int(random.integers(len(places)))] for _ in range(packets)):
            _damage(content, place, size, kind, random)
        path.write_bytes(content)
        try:
            kept, lost = _read(path)
        except DriveError:
            kept, lost = {}, {0: ""}
        noticed += bool(lost)
        wrong[kind] += any(_apart(picture, whole[frame]) > 4 for frame, picture in kept.items())
    return noticed, wrong


def _damage(content: bytearray, place: int, size: int, kind: str, random: np.random.Generator) -> None:
    at = int(random.integers(8, max(9, size - 2)))
    lengths = {"burst": (4, 65), "zeroed": (16, 513), "overwritten": (64, 2001)}
    length = min(size - at, int(random.integers(*lengths.get(kind, (size, size + 1)))))
    if kind == "bit flipped":
        content[place + at] ^= 1 << int(random.integers(8))
    else:
        content[place + at : place + at + length] = bytes(length) if kind == "zeroed" else random.bytes(length)


def _read(path: Path) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    kept: dict[int, np.ndarray] = {}
    index = frames.scan(path)
    lost = decoding.read(path, index, range(index.frames), kept.__setitem__, 1)
    return {frame: picture for frame, picture in kept.items() if frame not in lost}, lost


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """By how many grey levels two pictures differ where they differ most, over patches of 16 pixels."""
    return float(cv2.blur(cv2.absdiff(one, other).mean(axis=2).astype(np.float32), (16, 16)).max())


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.damage", description=__doc__.split("\n\n")[0])
    shown = parser.add_mutually_exclusive_group(required=True)
    shown.add_argument("--data", type=Path, help="prepared folder whose driver views are encoded")
    shown.add_argument("--video", type=Path, help="video whose pictures are encoded")
    parser.add_argument("--longest", type=int, default=400, help="pixels of the longer side (400)")
    parser.add_argument("--packets", type=int, default=1, help="damaged packets of each recording (1)")
    parser.add_argument("--formats", nargs="+", choices=list(CODECS), default=list(CODECS), help="all by default")
    parser.add_argument("--files", type=int, default=200, help="damaged recordings of each format (200)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
