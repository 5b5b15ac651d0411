"""The face rectangle: what is accepted, and what it cuts."""

import numpy as np
import pytest

from recording import face
from recording.exceptions import InputError
from recording.face import Choice, Face
from recording.layouts import View

VIEW = Face(950, 1068, View(300, 250, 420, 420))


@pytest.mark.parametrize("text", ["", "Auto", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1.5,2,3,4"])
def test_a_malformed_rectangle_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=f"face='{text}': choose auto, none, or x,y,w,h .* as 300,250,420,420"):
        face.parse(text)


def test_a_rectangle_and_the_two_words_are_read() -> None:
    assert face.parse(" 1, 2,30,40") == View(1, 2, 30, 40)
    assert face.parse("auto") is face.parse("none") is None


@pytest.mark.parametrize("view", [View(-1, 0, 50, 50), View(0, 1019, 50, 50), View(901, 0, 50, 50)])
def test_a_rectangle_outside_the_view_is_refused(view: View) -> None:
    with pytest.raises(InputError, match=rf"face={view.x},{view.y},50,50: reaches outside .* 950x1068 pixels; give"):
        Face(950, 1068, view)


def test_a_rectangle_too_small_for_eyes_is_refused() -> None:
    with pytest.raises(InputError, match="face=0,0,23,50: shows no eyes; give a width and height of at least 24"):
        Face(950, 1068, View(0, 0, 23, 50))


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.337])
def test_the_same_part_is_cut_at_every_resolution(scale: float) -> None:
    width, height = round(950 * scale), round(1068 * scale)
    shown = np.zeros((height, width, 3), np.uint8)
    shown[round(250 * scale) : round(670 * scale), round(300 * scale) : round(720 * scale)] = 255
    assert (VIEW.cut(shown) == 255).all()
    assert VIEW.cut(shown).shape[:2] == pytest.approx((420 * scale,) * 2, abs=1)


def test_a_picture_that_is_not_the_driver_view_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"a\.jpg: 640x480 pixels have not the proportions .*\(950x1068\)"):
        VIEW.cut(np.zeros((480, 640, 3), np.uint8), "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: of 32x36 pixels the face has 14x15; give a larger"):
        VIEW.cut(np.zeros((36, 32, 3), np.uint8), "a.jpg")


def test_what_is_known_to_be_the_driver_view_may_be_squeezed() -> None:
    squeezed = np.zeros((224, 224, 3), np.uint8)
    assert VIEW.cut_scaled(squeezed).shape == (89, 99, 3)


@pytest.mark.parametrize("choice", [Choice(VIEW, 40, 48), Choice(VIEW), Choice(None, 2, 48), Choice(None)])
def test_a_choice_is_kept_in_json(choice: Choice) -> None:
    assert Choice.from_json(choice.to_json(), View(6, 7, 950, 1068)) == choice


def test_a_failed_search_is_told_loudly_and_apart_from_none_asked_for() -> None:
    assert "NO FACE RECTANGLE: 2 of 48" in Choice(None, 2, 48).describe()
    assert "whole driver view" in Choice(None).describe() and not Choice(None).failed
    assert "300,250,420,420" in Choice(VIEW, 40, 48).describe() and "40 of 48" in Choice(VIEW, 40, 48).describe()
