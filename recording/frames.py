"""Exact frames of a video, read at the speed of the decoder.

Frame ``n`` is the ``n``-th picture in presentation order, as OpenCV counts them when it reads forward; seeking by
frame number, which OpenCV also offers, is not exact on every file.

Reading all packets without decoding costs next to nothing and tells which packet holds which frame and where
decoding can start. From that index (:func:`scan`) follows what the wanted frames depend on: for each key frame
with wanted frames behind it, the packets up to the last of these, less the ones that no other picture refers to.
These runs are decoded side by side, one thread each. Where an index cannot be trusted (no presentation times, a
container that does not keep one picture to a packet, a decoder that answers otherwise) the file is decoded
forward from its start and the pictures are counted.
"""

import logging
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from recording.exceptions import DriveError

log = logging.getLogger("recording.frames")

INDEXED_CONTAINERS = ("mov", "mp4", "matroska", "webm")
INDEXED_CODECS = ("h264", "hevc", "mjpeg", "mpeg4")
CHECKED_FRAMES = 24
"""So many packets from the start are decoded to see that decoder and index agree."""
SKIPPED_RATHER_THAN_SOUGHT = 64
"""Reading past so many packets costs less than a seek, which throws the read-ahead away."""

Deliver = Callable[[int, np.ndarray], None]


@dataclass(frozen=True)
class Index:
    """What a video holds, from its packets alone.

    ``width``, ``height``: as shown, after ``rotation`` (degrees counter-clockwise, a multiple of 90) is applied.
    ``fps``: mean rate, NaN when unknown. ``frames``: number of frames (of packets to be shown, where not ``exact``).
    ``exact``: the arrays tell which packet holds which frame. ``times``: presentation time per packet, in the
    order in which packets are stored and decoded; ``numbers``: the frame that each packet holds; ``keys``:
    positions of the packets where decoding can start. Empty where not exact.
    """

    width: int
    height: int
    rotation: int
    fps: float
    frames: int
    exact: bool
    times: np.ndarray
    numbers: np.ndarray
    keys: np.ndarray


@dataclass(frozen=True)
class Run:
    """Packets to decode together: from key packet ``start`` up to before ``stop``, for the frames ``wanted``.

    ``wanted`` maps presentation time → frame number.
    """

    start: int
    stop: int
    wanted: dict[int, int]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def scan(video: Path) -> Index:
    """Index a video by its packets, decoding only the first; :class:`DriveError` when it is no readable video."""
    with _open(video) as container, ThreadPoolExecutor(1, thread_name_prefix="first") as beside:
        first = beside.submit(_first_pictures, video)
        stream = container.streams.video[0]
        codec = stream.codec_context
        times, keys, hidden, sound = [], [], 0, True
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                sound = sound and packet.pts is not None and not (packet.is_corrupt or packet.is_discard)
                hidden += packet.is_discard  # a trimmed recording: decoded, but not shown
                if packet.is_keyframe:
                    keys.append(len(times))
                times.append(packet.pts if packet.pts is not None else -1)
        except av.error.FFmpegError as error:
            log.warning("video %s: damaged after %d packets (%s); what follows is not read", video, len(times), error)
        if not times or codec.width <= 0 or codec.height <= 0:
            raise DriveError(f"video {video}: holds no pictures; export it again")
        names = container.format.name.split(",")
        indexed = codec.name in INDEXED_CODECS and not set(names).isdisjoint(INDEXED_CONTAINERS)
        rate = stream.average_rate or stream.guessed_rate
        decoded, rotation = first.result()
        width, height = (codec.height, codec.width) if rotation % 180 else (codec.width, codec.height)
        stored = np.array(times, dtype=np.int64)
        # The decoder must give exactly one picture for each of the first packets, at the times that the index says.
        exact = sound and indexed and _orderly(stored, keys, codec.name)
        exact = exact and decoded == sorted(stored[:CHECKED_FRAMES].tolist())
    numbers = np.argsort(np.argsort(stored, kind="stable"), kind="stable") if exact else np.empty(0, np.int64)
    return Index(
        width,
        height,
        rotation,
        float(rate) if rate else math.nan,
        len(times) - hidden,
        exact,
        stored if exact else np.empty(0, np.int64),
        numbers,
        np.array(keys if exact else [], dtype=np.int64),
    )


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


