"""``pretrain`` on MPIIFaceGaze: from the folder to a registered base that the main job starts from."""

import json
from pathlib import Path
from types import SimpleNamespace

import drives
import mlflow
import numpy as np
import pytest
import torch
from torch import nn

from recording.exceptions import InputError
from registry import opening, versions
from training import checkpoints, cli
from training.learning import model
from training.pretraining import fitting, job, splits

import torchvision  # isort: skip  (after training's own torch set-up)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Tiny pictures, and without the lab base: what it says of a data set is in test_conventions.py."""
    monkeypatch.setattr(job.conventions, "check", lambda *_: None)
    monkeypatch.setattr(fitting.pretrain, "COARSE", 32)
    monkeypatch.setattr(fitting.pretrain, "FINE_EPOCHS", 0)


def pretrain(dataset: Path, **parameters: object) -> int:
    """``python -m training pretrain`` in this process."""
    given = {"dataset": dataset, "epochs": 1, "work": "work"} | parameters
    words = [f"--{name}={value}" for name, value in given.items()]
    return cli.main(["pretrain", *words])


def only_run() -> mlflow.entities.Run:
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    return run


def test_a_base_is_registered_exported_and_what_main_starts_from(tracking, original, tmp_path, capsys, monkeypatch):
    assert pretrain(original, epochs=2, held_out="p01", export=tmp_path / "base.pth", device="cpu") == 0
    printed = capsys.readouterr().out
    assert "registered: gaze-tracker-base version 1" in printed
    run = only_run()
    assert run.info.status == "FINISHED"
    assert {"held_out/angular_error_deg", "constant/angular_error_deg", "train/loss"} <= set(run.data.metrics)
    artifacts = {Path(one.path).name for part in ("tables", "figures") for one in
                 mlflow.MlflowClient().list_artifacts(run.info.run_id, part)}  # fmt: skip
    assert {"per_person.json", "per_person.png"} <= artifacts

    # Older code: plain torchvision, plain torch.load.
    plain = torchvision.models.resnet18()
    plain.fc = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Dropout(0.4), nn.Linear(256, 2))
    plain.load_state_dict(torch.load(tmp_path / "base.pth", weights_only=True))

    version = versions.get("gaze-tracker-base", 1)
    card = mlflow.MlflowClient().get_model_version("gaze-tracker-base", "1").description
    assert "trained on MPIIFaceGaze, original pictures: a base to fine-tune from, adapted to no car" in card
    assert "a recorded drive" not in card
    package = opening.fetch("gaze-tracker-base", 1, version.seal, tmp_path / "fetched")
    assert package.contract.training["held_out_persons"] == "p01"
    assert package.contract.training["persons"] == "p00,p02"
    assert package.contract.errors.split == "persons"
    held_out = package.holdout()
    assert len(held_out) == 5
    served = package.network().predict_encoded(held_out.jpegs)
    with torch.inference_mode():
        faces = next(tmp_path.glob("work/pretraining/faces/p01-*")) / "pictures.npy"
        inputs = torch.from_numpy(np.load(faces)).permute(0, 3, 1, 2).float() / 255
        answers = np.degrees(plain.eval()(inputs).numpy())[:, ::-1]
    assert np.abs(served - answers).max() < 1.0  # JPEG lies between

    base = checkpoints.load_base(str(tmp_path / "base.pth"))
    assert base.name == "base.pth (gaze-tracker-base version 1)"
    assert not (tmp_path / "work" / "pretraining" / "unfinished").exists() or not list(
        (tmp_path / "work" / "pretraining" / "unfinished").iterdir()
    )

    started = []

    def reached(job, into):
        started.append(job.base)
        raise KeyboardInterrupt  # how any base is fine-tuned is tested elsewhere

    monkeypatch.setattr("training.bases.prepare", reached)
    folder = drives.prepared_folder(tmp_path / "samples", n=60, fps=3)
    with pytest.raises(KeyboardInterrupt):
        cli.main(["main", f"--data={folder}", f"--base={tmp_path / 'base.pth'}", "--face=none", "--device=cpu"])
    assert (started[0].digest, started[0].name) == (base.digest, base.name)


