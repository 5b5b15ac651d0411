"""A video file as people have it: opened by its path, its film chosen, its pictures shown as a player shows them.

Everybody who reads a video opens it here (:func:`opened`) and turns its decoded pictures into arrays here
(:func:`to_bgr`), so that a recording that was stored lying, mirrored or with pixels that are not square is the same
picture when samples are prepared, when a version answers and in the app.
"""

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorTrc, VideoReformatter

from recording import files
from recording.exceptions import DriveError

log = logging.getLogger("recording.video")

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".ogv", ".avi", ".wmv", ".asf", ".flv", ".mxf"),
    *(".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".m2t"),
    *(".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg", ".insv", ".lrv"),
)
"""Endings by which a file among others is taken for a video, before anything is read of it."""
STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
PICTURE_CODECS = ("mjpeg", "png", "bmp", "webp", "gif", "tiff")
_TEXT = ("tty", "bin")  # FFmpeg makes films of text, too
LOOKED_AT = 300
"""Packets from the start of a file among which a film has two pictures."""
FAR = {"probesize": "256M", "analyzeduration": "60M"}
"""How far FFmpeg looks for the size of the pictures where the first 5 MB do not say it: bytes, microseconds."""
TO_SDR = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
)
"""What turns an HDR film into a usual one (FFmpeg's filters)."""
WIDEST = 16384
"""Pixels on a side that a picture may be shown with: more is a wrong statement in the file's header."""


@dataclass(frozen=True)
class Shown:
    """How a player shows the stored pictures of a video.

    ``stored``: width and height as decoded. ``scaled``: the same with square pixels. Then ``transposed`` exchanges
    rows and columns, and ``flipped`` turns (the rows, the columns) around. These are the eight ways in which a
    picture can lie; what else a display matrix could say (slants, other angles) is rounded to the nearest of them.
    """

    stored: tuple[int, int]
    scaled: tuple[int, int]
    transposed: bool = False
    flipped: tuple[bool, bool] = (False, False)

    @property
    def width(self) -> int:
        """Of the picture as shown, in pixels."""
        return self.scaled[1] if self.transposed else self.scaled[0]

    @property
    def height(self) -> int:
        """Of the picture as shown, in pixels."""
        return self.scaled[0] if self.transposed else self.scaled[1]

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """A picture (h, w) or (h, w, 3) as stored → as shown, contiguous."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        rows, columns = (slice(None, None, -1 if turned else None) for turned in self.flipped)
        return np.ascontiguousarray(picture[rows, columns])


@contextmanager
def opened(path: Path, track: int | None = None) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The opened video and its picture track; every reason why it cannot be read is a :class:`DriveError`.

    ``track`` counts the tracks that hold a film, from 0. Without it the one that the file marks as its default is
    taken, else the first, and where there are several a warning says which one. Cover pictures and thumbnails are no
    film.
    """
    files.check_name(path, "video")
    if not path.exists():
        raise DriveError(f"video {path}: no such file; give the recording of the drive")
    if not path.is_file():
        raise DriveError(f"video {path}: is not a file; give the recording of the drive")
    with _container(path) as container:
        film = _film(container, path, track)
        if film.codec_context.width > 0:
            yield container, film
            return
    # A stream that was cut between two key frames says how large its pictures are at the next one only.
    with _container(path, FAR) as container:
        yield container, _film(container, path, track)


def _container(path: Path, options: dict[str, str] | None = None) -> av.container.InputContainer:
    try:
        # With the protocol named, FFmpeg takes the rest as a path: "12:30 drive.mp4" is no protocol called "12".
        return av.open(f"file:{path}", options=options)
    except (av.error.FFmpegError, OSError) as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise DriveError(f"video {path}: cannot be opened ({reason}); is the export complete?") from None


def is_film(path: Path) -> bool:
    """Whether a file holds a film, whatever it is called: FFmpeg knows it, and it has a second picture."""
    try:
        with av.open(f"file:{path}") as container:
            found = films(container)
            if container.format.name in _TEXT or not found:
                return False
            return len(list(islice((packet for packet in container.demux(found[0]) if packet.size), 2))) == 2
    except (av.error.FFmpegError, OSError):
        return False


