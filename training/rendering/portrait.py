"""A picture of a head: pose, light, z-buffer, shading per sample, development."""

import math
from dataclasses import dataclass

import cv2
import numba
import numpy as np

from training.rendering import eyes, noise, raster
from training.rendering.camera import Camera, rotation
from training.rendering.head import HAIR, NECK, SKIN, Head

SHADOW = 256  # texels of the shadow map's side
SHADOW_MM = 420.0  # what its side covers
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
    ``fill`` direction, and what shiny things reflect (rows of :func:`training.rendering.eyes.reflection`).
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
    near = 1000.0 + frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z
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
def _shade(
    near,
    index,
    inside,
    positions,
    normals,
    occlusion,
    uv,
    inverse,
    triangles,
    material,
    texture,
    colours,
    eye,
    gaze,
    pose,
    shift,
    view,
    lens,
    sun,
    sun_colour,
    above,
    below,
    fill,
    fill_colour,
    reflected,
    windows,
    shadow_frame,
    shadow_map,
    seed,
    picture,
    cover,
):
    """Colour of every sample that the z-buffer covers.

    ``colours`` rows: skin, hair, cloth, iris. ``eye``: half distance of the eyes, half width, upper, lower, slant,
    iris radius, closed, pupil radius, glasses' rim. ``gaze`` (head axes) unit. ``pose`` 3×3 and ``shift``: head →
    world about the neck. ``view`` rows: camera axes and position. ``lens``: focal, centre x, centre y.
    """
    height, width = near.shape
    point = np.empty(3)
    normal = np.empty(3)
    ray = np.empty(3)
    local = np.empty(3)
    albedo = np.empty(3)
    local_ray = np.empty(3)
    eye_origin = np.empty(3)
    eye_gaze = np.empty(3)
    eye_normal = np.empty(3)
    eye_gloss = np.empty(3)
    mirror = np.empty(3)
    seen = np.empty(3)
    elevation = math.degrees(math.asin(min(max(gaze[1], -1.0), 1.0)))
    even = False
    for block in range((height // 2) * (width // 2) * 4):
        # Blocks of 2×2 samples; `even` blocks (one material, no edge, no eye) are shaded once.
        corner = block & 3
        y = (block >> 2) // (width // 2) * 2 + (corner >> 1)
        x = (block >> 2) % (width // 2) * 2 + (corner & 1)
        t = index[y, x]
        if corner == 0:
            even = False
        if t < 0:
            cover[y, x] = 0.0
            continue
        cover[y, x] = 1.0
        if corner == 0:
            even = eye[8] == 0.0 and _even(index, near, material, y, x)
        elif even:
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
        open_ = wa * occlusion[a] + wb * occlusion[b] + wc * occlusion[c]
        u = wa * uv[a, 0] + wb * uv[b, 0] + wc * uv[c, 0]
        v = wa * uv[a, 1] + wb * uv[b, 1] + wc * uv[c, 1]
        kind = material[t]
        # Head coordinates of the sample.
        for k in range(3):
            local[k] = (
                pose[0, k] * (point[0] - shift[0])
                + pose[1, k] * (point[1] - shift[1])
                + pose[2, k] * (point[2] - shift[2])
            ) + NECK[k]
        wrap_r, wrap_g, wrap_b = 0.0, 0.0, 0.0
        shine, sharp = 0.0, 20.0
        wet = 0.0
        lash = 0.0
        if kind == SKIN:
            wrap_r, wrap_g, wrap_b = 0.32, 0.16, 0.10
            shine, sharp = 0.05, 18.0
            if u >= 0.0:
                i0 = min(max(int(u), 0), texture.shape[1] - 2)
                j0 = min(max(int(v), 0), texture.shape[0] - 2)
                fu, fv = u - i0, v - j0
                for k in range(3):
                    albedo[k] = (texture[j0, i0, k] * (1 - fu) + texture[j0, i0 + 1, k] * fu) * (1 - fv) + (
                        texture[j0 + 1, i0, k] * (1 - fu) + texture[j0 + 1, i0 + 1, k] * fu
                    ) * fv
            else:
                for k in range(3):
                    albedo[k] = colours[0, k] * 0.92
            side = 1.0 if local[0] > 0.0 else -1.0
            ex = side * local[0] - eye[0]
            ey = local[1]
            if u >= 0.0 and abs(ex) < eye[1] + 4.0 and abs(ey) < 17.0:
                even = False
            if u >= 0.0 and abs(ex) < eye[1] + 3.0 and abs(ey) < 16.0 and local[2] > -8.0:
                up, down = eyes.lid_heights(ex, eye[1], eye[2], eye[3], eye[4], elevation, eye[6])
                along = abs(ex) / eye[1]
                if down < ey < up:
                    for k in range(3):
                        local_ray[k] = pose[0, k] * ray[0] + pose[1, k] * ray[1] + pose[2, k] * ray[2]
                    eye_origin[0], eye_origin[1], eye_origin[2] = ex, ey, local[2]
                    local_ray[0] *= side
                    eye_gaze[0], eye_gaze[1], eye_gaze[2] = side * gaze[0], gaze[1], gaze[2]
                    eyes.trace(
                        eye_origin, local_ray, eye_gaze, eye[5], eye[7], colours[3], seed, albedo, eye_normal,
                        eye_gloss,
                    )  # fmt: skip
                    eye_normal[0] *= side
                    eye_gloss[0] *= side
                    # Back to the world; shadow of the upper lid and of the lashes on the eyeball.
                    for k in range(3):
                        normal[k] = pose[k, 0] * eye_normal[0] + pose[k, 1] * eye_normal[1] + pose[k, 2] * eye_normal[2]
                        mirror[k] = pose[k, 0] * eye_gloss[0] + pose[k, 1] * eye_gloss[1] + pose[k, 2] * eye_gloss[2]
                    open_ = 0.30 + 0.70 * noise.step(0.0, 3.4, up - ey) * noise.step(-0.6, 1.6, ey - down)
                    open_ *= 1.0 - 0.35 * along * along
                    lash = 0.8 * noise.step(0.9, 0.1, up - ey)
                    wrap_r, wrap_g, wrap_b = 0.25, 0.22, 0.20
                    shine = 0.0
                    wet = 1.0
                    facing = -2.0 * (ray[0] * mirror[0] + ray[1] * mirror[1] + ray[2] * mirror[2])
                    for k in range(3):
                        mirror[k] = ray[k] + facing * mirror[k]
                    eyes.reflection(mirror, reflected, seen)
                elif along < 1.12:
                    over = ey - up
                    thin = noise.step(1.12, 0.9, along)
                    if over >= 0.0:
                        lash = thin * (0.92 * noise.step(1.15, 0.35, over))
                        crease = math.exp(-(((over - 3.6 - 1.2 * (1.0 - along)) / 0.75) ** 2))
                        open_ *= 1.0 - 0.42 * crease * thin
                    else:
                        under = down - ey
                        lash = thin * 0.45 * noise.step(0.9, 0.2, abs(under - 0.55))
                        rim = thin * noise.step(1.0, 0.4, under)
                        albedo[1] *= 1.0 - 0.22 * rim
                        albedo[2] *= 1.0 - 0.20 * rim
            temple = abs(local[0]) > 60.0 and abs(local[1] - 3.0) < 0.5 + eye[8] and -84.0 < local[2] < 16.0
            if eye[8] > 0.0 and u >= 0.0 and temple:
                for k in range(3):
                    albedo[k] = 0.015
            for k in range(3):
                albedo[k] *= 1.0 - lash * (0.97 if k == 2 else 0.95)
        elif kind == HAIR:
            strand = noise.value(u * 5.0, v * 0.22, seed) * 0.6 + noise.value(u * 14.0, v * 0.5, seed + 1) * 0.4
            for k in range(3):
                albedo[k] = colours[1, k] * (0.35 + 1.35 * strand)
            open_ = 0.45 + 0.55 * strand
            shine, sharp = 0.16 * strand, 9.0
            wrap_r = wrap_g = wrap_b = 0.2
        else:
            weave = noise.value(u * 0.9, v * 0.9, seed) * 0.16 + noise.value(u * 0.05, v * 0.02, seed + 4) * 0.3
            for k in range(3):
                albedo[k] = colours[2, k] * (0.75 + weave)
        # Light.
        nl = normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]
        gate = 0.0
        if nl > -0.35:
            gate = 1.0
            if windows:
                gate = sunlit(point[0], point[1], point[2], sun)
            if gate > 0.0:
                # Lifted off the surface and with some slack: a coarse map would shade itself in rings.
                gate *= _shadow(
                    point[0] + 2.0 * normal[0],
                    point[1] + 2.0 * normal[1],
                    point[2] + 2.0 * normal[2],
                    shadow_frame,
                    shadow_map,
                    3.0 + 4.0 * wet,
                )
            if wet > 0.0:
                gate *= 0.35 + 0.65 * open_
        hemisphere = 0.5 + 0.5 * normal[1]
        nf = max(0.0, 0.25 + 0.75 * (normal[0] * fill[0] + normal[1] * fill[1] + normal[2] * fill[2]))
        hx, hy, hz = sun[0] - ray[0], sun[1] - ray[1], sun[2] - ray[2]
        hl = 1.0 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
        nh = max(0.0, (normal[0] * hx + normal[1] * hy + normal[2] * hz) * hl)
        gx, gy, gz = fill[0] - ray[0], fill[1] - ray[1], fill[2] - ray[2]
        gl = 1.0 / math.sqrt(gx * gx + gy * gy + gz * gz + 1e-9)
        ng = max(0.0, (normal[0] * gx + normal[1] * gy + normal[2] * gz) * gl)
        sun_spec = shine * gate * nh**sharp * 2.2 * max(nl, 0.0) ** 0.25 if nl > 0 else 0.0
        fill_spec = shine * ng**sharp * 1.2 * open_
        graze = 1.0 + (ray[0] * normal[0] + ray[1] * normal[1] + ray[2] * normal[2])
        rim_light = 0.10 * shine * 10.0 * max(graze, 0.0) ** 4 * open_
        for k in range(3):
            wrap = wrap_r if k == 0 else (wrap_g if k == 1 else wrap_b)
            diffuse = max(0.0, (nl + wrap) / (1.0 + wrap)) ** 1.15
            # Light that was absorbed comes out red: occlusion is weaker in red on skin.
            dim = open_ if kind != SKIN or wet > 0.0 else open_ ** (0.8 if k == 0 else 1.1)
            ambient = above[k] * hemisphere + below[k] * (1.0 - hemisphere) + fill_colour[k] * nf
            light = sun_colour[k] * diffuse * gate + ambient * dim
            colour = albedo[k] * light
            colour += sun_colour[k] * sun_spec + fill_colour[k] * fill_spec + above[k] * rim_light
            if wet > 0.0:
                colour += 0.028 * seen[k] * (0.25 + 0.75 * open_) * (1.0 - 0.7 * lash)
            picture[y, x, k] = colour
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
        matrix = pose.matrix()
        shift = NECK + np.array(pose.shift)
        lean = np.array(pose.shift) * 0.4  # the trunk moves less than the head
        positions = np.where(surface.fixed[:, None], surface.positions + lean, pose.place(surface.positions))
        normals = np.where(surface.fixed[:, None], surface.normals, surface.normals @ matrix.T)
        screen = camera.project(positions)
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
        screen = np.column_stack(
            [
                positions @ right * scale + offset[0],
                positions @ down * scale + offset[1],
                1000.0 + positions @ light.sun,
            ]
        )
        raster.rasterise(screen, self.head.surface.triangles, *self._shadow)
        return np.stack([right, down, light.sun, offset])


def develop(linear: np.ndarray, exposure: float, grain: float, rng: np.random.Generator) -> np.ndarray:
    """Linear RGB (h, w, 3) → uint8 sRGB: exposure, shot and read noise of relative strength ``grain``, a filmic
    shoulder (Narkowicz's fit of ACES), the sRGB curve."""
    x = np.maximum(linear * np.float32(exposure), 0.0)
    if grain > 0:
        noise_ = rng.standard_normal(x.shape, dtype=np.float32)
        x = np.maximum(x + noise_ * np.float32(grain) * np.sqrt(x * np.float32(0.06) + np.float32(0.0006)), 0.0)
    x = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0.0, 1.0)
    return _encode(x)


def _encode(x: np.ndarray) -> np.ndarray:
    """[0, 1] linear → uint8 sRGB."""
    return _CURVE[(x * 4095.0 + 0.5).astype(np.uint16)]


_GRID = np.arange(4096) / 4095.0
_CURVE = np.round(255.0 * np.where(_GRID <= 0.0031308, 12.92 * _GRID, 1.055 * np.power(_GRID, 1 / 2.4) - 0.055)).astype(
    np.uint8
)
