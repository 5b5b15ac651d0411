"""Rendered people with known cameras, written as MPIIFaceGaze is distributed, in both layouts.

Each scene is set up from its virtual camera: it looks straight at the middle of a head without roll, so it *is* the
camera of the data normalisation, and gaze and head are known in it without the code that is tested. The real camera
stands in the same place and is turned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import scipy.io

from recording import angles
from training.sample.rendering import lab
from training.sample.rendering.camera import Camera, rotation
from training.sample.rendering.head import Head
from training.sample.rendering.portrait import Pose, Studio, develop

WIDTH, HEIGHT, FOCAL = 480, 360, 520.0
DISTORTION = np.array([0.06, -0.04, 0.001, -0.0008, 0.0])
SCREEN_MM, SCREEN_PIXELS = np.array([286.0, 179.0]), np.array([1280, 800])
SCREEN_AXES, SCREEN_CORNER = np.diag([-1.0, 1.0, -1.0]), np.array([143.0, 10.0, 0.0])
"""A laptop's screen below the camera, in its plane: whoever looks at it has its x to the left of the picture."""
TO_MODEL = -np.eye(3)
"""The axes of the face model are left, down and into the head, seen from it; the renderer's right, up and ahead."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One face with everything that is known of it; lengths in mm in the real camera's frame, angles in radians."""

    taken: np.ndarray
    """(360, 480, 3) uint8 RGB, by the real camera, with its distortion."""
    normalised: np.ndarray
    """(448, 448, 3) uint8 RGB, rendered by the virtual camera itself."""
    gaze: np.ndarray
    """(2,) pitch and yaw in the virtual camera's frame."""
    head: np.ndarray
    """(2,) the same of where the head points."""
    landmarks: np.ndarray
    """(6, 2) pixels of ``taken``."""
    virtual_landmarks: np.ndarray
    """(6, 2) pixels of ``normalised``."""
    rotation: np.ndarray
    """(3, 3) the face model's axes."""
    centre: np.ndarray
    target: np.ndarray
    screen: np.ndarray
    """(2,) pixels of the screen at which the target is."""


def matrix(camera: Camera) -> np.ndarray:
    """The camera matrix of a pinhole camera."""
    return np.array([[camera.focal, 0, camera.centre[0]], [0, camera.focal, camera.centre[1]], [0, 0, 1.0]])


def calibrated() -> np.ndarray:
    """The camera matrix of all real cameras."""
    return np.array([[FOCAL, 0, WIDTH / 2 + 7], [0, FOCAL, HEIGHT / 2 - 5], [0, 0, 1.0]])


def scenes(person: int, count: int, seed: int = 0) -> list[Scene]:
    """``count`` scenes of one of the lab's people."""
    (head,) = lab.people(range(person, person + 1))
    rng = np.random.default_rng([seed, person])
    blank = Camera(np.zeros(3), -np.eye(3), FOCAL, (0.0, 0.0), WIDTH, HEIGHT)
    far = Studio(head, blank)
    near = Studio(head, Camera(np.zeros(3), -np.eye(3), FOCAL, (0.0, 0.0), 224, 224))
    return [_scene(head, far, near, rng) for _ in range(count)]


def _scene(head: Head, far: Studio, near: Studio, rng: np.random.Generator) -> Scene:
    yaw, pitch = rng.uniform(-22, 22), rng.uniform(-18, 14)
    pose = Pose(
        yaw * rng.uniform(0.3, 0.6) + rng.normal() * 3,
        pitch * rng.uniform(0.3, 0.6) + rng.normal() * 3,
        shift=tuple(rng.normal(size=3) * 6),
    )
    points = pose.place(_landmarks(head))
    middle = points.mean(axis=0)
    distance = rng.uniform(480, 620)
    axes = np.diag([-1.0, -1.0, -1.0])  # looks along −z, upright, at whoever looks along +z
    position = middle + np.array([0, 0, distance])
    focal = 800.0 * distance / 1000.0
    virtual = Camera(position, axes, focal, (111.5, 111.5), 224, 224)
    turn = rotation(*rng.uniform([-9, -7, -10], [9, 7, 10]))
    real = Camera(position, turn @ axes, FOCAL, (WIDTH / 2 + 7, HEIGHT / 2 - 5), WIDTH, HEIGHT)
    gaze = angles.vectors(np.array([[yaw, pitch]]))[0]
    light = lab._light(rng)
    centre, direction = real.sees(middle - position), real.sees(gaze)
    target = centre - direction * centre[2] / direction[2]  # on the plane of the screen
    seen = rng.bit_generator.state

    def taken(studio: Studio, camera: Camera) -> np.ndarray:
        rng.bit_generator.state = seen
        studio.aim(camera)
        linear, cover = studio.picture(pose, gaze, light)
        return develop(linear + np.float32(0.12) * (1 - cover[..., None]), 0.9, 0.02, rng)

    at = real.project(points)[:, :2]
    return Scene(
        taken=_distorted(taken(far, real)),
        normalised=cv2.resize(taken(near, virtual), (448, 448), interpolation=cv2.INTER_CUBIC),
        gaze=lab.gaze_in_camera(gaze, virtual),
        head=lab.gaze_in_camera(pose.matrix()[:, 2], virtual),
        landmarks=_distorted_points(at),
        virtual_landmarks=virtual.project(points)[:, :2] * 2 + 1,
        rotation=real.axes @ pose.matrix() @ TO_MODEL,
        centre=centre,
        target=target,
        screen=((target - SCREEN_CORNER) @ SCREEN_AXES)[:2] / SCREEN_MM * SCREEN_PIXELS,
    )


