"""Drivers who move, for tests of what a recording is: the same person in the same car, every drive another one."""

import fractions
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

SIZE = (160, 180)


def drive(seconds: float, seed: int, fps: float = 12.0) -> list[np.ndarray]:
    """(180, 160, 3) uint8 pictures of a head before a cabin: it turns with glances, sways, and the light changes."""
    random = np.random.default_rng(seed)
    n = round(seconds * fps)
    aims, at = np.zeros((n, 2)), 0
    while at < n:
        held = max(1, round(random.uniform(0.6, 2.5) * fps))
        # Half of the time the road, as drivers do.
        aims[at : at + held] = (0, 0) if random.random() < 0.5 else random.normal(0, (14, 6))
        at += held
    for k in range(1, n):  # a head follows the eyes
        aims[k] = aims[k - 1] + (aims[k] - aims[k - 1]) * min(1.0, 5 / fps)
    aims += np.cumsum(random.normal(0, 0.25, (n, 2)), axis=0) * 0.3
    light = 1 + 0.25 * np.sin(2 * np.pi * np.arange(n) / fps / random.uniform(8, 20) + random.uniform(0, 6))
    cabin = np.random.default_rng(0).uniform(20, 90, (9, 8, 3)).astype(np.float32)
    cabin = cv2.resize(cabin, SIZE, interpolation=cv2.INTER_CUBIC)
    noise = random.normal(0, 2, (2 * SIZE[1], SIZE[0], 3)).astype(np.float32)
    starts = random.integers(SIZE[1], size=n)
    return [
        _picture(cabin, aim, bright, noise[start : start + SIZE[1]])
        for aim, bright, start in zip(aims, light, starts, strict=True)
    ]


def _picture(cabin: np.ndarray, aim: np.ndarray, light: float, noise: np.ndarray) -> np.ndarray:
    picture, (width, height) = cabin.copy(), SIZE
    middle = (round(width / 2 + aim[0]), round(height / 2 + aim[1]))
    cv2.ellipse(picture, middle, (32, 44), 0, 0, 360, (120, 150, 190), -1)
    for side in (-13, 13):
        cv2.circle(picture, (middle[0] + side + round(aim[0] / 4), middle[1] - 8), 4, (30, 30, 30), -1)
    return cv2.convertScaleAbs(picture * np.float32(light) + noise)


def encode(
    path: Path, pictures: Sequence[np.ndarray], fps: int = 12, size: tuple[int, int] = SIZE, crf: int = 20
) -> Path:
    """An H.264 video of these pictures; the container is the path's."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": "veryfast"})
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        stream.codec_context.time_base = fractions.Fraction(1, fps)
        for number, picture in enumerate(pictures):
            shown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(shown, "bgr24")
            frame.pts, frame.time_base = number, fractions.Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def hard_pictures() -> list[np.ndarray]:
    """Black and white in every pixel, text on both, checks, and a driver with six times the contrast."""
    random = np.random.default_rng(0)
    shape = (180, 160)
    grains = [random.integers(0, 2, (*shape, colours)) * 255 for colours in (1, 3)]
    checks = (np.indices(shape) // size % 2 for size in (1, 2, 3, 8))
    found = [np.broadcast_to(one, (*shape, 3)).astype(np.uint8) for one in grains]
    found += [np.repeat((rows ^ columns)[..., None] * 255, 3, axis=2).astype(np.uint8) for rows, columns in checks]
    for ground in (0, 255):
        page = np.full((*shape, 3), ground, np.uint8)
        for line in range(9):
            cv2.putText(page, "42 km/h GPS", (line, 20 * line + 14), line % 8, 0.6, (255 - ground,) * 3, 1 + line % 2)
        found.append(page)
    drivers = drive(1, seed=0)
    return [*found, *drivers, *(np.clip(6.0 * one - 500, 0, 255).astype(np.uint8) for one in drivers)]
