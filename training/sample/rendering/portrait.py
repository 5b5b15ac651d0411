"""A picture of a head: pose, light, z-buffer, shading per sample, development."""

import math
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from training.sample.rendering import eyes, noise, raster
from training.sample.rendering.camera import Camera, rotation
from training.sample.rendering.head import CLOTH, HAIR, NECK, Head

SHADOW = 256  # texels of the shadow map's side
SHADOW_MM = 420.0  # what its side covers
_LIFTED = 1000.0  # mm towards the sun: the z-buffer's nearness has to be positive
SAMPLES = 2  # samples per pixel and side


@dataclass(frozen=True)
class Pose:
    """Where the head points (degrees, world frame), how far it moved (mm), how far the lids are closed (0…1)."""

    azimuth_deg: float = 0.0
    elevation_deg: float = 0.0
    roll_deg: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    closed: float = 0.0

    def matrix(self) -> np.ndarray:
        """3×3, head coordinates → world coordinates."""
        return rotation(self.azimuth_deg, self.elevation_deg, self.roll_deg)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Head coordinates (…, 3), mm → world coordinates."""
        return (points - NECK) @ self.matrix().T + NECK + np.array(self.shift)


@dataclass(frozen=True)
class Light:
    """One directional light (``sun``, a world direction towards it), hemisphere light from above and below, a soft
    ``fill`` direction, and what shiny things reflect (rows of :func:`training.sample.rendering.eyes.reflection`).
    ``windows`` True lets the sun in through the windscreen and the driver's window only. Colours are linear RGB."""

    sun: np.ndarray
    sun_colour: np.ndarray
    above: np.ndarray
    below: np.ndarray
    fill: np.ndarray
    fill_colour: np.ndarray
    reflected: np.ndarray
    windows: bool
    pupil: float = 2.2
    """Pupil radius, mm."""


@numba.njit(cache=True, nogil=True, fastmath=True)
def sunlit(x: float, y: float, z: float, sun: np.ndarray) -> float:
    """Share of the sun that reaches a point of the cabin through the windscreen or the driver's window."""
    light = 0.0
    if sun[2] > 0.05:
        t = (700.0 - z) / sun[2]
        wx, wy = x + t * sun[0], y + t * sun[1]
        light = noise.step(-340.0, -310.0, wx) * noise.step(1100.0, 1070.0, wx)
        light *= noise.step(-180.0, -150.0, wy) * noise.step(330.0, 285.0, wy)
    if sun[0] < -0.05:
        t = (-430.0 - x) / sun[0]
        wy, wz = y + t * sun[1], z + t * sun[2]
        side = noise.step(-230.0, -205.0, wy) * noise.step(250.0, 215.0, wy)
        side *= noise.step(-330.0, -300.0, wz) * noise.step(520.0, 480.0, wz)
        light = max(light, side)
    return light


@numba.njit(cache=True, nogil=True, fastmath=True)
def _unit(v: np.ndarray) -> None:
    length = 1.0 / math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + 1e-18)
    v[0] *= length
    v[1] *= length
    v[2] *= length


@numba.njit(cache=True, nogil=True, fastmath=True)
def _shadow(x: float, y: float, z: float, frame: np.ndarray, map_: np.ndarray, bias: float) -> float:
    """Share of the sun that the head itself lets through, four taps; ``frame`` rows are the map's axes."""
    size = map_.shape[0]
    scale = size / SHADOW_MM
    px = (frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z) * scale + frame[3, 0]
    py = (frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z) * scale + frame[3, 1]
    near = _LIFTED + frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z
    x0, y0 = math.floor(px), math.floor(py)
    if x0 < 1 or y0 < 1 or x0 >= size - 2 or y0 >= size - 2:
        return 1.0
    fx, fy = px - x0, py - y0
    light = 0.0
    for j in range(-1, 3):
        for i in range(-1, 3):
            wx = (1.0 - fx) if i == -1 else (fx if i == 2 else 1.0)
            wy = (1.0 - fy) if j == -1 else (fy if j == 2 else 1.0)
            if map_[y0 + j, x0 + i] < near + bias:
                light += wx * wy
    return light / 9.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _skin(u, v, texture, plain, albedo):
    """Fill ``albedo`` from the skin texture, bilinear; ``plain`` where there is none (u < 0)."""
    if u < 0.0:
        for k in range(3):
            albedo[k] = plain[k] * 0.92
        return
    i, j = min(max(int(u), 0), texture.shape[1] - 2), min(max(int(v), 0), texture.shape[0] - 2)
    fu, fv = u - i, v - j
    for k in range(3):
        upper = texture[j, i, k] * (1 - fu) + texture[j, i + 1, k] * fu
        lower = texture[j + 1, i, k] * (1 - fu) + texture[j + 1, i + 1, k] * fu
        albedo[k] = upper * (1 - fv) + lower * fv


