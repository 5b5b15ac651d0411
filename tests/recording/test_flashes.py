"""What shows in one picture alone, and what only looks so."""

import cv2
import numpy as np
import pytest

from recording import flashes

HEIGHT, WIDTH = 96, 128


def pictures(noise: float = 3.0, count: int = 5, shift: int = 0) -> list[list[np.ndarray]]:
    """Brightness and a colour plane of half the size, of a textured scene that moves by ``shift`` pixels a picture."""
    random = np.random.default_rng(0)
    scene = cv2.resize(random.integers(40, 200, (12, 32)).astype(np.float32), (4 * WIDTH, HEIGHT))
    found = []
    for number in range(count):
        shown = scene[:, 40 + shift * number : 40 + shift * number + WIDTH]
        planes = [shown, cv2.resize(shown, (WIDTH // 2, HEIGHT // 2)) / 4 + 100]
        found.append(
            [np.clip(plane + random.normal(0, noise, plane.shape), 0, 255).astype(np.uint8) for plane in planes]
        )
    return found


def flashed(given: list[list[np.ndarray]], number: int = 2) -> bool:
    return flashes.has_flash(given[max(0, number - 2) : number], given[number], given[number + 1 : number + 3])


def changed(plane: np.ndarray, by: int) -> None:
    plane[16:24, 24:32] = np.clip(plane[16:24, 24:32].astype(int) + by, 0, 255)


@pytest.mark.parametrize("noise", [0, 3, 8])
@pytest.mark.parametrize("shift", [0, 3, 12])
def test_sound_pictures_have_none(noise: float, shift: int) -> None:
    given = pictures(noise, shift=shift)
    assert not any(flashed(given, number) for number in range(1, 4))


@pytest.mark.parametrize("plane", [0, 1])
@pytest.mark.parametrize("by", [-12, 12, 60])
def test_a_block_that_changes_in_one_picture_alone_is_one(plane: int, by: int) -> None:
    given = pictures()
    changed(given[2][plane], by)
    assert flashed(given)
    assert not flashed(given, 1), "its neighbours have none"
    assert not flashed(given, 3)


def test_a_pattern_that_leaves_the_mean_as_it_is_is_one() -> None:
    given = pictures()
    given[2][0][40:48, 56:64:2] -= 30
    given[2][0][40:48, 57:65:2] += 30
    assert flashed(given)


def test_what_lasts_or_takes_several_pictures_is_none() -> None:
    stays = pictures()
    for shown in stays[2:]:
        changed(shown[0], 60)
    assert not any(flashed(stays, number) for number in (1, 2, 3))
    blink = pictures()
    for shown, by in zip(blink[1:4], (40, 80, 40), strict=True):
        changed(shown[0], by)
    assert not flashed(blink)


def test_a_lamp_that_changes_all_of_a_picture_is_none() -> None:
    given = pictures()
    given[2][0][:] = np.clip(given[2][0].astype(int) + 3, 0, 255)
    assert not flashed(given)


def test_pictures_smaller_than_a_block_have_none() -> None:
    tiny = [[np.full((4, 5), level, np.uint8)] for level in (10, 200, 10)]
    assert not flashes.has_flash(tiny[:1], tiny[1], tiny[2:])
