"""The driver's face, followed through the small pictures of a trace, and cut out of each where it is.

Heads move more than eyes do: in a place of the picture that stays where it is, a turn of the head changes everything
and lids nearly nothing. In a place that goes with the face it is the other way round. The face is followed by
normalised cross-correlation with what it looked like before (Lewis 1995, "Fast normalized cross-correlation"): a first
look, and another one whenever the head has turned so far that none fits any more.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from recording.face import Face
from recording.trace import SIDE
from registry.intervals import Floats

WIDE, HIGH = 0.33, 0.30
"""Of the face rectangle, which has room for all that the head moves: what is followed, eyes and nose."""
USUAL = (24, 20)
"""Pixels of it where no rectangle is known; the middle of the view is taken for the face then."""
SMALLEST = 8
CUT = (24, 20)
"""Pixels of what is cut out, a fifth more to either side of what is followed."""
AROUND = 1.2
REACH, FAR = 4, 16
"""Pixels by which a face moves from one frame to the next at most, and over a gap or where it was lost."""
GOOD, ENOUGH, LOST = 0.9, 0.8, 0.5
"""Correlations: with the first no other look is tried, below the second a new one is taken."""
LOOKS = 12
SMOOTH = 0.6

_Place = tuple[float, float]


@dataclass
class _Follower:
    """``pictures`` (g, SIDE, SIDE) without what is even; ``wide`` × ``high`` pixels are followed; ``looks``, so far."""

    pictures: list[np.ndarray]
    wide: int
    high: int
    looks: list[np.ndarray] = field(default_factory=list)

    def look(self, number: int, near: _Place) -> tuple[np.ndarray, _Place]:
        """The part of a picture around a place, and its own middle, which is within the picture and whole pixels."""
        left = round(min(max(near[0] - self.wide // 2, 0), SIDE - self.wide))
        top = round(min(max(near[1] - self.high // 2, 0), SIDE - self.high))
        part = self.pictures[number][top : top + self.high, left : left + self.wide]
        return part, (left + self.wide // 2, top + self.high // 2)

    def search(self, number: int, look: np.ndarray, near: _Place, reach: int) -> tuple[_Place, float]:
        """Where in a picture this look is, between pixels by parabolas, and how well it correlates there."""
        _, (x, y) = self.look(number, near)
        left, top = (max(0, int(at) - side // 2 - reach) for at, side in ((x, self.wide), (y, self.high)))
        area = self.pictures[number][top : top + self.high + 2 * reach, left : left + self.wide + 2 * reach]
        fits = cv2.matchTemplate(area, look, cv2.TM_CCOEFF_NORMED)
        _, best, _, (column, row) = cv2.minMaxLoc(fits)
        across, down = _between(fits[row], column), _between(fits[:, column], row)
        return (left + column + self.wide // 2 + across, top + row + self.high // 2 + down), float(best)

    def follow(self, order: range, shown: np.ndarray, places: Floats) -> None:
        """Fill in ``places`` (g, 2) along ``order``, whose first is known."""
        before, best, known = order[0], 1.0, 0
        for number in order[1:]:
            near: _Place = (places[before, 0], places[before, 1])
            gap = abs(int(shown[number]) - int(shown[before])) > 1
            reach = FAR if gap or best < LOST else REACH
            place, best = self.search(number, self.looks[known], near, reach)
            if best < GOOD:
                tried = [self.search(number, look, near, reach) for look in self.looks]
                known = int(np.argmax([fit for _, fit in tried]))
                place, best = tried[known]
            if best < ENOUGH and len(self.looks) < LOOKS and not gap:
                last, middle = self.look(before, near)
                moved, fit = self.search(number, last, near, REACH)
                if fit > best:
                    look, place = self.look(number, (moved[0] + near[0] - middle[0], moved[1] + near[1] - middle[1]))
                    self.looks.append(look)
                    best, known = fit, len(self.looks) - 1
            places[number], before = place, number


def _between(values: np.ndarray, at: int) -> float:
    """How far from ``at`` the parabola through the highest value and its neighbours is highest, 0 at the edge."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, here, right = values[at - 1 : at + 2].tolist()
    return float(np.clip(0.5 * (right - left) / max(2 * here - left - right, 1e-9), -0.5, 0.5))


def places(pictures: np.ndarray, shown: np.ndarray, face: Face | None) -> Floats:
    """(g, 2) where the middle of what is followed is in each of the pictures (g, SIDE, SIDE), frames ``shown``."""
    middle, wide, high = _start(face)
    first = _most_usual(pictures, middle, wide, high)
    follower = _Follower([_uneven(picture, wide) for picture in pictures], wide, high)
    look, middle = follower.look(first, middle)
    follower.looks.append(look)
    found = np.zeros((len(pictures), 2))
    found[first] = middle
    follower.follow(range(first, len(pictures)), shown, found)
    follower.follow(range(first, -1, -1), shown, found)
    return found


def cut_out(pictures: np.ndarray, shown: np.ndarray, face: Face | None) -> Floats:
    """(g, p) the face in each of the pictures (g, SIDE, SIDE) of the frames ``shown`` (g,), rising.

    Its p pixels have mean 0 and deviation 1 in every picture, so light changes nothing.

    ``face`` is the drive's rectangle. Where there is none, or the face is elsewhere, something else is followed, and
    what is read from it tells nothing.
    """
    at, (_, wide, high) = places(pictures, shown, face), _start(face)
    size = round(AROUND * wide), round(AROUND * high)
    parts = np.array([_part(picture, place, size) for picture, place in zip(pictures, at, strict=True)])
    parts = parts.reshape(len(parts), -1)
    parts -= parts.mean(axis=1, keepdims=True)
    return np.asarray(parts / np.maximum(parts.std(axis=1, keepdims=True), 1.0), np.float64)


def _start(face: Face | None) -> tuple[_Place, int, int]:
    """Middle, width and height in small pictures of what is followed."""
    if face is None:
        return (SIDE / 2, SIDE / 2), *USUAL
    view, across, down = face.view, SIDE / face.width, SIDE / face.height
    wide, high = max(SMALLEST, int(WIDE * view.w * across)), max(SMALLEST, int(HIGH * view.h * down))
    return ((view.x + view.w / 2) * across, (view.y + view.h / 2) * down), wide, high


def _uneven(picture: np.ndarray, wide: int) -> np.ndarray:
    """A picture without what is even over the width of a face: light that changes is no movement."""
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), SMOOTH)
    return np.asarray(smooth - cv2.blur(smooth, (wide | 1, wide | 1)))


def _most_usual(pictures: np.ndarray, middle: _Place, wide: int, high: int) -> int:
    """The picture that is most like their median around the face: the first look is one that the driver often has."""
    left, top = max(0, round(middle[0]) - wide), max(0, round(middle[1]) - high)
    area = pictures[:, top : top + 2 * high, left : left + 2 * wide].astype(np.float32)
    apart = area - np.median(area[:: 1 + len(area) // 200], axis=0)
    return int((apart**2).mean(axis=(1, 2)).argmin())


def _part(picture: np.ndarray, place: _Place, size: tuple[int, int]) -> np.ndarray:
    part = cv2.getRectSubPix(picture.astype(np.float32), size, (float(place[0]), float(place[1])))
    return cv2.resize(part, CUT, interpolation=cv2.INTER_AREA)
