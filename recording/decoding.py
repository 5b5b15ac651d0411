"""Pictures of a video by frame number, at the speed of the decoder; nothing that damage touched.

From the index of a video (:mod:`recording.frames`) follows what the wanted frames depend on: for each key frame
with wanted frames behind it, the packets up to the last of these, less the ones that no other picture refers to
(:func:`runs`). These runs are decoded side by side, one thread each (:func:`read`), or one after the other
(:func:`in_order`). Where the index is not exact, the file is decoded from its start and the pictures are counted.

Decoders conceal damage: they fill what is missing from the picture before and go on, and every picture up to the
next key frame is smeared. So a picture is handed over only when all that was decoded before it, from its key frame
on, was sound; what follows damage is left out up to the next key frame.
"""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from recording import video
from recording.frames import Index, cores

log = logging.getLogger("recording.decoding")

DAMAGED = "frame damaged in the video, or behind damage up to the next key frame"
SKIPPED_RATHER_THAN_SOUGHT = 64
"""Reading past so many packets costs less than a seek, which throws the read-ahead away."""
HELD_BACK = 16
"""A picture refers to others at most so far ahead in presentation order (H.264, H.265: 16 pictures are kept)."""
DETECTING = {"h264": "crccheck", "hevc": "crccheck+explode", "mjpeg": "crccheck+bitstream+buffer+explode"}
"""What FFmpeg's decoders report as an error (err_detect). H.264's marks pictures that it had to mend, and would take
messages from the camera that it does not understand for damage; the others say nothing unless they are told to."""

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

Deliver = Callable[[int, np.ndarray], None]
"""Takes a frame number and its picture, (h, w, 3) uint8 BGR."""


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


def read(
    path: Path, index: Index, frames: Iterable[int], deliver: Deliver, threads: int | None = None
) -> dict[int, str]:
    """Decode ``frames`` and hand each to ``deliver(number, picture)``, picture (h, w, 3) uint8 BGR.

    ``deliver`` is called from several threads, each frame once, in no order. ``threads``: how many cores to use,
    all by default. Returns the frames that were left out, sorted, with the reason. Whatever ``deliver`` raises
    ends the reading and is raised here.
    """
    threads = threads or cores()
    missing = set(frames)
    lock = threading.Lock()
    own = _Own()

    def hand_over(frame: int, picture: av.VideoFrame) -> None:
        with lock:
            if frame not in missing:
                return
            missing.discard(frame)
        deliver(frame, video.to_bgr(picture, index.shown, own.converter))

    damaged = _read_runs(path, index, runs(index, missing), hand_over, threads) if index.exact else set()
    left = missing - damaged
    if left:
        last = max(left)
        for frame, picture in _forward(path, index, threads):
            hand_over(frame, picture)
            if frame >= last:
                break
    return dict.fromkeys(sorted(missing), DAMAGED)


def in_order(path: Path, index: Index) -> Iterator[tuple[int, np.ndarray]]:
    """Every sound frame of a video in presentation order: its number and its picture, (h, w, 3) uint8 BGR.

    The same pictures that :func:`read` gives; the numbers that are missing are damaged or behind damage.
    """
    converter = VideoReformatter()
    for frame, picture in _forward(path, index, cores()):
        yield frame, video.to_bgr(picture, index.shown, converter)


def _detecting(decoder: av.VideoCodecContext) -> dict[str, str]:
    return {"err_detect": DETECTING.get(decoder.name, "crccheck+explode")}


def in_order_rgb(path: Path, index: Index) -> Iterator[tuple[int, np.ndarray]]:
    """The same as :func:`in_order` in RGB, the order of colours that the network and the app take."""
    for frame, picture in in_order(path, index):
        yield frame, np.ascontiguousarray(picture[..., ::-1])


class _Own(threading.local):
    """What each decoding thread has for itself."""

    def __init__(self) -> None:
        self.converter = VideoReformatter()


class _Untrusted(Exception):
    """The file does not read back as its index says."""


