"""Which data set a folder holds, and what is kept of it."""

import shutil

import numpy as np
import pytest

from recording.exceptions import InputError
from training.pretraining import dataset


def test_both_layouts_are_recognised_here_and_one_folder_below(original, normalised, tmp_path):
    assert dataset.recognise(original) == ("original", original)
    (tmp_path / "MPIIFaceGaze_normalizad").symlink_to(normalised, target_is_directory=True)
    assert dataset.recognise(tmp_path) == ("normalised", tmp_path / "MPIIFaceGaze_normalizad")


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("Data/Normalized/p00/day01.mat", "MPIIGaze, which has eyes alone"),
        ("imgs/rec_000/head/1.jpg", "Gaze360"),
        ("train/subject0000.h5", "ETH-XGaze"),
        ("Label/p00.label", "GazeHub"),
        ("frame_00001_driver.jpg", "a prepared folder of a drive"),
        ("letters/letters.txt", "found letters$"),
    ],
)
def test_another_data_set_is_named_with_what_was_looked_for(tmp_path, there, named):
    path = tmp_path / there
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(InputError, match=rf"looked for p00/p00.txt .* or p00.mat .*{named}"):
        dataset.recognise(tmp_path)


def test_what_is_kept_is_read_again_and_not_made_again(normalised, tmp_path, monkeypatch):
    first = dataset.read(normalised, tmp_path / "keep")
    monkeypatch.setattr(dataset.mpiifacegaze_mat, "read", lambda *_: pytest.fail("made again"))
    again = dataset.read(normalised, tmp_path / "keep")
    assert again.digest == first.digest
    assert [len(one.faces) for one in again.people] == [5, 5, 5]
    assert np.array_equal(again.people[1].faces.pictures, first.people[1].faces.pictures)
    assert isinstance(again.people[0].faces.pictures, np.memmap)


@pytest.mark.parametrize("damaged", ["about.json", "labels.npz", "pictures.npy"])
def test_what_was_kept_and_is_damaged_is_made_again(normalised, tmp_path, damaged, caplog):
    first = dataset.read(normalised, tmp_path / "keep")
    (path,) = (tmp_path / "keep").glob(f"p01-*/{damaged}")
    path.write_bytes(b"")
    again = dataset.read(normalised, tmp_path / "keep")
    assert again.digest == first.digest
    assert "it is made again" in caplog.text


def test_persons_missing_or_unusable_are_said(normalised, tmp_path):
    shutil.copytree(normalised, tmp_path / "copy")
    (tmp_path / "copy" / "p01.mat").write_bytes(b"half")
    found = dataset.read(tmp_path / "copy", tmp_path / "keep")
    assert found.names == ("p00", "p02")
    assert "10 faces of 2 persons; left out: nothing; not there: p03, p04" in found.describe()
    assert "p01 cannot be used" in found.describe()


def test_what_looks_like_a_person_and_is_not_named_like_one_is_said(original, normalised, tmp_path):
    shutil.copytree(original, tmp_path / "original")
    (tmp_path / "original" / "p00").rename(tmp_path / "original" / "P00")
    (tmp_path / "original" / "p01" / "p01.txt").unlink()
    (tmp_path / "original" / "readme").mkdir()
    (tmp_path / "original" / "6 points-based face model.mat").touch()
    assert reader_of(tmp_path / "original").others(tmp_path / "original") == {
        "P00": "persons are named p00 to p99", "p01": "there is no p01/p01.txt"
    }  # fmt: skip
    shutil.copytree(normalised, tmp_path / "normalised")
    (tmp_path / "normalised" / "p01.mat").rename(tmp_path / "normalised" / "p1.mat")
    found = dataset.read(tmp_path / "normalised", tmp_path / "keep")
    assert found.names == ("p00", "p02")
    assert "p1 cannot be used (persons are named p00 to p99)" in found.describe()


def reader_of(root):
    return dataset.LAYOUTS[dataset.recognise(root)[0]]


def test_one_person_is_not_enough(normalised, tmp_path):
    shutil.copytree(normalised, tmp_path / "copy")
    for name in ("p01.mat", "p02.mat"):
        (tmp_path / "copy" / name).write_bytes(b"half")
    with pytest.raises(
        InputError, match=r"1 of its persons can be used.*p01: .*p01.mat: is neither HDF5.*\(and 1 more"
    ):
        dataset.read(tmp_path / "copy", tmp_path / "keep")
