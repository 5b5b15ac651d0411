"""Which frames a video holds, when each is shown, and which packet holds it: the index of a video.

Frame ``n`` is the ``n``-th picture in presentation order, as OpenCV counts them when it reads forward; seeking by
frame number, which OpenCV also offers, is not exact on every file.

Reading all packets without decoding costs next to nothing and tells which packet holds which frame, when it is
shown and where decoding can start (:func:`scan`). Where that cannot be trusted (no presentation times, a container
that does not keep one picture to a packet, a decoder that answers otherwise) the index says so, and
:mod:`recording.decoding` decodes the file forward from its start and counts the pictures.
"""

import logging
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags

from recording import beginning, bitstream, endings, layouts, pictures, video
from recording.beginning import Beginning
from recording.decoder import Damaged, Decoder
from recording.exceptions import DriveError

log = logging.getLogger("recording.frames")

INDEXED_CONTAINERS = ("mov", "mp4", "matroska", "webm")
SEQUENTIAL_CONTAINERS = ("matroska", "webm", "flv")
"""Of these packets are found one behind the other: past a damaged stretch the reader looks for the next that seems
whole, and says nothing."""
NO_TIMES = 0x80
"""FFmpeg's flag of formats without times (AVFMT_NOTIMESTAMPS): it makes them up from a rate that is made up too."""
BETWEEN_PACKETS = 1024
"""So many bytes between two packets at most are the container's own."""
LONG_STEP = 1.75
"""Times the usual step from picture to picture: one is missing."""
INDEXED_CODECS = ("h264", "hevc", "mjpeg", "mpeg4")
CHECKED_FRAMES = 24
"""So many packets from the start are decoded to see that decoder and index agree."""
WRONG_AT_FIRST = 3
"""Of these so many are damaged at most, where a way of looking at bytes is to be believed."""
STRICT_CODECS = ("h264", "hevc", "mjpeg")
TELLING_CODECS = (
    *("h264", "hevc", "mpeg4", "h263", "flv1", "mpeg1video", "mpeg2video", "av1"),
    *("mjpeg", "jpeg2000", "png", "prores", "dnxhd", "cfhd", "svq1", "asv1"),
)
"""In these damage shows. The decoders of others make a picture of any bytes, and films are smeared without a word."""
STRICTLY_CHECKED = 12
"""So many are looked at in another way, to see whether that can tell damage from a camera's habits."""
HELD_BACK = 16
"""A picture is stored at most so many places from where it is shown (H.264, H.265: 16 pictures are kept)."""


@dataclass(frozen=True)
class Index:
    """What a video holds, from its packets alone.

    ``track``: the film among the file's video tracks; ``shown``: how its pictures lie and how large they are as shown.
    ``fps``: usual rate, 30 where nothing says it; pauses and missing pictures do not count. ``frames``: number of
    frames (of packets to be shown, where not ``exact``), ``packets``: of packets with content. ``seconds``: (frames,)
    when each frame is shown, from the first one's time on; from the pictures' own times, so a variable rate is kept.
    ``exact``: the arrays that follow tell which packet holds which frame. ``times``: presentation time per packet, in
    the order in which packets are stored and decoded; ``numbers``: the frame that each packet holds; ``keys``:
    positions of the packets where decoding can start. Empty where not exact. ``damaged``: positions of packets whose
    bytes no encoder writes. ``strict``: pictures of MJPEG and H.265 are looked at in another way as well, ``even``:
    those of MJPEG for steps between blocks, too (:class:`recording.decoder.Decoder`).
    """

    track: int
    shown: video.Shown
    fps: float
    frames: int
    packets: int
    seconds: np.ndarray
    exact: bool
    times: np.ndarray
    numbers: np.ndarray
    keys: np.ndarray
    damaged: frozenset[int]
    strict: bool = False
    even: bool = False
    cut: bool = False
    """Whether the file goes on behind the last frame, where nothing can be counted."""
    assumed: bool = False
    """Whether ``seconds`` are of a rate that the file only names, or not even that: its pictures have no times."""
    beginning: Beginning = field(default_factory=Beginning)
    """Not the usual one where the film was cut between two key frames, or leads in with pictures that refer to such."""

    @property
    def width(self) -> int:
        """Of the pictures as shown, in pixels."""
        return self.shown.width

    @property
    def height(self) -> int:
        """Of the pictures as shown, in pixels."""
        return self.shown.height


