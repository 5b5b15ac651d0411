"""Where training starts: the base that ships, a file, or a version in the registry, with what it has seen."""

import drives
import mlflow
import numpy as np
import packages
import pytest
import safetensors.torch
import torch

from recording import recordings
from recording.exceptions import ContractError, InputError, NoSuchVersion
from registry import contract
from training import checkpoints
from training.learning import model
from training.measuring import splits
from training.reporting import package


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(5)
    return model.build().eval()


@pytest.fixture
def registered(make_version, network) -> None:
    """Version 1 of gaze-tracker has the network's weights; it is in Production and has an alias."""
    make_version(weights=safetensors.torch.save(network.state_dict()))
    client = mlflow.MlflowClient()
    client.transition_model_version_stage("gaze-tracker", "1", "Production")
    client.set_registered_model_alias("gaze-tracker", "night", "1")


@pytest.mark.parametrize("which", ["/1", "/production", "@night"])
def test_a_registered_base_brings_its_weights_and_what_it_has_seen(registered, network, which) -> None:
    base = checkpoints.load_base(f"models:/gaze-tracker{which}")
    assert base.digest == model.digest(network)
    assert base.name == "models:/gaze-tracker/1"  # the stage may hold another one by the time of the report
    np.testing.assert_array_equal(base.holdout.trained_frames, packages.make_holdout().trained_frames)


def test_what_a_base_was_trained_on_is_said_as_far_as_it_is_known(registered, network, tmp_path) -> None:
    assert checkpoints.load_base("").trained_on.startswith("rendered lab faces of this project")
    safetensors.torch.save_file(model.build().state_dict(), tmp_path / "mine.safetensors")
    assert checkpoints.load_base(str(tmp_path / "mine.safetensors")).trained_on == "what its file does not say"
    faces = {"dataset": "MPIIFaceGaze", "persons": "p00,p01", "train_samples": 6000, "source": "MPIIFaceGaze"}
    assert checkpoints.trained_on(faces) == "MPIIFaceGaze: persons p00,p01, 6000 faces"
    drive = {"base": "gaze_tracker_endterm.pth", "train_samples": 790, "freeze": "none"}
    assert checkpoints.trained_on(drive) == "790 samples of drives, from gaze_tracker_endterm.pth"
    assert checkpoints.trained_on({"source": checkpoints.LAB_BASE}).startswith("rendered lab faces")


@pytest.mark.parametrize(
    ("address", "error", "says"),
    [
        ("models:/gaze-tracker/7", NoSuchVersion, "has no version 7; see what there is"),
        ("models:/gaze-tracker/Staging", NoSuchVersion, "no version of gaze-tracker is in Staging"),
        ("models:/other/Production", NoSuchVersion, "no registered model is named 'other'"),
        ("models:/gaze-tracker", InputError, "not a model address"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line(registered, address, error, says) -> None:
    with pytest.raises(error, match=says) as refused:
        checkpoints.load_base(address)
    assert "\n" not in str(refused.value)


# Between the check of the package and the reading of its weights another file is put in their place.
def test_weights_swapped_after_the_check_do_not_train(registered, network, monkeypatch) -> None:
    other = safetensors.torch.save({key: value * 2 for key, value in network.state_dict().items()})
    replay = contract.replay

    def checked_and_swapped(sealed, opened, name) -> None:
        replay(sealed, opened, name)
        name.with_name(contract.WEIGHTS).write_bytes(other)

    monkeypatch.setattr(contract, "replay", checked_and_swapped)
    with pytest.raises(ContractError, match=r"model\.safetensors: changed"):
        checkpoints.load_base("models:/gaze-tracker/1")


def test_the_base_that_ships_and_a_file_have_seen_nothing_registered(tracking, tmp_path, network) -> None:
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    mine = checkpoints.load_base(str(tmp_path / "mine.pth"))
    assert (mine.name, mine.holdout) == ("mine.pth", None)
    assert mine.digest == model.digest(network)
    assert checkpoints.load_base("").holdout is None


def test_a_file_with_the_weights_of_a_version_has_seen_what_that_one_has(make_version, network, tmp_path) -> None:
    make_version(weights_digest=model.digest(network))
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    base = checkpoints.load_base(str(tmp_path / "mine.pth"))
    assert base.name == "mine.pth (gaze-tracker version 1)"
    np.testing.assert_array_equal(base.holdout.trained_frames, packages.make_holdout().trained_frames)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> recordings.Recordings:
    return recordings.load((drives.prepared_folder(tmp_path_factory.mktemp("data") / "samples", n=120),))


def seen(data, frames) -> packages.Holdout:
    return packages.make_holdout(10, drive=data.drives[0].drive, trained_frames=frames)


# A successor cannot be tested on what its base was trained on, and its version says what both have seen.
def test_a_base_that_was_trained_on_the_test_frames_is_refused(data) -> None:
    split = splits.split("blocks", data.frames, data.drives[0].fps, data.drive_index, 0)
    package.check_lineage(data, split, None)
    package.check_lineage(data, split, seen(data, data.frames[split.train]))
    tested = data.frames[split.test[:3]]
    with pytest.raises(InputError, match=rf"trained on \d+ of the {len(split.test)} test frames"):
        package.check_lineage(data, split, seen(data, tested))
    elsewhere = packages.make_holdout(10, drive="e" * 64, trained_frames=tested)
    package.check_lineage(data, split, elsewhere)
    kept = package.held_out(data, split, seen(data, np.array([100_000])))
    # All that the final training saw, validation blocks and their gaps included, and no test frame or near copy of one.
    assert set(kept.trained_frames.tolist()) == {100_000, *data.frames[split.final].tolist()}
    assert not kept.saw(kept.footage).any()
    after = package.held_out(data, split, elsewhere)
    assert [(part.recording, part.frames.tolist()) for part in after.elsewhere] == [("e" * 64, tested.tolist())]
