"""The rendered sample drive as files."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from recording import drive, layouts
from recording.exceptions import InputError
from training.sample import film, sample_drive, tracker
from training.sample.recipe import Recipe
from training.sample.scene import Scene

SECONDS = 2.0
RECIPE = Recipe(seed=3, seconds=SECONDS)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> tuple[Path, Path]:
    return sample_drive.render(tmp_path_factory.mktemp("drive"), seed=3, seconds=SECONDS)


def _pictures(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_video_has_the_dashgaze_layout(rendered):
    pictures = _pictures(rendered[0])
    assert len(pictures) == round(SECONDS * RECIPE.fps)
    height, width, _ = pictures[0].shape
    views = layouts.views_for("dashgaze", width, height)
    assert set(views) == {"driver", "road", "camera"}
    for view in views.values():  # every view shows something
        assert pictures[0][view.y : view.y + view.h, view.x : view.x + view.w].std() > 15


def test_frame_of_a_row_is_the_picture_of_that_row(rendered):
    # What the file holds as frame n is what the scene draws for row n of the track (up to compression).
    scene = Scene(RECIPE)
    pictures = _pictures(rendered[0])
    for number in (0, len(pictures) // 2, len(pictures) - 1):
        drawn = scene.frame(number).astype(float)
        errors = [np.abs(picture - drawn).mean() for picture in pictures]
        assert int(np.argmin(errors)) == number
        assert errors[number] < 6.0


def test_second_call_finds_the_drive(rendered):
    before = [path.stat().st_mtime_ns for path in rendered]
    again = sample_drive.render(rendered[0].parent.parent, seed=3, seconds=SECONDS)
    assert again == rendered
    assert [path.stat().st_mtime_ns for path in again] == before


def test_same_seed_same_drive_other_seed_other_drive(rendered, tmp_path):
    again = sample_drive.render(tmp_path, seed=3, seconds=SECONDS)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in rendered]
    # As drawn too, by any number of threads.
    scenes = [Scene(RECIPE) for _ in range(2)]
    drawn = [scenes[0].frame(5), list(film.frames(scenes[1]))[5]]
    assert np.array_equal(*drawn)
    assert tracker.labels_text(replace(RECIPE, seed=4)) != rendered[1].read_text()


def test_drive_is_marked_as_rendered(rendered):
    mark = json.loads((rendered[0].parent / sample_drive.MARK).read_text())
    assert mark["name"] == "rendered sample drive"
    assert mark["seed"] == 3
    assert drive.read(drive.Source(*rendered)).rendered


def test_killed_rendering_leaves_no_drive(tmp_path):
    # kill -9 in the middle: the folder of the drive must not exist, and the next call renders it whole.
    code = (
        "from pathlib import Path; from training.sample import sample_drive; "
        f"sample_drive.render(Path({str(tmp_path)!r}), 0, 600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob(".partial-*/sample_drive.mp4")):
        assert process.poll() is None
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob(".partial-*"))
    assert not list(tmp_path.glob("sample-drive-*"))
    video, _ = sample_drive.render(tmp_path, seed=1, seconds=2.0)
    assert len(_pictures(video)) == 2 * RECIPE.fps


def test_the_driver_alone_is_a_video_for_layout_driver(tmp_path):
    chosen = Recipe(seconds=2.0, fps=4, driver=7, driver_view=(64, 48), focal=120.0, light="night")
    video, labels = sample_drive.render_recipe(tmp_path, chosen)
    pictures = _pictures(video)
    assert len(pictures) == 8
    assert pictures[0].shape == (48, 64, 3)
    seen = drive.read(drive.Source(video, labels, layout="driver"))
    assert seen.views["driver"] == layouts.View(0, 0, 64, 48)
    assert json.loads((video.parent / sample_drive.MARK).read_text())["driver"] == 7


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        sample_drive.render(tmp_path / "file" / "drive", seconds=2.0)
