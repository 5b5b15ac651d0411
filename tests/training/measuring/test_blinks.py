"""Blinks are found by what comes and goes as quickly in the pictures, also of a head that turns and in few of them."""

import cv2
import numpy as np
import pytest

from recording.trace import SIDE, Rows, Trace
from training.measuring import blinks

FPS, FRAMES, LENGTH = 30.0, 900, 8
AT = np.array([70, 190, 260, 400, 470, 620, 700, 810])
OFFSETS = np.arange(-30, 31)
NOTHING = np.zeros((0, 2))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """A wall behind a head that sways, whose two eyes get brighter where lids close."""
    random = np.random.default_rng(0)
    wall = cv2.resize(random.integers(40, 200, (16, 16), np.uint8), (SIDE, SIDE)).astype(np.float64)
    left = np.round(4 * np.sin(np.arange(FRAMES) / 40))
    shown = np.empty((FRAMES, SIDE, SIDE), np.uint8)
    for n, x in enumerate(left.astype(int) + 40):
        picture = wall.copy()
        picture[20:80, x - 20 : x + 20] = 110
        closed = ((n >= AT) & (n < AT + LENGTH)).any()
        for eye in (x - 9, x + 5):
            picture[40:44, eye : eye + 6] = 120 if closed else 70
        shown[n] = np.clip(picture + random.normal(0, 3, picture.shape), 0, 255)
    return shown


def scanned(pictures: np.ndarray, late: int, at: np.ndarray = AT, held_out_s: np.ndarray = NOTHING):
    blink = np.zeros(FRAMES, dtype=bool)
    for begin in at + late:
        blink[begin : begin + LENGTH] = True
    everywhere = np.ones(FRAMES, dtype=bool)
    rows = Rows(np.arange(FRAMES), np.zeros((FRAMES, 2)), blink, everywhere, True, True)
    return blinks.scan(Trace(rows, np.arange(FRAMES), pictures), FPS, held_out_s, OFFSETS)


@pytest.mark.parametrize("late", [-9, 0, 4])
def test_they_look_alike_where_the_labels_are_late_by_as_much(pictures, late) -> None:
    curve = scanned(pictures, late).curve()
    assert OFFSETS[curve.argmax()] == late
    far = np.abs(OFFSETS - late) > 2 * LENGTH + 1  # nearer, what was before or behind a blink is what changes
    assert curve.max() > 3 * curve[far].max()


def test_blinks_of_another_drive_look_alike_nowhere(pictures) -> None:
    there, elsewhere = (scanned(pictures, 0, at).curve() for at in (AT, AT[::-1] // 2 + np.arange(8) * 41))
    assert elsewhere.max() < there.max() / 2


def test_eyes_of_a_head_that_has_moved_look_alike_but_not_from_one_side_to_the_other() -> None:
    def eyes(left: int) -> np.ndarray:
        drawn = np.zeros((blinks.PIXELS, blinks.PIXELS), np.float32)
        drawn[20:22, left : left + 2] = drawn[20:22, left + 8 : left + 10] = 1.0
        return drawn / np.linalg.norm(drawn)

    def alike(one: int, other: int) -> float:
        waves = np.fft.rfft2(np.stack([eyes(one), eyes(other)]), (blinks.PADDED, blinks.PADDED))
        return float(blinks._alike(waves.astype(np.complex64))[0])

    assert alike(12, 12 + blinks.MOVED) == pytest.approx(1.0, abs=1e-3)
    assert alike(12, 12 + blinks.MOVED + 4) < 0.6


def test_of_a_column_that_flickers_no_more_are_compared_than_can_be(pictures) -> None:
    flickers = scanned(pictures, 0, np.arange(40, 860, 12))
    assert len(flickers.product) == blinks.MOST_BLINKS


def test_test_blocks_are_not_looked_at_and_too_few_say_nothing(pictures) -> None:
    held_out = np.array([[6.0, 14.0]])
    dark = pictures.copy()
    dark[180:420] = 0
    assert np.array_equal(
        scanned(pictures, 0, held_out_s=held_out).curve(), scanned(dark, 0, held_out_s=held_out).curve()
    )
    assert scanned(pictures, 0, AT[:3]) is None
