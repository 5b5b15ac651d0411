"""The road ahead: one ray per pixel into a drawn landscape, in metres (x right, y up, z ahead of the car)."""

import math
from dataclasses import dataclass

import numba
import numpy as np

from training.sample.rendering import noise

EYE_HEIGHT = 1.25
LANE = 1.8  # the car drives this far right of the centre line
WIDTH, HEIGHT = 480, 240  # pixels of the panorama
PER_DEGREE = 5.0
TOP_DEG = 24.0  # elevation of the first row
SHARP = 114  # columns left and right of the middle that the road camera sees


@dataclass(frozen=True)
class Stretch:
    """What the road looks like at one moment."""

    travelled: float
    """Metres since the start."""
    curve: float
    """Curvature, 1/m, right positive."""
    pitch_deg: float
    """How far the car nods."""
    lead: float
    """Metres to the car in front."""
    oncoming: float
    """Metres to the oncoming car; negative when it has passed."""
    tunnel: tuple[float, float]
    """Distances, from the start, where the nearest tunnel begins and ends."""
    sun: np.ndarray
    """World direction towards the sun."""
    sun_colour: np.ndarray
    sky_colour: np.ndarray


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sky(dx, dy, dz, sun, sun_colour, sky_colour, out):
    up = max(dy, 0.0)
    haze = math.exp(-7.0 * up)
    cloud = 0.0
    if dy > 0.02:
        cloud = noise.step(0.48, 0.75, noise.fractal(dx / (dy + 0.12) * 1.3 + 50.0, dz / (dy + 0.12) * 1.3, 11))
        cloud *= noise.step(0.02, 0.15, dy)
    glow = max(0.0, dx * sun[0] + dy * sun[1] + dz * sun[2])
    glow = 0.35 * glow**12 + 2.5 * glow**400
    blue = (0.42, 0.62, 1.0)
    for k in range(3):
        base = sky_colour[k] * (blue[k] * (1.0 - haze) + 1.15 * haze)
        out[k] = base * (1.0 - 0.7 * cloud) + sky_colour[k] * 1.15 * 0.7 * cloud + 0.5 * sun_colour[k] * glow


@numba.njit(cache=True, nogil=True, fastmath=True)
def _box(ox, oy, oz, dx, dy, dz, x0, x1, y0, y1, z0, z1):
    """Distance to an axis-aligned box and the axis of the face that is hit; −1 when it is missed."""
    near, far, axis = -1e9, 1e9, 0
    for k in range(3):
        o = ox if k == 0 else (oy if k == 1 else oz)
        d = dx if k == 0 else (dy if k == 1 else dz)
        low = x0 if k == 0 else (y0 if k == 1 else z0)
        high = x1 if k == 0 else (y1 if k == 1 else z1)
        if abs(d) < 1e-9:
            if o < low or o > high:
                return -1.0, 0
            continue
        a, b = (low - o) / d, (high - o) / d
        if a > b:
            a, b = b, a
        if a > near:
            near, axis = a, k
        far = min(far, b)
    if near > far or near < 0.0:
        return -1.0, 0
    return near, axis


