"""Where a gaze arrow points, and that what is drawn lies there."""

import numpy as np
import pytest

from recording import arrows


# The camera faces the driver: right of the driver is left in the picture; up is up.
@pytest.mark.parametrize(
    ("azimuth", "elevation", "across", "down"), [(30, 0, -0.5, 0), (-30, 0, 0.5, 0), (0, 30, 0, -0.5), (0, 0, 0, 0)]
)
def test_tip(azimuth: float, elevation: float, across: float, down: float) -> None:
    assert arrows.tip(azimuth, elevation) == pytest.approx((across, down), abs=1e-9)


@pytest.mark.parametrize("eyes", [arrows.EYES, (0.7, 0.6)])
def test_arrow_reaches_from_the_eyes_to_its_tip_and_leaves_the_picture_given_alone(eyes: arrows.Point) -> None:
    picture = np.full((200, 200, 3), 128, np.uint8)
    drawn = arrows.draw(picture, [arrows.Arrow(20, 10, arrows.PREDICTED, "predicted")], eyes=eyes, legend=False)
    assert (picture == 128).all()
    rows, columns = np.nonzero((drawn == arrows.PREDICTED).all(axis=2))
    across, down = arrows.tip(20, 10)
    begin = 200 * eyes[0], 200 * eyes[1]
    assert columns.min() == pytest.approx(begin[0] + 180 * across, abs=3)
    assert rows.min() == pytest.approx(begin[1] + 180 * down, abs=3)
    assert (columns.max(), rows.max()) == pytest.approx(begin, abs=4)


def test_the_legend_is_read_on_any_ground() -> None:
    one = arrows.Arrow(1, 1, arrows.PREDICTED, "predicted")
    for ground in (arrows.PREDICTED, (255, 255, 255), (0, 0, 0)):
        drawn = arrows.draw(np.full((640, 570, 3), ground, np.uint8), [one], eyes=arrows.EYES)
        assert (drawn[-4:, :6] <= 85).all()
        letters = (drawn[-22:, :60] == arrows.PREDICTED).all(axis=2)
        assert 20 < letters.sum() < letters.size / 2
    assert arrows.draw(np.zeros((24, 24, 3), np.uint8), [one] * 4, eyes=arrows.EYES).shape == (24, 24, 3)


def test_for_a_page_small_pictures_are_enlarged_before_anything_is_drawn_into_them() -> None:
    one = [arrows.Arrow(20, 10, arrows.PREDICTED, "predicted")]
    small, large = (np.full((height, height * 9 // 10, 3), 128, np.uint8) for height in (320, 1000))
    large_enough = np.full((arrows.SHOWN_HEIGHT, arrows.SHOWN_HEIGHT * 9 // 10, 3), 128, np.uint8)
    assert np.array_equal(arrows.show(small, one, eyes=arrows.EYES), arrows.draw(large_enough, one, eyes=arrows.EYES))
    assert np.array_equal(arrows.show(large, one, eyes=arrows.EYES), arrows.draw(large, one, eyes=arrows.EYES))
