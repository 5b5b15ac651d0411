"""Pictures of a video by frame number, at the speed of the decoder; nothing that damage touched.

From the index of a video (:mod:`recording.frames`) follows what the wanted frames depend on: for each key frame
with wanted frames behind it, the packets up to the last of these, less the ones that no other picture refers to
(:mod:`recording.runs`). These runs are decoded side by side, one thread each (:func:`read`), or everything in its
order (:func:`in_order`). Where the index is not exact, the file is decoded from its start and the pictures counted.

Decoders conceal damage: they fill what is missing from the picture before and go on, and every picture up to the
next key frame is smeared. So a picture is handed over only when all that was decoded before it, from its key frame
on, was sound; what follows damage is left out up to the next key frame. Where there is damage, or a picture leaps as
none does (:mod:`recording.jumps`), more of it is looked for in ways that cost too much to take always
(:mod:`recording.second_look`).
"""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter

from recording import jumps, second_look, video
from recording.beginning import mark, place
from recording.decoder import Damaged, Decoder
from recording.frames import HELD_BACK, Index
from recording.processors import cores
from recording.runs import Reader, Run, Untrusted, runs

log = logging.getLogger("recording.decoding")

BEFORE = "frame that refers to what lies before the start of the video"
DAMAGED = "frame damaged in the video, or behind damage up to the next key frame"
Deliver = Callable[[int, np.ndarray], None]
"""Takes a frame number and its picture, (h, w, 3) uint8 BGR."""


Follow = Callable[[av.VideoStream], jumps.Watch | None]
"""Makes what follows the decoder of a track, if anything does."""


@dataclass(frozen=True)
class Besides:
    """``frames`` whose brightness, (h, w) uint8, is handed to ``deliver``, which must not keep the array."""

    frames: frozenset[int]
    deliver: Deliver


def read(
    path: Path,
    index: Index,
    frames: Iterable[int],
    deliver: Deliver,
    threads: int | None = None,
    besides: Besides | None = None,
    before: Iterable[int] = (),
) -> dict[int, str]:
    """Decode ``frames`` and hand each to ``deliver(number, picture)``, picture (h, w, 3) uint8 BGR.

    ``deliver`` is called from several threads, each frame once, in no order. ``threads``: how many cores to use,
    all by default. ``besides``: frames that are wanted without their colours, in the same pass. Returns the frames
    that were left out, sorted, with the reason. Whatever ``deliver`` raises ends the reading and is raised here.
    """
    threads = threads or cores()
    coloured = frozenset(frames)
    grey = besides.frames if besides else frozenset()
    wanted = coloured | grey
    missing = {frame for frame in wanted if frame >= index.beginning.number}
    before_start = wanted - missing
    lock = threading.Lock()
    own = _Own()

    def hand_over(frame: int, picture: av.VideoFrame) -> None:
        with lock:
            if frame not in missing:
                return
            missing.discard(frame)
        if besides and frame in grey:
            besides.deliver(frame, video.brightness(picture, index.shown, own.converter))
        if frame in coloured:
            deliver(frame, video.to_bgr(picture, index.shown, own.converter))

    damaged, leaping = set[int](), set[int]()
    if index.exact:
        damaged, leaping = _read_runs(path, index, runs(index, missing), hand_over, threads)
    left = missing - damaged
    if left:
        last = max(left)
        for frame, picture in _forward(path, index, threads):
            hand_over(frame, picture)
            if frame >= last:
                break
    seen = bool(missing or index.damaged)
    if seen or _is_doubted(path, index, leaping):
        missing |= _looked_at_again(path, index, (wanted | frozenset(before)) - missing, threads, alone=not seen)[1]
    return dict.fromkeys(sorted(before_start), BEFORE) | dict.fromkeys(sorted(missing), DAMAGED)


def _is_doubted(path: Path, index: Index, leaping: set[int]) -> bool:
    """Whether one of these frames comes from a packet whose data does not end with it."""
    position_of = np.argsort(index.numbers)
    positions: dict[int, bool] = {}
    for position in sorted(position_of[sorted(leaping)].tolist()):
        key = int(index.keys[index.keys <= position][-1])
        for earlier in range(max(key, position - jumps.REFERRED), position):
            near = earlier == key and position - key <= jumps.BEHIND_KEY
            if near or index.numbers[earlier] > index.numbers[position]:  # stored before it, as it may refer to it
                positions.setdefault(earlier, False)
        positions[position] = True
    return second_look.has_damaged(path, index, positions)