def read(video: Path, index: Index, frames: Iterable[int], deliver: Deliver, threads: int | None = None) -> list[int]:
    """Decode ``frames`` and hand each to ``deliver(number, picture)``, picture (h, w, 3) uint8 BGR.

    ``deliver`` is called from several threads, each frame once, in no order. ``threads``: how many cores to use,
    all by default. Returns the frames that the decoder could not produce (a damaged file), sorted. Whatever
    ``deliver`` raises ends the reading and is raised here.
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
        deliver(frame, to_bgr(picture, index, own.converter))

    if index.exact:
        _read_runs(video, index, runs(index, missing), hand_over, threads)
        if missing:
            log.warning("video %s: %d frames did not decode; reading forward for them", video, len(missing))
    if missing:
        _read_forward(video, index, missing, hand_over, threads)
    return sorted(missing)


class _Own(threading.local):
    """What each decoding thread has for itself."""

    def __init__(self) -> None:
        self.converter = VideoReformatter()


def to_bgr(picture: av.VideoFrame, index: Index, converter: VideoReformatter) -> np.ndarray:
    """A decoded picture → (h, w, 3) uint8 BGR as shown, the same values that OpenCV gives.

    ``converter`` keeps its tables from picture to picture; each thread needs one of its own. A picture converted
    by itself (``to_ndarray(format=...)``) builds them anew and starts threads: six times the work.

    Raises :class:`DriveError` when it is of another size than the video said, since views would be cut wrongly.

    The whole picture at once: the views of a composite tile it, and it is a hundredth of the cost of the frames
    decoded on the way to a kept one.
    """
    shown = converter.reformat(picture, format="bgr24", threads=1).to_ndarray()
    if index.rotation:
        shown = np.ascontiguousarray(np.rot90(shown, index.rotation // 90))
    if shown.shape[:2] != (index.height, index.width):
        raise DriveError(
            f"video: its pictures change size, from {index.width}x{index.height} to "
            f"{shown.shape[1]}x{shown.shape[0]}; export it in one size"
        )
    return shown


def _open(video: Path) -> av.container.InputContainer:
    """The opened video; every reason why it cannot be one is a :class:`DriveError`."""
    if not video.exists():
        raise DriveError(f"video {video}: no such file; give the recording of the drive")
    if not video.is_file():
        raise DriveError(f"video {video}: is not a file; give the recording of the drive")
    try:
        container = av.open(str(video))
    except (av.error.FFmpegError, OSError) as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise DriveError(f"video {video}: cannot be opened ({reason}); is the export complete?") from None
    if not container.streams.video:
        container.close()
        raise DriveError(f"video {video}: holds no video stream; give the recording of the drive")
    return container


def _rotation(video: Path) -> int:
    """How far the player turns the picture, from the first frame that decodes (0 when none does)."""
    with _open(video) as container:
        try:
            for picture in container.decode(video=0):
                return _turn(picture)
        except av.error.FFmpegError:
            return 0
    return 0


def _orderly(times: np.ndarray, keys: list[int], codec: str) -> bool:
    """Whether packets and frames can be matched by presentation time.

    Every time occurs once, the file starts with a key frame that is shown first (so nothing at the start is
    undecodable), and MPEG-4 part 2 is not reordered (its packets may hold two pictures).
    """
    in_order = bool(np.all(np.diff(times) > 0))
    return (
        len(np.unique(times)) == len(times)
        and keys[:1] == [0]
        and int(np.argmin(times)) == 0
        and (in_order or codec != "mpeg4")
    )


def _first_pictures(video: Path) -> tuple[list[int | None] | None, int]:
    """Times of the pictures that the first ``CHECKED_FRAMES`` packets decode to, and how far the player turns them.

    The times are None when one of these packets does not decode.
    """
    times: list[int | None] = []
    turns: list[int] = []
    sound = True
    with _open(video) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_count = 1

        def note(pictures: list[av.VideoFrame]) -> None:
            times.extend(picture.pts for picture in pictures)
            turns.extend(_turn(picture) for picture in pictures)

        try:
            for position, packet in enumerate(container.demux(stream)):
                if position >= CHECKED_FRAMES or packet.size == 0:
                    break
                note(decoder.decode(packet))
            note(decoder.decode(None))
        except av.error.FFmpegError:
            sound = False
    return times if sound else None, turns[0] if turns else _rotation(video)


def _turn(picture: av.VideoFrame) -> int:
    """How far the player turns the picture: degrees counter-clockwise, 0, 90, 180 or 270."""
    return round(picture.rotation / 90) * 90 % 360


class _Untrusted(Exception):
    """The file does not read back as its index says."""


def _read_runs(
    video: Path, index: Index, work: list[Run], hand_over: Callable[[int, av.VideoFrame], None], threads: int
) -> None:
    """Decode runs side by side, each by one thread; what a run cannot deliver stays missing."""
    queue: SimpleQueue[Run] = SimpleQueue()
    for run in work:
        queue.put(run)
    workers = max(1, min(threads, len(work)))
    stop = threading.Event()

    def decode() -> None:
        try:
            with _Reader(video, index, math.ceil(threads / workers)) as reader:
                while not stop.is_set():
                    try:
                        run = queue.get_nowait()
                    except Empty:
                        return
                    for frame, picture in reader.pictures(run):
                        if stop.is_set():
                            return
                        hand_over(frame, picture)
        except _Untrusted as reason:
            log.warning("video %s: %s", video, reason)
        except BaseException:
            stop.set()
            raise

    if workers == 1:
        decode()
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        jobs = [pool.submit(decode) for _ in range(workers)]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            stop.set()
            raise


class _Reader:
    """One opened video with its own decoder, which decodes run after run."""

    def __init__(self, video: Path, index: Index, threads: int):
        self.index = index
        self.position_at = {int(time): position for position, time in enumerate(index.times)}
        self.container = _open(video)
        self.stream = self.container.streams.video[0]
        self.decoder = self.stream.codec_context
        self.decoder.thread_count = threads
        self.decoder.thread_type = "AUTO" if threads > 1 else "SLICE"
        self.packets = self.container.demux(self.stream)
        self.position = 0  # of the packet that is read next

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def pictures(self, run: Run) -> Iterator[tuple[int, av.VideoFrame]]:
        """The wanted (frame number, picture) of one run; pictures that do not decode are left out."""
        shown_from = self.index.numbers[run.start]
        try:
            packet = self._packet(run.start)
            while packet is not None:
                # What is shown before the run's key frame refers to what lies before it.
                if self.index.numbers[self.position - 1] >= shown_from:
                    self.decoder.skip_frame = "DEFAULT" if packet.pts in run.wanted else "NONREF"
                    yield from self._wanted(self.decoder.decode(packet), run)
                packet = self._next() if self.position < run.stop else None
            yield from self._wanted(self.decoder.decode(None), run)
        except av.error.FFmpegError as error:
            log.debug("packets %d to %d: %s", run.start, run.stop, error)
        finally:
            self.decoder.flush_buffers()

    def _wanted(self, pictures: list[av.VideoFrame], run: Run) -> Iterator[tuple[int, av.VideoFrame]]:
        for picture in pictures:
            if picture.pts in run.wanted and not picture.is_corrupt:
                yield run.wanted[picture.pts], picture

    def _packet(self, start: int) -> av.Packet:
        """The packet at position ``start``: read on to it when it is near, else seek."""
        if not 0 <= start - self.position <= SKIPPED_RATHER_THAN_SOUGHT:
            return self._seek(start)
        return self._read_on(self._next(), start)

    def _seek(self, start: int) -> av.Packet:
        # Landing a little early is fine, the rest is read past; late is not, and then the start of the file is.
        for time in (int(self.index.times[start]), int(self.index.times[0])):
            self.container.seek(time, stream=self.stream, backward=True)
            self.packets = self.container.demux(self.stream)
            packet = self._next()
            landed = self.position_at.get(packet.pts) if packet is not None else None
            if landed is not None and landed <= start:
                self.position = landed + 1
                return self._read_on(packet, start)
        raise _Untrusted(f"no seek reaches packet {start}")

    def _read_on(self, packet: av.Packet | None, start: int) -> av.Packet:
        """From ``packet``, the last one read, on to the one at position ``start``."""
        while packet is not None:
            if packet.pts != self.index.times[self.position - 1]:
                raise _Untrusted(f"packet {self.position - 1} reads otherwise than it was indexed")
            if self.position - 1 == start:
                return packet
            packet = self._next()
        raise _Untrusted(f"ends before packet {start}")

    def _next(self) -> av.Packet | None:
        """The next packet with content, None at the end of the file."""
        packet = next((packet for packet in self.packets if packet.size), None)
        self.position += packet is not None
        return packet


def _read_forward(
    video: Path,
    index: Index,
    missing: set[int],
    hand_over: Callable[[int, av.VideoFrame], None],
    threads: int,
) -> None:
    """Decode everything from the start up to the last missing frame.

    With an exact index a picture's number comes from its presentation time: damage costs the pictures up to the
    next key frame, which would show guessed content, and does not shift the others. Without, pictures are
    counted, and nothing can be counted past damage: it ends the reading, as it does for OpenCV.
    """
    number_at = dict(zip(index.times.tolist(), index.numbers.tolist(), strict=True))
    last = max(missing)
    with _open(video) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        damaged = False
        for count, picture in enumerate(_all_pictures(container, stream)):
            damaged = (damaged and not (picture and picture.key_frame)) or picture is None or picture.is_corrupt
            if damaged and not index.exact:
                return
            frame = count if not index.exact else -1 if picture is None else number_at.get(picture.pts, -1)
            if frame in missing and not damaged:
                hand_over(frame, picture)
            if frame >= last:
                return


def _all_pictures(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame | None]:
    """Every picture that decodes, in presentation order, and None for a packet that does not."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            packet = None  # the container ends here: what was read so far still comes out of the decoder
        ended = packet is None or packet.size == 0
        try:
            yield from stream.codec_context.decode(None if ended else packet)
        except av.error.FFmpegError as error:
            log.debug("a packet does not decode: %s", error)
            yield None
        if ended:
            return
