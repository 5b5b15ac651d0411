"""Several drives through to a version: whole drives train, validate and test."""

from pathlib import Path

import drives
import numpy as np
import pytest

from registry import comparison, gate, opening, versions
from training import cli


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drives")
    return [drives.prepared_folder(folder / name, n=24, seed=seed) for seed, name in enumerate("abc")]


def test_by_drive_goes_through_to_a_version_that_was_tested_on_the_last_drive(tracking, three, tmp_path, capsys):
    arguments = ["--data", ",".join(map(str, three)), "--split", "by-drive", "--trials", "1"]
    arguments += ["--freeze", "backbone", "--bn", "source", "--epochs_min", "1", "--epochs_max", "1"]
    assert cli.main(["main", *arguments]) == 0
    said = capsys.readouterr().out

    (version,) = versions.every("gaze-tracker")
    package = opening.fetch(version.model_name, version.number, version.seal, tmp_path / "package")
    errors, kept = package.contract.errors, package.holdout()
    assert (errors.split, errors.leaking, errors.samples) == ("by-drive", False, 24)
    assert kept.names == sorted(path.name for path in three[2].glob("*_driver.jpg"))
    assert len(np.unique(kept.blocks)) == 10  # the tenths of the last drive
    assert not len(kept.trained_frames)  # none of its frames
    assert sorted(len(part.frames) for part in kept.elsewhere) == [24, 24]  # and those of the two others are known
    # The drawn face is in another place in each drive: each was cut by its own rectangle, and serving has to find it.
    assert package.contract.crop.face == "detected"
    assert kept.face is not None
    assert set(kept.baselines_deg) == {"constant", "calibrated", "affine"}

    # What the last lines said of it is what the gate says.
    opened = comparison.open_package(version, tmp_path / "opened")
    failed = [check for check in gate.on_its_own(opened, gate.configure()) if not check.passed]
    assert ("NOT GOOD ENOUGH" in said) == bool(failed)
    assert all(check.describe() in said for check in failed)
