"""The app reads prepared folders through the reader that training uses."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from recording import fingerprint, layouts
from recording import prepared as reader
from recording.exceptions import InputError
from recording.fingerprint import Fingerprint
from recording.prepared import Samples
from registry.lineage import Footage
from serving import prepared
from tests import footage, packages

DRIVER = {"width": 160, "height": 180, "views": {"driver": {"x": 0, "y": 0, "w": 160, "h": 180}}}


def sample(folder: Path, frame: int, truth: dict[str, object]) -> None:
    cv2.imwrite(str(folder / f"frame_{frame:05d}_driver.jpg"), np.full((60, 60, 3), frame % 250, np.uint8))
    (folder / f"frame_{frame:05d}_gt.json").write_text(json.dumps(truth))


def test_a_bare_folder_whose_json_says_azimuth_in_brackets_is_shown(tmp_path: Path) -> None:
    for frame in range(0, 40, 2):
        sample(tmp_path, frame, {"azimuth [deg]": frame / 2, "elevation [deg]": -1, "time": 3, "part": "x"})
    shown, trained = prepared.read(tmp_path), reader.load(tmp_path)
    columns = ["frame", "driver", "road", "azimuth_deg", "elevation_deg"]
    assert shown.table[columns].equals(trained.table[columns])
    assert (shown.drive, shown.digest, shown.fps) == (trained.drive, trained.digest, trained.fps)
    assert shown.table["scenario"].tolist() == np.repeat(np.arange(1, 11), 2).tolist()
    assert list(shown.table.columns) == [*columns, "scenario"]


@pytest.mark.parametrize("azimuth", ["left", 500.0, None])
def test_what_training_leaves_out_the_app_does_not_show(azimuth: object, tmp_path: Path) -> None:
    for frame in range(40):
        sample(tmp_path, frame, {"azimuth_deg": azimuth if frame == 7 else 1.0, "elevation_deg": -1})
    assert 7 not in prepared.read(tmp_path).table["frame"].tolist()
    assert len(prepared.read(tmp_path).table) == 39


def test_an_empty_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no samples found in .* make them with: python -m training prepare"):
        prepared.read(tmp_path)


def test_parts_of_the_drive_that_a_model_was_trained_on(tmp_path: Path) -> None:
    for frame in range(0, 300, 30):  # a second apart
        sample(tmp_path, frame, {"azimuth_deg": 1.0, "elevation_deg": -1})
    samples = prepared.read(tmp_path)
    held_out = packages.make_holdout(4, drive=samples.drive, trained_frames=np.arange(5) * 30)
    held_out.frames = np.array([210, 240, 270, 900])
    expected = ["trained on"] * 5 + ["neither"] * 2 + ["held out"] * 3
    assert prepared.parts(samples, held_out).tolist() == expected
    # Prepared with another number of samples: other frames of the same stretch are near copies.
    assert prepared.parts(samples, replace(held_out, trained_frames=np.arange(5) * 30 + 7)).tolist() == [
        *expected[:5],
        "trained on",
        *expected[6:],
    ]
    held_out.drive = "f" * 64
    assert set(prepared.parts(samples, held_out)) == {"neither"}
    assert set(prepared.parts(samples, None)) == {"neither"}


# A version of several drives is tested on the last of them: the others were called new to it.
def test_frames_of_a_drive_that_a_model_was_trained_on_and_not_tested_on_are_known_too(tmp_path: Path) -> None:
    for frame in range(0, 300, 30):
        sample(tmp_path, frame, {"azimuth_deg": 1.0, "elevation_deg": -1})
    samples = prepared.read(tmp_path)
    elsewhere = (Footage("e" * 64, 30.0, np.arange(9)), Footage(samples.drive, 30.0, np.arange(6) * 30))
    held_out = packages.make_holdout(4, drive="f" * 64, elsewhere=elsewhere)
    assert prepared.parts(samples, held_out).tolist() == ["trained on"] * 6 + ["neither"] * 4


def scattered(folder: Path, shown: list[np.ndarray]) -> Samples:
    """A bare folder of these pictures in an order that is none, under numbers that are no frames."""
    folder.mkdir()
    for place, number in enumerate(np.random.default_rng(0).permutation(len(shown))):
        cv2.imwrite(str(folder / f"{7 * place:05d}_driver.jpg"), shown[number], [cv2.IMWRITE_JPEG_QUALITY, 95])
        (folder / f"{7 * place:05d}_gt.json").write_text('{"azimuth_deg": 1, "elevation_deg": -1}')
    return prepared.read(folder)


# Copies of the training pictures were called new to the model that had learnt them.
def test_of_a_bare_folder_each_picture_is_looked_for_and_what_is_not_known_is_not_called_new(tmp_path: Path) -> None:
    drive, other = footage.drive(30, seed=1), footage.drive(30, seed=2)
    numbers = np.arange(0, len(drive), 3)
    moments = Fingerprint(numbers, numbers / 12, np.stack([fingerprint.tiny(drive[number]) for number in numbers]))
    trained = Footage("e" * 64, 12.0, numbers[numbers < 180], moments)
    held_out = packages.make_holdout(4, drive="f" * 64, elsewhere=(trained,))
    copies, new = (scattered(tmp_path / name, shown[:160:6]) for name, shown in (("copies", drive), ("new", other)))
    assert set(prepared.parts(copies, held_out)) == {"trained on"}
    later = scattered(tmp_path / "later", drive[210::3])
    for one in (later, new):  # but for a painted driver who looks ahead again, and is the same to a pixel
        assert (prepared.parts(one, held_out) == "neither").mean() > 0.5
    assert "cannot be told: a bare folder" in prepared.novelty(new, held_out)
    assert "every frame is new" in prepared.novelty(replace(new, layout=layouts.parse(DRIVER, "driver")), held_out)
    assert "cannot be told: it does not say" in prepared.novelty(new, None)


# Several drives that test have one name for all of them: what was trained on them is not in `trained_frames`.
def test_a_drive_that_a_model_holds_out_beside_others_and_was_trained_on_whole_is_known(tmp_path: Path) -> None:
    for frame in range(0, 300, 30):
        sample(tmp_path, frame, {"azimuth_deg": 1.0, "elevation_deg": -1})
    samples = prepared.read(tmp_path)
    known = Footage(samples.drive, 30.0, np.arange(10) * 30)
    held_out = packages.make_holdout(8, drivers=("Anna", "Бен"), elsewhere=(known,))
    held_out.sources = (replace(held_out.sources[0], drive=samples.drive), held_out.sources[1])
    held_out.frames[:4] = [0, 30, 60, 90]
    assert set(prepared.parts(samples, held_out)) == {"trained on"}
    assert prepared.parts(samples, replace(held_out, elsewhere=())).tolist() == ["held out"] * 4 + ["neither"] * 6


def test_the_middle_sample_stands_for_a_scenario_a_held_out_one_first(tmp_path: Path) -> None:
    for frame in range(50):
        sample(tmp_path, frame, {"azimuth_deg": 1.0, "elevation_deg": -1})
    samples = prepared.read(tmp_path)
    part = np.full(50, "trained on", dtype=object)
    assert prepared.representative(samples, part, 3) == 12
    part[14] = "held out"
    assert prepared.representative(samples, part, 3) == 14


# Told against what the labels look like, training said so; the app does not accuse its own drive anew.
def test_a_drive_whose_angles_count_from_elsewhere_is_doubted_but_not_the_models_own(tmp_path: Path) -> None:
    for frame in range(10):
        sample(tmp_path, frame, {"azimuth_deg": 1.0, "elevation_deg": -1})
    samples = prepared.read(tmp_path)
    (tmp_path / "drive.json").write_text('{"label_frame": {"asked": "head"}}')
    told = packages.make_package(tmp_path / "told", label_frame="car", training={"label_frame": "car"})
    unknown = packages.make_package(tmp_path / "unknown")
    assert prepared.doubt(samples, told, known=False) == (
        "The angles of this drive are relative to the head, the answers to the car: THE ERRORS SAY NOTHING."
    )
    assert prepared.doubt(samples, told, known=True) == ""
    assert "the answers to the car (not verified): unless both" in prepared.doubt(samples, unknown, known=True)
