"""Heads: a person's proportions and colours, and the surfaces built from them.

The head is one smooth signed distance field (spheres, ellipsoids and capsules blended with polynomial smooth
minima; Quilez, "Distance functions") in head coordinates, millimetres, origin between the eyeball centres. It is
sampled once per person on a grid of directions that is densest on the face; the eye openings are not in the mesh
but cut per pixel (:mod:`training.sample.rendering.eyes`), so lids move without a new mesh.
"""

import math
from dataclasses import dataclass, fields

import cv2
import numba
import numpy as np

from training.sample.rendering import noise

SKIN, HAIR, CLOTH = 0, 1, 2

COLUMNS, ROWS = 220, 170  # of the skin's grid at full fineness
TEXTURE = 4  # texels per grid cell and side
CENTRE = np.array([0.0, -25.0, -58.0])  # rays that sample the head start here
NECK = np.array([0.0, -95.0, -85.0])  # the head turns about this point

# Anthropometric means (mm) and how far a random person departs from them (standard deviation).
_SHAPE = {
    "width": (1.0, 0.035),  # of the whole head
    "length": (1.0, 0.03),  # of the face below the eyes
    "jaw": (1.0, 0.08),
    "chin": (0.0, 3.0),
    "cheek": (0.0, 2.0),
    "brow": (0.0, 1.5),
    "nose_length": (0.0, 2.5),
    "nose_width": (0.0, 1.6),
    "nose_height": (0.0, 2.5),
    "lips": (1.0, 0.2),
    "mouth": (0.0, 2.0),
    "eye_apart": (31.5, 1.3),  # half the distance between the eyeball centres
    "eye_half_width": (14.6, 0.5),
    "lid_upper": (4.5, 0.4),  # height of the upper lid above the eyeball centre, looking straight ahead
    "lid_lower": (5.7, 0.3),
    "slant": (1.0, 0.8),  # outer corner above inner corner
    "iris": (5.9, 0.15),
    "brow_height": (19.0, 1.5),
    "brow_thick": (3.6, 0.9),
}

_SKINS = ((0.62, 0.38, 0.28), (0.55, 0.33, 0.24), (0.45, 0.27, 0.19), (0.36, 0.20, 0.13), (0.22, 0.12, 0.08),
          (0.66, 0.44, 0.35))  # fmt: skip
_IRISES = ((0.07, 0.035, 0.018), (0.12, 0.06, 0.028), (0.09, 0.15, 0.22), (0.08, 0.13, 0.085), (0.12, 0.105, 0.055),
           (0.13, 0.165, 0.19))  # fmt: skip
_HAIRS = ((0.012, 0.010, 0.009), (0.045, 0.025, 0.014), (0.10, 0.055, 0.028), (0.30, 0.19, 0.09),
          (0.22, 0.21, 0.20), (0.16, 0.06, 0.025))  # fmt: skip
STYLES = ("short", "crop", "receding", "covered ears", "long")


@dataclass(frozen=True)
class Person:
    """Proportions (mm or ratios, :data:`_SHAPE`) and colours (linear RGB) of one head."""

    width: float
    length: float
    jaw: float
    chin: float
    cheek: float
    brow: float
    nose_length: float
    nose_width: float
    nose_height: float
    lips: float
    mouth: float
    eye_apart: float
    eye_half_width: float
    lid_upper: float
    lid_lower: float
    slant: float
    iris: float
    brow_height: float
    brow_thick: float
    skin_colour: tuple[float, float, float]
    iris_colour: tuple[float, float, float]
    hair_colour: tuple[float, float, float]
    cloth_colour: tuple[float, float, float]
    style: str
    beard: float
    """0 = shaven, 1 = full."""
    glasses: float
    """Rim thickness in mm; 0 = none."""
    seed: int

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"Person: style is {self.style!r}, not one of {', '.join(STYLES)}")

    def proportions(self) -> np.ndarray:
        """The numbers of :data:`_SHAPE`, in its order, for the compiled functions."""
        return np.array([getattr(self, name) for name in _SHAPE])


