"""The car around the driver, mm in the world frame: what the dash camera sees behind the head, and what the driver
sees in front. The car is left-hand drive and does not move in its own frame, so both are traced once; every frame
only re-lights them."""

import math
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from training.sample.rendering import noise
from training.sample.rendering.camera import Camera
from training.sample.rendering.portrait import Light, sunlit

FRONT_WIDTH, FRONT_HEIGHT = 420, 294  # pixels of the driver's view ahead
FRONT_PER_DEGREE = 3.5
FRONT_TOP_DEG = 34.0

FABRIC, LINER, PLASTIC, LEATHER, GLASS, SCREEN, DIAL, MIRROR = range(8)
_ALBEDO = np.array(
    [[0.055, 0.055, 0.062], [0.42, 0.41, 0.385], [0.045, 0.046, 0.05], [0.03, 0.029, 0.028], [0.0, 0.0, 0.0],
     [0.02, 0.05, 0.09], [0.05, 0.05, 0.05], [0.0, 0.0, 0.0]]
)  # fmt: skip


@dataclass(frozen=True)
class Cabin:
    """A traced view. ``points`` and ``normals`` (h, w, 3), ``material`` (h, w), ``occlusion`` (h, w), ``rays``
    (h, w, 3)."""

    points: np.ndarray
    normals: np.ndarray
    material: np.ndarray
    occlusion: np.ndarray
    rays: np.ndarray


@numba.njit(cache=True, nogil=True)
def _block(x, y, z, cx, cy, cz, hx, hy, hz, r):
    """Rounded box."""
    qx, qy, qz = abs(x - cx) - hx + r, abs(y - cy) - hy + r, abs(z - cz) - hz + r
    outside = math.sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2 + max(qz, 0.0) ** 2)
    return outside + min(max(qx, qy, qz), 0.0) - r


@numba.njit(cache=True, nogil=True)
def _behind(x, y, z):
    """Distance and material of the cabin behind the driver."""
    d, m = 240.0 - y - 0.00009 * (x - 380.0) ** 2, LINER
    for seat in range(2):
        cx = 0.0 if seat == 0 else 760.0
        e = _block(x, y, z, cx, -10.0, -225.0 - 0.1 * y, 135.0, 88.0, 48.0, 42.0)
        e = min(e, _block(x, y, z, cx, -420.0, -205.0 + 0.12 * (y + 420.0) * -1.0, 255.0, 300.0, 70.0, 65.0))
        seam = 1.2 * math.exp(-(((abs(x - cx) - 88.0) / 4.0) ** 2))
        e += seam
        if e < d:
            d, m = e, FABRIC
        rod = math.sqrt((abs(x - cx) - 60.0) ** 2 + (z + 222.0) ** 2) - 6.5
        rod = max(rod, abs(y + 105.0) - 40.0)
        if rod < d:
            d, m = rod, PLASTIC
    e = _block(x, y, z, 380.0, -330.0, -1050.0, 700.0, 300.0, 90.0, 70.0)
    if e < d:
        d, m = e, FABRIC
    # Sides: sill, pillars, frame; the openings are glass.
    for side in range(2):
        e = (x + 445.0 + 0.0004 * (y - 100.0) ** 2 * 0.0) if side == 0 else (1205.0 - x)
        e -= 0.22 * max(y - 20.0, 0.0)  # tumblehome
        e *= 0.95
        front = z > -300.0 and -235.0 < y < 205.0
        rear = -900.0 < z < -395.0 and -215.0 < y < 195.0
        if e < d:
            d = e
            m = GLASS if (front or rear) else (PLASTIC if y < -150.0 else LINER)
    e = (z + 1480.0 - 0.5 * max(y, -50.0)) * 0.88
    if e < d:
        d, m = e, GLASS if (-60.0 < y < 200.0 and -280.0 < x < 1040.0) else LINER
    return d, m


