"""Recordings with damaged packets: in how many a frame is kept that differs from the undamaged one's.

``python -m benchmarks.damage --data FOLDER``: 48 driver views of a prepared folder with a camera's noise
are encoded in every format that is indexed, and one packet of each copy is damaged at a random byte: a burst of 4 to
64 random bytes, 16 to 512 zeros, 64 to 2,000 random bytes, one flipped bit, or everything up to its end. A kept frame
is wrong when the mean over any 16×16 pixels differs by more than 4 grey levels from the undamaged recording's.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.machine import machine
from recording import decoding, frames, pictures, prepared
from recording.exceptions import DriveError

FRAMES, GROUP, NOISE = 48, 12, 3
CODECS = {
    "H.264, CABAC": ("libx264", {"preset": "medium"}, ".mp4"),
    "H.264, CAVLC": ("libx264", {"preset": "medium", "profile": "baseline"}, ".mp4"),
    "H.265 with entry points": ("libx265", {"preset": "fast", "x265-params": "log-level=none"}, ".mp4"),
    "H.265 without": ("libx265", {"preset": "fast", "x265-params": "log-level=none:wpp=0"}, ".mp4"),
    "MPEG-4 part 2": ("mpeg4", {"qmin": "4", "qmax": "4"}, ".mp4"),
    "MJPEG": ("mjpeg", {"qmin": "3", "qmax": "3"}, ".mov"),
}
KINDS = ("burst", "zeroed", "overwritten", "bit flipped", "up to its end")


def main(argv: list[str] | None = None) -> int:
    """Encode, damage, read and print the table."""
    given = _arguments(argv)
    shown = _pictures(given.data)
    print(f"{given.files} recordings of {FRAMES} frames per row; {machine()}\n")
    print(f"| format | noticed | with a wrong frame | {' | '.join(KINDS)} |")
    print("|---" * (3 + len(KINDS)) + "|")
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        for name, (codec, options, ending) in CODECS.items():
            sound = _encoded(Path(folder, f"sound{ending}"), shown, codec, options)
            noticed, wrong = _damaged(sound, Path(folder, f"damaged{ending}"), given.files)
            each = [f"{wrong[kind]} of {given.files // len(KINDS)}" for kind in KINDS]
            total = sum(wrong.values())
            print(
                f"| {name} | {noticed} | {total} ({100 * total / given.files:.1f} %) | {' | '.join(each)} |", flush=True
            )
    return 0


def _pictures(folder: Path) -> list[np.ndarray]:
    """``FRAMES`` noisy pictures (h, w, 3) BGR, neighbours in time, with even sides of at most 400 pixels."""
    samples = prepared.load(folder)
    random = np.random.default_rng(0)
    found = []
    for row in range(FRAMES):
        file = samples.driver_file(row * len(samples.table) // FRAMES // 4)
        picture = pictures.decode(file.read_bytes(), str(file))[..., ::-1]
        scale = min(1.0, 400 / max(picture.shape[:2]))
        width, height = (int(side * scale) // 2 * 2 for side in picture.shape[1::-1])
        resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)
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


def _damaged(sound: Path, path: Path, count: int) -> tuple[int, Counter[str]]:
    """In how many of ``count`` damaged copies frames were left out, and in how many a kept one is wrong, by kind."""
    whole, _ = _read(sound)
    assert len(whole) == FRAMES, "a sound recording loses nothing"
    with av.open(str(sound)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    noticed, wrong = 0, Counter[str]()
    for number in range(count):
        random, kind = np.random.default_rng(number), KINDS[number % len(KINDS)]
        content = bytearray(sound.read_bytes())
        place, size = places[int(random.integers(len(places)))]
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
    return kept, decoding.read(path, index, range(index.frames), kept.__setitem__, 1)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """By how many grey levels two pictures differ where they differ most, over patches of 16 pixels."""
    return float(cv2.blur(cv2.absdiff(one, other).mean(axis=2).astype(np.float32), (16, 16)).max())


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.damage", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared folder whose driver views are encoded")
    parser.add_argument("--files", type=int, default=200, help="damaged recordings of each format (200)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