def reasons(index: Index) -> str:
    """Why frames of a video may be left out, in words."""
    return f"{BEFORE}; {DAMAGED}" if index.beginning.number else DAMAGED


def _looked_at_again(
    path: Path, index: Index, frames: Iterable[int], threads: int, alone: bool
) -> tuple[frozenset[int], set[int]]:
    """Damaged packets that only a second look shows in what ``frames`` need, and those of the frames that they cost.
    ``alone``: no other damage was seen."""
    if not index.exact:
        return _counted_again(path, index, set(frames), threads, alone)
    needed = runs(index, frames)
    positions: dict[int, bool] = {}
    for run in needed:
        for position in range(run.start, run.stop):
            positions[position] = positions.get(position, False) or int(index.times[position]) in run.wanted
    found = second_look.damaged(path, index, positions, threads, alone)
    return found, set().union(*(_behind(index, run, found) for run in needed))


def _counted_again(
    path: Path, index: Index, frames: set[int], threads: int, alone: bool
) -> tuple[frozenset[int], set[int]]:
    """The same where packets do not tell frames: the first damaged packet ends the reading."""
    behind = index.packets - index.frames  # of the packets of frames, as some have none
    damaged = [position for position in index.damaged if position >= index.beginning.start]
    stop = min([max(frames, default=-1) + behind + HELD_BACK + 1, index.packets, *damaged])
    found = second_look.damaged(path, index, dict.fromkeys(range(index.beginning.start, stop), True), threads, alone)
    first = min(found, default=stop + HELD_BACK)
    return found, {frame for frame in frames if frame + behind >= first - HELD_BACK}


def _behind(index: Index, run: Run, damaged: frozenset[int]) -> set[int]:
    """The wanted frames of a run from its first damaged packet on."""
    first = min((position for position in damaged if run.start <= position < run.stop), default=run.stop)
    return {run.wanted[time] for time in index.times[first : run.stop].tolist() if time in run.wanted}


