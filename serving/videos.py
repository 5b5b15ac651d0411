"""The face in a video, and the copy of it with arrows drawn in. Reading videos is :mod:`recording.decoding`'s."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from recording import decoding
from recording.detection import spread
from recording.exceptions import InputError
from recording.frames import Index
from registry.crop import Crop
from serving import crops
from serving.steady import settle

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv")
"""Containers that hold H.264 and keep every picture's own time."""
_CLOCK = Fraction(1, 90_000)


def settled(path: Path, index: Index, among: Sequence[int], crop: str, promised: Crop) -> Crop:
    """The contract's promise; with the face of this video where the version has to find it.

    It is looked for in some of the frames ``among``. Raises :class:`InputError` when they do not agree on one.
    """
    if crop == "face" or not promised.detected:
        return promised
    shown: dict[int, np.ndarray] = {}

    def keep(number: int, picture: np.ndarray) -> None:
        # From BGR, and without the rest of the frame.
        shown[number] = crops.driver_view(picture, crop, promised)[..., ::-1].copy()

    lost = decoding.read(path, index, spread(among), keep)
    return settle(promised, [shown[number] for number in sorted(shown.keys() - lost)], str(path))


class Copy:
    """An H.264 copy of a video, written under a temporary name until :meth:`finish`.

    ``fps``: the usual rate, which only helps the encoder; the pictures keep the times that :meth:`add` gives them.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path}: a copy cannot be written there; give a path that ends in {', '.join(SUFFIXES)}")
        if path.is_dir():  # known only when it is renamed, else
            raise InputError(f"{path}: is a folder; give the path of a file in it")
        self._path = path
        self._half_written = path.with_name(f".{path.stem}.half{path.suffix}")
        self._rate = Fraction(fps).limit_denominator(1001)
        self._stream: av.VideoStream | None = None
        try:
            self._container = av.open(f"file:{self._half_written}", "w")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be written ({error}); give a path that ends in .mp4") from error

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Append one (h, w, 3) uint8 RGB frame, shown from ``seconds`` after the start on.

        An odd last row or column is left off (H.264's 4:2:0 has none).
        """
        height, width = (side - side % 2 for side in picture.shape[:2])
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate, options={"crf": "20"})
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.time_base = _CLOCK
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
        frame.pts, frame.time_base = round(seconds / _CLOCK), _CLOCK
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Close the file and give it its name."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()
        self._half_written.replace(self._path)

    def abandon(self) -> None:
        """Close and remove what was written."""
        self._container.close()
        self._half_written.unlink(missing_ok=True)
