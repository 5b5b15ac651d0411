"""One reader of the prepared folder: whole ones, bare ones, and what is wrong with others."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import drives
import numpy as np
import pytest
from PIL import Image

from recording import prepared, preprocess
from recording.exceptions import InputError
from recording.face import Choice, Face
from recording.layouts import View
from tests import recordings


def test_what_load_returns(drive: tuple[Path, Path], ready: Path) -> None:
    loaded = prepared.load(ready)
    about = json.loads((ready / "drive.json").read_text())
    assert loaded.folder == ready
    assert (loaded.fps, loaded.rendered, loaded.drive) == (30.0, False, about["recording_sha256"])
    assert {"frame", "driver", "road", "azimuth_deg", "elevation_deg", "timestamp [ns]"} <= set(loaded.table.columns)
    assert loaded.table["road"].str.endswith("_road.jpg").all()


def copy(folder: Path, to: Path, names: str = "*") -> Path:
    to.mkdir()
    for path in folder.glob(names):
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_the_digest_follows_pictures_and_angles_only(ready: Path, tmp_path: Path) -> None:
    digest = prepared.load(ready).digest
    moved = copy(ready, tmp_path / "moved")
    assert prepared.load(moved).digest == digest
    table = (moved / "samples.csv").read_text()
    azimuth = str(recordings.angles(0)[1])
    assert azimuth in table
    (moved / "samples.csv").write_text(table.replace(azimuth, "2.75", 1))
    assert prepared.load(moved).digest != digest
    (moved / "samples.csv").write_text(table)
    (moved / "frame_00000_driver.jpg").write_bytes((moved / "frame_00599_driver.jpg").read_bytes())
    assert prepared.load(moved).digest != digest


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / "frame_00000_driver.jpg").unlink(), r"frame_00000_driver\.jpg: cannot be read"),
        (
            lambda folder: (folder / "frame_00000_driver.jpg").write_bytes(
                (folder / "frame_00000_driver.jpg").read_bytes()[:900]
            ),
            r"frame_00000_driver\.jpg: is damaged",
        ),
        (lambda folder: (folder / "samples.csv").unlink(), "cannot be read"),
        (lambda folder: (folder / "samples.csv").write_text("a,b\n1,2\n"), "cannot be read"),
        (lambda folder: (folder / "drive.json").write_text("{"), r"drive\.json: cannot be read as JSON"),
        (lambda folder: (folder / "drive.json").write_text('{"format": 99}'), "format 99 is not 1"),
        (lambda folder: (folder / "drive.json").write_text('{"format": 1, "status": "complete"}'), "cannot be read"),
    ],
)
def test_a_harmed_prepared_folder_is_refused_in_one_line(harm, says: str, ready: Path, tmp_path: Path) -> None:
    folder = copy(ready, tmp_path / "harmed")
    harm(folder)
    with pytest.raises(InputError, match=says) as caught:
        prepared.load(folder)
    assert "\n" not in str(caught.value)


def test_an_empty_or_absent_folder_says_what_was_looked_for_and_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no samples found in .*looked for samples\.csv.*\*_driver\.jpg.*prepare --vid"
    ):
        prepared.load(tmp_path)
    with pytest.raises(InputError, match="no such folder; make it with"):
        prepared.load(tmp_path / "absent")


def bare(folder: Path, stem: str, truth: object, seed: int = 0) -> None:
    picture = recordings.picture(seed, (96, 96))
    cv2.imwrite(str(folder / f"{stem}_driver.jpg"), picture)
    (folder / f"{stem}_gt.json").write_text(json.dumps(truth))


def test_a_bare_folder_as_users_have_it_is_read(tmp_path: Path) -> None:
    bare(tmp_path, "frame_00012", {"azimuth_deg": 1.5, "elevation_deg": -2, "worn": True}, 12)
    bare(tmp_path, "frame_00003", {"azimuth [deg]": 3, "elevation [deg]": 4}, 3)
    bare(tmp_path, "frame_00100", {"frame": 7, "azimuth": 5, "elevation": 6}, 100)
    (tmp_path / "frame_00003_road.jpg").write_bytes(b"")
    loaded = prepared.load(tmp_path)
    assert loaded.table["frame"].tolist() == [3, 12, 100]
    assert loaded.table["azimuth_deg"].tolist() == [3.0, 1.5, 5.0]
    assert loaded.table["road"].tolist() == ["frame_00003_road.jpg", "", ""]
    assert (loaded.fps, loaded.rendered) == (30.0, False)
    assert loaded.drive == loaded.digest


def test_times_in_the_names_of_a_bare_folder_are_said_to_be_no_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        bare(
            tmp_path,
            f"img_{1_700_000_000_000_000_000 + number * 33_333_333}",
            {"azimuth": 1.0, "elevation": 2.0},
            number,
        )
    prepared.load(tmp_path)
    assert (
        "img_1700000000000000000_driver.jpg, are taken for frames at 30 a second, and are 33333333 apart" in caplog.text
    )


@pytest.mark.parametrize(("first", "step"), [(1_700_000_000_000, 1000), (1_700_000_000, 1), (100_001_337, 40)])
def test_times_that_are_near_each_other_are_said_to_be_no_frames(first: int, step: int, tmp_path: Path) -> None:
    for n in range(3):
        bare(tmp_path, str(first + step * n), {"azimuth": 1.0, "elevation": 2.0}, n)
    (said,) = prepared.load(tmp_path).warnings
    assert f"{step} apart, up to {first + 2 * step}: splits by time" in said


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ("_", "by which the samples come in another order than by all of them, as by a part of a time"),
        (".", "6 of 6 samples share a number with another, whichever number of the names is taken"),
    ],
)
@pytest.mark.parametrize("ending", ["", "Z"])
def test_a_part_of_a_time_is_said_to_be_one(ending: str, point: str, says: str, tmp_path: Path) -> None:
    for n in range(6):
        stem = f"2024-03-05_10-00-{n // 3:02d}{point}{(n * 337) % 1000:03d}{ending}"
        bare(tmp_path, stem, {"azimuth": n - 3.0, "elevation": 2.0}, n)
    (said,) = prepared.load(tmp_path).warnings
    assert says in said


def test_a_bare_copy_of_a_prepared_folder_holds_the_same_samples(ready: Path, tmp_path: Path) -> None:
    whole, stripped = prepared.load(ready), prepared.load(copy(ready, tmp_path / "bare", "frame_*"))
    assert stripped.digest == whole.digest
    columns = ["frame", "driver", "road", "azimuth_deg", "elevation_deg"]
    assert stripped.table[columns].equals(whole.table[columns])


def test_a_prepared_folder_that_lost_what_it_was_made_from_is_said(ready: Path, tmp_path: Path) -> None:
    folder = copy(ready, tmp_path / "lost")
    (folder / "drive.json").unlink()
    loaded = prepared.load(folder)
    assert len(loaded.table) == 40
    (said,) = loaded.warnings
    assert "has samples.csv and no drive.json, so only its pictures and *_gt.json are read" in said


@pytest.mark.parametrize(
    ("truth", "says"),
    [
        ({"pitch": 1, "yaw": 2}, "has none of azimuth_deg, azimuth [deg], azimuth; found pitch, yaw"),
        ({"azimuth_deg": "left", "elevation_deg": 2}, "azimuth_deg is 'left'"),
        ({"azimuth_deg": 1, "elevation_deg": None}, "elevation_deg is None"),
        ({"azimuth_deg": 1, "elevation_deg": 91}, "elevation_deg is 91"),
        ([1, 2], "is no JSON object"),
    ],
)
def test_a_bad_sample_of_a_bare_folder_is_left_out_and_counted(
    truth: object, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare(tmp_path, "bad", truth)
    with pytest.raises(InputError, match="none of 1 is usable") as caught:
        prepared.load(tmp_path)
    assert says in str(caught.value)
    bare(tmp_path, "good_2", {"azimuth_deg": 1, "elevation_deg": 2})
    assert prepared.load(tmp_path).table["driver"].tolist() == ["good_2_driver.jpg"]
    assert "1 of 2 samples left out" in caplog.text


def test_a_torn_picture_or_a_missing_truth_of_a_bare_folder_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(3):
        bare(tmp_path, f"f{n}", {"azimuth_deg": n, "elevation_deg": n}, n)
    (tmp_path / "f0_gt.json").unlink()
    torn = tmp_path / "f1_driver.jpg"
    torn.write_bytes(torn.read_bytes()[:-100])
    assert prepared.load(tmp_path).table["frame"].tolist() == [2]
    assert "2 of 3 samples left out" in caplog.text


def test_pictures_are_the_pixels_that_serving_sees(ready: Path) -> None:
    loaded = prepared.load(ready)
    pictures = prepared.driver_pictures(loaded)
    assert (pictures.shape, pictures.dtype) == ((40, 224, 224, 3), np.uint8)
    for row, name in enumerate(loaded.table["driver"]):
        served = preprocess.resize(preprocess.decode((ready / name).read_bytes()))
        np.testing.assert_array_equal(pictures[row], served)


def test_without_a_face_rectangle_pictures_are_what_they_were_and_with_one_they_are_cut(ready: Path) -> None:
    loaded, face = prepared.load(ready), Face(119, 132, View(20, 30, 64, 50))
    names = loaded.table["driver"]
    whole = prepared.driver_pictures(replace(loaded, chosen=Choice(None)))
    cut = prepared.driver_pictures(replace(loaded, chosen=Choice(face)))
    for row in (0, 39):
        # As before there was a face rectangle: the one picture, read and stretched.
        decoded = preprocess.decode((ready / names[row]).read_bytes())
        assert decoded.shape == (132, 119, 3)
        np.testing.assert_array_equal(whole[row], cv2.resize(decoded, (224, 224), interpolation=cv2.INTER_LINEAR))
        np.testing.assert_array_equal(cut[row], preprocess.resize(decoded[30:80, 20:84]))
    other = replace(loaded, chosen=Choice(Face(200, 100, View(0, 0, 64, 50))))
    with pytest.raises(InputError, match=r"frame_00000_driver\.jpg: 119x132 pixels have not the proportions"):
        prepared.driver_pictures(other)


def test_batches_of_pictures_follow_the_indices(ready: Path) -> None:
    loaded = prepared.load(ready)
    every = prepared.driver_pictures(loaded, size=32)
    wanted = np.array([5, 1, 39, 0, 7])
    batches = list(prepared.iterate_pictures(loaded, wanted, batch=2, size=32))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(batches), every[wanted])
    assert list(prepared.iterate_pictures(loaded, np.array([], int), batch=2)) == []


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("frame_00000_driver.jpg", "../elsewhere_driver.jpg", "which is not in the folder"),
        (f",{recordings.angles(0)[0]},", ",nan,", "has the angle nan"),
        (f",{recordings.angles(0)[0]},", ",350.5,", "has the angle 350.5"),
    ],
)
def test_a_table_edited_by_hand_is_checked_by_the_same_rules(
    was: str, becomes: str, says: str, ready: Path, tmp_path: Path
) -> None:
    folder = copy(ready, tmp_path / "edited")
    table = (folder / "samples.csv").read_text()
    assert was in table
    (folder / "samples.csv").write_text(table.replace(was, becomes, 1))
    with pytest.raises(InputError, match=says):
        prepared.load(folder)


def test_a_folder_says_where_its_pictures_lay_in_the_video(ready: Path, tmp_path: Path) -> None:
    layout = prepared.load(ready).layout
    assert (layout.name, layout.width, layout.height) == ("dashgaze", *recordings.COMPOSITE)
    assert vars(layout.views["driver"]) == json.loads((ready / "drive.json").read_text())["layout"]["views"]["driver"]
    assert prepared.load(copy(ready, tmp_path / "bare", "frame_*")).layout is None


def gaze_folder(folder: Path, written) -> Path:
    for n in range(60):
        azimuth, elevation = 20 * np.sin(n / 3), 8 * np.cos(n / 5) - 3
        angles = written(azimuth, elevation)
        named = angles if isinstance(angles, dict) else dict(zip(("azimuth_deg", "elevation_deg"), angles, strict=True))
        bare(folder, f"frame_{n:05d}", named, n)
    return folder


@pytest.mark.parametrize(
    "written",
    [
        lambda azimuth, elevation: (azimuth, elevation),
        lambda azimuth, elevation: (azimuth % 360, elevation % 360),
        lambda azimuth, elevation: (f"{azimuth:.9f}".replace("-", "\u2212").replace(".", ","), f"{elevation:.9f}"),
        lambda azimuth, elevation: {"Azimuth (deg)": azimuth, "elevation [deg]": elevation, "azimuth [rad]": 9},
        lambda azimuth, elevation: {"azimuth_rad": np.radians(azimuth), "elevation": elevation},
    ],
    ids=["degrees", "0-360", "text", "other names", "radians that say so"],
)
def test_angles_of_a_bare_folder_that_can_be_meant_in_one_way_are_read(written, tmp_path: Path) -> None:
    read = prepared.load(gaze_folder(tmp_path, written)).measured_deg
    np.testing.assert_allclose(read[:, 0], 20 * np.sin(np.arange(60) / 3), atol=1e-6)
    np.testing.assert_allclose(read[:, 1], 8 * np.cos(np.arange(60) / 5) - 3, atol=1e-6)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (lambda azimuth, elevation: (np.radians(azimuth), np.radians(elevation)), "these are radians; write degrees"),
        (
            lambda azimuth, elevation: (f"({-azimuth})" if azimuth < 0 else azimuth, elevation),
            r"\d\d of 60 samples would be left out for how their angles are written.*, the first: .*azimuth_deg is '\(",
        ),
        (
            lambda azimuth, elevation: (f"({azimuth})" if azimuth < -19.9 else abs(azimuth), elevation),
            r"3 of 60 samples would be left out .*, and what is left lies on one side of 0, the first:",
        ),
    ],
    ids=["radians", "brackets", "three looks to the left"],
)
def test_a_bare_folder_that_would_lose_a_class_of_samples_is_refused(written, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        prepared.load(gaze_folder(tmp_path, written))
    assert "\n" not in str(caught.value)


def half(azimuth: float, elevation: float, **left: object) -> dict:
    return (
        {"azimuth_deg": azimuth, "elevation_deg": elevation} if azimuth >= 0 else {"elevation_deg": elevation, **left}
    )


@pytest.mark.parametrize(
    "left",
    [{"azimuth_deg": None}, {"azimuth_deg": float("nan")}, {"azimuth_deg": ""}, {}],
    ids=["null", "NaN", "empty", "no key"],
)
def test_a_bare_folder_whose_looks_to_one_side_are_blank_is_refused(left: dict, tmp_path: Path) -> None:
    gaze_folder(tmp_path, lambda azimuth, elevation: half(azimuth, elevation, **left))
    with pytest.raises(
        InputError,
        match=r"27 of 60 samples have one angle and no azimuth_deg, and what is left lies on one side .* first:",
    ):
        prepared.load(tmp_path)


def test_a_bare_folder_whose_looks_to_one_side_are_zeros_is_refused(tmp_path: Path) -> None:
    for name in "ae":
        (tmp_path / name).mkdir()
    folder = gaze_folder(tmp_path / "a", lambda a, e: {"azimuth_deg": max(a, 0.0), "elevation_deg": e})
    with pytest.raises(
        InputError, match=r"azimuth_deg is exactly 0 in \d+ of 60 samples \(the first is frame_.*remove"
    ):
        prepared.load(folder)
    folder = gaze_folder(tmp_path / "e", lambda a, e: {"azimuth_deg": a, "elevation_deg": min(e, 0.0)})
    (said,) = prepared.load(folder).warnings
    assert "elevation_deg is exactly 0 in" in said


def test_an_angle_under_two_keys_is_refused_where_they_differ(tmp_path: Path) -> None:
    folder, other = tmp_path / "same", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    gaze_folder(folder, lambda a, e: {"azimuth [deg]": round(a, 2), "azimuth_deg": a, "elevation_deg": e})
    assert len(prepared.load(folder).table) == 60
    gaze_folder(other, lambda a, e: {"azimuth [deg]": a + 7, "azimuth_deg": a, "elevation_deg": e})
    with pytest.raises(
        InputError, match=r"frame_00000_gt\.json: 'azimuth_deg' is 0\.0 and 'azimuth \[deg\]' is 7\.0: keep"
    ):
        prepared.load(other)


def test_a_key_that_stands_twice_in_one_file_is_refused(tmp_path: Path) -> None:
    bare(tmp_path, "frame_00001", {})
    (tmp_path / "frame_00001_gt.json").write_text('{"azimuth_deg": 1, "azimuth_deg": 5, "elevation_deg": 2}')
    with pytest.raises(InputError, match="'azimuth_deg' stands twice in one object"):
        prepared.load(tmp_path)


def test_pictures_of_a_bare_folder_may_end_in_any_way_that_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endings = [".jpg", ".jpeg", ".JPG", ".png", ".PNG", ".jfif"]
    for n, ending in enumerate(endings):
        bare(tmp_path, f"frame_{n:05d}", {"azimuth_deg": n - 3, "elevation_deg": n}, n)
        path = tmp_path / f"frame_{n:05d}_driver.jpg"
        if ending.lower() == ".png":
            path.write_bytes(cv2.imencode(".png", recordings.picture(n, (96, 96)))[1].tobytes())
        path.rename(path.with_suffix(ending))
        (tmp_path / f"frame_{n:05d}_road{ending}").write_bytes(b"")
    loaded = prepared.load(tmp_path)
    assert loaded.table["driver"].tolist() == [f"frame_{n:05d}_driver{ending}" for n, ending in enumerate(endings)]
    assert loaded.table["road"].tolist() == [f"frame_{n:05d}_road{ending}" for n, ending in enumerate(endings)]
    assert prepared.driver_pictures(loaded).shape == (6, 224, 224, 3)
    assert not caplog.messages


def test_files_of_a_bare_folder_that_are_not_read_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(6):
        bare(tmp_path, f"frame_{n:05d}", {"azimuth_deg": n, "elevation_deg": n}, n)
    for n in (2, 4):
        (tmp_path / f"frame_{n:05d}_driver.jpg").rename(tmp_path / f"frame_{n:05d}_driver.webp")
    (tmp_path / "frame_00001_driver.png").write_bytes(b"")
    loaded = prepared.load(tmp_path)
    assert loaded.table["driver"].tolist() == [f"frame_{n:05d}_driver.jpg" for n in (0, 1, 3, 5)]
    several, alone = loaded.warnings
    assert (
        "samples with several pictures: 1; one is read, as frame_00001_driver.jpg and not frame_00001_driver.png"
        in several
    )
    assert "2 of 6 *_gt.json have no picture that is read beside them" in alone
    assert alone.endswith("the first: frame_00002_gt.json")


@pytest.mark.parametrize(
    ("stem", "says"),
    [
        ("frame_{n:05d}_cam0", ""),
        ("P03_{n:05d}_v2", ""),
        ("frame ({n})", ""),
        ("P03_{n:05d}_{n:05d}", ""),
        ("{half}_{n:05d}", "of several numbers in the names, 0 in 0_00000 is taken"),
        ("{n:05d}_take{half}", "of several numbers in the names, 0 in 00000_take0 is taken"),
    ],
)
def test_the_number_that_differs_is_the_frame(stem: str, says: str, tmp_path: Path) -> None:
    for n in range(12):
        bare(tmp_path, stem.format(n=3 * n, half=n // 6), {"azimuth_deg": n - 5, "elevation_deg": n}, n)
    loaded = prepared.load(tmp_path)
    assert loaded.table["frame"].tolist() == [3 * n for n in range(12)]
    assert loaded.table["azimuth_deg"].tolist() == [n - 5 for n in range(12)]
    assert (len(loaded.warnings) == bool(says)) and all(says in warning for warning in loaded.warnings)


def test_decimals_and_signed_angles_in_names_are_no_frames(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    for n in range(12):
        azimuth, elevation = random.normal(0, 8, 2)
        stem = f"{5 * n:05d}_az{azimuth:.3f}_el{elevation:.3f}"
        bare(tmp_path, stem, {"azimuth_deg": azimuth, "elevation_deg": elevation}, n)
    loaded = prepared.load(tmp_path)
    assert loaded.table["frame"].tolist() == [5 * n for n in range(12)]
    (warning,) = loaded.warnings
    assert "of several numbers in the names, 0 in 00000_az" in warning and "another order" not in warning


def test_frames_that_every_file_says_go_before_names(tmp_path: Path) -> None:
    for n in range(6):
        bare(tmp_path, f"sample_{n}", {"frame": 30 * n, "azimuth_deg": n, "elevation_deg": n}, n)
    loaded = prepared.load(tmp_path)
    assert loaded.table["frame"].tolist() == [0, 30, 60, 90, 120, 150]
    assert "the numbers under 'frame' in the JSON files are taken" in loaded.warnings[0]
    (tmp_path / "sample_3_gt.json").write_text('{"frame": 30, "azimuth_deg": 3, "elevation_deg": 3}')
    loaded = prepared.load(tmp_path)
    assert loaded.table["frame"].tolist() == list(range(6))  # one twice: these are no frames
    assert "under 'frame' in the JSON files are not taken (2 of 6 samples share a number with" in loaded.warnings[0]


def test_frames_that_files_say_as_text_are_read(tmp_path: Path) -> None:
    for n in range(6):
        bare(tmp_path, f"img{'abcdef'[n]}", {"frame": f"{30 * n:05d}", "azimuth_deg": n, "elevation_deg": n}, n)
    loaded = prepared.load(tmp_path)
    assert (loaded.table["frame"].tolist(), loaded.warnings) == ([0, 30, 60, 90, 120, 150], ())


@pytest.mark.parametrize("frame", [None, -3, 1.5, "first"])
def test_places_in_the_folder_that_stand_for_numbers_are_said(frame: object, tmp_path: Path) -> None:
    for n in range(6):
        said = frame if n == 3 else 30 * n
        bare(tmp_path, f"img{'abcdef'[n]}", {"frame": said, "azimuth_deg": n, "elevation_deg": n}, n)
    loaded = prepared.load(tmp_path)
    assert loaded.table["frame"].tolist() == list(range(6))
    (warning,) = loaded.warnings
    assert "under 'frame' in the JSON files are not taken (5 of 6 have one); 6 of 6 names end in no number" in warning


def test_samples_that_share_a_number_are_said(tmp_path: Path) -> None:
    for n in range(12):
        bare(tmp_path, f"P{n // 6}_{n % 6:05d}_v2", {"azimuth_deg": n, "elevation_deg": n}, n)
    loaded = prepared.load(tmp_path)
    assert loaded.table["frame"].tolist() == [n // 2 for n in range(12)]
    assert "12 of 12 samples share a number with another" in loaded.warnings[0]


# Stored lying, with a film behind it, or damaged in the middle: read as shown, read, left out and said.
def test_a_bare_folder_reads_pictures_as_the_server_does(tmp_path: Path) -> None:
    folder = drives.prepared_folder(tmp_path, 12)
    paths = sorted(folder.glob("*_driver.jpg"))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = cv2.imread(str(paths[0]))
    Image.fromarray(np.rot90(upright[..., ::-1])).save(paths[0], exif=exif, quality=95)
    film = paths[1].read_bytes() + b"\xff\xda film" * 500
    paths[1].write_bytes(film)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[: len(whole) // 2] + bytes(200) + whole[len(whole) // 2 + 200 :])
    samples = prepared.load(folder)
    assert len(samples.table) == 11
    assert paths[2].name not in set(samples.table["driver"])
    turned = prepared.driver_pictures(samples)[0].astype(np.float64)
    assert np.abs(turned - preprocess.resize(upright[..., ::-1])).mean() < 4


def test_a_folder_whose_name_is_too_long_is_one_line() -> None:
    with pytest.raises(InputError, match=r"samples folder x+: cannot be read \(File name too long\); give another"):
        prepared.load(Path("x" * 300))
