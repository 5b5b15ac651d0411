"""Views are cut where the layout says, at every size of the same proportions, and nowhere else."""

import json
from pathlib import Path

import pytest

from recording import layouts
from recording.exceptions import InputError
from recording.layouts import View


def test_the_dashgaze_composite_at_its_own_size() -> None:
    assert layouts.views_for("dashgaze", 3008, 1080) == {
        "driver": View(6, 7, 950, 1068),
        "road": View(962, 6, 955, 1071),
        "camera": View(1920, 6, 1082, 1071),
    }


def test_the_older_export_has_no_camera_view() -> None:
    assert layouts.views_for("dashgaze", 1920, 1080) == {
        "driver": View(6, 7, 950, 1068),
        "road": View(962, 6, 955, 1071),
    }


def test_half_size_has_half_the_rectangles() -> None:
    assert layouts.views_for("dashgaze", 1504, 540) == {
        "driver": View(3, 4, 475, 534),
        "road": View(481, 3, 477, 535),
        "camera": View(960, 3, 541, 535),
    }


@pytest.mark.parametrize(
    ("width", "height", "views"),
    [(1003, 360, 3), (1002, 360, 3), (1504, 541, 3), (6016, 2160, 3), (1279, 720, 2), (1281, 719, 2), (376, 134, 3)],
)
def test_sizes_that_an_export_rounded_fit_within_a_pixel(width: int, height: int, views: int) -> None:
    found = layouts.views_for("dashgaze", width, height)
    assert len(found) == views
    for view in found.values():
        assert 0 <= view.x < view.x + view.w <= width
        assert 0 <= view.y < view.y + view.h <= height


@pytest.mark.parametrize(("width", "height"), [(1920, 1200), (1504, 546), (1080, 1920), (640, 480)])
def test_a_size_that_fits_no_layout_is_named_with_those_that_fit(width: int, height: int) -> None:
    with pytest.raises(InputError, match=rf"v\.mp4: {width}x{height}.*3008x1080 or 1920x1080.*layout=driver"):
        layouts.views_for("dashgaze", width, height, "v.mp4")


def test_a_video_too_small_to_show_eyes_is_refused() -> None:
    with pytest.raises(InputError, match="driver view is only"):
        layouts.views_for("dashgaze", 25, 14)


def test_driver_takes_the_whole_picture() -> None:
    assert layouts.views_for("driver", 641, 479) == {"driver": View(0, 0, 641, 479)}


@pytest.mark.parametrize("name", ["mine.yaml", "mine.json"])
def test_a_layout_file_is_scaled_too(name: str, tmp_path: Path) -> None:
    fields = {"width": 1000, "height": 500, "views": {"driver": {"x": 100, "y": 50, "w": 300, "h": 400}}}
    (tmp_path / name).write_text(json.dumps(fields))  # JSON is YAML
    assert layouts.views_for(tmp_path / name, 500, 250) == {"driver": View(50, 25, 150, 200)}
    with pytest.raises(InputError, match="1000x500"):
        layouts.views_for(tmp_path / name, 500, 300)


def test_a_yaml_layout_as_people_write_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(
        "width: 800\nheight: 600\nviews:\n"
        "  driver: {x: 0, y: 0, w: 400, h: 600}\n"
        "  road:\n    x: 400\n    y: 0\n    w: 400\n    h: 600\n"
    )
    assert set(layouts.read(tmp_path / "mine.yml").views) == {"driver", "road"}


GOOD = {"width": 100, "height": 50, "views": {"driver": {"x": 0, "y": 0, "w": 50, "h": 50}}}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ([1, 2], "must be a mapping"),
        ({key: GOOD[key] for key in ("width", "height")}, "lacks views"),
        (GOOD | {"colour": 1}, "unknown colour"),
        (GOOD | {"width": "wide"}, "width is 'wide'"),
        (GOOD | {"width": True}, "width is True"),
        (GOOD | {"height": 0}, "height is 0"),
        (GOOD | {"views": {"road": GOOD["views"]["driver"]}}, "views lacks driver"),
        (GOOD | {"views": GOOD["views"] | {"rear": {}}}, "unknown rear; it takes driver, road, camera"),
        (GOOD | {"views": {"driver": {"x": 0, "y": 0, "w": 50}}}, "views.driver lacks h"),
        (GOOD | {"views": {"driver": {"x": -1, "y": 0, "w": 50, "h": 50}}}, "views.driver.x is -1"),
        (GOOD | {"views": {"driver": {"x": 60, "y": 0, "w": 50, "h": 50}}}, "reaches outside 100x50"),
    ],
)
def test_a_wrong_layout_file_is_refused_by_field(fields: object, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(InputError, match=says) as caught:
        layouts.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layout_file_that_is_no_yaml_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("views: [unclosed\n: :")
    with pytest.raises(InputError, match="cannot be read as YAML or JSON") as caught:
        layouts.read(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mine.json", "mine.yaml"])
def test_a_layout_file_nested_too_deeply_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(InputError, match="cannot be read as YAML or JSON"):
        layouts.read(tmp_path / name)


def test_an_unknown_layout_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="'dashgase' is neither dashgaze nor driver nor a file"):
        layouts.views_for("dashgase", 3008, 1080)


def test_what_a_model_may_be_given_that_was_trained_on_these_pictures() -> None:
    half = layouts.Layout("dashgaze", 1504, 540, layouts.views_for("dashgaze", 1504, 540))
    assert layouts.origins(half) == layouts.DASHGAZE
    whole = layouts.Layout("driver", 641, 479, layouts.views_for("driver", 641, 479))
    assert layouts.origins(whole) == ()
    # The proportions of a DashGaze composite, the driver elsewhere: a layout of its own, whatever its name.
    own = layouts.Layout("dashgaze", 1504, 540, {"driver": View(960, 3, 541, 535)})
    assert layouts.origins(own) == (own,)