@dataclass
class _Packets:
    """What is noted of every packet with content, in the order of the file."""

    presented: list[int | None]
    decoded: list[int | None]
    keys: list[int]
    hidden: list[int]
    damaged: list[int]
    """By their bytes, or as the container says."""
    illegal: list[int]
    """By their bytes."""
    places: list[int]
    """Bytes from the start of the file."""
    cut: bool = False

    def end_at(self, place: int) -> None:
        """Forget the packets that lie at ``place`` or behind it."""
        count = sum(one < place for one in self.places)
        self.cut = True
        for kept in (self.presented, self.decoded, self.places):
            del kept[count:]
        for positions in (self.keys, self.hidden, self.damaged, self.illegal):
            positions[:] = [position for position in positions if position < count]


def scan(path: Path, track: int | None = None) -> Index:
    """Index a video by its packets, decoding only the first; :class:`DriveError` when it is no readable video.

    ``track``: which of several films, see :func:`recording.video.opened`.
    """
    with video.opened(path, track) as (container, stream), ThreadPoolExecutor(1, thread_name_prefix="first") as beside:
        video.check_light(stream, path)
        number = video.films(container).index(stream)
        first = beside.submit(_first_pictures, path, number)
        packets = _packets(path, container, stream)
        if set(container.format.name.split(",")).intersection(SEQUENTIAL_CONTAINERS):
            _end_before_a_hole(path, number, packets)
        if not packets.presented or stream.codec_context.width <= 0 or stream.codec_context.height <= 0:
            raise DriveError(f"video {path}: holds no pictures; export it again")
        times, picture = first.result()
        shown = video.shown(stream, picture, path)
        begins = _beginning(path, number, stream, packets, picture)
        exact = begins == Beginning() and _is_exact(container, stream, packets, times)
        fps, seconds, assumed = _clock(path, container, stream, packets, begins)
        _say_count(path, stream, packets)
        if said := begins.describe():
            log.warning("video %s: %s", path, said)
        strict = stream.codec_context.name in STRICT_CODECS and _first_are_sound(path, number, begins.start)
        _say_silence(path, stream.codec_context.codec, strict)
        even = stream.codec_context.name == "mjpeg" and _first_are_even(path, number)
    stored = np.array(packets.presented if exact else [], dtype=np.int64)
    return Index(
        number,
        shown,
        fps,
        len(seconds),
        len(packets.presented),
        seconds,
        exact,
        stored,
        np.argsort(np.argsort(stored, kind="stable"), kind="stable"),
        np.array(packets.keys if exact else [], dtype=np.int64),
        frozenset(packets.damaged if exact else _ending(packets)),
        strict,
        even,
        packets.cut,
        assumed,
        begins,
    )


def _beginning(
    path: Path, number: int, stream: av.VideoStream, packets: _Packets, first: av.VideoFrame | None
) -> Beginning:
    """How the film begins; ``first``: the first picture that comes out of its decoder. Raises :class:`DriveError` where
    decoding can start nowhere."""
    if stream.codec_context.codec.canonical_name not in beginning.BETWEEN_KEYS or not packets.presented:
        return Beginning()
    times = [time for time in packets.presented[: HELD_BACK + 1] if time is not None]
    leads_in = packets.presented[0] is not None and min(times) < packets.presented[0]
    if first is not None and beginning.place(first) == 0:
        is_whole = beginning.is_start(first)
    else:
        is_whole = packets.keys[:1] == [0]  # but it is damaged, or an edit list does not show it
    if is_whole and not leads_in:
        return Beginning()
    found = beginning.find(path, number, packets.keys, packets.presented, packets.hidden, HELD_BACK)
    if found is None and not packets.keys:
        raise DriveError(
            f"video {path}: begins between two key frames and holds none, so that none of its pictures can be decoded "
            f"as it was; export it from an earlier moment on"
        )
    return found or Beginning()