def _landmarks(head: Head) -> np.ndarray:
    """(6, 3) eye corners and mouth corners in head coordinates, from the image's left to its right."""
    person = head.person
    apart, half = person.eye_apart * person.width, person.eye_half_width
    corners = np.array([apart + half, apart - half, -(apart - half), -(apart + half)])
    mouth = 24.5 + person.mouth
    eyes = np.column_stack([corners, np.zeros(4), [2.0, 6.0, 6.0, 2.0]])
    return np.concatenate([eyes, [[mouth, -72.0 * person.length, 8.0], [-mouth, -72.0 * person.length, 8.0]]])


def _distorted_points(points: np.ndarray) -> np.ndarray:
    at = np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(calibrated()).T
    return cv2.projectPoints(at, np.zeros(3), np.zeros(3), calibrated(), DISTORTION)[0][:, 0]


def _distorted(picture: np.ndarray) -> np.ndarray:
    across, down = np.meshgrid(np.arange(WIDTH, dtype=np.float64), np.arange(HEIGHT, dtype=np.float64))
    there = cv2.undistortPoints(
        np.stack([across, down], -1).reshape(-1, 1, 2), calibrated(), DISTORTION, P=calibrated()
    ).reshape(HEIGHT, WIDTH, 2)
    return cv2.remap(picture, there.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def write_original(root: Path, people: dict[str, Sequence[Scene]]) -> Path:
    """The folders as recorded; returns ``root``."""
    for name, taken in people.items():
        folder = root / name
        (folder / "day01").mkdir(parents=True)
        (folder / "Calibration").mkdir()
        scipy.io.savemat(
            folder / "Calibration" / "Camera.mat", {"cameraMatrix": calibrated(), "distCoeffs": DISTORTION[None]}
        )
        pose = {"rvects": cv2.Rodrigues(SCREEN_AXES)[0], "tvecs": SCREEN_CORNER[:, None]}
        scipy.io.savemat(folder / "Calibration" / "monitorPose.mat", pose)
        size = dict(
            zip(("width_mm", "height_mm", "width_pixel", "height_pixel"), [*SCREEN_MM, *SCREEN_PIXELS], strict=True)
        )
        scipy.io.savemat(folder / "Calibration" / "screenSize.mat", size)
        rows = []
        for number, scene in enumerate(taken):
            picture = f"day01/{number:04d}.jpg"
            cv2.imwrite(str(folder / picture), scene.taken[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            rows.append(row(picture, scene))
        (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")
    return root


def row(picture: str, scene: Scene) -> str:
    """One line of a person's text file."""
    pose = cv2.Rodrigues(scene.rotation)[0].ravel()
    numbers = [
        *scene.screen.round().astype(int), *scene.landmarks.round().astype(int).ravel(), *pose, *scene.centre,
        *scene.centre, *scene.target,
    ]  # fmt: skip
    return " ".join([picture, *(f"{value:.6g}" for value in numbers), "left"])


def label(scene: Scene) -> np.ndarray:
    """(16,) as the normalised files have it."""
    return np.concatenate([scene.gaze, scene.head, scene.virtual_landmarks.ravel()])


def caffe(pictures: np.ndarray) -> np.ndarray:
    """(n, 448, 448, 3) RGB → (n, 3, 448, 448) as h5py sees what MATLAB wrote for Caffe."""
    stored = []
    for picture in pictures:
        matlab = np.rot90(np.flip(picture[:, :, ::-1], 1), 1)  # the three lines on the data set's page
        stored.append(matlab.transpose(2, 1, 0))  # MATLAB's dimensions, in reverse
    return np.stack(stored)


def write_normalised(root: Path, people: dict[str, Sequence[Scene]]) -> Path:
    """The ``.mat`` files of MATLAB 7.3; returns ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for name, taken in people.items():
        with h5py.File(root / f"{name}.mat", "w", userblock_size=512) as file:
            chunk = (1, 3, 448, 448)
            pictures = caffe(np.stack([scene.normalised for scene in taken]))
            file.create_dataset("Data/data", data=pictures, chunks=chunk, compression="gzip", compression_opts=1)
            file["Data/label"] = np.stack([label(scene) for scene in taken])
    return root
