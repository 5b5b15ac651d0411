"""Finding the face of a drive: one rectangle from many pictures."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from recording import detection, pictures
from recording.exceptions import InputError
from recording.face import Choice
from recording.layouts import View
from tests import faces

REAL = Path(__file__).parents[3] / "shared" / "real_faces"


def looks(*boxes: tuple[float, float, float], empty: int = 0) -> list[np.ndarray]:
    """One look for each (left, top, side), and looks that found nothing."""
    return [np.array([[x, y, side, side]], float) for x, y, side in boxes] + [np.empty((0, 4))] * empty


@pytest.mark.parametrize(("width", "at"), [(50, (120, 150)), (140, (160, 180))])
def test_a_face_is_found_where_it_is(width: float, at: tuple[float, float]) -> None:
    (box,) = detection.detect(faces.portrait(at=at, width=width))
    assert box[:2] + box[2:] / 2 == pytest.approx(at, abs=0.15 * width)
    assert width < box[2] < 1.4 * width


def test_the_pictures_size_does_not_matter() -> None:
    large = cv2.resize(faces.portrait(), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    (box,), (tripled,) = detection.detect(faces.portrait()), detection.detect(large)
    assert tripled == pytest.approx(3 * box, abs=30)


def test_nothing_is_found_where_nobody_is() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (360, 320, 3), dtype=np.uint8)
    assert detection.detect(noise).shape == (0, 4)


def test_the_rectangle_is_a_square_around_what_agrees_with_a_margin() -> None:
    chosen = detection.choose(looks(*[(100, 120, 80)] * 30), 320, 360)
    assert chosen.face is not None and chosen.seen == chosen.looked_at == 30
    margin = round(detection.MARGIN * 80)
    assert chosen.face.view == View(100 - margin, 120 - margin, 80 + 2 * margin, 80 + 2 * margin)


def test_it_holds_the_face_while_it_moves() -> None:
    path = [(80 + 2 * k, 120 + k, 80) for k in range(30)]
    view = detection.choose(looks(*path), 320, 360).face.view
    for x, y, side in path:
        assert view.x <= x and view.y <= y and x + side <= view.x + view.w and y + side <= view.y + view.h


def test_false_detections_neither_move_nor_enlarge_it() -> None:
    """Beside the driver a smaller face; pictures with a false one only: the same in ten, or scattered."""
    true = looks(*[(100 + k % 5, 120, 80) for k in range(20)])
    alone = detection.choose(true + looks(empty=28), 320, 360)
    passenger = [np.vstack([[[240, 40, 50, 50]], one]) for one in true]
    scattered = looks(*[(20 * k, 350 - 20 * k, 30 + 9 * k) for k in range(9)], *[(200, 250, 60)] * 10, empty=9)
    assert detection.choose(passenger + scattered, 320, 360).face == alone.face


def two(driver: tuple[int, tuple], passenger: tuple[int, tuple]) -> list[np.ndarray]:
    """48 looks: the driver on the first so many of them, the passenger on the last so many."""
    found = []
    for k in range(48):
        boxes = [driver[1]] * (k < driver[0]) + [passenger[1]] * (k >= 48 - passenger[0])
        found.append(np.array([(x + k % 3, y, side, side) for x, y, side in boxes], float).reshape(-1, 4))
    return found


def test_of_two_faces_the_larger_is_the_drivers_though_the_other_is_seen_more_often() -> None:
    """A passenger on 45 of 48 pictures beat a driver on 43 whose face is larger."""
    driver, passenger = (600, 200, 124), (100, 220, 120)
    alone = detection.choose(two((43, driver), (0, passenger)), 960, 540)
    assert alone.other is None and not alone.is_loud
    both = detection.choose(two((43, driver), (45, passenger)), 960, 540)
    assert both.face == alone.face and both.seen == 43 and both.is_loud
    assert (both.other.seen, both.other.size) == (45, 0.97)
    said = both.describe()
    assert said.startswith("TWO FACES IN VIEW") and f"face rectangle {both.face} (x,y,w,h)" in said
    assert "found on 43 of 48 pictures; the other one, 0.97 times as large, was found on 45 of them" in said
    assert said.endswith("give face={x},{y},{w},{h}".format(**vars(both.other.view)))
    assert both.other.view == detection.choose(two((0, driver), (45, passenger)), 960, 540).face.view
    assert Choice.from_json(both.to_json(), View(0, 0, 960, 540)) == both


@pytest.mark.parametrize(
    ("driver", "passenger", "size", "said"),
    [
        (45, 13, 90, True),  # comparable, on more than a quarter
        (45, 12, 90, False),
        (45, 45, 80, False),  # two thirds as large: behind
        (20, 45, 110, True),  # seen on less than half as many: the passenger's rectangle, and the driver's in the line
    ],
)
def test_a_second_face_of_comparable_size_is_said(driver: int, passenger: int, size: int, said: bool) -> None:
    chosen = detection.choose(two((driver, (600, 200, 124)), (passenger, (100, 220, size))), 960, 540)
    assert chosen.is_loud == said
    assert (chosen.face.view.x > 400) == (driver != 20)
    assert ("seen far more often" in chosen.describe()) == (driver == 20)


def test_somebody_who_sits_differently_later_is_one_face() -> None:
    """Never there at the same time: what most pictures show, as ever, and nothing is said."""
    moved = looks(*[(400, 200, 120)] * 30, *[(520, 180, 135)] * 18)
    chosen = detection.choose(moved, 960, 540)
    assert chosen.seen == 30 and not chosen.is_loud
    assert chosen.face == detection.choose(moved[:30], 960, 540).face


def test_a_larger_box_around_the_same_face_is_no_second_one() -> None:
    around = [np.array([(400, 200, 100, 100), (350, 150, 200, 200)], float)] * 40 + looks(empty=8)
    alone = looks(*[(350, 150, 200)] * 40, empty=8)
    assert detection.choose(around, 960, 540) == detection.choose(alone, 960, 540)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} (real photographs) is not here")
@pytest.mark.parametrize("person", [1, 4, 6])
def test_two_real_faces_side_by_side(person: int) -> None:
    """The driver's photographs beside those of somebody who sits as near: the rectangle is the larger one's."""
    table = pd.read_csv(REAL / "labels.csv")
    turned = (table["azimuth [deg]"].abs() <= 15) & (table["elevation [deg]"].abs() <= 30) & (table["series"] == 1)
    mine, other = (table[turned & (table["person"] == who)]["image"] for who in (person, 2))
    shown = [[pictures.decode((REAL / "images" / name).read_bytes()) for name in names] for names in (mine, other)]
    near = [cv2.resize(one, None, fx=1.3, fy=1.3)[: one.shape[0], : one.shape[1]] for one in shown[0]]
    wide = [np.hstack(pair) for pair in zip(shown[1], near, strict=True)]
    chosen = detection.choose([detection.detect(one) for one in wide], 768, 288)
    alone = detection.choose([detection.detect(np.hstack([0 * one, one])) for one in near], 768, 288)
    assert chosen.face == alone.face and chosen.face.view.x > 384
    assert chosen.other is None or chosen.other.view.x < 384


def test_at_an_edge_it_is_moved_into_the_view_and_in_a_narrow_view_cut() -> None:
    assert detection.choose(looks(*[(0, 270, 90)] * 9), 320, 360).face.view == View(0, 243, 117, 117)
    assert detection.choose(looks(*[(5, 100, 90)] * 9), 100, 360).face.view == View(0, 86, 100, 117)


@pytest.mark.parametrize(("seen", "empty"), [(9, 39), (2, 1), (0, 48)])
def test_too_few_detections_are_no_rectangle(seen: int, empty: int) -> None:
    chosen = detection.choose(looks(*[(100, 120, 80)] * seen, empty=empty), 320, 360)
    assert chosen.failed and (chosen.seen, chosen.looked_at) == (seen, seen + empty)


def test_it_is_found_on_files_spread_over_the_drive(tmp_path: Path) -> None:
    """Only the pictures looked at show the face: 48 of 95."""
    files = [tmp_path / f"{k:03d}.jpg" for k in range(95)]
    shown, empty = faces.jpeg(faces.portrait()), faces.jpeg(faces.portrait(at=(-500, 0)))
    for k, file in enumerate(files):
        file.write_bytes(empty if k % 2 else shown)
    chosen = detection.find(files, "auto")
    assert (chosen.seen, chosen.looked_at) == (48, 48)
    assert detection.find(files, "none").face is None
    assert detection.find(files, "10,20,30,40").face.view == View(10, 20, 30, 40)
    with pytest.raises(InputError, match="outside the driver view of 320x360"):
        detection.find(files, "300,20,30,40")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} (real photographs) is not here")
@pytest.mark.parametrize("person", [6, 9])
def test_real_faces_are_held_though_heads_turn(person: int) -> None:
    """Photographs of one person, head turned up to 45° to the side and 30° up and down."""
    table = pd.read_csv(REAL / "labels.csv")
    turned = (table["azimuth [deg]"].abs() <= 45) & (table["elevation [deg]"].abs() <= 30)
    mine = table[(table["person"] == person) & (table["series"] == 1) & turned]
    shown = [detection.detect(pictures.decode((REAL / "images" / name).read_bytes())) for name in mine["image"]]
    view = detection.choose(shown, 384, 288).face.view
    left, top, w, h = mine[["face x", "face y", "face w", "face h"]].to_numpy().T
    across = np.clip(np.minimum(left + w, view.x + view.w) - np.maximum(left, view.x), 0, None)
    down = np.clip(np.minimum(top + h, view.y + view.h) - np.maximum(top, view.y), 0, None)
    inside = across * down / (w * h)
    assert np.mean(inside > 0.95) > 0.9
    assert view.w < 3.2 * np.median(w)  # it does not hold them by being large


def test_a_very_thin_picture_has_no_face() -> None:
    for size in ((4000, 1), (1, 4000), (4000, 5)):
        assert detection.detect(np.zeros((*size, 3), np.uint8)).shape == (0, 4)


def test_one_picture_gets_the_room_that_heads_had_in_whole_drives() -> None:
    """It got none, and showed the network a face a fifth larger than those that it had learnt from."""
    path = [(100 + at, 120, 80) for at in range(-20, 21)]
    drive = detection.choose(looks(*path), 320, 360)
    assert drive.room == pytest.approx(drive.face.view.w / 80)
    assert drive.room > 1.6
    alone = detection.choose(looks((100, 120, 80)), 320, 360)
    assert (alone.face.view.w, alone.room) == (104, 1.3)
    roomy = detection.choose(looks((100, 120, 80)), 320, 360, room=drive.room)
    assert roomy.face.view == drive.face.view
    assert detection.choose(looks(*path), 320, 360, room=1.4) == drive, "a drive that shows more keeps what it shows"


def test_the_room_around_a_face_is_written_down_with_the_rectangle() -> None:
    chosen = detection.choose(looks(*[(100, 120, 80)] * 9), 320, 360)
    said = chosen.to_json()
    assert Choice.from_json(said, View(0, 0, 320, 360)) == chosen
    del said["room"]
    assert Choice.from_json(said, View(0, 0, 320, 360)).room == 0.0, "of folders that were prepared before"
