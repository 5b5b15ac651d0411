"""The lab domain: many people in front of a laptop camera, tight 224×224 face crops, MPIIFaceGaze convention.

Every picture is a pure function of (seed, number). Labels are ``(pitch, yaw)`` in radians of the gaze in camera
coordinates (:mod:`recording.angles`, ``mpiifacegaze``).
"""

from collections.abc import Iterator

import cv2
import numpy as np

from recording import angles
from training.sample.rendering.camera import Camera, looking
from training.sample.rendering.head import Head, build, random_person
from training.sample.rendering.portrait import Light, Pose, Studio, develop

SIZE = 224
YAW_DEG = 24.0  # gaze reaches this far to both sides
PITCH_DEG = (-22.0, 17.0)
_DISTANCE = 620.0
_FOCAL = 760.0


def person_seed(person: int) -> int:
    """The seed of the lab's n-th person; the driver of the sample drive has none of these."""
    return 1000 + person


def people(numbers: range) -> list[Head]:
    """The heads of those lab people."""
    return [build(random_person(person_seed(number)), fineness=0.6) for number in numbers]


def gaze_in_camera(gaze: np.ndarray, camera: Camera) -> np.ndarray:
    """World gaze direction (3,) → ``(pitch, yaw)`` radians: pitch = asin(−y), yaw = atan2(−x, −z) in camera
    coordinates (x right, y down, z forward; Zhang et al. 2017)."""
    x, y, z = camera.sees(gaze / np.linalg.norm(gaze))
    return np.array([np.arcsin(np.clip(-y, -1, 1)), np.arctan2(-x, -z)])


def pictures(head: Head, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``count`` pairs of (224, 224, 3) uint8 RGB and (2,) ``(pitch, yaw)`` of one person."""
    rng = np.random.default_rng([seed, head.person.seed])
    studio = Studio(head, _camera(rng, np.zeros(3)))
    for _ in range(count):
        yield _picture(studio, rng)


def _camera(rng: np.random.Generator, shift: np.ndarray) -> Camera:
    """A laptop camera somewhere near straight ahead, aimed about as well as a face detector crops."""
    face = np.array([0.0, -32.0, 0.0]) + shift
    position = face + np.array([rng.normal() * 55.0, rng.normal() * 45.0, _DISTANCE * rng.uniform(0.9, 1.1)])
    return looking(position, face + rng.normal(size=3) * 6.0, _FOCAL * rng.uniform(0.92, 1.1), SIZE, SIZE)


def _picture(studio: Studio, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shift = rng.normal(size=3) * np.array([9.0, 8.0, 18.0])
    camera = _camera(rng, shift)
    studio.aim(camera)
    # Sampled in camera coordinates, so that the labels are spread evenly.
    yaw, pitch = rng.uniform(-YAW_DEG, YAW_DEG), rng.uniform(*PITCH_DEG)
    gaze = -angles.vectors(np.array([[yaw, pitch]]))[0] @ camera.axes
    azimuth, elevation = angles.from_vectors(gaze[None])[0]
    pose = Pose(
        azimuth_deg=azimuth * rng.uniform(0.05, 0.7) + rng.normal() * 6.0,
        elevation_deg=elevation * rng.uniform(0.05, 0.6) + rng.normal() * 5.0,
        roll_deg=rng.normal() * 4.0,
        shift=tuple(shift),
        closed=float(rng.uniform(0, 0.25)) if rng.random() < 0.15 else 0.0,
    )
    linear, cover = studio.picture(pose, gaze, _light(rng))
    linear = linear + _background(rng) * (1.0 - cover[..., None])
    picture = develop(linear, rng.uniform(0.6, 1.25), rng.uniform(0.02, 0.12), rng)
    return picture, gaze_in_camera(gaze, camera)


def _light(rng: np.random.Generator) -> Light:
    """A room: a window or lamp somewhere in front, walls, the laptop's screen."""
    azimuth, elevation = rng.uniform(-75, 75), rng.uniform(5, 60)
    warm = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.68, 1.02)])
    room = np.array([1.0, 1.0, 1.0]) * rng.uniform(0.25, 0.6) * (0.5 + 0.5 * warm)
    key = warm * rng.uniform(0.3, 1.8)
    screen = np.array([0.85, 0.95, 1.1]) * rng.uniform(0.1, 0.45)
    return Light(
        sun=angles.vectors(np.array([[azimuth, elevation]]))[0],
        sun_colour=key,
        above=room,
        below=room * rng.uniform(0.35, 0.7),
        fill=angles.vectors(np.array([[rng.uniform(-20, 20), rng.uniform(-15, 5)]]))[0],
        fill_colour=screen,
        reflected=np.array(
            [
                [-14, 14, -22, -4, *(screen * 14.0)],
                [azimuth - 9, azimuth + 9, elevation - 9, elevation + 9, *(key * 14.0)],
            ]
        ),
        windows=False,
        pupil=float(rng.uniform(1.5, 2.9)),
    )


def _background(rng: np.random.Generator) -> np.ndarray:
    """A blurred room behind the head, (224, 224, 3) linear RGB."""
    tint = rng.uniform(0.75, 1.15, 3)
    coarse = (rng.uniform(0.03, 0.45) * rng.uniform(0.6, 1.3, (5, 6, 1)) * tint).astype(np.float32)
    room = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(0, 5)):  # shelves, doors, pictures
        x, y = rng.integers(-40, SIZE, 2)
        w, h = rng.integers(20, 110, 2)
        colour = tuple(float(c) for c in rng.uniform(0.02, 0.5) * rng.uniform(0.6, 1.2, 3))
        cv2.rectangle(room, (int(x), int(y)), (int(x + w), int(y + h)), colour, -1)
    return np.maximum(cv2.GaussianBlur(room, (0, 0), 3.0), 0.0)
