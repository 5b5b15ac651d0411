"""The face in a video, and the copy of it with arrows drawn in. Reading videos is :mod:`recording.decoding`'s."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

from recording import decoding, files
from recording.detection import spread
from recording.exceptions import InputError
from recording.face import Choice
from recording.frames import Index
from registry.crop import Crop
from registry.faces import Shown, settle
from serving import crops

_FORMATS = {".mp4": "mp4", ".mov": "mov", ".m4v": "ipod", ".mkv": "matroska"}
SUFFIXES = tuple(_FORMATS)
"""Endings of containers that hold H.264 and keep every picture's own time."""
_CLOCK = Fraction(1, 90_000)


def settled(
    path: Path, index: Index, among: Sequence[int], crop: str, promised: Crop, say: crops.Say = crops.unsaid
) -> Crop:
    """The contract's promise; with the face of this video where the version has to find it.

    It is looked for in some of the frames ``among``; ``say`` hears of a second one. Raises :class:`InputError` when
    they do not agree on one.
    """
    if crop == "face" or not promised.detected:
        return promised
    shown: dict[int, np.ndarray] = {}

    def keep(number: int, picture: np.ndarray) -> None:
        # From BGR, and without the rest of the frame.
        shown[number] = crops.driver_view(picture, crop, promised)[..., ::-1].copy()

    lost = decoding.read(path, index, spread(among), keep)

    def second(name: str, choice: Choice) -> None:
        crops.say_two_faces(choice, name, say)

    views = [shown[number] for number in sorted(shown.keys() - lost)]
    (found,) = settle(promised, [Shown(str(path), views, lambda view: view)], crops.NO_FACE_ADVICE, second)
    return found


class Copy:
    """An H.264 copy of a video, while it is written; :func:`copying` makes one."""

    def __init__(self, container: OutputContainer, fps: float) -> None:
        self._container = container
        self._rate = Fraction(fps).limit_denominator(1001)
        self._stream: av.VideoStream | None = None

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
        """Write what the encoder still keeps."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())


@contextmanager
def copying(path: Path, fps: float) -> Iterator[Copy]:
    """An H.264 copy of a video that is there, whole, when the block ends well; else the old file stays.

    ``fps``: the usual rate, which only helps the encoder; the pictures keep the times that :meth:`Copy.add` gives them.
    Raises :class:`InputError` when nothing can be written there, and :class:`~recording.files.DiskFull`.
    """
    files.check_ending(str(path), path, SUFFIXES)
    with ExitStack() as stack:
        try:
            unfinished = stack.enter_context(files.replacing(path.resolve()))
            unfinished.touch()
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error
        with av.open(f"file:{unfinished}", "w", format=_FORMATS[path.suffix.lower()]) as container:
            copy = Copy(container, fps)
            yield copy
            copy.finish()
