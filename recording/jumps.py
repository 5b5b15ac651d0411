"""Jumps: parts of an H.264 picture that leap away from the pictures before, as little in a film does.

The arithmetic decoder makes a picture of damaged bytes and says nothing. What it makes stands out: blocks that are all
at once another, though the pictures before were alike there. Where that is so, it is looked at whether the data of the
pictures that the leap can come from ends with them (:mod:`recording.endings`).

A leap alone is no damage, and much may leap in a film (shadows, lamps, a cut): few looks are spent, on what leaps more
than the film does elsewhere, and only a picture whose data does not end with it is doubted.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from recording import endings

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

STRETCH = 48
"""So many packets together, about, say what is usual in a film."""
_SIDE, _WIDE = 8, 1000  # pixels
_PATCH = 2  # blocks on either side: single ones leap at edges that move
_FORGETTING = 12
"""Of a leap is taken off twice what the block did from one picture to the next before it, and half as much again as it
did at most in the last hundred pictures or so: after so many pictures an eighth of that is forgotten."""
LEAST = 5.0
"""Grey levels that a leap has at least. Chosen on copies with damage of a rendered drive and of photographs that move:
what no decoder saw leapt by 10 to 150, sound pictures by 3 to 27, in a few by 65."""
_LOOKS, _AT_FIRST, _PICTURES_PER_LOOK = 4, 12, 500
"""So many looks, one for so many pictures at first, and another for so many more: each takes as long as decoding five
to ten."""
_ABOVE, _RECENT, _HIGH = 1.2, 100, 3
"""A leap that has to be judged at once is so much above the third of the last hundred."""
_STEPS = 4  # between two pictures, where those are left out between them that no other refers to
BEHIND_KEY = 4
"""In so many packets behind a key frame what leaps may come from that."""
REFERRED = 16
"""So many packets before its own a picture may refer to of those shown after it."""
_KEPT = 64  # packets: more than decoders hold back


class Leaps:
    """By how much parts of pictures leap, one picture after the other."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """What comes next has nothing to do with what came last."""
        self._last: np.ndarray | None = None
        self._moved: np.ndarray | None = None
        self._usual: np.ndarray | None = None
        self._time = self._step = self._count = 0

    def of(self, picture: av.VideoFrame) -> float | None:
        """By how many grey levels a patch of a picture leaps away from those shown before it, beyond what it did then;
        None where nothing can be said: no time, more than 8 bits, another size, a gap."""
        if picture.pts is None or picture.format.components[0].bits != 8:
            return None
        return self.beyond(picture.pts, _blocks(picture.planes[0]))

    def beyond(self, time: int, blocks: np.ndarray) -> float | None:
        """The same for brightness of blocks, (h, w) uint8."""
        if self._last is None or self._last.shape != blocks.shape:
            self.begin()
            self._last, self._time = blocks, time
            return None
        step = time - self._time
        near = step > 0 and (not self._step or step <= _STEPS * self._step)
        leap = self._leap(blocks) if near else None
        if not near:
            self._moved = None
        self._last, self._time, self._step = blocks, time, step if near else 0
        return leap

    def _leap(self, blocks: np.ndarray) -> float:
        moved: Any = cv2.absdiff(blocks, self._last)  # type: ignore[arg-type]
        usual: Any = moved if self._usual is None else cv2.max(self._usual, moved)
        beyond = moved
        if self._usual is not None:
            beyond = cv2.subtract(beyond, cv2.add(self._usual, self._usual >> 1))
        if self._moved is not None:
            beyond = cv2.min(beyond, cv2.subtract(moved, cv2.add(self._moved, self._moved)))
        self._count += 1
        self._usual = usual if self._count % _FORGETTING else cv2.subtract(usual, usual >> 3)
        self._moved = moved
        leap = float(beyond.max())
        return leap if leap <= LEAST else float(cv2.blur(beyond, (_PATCH, _PATCH)).max())


class Record:
    """Keeps the leaps of pictures, by their time: which of them are looked at is chosen when all are known."""

    doubted = False  # nothing is judged

    def __init__(self) -> None:
        self.found: dict[int, float] = {}
        self._leaps = Leaps()

    def begin(self) -> None:
        """The next picture begins another stretch of the film."""
        self._leaps.begin()

    def follow(self, _: "Packet | None", pictures: list[av.VideoFrame]) -> None:
        """These came out of the decoder."""
        for picture in pictures:
            if (leap := self._leaps.of(picture)) is not None and leap > LEAST:
                self.found[picture.pts] = leap  # type: ignore[index]

    def flushed(self) -> None:
        """The decoder begins anew, at a key frame; what is shown goes on."""


def chosen(leaps: dict[int, float], pictures: int, keys: set[int]) -> set[int]:
    """Which frames to look at, of leaps by frame number: the highest of each window, and a few more; ``pictures``: so
    many were decoded. ``keys``: frames that refer to no other; what leaps there may be the end of damage."""
    windows: dict[int, int] = {}
    for frame, leap in leaps.items():
        if frame in keys:
            continue
        highest = windows.setdefault(frame // _PICTURES_PER_LOOK, frame)
        if (leap, frame) > (leaps[highest], highest):
            windows[frame // _PICTURES_PER_LOOK] = frame
    picked = set(windows.values())
    rest = sorted(leaps.keys() - picked, key=lambda frame: (leaps[frame], frame), reverse=True)
    return picked | set(rest[: min(_LOOKS, pictures // _AT_FIRST)])


class Watch:
    """Follows the packets and the pictures of one decoder of a track, and looks at once. ``doubted``: whether a leap
    was found that comes from a picture whose data does not end with it."""

    def __init__(self, looks: endings.H264Endings) -> None:
        self.doubted = False
        self._endings = looks
        self._looks = float(_LOOKS)
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._leaps = Leaps()
        self._packets: OrderedDict[int, Packet] = OrderedDict()

    def follow(self, packet: "Packet | None", pictures: list[av.VideoFrame]) -> None:
        """A packet went to the decoder (None: the end), and these came out."""
        if self.doubted:
            return
        if packet is not None:
            self._sent(packet)
        for picture in pictures:
            self._looks = min(_LOOKS, self._looks + 1 / _PICTURES_PER_LOOK)
            leap = self._leaps.of(picture)
            if leap is not None and self._leaps_beyond(leap) and self._looks >= 1:
                self._looks -= 1
                self.doubted = not all(map(self._endings.fit, self._behind(picture.pts)))  # type: ignore[arg-type]

    def flushed(self) -> None:
        """What comes next does not refer to what came last, though it may be shown behind it."""
        self._packets.clear()

    def _sent(self, packet: "Packet") -> None:
        if packet.is_keyframe:
            self._endings.learn(packet)
        if packet.pts is not None:
            self._packets[packet.pts] = packet
            if len(self._packets) > _KEPT:
                self._packets.popitem(last=False)

    def _leaps_beyond(self, leap: float) -> bool:
        """Whether the film does not leap so elsewhere."""
        high = sorted(self._recent)[-_HIGH] if len(self._recent) >= _HIGH else 0.0
        self._recent.append(leap)
        return leap > max(LEAST, _ABOVE * high)

    def _behind(self, time: int) -> Iterable["Packet"]:
        """The packets that what is new in the picture shown at ``time`` can come from: its own, and those before it in
        the file that are shown after it, which it may refer to."""
        found = []
        for shown, packet in self._packets.items():
            if shown >= time:
                found.append(packet)
            if shown == time:
                return found
        return []


def watch(stream: av.VideoStream) -> Watch | None:
    """For a track of H.264 whose units can be found; None for any other."""
    looks = endings.of_h264(stream)
    return Watch(looks) if looks else None


def record(stream: av.VideoStream) -> Record | None:
    """For the same."""
    return Record() if endings.of_h264(stream) else None


def _blocks(plane: Any) -> np.ndarray:
    """Brightness of blocks, uint8, from two lines of each: 8 pixels wide and high, 16 of large pictures."""
    stored = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    side = _SIDE if plane.width <= _WIDE else 2 * _SIDE
    high, wide = max(1, plane.height // side), max(1, plane.width // side)
    lines: np.ndarray = stored[: high * side : side // 2, : wide * side]
    return cv2.resize(lines, (wide, high), interpolation=cv2.INTER_AREA)
