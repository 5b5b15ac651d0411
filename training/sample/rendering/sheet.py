"""The contact sheet of the documentation: driver views with their measured gaze, whole frames, lab faces."""

import cv2
import numpy as np

from recording import angles, arrows
from training.sample.rendering import lab
from training.sample.rendering.camera import Camera

WIDTH = 1320
_GAP = 4
_ARROW_MM = 260.0


def arrow(picture: np.ndarray, camera: Camera, eyes: np.ndarray, azimuth_elevation_deg: np.ndarray) -> np.ndarray:
    """A copy of ``picture`` with the gaze drawn from the midpoint of the eyes (3,) along the measured angles (2,),
    as the camera sees it: short where the driver looks at the camera."""
    direction = angles.vectors(np.asarray(azimuth_elevation_deg)[None])[0]
    start, end = camera.project(np.stack([eyes, eyes + _ARROW_MM * direction]))[:, :2]
    drawn = picture.copy()
    arrows.stroke(drawn, tuple(start), tuple(end), (60, 240, 90), 4)
    return drawn


def caption(picture: np.ndarray, text: str) -> np.ndarray:
    """A copy of ``picture`` with a line of text at its foot."""
    drawn = picture.copy()
    # The shadow is the same text moved: OpenCV 5 sets heavier letters wider.
    for shift, colour in ((1, (0, 0, 0)), (0, (255, 255, 255))):
        at = (6 + shift, picture.shape[0] - 8 + shift)
        cv2.putText(drawn, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    return drawn


def row(pictures: list[np.ndarray], texts: list[str]) -> np.ndarray:
    """Pictures side by side over :data:`WIDTH` pixels, scaled to one height, each with its caption."""
    aspect = sum(p.shape[1] / p.shape[0] for p in pictures)
    height = int((WIDTH - _GAP * (len(pictures) - 1)) / aspect)
    cells = []
    for picture, text in zip(pictures, texts, strict=True):
        size = (round(height * picture.shape[1] / picture.shape[0]), height)
        cells.append(caption(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), text))
        cells.append(np.full((height, _GAP, 3), 255, np.uint8))
    line = np.hstack(cells[:-1])
    return cv2.copyMakeBorder(line, 0, _GAP, 0, max(0, WIDTH - line.shape[1]), cv2.BORDER_CONSTANT, value=(255,) * 3)[
        :, :WIDTH
    ]


def lab_row(people: range) -> np.ndarray:
    """One lab face per person, with its label."""
    pictures, texts = [], []
    for head in lab.people(people):
        picture, pitch_yaw = next(iter(lab.pictures(head, 1, 0)))
        azimuth, elevation = angles.pitch_yaw_to_deg(pitch_yaw[None])[0]
        pictures.append(picture)
        texts.append(f"{azimuth:+z.0f} {elevation:+z.0f}")
    return row(pictures, texts)
