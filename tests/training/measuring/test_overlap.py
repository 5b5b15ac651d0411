"""A recording, or a copy of it, in two parts of a split is refused."""

from pathlib import Path

import footage
import numpy as np
import pytest
import recordings as numbered

from recording import preparation, recordings
from recording.drive import Source
from recording.exceptions import InputError
from recording.recordings import Recordings
from training.measuring import overlap, splits


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Prepared drives ``a``, ``b`` and ``d`` of one person, and ``copy``: a without its first 8 s, encoded again."""
    drives = {name: footage.drive(40, seed) for name, seed in (("a", 1), ("b", 2), ("d", 3))}
    drives["copy"] = drives["a"][8 * 12 :]
    folder = tmp_path_factory.mktemp("drives")
    for name, pictures in drives.items():
        video = footage.encode(folder / f"{name}.mp4", pictures, crf=30 if name == "copy" else 20)
        labels = numbered.labels(folder / f"{name}.csv", range(len(pictures)))
        preparation.prepare(Source(video, labels, "driver"), 20, folder / name, face_asked="none")
    return {name: folder / name for name in drives}


def check(folders: dict[str, Path], *names: str) -> Recordings:
    data = recordings.load(tuple(folders[name] for name in names))
    overlap.check(data, splits.by_drive(data.frames, data.drive_index))
    return data


def test_the_same_folder_in_two_parts_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"a \(train\) and .*a \(test\) show the same recording: 20 of 20 samples"):
        check(folders, "a", "b", "a")


def test_a_copy_in_another_part_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"a \(validation\) and .*copy \(test\) show the same .*: (\d+) of 20 samples"):
        check(folders, "b", "a", "copy")


def test_different_drives_pass_and_so_do_copies_within_one_part(folders: dict[str, Path]) -> None:
    data = check(folders, "a", "copy", "b", "d")
    assert np.unique(data.drive_index).tolist() == [0, 1, 2, 3]
