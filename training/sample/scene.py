"""The frames of a rendered drive: the driver as the dash camera sees them and, in a composite, what lies ahead."""

import threading
from dataclasses import dataclass, replace

import cv2
import numpy as np

from recording import angles
from training.sample.recipe import Recipe
from training.sample.rendering import cabin, glances, journey, road
from training.sample.rendering.camera import rotation
from training.sample.rendering.head import Head, build
from training.sample.rendering.portrait import Pose, Studio, develop

_SCENE_HALF_DEG = 37.0  # half the field of view of the scene camera


class Scene:
    """Everything that does not change from frame to frame; :meth:`frame` may be called from several threads."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.track = recipe.track()
        self.journey = journey.Journey(recipe.seed, self.track.seconds, recipe.light)
        self.views = recipe.views()
        self.camera = recipe.camera()
        self.head: Head = build(recipe.person())
        self._behind = cabin.behind(self.camera)
        self._outlook = None if recipe.driver_view else Outlook(recipe, self.track, self.journey)
        self._local = threading.local()

    def __len__(self) -> int:
        return len(self.track.seconds)

    def frame(self, number: int) -> np.ndarray:
        """The picture of that frame, (h, w, 3) uint8 RGB: the composite, or the driver view where that is all."""
        driver = self.driver_view(number)
        if self._outlook is None:
            return driver
        width, height = self.recipe.size()
        canvas = np.zeros((height, width, 3), np.uint8)
        for name, picture in {"driver": driver, **self._outlook.pictures(number)}.items():
            view = self.views[name]
            canvas[view.y : view.y + view.h, view.x : view.x + view.w] = picture
        return canvas

    def driver_view(self, number: int) -> np.ndarray:
        """What the dash camera sees, (h, w, 3) uint8 RGB."""
        track, light = self.track, self.journey.light(number)
        pose = replace(head_pose(track, number), closed=track.closed[number])
        gaze = angles.vectors(track.gaze[number : number + 1])[0]
        linear, cover = self._studio().picture(pose, gaze, light)
        back = cabin.relight(self._behind, light, self.journey.outside(number), self.journey.travelled[number] * 0.15)
        linear += cabin.out_of_focus(back, self.camera.width, self.camera.height) * (1.0 - cover[..., None])
        rng = np.random.default_rng([self.recipe.seed, 9, number])
        return develop(linear, self.journey.exposure[number], self.recipe.grain, rng)

    def _studio(self) -> Studio:
        """One per thread: it keeps buffers."""
        if not hasattr(self._local, "studio"):
            self._local.studio = Studio(self.head, self.camera)
        studio: Studio = self._local.studio
        return studio


@dataclass(frozen=True)
class _Maps:
    """Where each pixel of the road view lies in the road's panorama; the rays of the scene camera (h, w, 3)."""

    road: tuple[np.ndarray, np.ndarray]
    scene: np.ndarray


class Outlook:
    """What lies in front of the car and of the driver: the road view and the scene camera's view of a composite."""

    def __init__(self, recipe: Recipe, track: glances.Track, way: journey.Journey) -> None:
        self.track, self.journey = track, way
        self.views = recipe.views()
        self._ahead = cabin.ahead()
        self._glass = (self._ahead.material == cabin.GLASS).astype(np.float32)
        self._clear = cv2.GaussianBlur(self._glass, (0, 0), 0.9)  # its edge without steps
        self._maps = self._lookups(rotation(recipe.tracker_azimuth_deg, recipe.tracker_elevation_deg))

    def pictures(self, number: int) -> dict[str, np.ndarray]:
        """The views ``road`` and ``camera`` of that frame, (h, w, 3) uint8 RGB each."""
        panorama = road.panorama(self.journey.stretch(number))
        return {"road": self._road_view(number, panorama), "camera": self._scene_view(number, panorama)}

    def _road_view(self, number: int, panorama: np.ndarray) -> np.ndarray:
        picture = _looked_up(panorama, self._maps.road)
        return develop(picture, 0.85 * self.journey.exposure[number] ** 0.8, 0.0, np.random.default_rng(0))

    def _scene_view(self, number: int, panorama: np.ndarray) -> np.ndarray:
        """What a camera on the driver's head sees: the cabin in front and the road through its glass."""
        light = self.journey.light(number)
        inside = cabin.relight(self._ahead, light, self.journey.outside(number), self.journey.travelled[number] * 0.15)
        inside *= 1.0 - self._glass[..., None]  # glass is laid over below, without a bright seam
        turned = self._maps.scene @ head_pose(self.track, number).matrix().T.astype(np.float32)
        azimuth = np.degrees(np.arctan2(turned[..., 0], turned[..., 2]))
        elevation = np.degrees(np.arcsin(np.clip(turned[..., 1], -1, 1)))
        at = (
            (azimuth * cabin.FRONT_PER_DEGREE + cabin.FRONT_WIDTH / 2 - 0.5).astype(np.float32),
            ((cabin.FRONT_TOP_DEG - elevation) * cabin.FRONT_PER_DEGREE - 0.5).astype(np.float32),
        )
        inside = _looked_up(inside, at)
        glass = _looked_up(self._clear, at)[..., None]
        outside = _looked_up(panorama, _in_panorama(azimuth, elevation))
        picture = 1.5 * inside + outside * 0.85 * glass
        return develop(picture, self.journey.exposure[number], 0.0, np.random.default_rng(0))

    def _lookups(self, tracker: np.ndarray) -> _Maps:
        view = self.views["road"]
        x, y = np.meshgrid(np.arange(view.w) - (view.w - 1) / 2, np.arange(view.h) - (view.h - 1) / 2)
        focal = view.h / 2 / np.tan(np.radians(23.5))  # as tall as the panorama
        azimuth, elevation = np.degrees(np.arctan2(x, focal)), -np.degrees(np.arctan2(y, np.hypot(x, focal)))
        scene = self.views["camera"]
        sx, sy = np.meshgrid(np.arange(scene.w) - (scene.w - 1) / 2, np.arange(scene.h) - (scene.h - 1) / 2)
        focal = scene.w / 2 / np.tan(np.radians(_SCENE_HALF_DEG))
        rays = np.stack([sx, -sy, np.full(sx.shape, focal)], axis=-1) @ tracker.T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        return _Maps(_in_panorama(azimuth, elevation), rays.astype(np.float32))


def head_pose(track: glances.Track, number: int) -> Pose:
    """Where the head points and how far it moved in one frame, the lids open."""
    azimuth, elevation = track.head[number]
    right, up, ahead = track.shift[number]
    return Pose(azimuth, elevation, track.roll[number], (right, up, ahead))


def _in_panorama(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (x, y) float32 of directions in the road's panorama."""
    return (
        (azimuth_deg * road.PER_DEGREE + road.WIDTH / 2 - 0.5).astype(np.float32),
        ((road.TOP_DEG - elevation_deg) * road.PER_DEGREE - 0.5).astype(np.float32),
    )


def _looked_up(picture: np.ndarray, at: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """``picture`` at the places ``at`` (columns, rows); outside its edge as at the edge."""
    return cv2.remap(picture, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
