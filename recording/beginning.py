"""Where a film begins that was cut between two key frames, as dash cameras, loop recorders and dumps of streams cut it.

What comes before its first clean place to start refers to pictures that are gone. Some decoders leave that out, so that
players do not show it and OpenCV does not count it; others smear it (MPEG-4, H.263, Windows Media Video). So does what
is stored behind that place and shown before it (open groups of pictures: the RASL pictures of H.265, B pictures of
others).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from av.codec.context import Flags
from av.video.frame import PictureType

from recording import video

BETWEEN_KEYS = (
    *("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "h263", "flv1", "vp8", "vp9", "av1"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "wmv3", "vc1", "theora"),
)
"""Formats in which pictures refer to others, and whose decoders say which do not."""


@dataclass(frozen=True)
class Beginning:
    """``start``: position of the packet with the first sound picture; ``number``: how many pictures come out of a
    decoder before it; ``unshown``: positions of packets of which no picture comes out; ``made_up``: pictures before it
    that belong to no packet."""

    start: int = 0
    number: int = 0
    unshown: frozenset[int] = frozenset()
    made_up: int = 0

    def describe(self) -> str:
        """What is to be said of it; nothing of a film that begins with a picture that refers to no other."""
        count, said = len(self.unshown), []
        if count:
            said.append(
                f"{count} of its pictures cannot be decoded and have no number, frame 0 is the first one that players "
                f"show; labels whose numbers count them are set right with label_offset_frames={count}"
            )
        if self.number:
            said.append(f"its first {self.number} frames refer to pictures that it does not hold and are left out")
        return f"begins between two key frames: {', and '.join(said)}" if said else ""


class _Position(int):
    """One for each packet: PyAV keeps such objects by their ``id``, which small whole numbers of Python share, and
    forgets one with the first packet or picture that goes, also of another decoder."""


def mark(packet: "av.Packet[av.VideoStream]", position: int) -> None:
    """Let :func:`place` tell the position of a packet from its picture; the decoder needs ``Flags.copy_opaque``."""
    packet.opaque = _Position(position)


def place(picture: av.VideoFrame) -> int:
    """Position of the packet that a picture came from, where its packets were numbered (:func:`mark`); else -1."""
    return picture.opaque if isinstance(picture.opaque, int) else -1


def is_start(picture: av.VideoFrame) -> bool:
    """Whether a decoded picture refers to no other."""
    return bool(picture.key_frame) or picture.pict_type == PictureType.I


def find(
    path: Path, track: int, keys: Sequence[int], times: Sequence[int | None], hidden: Iterable[int], behind: int
) -> Beginning | None:
    """How a film begins; None where decoding can start nowhere.

    ``keys``: positions of packets that may be key frames; ``times``: of all packets; ``hidden``: what an edit list
    does not show; ``behind``: a picture is stored at most so many places from where it is shown.
    """
    shown, start = _decoded(path, track, keys, behind)
    if start is None:
        return None
    # What a decoder shows before the very first packet refers to nothing else.
    number = shown.index(start) if start else 0
    near = set(range(min(start + behind, len(times)))) - set(shown) - set(hidden)
    unshown = {position for position in near if _is_before(position, start, times)}
    return Beginning(start, number, frozenset(unshown), number - len({*shown[:number]} - {-1}))


def _decoded(path: Path, track: int, keys: Sequence[int], behind: int) -> tuple[list[int], int | None]:
    """The positions of the packets whose pictures come out first, in the order of showing, and the first sound one."""
    shown: list[int] = []
    start: int | None = None
    with video.opened(path, track) as (container, stream):
        decoder = stream.codec_context
        decoder.thread_count = 1
        decoder.flags |= Flags.copy_opaque
        ended, position, packets = False, -1, container.demux(stream)
        while not ended and (start is None or position < start + 2 * behind):
            try:
                packet = next((packet for packet in packets if packet.size), None)
            except av.error.FFmpegError:
                packet = None  # the container ends here
            position += 1
            ended = packet is None
            for picture in _pictures(decoder, packet, position):
                shown.append(place(picture))
                if start is None and _may_start(picture, shown[-1], decoder.name, keys):
                    start = shown[-1]
        if not ended:
            shown += [place(picture) for picture in _pictures(decoder, None, position)]
    return shown, start


def _pictures(
    decoder: av.VideoCodecContext, packet: "av.Packet[av.VideoStream] | None", position: int
) -> list[av.VideoFrame]:
    if packet is not None:
        mark(packet, position)
    try:
        return decoder.decode(packet)
    except av.error.FFmpegError:
        return []  # of what refers to pictures that are gone; damage is counted when the frames are read


def _may_start(picture: av.VideoFrame, position: int, codec: str, keys: Sequence[int]) -> bool:
    """Whether all that is shown from a picture on is sound. FFmpeg also calls an H.264 picture a key frame behind which
    others refer to what came before it; where there is no other, what it shows first must do (intra refresh)."""
    if codec == "h264":
        return position in keys or not keys
    return bool(picture.key_frame)


def _is_before(position: int, start: int, times: Sequence[int | None]) -> bool:
    """Whether a packet is shown before the one at ``start``; where there are no times, what does not come out is."""
    here, there = times[position], times[start]
    return here is None or there is None or here < there