def _packets(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> _Packets:
    """Read all packets; where the container is damaged, those before the damage."""
    noted = _Packets([], [], [], [], [], [], [])
    is_legal, is_start = (
        of(stream.codec_context.name, stream.codec_context.extradata)
        for of in (bitstream.check_for, bitstream.start_for)
    )
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            position = len(noted.presented)
            if packet.is_keyframe and is_start(packet):
                noted.keys.append(position)
            if packet.is_discard:  # a trimmed recording: decoded, but not shown
                noted.hidden.append(position)
            legal = is_legal(packet)
            if packet.is_corrupt or not legal:
                noted.damaged.append(position)
            if not legal:
                noted.illegal.append(position)
            noted.presented.append(packet.pts)
            noted.decoded.append(packet.dts)
            noted.places.append(packet.pos if packet.pos is not None else -1)
    except av.error.FFmpegError as error:
        read = len(noted.presented)
        log.warning("video %s: damaged after %d packets (%s); what follows is not read", path, read, error)
    return noted


def _ending(packets: _Packets) -> list[int]:
    """Packets where the reading of a file ends whose pictures are counted.

    Of what the container says those behind which no key frame follows: of two transport streams that were joined, the
    last packet of the first counts as damaged, too (FFmpeg says it of the one before). And nothing that most of the
    first pictures have: then the camera writes so.
    """
    illegal, joints = set(packets.illegal), {key - ahead for key in packets.keys for ahead in (1, 2)}
    torn = [position for position in packets.damaged if position not in illegal | joints]
    return [position for found in (packets.illegal, torn) if not _is_usual(found, packets) for position in found]


def _is_usual(found: list[int], packets: _Packets) -> bool:
    often = sum(position < CHECKED_FRAMES for position in found)
    return often > min(WRONG_AT_FIRST, len(packets.presented) // 4)


def _end_before_a_hole(path: Path, number: int, packets: _Packets) -> None:
    """Forget what follows a stretch of the file that is no packets, where pictures are missing.

    What was there is gone, and how many pictures that were nobody knows: those behind it cannot be numbered.
    """
    both = zip(packets.presented, packets.places, strict=True)
    shown = sorted((time, place) for time, place in both if time is not None)
    if len(shown) < 3 or min(packets.places) < 0:
        return
    steps = np.diff([time for time, _ in shown])
    long = [k for k in np.flatnonzero(steps > LONG_STEP * np.median(steps)) if shown[k][1] < shown[k + 1][1]]
    if not long:
        return  # of most files: nothing is missing, and they are not read once more
    with video.opened(path, number) as (again, _):
        every = sorted((packet.pos, packet.size) for packet in again.demux() if packet.size and packet.pos is not None)
    end = every[0][0]
    for place, size in every:
        if place - end > BETWEEN_PACKETS and any(shown[k][1] < place <= shown[k + 1][1] for k in long):
            said = "video %s: damaged from byte %d to %d, pictures are missing there; what follows cannot be counted"
            log.warning(said, path, end, place)
            packets.end_at(place)
            return
        end = max(end, place + size)


def _is_exact(
    container: av.container.InputContainer, stream: av.VideoStream, packets: _Packets, first: list[int | None] | None
) -> bool:
    """Whether packets and frames can be matched by presentation time.

    Every packet is shown at a time of its own and near its place in the file, the file starts with a key frame that is
    shown first (so nothing at the start is undecodable), MPEG-4 part 2 is not reordered (its packets may hold two
    pictures), and ``first``, the times of the pictures that the first packets decoded to, are those of the packets.
    """
    codec = stream.codec_context.name
    times = packets.presented
    if set(container.format.name.split(",")).isdisjoint(INDEXED_CONTAINERS) or codec not in INDEXED_CODECS:
        return False
    if None in times or packets.hidden or len(set(times)) < len(times) or packets.keys[:1] != [0]:
        return False
    known = [time for time in times if time is not None]
    # Without reordering the decoder shows pictures as they are stored, also where a clock was set back.
    if known[0] != min(known) or (codec in ("mpeg4", "mjpeg") and known != sorted(known)):
        return False
    if _were_set_back(known):
        return False
    checked = sorted(known[:CHECKED_FRAMES])
    # What is damaged at the start cannot be compared, it is left out when the frames are read.
    return first == checked or ((first is None or bool(packets.damaged)) and set(first or ()) <= set(checked))


def _clock(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, packets: _Packets, begins: Beginning
) -> tuple[float, np.ndarray, bool]:
    """The usual rate, the time of every frame that is shown in seconds after the first one, and whether it is assumed.

    The pictures' own times count: browsers write no rate at all, and cameras change theirs with the light. Where
    they are those of the header's constant rate, rounded to the container's clock, they are what was rounded. Streams
    without a container have none, and those that FFmpeg makes up say nothing; their pictures may still name a rate.
    """
    hidden = begins.unshown.union(packets.hidden)
    made_up = bool(container.format.flags & NO_TIMES)
    known_rates = (stream.guessed_rate, stream.average_rate) if made_up else (stream.average_rate, stream.guessed_rate)
    rates = [float(rate) for rate in known_rates if rate]
    for noted in () if made_up else (packets.presented, packets.decoded):
        times = [time for position, time in enumerate(noted) if position not in hidden]
        known = [time for time in times if time is not None]
        if len(set(known)) < len(times) or stream.time_base is None or _were_set_back(known):
            continue
        tick = float(stream.time_base)
        ordered = np.sort(np.array(known, dtype=np.int64))
        seconds = (ordered - ordered[:1]) * tick
        count = np.arange(len(seconds))
        for rate in rates:
            if np.all(np.abs(seconds - count / rate) <= 1.01 * tick):
                return rate, np.arange(len(seconds) + begins.made_up) / rate, False
        if len(seconds) > 1:
            rate = _usual_rate(seconds)
            lead = np.arange(begins.made_up) / rate
            return rate, np.concatenate([lead, seconds + begins.made_up / rate]), False
    rate = next((rate for rate in rates if math.isfinite(rate) and rate > 0), layouts.DEFAULT_FPS)
    said = "video %s: its pictures have no times of their own, or their clock was set back; %g per second are assumed"
    log.warning(said, path, rate)
    return rate, np.arange(len(packets.presented) - len(hidden) + begins.made_up) / rate, True


def _usual_rate(seconds: np.ndarray) -> float:
    """Pictures a second, from the steps between them that are no longer than usual."""
    steps = np.diff(seconds)
    return 1 / float(np.mean(steps[steps <= LONG_STEP * np.median(steps)]))


def _were_set_back(times: list[int]) -> bool:
    """Whether times in the order of the file go back by more than pictures are reordered."""
    return bool(len(times)) and int(np.abs(np.argsort(times, kind="stable") - np.arange(len(times))).max()) > HELD_BACK


def _say_count(path: Path, stream: av.VideoStream, packets: _Packets) -> None:
    """Warn when the header counts other pictures than are shown."""
    found = len(packets.presented) - len(packets.hidden)
    held = "an edit list shows" if packets.hidden else "the file holds"
    written = stream.metadata.get("NUMBER_OF_FRAMES", "")
    stated = stream.frames or (int(written) if written.isdecimal() else 0)
    if stated and stated != found:
        log.warning("video %s: its header says %d frames, %s %d; these are used", path, stated, held, found)


def _say_silence(path: Path, codec: av.codec.Codec, strict: bool) -> None:
    """Warn where damage does not show; of H.265 it does only where its endings can be looked at (``strict``)."""
    if codec.canonical_name not in TELLING_CODECS or (codec.canonical_name == "hevc" and not strict):
        said = "video %s: damage in %s may not be seen; compare checksums if the file was copied"
        log.warning(said, path, codec.long_name)


def _first_pictures(path: Path, track: int) -> tuple[list[int | None] | None, av.VideoFrame | None]:
    """Times of the pictures that the first ``CHECKED_FRAMES`` packets decode to, and the first picture of all, with the
    position of its packet (:func:`recording.beginning.place`) if it is one of these.

    The times are None when one of these packets does not decode.
    """
    decoded: list[av.VideoFrame] = []
    with video.opened(path, track) as (container, stream):
        decoder = stream.codec_context
        decoder.thread_count = 1
        decoder.flags |= Flags.copy_opaque
        try:
            for position, packet in enumerate(container.demux(stream)):
                if position >= CHECKED_FRAMES or packet.size == 0:
                    break
                beginning.mark(packet, position)
                decoded += decoder.decode(packet)
            decoded += decoder.decode(None)
        except av.error.FFmpegError:
            return None, decoded[0] if decoded else _first_that_decodes(path, track)
    times = [picture.pts for picture in decoded]
    return times, decoded[0] if decoded else _first_that_decodes(path, track)


def _first_are_sound(path: Path, track: int, start: int) -> bool:
    """Whether libjpeg-turbo, or the endings of H.265, find nothing wrong with the first pictures but a few; from the
    packet ``start`` on, where decoding can begin."""
    with video.opened(path, track) as (container, stream):
        if stream.codec_context.name == "h264":
            return _first_end_rightly(container, stream, start)
        looked_at = endings.of(stream)
        if stream.codec_context.name == "hevc" and looked_at is None:
            return False
        try:
            first = _packets_from(container, stream, start)
        except av.error.FFmpegError:
            return False
    sound = [looked_at.fit(packet) if looked_at else pictures.is_sound_jpeg(bytes(packet)) for packet in first]
    return sum(sound) >= 0.75 * len(first)


def _first_are_even(path: Path, track: int) -> bool:
    """Whether the first pictures of an MJPEG have no steps between blocks: one may be damaged."""
    with video.opened(path, track) as (container, stream):
        decoder, sound = Decoder(stream, 1, even=True), list[bool]()
        for packet in islice((packet for packet in container.demux(stream) if packet.size), CHECKED_FRAMES):
            try:
                sound += [one for _, one in decoder.decode(packet)]
            except Damaged:
                continue  # what does not decode says nothing about the others
    return sum(sound) >= max(1, len(sound) - 1)


def _packets_from(
    container: av.container.InputContainer, stream: av.VideoStream, start: int
) -> "list[av.Packet[av.VideoStream]]":
    """``STRICTLY_CHECKED`` packets from the one at ``start`` on."""
    return [packet for packet in islice(container.demux(stream), start, start + STRICTLY_CHECKED) if packet.size]


def _first_end_rightly(container: av.container.InputContainer, stream: av.VideoStream, start: int) -> bool:
    """Whether H.264 pictures that end where their data does are what a recording begins with."""
    decoder = Decoder(stream, 1, strict=True)
    try:
        packets = _packets_from(container, stream, start)
        shown = [sound for packet in (*packets, None) for _, sound in decoder.decode(packet)]
    except (av.error.FFmpegError, Damaged):
        return False
    return bool(shown) and all(shown)


def _first_that_decodes(path: Path, track: int) -> av.VideoFrame | None:
    with video.opened(path, track) as (container, stream):
        for packet in container.demux(stream):
            try:
                for picture in stream.codec_context.decode(packet if packet.size else None):
                    return picture
            except av.error.FFmpegError:
                continue  # what does not decode is counted when the frames are read
    return None
