"""Data normalisation: every face as a virtual camera sees it that looks at its middle, from one distance, unrolled.

Zhang, Sugano and Bulling 2018, "Revisiting Data Normalization for Appearance-Based Gaze Estimation" (ETRA), in the
form that they recommend: the picture is warped by rotation and scale, directions are only rotated. Focal length,
distance and size are those of the normalised pictures that are distributed with MPIIFaceGaze (Zhang et al. 2017).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from recording import angles
from recording.pictures import Picture

SIDE = 448
FOCAL = 1600.0
DISTANCE_MM = 1000.0

Floats = npt.NDArray[np.float64]
_VIRTUAL = np.array([[FOCAL, 0.0, SIDE / 2], [0.0, FOCAL, SIDE / 2], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class RealCamera:
    """A calibrated camera: ``matrix`` (3, 3) in pixels, ``distortion`` (k,) as OpenCV orders the coefficients."""

    matrix: Floats
    distortion: Floats

    def undistorted(self, picture: Picture) -> Picture:
        """The picture as a camera without distortion takes it; as it is where there is none."""
        if not self.distortion.any():
            return picture
        return cv2.undistort(picture, self.matrix, self.distortion).astype(np.uint8, copy=False)

    def undistorted_points(self, points: Floats) -> Floats:
        """(n, 2) pixels in the picture as taken → pixels in the undistorted one."""
        there = cv2.undistortPoints(points[:, None], self.matrix, self.distortion, P=self.matrix)
        return np.asarray(there[:, 0], dtype=np.float64)


@dataclass(frozen=True)
class VirtualCamera:
    """The virtual camera of one face: ``rotation`` rows are its right, down and forward in the real camera's frame."""

    rotation: Floats
    scale: float
    """By how much the face is moved to lie at :data:`DISTANCE_MM`."""

    @classmethod
    def looking_at(cls, centre: Floats, head: Floats) -> "VirtualCamera":
        """For a face ``centre`` (3,) in mm and the ``head`` rotation (3, 3), both in the real camera's frame."""
        distance = float(np.linalg.norm(centre))
        forward = centre / distance
        down = np.cross(forward, head[:, 0])
        down /= np.linalg.norm(down)
        right = np.cross(down, forward)
        return cls(np.stack([right, down, forward]), DISTANCE_MM / distance)

    def sees(self, vectors: Floats) -> Floats:
        """Directions (…, 3) in the real camera's frame → in this one's."""
        return np.asarray(vectors @ self.rotation.T, dtype=np.float64)

    def picture(self, picture: Picture, real: RealCamera) -> Picture:
        """(h, w, 3) undistorted → (:data:`SIDE`, :data:`SIDE`, 3)."""
        warp = self._warp(real)
        return cv2.warpPerspective(picture, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    def points(self, points: Floats, real: RealCamera) -> Floats:
        """(n, 2) pixels of the undistorted picture → pixels of the normalised one."""
        warped = cv2.perspectiveTransform(points[:, None], self._warp(real))
        return np.asarray(warped[:, 0], dtype=np.float64)

    def _warp(self, real: RealCamera) -> Floats:
        scaled = np.diag([1.0, 1.0, self.scale])
        return np.asarray(_VIRTUAL @ scaled @ self.rotation @ np.linalg.inv(real.matrix), dtype=np.float64)


def pitch_yaw(direction: Floats) -> Floats:
    """Direction(s) (…, 3) in camera coordinates → ``(pitch, yaw)`` (…, 2) radians, as ``mpiifacegaze`` has them."""
    # From the camera's axes (right, down, forward) to those of whoever looks into it.
    return angles.deg_to_pitch_yaw(angles.from_vectors(-np.asarray(direction)))


def head_pitch_yaw(head: Floats) -> Floats:
    """Head rotation (3, 3) in camera coordinates → where the face points, ``(pitch, yaw)`` radians.

    The axes of the face model are right, down and into the head as the camera sees them, so the face points along −z.
    """
    return pitch_yaw(-head[:, 2])
