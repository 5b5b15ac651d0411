"""MPIIFaceGaze as recorded: angles, pictures, and what is left out."""

import shutil

import cv2
import numpy as np
import pytest
import scipy.io

from recording.exceptions import InputError
from training.pretraining import mpiifacegaze_original as reader


@pytest.fixture
def one(original, tmp_path):
    """A copy of one person, to be damaged."""
    shutil.copytree(original / "p00", tmp_path / "p00")
    return tmp_path


def text_file(root):
    return root / "p00" / "p00.txt"


def change(root, columns, by):
    """Change columns of all lines, counted from 1 as in the data set's readme."""
    rows = [row.split() for row in text_file(root).read_text().splitlines()]
    for row in rows:
        first, last = columns
        values = np.array([float(field) for field in row[first - 1 : last]])
        row[first - 1 : last] = [f"{value:.6g}" for value in by(values)]
    text_file(root).write_text("\n".join(" ".join(row) for row in rows) + "\n")


def test_angles_come_back_as_they_were_rendered(original, people):
    """From other cameras, turned and with distortion; 0.2° is what is promised."""
    for name, scenes in people.items():
        read = reader.read(original, name)
        assert np.degrees(np.abs(read.gaze - [scene.gaze for scene in scenes])).max() < 0.2
        assert np.degrees(np.abs(read.head - [scene.head for scene in scenes])).max() < 0.2
        assert np.abs(read.landmarks - [scene.virtual_landmarks for scene in scenes]).max() < 2.0  # whole pixels in


def test_pictures_are_what_the_virtual_camera_sees(original, people):
    read = reader.read(original, "p01")
    rendered = np.stack([scene.normalised[::2, ::2] for scene in people["p01"]]).astype(float)
    assert np.abs(read.pictures - rendered).mean() < 8
    assert np.abs(read.pictures[:, :, ::-1] - rendered).mean() > 14


def test_single_faults_are_counted_by_reason(one):
    folder = one / "p00"
    rows = text_file(one).read_text().splitlines()
    rows += ["day01/0000.jpg 12 13", rows[0].replace("day01/0000.jpg", "day09/0007.jpg")]
    text_file(one).write_text("\n".join([*rows, rows[1].rsplit(maxsplit=2)[0] + " nan left", ""]))
    (folder / "day01" / "0002.jpg").write_bytes((folder / "day01" / "0002.jpg").read_bytes()[:2000])
    (folder / "day01" / "0003.jpg").unlink()
    read = reader.read(one, "p00")
    assert len(read) == 3
    assert read.left_out == {
        "malformed line": 1, "label not a number": 1, "picture not there": 2, "damaged picture": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    "written",
    [
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("day01/", "day01\\").encode(),
    ],
    ids=["marked as UTF-8, CRLF", "backslashes"],
)
def test_a_list_that_windows_wrote_is_the_same(one, original, written):
    text_file(one).write_bytes(written(text_file(one).read_text()))
    read = reader.read(one, "p00")
    assert read.left_out == {}
    assert np.array_equal(read.pictures, reader.read(original, "p00").pictures)


@pytest.mark.parametrize(
    ("turn", "size"),
    [
        (lambda picture: picture[::2, ::2], "240 x 180"),
        (lambda picture: picture.repeat(2, 0).repeat(2, 1), "960 x 720"),
        (lambda picture: picture.transpose(1, 0, 2)[::-1], "360 x 480"),
    ],
    ids=["half", "double", "turned"],
)
def test_pictures_that_the_camera_did_not_take_so_are_named(one, turn, size):
    """Their normalised faces would be cut from somewhere else, and look like any."""
    for path in (one / "p00" / "day01").glob("*.jpg"):
        cv2.imwrite(str(path), np.ascontiguousarray(turn(cv2.imread(str(path)))))
    with pytest.raises(InputError, match=rf"5 of 5 .*\(picture of another size\): p00/day01/0000.jpg has {size}"):
        reader.read(one, "p00")


def test_where_no_picture_is_there_one_is_named(one):
    for path in (one / "p00" / "day01").glob("*.jpg"):
        path.rename(path.with_suffix(".JPG"))
    with pytest.raises(InputError, match=r"5 of 5 samples .* \(picture not there\): p00/day01/0000.jpg; copy"):
        reader.read(one, "p00")


def test_a_target_behind_the_face_is_left_out(one):
    first, *others = text_file(one).read_text().splitlines()
    fields = first.split()
    fields[26] = "5000"
    text_file(one).write_text("\n".join([" ".join(fields), *others]))
    read = reader.read(one, "p00")
    assert (len(read), read.left_out) == (4, {"label out of range": 1})


def test_pictures_that_are_not_there_are_an_incomplete_copy_and_no_fault(one):
    lines = text_file(one).read_text()
    text_file(one).write_text(lines + lines.replace("day01", "day02") * 3)
    assert reader.read(one, "p00").left_out == {"picture not there": 15}


def test_more_faults_than_single_ones_stop_it(one):
    text_file(one).write_text(text_file(one).read_text() + "day01/0000.jpg;1;2;3\n" * 6)
    with pytest.raises(InputError, match=r"6 of 11 samples would be left out \(malformed line\): 'day01/0000.jpg;1"):
        reader.read(one, "p00")


@pytest.mark.parametrize(
    ("columns", "by", "named"),
    [
        ((22, 27), lambda v: v / 1000, "write lengths in mm"),
        ((22, 27), lambda v: v[[3, 4, 5, 0, 1, 2]], "SWAPPED"),
        ((24, 24), lambda v: -v, "behind the camera"),
        ((25, 25), lambda v: -v, "gt is MIRRORED"),
        ((26, 26), lambda v: -v, "gt is upside down"),
        ((25, 27), lambda v: v[[1, 0, 2]], r"columns 25 and 26 \(x and y of gt\) are SWAPPED"),
        ((25, 27), lambda v: v / 1000, "gt is in metres"),
    ],
)
def test_columns_that_contradict_each_other_are_named(one, columns, by, named):
    change(one, columns, by)
    with pytest.raises(InputError, match=named):
        reader.read(one, "p00")


def test_without_its_camera_a_person_cannot_be_normalised(one):
    (one / "p00" / "Calibration" / "Camera.mat").unlink()
    with pytest.raises(InputError, match=r"Camera.mat: is not there, and without it p00 cannot be normalised"):
        reader.read(one, "p00")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda path: path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(40)), "cannot be read as a MATLAB 5 file"),
        (lambda path: scipy.io.savemat(path, {"K": np.eye(3)}), "holds no cameraMatrix"),
        (lambda path: scipy.io.savemat(path, {"cameraMatrix": np.zeros((3, 3))}), "not pixels"),
        (
            lambda path: scipy.io.savemat(path, {"cameraMatrix": np.diag([500, 500, 1]), "distCoeffs": np.ones(7)}),
            "distCoeffs has 7 numbers",
        ),
        (
            lambda path: scipy.io.savemat(path, {"cameraMatrix": [[500, 0, 0], [0, 500, 0], [240, 180, 1]]}),
            "last row of cameraMatrix is 240, 180, 1, not 0, 0, 1: it is transposed",
        ),
        (lambda path: scipy.io.savemat(path, {"cameraMatrix": np.diag([500, 500, 0])}), "last row .* is 0, 0, 0"),
    ],
)
def test_a_camera_file_of_another_kind_is_named(one, make, named):
    make(one / "p00" / "Calibration" / "Camera.mat")
    with pytest.raises(InputError, match=named):
        reader.read(one, "p00")