def random_person(seed: int) -> Person:
    """The person of that seed; proportions are cut off at two standard deviations."""
    rng = np.random.default_rng([seed, 7])
    shape = {name: mean + spread * float(np.clip(rng.normal(), -2, 2)) for name, (mean, spread) in _SHAPE.items()}
    skin = np.array(_SKINS[rng.integers(len(_SKINS))]) * rng.uniform(0.9, 1.1)
    dark = skin[0] < 0.4
    hair = _HAIRS[rng.integers(2 if dark else len(_HAIRS))]
    iris = _IRISES[rng.integers(2 if dark else len(_IRISES))]
    colours = {"skin_colour": skin, "hair_colour": np.array(hair) * rng.uniform(0.8, 1.2)}
    colours["iris_colour"] = np.array(iris) * rng.uniform(0.8, 1.2)
    colours["cloth_colour"] = rng.uniform(0.03, 0.4, 3)
    style = STYLES[rng.choice(len(STYLES), p=[0.3, 0.15, 0.15, 0.2, 0.2])]
    return Person(
        **shape,
        **{name: tuple(float(x) for x in colour) for name, colour in colours.items()},
        style=style,
        beard=float(rng.choice([0.0, 0.0, 0.35, 0.8])) if style not in ("covered ears", "long") else 0.0,
        glasses=float(rng.choice([0.0, 0.0, 0.0, 1.2, 2.2])),
        seed=seed,
    )


@dataclass(frozen=True)
class Surface:
    """A triangle mesh with what shading needs. ``positions`` and ``normals`` (n, 3), ``occlusion`` (n,) in [0, 1]
    (1 = open), ``uv`` (n, 2) texel coordinates, ``triangles`` (m, 3), ``material`` (m,), ``fixed`` (n,) from 0 where a
    vertex turns with the head to 1 where it stays with the trunk; the neck lies between."""

    positions: np.ndarray
    normals: np.ndarray
    occlusion: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    material: np.ndarray
    fixed: np.ndarray


@dataclass(frozen=True)
class Head:
    """A person with the surface and the skin ``texture`` (h, w, 3) float32 linear RGB built for them."""

    person: Person
    surface: Surface
    texture: np.ndarray


assert set(_SHAPE) <= {field.name for field in fields(Person)}


# --- the signed distance field ---------------------------------------------------------------------------------
@numba.njit(cache=True, nogil=True)
def _join(a: float, b: float, k: float) -> float:
    h = max(k - abs(a - b), 0.0)
    return min(a, b) - h * h * 0.25 / k


@numba.njit(cache=True, nogil=True)
def _carve(a: float, b: float, k: float) -> float:
    return -_join(-a, b, k)


@numba.njit(cache=True, nogil=True)
def _ball(x: float, y: float, z: float, cx: float, cy: float, cz: float, r: float) -> float:
    return math.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) - r


@numba.njit(cache=True, nogil=True)
def _egg(x: float, y: float, z: float, cx: float, cy: float, cz: float, rx: float, ry: float, rz: float) -> float:
    """Ellipsoid; the usual first-order distance."""
    px, py, pz = x - cx, y - cy, z - cz
    k0 = math.sqrt((px / rx) ** 2 + (py / ry) ** 2 + (pz / rz) ** 2)
    k1 = math.sqrt((px / rx**2) ** 2 + (py / ry**2) ** 2 + (pz / rz**2) ** 2)
    return k0 * (k0 - 1.0) / max(k1, 1e-9)


@numba.njit(cache=True, nogil=True)
def _rod(
    x: float, y: float, z: float, ax: float, ay: float, az: float, bx: float, by: float, bz: float, ra: float, rb: float
) -> float:
    """Capsule from a to b whose radius goes from ``ra`` to ``rb``."""
    dx, dy, dz = bx - ax, by - ay, bz - az
    t = ((x - ax) * dx + (y - ay) * dy + (z - az) * dz) / (dx * dx + dy * dy + dz * dz)
    t = min(max(t, 0.0), 1.0)
    return _ball(x, y, z, ax + t * dx, ay + t * dy, az + t * dz, ra + t * (rb - ra))