@numba.njit(cache=True, nogil=True, fastmath=True)
def _hair(u, v, colour, seed, albedo):
    """Fill ``albedo`` with a strand of hair and return how far it stands out, 0…1."""
    strand = noise.value(u * 5.0, v * 0.22, seed) * 0.6 + noise.value(u * 14.0, v * 0.5, seed + 1) * 0.4
    for k in range(3):
        albedo[k] = colour[k] * (0.35 + 1.35 * strand)
    return strand


@numba.njit(cache=True, nogil=True, fastmath=True)
def _lids(over, under, along, albedo):
    """Lashes, crease and wet rim on the skin beside the opening: ``over`` and ``under`` (mm) say how far outside the
    sample lies, ``along`` how far from the middle (1 = corner). Returns the dark of the lashes and a factor on the
    open sky."""
    thin = noise.step(1.12, 0.9, along)
    if over >= 0.0:
        crease = math.exp(-(((over - 3.6 - 1.2 * (1.0 - along)) / 0.75) ** 2))
        return thin * 0.92 * noise.step(1.15, 0.35, over), 1.0 - 0.42 * crease * thin
    rim = thin * noise.step(1.0, 0.4, under)
    albedo[1] *= 1.0 - 0.22 * rim
    albedo[2] *= 1.0 - 0.20 * rim
    return thin * 0.45 * noise.step(0.9, 0.2, abs(under - 0.55)), 1.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _eyeball(ex, ey, ez, side, ray, gaze, pose, eye, iris_colour, reflected, seed, albedo, normal, seen, room):
    """Trace the eye behind the sample at (ex, ey, ez) in eye coordinates; fills ``albedo``, the world ``normal`` and
    what is ``seen`` in it. ``side`` is +1 for the right eye; ``room`` (5, 3) is scratch space."""
    origin, local_ray, local_gaze, diffuse, gloss = room[0], room[1], room[2], room[3], room[4]
    for k in range(3):
        local_ray[k] = pose[0, k] * ray[0] + pose[1, k] * ray[1] + pose[2, k] * ray[2]
        local_gaze[k] = gaze[k]
    local_ray[0] *= side
    local_gaze[0] *= side
    origin[0], origin[1], origin[2] = ex, ey, ez
    eyes.trace(origin, local_ray, local_gaze, eye[5], eye[7], iris_colour, seed, albedo, diffuse, gloss)
    diffuse[0] *= side
    gloss[0] *= side
    for k in range(3):
        normal[k] = pose[k, 0] * diffuse[0] + pose[k, 1] * diffuse[1] + pose[k, 2] * diffuse[2]
        origin[k] = pose[k, 0] * gloss[0] + pose[k, 1] * gloss[1] + pose[k, 2] * gloss[2]
    facing = -2.0 * (ray[0] * origin[0] + ray[1] * origin[1] + ray[2] * origin[2])
    for k in range(3):
        local_ray[k] = ray[k] + facing * origin[k]
    eyes.reflection(local_ray, reflected, seen)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _lit(
    point, normal, ray, albedo, seen, surface, open_, wet, lash, sun, sun_colour, above, below, fill, fill_colour,
    windows, shadow_frame, shadow_map, out,
):  # fmt: skip
    """Fill ``out`` with the light that leaves a sample along −``ray``: wrapped diffuse, two highlights, a rim.

    ``surface``: wrap in red, green, blue (light that goes under the skin comes out redder), shine, sharpness.
    ``seen`` is what a wet surface reflects.
    """
    nl = normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]
    gate = 0.0
    if nl > -0.35:
        gate = sunlit(point[0], point[1], point[2], sun) if windows else 1.0
        if gate > 0.0:
            # Lifted off the surface and with some slack: a coarse map would shade itself in rings.
            gate *= _shadow(
                point[0] + 2.0 * normal[0],
                point[1] + 2.0 * normal[1],
                point[2] + 2.0 * normal[2],
                shadow_frame,
                shadow_map,
                7.0 if wet else 3.0,
            )
        if wet:
            gate *= 0.35 + 0.65 * open_
    shine, sharp = surface[3], surface[4]
    hemisphere = 0.5 + 0.5 * normal[1]
    nf = max(0.0, 0.25 + 0.75 * (normal[0] * fill[0] + normal[1] * fill[1] + normal[2] * fill[2]))
    sun_shine = shine * gate * _halfway(normal, sun, ray) ** sharp * 2.2 * nl**0.25 if nl > 0.0 else 0.0
    fill_shine = shine * _halfway(normal, fill, ray) ** sharp * 1.2 * open_
    graze = max(1.0 + (ray[0] * normal[0] + ray[1] * normal[1] + ray[2] * normal[2]), 0.0)
    rim = shine * graze**4 * open_
    for k in range(3):
        diffuse = max(0.0, (nl + surface[k]) / (1.0 + surface[k])) ** 1.15
        # Light that was absorbed comes out red: occlusion is weaker in red.
        dim = open_ if wet else open_ ** (0.8 if k == 0 else 1.1)
        ambient = above[k] * hemisphere + below[k] * (1.0 - hemisphere) + fill_colour[k] * nf
        colour = albedo[k] * (sun_colour[k] * diffuse * gate + ambient * dim)
        colour += sun_colour[k] * sun_shine + fill_colour[k] * fill_shine + above[k] * rim
        if wet:
            colour += 0.028 * seen[k] * (0.25 + 0.75 * open_) * (1.0 - 0.7 * lash)
        out[k] = colour


