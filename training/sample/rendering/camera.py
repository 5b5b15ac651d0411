"""Pinhole cameras and head poses in the world frame of the renderer."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: ``axes`` rows are image right, image down and forward in the world frame (x right, y down,
    z forward, the frame of the ``mpiifacegaze`` convention); ``position`` in mm; ``focal`` in pixels; the optical
    axis meets the picture in ``centre`` (x, y)."""

    position: np.ndarray
    axes: np.ndarray
    focal: float
    centre: tuple[float, float]
    width: int
    height: int

    def scaled(self, factor: float) -> "Camera":
        """The same view on a grid of ``factor`` times as many pixels a side."""
        x, y = self.centre
        return Camera(
            self.position,
            self.axes,
            self.focal * factor,
            ((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5),
            round(self.width * factor),
            round(self.height * factor),
        )

    def project(self, points: np.ndarray) -> np.ndarray:
        """(n, 3) world points → (n, 3): pixel x, pixel y, 1/depth (1/mm)."""
        local = (points - self.position) @ self.axes.T
        inverse = 1.0 / local[:, 2]
        return np.column_stack(
            [
                local[:, 0] * inverse * self.focal + self.centre[0],
                local[:, 1] * inverse * self.focal + self.centre[1],
                inverse,
            ]
        )

    def sees(self, direction: np.ndarray) -> np.ndarray:
        """World directions (…, 3) → the same directions in camera coordinates (x right, y down, z forward)."""
        return direction @ self.axes.T


def looking(
    position: np.ndarray, target: np.ndarray, focal: float, width: int, height: int, roll_deg: float = 0.0
) -> Camera:
    """The camera at ``position`` whose optical axis goes through ``target``, upright but for ``roll_deg``."""
    forward = np.asarray(target, dtype=np.float64) - position
    forward /= np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    down = -np.cross(forward, right)
    cosine, sine = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    axes = np.stack([cosine * right + sine * down, cosine * down - sine * right, forward])
    return Camera(
        np.asarray(position, dtype=np.float64), axes, focal, ((width - 1) / 2, (height - 1) / 2), width, height
    )


def rotation(azimuth_deg: float, elevation_deg: float, roll_deg: float = 0.0) -> np.ndarray:
    """3×3 matrix that turns head coordinates into world coordinates; its third column is where the head points."""
    a, e, r = np.radians([azimuth_deg, elevation_deg, roll_deg])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(e), np.sin(e)], [0, -np.sin(e), np.cos(e)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return turn @ nod @ tilt
