"""How many damaged JPEGs are answered, and how far off.

``python -m benchmarks.pictures --data FOLDER --model NETWORK.onnx``: 2,000 pictures of a prepared folder are damaged at
a random place: cut, zeroed, overwritten (8 to 4,000 bytes), or continued with another picture. Also 2,000 sound ones
from five encoders, of which none may be refused; and single flipped bits, which often leave another valid picture.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from recording import preprocess, sample_files
from recording.exceptions import InputError
from registry.network import GazeNetwork

Pixels = npt.NDArray[np.uint8]
DAMAGES = ("cut", "zeroed", "overwritten", "spliced", "bit flipped")


def damaged(data: bytes, other: bytes, kind: str, random: np.random.Generator) -> bytes:
    """``data`` damaged at a random byte behind its first two."""
    at = int(random.integers(2, len(data) - 1))
    size = min(int(np.exp(random.uniform(np.log(8), np.log(4000)))), len(data) - at)
    match kind:
        case "cut":
            return data[:at] + (b"\xff\xd9" if random.random() < 0.5 else b"")
        case "zeroed":
            return data[:at] + bytes(size) + data[at + size :]
        case "overwritten":
            return data[:at] + random.bytes(size) + data[at + size :]
        case "spliced":
            return data[:at] + other[int(random.integers(2, len(other))) :]
    return data[:at] + bytes([data[at] ^ 1 << int(random.integers(8))]) + data[at + 1 :]


def as_opencv_reads_it(data: bytes) -> Pixels:
    """The decoder that was used before, which conceals damage."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _ffmpeg(picture: Pixels) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
    return b"".join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)]))


def _pillow(picture: Pixels, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", **options)
    return file.getvalue()


ENCODERS: dict[str, Callable[[Pixels], bytes]] = {
    "OpenCV": lambda picture: cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes(),
    "Pillow": _pillow,
    "Pillow, progressive": lambda picture: _pillow(picture, progressive=True, optimize=True, quality=60),
    "FFmpeg": _ffmpeg,
    "simplejpeg": lambda picture: simplejpeg.encode_jpeg(picture, 90, "RGB", "422"),
}


def _let_through(
    network: GazeNetwork, sound: Sequence[bytes], kind: str, count: int, random: np.random.Generator
) -> tuple[int, int]:
    """Of ``count`` damaged pictures those that were answered, and those answered more than 1° off."""
    read, wrong = 0, 0
    for _ in range(count):
        which, other = random.integers(len(sound), size=2)
        data = damaged(sound[which], sound[other], kind, random)
        try:
            picture = preprocess.resize(preprocess.decode(data))
        except InputError:
            continue
        read += 1
        pair = np.stack([picture, preprocess.resize(preprocess.decode(sound[which]))])
        wrong += bool(np.abs(np.subtract(*network.predict(pair))).max() > 1)
    return read, wrong


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="prepared folder")
    parser.add_argument("--model", type=Path, required=True, help="a version's model.onnx")
    parser.add_argument("--count", type=int, default=500, help="pictures of each kind (%(default)s)")
    given = parser.parse_args()
    sound = [path.read_bytes() for path in sorted(given.data.glob(f"*{sample_files.DRIVER}"))]
    network = GazeNetwork(given.model, 1)
    random = np.random.default_rng(0)
    print("| damage | answered | more than 1° off |\n|---|---|---|")
    for kind in DAMAGES:
        read, wrong = _let_through(network, sound, kind, given.count, random)
        print(f"| {kind} | {read / given.count:.1%} | {wrong / given.count:.2%} |", flush=True)
    print("\n| encoder | refused | ms to decode | ms with OpenCV |\n|---|---|---|---|")
    for name, encode in ENCODERS.items():
        refused, ours, opencv = 0, 0.0, 0.0
        for number in range(given.count * 4 // 5):
            data = encode(preprocess.decode(sound[number % len(sound)]))
            began = time.process_time()
            try:
                preprocess.decode(data)
            except InputError:
                refused += 1
            between = time.process_time()
            as_opencv_reads_it(data)
            ours, opencv = ours + between - began, opencv + time.process_time() - between
        each = 1000 / (given.count * 4 // 5)
        print(f"| {name} | {refused} | {ours * each:.2f} | {opencv * each:.2f} |", flush=True)


if __name__ == "__main__":
    main()
