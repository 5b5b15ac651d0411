"""Runs: packets of a video that are decoded together, from a key frame on, and the pictures that come out sound.

Decoders conceal damage: they fill what is missing from the picture before and go on, and every picture up to the
next key frame is smeared. So a picture of a run is given only when all that was decoded before it was sound.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import av
import numpy as np
from av.video.frame import PictureType

from recording import video
from recording.decoder import Damaged, Decoder, Follower
from recording.frames import Index

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

log = logging.getLogger("recording.runs")

SKIPPED_RATHER_THAN_SOUGHT = 64
"""Reading past so many packets costs less than a seek, which throws the read-ahead away."""


class Untrusted(Exception):
    """The file does not read back as its index says."""


@dataclass(frozen=True)
class Run:
    """Packets to decode together: from key packet ``start`` up to before ``stop``, for the frames ``wanted``.

    ``wanted`` maps presentation time → frame number.
    """

    start: int
    stop: int
    wanted: dict[int, int]


def runs(index: Index, frames: Iterable[int]) -> list[Run]:
    """The packets that ``frames`` depend on, as runs from a key frame, in the order of the file.

    A picture that is stored after a key frame but shown before it (open groups of pictures) may refer to what
    was before the key frame: its run starts at the key frame before.
    """
    position_of = np.empty(index.frames, np.int64)
    position_of[index.numbers] = np.arange(index.frames)
    wanted: dict[int, list[int]] = {}
    for frame in sorted(set(frames)):
        key = int(np.searchsorted(index.keys, position_of[frame], side="right")) - 1
        while key > 0 and index.numbers[index.keys[key]] > frame:
            key -= 1
        wanted.setdefault(int(index.keys[key]), []).append(frame)
    return [
        Run(
            start,
            int(max(position_of[frame] for frame in group)) + 1,
            {int(index.times[position_of[frame]]): frame for frame in group},
        )
        for start, group in sorted(wanted.items())
    ]


class Reader:
    """One opened video with its own decoder, which decodes run after run.

    After a run, ``damage`` is the position of its first damaged packet, None where it was sound, and ``lost`` are
    the wanted frames that damage cost. ``follow``: makes what follows its decoder (:mod:`recording.jumps`).
    """

    def __init__(
        self,
        path: Path,
        index: Index,
        threads: int,
        follow: Callable[[av.VideoStream], Follower | None] = lambda _: None,
    ):
        self.path, self.index, self.threads = path, index, threads
        self.position_at = {int(time): position for position, time in enumerate(index.times)}
        self.settled = np.maximum.accumulate(index.numbers)
        self.damage: int | None = None
        self.lost: set[int] = set()
        self.opening = ExitStack()
        self.container, self.stream = self.opening.enter_context(video.opened(path, index.track))
        self.follower = follow(self.stream)
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.opening.close()

    def pictures(self, run: Run) -> Iterator[tuple[int, av.VideoFrame]]:
        """The wanted (frame number, picture) of one run, in presentation order, up to the first damage."""
        if self.damage is not None:
            self._rewind()  # what FFmpeg keeps of half a block of H.264 it adds to the next picture, flushed or not
        sieve = _Sieve(self, run)
        shown_from = self.index.numbers[run.start]
        try:
            packet: Packet | None = self.packet(run.start)
            while packet is not None and sieve.damage == run.stop:
                # What is shown before the run's key frame refers to what lies before it.
                if self.index.numbers[self.position - 1] >= shown_from:
                    yield from sieve.passed(self._decoded(packet, sieve, packet.pts in run.wanted))
                packet = self._next() if self.position < run.stop else None
            yield from sieve.passed(self._decoded(None, sieve, True))
            yield from sieve.rest()
        finally:
            self.decoder.flush()
            self.damage = sieve.damage if sieve.damage < run.stop else None
            self.lost = sieve.lost()

    def _decoded(self, packet: "Packet | None", sieve: "_Sieve", everything: bool) -> list[tuple[av.VideoFrame, bool]]:
        """What the decoder gives for a packet (None: for the end); an error of its is damage for the sieve."""
        position = self.position - 1
        if packet is not None and position in self.index.damaged:
            sieve.damaged(position)
            return []
        try:
            return self.decoder.decode(packet, everything)
        except Damaged as error:
            log.debug("video %s: packet %d: %s", self.path, position, error)
            sieve.damaged(position - self.decoder.threads + 1)  # threads may speak of an earlier packet
            return []

    def _rewind(self) -> None:
        """Open the file anew."""
        self.opening.close()
        self.container, self.stream = self.opening.enter_context(video.opened(self.path, self.index.track))
        self._begin()

    def _begin(self) -> None:
        self.decoder = Decoder(self.stream, self.threads, self.index.strict, self.index.even, self.follower)
        self.packets = self.container.demux(self.stream)
        self.position = 0  # of the packet that is read next

    def packet(self, start: int) -> "Packet":
        """The packet at position ``start``: read on to it when it is near, else seek. Raises :class:`Untrusted`."""
        if not 0 <= start - self.position <= SKIPPED_RATHER_THAN_SOUGHT:
            return self._seek(start)
        return self._read_on(self._next(), start)

    def _seek(self, start: int) -> "Packet":
        # Landing a little early is fine, the rest is read past; late is not, and then the start of the file is.
        self.container.seek(int(self.index.times[start]), stream=self.stream, backward=True)
        self.packets = self.container.demux(self.stream)
        packet = self._next()
        landed = self.position_at.get(packet.pts) if packet is not None and packet.pts is not None else None
        if landed is not None and landed <= start:
            self.position = landed + 1
            return self._read_on(packet, start)
        self._rewind()
        return self._read_on(self._next(), start)

    def _read_on(self, packet: "Packet | None", start: int) -> "Packet":
        """From ``packet``, the last one read, on to the one at position ``start``."""
        while packet is not None:
            if packet.pts != self.index.times[self.position - 1]:
                raise Untrusted(f"packet {self.position - 1} reads otherwise than it was indexed")
            if self.position - 1 == start:
                return packet
            packet = self._next()
        raise Untrusted(f"ends before packet {start}")

    def _next(self) -> "Packet | None":
        """The next packet with content, None at the end of the file or where its container is damaged."""
        try:
            packet = next((packet for packet in self.packets if packet.size), None)
        except av.error.FFmpegError as error:
            log.debug("video %s: after packet %d: %s", self.path, self.position - 1, error)
            return None
        self.position += packet is not None
        return packet


class _Sieve:
    """Holds the wanted pictures of a run back until all that they can depend on was seen to be sound."""

    def __init__(self, reader: Reader, run: Run):
        self.reader, self.run = reader, run
        self.damage = run.stop
        self.begun = False
        self.waiting: deque[tuple[int, int, av.VideoFrame]] = deque()
        self.due = deque(sorted(run.wanted.values()))
        self.position_of = {frame: reader.position_at[time] for time, frame in run.wanted.items()}

    def damaged(self, position: int) -> None:
        """From this packet on nothing is sound."""
        self.damage = min(self.damage, max(position, self.run.start))

    def passed(self, pictures: list[tuple[av.VideoFrame, bool]]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Take what the decoder gave, in presentation order; the sound (frame, picture) that are free to go."""
        for picture, sound in pictures:
            position = self.reader.position_at.get(picture.pts) if picture.pts is not None else None
            if position is None:
                continue
            self._check_start(position, picture)
            if not sound:
                self.damaged(position)
            number = int(self.reader.index.numbers[position])
            self._expect(number)
            if picture.pts in self.run.wanted:
                self.waiting.append((position, number, picture))
            yield from self._free(number)

    def rest(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """The sound pictures that still wait, once the decoder has given all."""
        self._expect(len(self.reader.index.numbers))
        yield from self._free(len(self.reader.index.numbers))

    def lost(self) -> set[int]:
        """The wanted frames that damage cost."""
        return {frame for frame, position in self.position_of.items() if position >= self.damage}

    def _check_start(self, position: int, picture: av.VideoFrame) -> None:
        """Some encoders mark packets as places to start from that renew the picture piece by piece."""
        whole = position == self.run.start and (picture.key_frame or picture.pict_type == PictureType.I)
        if not (self.begun or whole or self.run.start == 0 or self.damage < self.run.stop):
            raise Untrusted(f"decoding cannot start at packet {self.run.start}")
        self.begun = True

    def _expect(self, number: int) -> None:
        """Wanted frames before ``number`` that did not come out of the decoder are damaged."""
        while self.due and self.due[0] <= number:
            frame = self.due.popleft()
            if frame < number:
                self.damaged(self.position_of[frame])

    def _free(self, number: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Pictures whose predecessors in the file are all shown up to ``number``, the last one that came out."""
        while self.waiting and self.reader.settled[self.waiting[0][0]] <= number:
            position, frame, picture = self.waiting.popleft()
            if position < self.damage:
                yield frame, picture