def in_order(path: Path, index: Index, first: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Every sound frame of a video in presentation order: its number and its picture, (h, w, 3) uint8 BGR.

    ``first``: so many frames at most, damaged ones counted. The same pictures that :func:`read` gives, but that damage
    of which only a leap tells is judged at once and not with the whole film in view, and that after damage to a picture
    in front of an open key frame reading goes on at the next one. The numbers that are missing are damaged or behind
    damage. Where the first damage is met, the rest of the file is looked at for more
    that does not show; frames that were given till then and turn out to be behind such damage are named in a warning.
    """
    converter = VideoReformatter()
    wanted = index.frames if first is None else min(first, index.frames)
    for frame, picture in _forward(path, index, cores(), wanted):
        if frame >= wanted:
            return
        yield frame, video.to_bgr(picture, index.shown, converter)


def in_order_rgb(path: Path, index: Index, first: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """The same as :func:`in_order` in RGB, the order of colours that the network and the app take."""
    for frame, picture in in_order(path, index, first):
        yield frame, np.ascontiguousarray(picture[..., ::-1])


class _Own(threading.local):
    """What each decoding thread has for itself."""

    def __init__(self) -> None:
        self.converter = VideoReformatter()


def _read_runs(
    path: Path, index: Index, work: list[Run], hand_over: Callable[[int, av.VideoFrame], None], threads: int
) -> tuple[set[int], set[int]]:
    """Decode runs side by side, each by one thread; returns the wanted frames that damage cost, and which frames leap
    (:mod:`recording.jumps`)."""
    stretches = _stretches(work)
    queue: SimpleQueue[list[Run]] = SimpleQueue()
    for stretch in stretches:
        queue.put(stretch)
    workers = max(1, min(threads, len(stretches)))
    own = math.ceil(threads / max(1, min(threads, len(work))))  # of each: several tell less surely of damage
    stop = threading.Event()
    lost: set[int] = set()
    leaps: dict[int, float] = {}

    def decode() -> None:
        try:
            with Reader(path, index, own, jumps.record) as reader:
                while not stop.is_set():
                    try:
                        stretch = queue.get_nowait()
                    except Empty:
                        break
                    for frame, picture in _in_stretch(reader, stretch, lost):
                        if stop.is_set():
                            return
                        hand_over(frame, picture)
                leaps.update(_by_frame(reader))
        except Untrusted as reason:
            log.warning("video %s: %s", path, reason)
        except BaseException:
            stop.set()
            raise

    def leaping() -> set[int]:
        keys = set(index.numbers[index.keys].tolist())
        return jumps.chosen(leaps, sum(run.stop - run.start for run in work), keys)

    if workers == 1:
        decode()
        return lost, leaping()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        jobs = [pool.submit(decode) for _ in range(workers)]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            stop.set()
            raise
    return lost, leaping()


def _stretches(work: list[Run]) -> list[list[Run]]:
    """Runs that follow each other, put together by their length alone: what leaps must not depend on who decodes it."""
    stretches: list[list[Run]] = []
    for run in work:
        if not stretches or sum(other.stop - other.start for other in stretches[-1]) >= jumps.STRETCH:
            stretches.append([])
        stretches[-1].append(run)
    return stretches


def _in_stretch(reader: Reader, stretch: list[Run], lost: set[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    if isinstance(reader.follower, jumps.Record):
        reader.follower.begin()
    for run in stretch:
        yield from _pictures(reader, run)
        lost.update(reader.lost)


def _by_frame(reader: Reader) -> dict[int, float]:
    """The leaps that a reader met, by frame number."""
    found = reader.follower.found if isinstance(reader.follower, jumps.Record) else {}
    known = {reader.position_at[time]: leap for time, leap in found.items() if time in reader.position_at}
    return {int(reader.index.numbers[position]): leap for position, leap in known.items()}


def _pictures(reader: Reader, run: Run) -> Iterator[tuple[int, av.VideoFrame]]:
    """The sound pictures of a run; where several threads met damage, a single one says exactly where it is."""
    yield from reader.pictures(run)
    if reader.damage is not None and reader.decoder.threads > 1:
        with Reader(reader.path, reader.index, 1) as precise:
            yield from precise.pictures(run)
        reader.lost = precise.lost


def _forward(path: Path, index: Index, threads: int, wanted: int = 0) -> Iterator[tuple[int, av.VideoFrame]]:
    """Every sound (frame number, picture) from the start of the file on, in presentation order; where there is damage,
    more of it is looked for among what the first ``wanted`` frames need."""
    return _in_order(path, index, threads, wanted) if index.exact else _counted(path, index, threads, wanted)


def _in_order(path: Path, index: Index, threads: int, wanted: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode everything from the start; after damage again from the next key frame.

    Threads do not tell which packet an error belongs to: where one occurs, one thread goes on from before it.
    """
    start: int | None = 0
    last = -1
    looked_again = not wanted
    follow: Follow = _unfollowed if looked_again else jumps.watch
    while start is not None:
        if index.damaged and not looked_again:
            looked_again, index = True, _with_hidden_damage(path, index, wanted, last)
        doubted = False
        with Reader(path, index, threads, follow) as reader:
            try:
                for frame, picture in reader.pictures(_all_from(index, start)):
                    if threads > 1 and frame > last + 1:
                        break  # whether what is missing is damaged, one thread tells
                    if doubted := reader.follower is not None and reader.follower.doubted:
                        break
                    if frame > last:
                        yield frame, picture
                        last = frame
            except Untrusted as reason:
                log.warning("video %s: %s; frames after %d are left out", path, reason, last)
                return
        if doubted:
            follow, index = _unfollowed, _with_hidden_damage(path, index, wanted, last, alone=not index.damaged)
            start = runs(index, [last + 1])[0].start if last + 1 < index.frames else None
        else:
            if reader.damage is not None and not looked_again:
                looked_again, index = True, _with_hidden_damage(path, index, wanted, last)
            start, threads = _next_start(index, reader.damage, threads), 1


def _with_hidden_damage(path: Path, index: Index, wanted: int, last: int, alone: bool = False) -> Index:
    """The index with damage that a second look finds in what the first ``wanted`` frames need, of which those up to
    ``last`` were given."""
    found, lost = _looked_at_again(path, index, range(wanted), cores(), alone)
    behind = sorted(frame for frame in lost if frame <= last)
    if behind:
        said = "video %s: damage that shows at a second look only; %d frames were taken for sound till then: %s …"
        log.warning(said, path, len(behind), behind[:5])
    return replace(index, damaged=index.damaged | found)


def _next_start(index: Index, damage: int | None, threads: int) -> int | None:
    """The key packet from which decoding goes on after ``damage``, None where there is nothing left."""
    if damage is None:
        return None
    if threads > 1:
        # What is shown before a key frame, but stored behind it, needs the one before.
        return int(index.keys[index.keys <= damage][-2:][0])
    later = index.keys[index.keys > damage]
    return int(later[0]) if len(later) else None


def _all_from(index: Index, start: int) -> Run:
    """Everything from key packet ``start`` on that does not refer to what lies before it."""
    shown = [position for position in range(start, index.frames) if index.numbers[position] >= index.numbers[start]]
    return Run(start, index.frames, {int(index.times[position]): int(index.numbers[position]) for position in shown})


def _counted(path: Path, index: Index, threads: int, wanted: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode a file from its start and count its pictures, up to the first damage.

    Past damage nothing can be counted: it ends the reading, as it does for OpenCV. The pictures shown just before
    it may refer to it; with several threads more of them may be lost, so one thread looks again.
    """
    given = 0
    looked_again = not wanted
    follow: Follow = jumps.watch
    if index.damaged and not looked_again:
        looked_again, follow, index = True, _unfollowed, _with_hidden_damage(path, index, wanted, -1)
    tries = deque(dict.fromkeys((threads, 1)))
    while tries:
        held: deque[tuple[int, av.VideoFrame]] = deque()
        doubted = False
        for number, (picture, sound) in enumerate(
            _all_pictures(path, index, tries.popleft(), follow), index.beginning.number
        ):
            if picture is None or picture.is_corrupt:
                doubted = picture is None and sound
                break
            if number >= given and sound:
                held.append((number, picture))
            if len(held) > HELD_BACK:
                given = held[0][0] + 1
                yield held.popleft()
        else:
            yield from held
            return
        if doubted:
            last = given - 1 if wanted else -1  # who asks for no second look takes back what was given
            alone = not index.damaged
            follow, index = _unfollowed, _with_hidden_damage(path, index, wanted or index.frames, last, alone)
            tries = tries or deque([1])
        elif not looked_again:
            looked_again, index = True, _with_hidden_damage(path, index, given, given - 1)
    where = f"after frame {given - 1}" if given else "in its first frame"
    log.warning("video %s: damaged %s; what follows cannot be counted", path, where)


def _unfollowed(_: av.VideoStream) -> jumps.Watch | None:
    """Nothing follows what is decoded of a track."""
    return None


def _all_pictures(
    path: Path, index: Index, threads: int, follow: Follow
) -> Iterator[tuple[av.VideoFrame | None, bool]]:
    """Every picture that decodes, in presentation order, with whether it is sound; None where a packet does not, or,
    called sound, where a picture is doubted. From the first one on that refers to nothing else."""
    start = index.beginning.start
    begun = not start
    with video.opened(path, index.track) as (container, stream):
        if not begun:
            stream.codec_context.flags |= Flags.copy_opaque
        watch = follow(stream)
        decoder = Decoder(stream, threads, index.strict, index.even, watch)
        every = (packet for packet in container.demux(stream) if packet.size)  # an empty one would end the decoding
        # What follows a hole would be shown among the last pictures before it.
        packets = islice(every, index.packets if index.cut else None)
        ended, position = False, -1
        while not ended:
            position += 1
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                packet = None  # the container ends here: what was read so far still comes out of the decoder
            ended = packet is None
            if position in index.damaged and position >= start:
                yield None, False
            if packet is not None and not begun:
                mark(packet, position)
            try:
                decoded = decoder.decode(packet)
                if watch is not None and watch.doubted:
                    yield None, True
                for picture, sound in decoded:
                    begun = begun or place(picture) == start
                    if begun:
                        yield picture, sound
            except Damaged as error:
                log.debug("video %s: a packet does not decode: %s", path, error)
                if begun or position >= start + HELD_BACK + threads:
                    yield None, False
