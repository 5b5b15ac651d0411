"""Several prepared folders as one list of samples: what they say about where their pictures lay."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recording import detection, layouts, recordings
from recording.exceptions import InputError
from recording.layouts import Layout, View
from recording.prepared import Samples
from recording.recordings import Recordings
from tests import faces

OWN = Layout("mine.yaml", 640, 200, {"driver": View(300, 20, 160, 160)})


def samples(layout: Layout | None) -> Samples:
    return Samples(Path("x"), "x", pd.DataFrame({"frame": [0]}), 30.0, "d", "d", rendered=False, layout=layout)


def dashgaze(width: int, height: int) -> Layout:
    return Layout("dashgaze", width, height, layouts.views_for("dashgaze", width, height))


def test_a_prepared_folder_says_its_layout_whatever_was_asked_for() -> None:
    assert Recordings((samples(OWN),)).layouts("dashgaze") == ("mine.yaml", (OWN,))
    assert Recordings((samples(dashgaze(376, 134)),)).layouts("driver") == ("dashgaze", layouts.DASHGAZE)


def test_a_bare_folder_does_not_say_so_the_layout_that_was_asked_for_counts(tmp_path: Path) -> None:
    bare = Recordings((samples(None),))
    assert bare.layouts("dashgaze") == ("dashgaze", layouts.DASHGAZE)
    assert bare.layouts("driver") == ("driver", ())
    with pytest.raises(InputError, match=r"absent\.yaml"):
        bare.layouts(tmp_path / "absent.yaml")


def bare(folder: Path, picture: np.ndarray, count: int = 4) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"frame_{number:05d}_driver.jpg").write_bytes(faces.jpeg(picture))
        (folder / f"frame_{number:05d}_gt.json").write_text('{"azimuth_deg": 20, "elevation_deg": -10}')
    return folder


def test_the_face_is_looked_for_where_a_folder_does_not_say(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    alone = recordings.load((bare(tmp_path / "a", faces.portrait(width=100)),))
    assert alone.faces == (None,)  # reading looks for nothing
    (found,) = recordings.with_faces(alone, "auto").faces
    assert found is not None and found.view.x < 160 - 50 and found.view.x + found.view.w > 160 + 50
    assert f"a: face rectangle {found} (x,y,w,h) of the driver view's 320x360, found on 4 of 4" in caplog.text
    assert recordings.with_faces(alone, "none").faces == (None,)
    assert str(recordings.with_faces(alone, "10,20,30,40").faces[0]) == "10,20,30,40"


def test_one_drive_without_a_face_makes_all_whole_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown, nobody = faces.portrait(), faces.portrait(at=(-500, 0))
    two = recordings.load((bare(tmp_path / "a", shown), bare(tmp_path / "b", nobody)))
    assert recordings.with_faces(two, "auto").faces == (None, None)
    assert "b: NO FACE RECTANGLE: 0 of 4 pictures" in caplog.text
    assert "not every drive has one, so all are used whole" in caplog.text


def test_a_dark_drive_gets_the_rectangle_of_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown, nobody = faces.portrait(), faces.portrait(at=(-500, 0))
    dark = bare(tmp_path / "dark", nobody, count=12)
    for number in (3, 8):  # two of twelve: no rectangle of its own
        (dark / f"frame_{number:05d}_driver.jpg").write_bytes(faces.jpeg(shown))
    both = recordings.with_faces(recordings.load((bare(tmp_path / "a", shown), dark)), "auto")
    assert both.faces[0] is not None and both.faces == (both.faces[0], both.faces[0])
    assert f"dark: FACE RECTANGLE OF THE OTHER DRIVES: {both.faces[0]} (x,y,w,h); only 2 of 12" in caplog.text


def test_no_rectangle_of_others_where_faces_lie_elsewhere(tmp_path: Path) -> None:
    shown, nobody = faces.portrait(width=80), faces.portrait(at=(-500, 0))
    other = bare(tmp_path / "other camera", nobody, count=12)
    for number in (3, 8):
        elsewhere = faces.portrait(width=80, at=(270, 60))
        assert len(detection.detect(elsewhere))
        (other / f"frame_{number:05d}_driver.jpg").write_bytes(faces.jpeg(elsewhere))
    both = recordings.with_faces(recordings.load((bare(tmp_path / "a", shown), other)), "auto")
    assert both.faces == (None, None)


@pytest.mark.parametrize("sizes", [[(224, 224)], [(320, 360), (360, 320)]], ids=["stretched", "two proportions"])
def test_pictures_that_are_no_driver_view_get_no_rectangle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sizes: list[tuple[int, int]]
) -> None:
    """A bare folder may hold anything: a rectangle in it would refuse every driver view, or end the job."""
    shown = bare(tmp_path / "a", faces.portrait(sizes[0], (sizes[0][0] / 2, sizes[0][1] / 2)))
    (shown / "frame_00000_driver.jpg").write_bytes(faces.jpeg(faces.portrait(sizes[-1], (110, 110))))
    alone = recordings.load((shown,))
    used = recordings.with_faces(alone, "auto")
    assert used.faces == (None,)
    assert "a: NO FACE RECTANGLE: pictures of " in caplog.text and "NO FACE RECTANGLE" in used.face_line
    assert next(used.iterate_pictures(4)).shape == (4, 224, 224, 3)
    if len(sizes) == 1:
        assert str(recordings.with_faces(alone, "10,20,130,140").faces[0]) == "10,20,130,140"
    else:
        with pytest.raises(InputError, match=r"320x360 and 360x320 pixels .* give face=none"):
            recordings.with_faces(alone, "10,20,130,140")


def test_several_drives_have_all_their_layouts_once() -> None:
    three = Recordings((samples(dashgaze(376, 134)), samples(OWN), samples(dashgaze(1504, 540))))
    assert three.layouts("dashgaze") == ("dashgaze, mine.yaml", (*layouts.DASHGAZE, OWN))
