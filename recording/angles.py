"""Gaze angles: conventions, vectors and errors.

Two angles name a gaze direction. Users see **azimuth** and **elevation** in degrees; the network answers
``(pitch, yaw)`` in radians, pitch ↔ elevation and yaw ↔ azimuth, in that order. Which way is positive is
data: a :class:`Convention`. This module is pure NumPy and is the only place that knows a sign.

The conventions differ per source:

- ``dashgaze``: the CSV. Azimuth to the driver's right is positive, elevation up is positive.
- ``pupil``: Pupil Labs export. Azimuth right +, elevation up +, relative to the scene camera on the head.
- ``mpiifacegaze``: pitch = asin(−y), yaw = atan2(−x, −z) in camera coordinates (x right, y down, z forward;
  Zhang et al. 2017). The camera looks at the face, so the person's right is the image's left (x < 0) and
  yaw is positive to the person's right, pitch positive up.
- ``image``: as seen in the picture: azimuth positive to the image's right, elevation positive up.
"""

from dataclasses import dataclass

import numpy as np

from recording.exceptions import InputError


@dataclass(frozen=True)
class Convention:
    """Axis order, sign and zero of a pair of angles, relative to the canonical (azimuth right +, elevation up +).

    ``order`` says which angle comes first, ``azimuth_sign`` and ``elevation_sign`` are ±1, the zeros are what
    this convention calls the canonical zero direction (degrees).
    """

    name: str
    order: tuple[str, str] = ("azimuth", "elevation")
    azimuth_sign: int = 1
    elevation_sign: int = 1
    azimuth_zero_deg: float = 0.0
    elevation_zero_deg: float = 0.0

    def __post_init__(self) -> None:
        if sorted(self.order) != ["azimuth", "elevation"]:
            raise ValueError(f"Convention {self.name}: order is {self.order}, not azimuth and elevation")
        if {abs(self.azimuth_sign), abs(self.elevation_sign)} != {1}:
            raise ValueError(f"Convention {self.name}: signs must be +1 or -1")

    def to_canonical(self, angles_deg: np.ndarray) -> np.ndarray:
        """(n, 2) angles of this convention, degrees → (n, 2) canonical (azimuth, elevation), degrees."""
        angles = np.asarray(angles_deg, dtype=np.float64)
        azimuth = angles[..., self.order.index("azimuth")]
        elevation = angles[..., self.order.index("elevation")]
        return np.stack(
            [
                wrap_deg(self.azimuth_sign * (azimuth - self.azimuth_zero_deg)),
                wrap_deg(self.elevation_sign * (elevation - self.elevation_zero_deg)),
            ],
            axis=-1,
        )

    def from_canonical(self, canonical_deg: np.ndarray) -> np.ndarray:
        """(n, 2) canonical (azimuth, elevation), degrees → (n, 2) angles of this convention, degrees."""
        canonical = np.asarray(canonical_deg, dtype=np.float64)
        by_name = {
            "azimuth": wrap_deg(self.azimuth_sign * canonical[..., 0] + self.azimuth_zero_deg),
            "elevation": wrap_deg(self.elevation_sign * canonical[..., 1] + self.elevation_zero_deg),
        }
        return np.stack([by_name[name] for name in self.order], axis=-1)


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention("dashgaze"),
        Convention("pupil"),
        Convention("mpiifacegaze", order=("elevation", "azimuth")),
        Convention("image", azimuth_sign=-1),
    )
}


def convention(name: str) -> Convention:
    """The convention of that name; :class:`InputError` names the legal ones."""
    try:
        return CONVENTIONS[name]
    except KeyError:
        raise InputError(f"convention {name!r} is unknown: choose one of {', '.join(sorted(CONVENTIONS))}") from None


def wrap_deg(angle_deg: np.ndarray) -> np.ndarray:
    """Angle(s) in degrees brought to [−180, 180); NaN stays NaN."""
    return (np.asarray(angle_deg, dtype=np.float64) + 180.0) % 360.0 - 180.0


def pitch_yaw_to_deg(pitch_yaw: np.ndarray) -> np.ndarray:
    """Network output (n, 2) ``(pitch, yaw)`` radians → (n, 2) ``(azimuth, elevation)`` degrees."""
    degrees = np.degrees(np.asarray(pitch_yaw, dtype=np.float64))
    return degrees[..., ::-1].copy()


def deg_to_pitch_yaw(azimuth_elevation_deg: np.ndarray) -> np.ndarray:
    """(n, 2) ``(azimuth, elevation)`` degrees → network target (n, 2) ``(pitch, yaw)`` radians."""
    return np.radians(np.asarray(azimuth_elevation_deg, dtype=np.float64))[..., ::-1].copy()


def vectors(azimuth_elevation_deg: np.ndarray) -> np.ndarray:
    """(n, 2) canonical angles in degrees → (n, 3) unit vectors: x to the person's right, y up, z ahead."""
    radians = np.radians(np.asarray(azimuth_elevation_deg, dtype=np.float64))
    azimuth, elevation = radians[..., 0], radians[..., 1]
    return np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1
    )


def from_vectors(gaze: np.ndarray) -> np.ndarray:
    """(n, 3) vectors of any length, as :func:`vectors` → (n, 2) ``(azimuth, elevation)`` degrees."""
    gaze = np.asarray(gaze, dtype=np.float64)
    gaze = gaze / np.linalg.norm(gaze, axis=-1, keepdims=True)
    azimuth = np.degrees(np.arctan2(gaze[..., 0], gaze[..., 2]))
    elevation = np.degrees(np.arcsin(np.clip(gaze[..., 1], -1.0, 1.0)))
    return np.stack([azimuth, elevation], axis=-1)


def absolute_errors(predicted_deg: np.ndarray, measured_deg: np.ndarray) -> np.ndarray:
    """Per-angle absolute errors with wrap-around, degrees; shapes (n, 2) and (n, 2) → (n, 2)."""
    return np.abs(wrap_deg(np.asarray(predicted_deg) - np.asarray(measured_deg)))


def angular_errors(predicted_deg: np.ndarray, measured_deg: np.ndarray) -> np.ndarray:
    """3-D angle between predicted and measured gaze, degrees; shapes (n, 2) and (n, 2) → (n,).

    The arccos argument is clamped: rounding can push a dot product of unit vectors past 1.
    """
    cosine = np.sum(vectors(predicted_deg) * vectors(measured_deg), axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def mirror(azimuth_elevation_deg: np.ndarray) -> np.ndarray:
    """The angles of the horizontally flipped picture: azimuth negated, elevation as it is."""
    return np.asarray(azimuth_elevation_deg, dtype=np.float64) * np.array([-1.0, 1.0])
