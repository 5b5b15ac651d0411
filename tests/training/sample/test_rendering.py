"""The renderer: geometry and signs."""

import numpy as np
import pytest

from recording import angles
from training.sample.recipe import Recipe
from training.sample.rendering import eyes, glances, lab, portrait
from training.sample.rendering.camera import looking, rotation
from training.sample.rendering.head import Person, build, random_person
from training.sample.rendering.portrait import Light, Pose, Studio


def _gaze(azimuth: float, elevation: float) -> np.ndarray:
    return angles.vectors(np.array([[azimuth, elevation]]))[0]


@pytest.fixture(scope="module")
def head():
    return build(Recipe().person(), fineness=0.5)


@pytest.fixture(scope="module")
def studio(head):
    return Studio(head, looking(np.array([0.0, 0.0, 600.0]), np.zeros(3), 900.0, 200, 160))


def _flat_light() -> Light:
    none = np.zeros(3)
    return Light(_gaze(0, 60), none, np.ones(3), np.ones(3), _gaze(0, 0), none, np.empty((0, 7)), windows=False)


def _iris_centre(studio: Studio, pose: Pose, azimuth: float, elevation: float) -> np.ndarray:
    """Pixel (x, y) of the dark of the eye on the picture's left, which is the person's right."""
    linear, _ = studio.picture(pose, _gaze(azimuth, elevation), _flat_light())
    eye_x, eye_y, _ = studio.camera.project(pose.place(np.array([[studio.head.person.eye_apart, 0.0, 12.0]])))[0] / 2
    grey = linear.sum(axis=2)[round(eye_y) - 8 : round(eye_y) + 9, round(eye_x) - 17 : round(eye_x) + 18]
    dark = np.maximum(0.25 * grey.max() - grey, 0.0)
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]]
    return np.array([(dark * x).sum(), (dark * y).sum()]) / dark.sum()


def test_iris_moves_the_way_the_eye_looks(studio):
    # The camera faces the person: their right is the picture's left; up is up.
    ahead = _iris_centre(studio, Pose(), 0, 0)
    assert _iris_centre(studio, Pose(), 15, 0)[0] < ahead[0] - 1.5
    assert _iris_centre(studio, Pose(), -15, 0)[0] > ahead[0] + 1.5
    assert _iris_centre(studio, Pose(), 0, 10)[1] < ahead[1] - 0.5
    assert _iris_centre(studio, Pose(), 0, -10)[1] > ahead[1] + 0.5


def test_mirrored_gaze_gives_the_mirrored_silhouette(studio):
    # The head is symmetric but for hair strands: looking and turning left is the mirror of right.
    _, right = studio.picture(Pose(12.0, -4.0), _gaze(20, -5), _flat_light())
    _, left = studio.picture(Pose(-12.0, -4.0), _gaze(-20, -5), _flat_light())
    assert np.abs(right - left[:, ::-1]).mean() < 0.02


def test_head_points_where_its_pose_says():
    # The third column of the rotation is the nose's direction, in the angles of the CSV.
    np.testing.assert_allclose(rotation(20.0, -10.0, 5.0)[:, 2], _gaze(20, -10), atol=1e-12)


# The shadow map once overwrote how near the vertices are to the camera, and pictures were a few grey levels off.
def test_what_is_shaded_is_the_pose_as_the_camera_sees_it(studio, monkeypatch):
    pose, camera, surface, shown = Pose(12.0, -4.0, 3.0, (4.0, -2.0, 7.0)), studio.camera, studio.head.surface, []
    monkeypatch.setattr(portrait, "_shade", lambda *given: shown.append([given[k].copy() for k in (3, 4, 7)]))
    studio.picture(pose, _gaze(20, -5), _flat_light())
    (positions, normals, nearness) = shown[0]
    stays = surface.fixed[:, None]
    leaning = surface.positions + 0.4 * np.array(pose.shift)
    posed = stays * leaning + (1 - stays) * pose.place(surface.positions)
    np.testing.assert_allclose(positions, posed, atol=1e-9)
    np.testing.assert_allclose(
        normals, stays * surface.normals + (1 - stays) * (surface.normals @ pose.matrix().T), atol=1e-12
    )
    np.testing.assert_allclose(nearness, camera.project(posed)[:, 2], atol=1e-12)


# Loops over pixels answer what the formulas of the docstring do.
@pytest.mark.parametrize("grain", [0.0, 0.3])
def test_a_picture_is_developed_as_the_formula_says(grain):
    linear = np.random.default_rng(1).gamma(1.0, 0.3, (40, 30, 3)).astype(np.float32)
    developed = portrait.develop(linear, 1.3, grain, np.random.default_rng(2))
    x = linear * 1.3
    noise = np.random.default_rng(2).standard_normal(x.shape, dtype=np.float32)
    x = np.maximum(x + noise * grain * np.sqrt(x * 0.06 + 0.0006), 0.0)
    x = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0.0, 1.0)
    encoded = 255.0 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    assert np.abs(developed - encoded).max() < 1.1  # a grey level: the curve is a table of 4,096 steps
    assert np.abs(developed - encoded).mean() < 0.3