@numba.njit(cache=True, nogil=True)
def distance(x: float, y: float, z: float, s: np.ndarray) -> float:
    """Signed distance (mm, approximate) from a point in head coordinates to the skin; ``s`` = proportions.

    The face is mirror-symmetric, so only the right half is described.
    """
    x = abs(x) / s[0]
    if y < 0.0:
        y = y / s[1]
    eye = s[11]
    # skull, midface, jaw
    d = _egg(x, y, z, 0.0, 32.0, -80.0, 74.0, 90.0, 98.0)
    d = _join(d, _egg(x, y, z, 0.0, -36.0, -44.0, 58.0 * (0.6 + 0.4 * s[2]), 76.0, 57.0), 30.0)
    d = _join(d, _egg(x, y, z, 0.0, 44.0, -52.0, 65.0, 50.0, 69.0), 26.0)
    jaw = 47.0 * s[2]
    d = _join(d, _rod(x, y, z, 10.0, -97.0, -6.0, jaw, -66.0, -62.0, 14.0, 12.0), 34.0)
    d = _join(d, _egg(x, y, z, 0.0, -98.0 - 0.3 * s[3], -7.0 + s[3], 19.0, 15.0, 18.0), 20.0)
    d = _join(d, _ball(x, y, z, 41.0, -25.0, -15.0, 20.0 + s[4]), 26.0)
    d = _join(d, _ball(x, y, z, 29.0, -48.0, -13.0, 17.0 + s[4]), 30.0)
    # brow, socket, lids over the eyeball
    d = _join(d, _rod(x, y, z, 9.0, 19.0, 11.0, 45.0, 17.0, -8.0, 7.0 + s[5], 6.0 + s[5]), 14.0)
    d = _carve(d, _egg(x, y, z, eye + 1.0, -1.0, 21.0, 19.0, 13.5, 13.0), 12.0)
    d = _carve(d, _ball(x, y, z, 17.0, 1.0, 21.0, 7.0), 10.0)
    d = _join(d, _ball(x, y, z, eye, 0.0, 0.0, 14.0), 3.0)
    # mouth
    d = _join(d, _egg(x, y, z, 0.0, -70.0, -3.0, 27.0, 22.0, 19.0), 20.0)
    mouth = 23.0 + s[10]
    d = _join(d, _rod(x, y, z, 0.0, -66.5, 15.6, mouth, -71.5, 6.0, 3.8 * s[9], 1.8), 3.0)
    d = _join(d, _rod(x, y, z, 0.0, -77.0, 13.8, mouth - 3.0, -73.0, 6.0, 5.0 * s[9], 2.2), 4.0)
    d = _carve(d, _rod(x, y, z, 0.0, -52.0, 23.0, 0.0, -61.0, 22.5, 2.0, 2.4), 4.5)
    d = _carve(d, _egg(x, y, z, 0.0, -86.0, 20.0, 16.0, 4.0, 6.0), 9.0)
    # nose
    tip_y, tip_z = -37.0 - s[6], 29.0 + s[8]
    d = _join(d, _rod(x, y, z, 0.0, 8.0, 11.0, 0.0, tip_y + 4.0, tip_z - 3.0, 6.0, 7.0 + 0.3 * s[7]), 12.0)
    d = _join(d, _ball(x, y, z, 0.0, tip_y, tip_z, 9.0 + 0.3 * s[7]), 5.0)
    d = _join(d, _egg(x, y, z, 12.0 + s[7], tip_y - 5.0, tip_z - 13.0, 6.5, 6.5, 9.5), 9.0)
    d = _carve(d, _egg(x, y, z, 7.0 + 0.6 * s[7], tip_y - 12.5, tip_z - 7.5, 3.4, 4.5, 5.0), 3.0)
    # ear: a flap with a hollow
    ear = _egg(x - 0.35 * (-(z + 84.0)), y, z, 76.0, -10.0 + 0.1 * (z + 84.0), -86.0, 6.0, 32.0, 19.0)
    ear = _carve(ear, _egg(x, y, z, 86.0, -8.0, -82.0, 8.0, 20.0, 10.0), 5.0)
    d = _join(d, ear, 5.0)
    return d


