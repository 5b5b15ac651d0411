"""Jumps: parts of an H.264 picture that leap away from the pictures before, as little in a film does.

The arithmetic decoder makes a picture of damaged bytes and says nothing. What it makes stands out: blocks that are all
at once another, though the pictures before were alike there. Where that is so, it is looked at whether the data of the
pictures that the leap can come from ends with them (:mod:`recording.endings`).

A leap alone is no damage, and much may leap in a film (shadows, lamps, a cut): so many looks are spent as cost next to
nothing, on what leaps more than the film does elsewhere, and only a picture whose data does not end with it is doubted.
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
_HALVINGS = 3  # blocks of 8x8 pixels
_PATCH = 2  # blocks on either side: single ones leap at edges that move
_BEFORE, _USUAL, _FORGETTING = 2.0, 1.5, 0.99
"""Of a leap is taken off twice what the block did from one picture to the next before it, and half as much again as it
did at most in the last hundred pictures or so."""
_LEAP = 5.0
"""Grey levels. Chosen on copies with damage of a rendered drive and of photographs that move: what no decoder saw leapt
by 10 to 150, sound pictures by 3 to 27, in a few by 65."""
_LOOKS, _PICTURES_PER_LOOK = 4, 400
"""So many looks, and another for so many pictures: one takes as long as decoding two to four pictures."""
_ABOVE, _RECENT, _HIGH = 1.2, 100, 3
"""A leap that has to be judged at once is so much above the third of the last hundred."""
_STEPS = 4  # between two pictures, where those are left out between them that no other refers to
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
        self._time = self._step = 0

    def of(self, picture: av.VideoFrame) -> float | None:
        """By how many grey levels a patch of a picture leaps away from those shown before it, beyond what it did then;
        None where nothing can be said: no time, more than 8 bits, another size, a gap."""
        if picture.pts is None or picture.format.components[0].bits != 8:
            return None
        return self.beyond(picture.pts, _blocks(picture.planes[0]))

    def beyond(self, time: int, blocks: np.ndarray) -> float | None:
        """The same for brightness of blocks, (h, w) float32."""
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
        moved = np.abs(blocks - self._last)
        expected = np.zeros_like(moved) if self._usual is None else _USUAL * self._usual
        if self._moved is not None:
            expected = np.maximum(expected, _BEFORE * self._moved)
        self._moved = moved
        self._usual = moved if self._usual is None else np.maximum(_FORGETTING * self._usual, moved)
        return float(cv2.blur(np.maximum(moved - expected, 0), (_PATCH, _PATCH)).max())


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
            if (leap := self._leaps.of(picture)) is not None and leap > _LEAP:
                self.found[picture.pts] = leap  # type: ignore[index]

    def flushed(self) -> None:
        """The decoder begins anew, at a key frame; what is shown goes on."""


def chosen(leaps: dict[int, float]) -> set[int]:
    """Which pictures to look at, of leaps by frame number: the highest of each window, and of the rest of all."""
    windows: dict[int, int] = {}
    for frame, leap in leaps.items():
        highest = windows.setdefault(frame // _PICTURES_PER_LOOK, frame)
        if (leap, frame) > (leaps[highest], highest):
            windows[frame // _PICTURES_PER_LOOK] = frame
    picked = set(windows.values())
    rest = sorted(leaps.keys() - picked, key=lambda frame: (leaps[frame], frame))
    return picked | set(rest[-_LOOKS:])


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
        return leap > max(_LEAP, _ABOVE * high)

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
    """Brightness of blocks, float32, from 8-bit samples."""
    stored = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    lines: np.ndarray = stored[:, : plane.width]
    for _ in range(_HALVINGS):
        height, width = (side // 2 for side in lines.shape)
        if min(height, width) < _PATCH:
            break
        lines = cv2.resize(lines[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return lines.astype(np.float32)