@numba.njit(cache=True, nogil=True, fastmath=True)
def _car(dx, dy, dz, x, z, rear, paint, light, out):
    """Draw a car whose near end is at ``z``; True when the ray hits it. ``rear`` True: we see its tail lights."""
    hit, axis = _box(0.0, EYE_HEIGHT, 0.0, dx, dy, dz, x - 0.9, x + 0.9, 0.28, 0.92, z, z + 4.2)
    roof, roof_axis = _box(0.0, EYE_HEIGHT, 0.0, dx, dy, dz, x - 0.72, x + 0.72, 0.92, 1.46, z + 0.5, z + 3.2)
    wheel, _ = _box(0.0, EYE_HEIGHT, 0.0, dx, dy, dz, x - 0.85, x + 0.85, 0.0, 0.3, z + 0.35, z + 0.9)
    if hit < 0.0 and roof < 0.0 and wheel < 0.0:
        return False
    if roof > 0.0 and (hit < 0.0 or roof < hit):
        px, py = roof * dx - x, EYE_HEIGHT + roof * dy
        glass = roof_axis == 2 and abs(px) < 0.62 and py > 0.98 and py < 1.38
        shade = 1.1 if roof_axis == 1 else 0.7
        for k in range(3):
            out[k] = light[k] * (0.09 + 0.1 * (py - 0.95) if glass else paint[k] * shade)
        return True
    if hit > 0.0:
        px, py = hit * dx - x, EYE_HEIGHT + hit * dy
        shade = 1.0 if axis == 1 else (0.62 + 0.3 * (py - 0.4))
        for k in range(3):
            out[k] = light[k] * paint[k] * shade
        if axis == 2:
            if abs(abs(px) - 0.7) < 0.17 and abs(py - 0.72) < 0.09:
                lamp = (1.2, 0.06, 0.04) if rear else (1.6, 1.6, 1.5)
                for k in range(3):
                    out[k] = lamp[k] * (0.4 + 0.4 * light[k])
            elif py < 0.42:
                for k in range(3):
                    out[k] = light[k] * 0.03
            elif abs(px) < 0.26 and abs(py - 0.58) < 0.06:
                for k in range(3):
                    out[k] = light[k] * 0.55
        return True
    for k in range(3):
        out[k] = light[k] * (0.012 if abs(wheel * dx - x) < 0.6 else 0.03)
    return True


@numba.njit(cache=True, nogil=True, fastmath=True)
def _tree(s, y, z, spacing, seed, light, sun_side, out):
    """Draw the tree of a row at road distance ``s`` and height ``y``; True when there is one."""
    cell = math.floor(s / spacing)
    if noise.lattice(cell, 3, seed) < 0.3:
        return False
    across = s - (cell + 0.5 + 0.3 * (noise.lattice(cell, 4, seed) - 0.5)) * spacing
    tall = 4.0 + 7.0 * noise.lattice(cell, 5, seed)
    wide = 0.32 * tall + 0.6
    cy = 0.62 * tall
    ragged = noise.fractal(s * 1.1, y * 1.1 + 100.0, seed + 1)
    r = math.sqrt((across / wide) ** 2 + ((y - cy) / (0.42 * tall)) ** 2)
    if r + 0.55 * (ragged - 0.5) > 1.0:
        if abs(across) < 0.16 + 0.02 * tall and 0.0 < y < cy:
            for k in range(3):
                out[k] = light[k] * (0.06, 0.045, 0.035)[k]
            return True
        return False
    leaf = noise.fractal(s * 2.6, y * 2.6, seed + 2) if z < 60.0 else 0.5
    tone = 0.35 + 0.75 * leaf + 0.35 * ((y - cy) / tall) + 0.25 * sun_side * across / wide
    hue = noise.lattice(cell, 6, seed)
    for k in range(3):
        green = ((0.07, 0.11, 0.03)[k]) * (1.0 - hue) + ((0.11, 0.13, 0.035)[k]) * hue
        out[k] = light[k] * green * max(tone, 0.12)
    return True