@numba.njit(cache=True, nogil=True)
def _skull(x: float, y: float, z: float, s: np.ndarray) -> float:
    """The head without ears and features: what hair lies on."""
    x = abs(x) / s[0]
    d = _egg(x, y, z, 0.0, 32.0, -80.0, 74.0, 90.0, 98.0)
    d = _join(d, _egg(x, y, z, 0.0, 44.0, -52.0, 65.0, 50.0, 69.0), 26.0)
    return _join(d, _egg(x, y, z, 0.0, -36.0, -58.0, 60.0, 76.0, 57.0), 30.0)


@numba.njit(cache=True, nogil=True)
def _sample(directions: np.ndarray, centre: np.ndarray, s: np.ndarray, skull: bool):
    """Walk each ray in from outside to the first surface → positions, normals, occlusion."""
    n = directions.shape[0]
    positions = np.empty((n, 3))
    normals = np.empty((n, 3))
    occlusion = np.empty(n)
    for i in range(n):
        dx, dy, dz = directions[i, 0], directions[i, 1], directions[i, 2]
        r = 190.0
        for _ in range(60):
            px, py, pz = centre[0] + r * dx, centre[1] + r * dy, centre[2] + r * dz
            d = _skull(px, py, pz, s) if skull else distance(px, py, pz, s)
            r -= 0.75 * d
            if abs(d) < 0.02:
                break
        px, py, pz = centre[0] + r * dx, centre[1] + r * dy, centre[2] + r * dz
        e = 0.6
        if skull:
            gx = _skull(px + e, py, pz, s) - _skull(px - e, py, pz, s)
            gy = _skull(px, py + e, pz, s) - _skull(px, py - e, pz, s)
            gz = _skull(px, py, pz + e, s) - _skull(px, py, pz - e, s)
        else:
            gx = distance(px + e, py, pz, s) - distance(px - e, py, pz, s)
            gy = distance(px, py + e, pz, s) - distance(px, py - e, pz, s)
            gz = distance(px, py, pz + e, s) - distance(px, py, pz - e, s)
        length = max(math.sqrt(gx * gx + gy * gy + gz * gz), 1e-9)
        gx, gy, gz = gx / length, gy / length, gz / length
        closed = 0.0
        weight = 1.0
        for k in range(5):
            h = 1.5 + 4.0 * k
            d = distance(px + h * gx, py + h * gy, pz + h * gz, s)
            closed += weight * max(h - d, 0.0) / h
            weight *= 0.75
        positions[i, 0], positions[i, 1], positions[i, 2] = px, py, pz
        normals[i, 0], normals[i, 1], normals[i, 2] = gx, gy, gz
        occlusion[i] = max(0.0, 1.0 - 0.36 * closed)
    return positions, normals, occlusion


# --- the grids --------------------------------------------------------------------------------------------------
def _directions(rows: int, columns: int) -> np.ndarray:
    """(rows, columns, 3) unit vectors from pole to pole, densest towards the face; the last column closes the seam."""
    u = np.linspace(-np.pi, np.pi, columns)
    azimuth = u - 0.62 * np.sin(u)
    v = np.linspace(0.0, 1.0, rows)
    polar = np.pi * (v + 0.045 * np.sin(2 * np.pi * v))  # closer rows at mid-height
    polar, azimuth = np.meshgrid(polar, azimuth, indexing="ij")
    return np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], axis=-1)


def _grid_triangles(rows: int, columns: int) -> np.ndarray:
    """Two triangles per cell of a (rows, columns) grid, wound so that the outside faces the camera."""
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]).astype(
        np.int32
    )


def _grid_normals(positions: np.ndarray) -> np.ndarray:
    """Outward normals of a (rows, columns, 3) grid from its differences."""
    down = np.gradient(positions, axis=0)
    across = np.gradient(positions, axis=1)
    normals = np.cross(across, down)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    outward = np.sum(normals * (positions - positions.mean(axis=(0, 1))), axis=-1, keepdims=True)
    return np.where(np.median(outward) < 0, -normals, normals)