def _read_runs(
    path: Path, index: Index, work: list[Run], hand_over: Callable[[int, av.VideoFrame], None], threads: int
) -> set[int]:
    """Decode runs side by side, each by one thread; returns the wanted frames that damage cost."""
    queue: SimpleQueue[Run] = SimpleQueue()
    for run in work:
        queue.put(run)
    workers = max(1, min(threads, len(work)))
    stop = threading.Event()
    lost: set[int] = set()

    def decode() -> None:
        try:
            with _Reader(path, index, math.ceil(threads / workers)) as reader:
                while not stop.is_set():
                    try:
                        run = queue.get_nowait()
                    except Empty:
                        return
                    for frame, picture in _pictures(reader, run):
                        if stop.is_set():
                            return
                        hand_over(frame, picture)
                    lost.update(reader.lost)
        except _Untrusted as reason:
            log.warning("video %s: %s", path, reason)
        except BaseException:
            stop.set()
            raise

    if workers == 1:
        decode()
        return lost
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        jobs = [pool.submit(decode) for _ in range(workers)]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            stop.set()
            raise
    return lost


def _pictures(reader: "_Reader", run: Run) -> Iterator[tuple[int, av.VideoFrame]]:
    """The sound pictures of a run; where several threads met damage, a single one says exactly where it is."""
    yield from reader.pictures(run)
    if reader.damage is not None and reader.threads > 1:
        with _Reader(reader.path, reader.index, 1) as precise:
            yield from precise.pictures(run)
        reader.lost = precise.lost


