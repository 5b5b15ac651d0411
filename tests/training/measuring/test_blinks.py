"""Blinks are found by lids that close in a face that moves, in few of them, and on either side of a test block."""

import cv2
import numpy as np
import pytest

from recording.face import Face
from recording.layouts import View
from recording.trace import SIDE, Rows, Trace
from training.measuring import blinks, face_track

FPS, FRAMES, LENGTH = 30.0, 900, 8
AT = np.array([70, 190, 260, 400, 470, 620, 700, 810])
OFFSETS = np.arange(-30, 31)
NOTHING = np.zeros((0, 2))
FACE = Face(SIDE, SIDE, View(0, 12, 72, 72))


def moved() -> np.ndarray:
    """(FRAMES, 2) where the middle of the face is: it sways, and turns aside as the driver blinks."""
    n = np.arange(FRAMES)
    aside = sum(6 * np.exp(-(((n - at - LENGTH) / 6) ** 2)) for at in AT)
    return np.column_stack([36 + 7 * np.sin(n / 40) + aside, 48 + 3 * np.cos(n / 55)])


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """A face before a wall, of which only the lids change: they are as bright as what is around them."""
    random = np.random.default_rng(0)
    wall = cv2.resize(random.integers(40, 200, (16, 16), np.uint8), (SIDE, SIDE)).astype(np.float32)
    open_face = np.full((30, 24), 110, np.float32) + cv2.resize(random.normal(0, 15, (8, 6)), (24, 30))
    open_face[22:24, 8:16] = 60  # a mouth
    closed_face = open_face.copy()
    open_face[10:14, 3:9] = open_face[10:14, 15:21] = 70
    shown = np.empty((FRAMES, SIDE, SIDE), np.uint8)
    for n, (x, y) in enumerate(moved()):
        face = closed_face if ((n >= AT) & (n < AT + LENGTH)).any() else open_face
        turn = np.array([[1.0, 0.0, x - 12], [0.0, 1.0, y - 15]])
        here, there = (cv2.warpAffine(one, turn, (SIDE, SIDE)) for one in (face, np.ones_like(face)))
        shown[n] = np.clip(here + (1 - there) * wall + random.normal(0, 3, wall.shape), 0, 255)
    return shown


def trace(pictures: np.ndarray, late: int, at: np.ndarray = AT) -> Trace:
    blink = np.zeros(FRAMES, dtype=bool)
    for begin in at + late:
        blink[begin : begin + LENGTH] = True
    everywhere = np.ones(FRAMES, dtype=bool)
    rows = Rows(np.arange(FRAMES), np.zeros((FRAMES, 2)), blink, everywhere, True, True)
    return Trace(rows, np.arange(FRAMES), pictures)


def curve(pictures: np.ndarray, late: int, at: np.ndarray = AT, held_out_s: np.ndarray = NOTHING) -> np.ndarray:
    scan = blinks.scan(trace(pictures, late, at), FPS, held_out_s, OFFSETS, face=FACE)
    assert scan is not None
    return scan.curve()


@pytest.mark.parametrize("late", [-9, 0, 4])
def test_lids_tell_by_how_much_the_blinks_are_late(pictures, late) -> None:
    told = curve(pictures, late)
    assert OFFSETS[told.argmax()] == late
    assert told.max() > 0.8
    assert np.abs(told[np.abs(OFFSETS - late) > 2 * LENGTH]).max() < 0.3


def test_a_drift_that_is_known_is_taken_off(pictures) -> None:
    drift = 12 / FRAMES
    late = AT + np.round(drift * (AT - FRAMES / 2)).astype(int)
    drifting = trace(pictures, 0, late)
    with_it, without = (blinks.scan(drifting, FPS, NOTHING, OFFSETS, rate, FACE).curve() for rate in (drift, 0.0))
    assert OFFSETS[with_it.argmax()] == 0
    assert with_it.max() > without.max() + 0.2


def test_blinks_of_another_drive_agree_nowhere(pictures) -> None:
    assert curve(pictures, 0, AT[::-1] // 2 + np.arange(8) * 41).max() < 0.3


def test_three_blinks_are_enough_and_two_are_not(pictures) -> None:
    held_out = np.array([[12.0, 30.0]])
    told = curve(pictures, 5, AT[:3], held_out)
    assert OFFSETS[told.argmax()] == 5
    assert blinks.scan(trace(pictures, 5, AT[:2]), FPS, held_out, OFFSETS, face=FACE) is None


def test_each_blink_is_a_block_of_its_own(pictures) -> None:
    scan = blinks.scan(trace(pictures, 0), FPS, NOTHING, OFFSETS, face=FACE)
    assert scan.label.shape == (len(AT), len(OFFSETS))
    assert scan.label[:, len(OFFSETS) // 2].min() > 0.3 * scan.label.max()


def test_test_blocks_are_not_looked_at(pictures) -> None:
    held_out = np.array([[6.0, 14.0]])
    noise = pictures.copy()
    noise[180:420] = np.random.default_rng(1).integers(0, 255, (240, SIDE, SIDE))
    clean, spoilt = (curve(one, 0, held_out_s=held_out) for one in (pictures, noise))
    assert np.array_equal(clean, spoilt)
    assert OFFSETS[clean.argmax()] == 0  # the face is found again behind the gap


def test_a_csv_without_blinks_says_nothing(pictures) -> None:
    rows = trace(pictures, 0).rows
    silent = Rows(rows.frame, rows.angles_deg, rows.blink, rows.fixation, False, True)
    assert blinks.scan(Trace(silent, np.arange(FRAMES), pictures), FPS, NOTHING, OFFSETS) is None


def test_the_face_is_followed_wherever_it_goes(pictures) -> None:
    places = face_track.places(pictures, np.arange(FRAMES), FACE)
    apart = places - moved()
    off = np.abs(apart - np.median(apart, axis=0)).max(axis=1)
    assert np.quantile(off, 0.95) < 1.0 and off.max() < 2.0  # of more than ten to either side
