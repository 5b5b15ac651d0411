"""The rendered sample drive: what the main job works on when it is given no recording.

A composite video in the DashGaze layout at half size and the CSV that an eye tracker would have written, blemishes
included, drawn by :mod:`training.sample.rendering`. The driver is none of the lab people that the base checkpoint was
trained on; the camera sits high on the A-pillar to the driver's left and the eye tracker's zero lies below the
horizon, so a base that reads angles in its own camera's coordinates is wrong by about the two together. ``python -m
training.sample.sample_drive --out DIR`` writes it by hand.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from recording import angles, layouts
from recording.exceptions import InputError
from registry.command_line import leave
from training.sample.rendering import cabin, glances, journey, road, sheet
from training.sample.rendering.camera import Camera, looking, rotation
from training.sample.rendering.head import Head, Person, build, random_person
from training.sample.rendering.portrait import Pose, Studio, develop

BASE_CHECKPOINT = Path(__file__).parent / "assets" / "base-lab-resnet18.safetensors"
NAME = "rendered sample drive"
MARK = "rendered.json"

FPS = 3
SECONDS = 380.0
SIZE = (1504, 540)  # half of DashGaze's 3008×1080
CAMERA_AZIMUTH_DEG, CAMERA_ELEVATION_DEG = -22.0, 14.0  # where the driver sees the camera: high on the A-pillar
CAMERA_MM = 650.0
TRACKER_NOISE_DEG = 0.3  # of the eye tracker that measures the CSV's angles
TRACKER_TILT_DEG = -8.0  # elevation of the tracker's zero: its scene camera looks down at what hands do
_FOCAL = 900.0  # pixels of the driver view
_SCENE_HALF_DEG = 37.0  # half the field of view of the scene camera
_DRIVER_SEED = 4242


def driver() -> Person:
    """The person at the wheel."""
    return replace(
        random_person(_DRIVER_SEED),
        skin_colour=(0.52, 0.315, 0.23),
        hair_colour=(0.05, 0.028, 0.016),
        iris_colour=(0.085, 0.05, 0.028),
        cloth_colour=(0.06, 0.09, 0.16),
        style="short",
        beard=0.3,
        glasses=0.0,
    )


def dash_camera() -> Camera:
    """The camera of the driver view, in the frame of the car."""
    view = layouts.views_for("dashgaze", *SIZE)["driver"]
    position = CAMERA_MM * angles.vectors(np.array([[CAMERA_AZIMUTH_DEG, CAMERA_ELEVATION_DEG]]))[0]
    return looking(position, np.array([0.0, 0.0, -20.0]), _FOCAL, view.w, view.h)


def render(folder: Path, seed: int = 0, seconds: float = SECONDS) -> tuple[Path, Path]:
    """The video and the CSV of the sample drive, rendered into a sub-folder of ``folder`` named by the recipe's key.

    A drive that is there already is not rendered again. It appears whole or not at all. ``rendered.json`` beside the
    video marks it as rendered. Raises :class:`InputError` when ``seconds`` is out of range or the folder cannot be
    written.
    """
    if not 2.0 <= seconds <= 7200.0:
        raise InputError(f"seconds is {seconds}: a sample drive lasts from 2 to 7200 seconds")
    folder = Path(folder)
    recipe = {"name": NAME, "seed": seed, "seconds": seconds, "fps": FPS, "code": _code_digest()}
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    whole = folder / f"sample-drive-{key}"
    if not whole.is_dir():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        except OSError as error:
            raise InputError(f"folder {folder}: cannot be written ({error.strerror}); choose another one") from None
        try:
            _write(partial, recipe)
            _keep(partial, whole)
        finally:
            shutil.rmtree(partial, ignore_errors=True)  # nothing is left of it when it was kept
    return whole / "sample_drive.mp4", whole / "sample_drive.csv"


def _keep(partial: Path, whole: Path) -> None:
    """Give a finished folder its name; whoever was first wins, both rendered the same."""
    try:
        partial.rename(whole)
    except OSError:
        if not whole.is_dir():
            raise


def _code_digest() -> str:
    """sha256 over the code that draws: a changed renderer renders anew."""
    digest = hashlib.sha256()
    for path in (Path(__file__), *sorted((Path(__file__).parent / "rendering").glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write(folder: Path, recipe: dict[str, Any]) -> None:
    seed, seconds = recipe["seed"], recipe["seconds"]
    scene = Scene(seed, seconds)
    try:
        _encode(folder / "sample_drive.mp4", scene)
        (folder / "sample_drive.csv").write_text(labels_text(scene.track, seed), encoding="utf-8")
        (folder / MARK).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"folder {folder.parent}: cannot be written ({error.strerror}); free some space") from None


# --- the pictures ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Maps:
    """Where each pixel of the road view lies in the road's panorama; the rays of the scene camera (h, w, 3)."""

    road: tuple[np.ndarray, np.ndarray]
    scene: np.ndarray


