"""What a rendered drive is made of: one dataclass, whose defaults are the sample drive of the main job."""

from dataclasses import dataclass, replace

import numpy as np

from recording import angles, layouts
from recording.exceptions import InputError
from training.sample.rendering import glances, journey
from training.sample.rendering.camera import Camera, looking
from training.sample.rendering.head import Person, random_person

COMPOSITE = (908, 326)  # 3008×1080 of DashGaze: the face is as large as the network sees it, 224 pixels wide
SECONDS = 380.0
_SAMPLE_DRIVER_SEED = 4242
_AIM = np.array([0.0, 0.0, -20.0])  # the dash camera's optical axis goes through the middle of the head


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A rendered drive: driver, camera, eye tracker, light and length. The same recipe renders the same files.

    In the sample drive the camera sits high on the A-pillar to the driver's left and the eye tracker's zero lies below
    the horizon, so a base that reads angles in its own camera's coordinates is wrong by about the two together.
    Raises :class:`InputError` for what cannot be rendered.
    """

    seed: int = 0
    """Of the gaze track, the journey and all noise."""
    seconds: float = SECONDS
    """Length, 2 to 7200."""
    fps: int = 3
    """Frames a second."""
    driver: int | None = None
    """Seed of a random person; None: the driver of the sample drive. Lab people have 1000 and up."""
    camera_azimuth_deg: float = -22.0
    """Where the driver sees the camera, to their right."""
    camera_elevation_deg: float = 14.0
    """Where the driver sees the camera, upwards."""
    camera_mm: float = 650.0
    """How far the camera is from the eyes."""
    focal: float = 543.0
    """Pixels of the driver view; focal / camera_mm is how many of them a millimetre of the face takes."""
    driver_view: tuple[int, int] | None = None
    """Width and height (even numbers) of a video that shows the driver alone, to be read with ``layout=driver``; cheap.
    None: the whole composite in the DashGaze layout, small."""
    grain: float = 0.10
    """Relative strength of the dash camera's noise."""
    light: str = "day"
    """One of ``day`` (with a tunnel now and then), ``tunnels`` and ``night``."""
    tracker_azimuth_deg: float = 0.0
    """Azimuth of the eye tracker's zero."""
    tracker_elevation_deg: float = -8.0
    """Elevation of the eye tracker's zero: its scene camera looks down at what hands do."""
    tracker_noise_deg: float = 0.3
    """Standard deviation of the measured angles."""
    head_share: float = glances.HEAD_SHARE
    """How much of a large glance the head takes over."""
    head_lead_s: float = 0.0
    """By how much earlier than in the sample drive, where it lags the eyes by a quarter of a second, the head turns."""
    label_lag: float = 0.0
    """Frames by which labels come late: row n holds what was measured in frame n − lag."""
    label_drift: float = 0.0
    """Seconds a second by which labels fall further behind."""
    labels_in_head: bool = False
    """Angles relative to the head, as glasses without a reference to the car measure them."""

    def __post_init__(self) -> None:
        if not 2.0 <= self.seconds <= 7200.0:
            raise InputError(f"seconds is {self.seconds}: a sample drive lasts from 2 to 7200 seconds")
        if not 1 <= self.fps <= 120:
            raise InputError(f"fps is {self.fps}: a rendered drive has from 1 to 120 frames a second")
        if self.light not in journey.LIGHTS:
            raise InputError(f"light is {self.light!r}: choose one of {', '.join(journey.LIGHTS)}")
        if any(side % 2 or side < layouts.SMALLEST_VIEW for side in self.size()):
            raise InputError(f"driver_view is {self.driver_view}: give even numbers from {layouts.SMALLEST_VIEW} on")

    def size(self) -> tuple[int, int]:
        """Width and height of the video."""
        return self.driver_view or COMPOSITE

    def layout(self) -> str:
        """The named layout that the video is read with."""
        return "driver" if self.driver_view else "dashgaze"

    def views(self) -> dict[str, layouts.View]:
        """The views of the video."""
        return layouts.views_for(self.layout(), *self.size())

    def person(self) -> Person:
        """The person at the wheel."""
        if self.driver is not None:
            return random_person(self.driver)
        return replace(
            random_person(_SAMPLE_DRIVER_SEED),
            skin_colour=(0.52, 0.315, 0.23),
            hair_colour=(0.05, 0.028, 0.016),
            iris_colour=(0.085, 0.05, 0.028),
            cloth_colour=(0.06, 0.09, 0.16),
            style="short",
            beard=0.3,
            glasses=0.0,
        )

    def camera(self) -> Camera:
        """The camera of the driver view, in the frame of the car."""
        view = self.views()["driver"]
        position = self.camera_mm * angles.vectors(np.array([[self.camera_azimuth_deg, self.camera_elevation_deg]]))[0]
        return looking(position, _AIM, self.focal, view.w, view.h)

    def track(self) -> glances.Track:
        """What the driver does, one row per frame."""
        return self._track(None)

    def labelled_track(self) -> glances.Track:
        """What the eye tracker says the driver does, one row per frame: late where the labels are."""
        frames = np.arange(round(self.seconds * self.fps))
        return self._track((frames - self.label_lag) / self.fps - self.label_drift * frames / self.fps)

    def _track(self, at_s: np.ndarray | None) -> glances.Track:
        return glances.track(
            self.seconds, self.fps, self.seed, head_share=self.head_share, head_lead_s=self.head_lead_s, at_s=at_s
        )
