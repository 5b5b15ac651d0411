"""The normalised files of MPIIFaceGaze: HDF5, MATLAB 5, and what is left out."""

import h5py
import numpy as np
import pytest
import scipy.io
from mpiifacegaze import caffe, label

from recording.exceptions import InputError
from training.pretraining import mpiifacegaze_mat as reader


def write(path, pictures, labels, **names):
    with h5py.File(path, "w") as file:
        file.create_dataset(
            names.get("data", "Data/data"), data=pictures, chunks=(1, *pictures.shape[1:]), fletcher32=True
        )
        file["Data/label"] = labels


@pytest.fixture(scope="module")
def stored(people):
    """Pictures and labels of one person, as the file holds them."""
    scenes = people["p00"]
    return caffe(np.stack([scene.normalised for scene in scenes])), np.stack([label(scene) for scene in scenes])


def test_angles_and_pictures_come_back_as_they_were_rendered(normalised, people):
    for name, scenes in people.items():
        read = reader.read(normalised, name)
        assert np.degrees(np.abs(read.gaze - [scene.gaze for scene in scenes])).max() < 0.2
        assert np.degrees(np.abs(read.head - [scene.head for scene in scenes])).max() < 0.2
        rendered = np.stack([scene.normalised[::2, ::2] for scene in scenes]).astype(float)
        assert np.abs(read.pictures - rendered).mean() < 4  # upright, red first, not mirrored
        assert read.left_out == {}


def test_a_matlab_5_file_is_read_as_well(tmp_path, stored, people):
    pictures, labels = stored
    scipy.io.savemat(tmp_path / "p00.mat", {"Data": {"data": pictures.T, "label": labels.T}}, do_compression=True)
    read = reader.read(tmp_path, "p00")
    assert np.allclose(read.gaze, [scene.gaze for scene in people["p00"]])
    assert np.abs(read.pictures[0] - people["p00"][0].normalised[::2, ::2].astype(float)).mean() < 4


@pytest.mark.parametrize("turn", [lambda p: p.astype(np.float64), lambda p: p / 255.0], ids=["doubles", "from 0 to 1"])
def test_matlabs_doubles_are_bytes_again(tmp_path, stored, normalised, turn):
    write(tmp_path / "p00.mat", turn(stored[0][:2]), stored[1][:2])
    assert np.array_equal(reader.read(tmp_path, "p00").pictures, reader.read(normalised, "p00").pictures[:2])


def test_labels_with_fewer_numbers_leave_open_what_they_do_not_say(tmp_path, stored):
    write(tmp_path / "p00.mat", stored[0][:2], stored[1][:2, :2])
    read = reader.read(tmp_path, "p00")
    assert len(read) == 2
    assert np.isnan(read.head).all()


def test_labels_with_a_column_for_each_picture_are_the_same(tmp_path, stored, normalised):
    write(tmp_path / "p00.mat", stored[0], stored[1].T)
    read, as_it_is = reader.read(tmp_path, "p00"), reader.read(normalised, "p00")
    assert np.array_equal(read.gaze, as_it_is.gaze)
    assert np.array_equal(read.landmarks, as_it_is.landmarks)


def test_columns_are_told_from_rows_where_there_are_as_many(tmp_path, stored):
    pictures = np.broadcast_to(stored[0][:1, :, ::2, ::2], (16, 3, 224, 224))
    labels = np.concatenate([stored[1]] * 4)[:16]
    write(tmp_path / "p00.mat", pictures, labels)
    write(tmp_path / "p01.mat", pictures, labels.T)
    assert np.array_equal(reader.read(tmp_path, "p00").gaze, labels[:, :2])
    assert np.array_equal(reader.read(tmp_path, "p01").gaze, labels[:, :2])


def test_damaged_labels_are_named(tmp_path, stored):
    """One byte of them: a checksum or filter fails in the middle of reading."""
    path = tmp_path / "p00.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["Data/data"] = stored[0][:, :, ::2, ::2]
        file.create_dataset("Data/label", data=stored[1], chunks=stored[1].shape, fletcher32=True)
    content = bytearray(path.read_bytes())
    content[content.find(stored[1].tobytes()) + 9] ^= 255
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"p00.mat: is a damaged HDF5 file \(.*\); copy or unpack it again"):
        reader.read(tmp_path, "p00")


def test_single_faults_are_counted_by_reason(tmp_path, stored):
    pictures, labels = stored[0].copy(), stored[1].copy()
    pictures[1], labels[2, 0] = 0, np.nan
    path = tmp_path / "p00.mat"
    write(path, pictures, labels)
    content = bytearray(path.read_bytes())
    at = content.find(pictures[3].tobytes()[:4000])
    content[at : at + 500] = bytes(500)  # its checksum no longer fits
    path.write_bytes(content)
    read = reader.read(tmp_path, "p00")
    assert read.left_out == {"blank picture": 1, "label not a number": 1, "damaged picture": 1}
    assert np.allclose(read.gaze, stored[1][[0, 4], :2])


def test_a_gaze_away_from_the_camera_is_left_out_and_degrees_are_left_to_be_named(tmp_path, stored):
    pictures, labels = stored[0], stored[1].copy()
    labels[2, :2] = [-7.0, 12.0]
    write(tmp_path / "p00.mat", pictures, labels)
    read = reader.read(tmp_path, "p00")
    assert (len(read), read.left_out) == (4, {"label out of range": 1})
    write(tmp_path / "p01.mat", pictures, np.degrees(stored[1]))
    assert len(reader.read(tmp_path, "p01")) == 5


def test_more_faults_than_single_ones_stop_it(tmp_path, stored):
    labels = np.concatenate([stored[1], np.full((5, 16), np.nan)])
    write(tmp_path / "p00.mat", np.concatenate([stored[0]] * 2), labels)
    with pytest.raises(InputError, match=r"5 of 10 samples .* \(label not a number\): sample 6 of p00.mat"):
        reader.read(tmp_path, "p00")


def test_a_cut_off_file_is_named(tmp_path, normalised):
    content = (normalised / "p00.mat").read_bytes()
    (tmp_path / "p00.mat").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"p00.mat: is a damaged or cut off HDF5 file"):
        reader.read(tmp_path, "p00")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (
            lambda path, p, labels: path.write_bytes(b"PK\3\4" + bytes(600)),
            "neither HDF5 .* save it anew, in MATLAB: save",
        ),
        (lambda path, p, labels: write(path, p, labels, data="Data/images"), "holds no Data/data, as"),
        (lambda path, p, labels: write(path, p[:, :1, :36, :60], labels), "5 x 1 x 36 x 60 .* eyes alone"),
        (lambda path, p, labels: write(path, p, labels[:3]), "Data/label is 3 x 16 for 5 pictures"),
        (lambda path, p, labels: write(path, p, [b"a", b"b"]), "Data/label holds .* and no numbers"),
        (lambda path, p, labels: scipy.io.savemat(path, {"data": {"left": 1}}), "holds no Data/data and Data/label"),
        (
            lambda path, p, labels: path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(40)),
            "save it as HDF5, in MATLAB: save",
        ),
    ],
    ids=["zip", "other names", "eyes", "fewer labels", "no numbers", "MPIIGaze", "damaged MATLAB 5"],
)
def test_a_file_of_another_kind_is_named(tmp_path, stored, make, named):
    make(tmp_path / "p00.mat", *stored)
    with pytest.raises(InputError, match=named):
        reader.read(tmp_path, "p00")