@numba.njit(cache=True, nogil=True)
def _ring(x, y, z):
    """Steering wheel: rim, hub and spokes, tilted towards the driver."""
    cx, cy, cz, tilt = 0.0, -345.0, 470.0, math.radians(24.0)
    px, py, pz = x - cx, y - cy, z - cz
    u = py * math.cos(tilt) + pz * math.sin(tilt)
    w = -py * math.sin(tilt) + pz * math.cos(tilt)
    rim = math.sqrt((math.sqrt(px * px + u * u) - 182.0) ** 2 + w * w) - 16.0
    hub = max(math.sqrt(px * px + u * u) - 62.0, abs(w - 18.0) - 18.0)
    spoke = max(max(abs(u + 8.0) - 20.0, abs(px) - 178.0), abs(w - 10.0) - 9.0)
    lower = max(max(abs(px) - 15.0, abs(u + 95.0) - 85.0), abs(w - 10.0) - 9.0)
    return min(min(rim, hub), min(spoke, lower))


@numba.njit(cache=True, nogil=True)
def _ahead(x, y, z):
    """Distance and material of the cabin in front of the driver."""
    # Dash: a long rounded block that rises to the windscreen.
    d = _block(x, y, z, 380.0, -400.0 + 0.03 * (z - 800.0), 850.0, 900.0, 200.0, 230.0, 60.0)
    m = PLASTIC
    e = _block(x, y, z, 0.0, -238.0, 705.0, 190.0, 62.0, 80.0, 52.0)  # hood of the cluster
    e = -min(-e, _block(x, y, z, 0.0, -250.0, 610.0, 166.0, 48.0, 90.0, 34.0))
    if e < d:
        d, m = e, PLASTIC
    e = _block(x, y, z, 0.0, -252.0, 700.0, 165.0, 48.0, 6.0, 4.0)
    if e < d:
        d, m = e, DIAL
    e = _block(x, y, z, 395.0, -205.0 - 0.2 * (z - 660.0), 660.0, 128.0, 74.0, 9.0, 7.0)
    if e < d:
        d, m = e, PLASTIC
    e = _block(x, y, z, 395.0, -205.0 - 0.2 * (z - 660.0), 652.0, 119.0, 66.0, 4.0, 3.0)
    if e < d:
        d, m = e, SCREEN
    for vent in range(2):
        e = _block(x, y, z, 395.0 + (vent - 0.5) * 140.0, -322.0, 640.0, 58.0, 22.0, 14.0, 8.0) + 2.0 * math.sin(
            y * 0.7
        )
        if e < d:
            d, m = e, LEATHER
    e = _ring(x, y, z)
    if e < d:
        d, m = e, LEATHER
    # Rear-view mirror and its foot.
    e = _block(x, y, z, 330.0, 128.0, 520.0 - 0.25 * (x - 330.0), 118.0, 33.0, 14.0, 13.0)
    if e < d:
        d, m = e, PLASTIC
    e = _block(x, y, z, 330.0, 128.0, 507.0 - 0.25 * (x - 330.0), 110.0, 26.0, 5.0, 4.0)
    if e < d:
        d, m = e, MIRROR
    e = _block(x, y, z, 372.0, 190.0, 560.0, 13.0, 60.0, 13.0, 10.0)
    if e < d:
        d, m = e, PLASTIC
    # Header and roof, pillars, doors.
    e = 235.0 - y - 0.0001 * (x - 380.0) ** 2 + 0.35 * max(z - 420.0, 0.0) * -0.4
    if z < 600.0 and e < d:
        d, m = e, LINER
    for side in range(2):
        sx = -1.0 if side == 0 else 1.0
        edge = -425.0 if side == 0 else 1185.0
        # The pillar leans from the cowl back to the header.
        px, pz = x - (edge - sx * 0.16 * (y + 180.0)), z - (900.0 - 0.95 * (y + 180.0))
        e = (math.sqrt(px * px + (0.7 * pz) ** 2) - 42.0) * 0.8
        if y < 300.0 and y > -260.0 and e < d:
            d, m = e, LINER
        e = _block(x, y, z, edge + sx * 40.0, -420.0, 350.0, 50.0, 230.0, 750.0, 30.0)
        if e < d:
            d, m = e, PLASTIC
        e = _block(x, y, z, edge + sx * 135.0, -155.0, 640.0, 92.0, 62.0, 30.0, 28.0)
        if e < d:
            d, m = e, PLASTIC
        e = _block(x, y, z, edge + sx * 135.0, -155.0, 612.0, 82.0, 52.0, 6.0, 5.0)
        if e < d:
            d, m = e, MIRROR
    return d, m