def _smooth(low: float, high: float, x: np.ndarray) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _hair_line(person: Person, around_deg: np.ndarray) -> np.ndarray:
    """Height (mm) above which hair grows, by the angle around the head (0 = forehead, 180 = back)."""
    knots = {
        "short": ([0, 30, 48, 60, 70, 80, 88, 104, 118, 180], [56, 57, 46, 20, -8, -22, 14, 10, -62, -84]),
        "crop": ([0, 30, 48, 60, 70, 80, 88, 104, 118, 180], [58, 58, 47, 28, 4, -6, 16, 12, -55, -78]),
        "receding": ([0, 25, 45, 60, 70, 80, 88, 104, 118, 180], [72, 80, 72, 34, 0, -16, 14, 10, -62, -84]),
        "covered ears": ([0, 25, 42, 52, 62, 72, 90, 180], [50, 52, 44, 12, -30, -58, -72, -95]),
        "long": ([0, 22, 38, 48, 56, 66, 90, 180], [54, 56, 44, 6, -60, -130, -170, -190]),
    }[person.style]
    return np.interp(around_deg, *knots)


_THICKNESS = {"short": 20.0, "crop": 9.0, "receding": 7.0, "covered ears": 20.0, "long": 22.0}


def _hair_grid(person: Person, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns, 3) positions and normals of the hair; outside the hair line it dives under the skin."""
    directions = _directions(rows, columns)
    flat = directions.reshape(-1, 3)
    skull, _, _ = _sample(flat, CENTRE, person.proportions(), True)
    skull = skull.reshape(rows, columns, 3)
    around = np.degrees(np.arctan2(np.abs(skull[..., 0]), skull[..., 2] + 62.0))
    lock = noise.field(around * 0.25, skull[..., 1] * 0.05, person.seed + 5)
    above = skull[..., 1] - _hair_line(person, around) + 7.0 * (lock - 0.5)
    full = _smooth(-1.0, 16.0, above)
    parting = 0.75 + 0.5 * noise.field(skull[..., 0] * 0.03 + 7.0, skull[..., 2] * 0.03, person.seed + 6)
    crown = 1.0 + 0.5 * _smooth(40.0, 120.0, skull[..., 1])
    strand = noise.field(np.linspace(0, 90, columns)[None, :].repeat(rows, 0), skull[..., 1] * 0.02, person.seed + 9)
    thick = _THICKNESS[person.style] * full * parting * crown + 2.5 * (strand - 0.5) * full - 7.0 * (1.0 - full)
    positions = skull + directions * thick[..., None]
    return positions, _grid_normals(positions)


def _trunk_grid(person: Person) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neck and shoulders: (rows, columns, 3) positions, normals, and (rows, columns) True where there is cloth."""
    around = np.linspace(-np.pi, np.pi, 72)
    # The rows follow the collar, so that its edge is a line of the mesh and not a staircase of triangles.
    collar = -162.0 + 14.0 * np.cos(around * 2) - 14.0 * _smooth(0.5, 0.0, np.abs(around))
    neck, shirt = np.linspace(0.0, 1.0, 28)[:, None], np.linspace(0.0, 1.0, 41)[:, None]
    height = np.concatenate([-62.0 + (collar + 62.0) * neck, collar + (-420.0 - collar) * shirt])
    down = _smooth(-135.0, -232.0, height)
    half_width = 53.0 * person.width + 158.0 * down**1.3 + 0.02 * (-165 - height).clip(0)
    half_depth = 56.0 + 44.0 * _smooth(-150.0, -300.0, height)
    cloth = np.repeat([False, True], [len(neck), len(shirt)])[:, None].repeat(len(around), axis=1)
    half_width, half_depth = half_width + 3.0 * cloth, half_depth + 3.0 * cloth  # cloth lies on the skin
    x = half_width * np.sin(around)
    z = -78.0 - 14.0 * down + half_depth * np.cos(around) * (1.0 - 0.25 * down * np.abs(np.sin(around)) ** 3)
    # The neck leans forward towards the head.
    z += 10.0 * _smooth(-165.0, -90.0, height)
    z += 4.0 * np.exp(-((around / 0.28) ** 2)) * np.exp(-(((height + 128) / 14) ** 2))  # throat
    y = height - 8.0 * np.cos(around) * (1 - down)
    positions = np.stack([x, y, z], axis=-1)
    return positions, _grid_normals(positions), cloth


