"""A drawn face that the detector finds, for tests."""

import cv2
import numpy as np


def portrait(
    size: tuple[int, int] = (320, 360), at: tuple[float, float] = (160, 180), width: float = 100
) -> np.ndarray:
    """(h, w, 3) uint8 RGB, grey: a view of ``size`` (w, h) with a face about ``width`` pixels wide around ``at``."""
    scale = width / 100
    picture = np.full((size[1], size[0]), 70, np.uint8)

    def blob(x: float, y: float, across: float, down: float, grey: int) -> None:
        middle = round(at[0] + x * scale), round(at[1] + y * scale)
        axes = max(1, round(across * scale)), max(1, round(down * scale))
        cv2.ellipse(picture, middle, axes, 0, 0, 360, grey, -1, cv2.LINE_AA)

    blob(0, -14, 56, 70, 35)  # hair
    blob(0, 4, 46, 60, 190)
    blob(0, 30, 30, 26, 178)
    for side in (-1, 1):
        blob(side * 19, -9, 15, 9, 120)  # eye socket, brow, white, iris
        blob(side * 19, -17, 15, 3.5, 50)
        blob(side * 19, -7, 10, 4.5, 225)
        blob(side * 19, -7, 4.5, 4.5, 30)
        blob(side * 6, 18, 4, 2.5, 95)  # nostril
    blob(0, 12, 6, 10, 205)
    blob(0, 36, 19, 4.5, 95)  # mouth, and the shade below
    blob(0, 45, 16, 3, 160)
    return cv2.cvtColor(cv2.GaussianBlur(picture, (0, 0), 1.5 * scale), cv2.COLOR_GRAY2RGB)


def jpeg(picture: np.ndarray) -> bytes:
    """(h, w, 3) uint8 RGB → JPEG bytes."""
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    return encoded.tobytes()
