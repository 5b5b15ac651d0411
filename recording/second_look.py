"""Looks at a recording again in which damage was found: for more of it, in ways that cost too much to take always.

Damage seldom comes alone, and of what decoders do not see (:mod:`recording.decoder`) most shows when it is looked for:

- H.264 with arithmetic coding: whether a picture's data ends where its decoder does (:mod:`recording.endings`) takes
  more than twice its decoding.
- MJPEG: whether a part of a picture is like neither those before nor those after (:mod:`recording.flashes`) takes
  decoding these as well.

Each is taken only where it finds next to nothing wrong with a recording's first pictures.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import av
import numpy as np

from recording import endings, flashes, progress, video
from recording.frames import WRONG_AT_FIRST, Index
from recording.processors import cores
from recording.runs import Reader, Untrusted

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

log = logging.getLogger("recording.second_look")

_FIRST = 24
_AROUND = 2  # pictures on either side that one of an MJPEG is compared with

Judge = Callable[[int, bool], bool]
"""Whether the packet at a position is sound; ``True``: though no other picture refers to it."""
Way = Callable[[Path, Index], AbstractContextManager[Judge]]


def damaged(
    path: Path, index: Index, positions: dict[int, bool], threads: int | None = None, alone: bool = False
) -> frozenset[int]:
    """Which of the packets at ``positions`` are damaged, of those whose decoder said nothing.

    ``positions``: whether a packet matters though no other picture refers to it. ``alone``: no other damage was seen,
    so there is little: of ten damaged packets nine are seen. Empty where there is no way of looking again, or what is
    found is not to be believed.
    """
    codec = _codec(path, index)
    # Flashes may be none: where nothing can be counted past damage, all that follows would be lost to one.
    looked_for = _WAYS.get(codec) if index.exact or codec == "h264" else None
    asked = sorted(set(positions) - index.damaged)
    if looked_for is None or not asked:
        return frozenset()
    start = index.beginning.start
    first = [position for position in range(start, min(start + _FIRST, index.packets)) if position not in index.damaged]
    try:
        with looked_for(path, index) as is_sound:
            if sum(not is_sound(position, True) for position in first) > WRONG_AT_FIRST:
                return frozenset()
        found = frozenset(_all(path, index, looked_for, positions, asked, threads or cores()))
        return frozenset() if alone and len(found) > WRONG_AT_FIRST else found
    except Untrusted as reason:
        log.warning("video %s: %s; it is not looked at again", path, reason)
        return frozenset()


def has_damaged(path: Path, index: Index, positions: dict[int, bool]) -> bool:
    """Whether one of the packets of a video in H.264 is damaged, as far as its data tells; ``positions``: as
    :func:`damaged` takes them."""
    if not positions:
        return False
    try:
        with _endings(path, index) as is_sound:
            return not all(is_sound(position, positions[position]) for position in sorted(positions))
    except Untrusted as reason:
        log.warning("video %s: %s; it is not looked at again", path, reason)
        return False


def _all(
    path: Path, index: Index, looked_for: Way, positions: dict[int, bool], asked: list[int], threads: int
) -> Iterator[int]:
    """Side by side, each thread a stretch of the file."""

    def stretch(part: np.ndarray) -> list[int]:
        found = []
        with looked_for(path, index) as is_sound:
            for position in part.tolist():
                if not is_sound(position, positions[position]):
                    found.append(position)
                bar.update()
        return found

    parts = [part for part in np.array_split(asked, threads) if len(part)]
    with (
        progress.bar(len(asked), 0, "looking again", "picture") as bar,
        ThreadPoolExecutor(len(parts), thread_name_prefix="again") as pool,
    ):
        for found in pool.map(stretch, parts):
            yield from found


def _codec(path: Path, index: Index) -> str:
    with video.opened(path, index.track) as (_, stream):
        return stream.codec_context.name


class _Forward:
    """Reads packets by their position where the index does not say where they lie."""

    def __init__(self, path: Path, index: Index) -> None:
        self._opening = ExitStack()
        container, self.stream = self._opening.enter_context(video.opened(path, index.track))
        self._packets = enumerate(packet for packet in container.demux(self.stream) if packet.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opening.close()

    def packet_and_key(self, wanted: int) -> tuple["Packet", "Packet | None"]:
        """The packet at a position behind those that were read, and the last key frame among those passed on the way.
        Raises :class:`Untrusted`."""
        key = None
        try:
            for position, packet in self._packets:
                if position == wanted:
                    return packet, key
                if packet.is_keyframe:
                    key = packet
        except av.error.FFmpegError:
            pass  # the container ends here
        raise Untrusted(f"ends before packet {wanted}")


class _Sought(Reader):
    """Reads packets by their position where the index says where they lie."""

    def packet_and_key(self, wanted: int) -> tuple["Packet", "Packet | None"]:
        """The packet at a position, and the key frame before it where others than these were read last. Raises
        :class:`Untrusted`."""
        key = None
        if self.position != wanted and (before := int(np.searchsorted(self.index.keys, wanted))):
            key = self.packet(int(self.index.keys[before - 1]))
        return self.packet(wanted), key


@contextmanager
def _endings(path: Path, index: Index) -> Iterator[Judge]:
    with _Sought(path, index, 1) if index.exact else _Forward(path, index) as reader:
        looked_at = endings.of_h264(reader.stream)

        def is_sound(position: int, everything: bool) -> bool:
            if looked_at is None:
                return True
            packet, key = reader.packet_and_key(position)
            if key is not None:
                looked_at.learn(key)
            return looked_at.fit(packet, everything)

        yield is_sound


@contextmanager
def _flashes(path: Path, index: Index) -> Iterator[Judge]:
    with Reader(path, index, 1) as reader:
        kept: dict[int, flashes.Planes | None] = {}

        def planes(position: int) -> flashes.Planes | None:
            """Of the picture in a packet, None where there is none or it is known to be damaged."""
            if position not in kept:
                usable = 0 <= position < index.frames and position not in index.damaged
                kept[position] = _planes(reader, position) if usable else None
                for old in list(islice(kept, max(0, len(kept) - 2 * _AROUND - 2))):
                    del kept[old]
            return kept[position]

        def some(positions: Iterable[int]) -> list[flashes.Planes]:
            """Of the pictures at these, up to the first that there is none of."""
            return list(takewhile(bool, map(planes, positions)))  # type: ignore[arg-type]

        def is_sound(position: int, _: bool) -> bool:
            before = some(range(position - 1, position - 1 - _AROUND, -1))[::-1]
            picture = planes(position)
            after = some(range(position + 1, position + 1 + _AROUND))
            if picture is None or not before or not after:
                return True  # there is nothing to compare it with
            return not flashes.has_flash(before, picture, after)

        yield is_sound


def _planes(reader: Reader, position: int) -> flashes.Planes | None:
    try:
        pictures = reader.stream.codec_context.decode(reader.packet(position))
    except av.error.FFmpegError:
        return None
    if not pictures or pictures[0].format.components[0].bits > 8:
        return None
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()
        for plane in pictures[0].planes
    ]


_WAYS: dict[str, Way] = {"h264": _endings, "mjpeg": _flashes}