@numba.njit(cache=True, nogil=True, fastmath=True)
def _ray(dx, dy, dz, travelled, curve, lead, oncoming, tunnel0, tunnel1, sun, sun_colour, sky_colour, light, out):
    """The colour of one ray."""
    _sky(dx, dy, dz, sun, sun_colour, sky_colour, out)
    far = 1e9
    done = False
    # Cars first, they stand on the road.
    if lead < 120.0:
        bend = 0.5 * curve * lead * lead
        if abs(dx * lead / dz - bend) < 2.0 and _car(dx, dy, dz, bend, lead, True, (0.28, 0.03, 0.03), light, out):
            far, done = lead, True
    if not done and 0.0 < oncoming < 160.0:
        bend = 0.5 * curve * oncoming * oncoming - 2.0 * LANE
        if _car(dx, dy, dz, bend, oncoming, False, (0.12, 0.16, 0.24), light, out):
            far, done = oncoming, True
    if not done and dy < -0.004:
        t = EYE_HEIGHT / -dy
        z = t * dz
        x = t * dx - 0.5 * curve * z * z + LANE
        s = z + travelled
        far = z
        blur = 1.0 / (1.0 + 0.02 * z)
        grain = noise.fractal(x * 3.0, s * 0.9, 21) - 0.5
        if abs(x) < 4.1:
            grey = 0.085 + 0.05 * grain * blur + 0.012 * math.cos((abs(x) - LANE) * 4.0)
            for k in range(3):
                out[k] = light[k] * grey * (1.0, 1.0, 1.03)[k]
            soft = 0.02 + 0.0015 * z
            edge = noise.step(0.09 + soft, 0.06 - min(soft, 0.04), abs(abs(x) - 3.6))
            dash = noise.step(0.08 + soft, 0.05 - min(soft, 0.04), abs(x)) * (1.0 if s % 12.0 < 5.0 else 0.0)
            paint = max(edge, dash) * (0.75 + 0.4 * grain)
            for k in range(3):
                out[k] += paint * (light[k] * 0.62 - out[k])
            gap = abs(z - lead - 2.0)
            if gap < 2.4 and abs(t * dx - 0.5 * curve * lead * lead) < 0.95:
                for k in range(3):
                    out[k] *= 0.3
        else:
            verge = noise.fractal(x * 0.5, s * 0.2, 22)
            dry = noise.step(5.2, 4.1, abs(x))
            for k in range(3):
                green = (0.085, 0.115, 0.035)[k] * (0.6 + 0.8 * verge + 0.5 * grain * blur)
                out[k] = light[k] * (green * (1.0 - dry) + (0.16, 0.14, 0.11)[k] * (0.8 + 0.5 * grain) * dry)
        done = True
    # Hills behind everything.
    if not done or far > 900.0:
        azimuth = math.atan2(dx, dz) + curve * 120.0
        ridge = 0.012 + 0.055 * noise.fractal(azimuth * 5.0 + travelled * 0.00008 + 20.0, 0.5, 31)
        if dy < ridge:
            for k in range(3):
                out[k] = sky_colour[k] * (0.30, 0.42, 0.42)[k] * (0.8 + 0.3 * dy / ridge)
    if far < 1e8:  # haze
        haze = 1.0 - math.exp(-far / 420.0)
        for k in range(3):
            out[k] += haze * (sky_colour[k] * 0.95 - out[k])
    # Roadside: reflector posts and three rows of trees, the nearest that is hit wins.
    side = 1.0 if dx >= 0.0 else -1.0
    if abs(dx) > 1e-4:
        best = 1e9
        for row in range(4):
            plane = (4.8, 9.5, 15.0, 24.0)[row]
            z = dz * (side * plane - LANE) / dx
            last = z
            for _ in range(3):
                last = z
                z = dz / dx * (side * plane - LANE + 0.5 * curve * z * z)
            # In a bend a ray can graze the row far away; the iteration then finds no crossing.
            if z < 1.0 or z > 500.0 or z > best or abs(z - last) > 0.05 * z:
                continue
            y = EYE_HEIGHT + dy * z / dz
            if y < -0.05 or y > 13.0 or (done and z > far + 0.5):
                continue
            s = z + travelled
            if tunnel0 - 8.0 < s < tunnel1 + 8.0:
                continue
            hit = False
            if row == 0:
                if y < 1.0 and abs(s % 25.0 - 12.0) < 0.06 + 0.0006 * z:
                    hit = True
                    for k in range(3):
                        out[k] = light[k] * (0.05 if 0.65 < y < 0.85 else 0.6)
            else:
                hit = _tree(s, y, z, 5.0 + 1.5 * row, 40 + row + (10 if side > 0 else 0), light, side * sun[0], out)
            if hit:
                best = z
                haze = 1.0 - math.exp(-z / 420.0)
                for k in range(3):
                    out[k] += haze * (sky_colour[k] * 0.95 - out[k])
                break
    _tunnel(dx, dy, dz, travelled, curve, far if done else 1e9, tunnel0, tunnel1, light, sky_colour, out)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _tunnel(dx, dy, dz, travelled, curve, far, tunnel0, tunnel1, light, sky_colour, out):
    """Draw the portal from outside, or walls and ceiling with lamps from inside."""
    start, end = tunnel0 - travelled, tunnel1 - travelled
    if start > 400.0 or end < 0.0:
        return
    half, top = 6.0, 5.6
    if start > 1.0:
        x = dx * start / dz - 0.5 * curve * start * start + LANE
        y = EYE_HEIGHT + dy * start / dz
        if 0.0 < y < 9.0 and abs(x) < 17.0 and start < far + 1.0 and not (abs(x) < half and y < top):
            stone = 0.22 + 0.1 * noise.fractal(x * 0.8, y * 0.8, 61)
            if abs(abs(x) - half) < 0.5 or abs(y - top) < 0.5:
                stone *= 1.25
            for k in range(3):
                out[k] = light[k] * stone
            return
        if not (abs(x) < half and 0.0 < y < top):
            return
    # Walls and ceiling, whichever comes first.
    z = 1e9
    wall = 0.0
    if abs(dx) > 1e-5:
        side = half if dx > 0 else -half
        z = dz * (side - LANE) / dx
        for _ in range(2):
            z = dz / dx * (side - LANE + 0.5 * curve * z * z)
        if z < 0.0:
            z = 1e9
    if dy > 1e-5 and dz * (top - EYE_HEIGHT) / dy < z:
        z = dz * (top - EYE_HEIGHT) / dy
        wall = 1.0
    inside = max(start, 0.0)
    if z >= far - 0.5 and far < end:
        if far > inside:  # the road in the tunnel
            lamp = 0.10 + 0.12 * math.exp(-far / 60.0)
            for k in range(3):
                out[k] = out[k] / max(light[k], 0.05) * lamp * (1.0, 0.85, 0.6)[k]
        return
    if z < inside or z > end:
        return
    s = z + travelled
    x = dx * z / dz - 0.5 * curve * z * z + LANE
    y = EYE_HEIGHT + dy * z / dz
    lamp = 0.0
    if wall > 0.5 and abs(abs(x) - 2.2) < 0.2 and s % 8.0 < 2.5:
        lamp = 1.0
    tone = 0.5 + 0.35 * noise.fractal(s * 0.5, y * 0.9 + x, 62)
    near_lamp = 0.10 + 0.10 * math.exp(-(((s % 8.0) - 1.25) ** 2) / 4.0)
    tiles = 1.25 if (wall < 0.5 and y < 2.4) else 0.7
    for k in range(3):
        warm = (1.0, 0.82, 0.55)[k]
        out[k] = warm * (
            tone * tiles * near_lamp * math.exp(-z / 160.0) * 0.9 + 1.3 * lamp * math.exp(-z / 90.0) + 0.012
        )


