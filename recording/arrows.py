"""Gaze drawn into a picture of the driver."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from recording import angles
from recording.face import Face

# Okabe and Ito's colours, told apart with any colour vision; RGB.
PREDICTED = (230, 159, 0)
MEASURED = (0, 158, 115)
BASE = (204, 121, 167)

# Right and down, in pixels, or as shares of a picture's width and height.
Point = tuple[float, float]

EYES: Point = (0.5, 0.42)
"""Where the eyes are in a picture of a head, as shares of its width and height: in a face rectangle, and in a driver
view that is cut around the head."""

SHOWN_HEIGHT = 640
"""Pixels that a picture has at least, on a page that stretches it: lines and letters would be stretched too."""


@dataclass(frozen=True)
class Arrow:
    """One gaze to draw: angles in degrees, an RGB colour, and the word for the legend."""

    azimuth_deg: float
    elevation_deg: float
    colour: tuple[int, int, int]
    label: str


def tip(azimuth_deg: float, elevation_deg: float) -> tuple[float, float]:
    """Where an arrow of length 1 from the eyes ends in the picture: right and down, each within [−1, 1].

    The camera faces the driver, so that the driver's right is the picture's left.
    """
    right, up, _ = angles.vectors(np.array([azimuth_deg, elevation_deg]))
    return -float(right), -float(up)


def origin(face: Face | None) -> Point:
    """Where gaze begins in a driver view, as shares of its width and height: in its face rectangle, and where there is
    none, the driver view counts as cut around the head."""
    return EYES if face is None else face.share(*EYES)


def draw(picture: np.ndarray, arrows: list[Arrow], *, eyes: Point, legend: bool = True) -> np.ndarray:
    """A copy of ``picture`` (h, w, 3) RGB uint8 with ``arrows`` from the eyes and, below left, what they mean.

    ``eyes``: where they are, as shares of the picture's width and height.
    """
    drawn = np.ascontiguousarray(picture).copy()
    height, width = drawn.shape[:2]
    start = (eyes[0] * width, eyes[1] * height)
    thickness = max(1, round(min(height, width) / 130))
    for arrow in arrows:
        across, down = tip(arrow.azimuth_deg, arrow.elevation_deg)
        reach = 0.9 * min(height, width)
        end = (start[0] + reach * across, start[1] + reach * down)
        stroke(drawn, start, end, arrow.colour, thickness)
    if legend:
        _legend(drawn, arrows)
    return drawn


def show(picture: np.ndarray, arrows: list[Arrow], *, eyes: Point) -> np.ndarray:
    """:func:`draw` for a page: small pictures (h, w, 3) are enlarged first, to :data:`SHOWN_HEIGHT`."""
    height, width = picture.shape[:2]
    if height < SHOWN_HEIGHT:
        size = max(1, round(width * SHOWN_HEIGHT / height)), SHOWN_HEIGHT
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    return draw(picture, arrows, eyes=eyes)


def stroke(picture: NDArray[np.uint8], start: Point, end: Point, colour: tuple[int, int, int], thickness: int) -> None:
    """Draw one arrow with a white edge into ``picture``, between two points in pixels (x, y), parts of them too."""
    # Sub-pixel ends (shift=4), or an arrow of a video jitters from pixel to pixel.
    first, last = ((round(16 * x), round(16 * y)) for x, y in (start, end))
    length = max(float(np.hypot(end[0] - start[0], end[1] - start[1])), 1.0)
    head = min(0.35, 5.0 * thickness / length)
    for shade, width in (((255, 255, 255), thickness + 2 * max(1, thickness // 2)), (colour, thickness)):
        cv2.arrowedLine(picture, first, last, shade, width, cv2.LINE_AA, 4, head)


def _legend(picture: np.ndarray, arrows: list[Arrow]) -> None:
    height = picture.shape[0]
    scale = max(0.35, height / 1100)
    line, weight = round(34 * scale), max(1, round(2 * scale))
    texts = [f"{one.label} {one.azimuth_deg:+z.1f} / {one.elevation_deg:+z.1f} deg" for one in reversed(arrows)]
    widest = max((cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, weight)[0][0] for text in texts), default=0)
    # Darkened: a colour is not read on itself, and any may lie behind the letters.
    behind = picture[max(0, height - round(8 * scale) - len(texts) * line) :, : widest + round(24 * scale)]
    behind[:] = behind // 3
    for number, (arrow, text) in enumerate(zip(reversed(arrows), texts, strict=True)):
        at = (round(12 * scale), height - round(14 * scale) - number * line)
        # The shadow is the same text moved: OpenCV 5 sets heavier letters wider.
        for shift, colour in ((weight, (0, 0, 0)), (0, arrow.colour)):
            place = (at[0] + shift, at[1] + shift)
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, weight, cv2.LINE_AA)
