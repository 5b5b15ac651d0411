"""Gaze angles: units, vectors and errors, and the only place that knows a sign.

Two angles name a gaze direction. Users see **azimuth** and **elevation** in degrees, azimuth positive to the person's
right, elevation positive up; the network answers ``(pitch, yaw)`` in radians, pitch ↔ elevation and yaw ↔ azimuth, in
that order. All that is read or written has these signs already, so there is nothing to convert but unit and order:

- ``dashgaze``: the CSV. Relative to the zero of whatever measured it.
- ``pupil``: Pupil Labs export. Relative to the scene camera on the head.
- ``mpiifacegaze``: pitch = asin(−y), yaw = atan2(−x, −z) in camera coordinates (x right, y down, z forward;
  Zhang et al. 2017). The camera looks at the face, so the person's right is the image's left (x < 0) and
  yaw is positive to the person's right, pitch positive up.

Labels with other signs or order are found by comparing them with the base (``training.measuring.alignment``). This
module is pure NumPy.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def wrap_deg(angle_deg: npt.ArrayLike) -> Floats:
    """Angle(s) in degrees brought to [−180, 180); NaN stays NaN."""
    return (np.asarray(angle_deg, dtype=np.float64) + 180.0) % 360.0 - 180.0


def pitch_yaw_to_deg(pitch_yaw: npt.ArrayLike) -> Floats:
    """Network output (n, 2) ``(pitch, yaw)`` radians → (n, 2) ``(azimuth, elevation)`` degrees."""
    degrees = np.degrees(np.asarray(pitch_yaw, dtype=np.float64))
    return degrees[..., ::-1].copy()


def deg_to_pitch_yaw(azimuth_elevation_deg: npt.ArrayLike) -> Floats:
    """(n, 2) ``(azimuth, elevation)`` degrees → network target (n, 2) ``(pitch, yaw)`` radians."""
    return np.radians(np.asarray(azimuth_elevation_deg, dtype=np.float64))[..., ::-1].copy()


def vectors(azimuth_elevation_deg: npt.ArrayLike) -> Floats:
    """(n, 2) canonical angles in degrees → (n, 3) unit vectors: x to the person's right, y up, z ahead."""
    radians = np.radians(np.asarray(azimuth_elevation_deg, dtype=np.float64))
    azimuth, elevation = radians[..., 0], radians[..., 1]
    return np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1
    )


def from_vectors(gaze: npt.ArrayLike) -> Floats:
    """(n, 3) vectors of any length, as :func:`vectors` → (n, 2) ``(azimuth, elevation)`` degrees."""
    given = np.asarray(gaze, dtype=np.float64)
    unit = given / np.linalg.norm(given, axis=-1, keepdims=True)
    azimuth = np.degrees(np.arctan2(unit[..., 0], unit[..., 2]))
    elevation = np.degrees(np.arcsin(np.clip(unit[..., 1], -1.0, 1.0)))
    return np.stack([azimuth, elevation], axis=-1)


def absolute_errors(predicted_deg: npt.ArrayLike, measured_deg: npt.ArrayLike) -> Floats:
    """Per-angle absolute errors with wrap-around, degrees; shapes (n, 2) and (n, 2) → (n, 2)."""
    return np.abs(wrap_deg(np.asarray(predicted_deg) - np.asarray(measured_deg)))


def angular_errors(predicted_deg: npt.ArrayLike, measured_deg: npt.ArrayLike) -> Floats:
    """3-D angle between predicted and measured gaze, degrees; shapes (n, 2) and (n, 2) → (n,).

    The arccos argument is clamped: rounding can push a dot product of unit vectors past 1.
    """
    cosine: Floats = np.sum(vectors(predicted_deg) * vectors(measured_deg), axis=-1)
    between: Floats = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return between