@numba.njit(cache=True, nogil=True, fastmath=True)
def _panorama(travelled, curve, pitch, lead, oncoming, tunnel0, tunnel1, sun, sun_colour, sky_colour, picture):
    height, width = picture.shape[0], picture.shape[1]
    out = np.empty(3)
    light = np.empty(3)
    for k in range(3):
        light[k] = sky_colour[k] * 0.9 + sun_colour[k] * 0.45 * max(sun[1], 0.0)
    for row in range(height):
        elevation = math.radians(TOP_DEG - (row + 0.5) / PER_DEGREE) - pitch
        dy = math.tan(elevation)
        for column in range(width):
            # Only the scene camera sees the sides, small and out of focus: a quarter of the rays will do.
            if abs(column - width // 2) >= SHARP and (row & 1 or column & 1):
                for k in range(3):
                    picture[row, column, k] = picture[row & ~1, column & ~1, k]
                continue
            azimuth = math.radians((column + 0.5 - 0.5 * width) / PER_DEGREE)
            dx, dz = math.sin(azimuth), math.cos(azimuth)
            scale = 1.0 / math.sqrt(1.0 + dy * dy)
            _ray(
                dx * scale, dy * scale, dz * scale, travelled, curve, lead, oncoming, tunnel0, tunnel1, sun,
                sun_colour, sky_colour, light, out,
            )  # fmt: skip
            for k in range(3):
                picture[row, column, k] = out[k]


def panorama(stretch: Stretch) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) float32 linear RGB: azimuth runs along the columns, elevation down the rows,
    :data:`PER_DEGREE` pixels a degree."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.float32)
    _panorama(
        stretch.travelled, stretch.curve, math.radians(stretch.pitch_deg), stretch.lead, stretch.oncoming,
        *stretch.tunnel, stretch.sun, stretch.sun_colour, stretch.sky_colour, picture,
    )  # fmt: skip
    return picture