@numba.njit(cache=True, nogil=True)
def _march(position, rays, ahead, points, normals, material, occlusion):
    for row in range(rays.shape[0]):
        for column in range(rays.shape[1]):
            dx, dy, dz = rays[row, column, 0], rays[row, column, 1], rays[row, column, 2]
            t, m = 5.0, GLASS
            d = 1.0
            for _ in range(110):
                x, y, z = position[0] + t * dx, position[1] + t * dy, position[2] + t * dz
                if ahead:
                    d, m = _ahead(x, y, z)
                else:
                    d, m = _behind(x, y, z)
                t += 0.9 * d
                if d < 0.35 or t > 2600.0:
                    break
            if d >= 4.0:  # nothing in the way: glass, but under the dash the dark of the footwell
                m = LEATHER if ahead and dy < -0.2 else GLASS
            x, y, z = position[0] + t * dx, position[1] + t * dy, position[2] + t * dz
            e = 1.5
            g = np.zeros(3)
            for k in range(3):
                hx, hy, hz = (e if k == 0 else 0.0), (e if k == 1 else 0.0), (e if k == 2 else 0.0)
                if ahead:
                    g[k] = _ahead(x + hx, y + hy, z + hz)[0] - _ahead(x - hx, y - hy, z - hz)[0]
                else:
                    g[k] = _behind(x + hx, y + hy, z + hz)[0] - _behind(x - hx, y - hy, z - hz)[0]
            g /= math.sqrt(g[0] ** 2 + g[1] ** 2 + g[2] ** 2) + 1e-9
            closed = 0.0
            for k in range(4):
                h = 6.0 + 26.0 * k
                if ahead:
                    near = _ahead(x + h * g[0], y + h * g[1], z + h * g[2])[0]
                else:
                    near = _behind(x + h * g[0], y + h * g[1], z + h * g[2])[0]
                closed += 0.72**k * max(h - near, 0.0) / h
            points[row, column, 0], points[row, column, 1], points[row, column, 2] = x, y, z
            for k in range(3):  # element by element: an assignment of slices takes seconds to compile
                normals[row, column, k] = g[k]
            material[row, column] = m
            occlusion[row, column] = max(0.12, 1.0 - 0.42 * closed)


def _traced(position: np.ndarray, rays: np.ndarray, ahead: bool) -> Cabin:
    height, width, _ = rays.shape
    cabin = Cabin(
        np.empty((height, width, 3)), np.empty((height, width, 3)), np.empty((height, width), np.int32),
        np.empty((height, width)), rays,
    )  # fmt: skip
    _march(position, rays, ahead, cabin.points, cabin.normals, cabin.material, cabin.occlusion)
    return cabin


def behind(camera: Camera) -> Cabin:
    """The cabin that a camera on the dash sees behind the driver, at half its resolution (it is out of focus)."""
    camera = camera.scaled(0.5)
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    local = np.stack(
        [(x - camera.centre[0]) / camera.focal, (y - camera.centre[1]) / camera.focal, np.ones(x.shape)], axis=-1
    )
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    return _traced(camera.position, local @ camera.axes, False)