class _Reader:
    """One opened video with its own decoder, which decodes run after run.

    After a run, ``damage`` is the position of its first damaged packet, None where it was sound, and ``lost`` are
    the wanted frames that damage cost.
    """

    def __init__(self, path: Path, index: Index, threads: int):
        self.path, self.index, self.threads = path, index, threads
        self.position_at = {int(time): position for position, time in enumerate(index.times)}
        self.settled = np.maximum.accumulate(index.numbers)
        self.damage: int | None = None
        self.lost: set[int] = set()
        self.opening = ExitStack()
        self._rewind()

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.opening.close()

    def pictures(self, run: Run) -> Iterator[tuple[int, av.VideoFrame]]:
        """The wanted (frame number, picture) of one run, in presentation order, up to the first damage."""
        sieve = _Sieve(self, run)
        shown_from = self.index.numbers[run.start]
        try:
            packet: Packet | None = self._packet(run.start)
            while packet is not None and sieve.damage == run.stop:
                # What is shown before the run's key frame refers to what lies before it.
                if self.index.numbers[self.position - 1] >= shown_from:
                    self.decoder.skip_frame = "DEFAULT" if packet.pts in run.wanted else "NONREF"
                    yield from sieve.passed(self._decoded(packet, sieve))
                packet = self._next() if self.position < run.stop else None
            yield from sieve.passed(self._decoded(None, sieve))
            yield from sieve.rest()
        finally:
            self.decoder.flush_buffers()
            self.damage = sieve.damage if sieve.damage < run.stop else None
            self.lost = sieve.lost()

    def _decoded(self, packet: "Packet | None", sieve: "_Sieve") -> list[av.VideoFrame]:
        """What the decoder gives for a packet (None: for the end); an error of its is damage for the sieve."""
        position = self.position - 1
        if packet is not None and position in self.index.damaged:
            sieve.damaged(position)
            return []
        try:
            return self.decoder.decode(packet)
        except av.error.FFmpegError as error:
            log.debug("video %s: packet %d: %s", self.path, position, error)
            sieve.damaged(position - self.threads + 1)  # threads may speak of an earlier packet
            return []

    def _rewind(self) -> None:
        """Open the file, anew where it was open."""
        self.opening.close()
        self.container, self.stream = self.opening.enter_context(video.opened(self.path, self.index.track))
        self.decoder = self.stream.codec_context
        self.decoder.options = _detecting(self.decoder)
        self.decoder.thread_count = self.threads
        self.decoder.thread_type = "AUTO" if self.threads > 1 else "SLICE"
        self.packets = self.container.demux(self.stream)
        self.position = 0  # of the packet that is read next

    def _packet(self, start: int) -> "Packet":
        """The packet at position ``start``: read on to it when it is near, else seek."""
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
                raise _Untrusted(f"packet {self.position - 1} reads otherwise than it was indexed")
            if self.position - 1 == start:
                return packet
            packet = self._next()
        raise _Untrusted(f"ends before packet {start}")

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

    def __init__(self, reader: _Reader, run: Run):
        self.reader, self.run = reader, run
        self.damage = run.stop
        self.begun = False
        self.waiting: deque[tuple[int, int, av.VideoFrame]] = deque()
        self.due = deque(sorted(run.wanted.values()))
        self.position_of = {frame: reader.position_at[time] for time, frame in run.wanted.items()}

    def damaged(self, position: int) -> None:
        """From this packet on nothing is sound."""
        self.damage = min(self.damage, max(position, self.run.start))

    def passed(self, pictures: list[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Take what the decoder gave, in presentation order; the sound (frame, picture) that are free to go."""
        for picture in pictures:
            position = self.reader.position_at.get(picture.pts) if picture.pts is not None else None
            if position is None:
                continue
            self._check_start(position, picture)
            if picture.is_corrupt:
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
            raise _Untrusted(f"decoding cannot start at packet {self.run.start}")
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


def _forward(path: Path, index: Index, threads: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Every sound (frame number, picture) from the start of the file on, in presentation order."""
    return _in_order(path, index, threads) if index.exact else _counted(path, index, threads)


def _in_order(path: Path, index: Index, threads: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode everything from the start; after damage again from the next key frame.

    Threads do not tell which packet an error belongs to: where one occurs, one thread goes on from the key frame
    before it.
    """
    start: int | None = 0
    last = -1
    while start is not None:
        with _Reader(path, index, threads) as reader:
            try:
                for frame, picture in reader.pictures(_all_from(index, start)):
                    if frame > last:
                        yield frame, picture
                        last = frame
            except _Untrusted as reason:
                log.warning("video %s: %s; frames after %d are left out", path, reason, last)
                return
        start = _next_start(index, reader.damage, threads)
        threads = 1


def _next_start(index: Index, damage: int | None, threads: int) -> int | None:
    """The key packet from which decoding goes on after ``damage``, None where there is nothing left."""
    if damage is None:
        return None
    if threads > 1:
        return int(index.keys[index.keys <= damage][-1])
    later = index.keys[index.keys > damage]
    return int(later[0]) if len(later) else None


def _all_from(index: Index, start: int) -> Run:
    """Everything from key packet ``start`` on that does not refer to what lies before it."""
    shown = [position for position in range(start, index.frames) if index.numbers[position] >= index.numbers[start]]
    return Run(start, index.frames, {int(index.times[position]): int(index.numbers[position]) for position in shown})


def _counted(path: Path, index: Index, threads: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode a file from its start and count its pictures, up to the first damage.

    Past damage nothing can be counted: it ends the reading, as it does for OpenCV. The pictures shown just before
    it may refer to it; with several threads more of them may be lost, so one thread looks again.
    """
    given = 0
    for tried in dict.fromkeys((threads, 1)):
        held: deque[tuple[int, av.VideoFrame]] = deque()
        sound = True
        for number, picture in enumerate(_all_pictures(path, index, tried)):
            sound = picture is not None and not picture.is_corrupt
            if picture is None or not sound:
                break
            if number >= given:
                held.append((number, picture))
            if len(held) > HELD_BACK:
                given += 1
                yield held.popleft()
        if sound:
            yield from held
            return
    log.warning("video %s: damaged after frame %d; what follows cannot be counted", path, given - 1)


def _all_pictures(path: Path, index: Index, threads: int) -> Iterator[av.VideoFrame | None]:
    """Every picture that decodes, in presentation order, and None where a packet does not."""
    with video.opened(path, index.track) as (container, stream):
        decoder = stream.codec_context
        decoder.options = _detecting(decoder)
        decoder.thread_type, decoder.thread_count = "AUTO", threads
        packets = container.demux(stream)
        ended = False
        while not ended:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                packet = None  # the container ends here: what was read so far still comes out of the decoder
            ended = packet is None or packet.size == 0
            try:
                yield from decoder.decode(None if ended else packet)
            except av.error.FFmpegError as error:
                log.debug("video %s: a packet does not decode: %s", path, error)
                yield None