def test_every_person_is_left_out_once_and_a_killed_job_goes_on(tracking, normalised, monkeypatch, capsys):
    fitted = []
    whole = fitting.fit

    def counted(network, people, held_out, recipe, device, checkpoint, heard):
        if len(fitted) == 1:
            fitted.append("killed")
            raise KeyboardInterrupt
        fitted.append(checkpoint.is_file())
        return whole(network, people, held_out, recipe, device, checkpoint, heard)

    monkeypatch.setattr(fitting, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(normalised, folds="persons", device="cpu")
    killed = only_run().info
    assert killed.status == "KILLED"
    mlflow.MlflowClient().update_run(killed.run_id, "RUNNING")  # as a SIGKILL leaves it
    assert pretrain(normalised, folds="persons", device="cpu") == 0
    assert mlflow.get_run(killed.run_id).info.status == "KILLED"
    assert fitted == [False, "killed", True, False, False]  # the first one's checkpoint was there
    table = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("p0")]
    assert table == ["p00", "p01", "p02"]
    assert [version.number for version in versions.every("gaze-tracker-base")] == [1]
    assert pretrain(normalised, folds="persons", device="cpu") == 0
    assert "registered before: gaze-tracker-base version 1" in capsys.readouterr().out


def test_a_job_that_ends_leaves_what_another_one_has_begun(tmp_path):
    """Beside each other: held_out=p01 here, held_out=p02 on another GPU."""
    data, recipe = SimpleNamespace(digest="d"), fitting.Recipe(1, 1e-3, 0)
    one, other = (job._key(data, recipe, None, splits.folds(("p01", "p02"), name, False)) for name in ("p01", "p02"))
    assert one != other


def test_a_data_set_whose_conventions_do_not_hold_is_not_trained_on(tracking, normalised, monkeypatch):
    def refuse(people, where, answer):
        counts = {name: len(one) for name, one in people.items()}
        raise InputError(f"{where}: {counts}, {answer(people['p00'].pictures).shape}")

    monkeypatch.setattr(job.conventions, "check", refuse)
    monkeypatch.setattr(fitting, "fit", lambda *_: pytest.fail("was trained on"))
    with pytest.raises(InputError, match=r"dataset=.*: \{'p00': 5, 'p01': 5, 'p02': 5\}, \(5, 2\)"):
        pretrain(normalised, device="cpu")
    assert only_run().info.status == "FAILED"


@pytest.mark.parametrize("by", ["path", "nothing"])
def test_training_starts_from_a_checkpoint_or_from_random_weights(tracking, normalised, tmp_path, monkeypatch, by):
    given = model.build()
    torch.save(given.state_dict(), tmp_path / "old.pth")
    started = []

    def fit(network, *arguments):
        started.append(model.digest(network))
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        pretrain(normalised, device="cpu", **({"base": tmp_path / "old.pth"} if by == "path" else {}))
    assert (started == [model.digest(given)]) == (by == "path")


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"device": "cuda"}, "device=cuda: not on this machine"),
        ({"held_out": "p09"}, "held_out=p09: p09 is not among the persons"),
        ({"folds": "ten"}, "folds='ten' is unknown: persons"),
        ({"epochs": 0}, "epochs=0: must be at least 1"),
        ({"export": "base.onnx"}, "export=base.onnx: give a name that ends in .pth"),
        ({"export": "/proc/1/base.pth"}, "export=/proc/1/base.pth: its folder cannot be written to"),
        ({"export": "there.pth"}, "export=there.pth: is there already, and is not written over"),
        ({"export": "folder.pth"}, "export=folder.pth: is there already"),
        ({"seed": -1}, "seed=-1: must be from 0"),
        ({"dataset": ""}, "held_out=p00: acts with dataset= only"),
        ({"dataset": "nowhere"}, "dataset=nowhere: is not there"),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_wrong_parameters_end_in_one_line(tracking, normalised, parameters, named, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(fitting, "fit", lambda *_: pytest.fail("was trained for nothing"))
    Path("folder.pth").mkdir()
    Path("there.pth").write_text("a base of last week")
    with pytest.raises(InputError) as error:
        pretrain(**{"dataset": normalised, "held_out": "p00", "device": "cpu"} | parameters)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_the_run_says_what_the_data_set_held(tracking, normalised, monkeypatch):
    monkeypatch.setattr(fitting, "fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pretrain(normalised, device="cpu")
    run = only_run()
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="dataset.json")
    about = json.loads(Path(path).read_text())
    assert {name: person["faces"] for name, person in about["persons"].items()} == {"p00": 5, "p01": 5, "p02": 5}
    assert "not there: p03" in about["described"]
    assert run.data.tags["data_digest"]