def _skin_texture(person: Person, positions: np.ndarray) -> np.ndarray:
    """(h, w, 3) linear RGB of the skin at texel positions (h, w, 3): blush, lips, brows, beard, pores."""
    x, y, z = np.abs(positions[..., 0]), positions[..., 1], positions[..., 2]
    signed = positions[..., 0]
    below = np.where(y < 0, y / person.length, y)
    front = _smooth(-45.0, -5.0, z)
    colour = np.ones((*x.shape, 3)) * np.array(person.skin_colour)
    mottle = noise.field(signed * 0.09 + 40, y * 0.09 + z * 0.05, person.seed)[..., None]
    colour *= 0.90 + 0.2 * mottle
    pores = noise.field(signed * 1.3 + 90, y * 1.3 + z, person.seed + 1)[..., None]
    colour *= 0.955 + 0.09 * pores
    red = np.array([1.06, 0.80, 0.78])
    blush = np.exp(-(((x - 42) / 17) ** 2) - ((below + 36) / 17) ** 2) * 0.55
    blush = blush + np.exp(-((x / 13) ** 2) - ((below + 40) / 12) ** 2) * 0.6 * front
    blush = blush + _smooth(70.0, 80.0, x) * 0.7
    colour *= 1 + (red - 1) * np.clip(blush, 0, 1)[..., None]
    # Thin skin of the sockets is darker and cooler.
    socket = np.exp(-(((x - person.eye_apart) / 17) ** 2) - ((y + 3) / 12) ** 2) * front
    colour *= 1 + (np.array([0.80, 0.73, 0.75]) - 1) * 0.75 * socket[..., None]
    # Lips: Cupid's bow above, one bow below.
    mouth = 24.5 + person.mouth
    along = np.clip(x / mouth, 0, 1)
    top = -71.8 + person.lips * 7.6 * (1 - along**1.7) - 1.5 * np.exp(-((x / 3.0) ** 2))
    bottom = -72.4 - person.lips * 8.8 * (1 - along**2.2)
    lip = _smooth(-0.8, 0.8, top - below) * _smooth(-0.8, 0.8, below - bottom) * (x < mouth) * front
    wrinkle = 0.88 + 0.24 * noise.field(signed * 0.9, below * 0.12, person.seed + 2)
    lips = np.array(person.skin_colour) * np.array([0.93, 0.68, 0.68])
    colour = colour * (1 - lip[..., None]) + (lips * wrinkle[..., None]) * lip[..., None]
    seam = np.exp(-(((below + 71.9 + 0.6 * along) / 0.8) ** 2)) * (x < mouth + 1) * front
    colour *= 1 - 0.75 * seam[..., None]
    # Brows: hairs that lean outwards.
    arch = person.brow_height + 2.8 * np.sin(np.clip((x - 12) / 34, 0, 1) * np.pi * 0.85) - 0.10 * (x - 30).clip(0)
    taper = _smooth(11.0, 17.0, x) * _smooth(55.0, 38.0, x)
    inside = np.exp(-(((y - arch) / (person.brow_thick * (0.55 + 0.45 * taper))) ** 2)) * taper * front
    hairs = noise.field((x - 0.5 * (y - arch)) * 1.5, y * 0.35, person.seed + 3)
    brow = np.clip(inside * (0.35 + 1.25 * hairs), 0, 0.94)[..., None]
    colour = colour * (1 - brow) + np.array(person.hair_colour) * 0.7 * brow
    # Beard: cheeks below the mouth corners, upper lip, chin.
    if person.beard > 0:
        grows = _smooth(-42.0, -66.0, below - 0.45 * (x - 20).clip(0)) * _smooth(-80.0, -60.0, z)
        grows = np.maximum(grows, np.exp(-(((below + 59) / 5.5) ** 2)) * _smooth(30.0, 22.0, x) * front)
        grows *= (1 - lip) * (1 - np.exp(-((x / 9) ** 2) - ((below + 84) / 4) ** 2) * 0.5)
        stubble = noise.field(signed * 1.7, y * 0.8 + z * 0.5, person.seed + 4)
        beard = np.clip(grows * person.beard * (0.35 + 1.1 * stubble), 0, 0.92)[..., None]
        colour = colour * (1 - beard) + np.array(person.hair_colour) * 0.9 * beard
    return colour.astype(np.float32)


