"""``evaluate`` measures the version that it names, beside the base that this version came from."""

import json

import cv2
import drives
import footage
import mlflow
import numpy as np
import packages
import pytest

from recording import recordings
from recording.exceptions import InputError
from registry import lineage, opening
from registry.network import GazeNetwork
from tests import recordings as small
from training import evaluation, job
from training.config import EvaluateConfig, JobConfig
from training.learning import pictures


@pytest.fixture
def folder(tmp_path):
    return drives.prepared_folder(tmp_path / "samples", n=24)


def evaluated(folder, address: str) -> dict[str, float]:
    evaluation.run(EvaluateConfig(model=address, data=str(folder), work="work"))
    return mlflow.last_active_run().data.metrics


# A million rows were printed, nearly all of them without a sample.
def test_more_scenarios_than_samples_are_refused_and_the_usual_ten_never(
    make_version, folder, tmp_path, capsys
) -> None:
    make_version()
    for wanted in (25, 10**6):
        with pytest.raises(InputError, match=f"^scenarios={wanted}: of 24 samples; give at most as many scenarios"):
            evaluation.run(EvaluateConfig(model="models:/gaze-tracker/1", data=str(folder), scenarios=wanted))
    few = drives.prepared_folder(tmp_path / "few", n=6)
    for given, wanted in ((folder, 24), (few, 10)):
        config = EvaluateConfig(model="models:/gaze-tracker/1", data=str(given), scenarios=wanted)
        assert evaluation.run(config) == 0
        rows = [line for line in capsys.readouterr().out.splitlines() if line.strip()[:1].isdigit()]
        assert len(rows) == wanted


# Someone promotes another version while this one is being fetched: name and figures stay those of one version.
def test_a_promotion_meanwhile_changes_neither_name_nor_figures(make_version, folder, capsys, monkeypatch) -> None:
    make_version()
    make_version(bias_deg=(60, 0))
    client = mlflow.MlflowClient()
    client.transition_model_version_stage("gaze-tracker", "1", "Production")
    alone = evaluated(folder, "models:/gaze-tracker/1")
    fetch = opening.fetch

    def promoted_meanwhile(*arguments):
        client.transition_model_version_stage("gaze-tracker", "2", "Production", archive_existing_versions=True)
        return fetch(*arguments)

    monkeypatch.setattr(opening, "fetch", promoted_meanwhile)
    capsys.readouterr()
    found = evaluated(folder, "models:/gaze-tracker/Production")
    assert "gaze-tracker version 1 on " in capsys.readouterr().out
    assert found["test/azimuth_error_deg"] == alone["test/azimuth_error_deg"]


# A drive of 50,000 samples is 7 GiB of pictures: they stream from the mapped file through both networks.
def test_pictures_are_answered_part_by_part(make_version, folder, monkeypatch) -> None:
    make_version()
    make_version(model_name="gaze-tracker-base", bias_deg=(1, 0))
    whole, held = evaluated(folder, "models:/gaze-tracker/1"), []
    answer = GazeNetwork.predict

    def counted(network: GazeNetwork, crops: np.ndarray) -> np.ndarray:
        held.append(len(crops))
        return answer(network, crops)

    monkeypatch.setattr(GazeNetwork, "predict", counted)
    monkeypatch.setattr(pictures, "AT_ONCE", 10)
    assert evaluated(folder, "models:/gaze-tracker/1") == whole
    assert "base/azimuth_error_deg" in whole
    assert max(held) == 10 and held.count(10) == 4, "not in parts of ten, by either network"


# The newest base may be another model's; the contract says which one this version came from.
def test_the_base_is_the_models_own(make_version, folder) -> None:
    make_version()
    make_version(model_name="gaze-tracker-base", bias_deg=(1, 0))
    make_version(model_name="gaze-tracker-base", bias_deg=(60, 0), base_digest="f" * 64)
    found = evaluated(folder, "models:/gaze-tracker/1")
    assert found["base/azimuth_error_deg"] == pytest.approx(found["test/azimuth_error_deg"], abs=1.1)


def test_without_its_base_only_the_constant_is_beside_it(make_version, folder) -> None:
    make_version()
    make_version(model_name="gaze-tracker-base", base_digest="f" * 64)
    found = evaluated(folder, "models:/gaze-tracker/1")
    assert "constant/azimuth_error_deg" in found
    assert not [name for name in found if name.startswith(("base/", "calibrated/"))]