class Scene:
    """Everything that does not change from frame to frame; :meth:`frame` may be called from several threads."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.seed = seed
        self.track = glances.track(seconds, FPS, seed)
        self.journey = journey.Journey(seed, self.track.seconds)
        self.views = layouts.views_for("dashgaze", *SIZE)
        self.camera = dash_camera()
        self.head: Head = build(driver())
        self._behind = cabin.behind(self.camera)
        self._ahead = cabin.ahead()
        self._glass = (self._ahead.material == cabin.GLASS).astype(np.float32)
        self._maps = self._lookups()
        self._local = threading.local()

    def __len__(self) -> int:
        return len(self.track.seconds)

    def frame(self, number: int) -> np.ndarray:
        """The composite picture of that frame, (540, 1504, 3) uint8 RGB."""
        canvas = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        panorama = road.panorama(self.journey.stretch(number))
        pictures = {
            "driver": self.driver_view(number),
            "road": self._road_view(number, panorama),
            "camera": self._scene_view(number, panorama),
        }
        for name, picture in pictures.items():
            view = self.views[name]
            canvas[view.y : view.y + view.h, view.x : view.x + view.w] = picture
        return canvas

    def driver_view(self, number: int) -> np.ndarray:
        """What the dash camera sees, (h, w, 3) uint8 RGB."""
        track, light = self.track, self.journey.light(number)
        pose = replace(_pose(track, number), closed=track.closed[number])
        gaze = angles.vectors(track.gaze[number : number + 1])[0]
        linear, cover = self._studio().picture(pose, gaze, light)
        back = cabin.relight(self._behind, light, self.journey.outside(number), self.journey.travelled[number] * 0.15)
        linear += cabin.out_of_focus(back, self.camera.width, self.camera.height) * (1.0 - cover[..., None])
        rng = np.random.default_rng([self.seed, 9, number])
        return develop(linear, self.journey.exposure[number], 0.10, rng)

    def _road_view(self, number: int, panorama: np.ndarray) -> np.ndarray:
        picture = _looked_up(panorama, self._maps.road)
        return develop(picture, 0.85 * self.journey.exposure[number] ** 0.8, 0.0, np.random.default_rng(0))

    def _scene_view(self, number: int, panorama: np.ndarray) -> np.ndarray:
        """What a camera on the driver's head sees: the cabin in front and the road through its glass."""
        light = self.journey.light(number)
        inside = cabin.relight(self._ahead, light, self.journey.outside(number), self.journey.travelled[number] * 0.15)
        inside *= 1.0 - self._glass[..., None]  # glass is laid over below, without a bright seam
        turned = self._maps.scene @ _pose(self.track, number).matrix().T.astype(np.float32)
        azimuth = np.degrees(np.arctan2(turned[..., 0], turned[..., 2]))
        elevation = np.degrees(np.arcsin(np.clip(turned[..., 1], -1, 1)))
        at = (
            (azimuth * cabin.FRONT_PER_DEGREE + cabin.FRONT_WIDTH / 2 - 0.5).astype(np.float32),
            ((cabin.FRONT_TOP_DEG - elevation) * cabin.FRONT_PER_DEGREE - 0.5).astype(np.float32),
        )
        inside = _looked_up(inside, at)
        glass = _looked_up(self._glass, at)[..., None]
        outside = _looked_up(panorama, _in_panorama(azimuth, elevation))
        picture = 1.5 * inside + outside * 0.85 * glass
        return develop(picture, self.journey.exposure[number], 0.0, np.random.default_rng(0))

    def _studio(self) -> Studio:
        """One per thread: it keeps buffers."""
        if not hasattr(self._local, "studio"):
            self._local.studio = Studio(self.head, self.camera)
        studio: Studio = self._local.studio
        return studio

    def _lookups(self) -> _Maps:
        view = self.views["road"]
        x, y = np.meshgrid(np.arange(view.w) - (view.w - 1) / 2, np.arange(view.h) - (view.h - 1) / 2)
        focal = view.h / 2 / np.tan(np.radians(23.5))  # as tall as the panorama
        azimuth, elevation = np.degrees(np.arctan2(x, focal)), -np.degrees(np.arctan2(y, np.hypot(x, focal)))
        scene = self.views["camera"]
        sx, sy = np.meshgrid(np.arange(scene.w) - (scene.w - 1) / 2, np.arange(scene.h) - (scene.h - 1) / 2)
        focal = scene.w / 2 / np.tan(np.radians(_SCENE_HALF_DEG))
        tilt = rotation(0.0, TRACKER_TILT_DEG)
        rays = np.stack([sx, -sy, np.full(sx.shape, focal)], axis=-1) @ tilt.T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        return _Maps(_in_panorama(azimuth, elevation), rays.astype(np.float32))


