"""Jumps: parts of an H.264 picture that leap away from the pictures before, as little in a film does.

The arithmetic decoder makes a picture of damaged bytes and says nothing. What it makes stands out: blocks that are all
at once another, though the pictures before were alike there. Where that is so, it is looked at whether the data of the
pictures that the leap can come from ends with them (:mod:`recording.endings`).

A leap alone is no damage, and much may leap in a film (shadows, lamps, a cut): so many looks are spent as cost next to
nothing, on what leaps more than the film does elsewhere, and only a picture whose data does not end with it is doubted.
"""

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from recording import endings

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]

_HALVINGS = 3  # blocks of 8x8 pixels
_PATCH = 2  # blocks on either side: single ones leap at edges that move
_BEFORE, _USUAL, _FORGETTING = 2.0, 1.5, 0.99
"""Of a leap is taken off twice what the block did from one picture to the next before it, and half as much again as it
did at most in the last hundred pictures or so."""
_LEAP, _ABOVE, _RECENT, _HIGH = 5.0, 1.2, 100, 3
"""Grey levels; and so much above the third of the last hundred leaps. Chosen on copies with damage of a rendered drive
and of photographs that move: what no decoder saw leapt by 10 to 150, sound pictures by 3 to 27, in a few by 65."""
_LOOKS, _PICTURES_PER_LOOK = 4, 500
"""So many looks at once, and another after so many pictures: one takes as long as decoding two to four pictures."""
_STEPS = 4  # between two pictures, where those are left out between them that no other refers to
_KEPT = 64  # packets: more than decoders hold back
_OTHERS, _UNFIT = 16, 3  # of so many packets nearby so many may not end either; there are encoders whose never do


class Jumps:
    """Follows the packets and the pictures of one decoder of a track. ``doubted``: whether a leap was found that comes
    from a picture whose data does not end with it."""

    def __init__(self, looks: endings.H264Endings) -> None:
        self.doubted = False
        self._endings = looks
        self._looks = float(_LOOKS)
        self._leaps: deque[float] = deque(maxlen=_RECENT)
        self._forget()
        self.begin()

    def begin(self) -> None:
        """What comes next does not refer to what came last, though it may be shown behind it."""
        self._packets: OrderedDict[int, Packet] = OrderedDict()

    def follow(self, packet: "Packet | None", pictures: list[av.VideoFrame]) -> None:
        """A packet went to the decoder (None: the end), and these came out."""
        if self.doubted:
            return
        if packet is not None:
            self._sent(packet)
        for picture in pictures:
            if picture.pts is not None and picture.format.components[0].bits == 8:
                self._looks = min(_LOOKS, self._looks + 1 / _PICTURES_PER_LOOK)
                self._judge(picture.pts, _blocks(picture.planes[0]))

    def _sent(self, packet: "Packet") -> None:
        if packet.is_keyframe:
            self._endings.learn(packet)
        if packet.pts is not None:
            self._packets[packet.pts] = packet
            if len(self._packets) > _KEPT:
                self._packets.popitem(last=False)

    def _forget(self) -> None:
        self._last: np.ndarray | None = None
        self._moved: np.ndarray | None = None
        self._usual: np.ndarray | None = None
        self._time = self._step = 0

    def _judge(self, time: int, blocks: np.ndarray) -> None:
        """A picture, by those that were shown before it."""
        if self._last is None or self._last.shape != blocks.shape:
            self._forget()
            self._last, self._time = blocks, time
            return
        step = time - self._time
        near = step > 0 and (not self._step or step <= _STEPS * self._step)
        if near and self._leaps_beyond(self._leap(blocks)) and self._looks >= 1:
            self._looks -= 1
            behind = self._behind(time)
            self.doubted = not all(map(self._endings.fit, behind)) and self._tell(behind)
        elif not near:
            self._moved = None
        self._last, self._time, self._step = blocks, time, step if near else 0

    def _leap(self, blocks: np.ndarray) -> float:
        """By how many grey levels a patch of a picture leaps, beyond what it did in those before."""
        moved = np.abs(blocks - self._last)
        expected = np.zeros_like(moved) if self._usual is None else _USUAL * self._usual
        if self._moved is not None:
            expected = np.maximum(expected, _BEFORE * self._moved)
        self._moved = moved
        self._usual = moved if self._usual is None else np.maximum(_FORGETTING * self._usual, moved)
        return float(cv2.blur(np.maximum(moved - expected, 0), (_PATCH, _PATCH)).max())

    def _leaps_beyond(self, leap: float) -> bool:
        """Whether the film does not leap so elsewhere."""
        high = sorted(self._leaps)[-_HIGH] if len(self._leaps) >= _HIGH else 0.0
        self._leaps.append(leap)
        return leap > max(_LEAP, _ABOVE * high)

    def _tell(self, behind: list["Packet"]) -> bool:
        """Whether the data of the other pictures ends with them."""
        others = [packet for packet in self._packets.values() if packet not in behind][-_OTHERS:]
        return sum(not self._endings.fit(packet) for packet in others) <= _UNFIT

    def _behind(self, time: int) -> list["Packet"]:
        """The packets that what is new in the picture shown at ``time`` can come from: its own, and those before it in
        the file that are shown after it, which it may refer to."""
        found = []
        for shown, packet in self._packets.items():
            if shown >= time:
                found.append(packet)
            if shown == time:
                return found
        return []


def of(stream: av.VideoStream) -> Jumps | None:
    """For a track of H.264 whose units can be found; None for any other."""
    looks = endings.of_h264(stream)
    return Jumps(looks) if looks else None


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
