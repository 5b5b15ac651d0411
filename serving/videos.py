"""Videos frame by frame, and the copy with arrows drawn in."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from recording.exceptions import InputError

SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts")


def frames(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of a video in the order they are shown: (number from 0, (h, w, 3) uint8 RGB)."""
    with _opened(path) as video:
        stream = video.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for number, frame in enumerate(video.decode(stream)):
                yield number, frame.to_ndarray(format="rgb24")
        except av.FFmpegError as error:
            raise InputError(f"{path}: damaged after some frames ({error}); copy the recording again") from error


def rate_and_count(path: Path) -> tuple[Fraction, int]:
    """Frames per second, and the number of frames as the file states it (0 when it does not)."""
    with _opened(path) as video:
        stream = video.streams.video[0]
        return stream.average_rate or Fraction(30), stream.frames


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        video = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not a video that can be opened ({error})") from error
    with video:
        if not video.streams.video:
            raise InputError(f"{path}: has no picture in it; give a video")
        yield video


class Copy:
    """An H.264 copy of a video, written under a temporary name until :meth:`finish`."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        self._path = path
        self._half_written = path.with_name(f".{path.stem}.half{path.suffix}")
        self._rate = rate
        self._stream: av.VideoStream | None = None
        try:
            self._container = av.open(str(self._half_written), "w")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be written ({error}); give a path that ends in .mp4") from error

    def add(self, picture: np.ndarray) -> None:
        """Append one (h, w, 3) uint8 RGB frame; an odd last row or column is left off (H.264's 4:2:0 has none)."""
        height, width = (side - side % 2 for side in picture.shape[:2])
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate, options={"crf": "20"})
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
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