def _in_panorama(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (x, y) float32 of directions in the road's panorama."""
    return (
        (azimuth_deg * road.PER_DEGREE + road.WIDTH / 2 - 0.5).astype(np.float32),
        ((road.TOP_DEG - elevation_deg) * road.PER_DEGREE - 0.5).astype(np.float32),
    )


def _pose(track: glances.Track, number: int) -> Pose:
    """Where the head points and how far it moved in one frame, the lids open."""
    azimuth, elevation = track.head[number]
    right, up, ahead = track.shift[number]
    return Pose(azimuth, elevation, track.roll[number], (right, up, ahead))


def _looked_up(picture: np.ndarray, at: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """``picture`` at the places ``at`` (columns, rows); outside its edge as at the edge."""
    return cv2.remap(picture, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _frames(scene: Scene) -> Iterator[np.ndarray]:
    """All frames in order, drawn by as many threads as there are cores, a few ahead."""
    workers = os.cpu_count() or 1
    # The matrices are small: BLAS threads of their own would only wait, spinning, on the cores that draw.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[np.ndarray]] = deque()
        for number in range(len(scene)):
            waiting.append(pool.submit(scene.frame, number))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _encode(video: Path, scene: Scene) -> None:
    """H.264 in MP4, a key frame every eight seconds."""
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, FPS)
        # One thread: the same bytes on every machine, and the drawing keeps the cores busy.
        # No macroblock tree: x264's weighs the same frames differently from run to run.
        repeatable: dict[str, object] = {"threads": "1", "x264-params": "mbtree=0"}
        stream.options = {"preset": "veryfast", "crf": "18", "g": str(8 * FPS)} | repeatable
        for number, picture in enumerate(tqdm(_frames(scene), total=len(scene), desc=NAME, unit="frame")):
            # Not FFmpeg's own conversion: its rounding depends on where in memory the picture happens to lie.
            planes: np.ndarray = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


# --- the labels --------------------------------------------------------------------------------------------------
COLUMNS = (
    "section id", "recording id", "timestamp [ns]", "dash_frames", "worn", "fixation id", "blink id",
    "azimuth [deg]", "elevation [deg]",
)  # fmt: skip


def measured_angles(gaze: np.ndarray) -> np.ndarray:
    """(…, 2) azimuth and elevation, degrees, from the car's frame to the eye tracker's zero."""
    turned: np.ndarray = gaze - np.array([0.0, TRACKER_TILT_DEG])
    return turned


def labels_text(track: glances.Track, seed: int) -> str:
    """The CSV of a track: one row per frame, with the blemishes of real exports.

    Some angles are blank, the tracker is taken off once, one row is there twice, one frame number is a word, one
    line has too many fields and a few rows lie past the end of the video.
    """
    rng = np.random.default_rng([seed, 2])
    count = len(track.seconds)
    measured = measured_angles(track.gaze) + rng.normal(size=(count, 2)) * TRACKER_NOISE_DEG
    blank = rng.random(count) < 0.012
    off = int(0.4 * count)
    rows = [_row(track, n, measured[n], bool(blank[n]), off <= n < off + max(1, count // 200)) for n in range(count)]
    rows += [[*row[:3], str(count + k), *row[4:]] for k, row in enumerate(rows[:6])]
    rows.insert(count // 4, rows[count // 4])
    word = list(rows[count // 3])
    word[COLUMNS.index("dash_frames")] = "dropped"
    rows.insert(count // 3, word)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, row in enumerate(rows):
        if number == count // 2:
            text.write(",".join(row) + ",,,restarted,\n")
        writer.writerow(row)
    return text.getvalue()


def _row(track: glances.Track, number: int, measured: np.ndarray, blank: bool, taken_off: bool) -> list[str]:
    blink, fixation = int(track.blink[number]), int(track.fixation[number])
    return [
        "rendered",
        NAME,
        str(round(track.seconds[number] * 1e9)),
        str(number),
        "0" if taken_off else "1",
        "" if fixation < 0 else str(fixation + 1),
        "" if blink < 0 else str(blink + 1),
        *(("", "") if blank else (f"{angle:.4f}" for angle in measured)),
    ]


def contact_sheet(seed: int = 0) -> np.ndarray:
    """Pictures of the drive with their measured gaze, whole frames and lab faces, (h, w, 3) uint8 RGB."""
    scene = Scene(seed, SECONDS)
    track = scene.track
    awake = np.flatnonzero((track.blink < 0) & (track.fixation >= 0))
    # The frames that come nearest to looking at each of these (azimuth, elevation), spread over the drive.
    wanted = [(0, 0), (-28, -7), (23, 8), (21, -16), (0, -14), (33, -6), (-8, 1), (8, -1), (24, 7), (-27, -6)]
    rows = []
    for half in range(2):
        pictures, texts = [], []
        for column, place in enumerate(wanted[5 * half : 5 * half + 5]):
            part = awake[len(awake) * column // 5 : len(awake) * (column + 1) // 5]
            number = int(part[np.argmin(np.linalg.norm(track.gaze[part] - place, axis=1))])
            eyes = _pose(track, number).place(np.zeros(3))
            pictures.append(sheet.arrow(scene.driver_view(number), scene.camera, eyes, track.gaze[number]))
            texts.append(
                f"azimuth {track.gaze[number, 0]:+.0f}, elevation {track.gaze[number, 1] - TRACKER_TILT_DEG:+.0f}"
            )
        rows.append(sheet.row(pictures, texts))
    tunnel = int(np.argmax(scene.journey.exposure)) + 4
    frames = [int(0.12 * len(scene)), min(tunnel, len(scene) - 1)]
    rows.append(sheet.row([scene.frame(n) for n in frames], [f"{track.seconds[n]:.0f} s" for n in frames]))
    rows += [sheet.lab_row(range(10)), sheet.lab_row(range(10, 20))]
    return np.vstack(rows)


def main(argv: list[str] | None = None) -> int:
    """``python -m training.sample.sample_drive --out DIR``."""
    parser = argparse.ArgumentParser(prog="python -m training.sample.sample_drive", description=f"Write the {NAME}.")
    parser.add_argument("--out", type=Path, default=Path("data"), help="folder to render into (data)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"how long the drive is ({SECONDS:.0f})")
    parser.add_argument("--seed", type=int, default=0, help="seed of the gaze track and of the journey (0)")
    parser.add_argument("--sheet", type=Path, help="write the contact sheet to this PNG instead")
    arguments = parser.parse_args(argv)
    if arguments.sheet:
        arguments.sheet.write_bytes(cv2.imencode(".png", contact_sheet(arguments.seed)[..., ::-1])[1].tobytes())
        return 0
    video, labels = render(arguments.out, arguments.seed, arguments.seconds)
    print(f"{NAME}: {video} {labels}")
    return 0


if __name__ == "__main__":
    leave(main)
