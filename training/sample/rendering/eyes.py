"""Eyes: lid contours, and eyeballs ray-traced per pixel through the lid opening.

Lengths in mm in eye coordinates: the origin is the eyeball centre, x outwards (towards the ear), y up, z out of
the face. The eyeball is a sphere of 12.5 mm with the iris on a plane inside and a corneal sphere in front of it
(Gullstrand's schematic eye, rounded).
"""

import math

import numba
import numpy as np

from training.sample.rendering import noise

EYEBALL = 12.5
IRIS_PLANE = 10.9  # distance of the iris from the eyeball centre
CORNEA = 8.0  # radius of the corneal sphere
CORNEA_CENTRE = 5.2  # its distance from the eyeball centre


@numba.njit(cache=True, nogil=True)
def lid_heights(
    x: float, half_width: float, upper: float, lower: float, slant: float, elevation_deg: float, closed: float
) -> tuple[float, float]:
    """Heights of the upper and lower lid margin at ``x``; equal (or crossed) means covered.

    The upper lid follows the gaze; ``elevation_deg`` is the eye's elevation in the head, ``closed`` goes from 0
    to 1 in a blink.
    """
    t = x / half_width
    base = slant * t - 0.5
    if t <= -1.0 or t >= 1.0:
        return base, base
    up = upper + 0.5 + 0.17 * elevation_deg
    down = lower - 0.5 - 0.075 * elevation_deg
    up = max(up, 0.4 - 0.4 * down)
    up = up + closed * (-0.55 * down - up)
    down = down + closed * (0.55 * down - down)
    # The upper lid peaks towards the nose, the lower one towards the ear.
    s = t + 0.12 * (1.0 - t * t)
    q = t - 0.10 * (1.0 - t * t)
    return base + up * (1.0 - abs(s) ** 2.3) ** 0.85, base - down * (1.0 - abs(q) ** 2.2)


@numba.njit(cache=True, nogil=True, fastmath=True)
def reflection(direction: np.ndarray, lights: np.ndarray, out: np.ndarray) -> None:
    """What a mirror sees along a world direction: ``lights`` rows are azimuth from, to, elevation from, to
    (degrees) and RGB; edges are 4° soft."""
    azimuth = math.degrees(math.atan2(direction[0], direction[2]))
    elevation = math.degrees(math.asin(min(max(direction[1], -1.0), 1.0)))
    out[0] = out[1] = out[2] = 0.02
    for k in range(lights.shape[0]):
        w = noise.step(lights[k, 0] - 2.0, lights[k, 0] + 2.0, azimuth)
        w *= noise.step(lights[k, 1] + 2.0, lights[k, 1] - 2.0, azimuth)
        w *= noise.step(lights[k, 2] - 2.0, lights[k, 2] + 2.0, elevation)
        w *= noise.step(lights[k, 3] + 2.0, lights[k, 3] - 2.0, elevation)
        for c in range(3):
            out[c] += w * lights[k, 4 + c]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sphere(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, r: float) -> float:
    """Distance along the ray to a sphere around the origin; −1 when it misses."""
    b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - r * r
    h = b * b - c
    if h < 0.0:
        return -1.0
    return -b - math.sqrt(h)


@numba.njit(cache=True, nogil=True, fastmath=True)
def trace(
    origin: np.ndarray,
    ray: np.ndarray,
    gaze: np.ndarray,
    iris_radius: float,
    pupil_radius: float,
    iris_colour: np.ndarray,
    seed: int,
    albedo: np.ndarray,
    normal: np.ndarray,
    gloss: np.ndarray,
) -> int:
    """Trace one ray (head axes, origin relative to the eyeball centre) into an eye that looks along ``gaze``.

    Fills the diffuse ``albedo``, the diffuse ``normal`` and the ``gloss`` normal (of the cornea or the tear film).
    Returns 0 for wet tissue beside the eyeball, 1 for sclera, 2 for iris, 3 for pupil.
    """
    ox, oy, oz = origin[0], origin[1], origin[2]
    dx, dy, dz = ray[0], ray[1], ray[2]
    gx, gy, gz = gaze[0], gaze[1], gaze[2]
    hit = _sphere(ox, oy, oz, dx, dy, dz, EYEBALL)
    if hit < 0.0:
        albedo[0], albedo[1], albedo[2] = 0.42, 0.20, 0.17
        normal[0], normal[1], normal[2] = 0.0, 0.0, 1.0
        gloss[0], gloss[1], gloss[2] = 0.0, 0.0, 1.0
        return 0
    px, py, pz = ox + hit * dx, oy + hit * dy, oz + hit * dz
    # Iris disc behind the cornea.
    facing = dx * gx + dy * gy + dz * gz
    kind = 1
    if facing < -0.05:
        t = (IRIS_PLANE - (ox * gx + oy * gy + oz * gz)) / facing
        qx, qy, qz = ox + t * dx - IRIS_PLANE * gx, oy + t * dy - IRIS_PLANE * gy, oz + t * dz - IRIS_PLANE * gz
        rho = math.sqrt(qx * qx + qy * qy + qz * qz)
        if rho < iris_radius + 0.35:
            up_y = math.sqrt(max(1.0 - gy * gy, 1e-6))
            angle = math.atan2(qy / up_y, qx)
            ratio = rho / iris_radius
            fibre = noise.value(angle * 11.0 + 60.0, rho * 0.9, seed)
            fine = noise.value(angle * 30.0 + 200.0, rho * 1.6, seed + 1)
            tone = 0.45 + 0.7 * fibre + 0.35 * fine
            tone *= 1.0 - 0.75 * noise.step(0.80, 1.0, ratio)  # limbal ring
            collarette = math.exp(-(((rho - pupil_radius - 1.0) / 0.6) ** 2))
            edge = noise.step(iris_radius + 0.35, iris_radius - 0.25, rho)
            pupil = noise.step(pupil_radius + 0.2, pupil_radius - 0.2, rho)
            for c in range(3):
                colour = iris_colour[c] * (tone + 0.35 * collarette)
                colour = colour * (1.0 - pupil) + 0.003 * pupil
                albedo[c] = colour * edge + 0.42 * (1.0 - edge)
            normal[0], normal[1], normal[2] = gx, gy, gz
            cx, cy, cz = ox - CORNEA_CENTRE * gx, oy - CORNEA_CENTRE * gy, oz - CORNEA_CENTRE * gz
            front = _sphere(cx, cy, cz, dx, dy, dz, CORNEA)
            gloss[0], gloss[1], gloss[2] = (
                (cx + front * dx) / CORNEA,
                (cy + front * dy) / CORNEA,
                (cz + front * dz) / CORNEA,
            )
            if front < 0.0:
                gloss[0], gloss[1], gloss[2] = gx, gy, gz
            kind = 3 if pupil > 0.5 else 2
    if kind == 1:
        nx, ny, nz = px / EYEBALL, py / EYEBALL, pz / EYEBALL
        away = math.acos(min(max(nx * gx + ny * gy + nz * gz, -1.0), 1.0))  # from the gaze axis
        red = noise.step(0.6, 1.3, away)
        vein = noise.value(px * 0.5 + 30.0, py * 2.2 + 30.0, seed + 2)
        red = 0.35 * red + 0.35 * red * noise.step(0.55, 0.85, vein)
        albedo[0] = 0.62
        albedo[1] = 0.57 - 0.20 * red
        albedo[2] = 0.54 - 0.22 * red
        normal[0], normal[1], normal[2] = nx, ny, nz
        gloss[0], gloss[1], gloss[2] = nx, ny, nz
    return kind