# A model that answers relative to the car is not wrong by what the head turns: the drive measures something else.
@pytest.mark.parametrize(
    ("asked", "promised", "said"),
    [
        ("head", "car", "THE MODEL ANSWERS RELATIVE TO THE CAR: THE ERRORS SAY NOTHING"),
        ("head", "unknown", "THE CAR (NOT VERIFIED): unless both mean the same, the errors say nothing"),
        ("auto", "head", "THE MODEL ANSWERS RELATIVE TO THE HEAD: unless both mean the same"),
        ("head", "head", ""),
        ("auto", "car", ""),
    ],
)
def test_a_drive_that_counts_from_elsewhere_is_said(folder, caplog, asked, promised, said) -> None:
    data, kept = recordings.load((folder,)), packages.make_holdout()
    (folder / "drive.json").write_text(f'{{"label_frame": {{"asked": "{asked}"}}}}')
    contract = packages.make_package(folder.parent / "model", holdout=kept, label_frame=promised)
    evaluation.compare_frames(data, contract, kept)
    assert said in caplog.text and bool(caplog.text) == bool(said)


# The training was told, and said what the labels look like; the same drive is no other drive when it is evaluated.
def test_what_the_training_was_told_of_its_own_drive_counts(tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    folder, other = (drives.prepared_folder(tmp_path / name, n=24, seed=k) for k, name in enumerate(("own", "other")))
    data = recordings.load((folder, other))
    for one in (folder, other):
        (one / "drive.json").write_text(json.dumps({"label_frame": {"asked": "head"}}))
    kept = packages.make_holdout(drive=data.drives[0].drive, first_frame=int(data.frames[0]))
    told = {"label_frame": "car", "training": {"label_frame": "car"}}
    evaluation.compare_frames(data, packages.make_package(tmp_path / "model", holdout=kept, **told), kept)
    own, another = (record.getMessage() for record in caplog.records if record.name == evaluation.__name__)
    assert own == "own: the angles count as relative to the car: label_frame=car says so"
    assert another.startswith("other: THE ANGLES ARE RELATIVE TO THE HEAD") and "SAY NOTHING" in another


def test_of_a_bare_folder_that_is_not_known_it_is_not_said_that_it_is_new(folder, caplog) -> None:
    data = recordings.load((folder,))
    chosen, scope = evaluation.held_out(data, packages.make_holdout())
    assert len(chosen) == 24
    assert scope == "recording (whether it was trained on 24 of the samples cannot be told), 24 of 24 samples"
    assert "samples: WHETHER THE MODEL WAS TRAINED ON 24 OF THESE 24 PICTURES CANNOT BE TOLD" in caplog.text


# Byte for byte what the model has learnt, in another order and under other numbers.
def test_a_bare_folder_of_copies_of_training_pictures_is_known(tmp_path, caplog) -> None:
    for name in ("own", "copies"):
        (tmp_path / name).mkdir()
    for number, picture in enumerate(footage.drive(30, seed=1, fps=1.0)):
        for name, frame in (("own", number), ("copies", 7 * number % 31)):
            cv2.imwrite(str(tmp_path / name / f"{frame:05d}_driver.jpg"), picture)
            (tmp_path / name / f"{frame:05d}_gt.json").write_text('{"azimuth_deg": 1, "elevation_deg": -1}')
    own, copies = (recordings.load((tmp_path / name,)) for name in ("own", "copies"))
    seen = lineage.of(own, np.arange(30), 0)
    assert not packages.make_holdout(elsewhere=(seen,)).knows(lineage.of(copies, np.arange(30), 0))
    with pytest.raises(InputError, match=r"trained on .* every frame given"):
        evaluation.held_out(copies, packages.make_holdout(elsewhere=(seen,)))
    assert not caplog.text


def test_the_folder_that_the_main_job_made_keeps_its_face(make_version, tmp_path) -> None:
    make_version()
    video, labels = small.video(tmp_path / "v.mp4", 12, (192, 96)), small.labels(tmp_path / "l.csv", range(12))
    drive = {"video": str(video), "labels": str(labels), "layout": "driver", "samples": 5, "work": str(tmp_path)}
    (folder,) = job.prepare_data(JobConfig(face="20,30,64,50", **drive)).folders
    before = (folder / "drive.json").read_bytes()
    evaluation.run(EvaluateConfig(model="models:/gaze-tracker/1", scenarios=1, **drive))
    assert (folder / "drive.json").read_bytes() == before
