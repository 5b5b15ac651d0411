"""What a rendered drive may be made of, and what its numbers do."""

from dataclasses import replace

import numpy as np
import pytest

from recording import angles
from recording.exceptions import InputError
from training.sample.recipe import Recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("seconds", value) for value in (0.0, -3.0, 1e6, float("nan"))),
        ("fps", 0),
        ("light", "dusk"),
        ("driver_view", (641, 480)),
        ("driver_view", (8, 8)),
    ],
)
def test_what_cannot_be_rendered_is_refused(field, value):
    with pytest.raises(InputError, match=field):
        Recipe(**{field: value})


def test_the_camera_is_where_the_driver_sees_it():
    camera = Recipe(camera_azimuth_deg=18.0, camera_elevation_deg=-9.0, camera_mm=700.0).camera()
    np.testing.assert_allclose(angles.from_vectors(camera.position[None])[0], [18.0, -9.0])
    np.testing.assert_allclose(np.linalg.norm(camera.position), 700.0)


def test_another_driver_is_another_person():
    assert Recipe(driver=7).person() != Recipe(driver=8).person() != Recipe().person()


def test_a_driver_who_leads_with_the_head_turns_it_further_and_earlier():
    usual = Recipe(seconds=120.0, fps=25)
    track, leading = usual.track(), replace(usual, head_share=0.9, head_lead_s=0.4).track()
    np.testing.assert_array_equal(track.gaze, leading.gaze)

    def following_frames(head: np.ndarray) -> int:
        """Frames by which the head's azimuth comes after the gaze's (negative: before)."""
        lags = range(-20, 21)
        gaze = track.gaze[20:-20, 0]
        return max(lags, key=lambda lag: np.corrcoef(gaze, head[20 + lag : len(head) - 20 + lag, 0])[0, 1])

    assert following_frames(leading.head) == pytest.approx(following_frames(track.head) - 10, abs=1)
    turned = [np.polyfit(one.gaze[:, 0], one.head[:, 0], 1)[0] for one in (track, leading)]
    assert turned[1] > 1.2 * turned[0]