def films(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The video tracks that move, in the order of the file."""
    moving = [stream for stream in container.streams.video if not stream.disposition & STILLS]
    # A cover that is not marked as one is a track of a single picture beside a film.
    return [stream for stream in moving if not (len(moving) > 1 and _is_still(container.name, stream))] or moving


def _is_still(address: str, stream: av.VideoStream) -> bool:
    """Whether a track holds a single picture; where the header does not count, by looking for a second one."""
    if stream.frames or stream.codec_context.name not in PICTURE_CODECS:
        return stream.frames == 1
    with av.open(address) as again:
        near = islice(again.demux(), LOOKED_AT)
        return len([packet for packet in near if packet.stream_index == stream.index and packet.size]) < 2


def _film(container: av.container.InputContainer, path: Path, track: int | None) -> av.VideoStream:
    found = films(container)
    if not container.streams.video:
        raise DriveError(f"video {path}: holds no video stream; give the recording of the drive")
    if not found:
        raise DriveError(f"video {path}: holds a cover picture and no film; give the recording of the drive")
    listed = ", ".join(f"{number}: {_described(stream)}" for number, stream in enumerate(found))
    if track is None:
        marked = [number for number, stream in enumerate(found) if stream.disposition & Disposition.default]
        track = marked[0] if len(marked) == 1 else 0
        if len(found) > 1:
            said = "%s: holds %d films (%s); track %d is read, choose with track"
            log.warning("video " + said, path, len(found), listed, track)
    if not 0 <= track < len(found):
        raise DriveError(f"video {path}: has no track {track}; choose one of {listed}")
    return found[track]


def _described(stream: av.VideoStream) -> str:
    codec = stream.codec_context
    return f"{codec.name} {codec.width}x{codec.height}"


def shown(stream: av.VideoStream, first: av.VideoFrame | None, path: Path) -> Shown:
    """How the pictures of a track are to be shown, from its header and its ``first`` decoded picture."""
    codec = stream.codec_context
    stored = (first.width, first.height) if first is not None else (codec.width, codec.height)
    scaled = _square(stored, stream.sample_aspect_ratio)
    if max(scaled) > WIDEST:
        raise DriveError(
            f"video {path}: its header says that {stored[0]}x{stored[1]} pixels are to be shown as "
            f"{scaled[0]}x{scaled[1]}; export it with square pixels"
        )
    return Shown(stored, scaled, *(_lying(first) if first is not None else ()))


def check_light(stream: av.VideoStream, path: Path) -> None:
    """Refuse a film whose values mean light in another way than all others do; warn of one that is only darker.

    Values of PQ stand for absolute light. HLG was made to be seen on usual screens, darker: 27, 51, 105, 158 and 192 in
    place of the greys 32, 64, 128, 192 and 255. Raises :class:`DriveError`.
    """
    curve = stream.codec_context.color_trc
    if curve == ColorTrc.SMPTE2084:
        raise DriveError(
            f"video {path}: an HDR film (PQ), whose pictures are no usual ones; record in SDR, or convert it: "
            f"ffmpeg -i {shlex.quote(path.name)} -vf {TO_SDR} -fps_mode passthrough sdr.mp4"
        )
    if curve == ColorTrc.ARIB_STD_B67:
        log.warning(
            "video %s: an HDR film (HLG) is read as it is stored, darker than in SDR; record or convert to SDR what is "
            "to be answered beside other cameras",
            path,
        )


def _square(stored: tuple[int, int], pixel: Fraction | None) -> tuple[int, int]:
    """The size with square pixels; ``pixel``: width to height of one. The side that is too short is stretched."""
    width, height = stored
    if not pixel or pixel < 0:
        return stored
    return (round(width * pixel), height) if pixel > 1 else (width, round(height / pixel))


def _lying(picture: av.VideoFrame) -> tuple[bool, tuple[bool, bool]]:
    """Whether rows and columns are to be exchanged, and which of them then turned around.

    FFmpeg's display matrix (libavutil/display.h) takes a point (x, y) of the stored picture, y downwards, to
    (a·x + c·y, b·x + d·y), with a, b at places 0, 1 and c, d at 3, 4, in 16.16 fixed point.
    """
    matrix: Any = picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, (False, False)
    a, b, _, c, d = (int(value) for value in np.frombuffer(matrix, np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, (d < 0, a < 0)
    return True, (b < 0, c < 0)


def brightness(picture: av.VideoFrame, how: Shown, converter: VideoReformatter) -> np.ndarray:
    """A decoded picture → (h, w) uint8 as shown: how bright it is, without its colours.

    Where the picture is stored as brightness and colour, as videos are, and as it is shown, nothing is computed: the
    array is a part of the picture and must not outlive it. ``converter`` as for :func:`to_bgr`.
    """
    first = picture.format.components[0]
    if (
        not picture.format.is_rgb and first.bits == 8 and picture.format.is_planar
        and how == Shown((picture.width, picture.height), (picture.width, picture.height))
    ):  # fmt: skip
        plane: Any = picture.planes[0]
        stored: np.ndarray = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        return stored[: picture.height, : picture.width]
    width, height = how.scaled
    grey = converter.reformat(picture, width, height, "gray", threads=1).to_ndarray()
    return how.upright(grey)


def to_bgr(picture: av.VideoFrame, how: Shown, converter: VideoReformatter) -> np.ndarray:
    """A decoded picture → (h, w, 3) uint8 BGR as shown, the same values that OpenCV gives.

    ``converter`` keeps its tables from picture to picture; each thread needs one of its own. A picture converted
    by itself (``to_ndarray(format=...)``) builds them anew and starts threads: six times the work.

    Raises :class:`DriveError` when it is of another size than the video said, since views would be cut wrongly.

    The whole picture at once: the views of a composite tile it, and it is a hundredth of the cost of the frames
    decoded on the way to a kept one.
    """
    if (picture.width, picture.height) != how.stored:
        raise DriveError(
            f"video: its pictures change size, from {how.stored[0]}x{how.stored[1]} to "
            f"{picture.width}x{picture.height}; export it in one size"
        )
    width, height = how.scaled
    return how.upright(converter.reformat(picture, width, height, "bgr24", threads=1).to_ndarray())