def test_blink_covers_the_eye(studio):
    # A closed lid shows skin where the eye was: no white of the eye is left.
    light = _flat_light()
    open_, _ = studio.picture(Pose(), _gaze(0, 0), light)
    closed, _ = studio.picture(Pose(closed=1.0), _gaze(0, 0), light)
    x, y, _ = studio.camera.project(np.array([[studio.head.person.eye_apart, 0.0, 12.0]]))[0] / 2
    window = np.s_[round(y) - 5 : round(y) + 6, round(x) - 15 : round(x) + 16, 2]
    assert open_[window].max() > 1.5 * closed[window].max()


def test_upper_lid_follows_the_gaze():
    # Looking down lowers the upper lid; lids never cross.
    def at(elevation: float, closed: float = 0.0) -> tuple[float, float]:
        return eyes.lid_heights(0.0, 14.6, 4.5, 5.7, 1.0, elevation, closed)

    assert at(-15.0)[0] < at(0.0)[0] < at(10.0)[0]
    assert all(at(e)[0] > at(e)[1] for e in (-35.0, -20.0, 0.0, 20.0))
    assert at(0.0, 1.0)[0] - at(0.0, 1.0)[1] < 0.2


def test_pictures_are_pure_functions_of_their_arguments(head):
    # Buffers that a studio keeps must not leak from one picture into the next.
    camera = looking(np.array([0.0, 0.0, 600.0]), np.zeros(3), 300.0, 80, 80)
    used, fresh = Studio(head, camera), Studio(head, camera)
    used.picture(Pose(40.0, 10.0), _gaze(30, 0), _flat_light())
    for first, second in zip(
        used.picture(Pose(), _gaze(5, 0), _flat_light()),
        fresh.picture(Pose(), _gaze(5, 0), _flat_light()),
        strict=True,
    ):
        np.testing.assert_array_equal(first, second)


def test_lab_labels_are_camera_angles():
    # A frontal camera: looking straight into it is (0, 0), right is positive yaw, up is positive pitch.
    camera = looking(np.array([0.0, 0.0, 600.0]), np.zeros(3), 800.0, 224, 224)
    np.testing.assert_allclose(lab.gaze_in_camera(_gaze(0, 0), camera), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.degrees(lab.gaze_in_camera(_gaze(12, 7), camera)), [7.0, 12.0], atol=1e-9)


def test_high_camera_and_tilted_tracker_make_the_gap():
    # The drive's camera is 14° above the driver's eyes and 22° to the left: gaze at the horizon reads about −14° in
    # its coordinates, gaze straight ahead about +22°; the tracker writes +8° for the horizon. This is the domain gap.
    pitch, yaw = np.degrees(lab.gaze_in_camera(_gaze(0, 0), Recipe().camera()))
    assert -17.0 < pitch < -11.0
    assert 19.0 < yaw < 25.0
    assert -Recipe().tracker_elevation_deg - pitch > 15.0


def test_lab_pictures_repeat_and_span_the_range():
    head = build(random_person(lab.person_seed(0)), fineness=0.3)
    first = list(lab.pictures(head, 12, seed=1))
    again = list(lab.pictures(head, 12, seed=1))
    labels = np.degrees([label for _, label in first])
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert np.ptp(labels[:, 1]) > 15.0
    assert np.abs(labels[:, 1]).max() <= lab.YAW_DEG + 1e-6
    assert first[0][0].shape == (lab.SIZE, lab.SIZE, 3)


def test_driver_is_none_of_the_lab_people():
    seeds = {lab.person_seed(number) for number in range(1000)}
    assert Recipe().person().seed not in seeds


def test_unknown_hair_style_is_refused():
    with pytest.raises(ValueError, match="style"):
        Person(**{**vars(random_person(1)), "style": "punk"})


def test_gaze_track_has_the_spread_of_a_drive():
    # Constant guessing must be as wrong as on real drives: about 8° and 4°.
    track = glances.track(480.0, 3.0, seed=0)
    away = np.abs(track.gaze - np.median(track.gaze, axis=0)).mean(axis=0)
    assert 6.5 < away[0] < 10.0
    assert 2.5 < away[1] < 5.0
    assert 0.02 < (track.blink >= 0).mean() < 0.12


def test_head_follows_the_eyes_partly():
    # The head carries information about the gaze, but not all of it.
    track = glances.track(480.0, 3.0, seed=0)
    correlation = np.corrcoef(track.gaze[:, 0], track.head[:, 0])[0, 1]
    slope = np.polyfit(track.gaze[:, 0], track.head[:, 0], 1)[0]
    assert 0.7 < correlation < 0.99
    assert 0.35 < slope < 0.8