@numba.njit(cache=True, nogil=True, fastmath=True)
def _halfway(normal, light, ray):
    """Cosine between the normal and the direction halfway between light and viewer (Blinn 1977)."""
    hx, hy, hz = light[0] - ray[0], light[1] - ray[1], light[2] - ray[2]
    length = 1.0 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
    return max(0.0, (normal[0] * hx + normal[1] * hy + normal[2] * hz) * length)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _shade(
    near, index, inside, positions, normals, occlusion, uv, inverse, triangles, material, texture, colours, eye, gaze,
    pose, shift, view, lens, sun, sun_colour, above, below, fill, fill_colour, reflected, windows, shadow_frame,
    shadow_map, seed, picture, cover,
):  # fmt: skip
    """Colour of every sample that the z-buffer covers.

    ``colours`` rows: skin, hair, cloth, iris. ``eye``: half distance of the eyes, half width, upper, lower, slant,
    iris radius, closed, pupil radius, glasses' rim. ``gaze`` (head axes) unit. ``pose`` 3×3 and ``shift``: head →
    world about the neck. ``view`` rows: camera axes and position. ``lens``: focal, centre x, centre y.
    """
    height, width = near.shape
    point, normal, ray, local = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    albedo, seen, surface, room = np.empty(3), np.zeros(3), np.zeros(5), np.empty((5, 3))
    elevation = math.degrees(math.asin(min(max(gaze[1], -1.0), 1.0)))
    even = False
    for block in range((height // 2) * (width // 2) * 4):
        # Blocks of 2×2 samples; `even` blocks (one material, no edge, no eye) are shaded once.
        corner = block & 3
        y = (block >> 2) // (width // 2) * 2 + (corner >> 1)
        x = (block >> 2) % (width // 2) * 2 + (corner & 1)
        t = index[y, x]
        cover[y, x] = 0.0 if t < 0 else 1.0
        if corner == 0:
            even = t >= 0 and eye[8] == 0.0 and _even(index, near, material, y, x)
        if t < 0:
            continue
        if corner > 0 and even:
            for k in range(3):
                picture[y, x, k] = picture[y & ~1, x & ~1, k]
            continue
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        wb, wc = inside[y, x, 0] * inverse[b], inside[y, x, 1] * inverse[c]
        wa = (1.0 - inside[y, x, 0] - inside[y, x, 1]) * inverse[a]
        total = 1.0 / (wa + wb + wc)
        wa, wb, wc = wa * total, wb * total, wc * total
        for k in range(3):
            point[k] = wa * positions[a, k] + wb * positions[b, k] + wc * positions[c, k]
            normal[k] = wa * normals[a, k] + wb * normals[b, k] + wc * normals[c, k]
            ray[k] = point[k] - view[3, k]
        _unit(normal)
        _unit(ray)
        for k in range(3):
            local[k] = NECK[k]
            for axis in range(3):
                local[k] += pose[axis, k] * (point[axis] - shift[axis])
        open_ = wa * occlusion[a] + wb * occlusion[b] + wc * occlusion[c]
        u = wa * uv[a, 0] + wb * uv[b, 0] + wc * uv[c, 0]
        v = wa * uv[a, 1] + wb * uv[b, 1] + wc * uv[c, 1]
        wet, lash = False, 0.0
        if material[t] == HAIR:
            strand = _hair(u, v, colours[1], seed, albedo)
            open_ = 0.45 + 0.55 * strand
            surface[0], surface[1], surface[2], surface[3], surface[4] = 0.2, 0.2, 0.2, 0.16 * strand, 9.0
        elif material[t] == CLOTH:
            weave = noise.value(u * 0.9, v * 0.9, seed) * 0.16 + noise.value(u * 0.05, v * 0.02, seed + 4) * 0.3
            for k in range(3):
                albedo[k] = colours[2, k] * (0.75 + weave)
            surface[0], surface[1], surface[2], surface[3], surface[4] = 0.0, 0.0, 0.0, 0.0, 20.0
        else:
            _skin(u, v, texture, colours[0], albedo)
            surface[0], surface[1], surface[2], surface[3], surface[4] = 0.32, 0.16, 0.10, 0.05, 18.0
            side = 1.0 if local[0] > 0.0 else -1.0
            ex, ey = side * local[0] - eye[0], local[1]
            if u >= 0.0 and abs(ex) < eye[1] + 4.0 and abs(ey) < 17.0 and local[2] > -8.0:
                even = False
                up, down = eyes.lid_heights(ex, eye[1], eye[2], eye[3], eye[4], elevation, eye[6])
                along = abs(ex) / eye[1]
                wet = down < ey < up
                if wet:
                    _eyeball(
                        ex,
                        ey,
                        local[2],
                        side,
                        ray,
                        gaze,
                        pose,
                        eye,
                        colours[3],
                        reflected,
                        seed,
                        albedo,
                        normal,
                        seen,
                        room,
                    )
                    # The lids shade the eyeball, the lashes its upper edge.
                    open_ = 0.30 + 0.70 * noise.step(0.0, 3.4, up - ey) * noise.step(-0.6, 1.6, ey - down)
                    open_ *= 1.0 - 0.35 * along * along
                    lash = 0.8 * noise.step(0.9, 0.1, up - ey)
                    surface[0], surface[1], surface[2], surface[3] = 0.25, 0.22, 0.20, 0.0
                elif along < 1.12:
                    lash, dim = _lids(ey - up, down - ey, along, albedo)
                    open_ *= dim
            temple = abs(local[0]) > 60.0 and abs(local[1] - 3.0) < 0.5 + eye[8] and -84.0 < local[2] < 16.0
            if eye[8] > 0.0 and u >= 0.0 and temple:
                for k in range(3):
                    albedo[k] = 0.015
            for k in range(3):
                albedo[k] *= 1.0 - 0.95 * lash
        _lit(
            point,
            normal,
            ray,
            albedo,
            seen,
            surface,
            open_,
            wet,
            lash,
            sun,
            sun_colour,
            above,
            below,
            fill,
            fill_colour,
            windows,
            shadow_frame,
            shadow_map,
            picture[y, x],
        )
        if eye[8] > 0.0:
            _glasses(x, y, near[y, x], picture, pose, shift, view, lens, eye, above)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _even(index, near, material, y, x):
    """True when the 2×2 samples from (y, x) show one material without a step in depth."""
    first = material[index[y, x]]
    low = high = near[y, x]
    for j in range(2):
        for i in range(2):
            t = index[y + j, x + i]
            if t < 0 or material[t] != first:
                return False
            low = min(low, near[y + j, x + i])
            high = max(high, near[y + j, x + i])
    return high < low * 1.012


@numba.njit(cache=True, nogil=True, fastmath=True)
def _glasses(x, y, nearness, picture, pose, shift, view, lens, eye, above):
    """Draw the rim where the sample's ray crosses the plane of the glasses in front of the skin."""
    dx, dy = (x - lens[1]) / lens[0], (y - lens[2]) / lens[0]
    ox = oy = oz = rx = ry = rz = 0.0
    for k in range(3):
        ray = view[0, k] * dx + view[1, k] * dy + view[2, k]
        start = view[3, k] - shift[k]
        ox += pose[k, 0] * start
        oy += pose[k, 1] * start
        oz += pose[k, 2] * start
        rx += pose[k, 0] * ray
        ry += pose[k, 1] * ray
        rz += pose[k, 2] * ray
    ox, oy, oz = ox + NECK[0], oy + NECK[1], oz + NECK[2]
    if rz > -1e-3:
        return
    t = (21.0 - oz) / rz  # ray has unit depth, so t is the depth
    if 1.0 / t < nearness:
        return
    px, py = abs(ox + t * rx), oy + t * ry
    q = (abs(px - eye[0] - 1.0) / 25.0) ** 3 + (abs(py + 3.0) / 18.5) ** 3
    rim = eye[8] / 20.0
    w = noise.step(1.0 - 3.0 * rim, 1.0 - 2.4 * rim, q) * noise.step(1.0 + 3.0 * rim, 1.0 + 2.4 * rim, q)
    if px < 8.0 and abs(py - 3.0 - 0.03 * (64.0 - px * px) * 0.3) < 0.6 + 0.5 * eye[8]:
        w = 1.0
    for k in range(3):
        picture[y, x, k] = picture[y, x, k] * (1.0 - w) + 0.02 * above[k] * w
        if q < 1.0:
            picture[y, x, k] += 0.006 * above[k]


# These three and `_developed` are loops, not array expressions: those read and write every vertex and pixel ten times.
@numba.njit(cache=True, nogil=True)
def _deform(points, normals, fixed, matrix, moved, placed, turned):
    """Vertices in the head's pose: the head turns about the neck, what is ``fixed`` moves along a little."""
    for n in range(points.shape[0]):
        stays = fixed[n]
        for k in range(3):
            turn = swing = 0.0
            for j in range(3):
                swing += matrix[k, j] * (points[n, j] - NECK[j])
                turn += matrix[k, j] * normals[n, j]
            placed[n, k] = stays * (points[n, k] + 0.4 * moved[k]) + (1.0 - stays) * (swing + NECK[k] + moved[k])
            turned[n, k] = stays * normals[n, k] + (1.0 - stays) * turn


@numba.njit(cache=True, nogil=True)
def _project(points, axes, position, focal, centre, screen):
    """As :meth:`~training.sample.rendering.camera.Camera.project`."""
    for n in range(points.shape[0]):
        x, y, z = points[n, 0] - position[0], points[n, 1] - position[1], points[n, 2] - position[2]
        inverse = 1.0 / (axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z)
        for k in range(2):
            along = axes[k, 0] * x + axes[k, 1] * y + axes[k, 2] * z
            screen[n, k] = along * inverse * focal + centre[k]
        screen[n, 2] = inverse


@numba.njit(cache=True, nogil=True)
def _flatten(points, right, down, towards, offset, screen):
    """Points (n, 3) along three axes, and ``offset`` added to them."""
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        screen[n, 0] = right[0] * x + right[1] * y + right[2] * z + offset[0]
        screen[n, 1] = down[0] * x + down[1] * y + down[2] * z + offset[1]
        screen[n, 2] = towards[0] * x + towards[1] * y + towards[2] * z + offset[2]


class Studio:
    """Takes pictures of one head with one camera; keeps the buffers between pictures. Not for two threads at once."""

    def __init__(self, head: Head, camera: Camera) -> None:
        self.head = head
        self.aim(camera)
        height, width = self.camera.height, self.camera.width
        self._near = np.zeros((height, width), np.float32)
        self._index = np.empty((height, width), np.int32)
        self._inside = np.empty((height, width, 2), np.float32)
        self._picture = np.zeros((height, width, 3), np.float32)
        self._cover = np.zeros((height, width), np.float32)
        self._shadow = (
            np.zeros((SHADOW, SHADOW), np.float32),
            np.empty((SHADOW, SHADOW), np.int32),
            np.empty((SHADOW, SHADOW, 2), np.float32),
        )
        # The pose's vertices: world positions, world normals, where they lie in the picture, and as the sun sees them.
        shape = head.surface.positions.shape
        self._vertices = (np.empty(shape), np.empty(shape), np.empty(shape))
        self._lit = np.empty(shape)
        person = head.person
        self._colours = np.array([person.skin_colour, person.hair_colour, person.cloth_colour, person.iris_colour])

    def aim(self, camera: Camera) -> None:
        """Use another camera of the same picture size."""
        self.camera = camera.scaled(SAMPLES)

    def picture(self, pose: Pose, gaze: np.ndarray, light: Light) -> tuple[np.ndarray, np.ndarray]:
        """The head in ``pose`` whose eyes look along the world direction ``gaze`` (3,).

        Returns (h, w, 3) float32 linear RGB (premultiplied) and (h, w) float32 cover in [0, 1].
        """
        surface, person, camera = self.head.surface, self.head.person, self.camera
        positions, normals, screen = self._vertices
        matrix = pose.matrix()
        shift = NECK + np.array(pose.shift)
        _deform(
            surface.positions, surface.normals, surface.fixed, matrix, np.array(pose.shift), positions, normals
        )  # fmt: skip
        _project(positions, camera.axes, camera.position, camera.focal, camera.centre, screen)
        raster.rasterise(screen, surface.triangles, self._near, self._index, self._inside)
        frame = self._cast(positions, light)
        axes = np.concatenate([camera.axes, camera.position[None]])
        eye = np.array(
            [person.eye_apart, person.eye_half_width, person.lid_upper, person.lid_lower, person.slant, person.iris,
             pose.closed, light.pupil, person.glasses]
        )  # fmt: skip
        direction = matrix.T @ (gaze / np.linalg.norm(gaze))
        self._picture[:] = 0.0
        _shade(
            self._near, self._index, self._inside, positions, normals, surface.occlusion, surface.uv, screen[:, 2],
            surface.triangles, surface.material, self.head.texture, self._colours, eye, direction, matrix, shift,
            axes, np.array([camera.focal, *camera.centre]), light.sun, light.sun_colour, light.above, light.below,
            light.fill, light.fill_colour, light.reflected, light.windows, frame, self._shadow[0], person.seed,
            self._picture, self._cover,
        )  # fmt: skip
        size = (camera.width // SAMPLES, camera.height // SAMPLES)
        return (
            cv2.resize(self._picture, size, interpolation=cv2.INTER_AREA),
            cv2.resize(self._cover, size, interpolation=cv2.INTER_AREA),
        )

    def _cast(self, positions: np.ndarray, light: Light) -> np.ndarray:
        """Fill the shadow map along the sun → its frame: rows right, down, towards the sun, and the offset."""
        forward = -light.sun
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= max(np.linalg.norm(right), 1e-6)
        down = -np.cross(forward, right)
        scale = SHADOW / SHADOW_MM
        middle = np.array([0.0, -20.0, -70.0])
        offset = np.array([SHADOW / 2 - scale * right @ middle, SHADOW / 2 - scale * down @ middle, 0.0])
        screen = self._lit
        nearer = offset + np.array([0.0, 0.0, _LIFTED])
        _flatten(positions, right * scale, down * scale, light.sun, nearer, screen)
        raster.rasterise(screen, self.head.surface.triangles, *self._shadow)
        return np.stack([right, down, light.sun, offset])


def develop(linear: np.ndarray, exposure: float, grain: float, rng: np.random.Generator) -> np.ndarray:
    """Linear RGB (h, w, 3) → uint8 sRGB: exposure, shot and read noise of relative strength ``grain``, a filmic
    shoulder (Narkowicz's fit of ACES), the sRGB curve."""
    # Random numbers are drawn whole, in the order of the pixels.
    noise_ = rng.standard_normal(linear.shape, dtype=np.float32) if grain > 0 else np.zeros((1, 1, 3), np.float32)
    out = np.empty(linear.shape, np.uint8)
    _developed(linear.astype(np.float32, copy=False), np.float32(exposure), np.float32(grain), noise_, _CURVE, out)
    return out


_F = np.float32
_SHOT, _READ = _F(0.06), _F(0.0006)
_A, _B, _C, _D, _E = _F(2.51), _F(0.03), _F(2.43), _F(0.59), _F(0.14)
_ZERO, _ONE, _HALF, _STEPS = _F(0.0), _F(1.0), _F(0.5), _F(4095.0)


@numba.njit(cache=True, nogil=True)
def _developed(linear, exposure, grain, noise_, curve, out):
    """:func:`develop` pixel by pixel, in float32 throughout; ``curve``: [0, 4095] linear → sRGB."""
    for row in range(linear.shape[0]):
        for column in range(linear.shape[1]):
            for k in range(3):
                x = max(linear[row, column, k] * exposure, _ZERO)
                if grain > _ZERO:
                    x = max(x + noise_[row, column, k] * grain * math.sqrt(x * _SHOT + _READ), _ZERO)
                x = x * (_A * x + _B) / (x * (_C * x + _D) + _E)
                out[row, column, k] = curve[int(min(x, _ONE) * _STEPS + _HALF)]


_GRID = np.arange(4096) / 4095.0
_CURVE = np.round(255.0 * np.where(_GRID <= 0.0031308, 12.92 * _GRID, 1.055 * np.power(_GRID, 1 / 2.4) - 0.055)).astype(
    np.uint8
)
