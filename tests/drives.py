"""Small drives for tests, drawn here and not by the project's renderer: a stranger's recording.

A flat cartoon face whose irises, lids and head follow the gaze: easy to learn, quick to draw. Gaze angles are
canonical (azimuth to the driver's right +, elevation up +); the driver's right is the picture's left.
"""

import csv
import json
from pathlib import Path

import av
import cv2
import numpy as np

DRIVER = (3, 4, 475, 534)  # x, y, w, h in the 1504x540 composite
ROAD = (481, 3, 478, 535)


def gaze_track(n: int, fps: float, seed: int = 0) -> np.ndarray:
    """(n, 2) azimuth, elevation in degrees: fixations of 0.4–1.5 s with small drift."""
    random = np.random.default_rng(seed)
    track, at = np.zeros((n, 2)), 0
    while at < n:
        length = max(1, int(random.uniform(0.4, 1.5) * fps))
        centre = random.normal([3.0, -4.0], [13.0, 6.0])
        drift = np.cumsum(random.normal(0, 0.15, size=(length, 2)), axis=0)
        track[at : at + length] = (centre + drift)[: n - at]
        at += length
    return np.clip(track, [-35, -25], [35, 15])


def face(
    gaze_deg: np.ndarray, size: tuple[int, int] = (475, 534), light: float = 1.0, skin=(150, 175, 215)
) -> np.ndarray:
    """(h, w, 3) uint8 BGR picture of a face looking that way."""
    width, height = size
    azimuth, elevation = np.radians(gaze_deg)
    picture = np.full((height, width, 3), (60, 55, 50), np.uint8)
    head = np.array([width * 0.5 - width * 0.12 * np.sin(azimuth), height * 0.45 - height * 0.08 * np.sin(elevation)])
    hair, brow, shade = ((np.multiply(skin, dark)).tolist() for dark in (0.2, 0.25, 0.6))
    above = head - [0, height * 0.07]
    cv2.ellipse(picture, _point(above), (int(width * 0.35), int(height * 0.4)), 0, 0, 360, hair, -1, cv2.LINE_AA)
    cv2.ellipse(picture, _point(head), (int(width * 0.3), int(height * 0.36)), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for side in (-1, 1):
        eye = head + np.array([side * width * 0.13, -height * 0.06])
        socket = (int(width * 0.1), int(height * 0.055))
        cv2.ellipse(picture, _point(eye - [0, height * 0.01]), socket, 0, 0, 360, shade, -1, cv2.LINE_AA)
        lid = eye - [0, height * 0.06]
        cv2.ellipse(picture, _point(lid), (int(width * 0.1), int(height * 0.02)), 0, 0, 360, brow, -1, cv2.LINE_AA)
        axes = (int(width * 0.075), int(height * (0.035 + 0.02 * np.sin(elevation))))
        cv2.ellipse(picture, _point(eye), axes, 0, 0, 360, (245, 245, 245), -1, cv2.LINE_AA)
        iris = eye - [width * 0.07 * np.sin(azimuth), height * 0.05 * np.sin(elevation)]
        cv2.circle(picture, _point(iris), int(width * 0.028), (70, 45, 30), -1, cv2.LINE_AA)
        nostril = head + np.array([side * width * 0.04 - width * 0.05 * np.sin(azimuth), height * 0.1])
        cv2.circle(picture, _point(nostril), int(width * 0.02), shade, -1, cv2.LINE_AA)
    nose = head + np.array([-width * 0.05 * np.sin(azimuth), height * 0.06])
    cv2.circle(picture, _point(nose), int(width * 0.03), tuple(int(0.85 * c) for c in skin), -1, cv2.LINE_AA)
    mouth = head + np.array([0, height * 0.18])
    cv2.line(picture, _point(mouth - [40, 0]), _point(mouth - [-40, 0]), (80, 80, 160), 6, cv2.LINE_AA)
    return np.clip(picture * light, 0, 255).astype(np.uint8)


def _point(at: np.ndarray) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))


def prepared_folder(folder: Path, n: int = 120, fps: float = 5.0, seed: int = 0, flip_azimuth: bool = False) -> Path:
    """A bare folder of ``*_driver.jpg`` and ``*_gt.json``, as users have today."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for frame, gaze in enumerate(gaze_track(n, fps, seed)):
        picture = face(gaze, light=random.uniform(0.8, 1.1))
        number = frame * 30 // int(fps)
        cv2.imwrite(str(folder / f"frame_{number:05d}_driver.jpg"), picture)
        azimuth = -gaze[0] if flip_azimuth else gaze[0]
        truth = {"azimuth_deg": float(azimuth), "elevation_deg": float(gaze[1])}
        (folder / f"frame_{number:05d}_gt.json").write_text(json.dumps(truth))
    return folder


def recording(
    folder: Path, seconds: float = 60, fps: int = 10, seed: int = 0, gop: int = 50, share: float = 1.0
) -> tuple[Path, Path]:
    """An H.264 1504×540 composite and its CSV with the faults of real files; (video, labels).

    The face takes ``share`` of the driver view's width and height, from a fifth of them on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n = int(seconds * fps)
    track = gaze_track(n, fps, seed)
    random = np.random.default_rng(seed)
    video, labels = folder / "drive.mp4", folder / "sensors.csv"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"g": str(gop), "preset": "ultrafast", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 1504, 540, "yuv420p"
        car = random.integers(40, 60, (540, 1504, 3), dtype=np.uint8)  # stands still: noise takes longer than all else
        for k, gaze in enumerate(track):
            frame = car.copy()
            x, y, w, h = DRIVER
            if share < 1:
                x, y, w, h = x + w // 5, y + h // 5, int(w * share), int(h * share)
            frame[y : y + h, x : x + w] = face(gaze, (w, h), light=0.9 + 0.2 * np.sin(k / fps / 7))
            x, y, w, h = ROAD
            frame[y : y + h, x : x + w] = (120, 140, 110)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())
    with labels.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["timestamp [ns]", "dash_frames", "azimuth [deg]", "elevation [deg]", "worn"])
        for k, (azimuth, elevation) in enumerate(track):
            number = "unknown" if k == 7 else k
            blank = k in (11, 12)
            rows.writerow([k * 10**8, number, "" if blank else f"{azimuth:.4f}", f"{elevation:.4f}", 1])
            if k == 20:
                file.write('this line, is, broken, "beyond, repair\n')
        for k in range(n, n + 5):
            rows.writerow([k * 10**8, k, "1.0", "2.0", 1])
    return video, labels