def build(person: Person, fineness: float = 1.0) -> Head:
    """Sample the surfaces of ``person``: skin, hair, neck and shoulders as one mesh, and the skin texture.

    ``fineness`` scales the number of grid rows and columns; small pictures need fewer triangles.
    """
    rows, columns = round(ROWS * fineness), round(COLUMNS * fineness)
    directions = _directions(rows, columns)
    positions, normals, occlusion = _sample(directions.reshape(-1, 3), CENTRE, person.proportions(), False)
    size = (columns * TEXTURE, rows * TEXTURE)
    # Corner-aligned enlargement: texel (TEXTURE·column, TEXTURE·row) is the vertex itself.
    across, down = np.meshgrid(np.arange(size[0]) / TEXTURE, np.arange(size[1]) / TEXTURE)
    texels = cv2.remap(
        positions.reshape(rows, columns, 3).astype(np.float32), across.astype(np.float32), down.astype(np.float32),
        cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    texture = _skin_texture(person, texels.astype(np.float64))
    grid_v, grid_u = np.meshgrid(np.arange(rows) * TEXTURE, np.arange(columns) * TEXTURE, indexing="ij")
    uv = np.stack([grid_u, grid_v], -1).reshape(-1, 2)

    hair_rows, hair_columns = round(110 * fineness), round(180 * fineness)
    hair, hair_normals = _hair_grid(person, hair_rows, hair_columns)
    hair_v, hair_u = np.meshgrid(np.arange(hair_rows), np.arange(hair_columns), indexing="ij")
    hair_uv = np.stack([hair_u, hair_v], -1).reshape(-1, 2) / fineness
    trunk, trunk_normals, cloth = _trunk_grid(person)

    pieces = [
        (positions, normals, occlusion, uv, _grid_triangles(rows, columns), SKIN, np.zeros(len(positions))),
        (hair.reshape(-1, 3), hair_normals.reshape(-1, 3), np.ones(hair[..., 0].size),
         hair_uv, _grid_triangles(hair_rows, hair_columns), HAIR, np.zeros(hair[..., 0].size)),
    ]  # fmt: skip
    trunk_triangles = _grid_triangles(*trunk.shape[:2])
    flat = trunk.reshape(-1, 3)
    fixed = _smooth(-95.0, -175.0, flat[:, 1])
    shade = 0.35 + 0.65 * _smooth(-105.0, -185.0, flat[:, 1])  # the chin shades the throat
    pieces.append(
        (
            flat,
            trunk_normals.reshape(-1, 3),
            shade,
            np.column_stack([-1.0 - np.abs(flat[:, 0]), flat[:, 1]]),
            trunk_triangles,
            CLOTH,
            fixed,
        )
    )
    surface = _assemble(pieces)
    clothed = cloth.reshape(-1)[trunk_triangles].mean(axis=1) > 0.2
    material = surface.material.copy()
    material[-len(trunk_triangles) :] = np.where(clothed, CLOTH, SKIN)
    # Neck skin has no texture: its u is negative.
    return Head(person, _with_material(surface, material), texture)


def _assemble(pieces: list) -> Surface:
    offset, triangles, materials = 0, [], []
    for positions, _, _, _, mesh, material, _ in pieces:
        triangles.append(mesh + offset)
        materials.append(np.full(len(mesh), material, dtype=np.int32))
        offset += len(positions)
    return Surface(
        positions=np.concatenate([piece[0] for piece in pieces]),
        normals=np.concatenate([piece[1] for piece in pieces]),
        occlusion=np.concatenate([piece[2] for piece in pieces]).astype(np.float32),
        uv=np.concatenate([piece[3] for piece in pieces]).astype(np.float32),
        triangles=np.concatenate(triangles).astype(np.int32),
        material=np.concatenate(materials),
        fixed=np.concatenate([piece[6] for piece in pieces]),
    )


def _with_material(surface: Surface, material: np.ndarray) -> Surface:
    return Surface(**{**vars(surface), "material": material})