def ahead() -> Cabin:
    """The cabin from the driver's eyes, on a grid of azimuth (columns) and elevation (rows)."""
    azimuth = np.radians((np.arange(FRONT_WIDTH) + 0.5 - FRONT_WIDTH / 2) / FRONT_PER_DEGREE)
    elevation = np.radians(FRONT_TOP_DEG - (np.arange(FRONT_HEIGHT) + 0.5) / FRONT_PER_DEGREE)
    elevation, azimuth = np.meshgrid(elevation, azimuth, indexing="ij")
    rays = np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1
    )
    return _traced(np.array([0.0, 15.0, 20.0]), rays, True)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _relight(points, normals, material, occlusion, rays, palette, sun, sun_colour, above, below, outside, moved, out):
    for row in range(material.shape[0]):
        for column in range(material.shape[1]):
            m = material[row, column]
            nx, ny, nz = normals[row, column, 0], normals[row, column, 1], normals[row, column, 2]
            if m in (GLASS, MIRROR):
                dx, dy, dz = rays[row, column, 0], rays[row, column, 1], rays[row, column, 2]
                if m == MIRROR:  # mirrors are aimed at the road behind: the horizon crosses their middle
                    middle = 128.0 if points[row, column, 1] > 0.0 else -155.0
                    dy = (points[row, column, 1] - middle) / 260.0
                azimuth = math.atan2(dx, dz)
                blur = noise.value(azimuth * 7.0 + moved, dy * 5.0, 71)
                low = noise.step(0.05, -0.12, dy - 0.22 * (blur - 0.35))
                for k in range(3):
                    tree = (0.11, 0.14, 0.07)[k] * (0.5 + blur)
                    sky = (0.80, 0.93, 1.08)[k]
                    out[row, column, k] = outside[k] * (sky * (1.0 - low) + tree * low)
                continue
            x, y, z = points[row, column, 0], points[row, column, 1], points[row, column, 2]
            nl = nx * sun[0] + ny * sun[1] + nz * sun[2]
            gate = 0.0
            if nl > 0.0:
                gate = sunlit(x, y, z, sun)
            weave = 1.0
            if m == FABRIC:
                weave = 0.7 + 0.6 * noise.value(x * 0.35 + y * 0.05, y * 0.35 + z * 0.1, 72)
            elif m == PLASTIC:
                weave = 0.85 + 0.3 * noise.value(x * 0.5, z * 0.5 + y * 0.5, 73)
            for k in range(3):
                light = sun_colour[k] * max(nl, 0.0) * gate
                light += (above[k] * (0.5 + 0.5 * ny) + below[k] * (0.5 - 0.5 * ny)) * occlusion[row, column]
                out[row, column, k] = palette[m, k] * weave * light
            if m == SCREEN:
                lane = abs(((x - 395.0) + 0.25 * (y + 205.0)) * 0.02)
                for k in range(3):
                    out[row, column, k] += (0.05, 0.10, 0.15)[k] + (0.25 if lane < 0.08 else 0.0) * (0.4, 0.8, 1.0)[k]
            elif m == DIAL:
                for side in range(2):
                    cx = -78.0 if side == 0 else 78.0
                    r = math.sqrt((x - cx) ** 2 + (y + 252.0) ** 2)
                    angle = math.atan2(y + 252.0, x - cx)
                    tick = 1.0 if math.cos(angle * 24.0) > 0.55 else 0.25
                    if 33.0 < r < 38.0:
                        for k in range(3):
                            out[row, column, k] += 0.5 * tick
                    elif r < 30.0 and abs(math.sin(angle - 2.2)) * r < 1.8 and math.cos(angle - 2.2) > 0:
                        out[row, column, 0] += 0.7


def relight(cabin: Cabin, light: Light, outside: np.ndarray, moved: float) -> np.ndarray:
    """(h, w, 3) float32 linear RGB of a traced view under ``light``; through glass one sees ``outside`` (RGB of
    the sky) and foliage that went by ``moved`` units."""
    out = np.empty(cabin.rays.shape, np.float32)
    _relight(
        cabin.points, cabin.normals, cabin.material, cabin.occlusion, cabin.rays, _ALBEDO, light.sun,
        light.sun_colour, light.above, light.below, outside, moved, out,
    )  # fmt: skip
    return out


def out_of_focus(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Enlarge to the size of the camera's picture, with the blur of a lens that is focused on the face."""
    return cv2.resize(cv2.GaussianBlur(picture, (0, 0), 1.1), (width, height), interpolation=cv2.INTER_LINEAR)
