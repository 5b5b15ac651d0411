"""A model that is fine-tuned on from Production on another drive must still know the old one."""

from pathlib import Path

import drives
import numpy as np
import packages
import pytest

from recording import recordings
from recording.exceptions import GateRefused
from registry import contract, opening, stages, versions
from registry.crop import Crop
from registry.network import GazeNetwork
from training import cli
from training.learning import model
from training.measuring import splits
from training.reporting import package
from training.sample.sample_drive import BASE_CHECKPOINT

pytestmark = pytest.mark.slow
QUICK = ["--trials", "1", "--freeze", "backbone", "--bn", "source", "--epochs_min", "1", "--epochs_max", "1"]


def champion(drive: Path, work: Path) -> contract.Contract:
    """Version 1, in Production: the lab base, on held-out samples of a drive whose labels are what it answers."""
    network = model.load(BASE_CHECKPOINT)
    package.export(network, work / "lab")
    graph, weights = ((work / "lab" / name).read_bytes() for name in (contract.NETWORK, contract.WEIGHTS))
    data = recordings.load((drive,))
    split = splits.split("blocks", data.frames, data.drives[0].fps, data.drive_index, 0)
    kept = package.held_out(data, split)
    kept.labels_deg = GazeNetwork(graph).predict_encoded(kept.jpegs)
    kept.baselines_deg = {"constant": np.zeros((len(kept), 2)), "calibrated": np.zeros((len(kept), 2))}
    own = {"weights_digest": model.digest(network), "crop": Crop.of(*data.layouts("dashgaze"))}
    packages.register_package(work / "packages", holdout=kept, graph=graph, weights=weights, **own)
    stages.promote("gaze-tracker", 1, force=True, why="the first one")
    return opening.verify("gaze-tracker", 1)


def test_one_that_forgot_the_old_drive_is_refused(tracking: str, tmp_path: Path) -> None:
    old = drives.prepared_folder(tmp_path / "old", n=180, fps=2, seed=1)
    new = drives.prepared_folder(tmp_path / "new", n=60, fps=2, seed=2)
    first = champion(old, tmp_path)
    arguments = ["main", "--data", str(new), "--base", "models:/gaze-tracker/Production", "--face", "none", *QUICK]
    assert cli.main(arguments) == 0

    second = opening.verify("gaze-tracker", 2)
    assert set(second.seen) == {first.digests.drive, second.digests.drive}
    assert second.seen[first.digests.drive] == first.seen[first.digests.drive]
    assert versions.ancestors(versions.get("gaze-tracker", 2))[0].number == 1

    with pytest.raises(GateRefused) as refused:
        stages.promote("gaze-tracker", 2)
    checks = {check.name: check for check in refused.value.outcome.checks}
    assert not checks["against champion v1, that one's samples: 3-D error"].passed
